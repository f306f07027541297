"""Google's client for Gemini, for the Gemini API and for Vertex AI."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ...budgets.gate import claim, free
from .. import bindings
from ..bindings import Family
from ..call import Call, current_call, without_own_headers
from ..failures import failed
from ..forks import generation
from ..gates import Found, admitted, asked_in, count, limited
from ..guard import run_guarded
from ..hosts import Address, answered_by
from ..recorder import Recorder, recorded, recorded_async, scanner_for
from ..shims import after, each_subclass, put, shim_classes, shim_public
from ..speakeasy import hook_base

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "google.genai"
_CLIENT: Final = "google.genai._api_client"
_LINES: Final = "application/x-ndjson"
_OPERATIONS: Final = {
    "generateContent": "generate_content",
    "streamGenerateContent": "generate_content",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
    "predict": "generate_content",
}
_BATCHES: Final = ("batchGenerateContent", "asyncBatchEmbedContent", "batchPredictionJobs")
"""What creates a batch, in the Gemini API and in Vertex AI. Its results are charged when they are fetched."""
_PART: Final = "_taximeter_usage"
_SOURCES: Final = "_taximeter_sources"
_MODEL: Final = "_taximeter_model"
_CALL: Final = "_taximeter_call"
"""Attributes of a live session: usage and sources of the current turn, the requested model, and the call that opened it."""
_NEEDS: Final = ("http_method", "path")


def _request(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Engine, dict[str, Any]] | None:
    """Return the meter and the known fields of a request's event; `None` if it is not metered."""
    meter = bindings.meter_of(_NAME, client)
    path = (kwargs.get("path") or args[1]).partition("?")[0]
    resource, _, method = path.rpartition("/")[2].partition(":")
    operation = _OPERATIONS.get(method or resource)
    if meter is None or operation is None or (kwargs.get("http_method") or args[0]).upper() != "POST":
        return None
    fields = {**_answered(meter, client), "model": resource if method else None, "operation": operation}
    request = kwargs.get("request_dict") or next(iter(args[2:]), None)
    return meter, fields | {"region": _region(client), "service_tier": _tier(request)}


def _answered(meter: Engine, client: Any) -> dict[str, str]:
    """Return the fields that name the provider. Other hosts offer both of Google's services, too."""
    vendor = "gcp.vertex_ai" if getattr(client, "vertexai", None) else "gcp.gemini"
    options = getattr(client, "_http_options", None)
    base = getattr(options, "base_url", None)
    if not isinstance(base, str):
        return {"provider": vendor}
    answered = answered_by(meter, Address(base), vendor)
    return {"provider": vendor} if base.rstrip("/").endswith("googleapis.com") else answered


def _recorder(
    client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], content_type: str, *, served: str | None = None
) -> Recorder | None:
    """Return the recorder of one request. Each request of a call is billed, such as those of function calling."""
    if (found := _request(client, args, kwargs)) is None:
        return None
    meter, fields = found
    fields["service_tier"] = served or fields["service_tier"]
    return Recorder(meter, scanner_for(meter, "gemini", fields["provider"], content_type), fields, current_call(), ticket=claim())


def _fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException) -> None:
    if (found := _request(client, args, kwargs)) is not None:
        failed(*found, error)


def _ask_budgets(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    limiter = limited(_NAME, client)
    if limiter is None:
        return None
    if (found := _request(client, args, kwargs)) is None:
        return _ask_for_batch(limiter, client, args, kwargs)
    meter, fields = found
    body = kwargs.get("request_dict") or next(iter(args[2:]), None)
    limits = body.get("generationConfig") if isinstance(body, Mapping) else None
    asked = asked_in(fields, body, choices=count(limits, "candidateCount"))
    return meter, asked if asked.max_output == 0 else asked._replace(max_output=count(limits, "maxOutputTokens"))


def _ask_for_batch(meter: Engine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    """Return what is asked for a batch that a request creates; `None` for other requests."""
    resource, _, method = (kwargs.get("path") or args[1]).partition("?")[0].rpartition("/")[2].partition(":")
    if (method or resource) not in _BATCHES or (kwargs.get("http_method") or args[0]).upper() != "POST":
        return None
    body = kwargs.get("request_dict") or next(iter(args[2:]), None)
    model = resource if method else body.get("model") if isinstance(body, Mapping) else None
    name = model.rpartition("/")[2] if isinstance(model, str) else None
    return meter, asked_in({**_answered(meter, client), "model": name}, {}).without_estimate()


def _region(client: Any) -> str | None:
    """Return the region of Vertex AI. Some models cost more there than at the global endpoint."""
    location = getattr(client, "location", None) if getattr(client, "vertexai", None) else None
    return location if isinstance(location, str) else None


def _tier(request: object) -> str | None:
    """Return the requested tier, which is used if the response names none."""
    tier = request.get("serviceTier") if isinstance(request, Mapping) else None
    return str(getattr(tier, "value", tier)).lower().removeprefix("service_tier_") if tier else None


def _served_tier(response: Any) -> str | None:
    """Return the tier that served the call, from a header of the response."""
    headers = getattr(response, "headers", None)
    named = headers if isinstance(headers, Mapping) else {}
    tier = next((value for name, value in named.items() if str(name).lower() == "x-gemini-service-tier"), None)
    return str(tier).lower() if tier else None


def _look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
    recorder = _recorder(client, args, kwargs, "application/json", served=_served_tier(response))
    if recorder is not None:
        recorder.feed((response.body or "").encode())
        recorder.finish()
    elif (meter := limited(_NAME, client)) is not None and _ask_for_batch(meter, client, args, kwargs) is not None:
        free()


def _show(response: Any) -> bytes:
    # The client parses and serializes each chunk, so it is on one line.
    tier = _served_tier(response)
    served = json.dumps({"service_tier": tier}).encode() + b"\n" if tier else b""
    return served + (response.body or "").encode() + b"\n"


def _streamed(original: Any) -> Any:
    @wraps(original)
    def request_streamed(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The request is made when the first part is read.
        result = original(self, *args, **kwargs)
        return recorded(
            result,
            partial(_recorder, self, args, kwargs, _LINES),
            _show,
            partial(_fail, self, args, kwargs),
            lambda *_: _ask_budgets(self, args, kwargs),
            family=_NAME,
            part=self,
        )

    return request_streamed


def _streamed_async(original: Any) -> Any:
    @wraps(original)
    async def async_request_streamed(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = admitted(_ask_budgets, self, args, kwargs, family=_NAME)
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            if held is not None:
                held.failed(error)
            run_guarded(_fail, self, args, kwargs, error, family=_NAME)
            raise
        recorder = run_guarded(_recorder, self, args, kwargs, _LINES, family=_NAME)
        if held is not None:
            held.answered()
        return recorded_async(result, lambda: recorder, _show, family=_NAME)

    return async_request_streamed


def _heard(session: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], message: Any) -> None:
    """Handle a message of a live session. Its usage covers the turn so far, and the turn's last message ends one event."""
    state = session.__dict__
    if (usage := getattr(message, "usage_metadata", None)) is not None:
        state[_PART] = usage, generation()
    content = getattr(message, "server_content", None)
    if (grounding := getattr(content, "grounding_metadata", None)) is not None:
        # Searches are billed. Only hashes of their texts are kept, by the scanner, when the turn ends.
        state.setdefault(_SOURCES, []).append(grounding.model_dump(mode="json", exclude_none=True))
    if content is not None and content.turn_complete:
        _record_turn(session, is_final=True)


def _record_turn(session: Any, *, is_final: bool) -> None:
    usage, made_in = session.__dict__.pop(_PART, (None, 0))
    sources = session.__dict__.pop(_SOURCES, [])
    client = session._api_client  # noqa: SLF001 - public under no other name
    meter = bindings.meter_of(_NAME, client)
    if usage is None or meter is None or made_in != generation():
        return
    # In live sessions, the counts of the response have other names.
    counts = usage.model_dump(mode="json", exclude_none=True)
    report = {name.replace("response_token", "candidates_token"): count for name, count in counts.items()}
    answered = _answered(meter, client)
    provider = answered["provider"]
    content_type = "application/json" if is_final else _LINES
    fields = {**answered, "model": session.__dict__.get(_MODEL), "operation": "generate_content", "region": _region(client)}
    recorder = Recorder(meter, scanner_for(meter, "gemini", provider, content_type), fields, session.__dict__.get(_CALL))
    candidates = [{"groundingMetadata": source} for source in sources]
    recorder.feed(json.dumps({"usageMetadata": report, "candidates": candidates}).encode())
    recorder.finish()


def _live_model(kwargs: Mapping[str, Any]) -> str | None:
    return str(kwargs.get("model") or "").rpartition("/")[2] or None


def _ask_for_session(live: Any, _args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    client = live._api_client  # noqa: SLF001 - public under no other name
    meter = limited(_NAME, client)
    if meter is None:
        return None
    return meter, asked_in({**_answered(meter, client), "model": _live_model(kwargs)}, {}).without_estimate()


def _connected(original: Any) -> Any:
    @wraps(original)
    @asynccontextmanager
    async def connect(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        call = Call(kwargs, family=_NAME, part=self)
        call.hold()
        # A session only begins if a budget has room left. Its turns are charged when they end.
        with call:
            held = admitted(_ask_for_session, self, args, call.kwargs, family=_NAME)
        if held is not None:
            held.drop()
        async with original(self, *args, **call.kwargs) as session:
            # Messages of a session do not name its model.
            session.__dict__[_MODEL] = _live_model(kwargs)
            session.__dict__[_CALL] = call
            try:
                yield session
            finally:
                run_guarded(partial(_record_turn, session, is_final=False), family=_NAME, part=session)

    return connect


def _hook_live(module: ModuleType) -> None:
    put(module.AsyncLive, "connect", _connected, needs=("model",))
    after(module.AsyncSession, "_receive", _heard)


def _strip_headers(_client: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], request: Any) -> None:
    """Remove taximeter's headers from every request, including those of methods without a shim and the client's own headers."""
    request.headers, _ = without_own_headers(request.headers, ())


def _hook_parts(module: ModuleType) -> None:
    # `_connected` handles the connection of a live session.
    each_subclass(module.BaseModule, lambda owner: shim_public(owner, but=("connect",) if owner.__name__ == "AsyncLive" else ()))


def _hook_client(module: ModuleType) -> None:
    owner = module.BaseApiClient
    if hasattr(owner, "_build_request"):
        after(owner, "_build_request", _strip_headers)
    after(owner, "request", _look, fail=_fail, gate=_ask_budgets, needs=_NEEDS)
    after(owner, "async_request", _look, fail=_fail, gate=_ask_budgets, needs=_NEEDS)
    put(owner, "request_streamed", _streamed, needs=_NEEDS)
    put(owner, "async_request_streamed", _streamed_async, needs=_NEEDS)


def _api_client(client: object) -> Any:
    """Return the object that makes the requests of a client or of its asynchronous half."""
    return getattr(client, "_api_client", None)


def _owns(client: object) -> bool:
    module = sys.modules.get(_CLIENT)
    return module is not None and isinstance(_api_client(client), module.BaseApiClient)


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(_api_client(client), meter)


FAMILY: Final = Family(
    _NAME,
    {
        _CLIENT: _hook_client,
        "google.genai._api_module": _hook_parts,
        "google.genai.chats": shim_classes,
        "google.genai.live": _hook_live,
        "google.genai._gaos.basesdk": hook_base(
            _NAME, "gcp.gemini", {"/interactions": "generate_content"}, "gemini", lambda sdk: getattr(sdk, "_api_client", None)
        ),
    },
    (_CLIENT,),
    _owns,
    _bind_client,
    distribution="google-genai",
)
