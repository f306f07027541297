"""Where events go, beside or in place of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from . import files
from .errors import ConfigError

__all__ = ["Destination", "Secret"]

_SCHEMES: Final = {"cloudevents+https": "https", "cloudevents+http": "http"}


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
    """A destination over HTTP: batches of CloudEvents 1.0 in JSON, compressed, retried until it has them.

    Args:
        url: `cloudevents+https://host/path`; `cloudevents+http://` for this machine.
        token: Sent as `Authorization: Bearer …`.
        headers: Further headers, such as an API key's.
        allow_http: Send to another machine in clear text all the same.
        timeout: Seconds that a request and its answer may take, from 0.1 to 600; the answer has to begin within a third of them.
        ca_bundle: A PEM file of certificates that are trusted beside the system's, for a collector with a private authority.

    Raises:
        ConfigError: The URL is of no known form, or another argument breaks its rule. The URL is not repeated: it can hold a key.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
        timeout: float = 30.0,
        ca_bundle: str | PathLike[str] | None = None,
    ) -> None:
        if not isinstance(url, str):
            raise ConfigError(f"destination: {type(url).__name__} is no URL")
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.lower() not in _SCHEMES:
            raise ConfigError(f"destination: only 'ledger' and URLs with {' or '.join(_SCHEMES)} are known")
        self._url = Secret(f"{_SCHEMES[scheme.lower()]}://{rest}")
        given = {"authorization": f"Bearer {token}"} if token else {}
        if not isinstance(headers, (Mapping, type(None))):
            raise ConfigError("destination: headers are a mapping of texts")
        for name, value in (headers or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ConfigError("destination: headers are texts")
            given[name.lower()] = value
        self._headers = {name: Secret(value) for name, value in given.items()}
        self.allow_http = bool(allow_http)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0.1 <= timeout <= 600:  # noqa: PLR2004
            raise ConfigError(f"destination: timeout: {str(timeout)[:40]} is not a number of seconds from 0.1 to 600")
        self.timeout = float(timeout)
        try:
            self._ca = None if ca_bundle is None else files.read(Path(ca_bundle).expanduser())
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"destination: ca_bundle: {getattr(error, 'strerror', None) or error}") from None

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
            "wire": None,
        }

    def __repr__(self) -> str:
        return f"Destination({self.host!r}, headers={sorted(self._headers)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Destination) and self.to_core() == other.to_core()

    def __hash__(self) -> int:
        return hash(self.host)
