"""litellm, if it makes the request itself. Requests through a metered client are recorded there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from inspect import iscoroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ... import attribution
from ...budgets import gate
from ...errors import BudgetExceeded
from ...fields import KEYWORD_PREFIX
from .. import bindings
from ..bindings import Family
from ..call import Call, current_call
from ..failures import failed
from ..forks import generation
from ..gates import Found, admitted, asked_in, limited
from ..guard import run_guarded
from ..layers import Claim
from ..recorder import Recorder, scanner_for
from ..shims import after, before, public_methods, put, shim

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "litellm"
_LOGGING: Final = "litellm.litellm_core_utils.litellm_logging"
_OPERATIONS: Final = {
    "completion": "chat",
    "acompletion": "chat",
    "text_completion": "text_completion",
    "atext_completion": "text_completion",
    "embedding": "embeddings",
    "aembedding": "embeddings",
    "responses": "chat",
    "aresponses": "chat",
    # Since 1.110.
    "compact_responses": "chat",
    "acompact_responses": "chat",
    "rerank": "rerank",
    "arerank": "rerank",
}
_STREAMED: Final = ("complete_streaming_response", "async_complete_streaming_response")
_CLAIM: Final = "_taximeter_claim"
_STREAM: Final = "_taximeter_stream"
_BUILT: Final = "_taximeter_built"
_ESTIMATED: Final = "_taximeter_estimated"


def _begun(logging: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], _result: object) -> None:
    """Attach a claim, the call and its attribution to litellm's logging object, because calls end in threads without them."""
    claim, held = Claim(_NAME), gate.current()
    claim.held = () if held is None else (held,)
    setattr(logging, _CLAIM, (claim, current_call(), attribution.current()))


def _end(logging: Any, answer: Any, error: type[BaseException] | None = None, *, usage: Any = None, is_whole: bool = True) -> None:
    """Record the event of a call, unless it was already recorded here or by a client below.

    Args:
        logging: litellm's logging object of the call.
        answer: litellm's response object, or `None`.
        error: The class of the exception that ended the call.
        usage: The usage that the parts of a stream reported; by default, that of the response.
        is_whole: Whether the response is complete.
    """
    meter = bindings.meter_of(_NAME, None)
    details = logging.model_call_details
    operation = _OPERATIONS.get(str(logging.call_type))
    claim, call, scope = getattr(logging, _CLAIM, (None, None, None))
    held: gate.Held | None = next(iter(claim.held), None) if claim is not None else None
    if meter is None or operation is None or claim is None or details.get("cache_hit") or not claim.take():
        # A client below or an earlier event has settled the ticket, or there was no request.
        if held is not None:
            held.drop()
        return
    provider = str(details.get("custom_llm_provider") or "unknown")
    fields = {
        "provider": provider,
        "model": getattr(answer, "model", None) or details.get("model"),
        "operation": operation,
        "service_tier": getattr(answer, "service_tier", None),
    }
    if usage is None and not getattr(logging, _ESTIMATED, False):
        usage = _plain(getattr(answer, "usage", None))
    choices = [{"finish_reason": getattr(choice, "finish_reason", None)} for choice in getattr(answer, "choices", None) or ()]
    said = {"model": fields["model"], "usage": usage, "choices": choices, "data": _drawn(answer)}
    message = json.dumps(said, default=str).encode()
    attribution.enter(claim, scope)
    try:
        scanner = scanner_for(meter, "openai", provider, "application/json" if is_whole else "text/event-stream")
        recorder = Recorder(meter, scanner, fields, call, ticket=None if held is None else held.claim(), is_over=True)
        recorder.feed(message if is_whole else b"data: " + message + b"\n\n")
        recorder.finish(error, is_cut=not is_whole)
    finally:
        attribution.leave(claim)


def _plain(usage: Any) -> Any:
    return usage.model_dump() if usage is not None and hasattr(usage, "model_dump") else usage


def _succeeded(logging: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], _result: object) -> None:
    """Handle litellm's success callback, which may run too late: see `_answered`. It is for versions without the other hooks."""
    answer = kwargs.get("result", args[0] if args else None)
    if logging.stream:
        if hasattr(logging, _STREAM):
            return
        answer = next(
            (logging.model_call_details[name] for name in _STREAMED if logging.model_call_details.get(name) is not None), None
        )
    if answer is not None:
        _end(logging, answer)


def _answered(original: Any) -> Any:
    """Instrument the function that every response, except streams, passes before it is returned."""

    @wraps(original)
    def post_call_processing(*args: Any, **kwargs: Any) -> Any:
        run_guarded(partial(_note_answer, *args, **kwargs), family=_NAME)
        return original(*args, **kwargs)

    return post_call_processing


def _note_answer(original_response: Any, model: Any = None, optional_params: Any = None, *_: Any, **__: Any) -> None:  # noqa: ARG001
    logging = (optional_params or {}).get("litellm_logging_obj")
    if logging is not None and original_response is not None and not iscoroutine(original_response):
        _end(logging, original_response)


def _failed(logging: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Record a failed call, unless it failed before a request was made."""
    meter = bindings.meter_of(_NAME, None)
    details = logging.model_call_details
    operation = _OPERATIONS.get(str(logging.call_type))
    claim, call, scope = getattr(logging, _CLAIM, (None, None, None))
    error = kwargs.get("exception", args[0] if args else None)
    if claim is not None and not hasattr(logging, _STREAM) and isinstance(error, BaseException):
        for held in claim.held:
            held.failed(error)
    was_asked = details.get("log_event_type") in {"pre_api_call", "post_api_call"}
    # A client below may have reported it already.
    if not was_asked or meter is None or operation is None or claim is None or claim.is_taken or (call and call.failure):
        return
    if not hasattr(logging, _STREAM) and isinstance(error, BaseException):
        provider = str(details.get("custom_llm_provider") or "unknown")
        attribution.enter(claim, scope)
        try:
            failed(meter, {"provider": provider, "model": details.get("model"), "operation": operation}, error)
        finally:
            attribution.leave(claim)


class _Stream:
    """The end of a stream. It is an attribute of the stream object, so that an abandoned stream ends when it is collected."""

    __slots__ = ("_chunks", "_generation", "_is_open", "_logging")

    def __init__(self, logging: Any, chunks: Sequence[Any]) -> None:
        self._logging = logging
        self._chunks = chunks
        self._is_open = True
        self._generation = generation()

    def end(self, error: type[BaseException] | None = None, *, answer: Any = None, is_whole: bool = True) -> None:
        """Record the event. Only the first call has an effect."""
        if not self._is_open or self._generation != generation():
            return
        self._is_open = False
        if answer is not None:
            _end(self._logging, answer, error)
            return
        reports = [report for chunk in self._chunks if (report := _plain(_usage_of(chunk)))]
        # litellm writes zeros if the provider reported no usage, so only a total above zero counts.
        usage = _merged(reports) if any(report.get("total_tokens") for report in reports) else {}
        last = next((chunk for chunk in reversed(self._chunks) if getattr(chunk, "choices", None)), None)
        _end(self._logging, last, error, usage=usage, is_whole=is_whole and bool(usage))

    def __del__(self) -> None:
        run_guarded(partial(self.end, is_whole=False), family=_NAME)


def _merged(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the highest count of each name, because parts of a stream report the usage so far."""
    merged: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, Mapping):
                merged[name] = _merged([merged.get(name) or {}, value])
            elif isinstance(value, (int, float)):
                merged[name] = max(merged.get(name) or 0, value)
    return merged


def _usage_of(chunk: Any) -> Any:
    hidden = getattr(chunk, "_hidden_params", None) or {}
    usage = chunk.get("usage") if isinstance(chunk, Mapping) else getattr(chunk, "usage", None)
    return usage or hidden.get("usage")


def _streams(stream: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], _result: object) -> None:
    """Attach a `_Stream` to a new stream."""
    logging = getattr(stream, "logging_obj", None)
    if logging is not None and hasattr(logging, _CLAIM):
        stream.__dict__[_STREAM] = _Stream(logging, getattr(stream, "chunks", ()))
        setattr(logging, _STREAM, True)


def _stopped(stream: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], error: BaseException) -> BudgetExceeded | None:
    """End a stream that ended normally or with an error. Return the refusal of a budget that closed it."""
    end = stream.__dict__.get(_STREAM)
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        if end is not None:
            end.end(answer=getattr(stream.logging_obj, _BUILT, None))
        return None
    refusal = _refusal_in(error)
    if end is not None:
        end.end(type(refusal or error), is_whole=False)
    return refusal


def _refusal_in(error: BaseException) -> BudgetExceeded | None:
    """Return the refusal that litellm has wrapped in exceptions of its own. A router would try other models after those."""
    known: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and all(one is not other for other in known):
        if isinstance(one, BudgetExceeded):
            return one
        known.append(one)
        one = one.__cause__ or one.__context__ or getattr(one, "original_exception", None)
    return None


def _closed(stream: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> None:
    """End a stream that was closed before or after its end."""
    if (end := stream.__dict__.get(_STREAM)) is not None and not getattr(stream, "sent_last_chunk", False):
        end.end(is_whole=False)


def _responded(stream: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> None:
    """End a stream of the Responses interface, which has received its last event."""
    answer = getattr(getattr(stream, "completed_response", None), "response", None)
    if (end := stream.__dict__.get(_STREAM)) is not None and answer is not None:
        end.end(answer=answer)


def _drawn(answer: Any) -> list[None] | None:
    """Mark a response as one of images, because its usage may not say so."""
    data = getattr(answer, "data", None)
    return [] if isinstance(data, list) and not getattr(answer, "object", None) else None


def _built(original: Any) -> Any:
    """Instrument the assembly of a stream's parts. If none has usage, litellm estimates it, and the estimate must not be recorded."""

    @wraps(original)
    def stream_chunk_builder(*args: Any, **kwargs: Any) -> Any:
        run_guarded(partial(_note_estimate, *args[:1], **kwargs), family=_NAME)
        whole = original(*args, **kwargs)
        if (logging := kwargs.get("logging_obj")) is not None:
            run_guarded(setattr, logging, _BUILT, whole, family=_NAME)
        return whole

    return stream_chunk_builder


def _note_estimate(chunks: Any, logging_obj: Any = None, **_: Any) -> None:
    if logging_obj is not None and not any(map(_has_usage, chunks)):
        setattr(logging_obj, _ESTIMATED, True)


def _has_usage(chunk: Any) -> bool:
    # The last part always has usage, which is all zeros if the provider reported none.
    usage = _usage_of(chunk)
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else getattr(usage, "total_tokens", None)
    return bool(total)


def _prepared(original: Any) -> Any:
    """Remove keywords in a function that all calls pass, even calls of functions that were imported before they got a shim."""

    @wraps(original)
    def function_setup(*args: Any, **kwargs: Any) -> Any:
        outer = current_call()
        if outer is not None and outer.is_layer and not any(name.startswith(KEYWORD_PREFIX) for name in kwargs):
            return original(*args, **kwargs)
        call = Call(kwargs, family=_NAME)
        call.hold()
        with call:
            # The arguments after the name of the function, the rules and the time are those of the call.
            held = admitted(_ask_budgets, None, args[3:], call.kwargs, family=_NAME)
            with held or nullcontext():
                return original(*args, **call.kwargs)

    return function_setup


def _ask_budgets(_part: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, operation: str = "chat") -> Found | None:
    # litellm wraps the exceptions of its clients in its own, so budgets are asked before it begins.
    meter = limited(_NAME, None)
    if meter is None:
        return None
    name = kwargs.get("model") or next((one for one in args if isinstance(one, str)), "")
    provider, model = _resolved(str(name), kwargs)
    fields = {"provider": provider, "model": model, "operation": operation, "service_tier": kwargs.get("service_tier")}
    return meter, asked_in(fields, {**kwargs, **({"messages": args[1]} if len(args) > 1 else {})})


def _resolved(name: str, kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """Return the provider and the model of a name such as `gemini/gemini-2.5-flash`."""
    try:
        known = ("custom_llm_provider", "api_base", "api_key")
        found = sys.modules[_NAME].get_llm_provider(name, **{one: kwargs[one] for one in known if kwargs.get(one)})
        return str(found[1]), str(found[0])
    except Exception:  # litellm will raise this itself
        return "unknown", name


def _ask_for_deployment(_part: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, operation: str = "chat") -> Found | None:
    """Ask for the first deployment of a router's model. A refusal below would make the router try others."""
    if limited(_NAME, None) is None:
        return None
    router, *others = args
    name = kwargs.get("model") or next((one for one in others if isinstance(one, str)), "")
    deployments = (one for one in getattr(router, "model_list", None) or () if one.get("model_name") == name)
    own = dict(next((one.get("litellm_params") or {} for one in deployments), {}))
    return _ask_budgets(None, tuple(others), {**own, **kwargs, "model": own.get("model") or name}, operation=operation)


def _hook_functions(module: ModuleType) -> None:
    # Functions whose usage is not read need a shim, too, because litellm sends unknown keywords to the provider.
    others = [name for name, function in vars(module).items() if not name.startswith("_") and _asks_provider(function)]
    for name in {*_OPERATIONS, *others}:
        if hasattr(module, name):
            operation = _OPERATIONS.get(name)
            shim(module, name, is_layer=True, gate=None if operation is None else partial(_ask_budgets, operation=operation))
    put(module, "stream_chunk_builder", _built, needs=("chunks", "logging_obj"))


def _asks_provider(function: Any) -> bool:
    """Return whether litellm's `client` decorates the function, as it does for all functions that make requests."""
    code = getattr(function, "__code__", None)
    return hasattr(function, "__wrapped__") and code is not None and code.co_filename.replace("\\", "/").endswith("/litellm/utils.py")


def _hook_utils(module: ModuleType) -> None:
    put(module, "function_setup", _prepared)
    if hasattr(module, "post_call_processing"):
        put(module, "post_call_processing", _answered, needs=("original_response", "model", "optional_params"))


def _hook_logging(module: ModuleType) -> None:
    after(module.Logging, "__init__", _begun)
    after(module.Logging, "success_handler", _succeeded, needs=("result",))
    after(module.Logging, "async_success_handler", _succeeded, needs=("result",))
    before(module.Logging, "failure_handler", _failed, needs=("exception",))


def _hook_streams(module: ModuleType) -> None:
    owner = module.CustomStreamWrapper
    after(owner, "__init__", _streams, needs=("logging_obj",))
    after(owner, "__next__", fail=_stopped)
    after(owner, "__anext__", fail=_stopped)
    for name in ("close", "aclose"):
        if hasattr(owner, name):
            before(owner, name, _closed)


def _hook_responses(module: ModuleType) -> None:
    for name in ("ResponsesAPIStreamingIterator", "SyncResponsesAPIStreamingIterator"):
        owner = getattr(module, name, None)
        if owner is not None:
            after(owner, "__init__", _streams)
            before(owner, "_handle_logging_completed_response", _responded)
            after(owner, "__anext__" if hasattr(owner, "__anext__") else "__next__", fail=_stopped)


def _hook_router(module: ModuleType) -> None:
    """Instrument a router, which retries failed calls, possibly with other providers."""
    for name in public_methods(module.Router):
        if name in _OPERATIONS:
            shim(module.Router, name, is_layer=True, gate=partial(_ask_for_deployment, operation=_OPERATIONS[name]))


def _owns(_client: object) -> bool:
    # litellm has functions, and no client objects.
    return False


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(
    _NAME,
    {
        _LOGGING: _hook_logging,
        "litellm.utils": _hook_utils,
        "litellm.litellm_core_utils.streaming_handler": _hook_streams,
        "litellm.responses.streaming_iterator": _hook_responses,
        "litellm.router": _hook_router,
        _NAME: _hook_functions,
    },
    (_LOGGING,),
    _owns,
    _bind_client,
)
