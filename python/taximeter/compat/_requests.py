"""Failures of requests, in the classes that users of `requests` catch.

`requests` is not needed: where it is not installed, classes of the same names take their place.
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
    "broken": "ConnectionError",
    "too_large": "ContentDecodingError",
}


class RequestException(IOError):  # noqa: N818 - the name that users catch
    """A request that failed; `response` is its answer, if there was one."""

    def __init__(self, *args: Any, response: Any = None) -> None:
        super().__init__(*args)
        self.response = response


class HTTPError(RequestException):
    """An answer that says no."""


class ConnectionError(RequestException):  # noqa: A001 - the name that users catch
    """No connection, or a broken one."""


class Timeout(RequestException):
    """No answer in time."""


class ConnectTimeout(ConnectionError, Timeout):  # noqa: N818
    """No connection in time."""


class ReadTimeout(Timeout):
    """A connection, and no answer in time."""


class InvalidURL(RequestException, ValueError):  # noqa: N818
    """No URL."""


class MissingSchema(RequestException, ValueError):  # noqa: N818
    """A URL that does not begin with `https://`."""


class InvalidHeader(RequestException, ValueError):  # noqa: N818
    """A header that cannot be sent."""


class InvalidJSONError(RequestException):
    """What cannot be JSON, such as NaN."""


class ContentDecodingError(RequestException):
    """An answer that cannot be read."""


class Response:
    """An answer, as `requests` shows it."""

    def __init__(self, status: int, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self.status_code = status
        self.url = url
        self.headers: Mapping[str, str] = dict(headers)
        self.content = body
        self.reason = responses.get(status, "")

    @property
    def ok(self) -> bool:
        """Whether it says yes."""
        return self.status_code < _CLIENT_ERROR

    @property
    def text(self) -> str:
        """The body."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body's JSON.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.content)

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


@functools.cache
def _classes() -> ModuleType | None:
    """The exceptions of `requests`, if it is installed; it is imported when something failed, and not before."""
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
    """The answer in the class that its readers expect."""
    if _classes() is None:
        return response
    import requests  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415

    shown = requests.Response()
    shown.status_code, shown.url, shown.reason = response.status_code, response.url, response.reason
    shown.headers.update(response.headers)
    shown._content = response.content  # noqa: SLF001 - it has no other way in
    return shown


def raise_for_status(response: Response) -> None:
    """Does what `requests` does for answers that say no; one that leads elsewhere is one too, for it took nothing."""
    if response.ok and response.status_code < _REDIRECT:
        return
    whose = "Server Error" if response.status_code >= _SERVER_ERROR else "Client Error"
    whose = "Redirect not followed" if response.ok else whose
    message = f"{response.status_code} {whose}: {response.reason} for url: {response.url}"
    raise _error("HTTPError", message, _shown(response))


def raise_transfer_error(error: TransferError, url: str) -> NoReturn:
    """Raises what `requests` would have raised for a request without an answer."""
    name = "MissingSchema" if error.kind == "url" and "://" not in url else _KINDS[error.kind]
    raise _error(name, error.reason) from None


def invalid_json(error: ValueError) -> Exception:
    """What `requests` raises for numbers that JSON does not have."""
    return _error("InvalidJSONError", str(error))


def not_recorded(reason: str) -> Exception:
    """What is raised where not even the journal takes a request."""
    return _error("ConnectionError", f"the request cannot be recorded: {reason}")
