"""Where events go, beside or in place of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .. import _core, files
from ..errors import ConfigError

__all__ = ["Destination", "Secret"]

_LIMITS: Final = ("max_events", "max_bytes", "linger", "concurrency")


class Secret:
    """A text that shows itself nowhere but to who asks for it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "'…'"

    def __deepcopy__(self, _memo: Any) -> Secret:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written anywhere")


class Destination:
    """A destination over HTTP: batches of events, compressed, sent again until it has them.

    Args:
        url: `<protocol>+https://host/path`; `<protocol>+http://` for this machine. The protocols are `cloudevents` (CloudEvents 1.0
            in JSON) and `jsonl` (a JSON object a line).
        token: Sent as `Authorization: Bearer …`.
        headers: Further headers, such as an API key's.
        allow_http: Send to another machine in clear text all the same.
        timeout: Seconds that a request and its answer may take, from 0.1 to 600; the answer has to begin within a third of them.
        ca_bundle: A PEM file of certificates that are trusted beside the system's, for a collector with a private authority.
        max_events: Events in one request, from 1 to 10,000; 1,000 by default.
        max_bytes: Bytes of a request before compression, from 1,000 to 20,000,000; 1,000,000 by default. An event that is larger is
            sent alone.
        linger: Seconds that events wait for others, so that they go in one request, from 0 to 3,600; 1 by default.
        concurrency: Requests at once, from 1 to 64; 4 by default.

    Raises:
        ConfigError: The URL is of no known form, or another argument breaks its rule. The URL is not repeated: it can hold a key.
    """

    _url = Secret("")
    _headers: Mapping[str, Secret] = {}
    _protocol = "cloudevents"
    _limits: Mapping[str, float] = {}
    _ca: bytes | None = None

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
        timeout: float = 30.0,
        ca_bundle: str | PathLike[str] | None = None,
        max_events: int | None = None,
        max_bytes: int | None = None,
        linger: float | None = None,
        concurrency: int | None = None,
    ) -> None:
        # From here on no local variable of this frame shows a key, because error trackers log tracebacks with local variables.
        hidden = _Hidden(url, token, headers)
        del url, token, headers
        self._protocol, self._url = _split(hidden)
        self._headers = _headers(hidden)
        self.allow_http = bool(allow_http)
        self.timeout = _number("timeout", timeout)
        if not 0.1 <= self.timeout <= 600:  # noqa: PLR2004
            raise ConfigError(f"destination: timeout: {str(timeout)[:40]} is not a number of seconds from 0.1 to 600")
        given = zip(_LIMITS, (max_events, max_bytes, linger, concurrency), strict=True)
        self._limits = {name: _number(name, value) for name, value in given if value is not None}
        try:
            self._ca = None if ca_bundle is None else files.read(Path(ca_bundle).expanduser())
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"destination: ca_bundle: {reason}; name a file of certificates in PEM") from None
        _core.check_destination(self.to_core())

    @property
    def host(self) -> str:
        """The host, which is all of the URL that is ever shown."""
        try:
            return urlsplit(self._url.reveal()).hostname or ""
        except ValueError:
            return ""

    @property
    def place(self) -> str:
        """The URL without its query, by which its cursor is known. Not to be shown."""
        return self._url.reveal().partition("?")[0]

    def to_core(self) -> dict[str, Any]:
        """As the core takes it."""
        return {
            "url": self._url.reveal(),
            "headers": [(name, value.reveal()) for name, value in self._headers.items()],
            "allow_http": self.allow_http,
            "timeout": self.timeout,
            "ca": self._ca,
            "protocol": self._protocol,
            "limits": {name: self._limits.get(name) for name in _LIMITS},
            "wire": None,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host!r}, headers={sorted(self._headers)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Destination) and self.to_core() == other.to_core()

    def __hash__(self) -> int:
        return hash(self.host)


class _Hidden:
    """What was given, hidden from tracebacks that show locals."""

    __slots__ = ("headers", "token", "url")

    def __init__(self, url: Any, token: Any, headers: Any) -> None:
        self.url, self.token, self.headers = url, token, headers

    def __repr__(self) -> str:
        return "…"


def _split(given: _Hidden) -> tuple[str, Secret]:
    """The protocol's name, and the URL without it."""
    if not isinstance(given.url, str):
        kind = type(given.url).__name__
        raise ConfigError(f"destination: url: {kind} is not a text; give a URL such as cloudevents+https://host/path")
    schemes = _core.destination_schemes()
    # In a subinterpreter no scheme is known, and every URL passes.
    if "://" not in given.url or (schemes and given.url.partition("://")[0].lower() not in schemes):
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigError(f"destination: url: only 'ledger' and URLs that begin with one of {known} are known")
    protocol, _, transport = given.url.partition("://")[0].lower().partition("+")
    return protocol, Secret(f"{transport}://{given.url.partition('://')[2]}")


def _headers(given: _Hidden) -> dict[str, Secret]:
    found = {}
    if given.token:
        if not isinstance(given.token, str):
            raise ConfigError(f"destination: token: {type(given.token).__name__} is not a text; give the token itself")
        found["authorization"] = Secret(f"Bearer {given.token}")
    if given.headers is not None:
        if not isinstance(given.headers, Mapping):
            kind = type(given.headers).__name__
            raise ConfigError(f"destination: headers: {kind} is not a mapping; give a dict of names and values")
        for name in given.headers:
            if not isinstance(name, str) or not isinstance(given.headers[name], str):
                raise ConfigError("destination: headers: names and values have to be texts")
            found[name.lower()] = Secret(given.headers[name])
    return found


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ConfigError(f"destination: {name}: {str(value)[:40]} is not a number")
