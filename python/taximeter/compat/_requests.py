"""Raises failures of requests in the exception classes of `requests`.

`requests` is optional. If it is not installed, classes with the same names replace it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from http.client import responses
from types import ModuleType
from typing import Any, Final, NoReturn

from ..errors import TransferError

__all__ = ["InvalidJSONError", "Response", "raise_for_status", "raise_transfer_error"]

_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500
_REDIRECT: Final = 300
_KINDS: Final = {
    "url": "InvalidURL",
    "header": "InvalidHeader",
    "connect_timeout": "ConnectTimeout",
    "read_timeout": "ReadTimeout",
    "connect": "ConnectionError",
    "tls": "SSLError",
    "broken": "ConnectionError",
    "too_large": "ContentDecodingError",
}


class RequestException(IOError):  # noqa: N818 - the name that users catch
    """A request that failed. `response` is its response, if there was one."""

    def __init__(self, *args: Any, response: Any = None) -> None:
        super().__init__(*args)
        self.response = response


class HTTPError(RequestException):
    """A response with an error status."""


class ConnectionError(RequestException):  # noqa: A001 - the name that users catch
    """A connection that failed or broke."""


class SSLError(ConnectionError):
    """A certificate that is not trusted, or a failed TLS handshake."""


class Timeout(RequestException):
    """A timeout."""


class ConnectTimeout(ConnectionError, Timeout):  # noqa: N818
    """A timeout while connecting."""


class ReadTimeout(Timeout):
    """A timeout while waiting for the response."""


class InvalidURL(RequestException, ValueError):  # noqa: N818
    """An invalid URL."""


class MissingSchema(RequestException, ValueError):  # noqa: N818
    """A URL that does not begin with `https://`."""


class InvalidHeader(RequestException, ValueError):  # noqa: N818
    """A header that cannot be sent."""


class InvalidJSONError(RequestException):
    """A value that JSON cannot express, such as NaN."""


class ContentDecodingError(RequestException):
    """A response that cannot be decoded."""


class Response:
    """A response, with the attributes that `requests` has."""

    def __init__(self, status: int, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self.status_code = status
        self.url = url
        self.headers: Mapping[str, str] = dict(headers)
        self.content = body
        self.reason = responses.get(status, "")

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < _CLIENT_ERROR

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.content)

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


@functools.cache
def _classes() -> ModuleType | None:
    """Return the exceptions of `requests`, or `None` if it is not installed. It is only imported after a failure."""
    try:
        import requests.exceptions  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415
    except ImportError:
        return None
    module: ModuleType = requests.exceptions
    return module


def _error(name: str, message: str, response: Any = None) -> Exception:
    kind = getattr(_classes(), name, None) or globals()[name]
    error: Exception = kind(message, response=response)
    return error


def _shown(response: Response) -> Any:
    """Convert the response to a response of `requests`, if that is installed."""
    if _classes() is None:
        return response
    import requests  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415

    shown = requests.Response()
    shown.status_code, shown.url, shown.reason = response.status_code, response.url, response.reason
    shown.headers.update(response.headers)
    shown._content = response.content  # noqa: SLF001 - there is no public way to set it
    return shown


def raise_for_status(response: Response) -> None:
    """Raise for error statuses like `requests`, and also for redirects, because the service has not accepted the request."""
    if response.ok and response.status_code < _REDIRECT:
        return
    whose = "Server Error" if response.status_code >= _SERVER_ERROR else "Client Error"
    whose = "Redirect not followed" if response.ok else whose
    message = f"{response.status_code} {whose}: {response.reason} for url: {response.url}"
    raise _error("HTTPError", message, _shown(response))


def raise_transfer_error(error: TransferError, url: str) -> NoReturn:
    """Raise what `requests` would have raised for a request without a response."""
    name = "MissingSchema" if error.kind == "url" and "://" not in url else _KINDS[error.kind]
    raise _error(name, error.reason) from None


def invalid_json(error: ValueError) -> Exception:
    """Return the exception that `requests` raises for numbers that JSON cannot express."""
    return _error("InvalidJSONError", str(error))


def not_recorded(reason: str) -> Exception:
    """Return the exception for a request that the journal cannot record."""
    return _error("ConnectionError", f"the request cannot be recorded: {reason}")
