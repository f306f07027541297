"""Attribution by request, for ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ._request import Who, scope_of

__all__ = ["AsgiAttribution"]


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
        with scope_of(self._who, scope):
            await self._app(scope, receive, send)
