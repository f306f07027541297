"""The ASGI and the WSGI middleware of `taximeter.integrations` in one module."""

from __future__ import annotations

from .integrations.asgi import AsgiAttribution
from .integrations.wsgi import WsgiAttribution

__all__ = ["AsgiAttribution", "WsgiAttribution"]
