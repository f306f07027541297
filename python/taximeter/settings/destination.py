"""Remote destinations: where events go over HTTP, in addition to the ledger or instead of it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from .. import _core, files
from ..errors import ConfigError
from . import otlp

__all__ = ["Destination", "Secret"]

_OWN_HEADERS = frozenset({"connection", "content-encoding", "content-length", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers that say how long a body is and how it is sent."""
_LIMITS: Final = ("max_events", "max_bytes", "linger", "concurrency")


class Secret:
    """A text that `repr()`, logs and tracebacks do not show. Call `reveal()` to read it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "'…'"

    def __deepcopy__(self, _memo: Any) -> Secret:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a secret cannot be pickled")


class Destination:
    """A destination over HTTP. Events are sent in compressed batches, which are retried until the destination accepts them.

    Args:
        url: `<protocol>+https://host/path`, or `<protocol>+http://` for localhost. The protocols are `cloudevents` (CloudEvents
            1.0 in JSON), `jsonl` (one JSON object per line), `otlp` (OpenTelemetry: one span per event, at `/v1/traces`) and
            `clickhouse` (rows of a table: `clickhouse+https://host:8443/DATABASE`). `otlp` alone stands for the address, headers and
            further values in OpenTelemetry's environment variables.
        token: Sent as `Authorization: Bearer …`; for ClickHouse the user's password.
        user: Only for `clickhouse`: the name of the user; `default` by default.
        headers: Further headers, such as one with an API key.
        allow_http: Allow unencrypted HTTP to hosts other than localhost.
        timeout: The timeout of a request with its response in seconds, from 0.1 to 600; 30 by default. The response
            must begin within a third of it.
        ca_bundle: A PEM file with certificates to trust in addition to the system's, for a collector with a private certificate
            authority.
        max_events: The most events in a request, from 1 to 10,000; 1,000 by default, 10,000 for ClickHouse.
        max_bytes: The most bytes of a request before compression, from 1,000 to 20,000,000; 1,000,000 by default,
            8 MiB for ClickHouse. A larger event is sent alone.
        linger: The longest time that an event waits for others to share its request, in seconds from 0 to 3,600; 1 by default.
        concurrency: The most requests at the same time, from 1 to 64; 4 by default, 2 for ClickHouse.
        dialect: Only for `otlp`: `genai` for the attributes of OpenTelemetry's conventions, `all` (the default) for those that only
            some receivers read as well.
        service_name: Only for `otlp`: the resource's `service.name`; `OTEL_SERVICE_NAME` by default.
        server_batches: Only for `clickhouse`: let the server collect the events of many small senders before it stores them.
            Requests wait until it has.

    Raises:
        ConfigError: The URL or another argument is invalid. The message does not contain the URL, which may hold a key.
    """

    _url = Secret("")
    _headers: Mapping[str, Secret] = {}
    _protocol = "cloudevents"
    _limits: Mapping[str, float] = {}
    _ca: bytes | None = None
    _options: Mapping[str, Any] = MappingProxyType({"dialect": None, "uncompressed": False, "resource": [], "server_batches": False})

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
        timeout: float | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        max_events: int | None = None,
        max_bytes: int | None = None,
        linger: float | None = None,
        concurrency: int | None = None,
        dialect: str | None = None,
        service_name: str | None = None,
        server_batches: bool = False,
    ) -> None:
        # From here on, no local variable of this frame holds a key, because error trackers record the local variables of tracebacks.
        hidden = _SecretArguments(url, token, headers, user)
        del url, token, headers
        variables = otlp.arguments() if hidden.url == otlp.NAME else {}
        hidden.url = variables.get("url", hidden.url)
        self._protocol, self._url = _split(hidden)
        self._headers = {
            **_headers(_SecretArguments(None, None, variables.get("headers"), None), self._protocol),
            **_headers(hidden, self._protocol),
        }
        self._set_options(variables, dialect, service_name)
        self._options = {**self._options, "server_batches": bool(server_batches)}
        self.allow_http = bool(allow_http)
        timeout = variables.get("timeout", 30.0) if timeout is None else timeout
        ca_bundle = variables.get("ca_bundle") if ca_bundle is None else ca_bundle
        self.timeout = _number("timeout", timeout)
        if not 0.1 <= self.timeout <= 600:  # noqa: PLR2004
            raise ConfigError(f"destination: timeout: {str(timeout)[:40]} is not a number of seconds from 0.1 to 600")
        given = zip(_LIMITS, (max_events, max_bytes, linger, concurrency), strict=True)
        self._limits = {name: _number(name, value) for name, value in given if value is not None}
        try:
            self._ca = None if ca_bundle is None else files.read(Path(ca_bundle).expanduser())
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"destination: ca_bundle: {reason}; give the path of a PEM file with certificates") from None
        _core.check_destination(self.to_core())

    def _set_options(self, variables: Mapping[str, Any], dialect: str | None, service_name: str | None) -> None:
        """Set the options of the protocol, and the path that it adds to the URL."""
        if self._protocol == otlp.NAME:
            found = otlp.options(dialect=dialect, service_name=service_name)
            self._options = {**self._options, **found, "uncompressed": variables.get("uncompressed", False)}
            if not variables.get("is_exact"):
                self._url = Secret(otlp.with_path(self._url.reveal()))
        elif not (dialect is None and service_name is None):
            name = "service_name" if dialect is None else "dialect"
            raise ConfigError(f"destination: {name}: only the protocol otlp takes it; leave it out")

    @property
    def host(self) -> str:
        """The host name, the only part of the URL that may be shown."""
        try:
            return urlsplit(self._url.reveal()).hostname or ""
        except ValueError:
            return ""

    @property
    def place(self) -> str:
        """The URL without its query, which identifies the destination's cursor. It may hold a key, so do not show it."""
        return self._url.reveal().partition("?")[0]

    def to_core(self) -> dict[str, Any]:
        """Return the destination in the form that the core takes."""
        return {
            "url": self._url.reveal(),
            "headers": [(name, value.reveal()) for name, value in self._headers.items()],
            "allow_http": self.allow_http,
            "timeout": self.timeout,
            "ca": self._ca,
            "protocol": self._protocol,
            "limits": {name: self._limits.get(name) for name in _LIMITS},
            "options": dict(self._options),
            "wire": None,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host!r}, headers={sorted(self._headers)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Destination) and self.to_core() == other.to_core()

    def __hash__(self) -> int:
        return hash(self.host)


class _SecretArguments:
    """The arguments that may hold keys, in an object that tracebacks with local variables show as `…`."""

    __slots__ = ("headers", "token", "url", "user")

    def __init__(self, url: Any, token: Any, headers: Any, user: Any) -> None:
        self.url, self.token, self.headers, self.user = url, token, headers, user

    def __repr__(self) -> str:
        return "…"


def _split(given: _SecretArguments) -> tuple[str, Secret]:
    """Return the protocol's name, and the URL without it."""
    if not isinstance(given.url, str):
        kind = type(given.url).__name__
        raise ConfigError(f"destination: url: {kind} is not a text; give a URL such as cloudevents+https://host/path")
    if any(character == "\\" or not character.isprintable() for character in given.url.strip()):
        # Readers of URLs disagree about these, so the host that is shown could be another one than the host that is sent to.
        raise ConfigError("destination: url: it has a backslash or a control character; write a path with slashes, or %5C")
    schemes = _core.destination_schemes()
    # A subinterpreter knows no schemes and accepts every URL.
    if "://" not in given.url or (schemes and given.url.partition("://")[0].lower() not in schemes):
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigError(f"destination: url: the URL must begin with one of {known}, or be 'ledger' or 'otlp'")
    protocol, _, transport = given.url.partition("://")[0].lower().partition("+")
    return protocol, Secret(f"{transport}://{given.url.partition('://')[2]}")


def _headers(given: _SecretArguments, protocol: str) -> dict[str, Secret]:
    if given.token and not isinstance(given.token, str):
        raise ConfigError(f"destination: token: {type(given.token).__name__} is not a text; give the token itself")
    if given.user is not None and not isinstance(given.user, str):
        raise ConfigError(f"destination: user: {type(given.user).__name__} is not a text; give the user's name")
    found = {name: Secret(value) for name, value in _core.credential_headers(protocol, given.user or None, given.token or None)}
    if given.headers is not None:
        if not isinstance(given.headers, Mapping):
            kind = type(given.headers).__name__
            raise ConfigError(f"destination: headers: {kind} is not a mapping; give a dict of names and values")
        for name in given.headers:
            if not isinstance(name, str) or not isinstance(given.headers[name], str):
                raise ConfigError("destination: headers: names and values must be texts")
            if name.strip().lower() in _OWN_HEADERS:
                raise ConfigError(f"destination: headers: {name.strip().lower()} depends on the body of each request; leave it out")
            found[name.lower()] = Secret(given.headers[name])
    return found


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ConfigError(f"destination: {name}: {str(value)[:40]} is not a number")
