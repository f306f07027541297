"""The middlewares for ASGI and WSGI under one name; they are in `taximeter.integrations`."""

from __future__ import annotations

from .integrations.asgi import AsgiAttribution
from .integrations.wsgi import WsgiAttribution

__all__ = ["AsgiAttribution", "WsgiAttribution"]
