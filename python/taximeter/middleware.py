"""Attribution by request: whom a web service makes its calls for, decided once, at its door."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from types import GeneratorType
from typing import Any

from .attribution import attribute, steps

__all__ = ["AsgiAttribution", "WsgiAttribution"]

log = logging.getLogger("taximeter")

Who = Callable[[Any], "Mapping[str, object] | None"]


def _scope_of(who: Who, request: Any) -> attribute:
    """The attribution of a request; none where it cannot be told, for a request is not to fail over that."""
    try:
        return attribute(**(who(request) or {}))  # type: ignore[arg-type]
    except Exception:
        log.debug("taximeter left a request without attribution", exc_info=True)
        return attribute()


class AsgiAttribution:
    """An ASGI application whose requests and web sockets are attributed.

        app = AsgiAttribution(app, lambda scope: {"user": scope["session"]["user"], "feature": scope["path"]})

    Args:
        app: The application.
        who: Is given the connection's scope, and returns the fields of `attribute` that are known, or `None`. What it raises is
            logged, and the request goes on without.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], who: Who) -> None:
        self._app = app
        self._who = who

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answers one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        with _scope_of(self._who, scope):
            await self._app(scope, receive, send)


class WsgiAttribution:
    """A WSGI application whose requests are attributed, until the last byte of their answers.

        app = WsgiAttribution(app, lambda environ: {"user": environ.get("REMOTE_USER")})

    Args:
        app: The application.
        who: Is given the request's environment, and returns the fields of `attribute` that are known, or `None`. What it raises is
            logged, and the request goes on without.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], who: Who) -> None:
        self._app = app
        self._who = who

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request."""
        scope = _scope_of(self._who, environ)
        with scope:
            body = self._app(environ, start_response)
        # What is made already, and what the server sends by itself, stay what they are.
        sender = environ.get("wsgi.file_wrapper")
        if isinstance(body, (list, tuple)) or (isinstance(sender, type) and isinstance(body, sender)):
            return body
        if isinstance(body, GeneratorType):
            generator: Iterable[bytes] = steps(scope, body)
            return generator
        return _Body(body, scope)


class _Body:
    """An answer that is made while it is sent."""

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
        """Ends the answer, as the application would have it."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._scope:
                close()
