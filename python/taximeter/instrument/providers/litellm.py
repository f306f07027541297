"""litellm, where it asks a provider itself. What it asks through a client that is metered is recorded there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ... import attribution
from ...fields import KEYWORD_PREFIX
from .. import bindings
from ..bindings import Family
from ..call import Call, current_call
from ..layers import Claim
from ..recorder import Recorder, scanner_for
from ..shims import after, put, run_guarded, shim

if TYPE_CHECKING:
    from ...meter import Meter

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
    "rerank": "rerank",
    "arerank": "rerank",
}
_OTHERS: Final = (
    "image_generation", "aimage_generation", "image_edit", "aimage_edit", "speech", "aspeech", "transcription", "atranscription",
    "moderation", "amoderation", "anthropic_messages",
)  # fmt: skip
"""Functions whose usage is not read here; taximeter's keywords go no further all the same, for litellm would send them on."""
_STREAMED: Final = ("complete_streaming_response", "async_complete_streaming_response")
_CLAIM: Final = "_taximeter_claim"
_ESTIMATED: Final = "_taximeter_estimated"


def _begun(logging: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], _result: object) -> None:
    """Every call has one of these objects, from its beginning on; it ends in threads and tasks that have no attribution."""
    setattr(logging, _CLAIM, (Claim(_NAME), current_call(), attribution.current()))


def _succeeded(logging: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], _result: object) -> None:
    meter = bindings.meter_of(_NAME, None)
    details = logging.model_call_details
    operation = _OPERATIONS.get(str(logging.call_type))
    claim, call, scope = getattr(logging, _CLAIM, (None, None, None))
    if meter is None or operation is None or claim is None or claim.is_taken or details.get("cache_hit"):
        return
    answer = kwargs.get("result", args[0] if args else None)
    if logging.stream:
        answer = next((details[name] for name in _STREAMED if details.get(name) is not None), None)
    if answer is not None and claim.take():
        attribution.enter(claim, scope)
        try:
            _record(meter, details, operation, answer, call, is_reported=not getattr(logging, _ESTIMATED, False))
        finally:
            attribution.leave(claim)


def _record(meter: Meter, details: Mapping[str, Any], operation: str, answer: Any, call: Call | None, *, is_reported: bool) -> None:
    provider = str(details.get("custom_llm_provider") or "unknown")
    fields = {
        "provider": provider,
        "model": getattr(answer, "model", None) or details.get("model"),
        "operation": operation,
        "service_tier": getattr(answer, "service_tier", None),
    }
    usage = getattr(answer, "usage", None) if is_reported else None
    report = usage.model_dump() if usage is not None and hasattr(usage, "model_dump") else usage
    scanner = scanner_for(meter, "openai", provider, "application/json")
    recorder = Recorder(meter, scanner, fields, call)
    choices = [{"finish_reason": getattr(choice, "finish_reason", None)} for choice in getattr(answer, "choices", None) or ()]
    recorder.feed(json.dumps({"usage": report, "choices": choices}, default=str).encode())
    recorder.finish()


def _built(original: Any) -> Any:
    """Where no part of a stream has usage, litellm counts tokens itself: an estimate, which is not what was billed."""

    @wraps(original)
    def stream_chunk_builder(*args: Any, **kwargs: Any) -> Any:
        run_guarded(partial(_note_estimate, *args[:1], **kwargs))
        return original(*args, **kwargs)

    return stream_chunk_builder


def _note_estimate(chunks: Any, logging_obj: Any = None, **_: Any) -> None:
    if logging_obj is not None and not any(map(_has_usage, chunks)):
        setattr(logging_obj, _ESTIMATED, True)


def _has_usage(chunk: Any) -> bool:
    hidden = getattr(chunk, "_hidden_params", None) or {}
    usage = chunk.get("usage") if isinstance(chunk, Mapping) else getattr(chunk, "usage", None)
    # The last part always has one; of zeros, where nobody reported it.
    usage = usage or hidden.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else getattr(usage, "total_tokens", None)
    return bool(total)


def _prepared(original: Any) -> Any:
    """Every function passes here, also one that was imported by name before it had a shim: its keywords go no further."""

    @wraps(original)
    def function_setup(*args: Any, **kwargs: Any) -> Any:
        if not any(name.startswith(KEYWORD_PREFIX) for name in kwargs):
            return original(*args, **kwargs)
        call = Call(kwargs)
        call.hold()
        with call:
            return original(*args, **call.kwargs)

    return function_setup


def _hook_functions(module: ModuleType) -> None:
    for name in (*_OPERATIONS, *_OTHERS):
        if hasattr(module, name):
            shim(module, name)
    put(module, "stream_chunk_builder", _built)


def _hook_setup(module: ModuleType) -> None:
    put(module, "function_setup", _prepared)


def _hook_logging(module: ModuleType) -> None:
    after(module.Logging, "__init__", _begun)
    after(module.Logging, "success_handler", _succeeded)
    after(module.Logging, "async_success_handler", _succeeded)


def _owns(_client: object) -> bool:
    # It has functions, and no clients.
    return False


def _bind_client(client: Any, meter: Meter) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(
    _NAME,
    {_LOGGING: _hook_logging, "litellm.utils": _hook_setup, _NAME: _hook_functions},
    (_LOGGING,),
    _owns,
    _bind_client,
)  # fmt: skip
