"""Requests and responses of the dashboard, and the headers that every response has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

__all__ = ["IS_GONE", "SECURITY", "Request", "RequestError", "Response", "json_response"]

_MOST_QUERY: Final = 8_192
"""The most bytes of a query."""
_MOST_FIELDS: Final = 100
IS_GONE: Final = "taximeter.is_gone"
"""The key of a WSGI environment under which our server tells whether the client has gone."""

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
FILE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""For SVG files, which have a style sheet of their own. They are opened alone, without scripts and without access to anything."""
SECURITY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""Headers of every response."""


class RequestError(Exception):
    """A request cannot be answered.

    Args:
        status: The status of the response.
        message: What is wrong, and what to do about it.
        headers: More headers of the response.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Request:
    """A request."""

    method: str
    path: str
    """The path below the place where the dashboard is mounted. It begins with a slash."""
    text: str
    """The query as it was sent."""
    headers: Mapping[str, str]
    """The headers, with names in lower case."""
    mount: str = ""
    """The path where the dashboard is mounted, without a slash at the end."""
    is_gone: Callable[[], bool] | None = None
    """Whether the client has closed the connection; `None` if the server does not tell."""

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Request:
        """Return the request of a WSGI environment."""
        headers = {name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")}
        return cls(
            str(environ.get("REQUEST_METHOD", "GET")).upper(),
            "/" + _text(environ.get("PATH_INFO", "")).lstrip("/"),
            str(environ.get("QUERY_STRING", "")),
            headers,
            _text(environ.get("SCRIPT_NAME", "")).rstrip("/"),
            environ.get(IS_GONE),
        )

    def query(self) -> list[tuple[str, str]]:
        """Return the names and values of the query, in order.

        Raises:
            RequestError: The query is too long.
        """
        if len(self.text) > _MOST_QUERY:
            message = f"the query has {len(self.text):,} bytes; the most are {_MOST_QUERY:,}"
            raise RequestError(HTTPStatus.REQUEST_URI_TOO_LONG, message)
        try:
            return parse_qsl(self.text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"the query has more than {_MOST_FIELDS} fields") from None


def _text(path: Any) -> str:
    # WSGI decodes the bytes of a path as Latin-1, whatever they are.
    return str(path).encode("latin-1", "replace").decode("utf-8", "replace")


@dataclass(frozen=True)
class Response:
    """A response."""

    body: bytes | Iterable[bytes] = b""
    kind: str = "text/plain; charset=utf-8"
    """The content type."""
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    policy: str = CONTENT_POLICY
    """The content security policy."""
    cache: str = "no-store"
    """What a browser may keep. Nothing that tells of the ledger is kept."""

    def head(self) -> list[tuple[str, str]]:
        """Return all headers."""
        length = [("Content-Length", str(len(self.body)))] if isinstance(self.body, bytes) else []
        rules = (("Content-Security-Policy", self.policy), *SECURITY, ("Cache-Control", self.cache))
        return [("Content-Type", self.kind), *length, *rules, *self.headers.items()]


def json_response(value: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON value. It is ASCII, so that no text in it is taken for a line or a mark of direction."""
    return Response(json.dumps(value).encode(), "application/json", status, dict(headers or {}))
