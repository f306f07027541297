"""OpenAI's WebSocket connections. Every received frame passes `parse_event`, and some frames end a billed response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from ... import attribution
from ...budgets import gate
from .. import bindings
from ..call import CALL
from ..deferred import Seen
from ..forks import generation
from ..gates import Found, asked_in, limited
from ..hosts import Address, answered_by, region_of
from ..recorder import Recorder, scanner_for
from ..shims import after, before

__all__ = ["hook_connections"]

_NAME: Final = "openai"
_KINDS: Final = ("RealtimeConnection", "ResponsesConnection", "LiveConnection", "SidebandConnection", "ForksConnection")
_ENDS: Final = frozenset({"response.done", "response.completed", "response.incomplete", "response.failed"})

_MODEL: Final = "_taximeter_model"
_SESSION: Final = "_taximeter_session"
_TRANSCRIBER: Final = "_taximeter_transcriber"
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_SECONDS: Final = "_taximeter_seconds"

_counted = Seen()
"""Sessions and responses that were counted. A session can be received over more than one connection."""


def hook_connections(module: ModuleType) -> None:
    """Instrument the connections of a module that this version of the client has."""
    for kind in _KINDS:
        for name in (kind, f"Async{kind}"):
            owner = getattr(module, name, None)
            if owner is not None and hasattr(owner, "parse_event"):
                after(owner, "parse_event", _look)
                before(owner, "close", _closed)
    _hook_managers(module)


def _hook_managers(module: ModuleType) -> None:
    """Instrument the managers that `connect` returns, so that a connection's events belong to the call of `connect`."""
    for kind in _KINDS:
        for name in (f"{kind}Manager", f"Async{kind}Manager"):
            owner = getattr(module, name, None)
            for enter in ("__enter__", "__aenter__", "enter"):
                if owner is not None and hasattr(owner, enter):
                    after(owner, enter, _entered, gate=_ask_budgets)


def _ask_budgets(manager: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> Found | None:
    """Ask whether a connection may be made: something must be left. Its responses are charged when they end."""
    state = manager.__dict__
    client, model = (next((state[name] for name in state if name.endswith(end)), None) for end in ("__client", "__model"))
    meter = limited(_NAME, client)
    if meter is None:
        return None
    call = state.get(CALL)
    asked = asked_in({**answered_by(meter, getattr(client, "base_url", Address("")), _NAME), "model": model}, {})
    return meter, asked.without_estimate()._replace(scope=None if call is None else call.scope)


def _entered(manager: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], connection: Any) -> None:
    if (ticket := gate.claim()) is not None:
        ticket.end("failed")
    if (call := manager.__dict__.get(CALL)) is not None:
        connection.__dict__[CALL] = call


def _look(connection: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], event: Any) -> None:
    kind = getattr(event, "type", None)
    state = connection.__dict__
    if session := getattr(event, "session", None):
        # A response over a realtime connection does not name its model.
        state[_MODEL] = getattr(session, "model", None) or state.get(_MODEL)
        state[_SESSION] = getattr(session, "id", None) or state.get(_SESSION)
        state[_TRANSCRIBER] = _transcriber(session) or state.get(_TRANSCRIBER)
    if kind in _ENDS or kind == _TRANSCRIBED:
        data = args[0] if args else kwargs["data"]
        _record(connection, data if isinstance(data, bytes) else data.encode(), is_transcript=kind == _TRANSCRIBED)
    elif kind == "response.event" and event.event.get("type") in _ENDS:
        # The response of another model that a live session called.
        _record(connection, json.dumps(event.event).encode(), event.event.get("response", {}).get("id"))
    elif kind == "decision.event":
        decision = event.event.decision
        _record(connection, decision.model_dump_json().encode(), getattr(decision, "id", None))
    elif kind == "session.usage.updated":
        # A running total of the session.
        state[_SECONDS] = event.usage.seconds, generation()
    elif kind == "session.closed":
        state.pop(_SECONDS, None)
        _record_session(connection, event.usage.seconds)


def _closed(connection: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> None:
    """Record a live session whose connection is closed before its final total arrived."""
    seconds, made_in = connection.__dict__.pop(_SECONDS, (None, 0))
    # A forked child that closes its copy is not the session's end.
    if seconds is not None and made_in == generation():
        _record_session(connection, seconds, is_final=False)


def _record_session(connection: Any, seconds: float, *, is_final: bool = True) -> None:
    name = connection.__dict__.get(_SESSION)
    usage = json.dumps({"usage": {"seconds": seconds}, "id": name}).encode()
    _record(connection, usage, name, is_final=is_final)


def _transcriber(session: Any) -> str | None:
    """Return the model that transcribes a session's audio input."""
    for step in ("audio", "input", "transcription", "model"):
        session = getattr(session, step, None)
    return session if isinstance(session, str) else None


def _record(connection: Any, data: bytes, name: str | None = None, *, is_final: bool = True, is_transcript: bool = False) -> None:
    meter = bindings.meter_of(_NAME, connection)
    if meter is None or (name is not None and not _counted.add(name)):
        return
    address = Address(f"wss://{_host(connection)}")
    answered = answered_by(meter, address, _NAME)
    provider = answered["provider"]
    model = connection.__dict__.get(_TRANSCRIBER if is_transcript else _MODEL)
    fields = {**answered, "model": model, "operation": "transcription" if is_transcript else "chat"}
    if region := region_of(address.host):
        fields["region"] = region
    # The scanner marks an incomplete stream as partial, but would take the same JSON body as complete.
    content_type = "application/json" if is_final else "text/event-stream"
    call = connection.__dict__.get(CALL)
    if call is not None:
        fields |= call.ids
    current = attribution.current()
    own = None if call is None else call.scope
    attribution.enter(connection, own.over(current) if own is not None and current is not None else own or current)
    try:
        recorder = Recorder(meter, scanner_for(meter, "openai", provider, content_type), fields, None)
        recorder.feed(data if is_final else b"data: " + data)
        recorder.finish()
    finally:
        attribution.leave(connection)


def _host(connection: Any) -> str:
    request = getattr(getattr(connection, "_connection", None), "request", None)
    return str(request.headers.get("Host", "")) if request is not None else ""
