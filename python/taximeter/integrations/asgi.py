"""Attribution by request for ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ._request import Who, scope_of

__all__ = ["AsgiAttribution"]


class AsgiAttribution:
    """An ASGI middleware that attributes the calls of each request and web socket.

        app = AsgiAttribution(app, lambda scope: {"user": scope["session"]["user"], "feature": scope["path"]})

    Args:
        app: The application.
        who: Called with the connection's scope. Returns the fields of `attribute` that are known, or `None`. If it raises, the
            error is logged, and the request continues without attribution.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], who: Who) -> None:
        self._app = app
        self._who = who

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        with scope_of(self._who, scope):
            await self._app(scope, receive, send)
