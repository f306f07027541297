"""The exceptions of TokenTally, and their causes: those of `httpx` if it is installed, else classes with the same names."""

from __future__ import annotations

from collections.abc import Sequence
from http.client import responses
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from ...errors import TransferError

__all__ = ["AuthenticationError", "RateLimitError", "TokenTallyError", "status_error", "transport_error"]

_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400
_ENCODING: Final = {"content-encoding", "content-length", "transfer-encoding"}
_KINDS: Final = {
    "url": "UnsupportedProtocol",
    "header": "LocalProtocolError",
    "connect_timeout": "ConnectTimeout",
    "read_timeout": "ReadTimeout",
    "broken": "RemoteProtocolError",
    "too_large": "DecodingError",
}
"""The class of `httpx` for each kind of `TransferError`; `ConnectError` for the others."""


class TokenTallyError(Exception):
    """Usage that could not be reported. `__cause__` is the exception that `httpx` has for this failure.

    Attributes:
        status: The HTTP status of the response; `None` if there was none.
    """

    status: int | None = None

    def __init__(self, *args: Any, status: int | None = None) -> None:
        super().__init__(*args)
        self.status = status


class AuthenticationError(TokenTallyError):
    """The API key is invalid."""


class RateLimitError(TokenTallyError):
    """The rate limit was exceeded."""


class HTTPStatusError(Exception):
    """A response with an error status. `request` has no headers, because they contain the key."""

    def __init__(self, message: str, *, request: Any, response: Any) -> None:
        super().__init__(message)
        self.request = request
        self.response = response


def _httpx() -> ModuleType | None:
    """Return `httpx`, or `None` if it is not installed. It is only imported after a failure."""
    try:
        import httpx  # noqa: PLC0415
    except ImportError:
        return None
    return httpx


def status_error(status: int, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Exception:
    """Return the exception of `httpx` for a response with an error status or a redirect."""
    whose = "Server error" if status >= _SERVER_ERROR else "Client error" if status >= _CLIENT_ERROR else "Redirect response"
    reason = responses.get(status, "")
    message = f"{whose} '{status} {reason}' for url '{url}'"
    httpx = _httpx()
    if httpx is None:
        response = SimpleNamespace(
            status_code=status,
            reason_phrase=reason,
            headers=dict(headers),
            content=body,
            text=body.decode("utf-8", "replace"),
            url=url,
        )
        return HTTPStatusError(message, request=None, response=response)
    # The body is already decoded.
    plain = [
        (name, value) for name, value in headers if name.lower() not in {"content-encoding", "content-length", "transfer-encoding"}
    ]
    request = httpx.Request("POST", url)
    error: Exception = httpx.HTTPStatusError(
        message, request=request, response=httpx.Response(status, headers=plain, content=body, request=request)
    )
    return error


def transport_error(error: TransferError, url: str) -> Exception:
    """Return the exception of `httpx` for a request without a response; the error itself if `httpx` is not installed."""
    httpx = _httpx()
    if httpx is None:
        return error
    kind = getattr(httpx, _KINDS.get(error.kind, "ConnectError"))
    try:
        request = httpx.Request("POST", url)
    except httpx.InvalidURL:
        request = None
    found: Exception = kind(str(error), request=request)
    return found
