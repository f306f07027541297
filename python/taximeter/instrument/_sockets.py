"""OpenAI's connections over web sockets: every frame that one receives passes `parse_event`, and some end a billed response."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from .. import _core
from . import _binding
from ._hosts import provider_of
from ._recorder import Recorder
from ._shims import after

__all__ = ["hook_connections"]

_NAME: Final = "openai"
_ENDS: Final = frozenset({"response.done", "response.completed", "response.incomplete", "response.failed"})
_SESSIONS: Final = frozenset({"session.created", "session.updated"})
_MODEL: Final = "_taximeter_model"


def hook_connections(module: ModuleType) -> None:
    """Watches the connections of a module, of those that this version has."""
    for kind in ("RealtimeConnection", "ResponsesConnection"):
        for name in (kind, f"Async{kind}"):
            owner = getattr(module, name, None)
            if owner is not None and hasattr(owner, "parse_event"):
                after(owner, "parse_event", _look)


def _look(connection: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], event: Any) -> None:
    kind = getattr(event, "type", None)
    if kind in _SESSIONS:
        # A response over a realtime socket does not name its model.
        connection.__dict__[_MODEL] = getattr(event.session, "model", None)
    meter = _binding.meter_of(_NAME, connection) if kind in _ENDS else None
    if meter is None:
        return
    data = args[0] if args else kwargs["data"]
    provider = provider_of(_host(connection), _NAME)
    fields = {"provider": provider, "model": connection.__dict__.get(_MODEL), "operation": "chat"}
    recorder = Recorder(meter, _core.Scanner("openai", provider=provider, content_type="application/json"), fields, None)
    recorder.feed(data if isinstance(data, bytes) else data.encode())
    recorder.finish()


def _host(connection: Any) -> str:
    request = getattr(getattr(connection, "_connection", None), "request", None)
    return str(request.headers.get("Host", "")).partition(":")[0] if request is not None else ""
