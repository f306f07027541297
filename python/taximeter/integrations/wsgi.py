"""Attribution by request for WSGI applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import Any

from ..attribution import attribute, steps
from ._request import Who, scope_of

__all__ = ["WsgiAttribution"]


class WsgiAttribution:
    """A WSGI middleware that attributes the calls of each request, including those made while the response is sent.

        app = WsgiAttribution(app, lambda environ: {"user": environ.get("REMOTE_USER")})

    Args:
        app: The application.
        who: Called with the request's environment. Returns the fields of `attribute` that are known, or `None`. If it raises, the
            error is logged, and the request continues without attribution.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], who: Who) -> None:
        self._app = app
        self._who = who

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        scope = scope_of(self._who, environ)
        with scope:
            body = self._app(environ, start_response)
        # A complete body makes no more calls, and servers treat a file wrapper specially, so both are returned unchanged.
        sender = environ.get("wsgi.file_wrapper")
        if isinstance(body, (list, tuple)) or (isinstance(sender, type) and isinstance(body, sender)):
            return body
        if isinstance(body, GeneratorType):
            generator: Iterable[bytes] = steps(scope, body)
            return generator
        return _Body(body, scope)


class _Body:
    """A response body that is generated while it is sent."""

    def __init__(self, body: Iterable[bytes], scope: attribute) -> None:
        self._body = body
        self._scope = scope

    def __iter__(self) -> Iterator[bytes]:
        with self._scope:
            parts = iter(self._body)
        while True:
            with self._scope:
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part

    def close(self) -> None:
        """Close the application's body, as WSGI requires."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._scope:
                close()
