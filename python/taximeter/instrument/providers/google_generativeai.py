"""Google's former client for Gemini, `google-generativeai`, which uses gRPC."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ...budgets.gate import claim
from .. import bindings
from ..bindings import Family
from ..call import Call
from ..failures import failed
from ..gates import Found, admitted, asked_in, count, limited
from ..guard import check_signature, name_of, run_guarded
from ..recorder import Recorder, recorded, recorded_async, scanner_for
from ..shims import put, shim_classes

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "google.generativeai"
_MODELS: Final = "google.generativeai.generative_models"
_PROVIDER: Final = "gcp.gemini"


def _candidate(candidate: Any) -> Mapping[str, Any]:
    """Return the finish reason and the web searches of a candidate, because searches are billed."""
    reason, grounding = candidate.finish_reason, getattr(candidate, "grounding_metadata", None)
    queries = [str(query) for query in getattr(grounding, "web_search_queries", None) or ()]
    return {"finishReason": reason.name if reason else None, "groundingMetadata": {"webSearchQueries": queries}}


def _shown(model: str, response: Any) -> bytes:
    """Return the fields of a response, a protobuf message, that the scanner needs: its usage and finish reasons."""
    # Absent fields would read as zeros.
    usage = response.usage_metadata if "usage_metadata" in response else None
    message: Mapping[str, Any] = {
        "modelVersion": model,
        "usageMetadata": None if usage is None else type(usage).to_dict(usage),
        "candidates": [_candidate(candidate) for candidate in response.candidates],
    }
    return json.dumps(message).encode() + b"\n"


def _follow(model: Any, call: Call, result: Any) -> None:
    meter = bindings.meter_of(_NAME, model)
    if meter is None:
        return
    name = model.model_name.rpartition("/")[2]
    fields = {"provider": _PROVIDER, "model": name, "operation": "generate_content"}
    shown = partial(_shown, name)
    scanner = scanner_for(meter, "gemini", _PROVIDER, "application/x-ndjson")
    recorder = Recorder(meter, scanner, fields, call, ticket=claim())
    # There is no public attribute. A stream has already received its first part.
    recorder.feed_guarded(shown, result._result)  # noqa: SLF001
    rest = result._iterator  # noqa: SLF001
    if rest is None:
        recorder.finish()
        return
    watched = recorded_async if hasattr(rest, "__anext__") else recorded
    result._iterator = watched(rest, lambda: recorder, shown, family=_NAME)  # noqa: SLF001


def _fail(model: Any, error: BaseException) -> None:
    # The client checks its arguments itself. Errors from the provider have these classes.
    is_refusal = any(kind.__module__.partition(".")[0] in {"grpc", "google"} for kind in type(error).__mro__)
    meter = bindings.meter_of(_NAME, model)
    if meter is not None and is_refusal and not type(error).__module__.startswith("google.generativeai"):
        name = model.model_name.rpartition("/")[2]
        failed(meter, {"provider": _PROVIDER, "model": name, "operation": "generate_content"}, error)


def _ask_budgets(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    meter = limited(_NAME, model)
    if meter is None:
        return None
    # Settings of a call come over those of the model. Both are mappings, or objects of the client or of protobuf.
    own = kwargs.get("generation_config")
    limits = {
        name: next(filter(None, (_setting(one, name) for one in (own, model._generation_config))), None)  # noqa: SLF001
        for name in ("max_output_tokens", "candidate_count")
    }
    system = getattr(model, "_system_instruction", None)
    texts = [str(part.text) for part in getattr(system, "parts", ())]
    body = {"contents": kwargs.get("contents", args[0] if args else None), "system": texts, "tools": kwargs.get("tools")}
    fields = {"provider": _PROVIDER, "model": model.model_name.rpartition("/")[2]}
    return meter, asked_in(fields, body, limits=limits, choices=count(limits, "candidate_count"))


def _setting(settings: Any, name: str) -> Any:
    return settings.get(name) if isinstance(settings, Mapping) else getattr(settings, name, None)


def _generated(original: Any) -> Any:
    @wraps(original)
    def generate_content(self: Any, *args: Any, **kwargs: Any) -> Any:
        with Call(kwargs, family=_NAME, part=self) as call:
            held = admitted(_ask_budgets, self, args, call.kwargs, family=_NAME)
            try:
                result = original(self, *args, **call.kwargs)
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, error, family=_NAME)
                raise
            run_guarded(_follow, self, call, result, family=_NAME)
            if held is not None:
                held.answered()
            return result

    return generate_content


def _generated_async(original: Any) -> Any:
    @wraps(original)
    async def generate_content_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        with Call(kwargs, family=_NAME, part=self) as call:
            held = admitted(_ask_budgets, self, args, call.kwargs, family=_NAME)
            try:
                result = await original(self, *args, **call.kwargs)
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, error, family=_NAME)
                raise
            run_guarded(_follow, self, call, result, family=_NAME)
            if held is not None:
                held.answered()
            return result

    return generate_content_async


def _hook_models(module: ModuleType) -> None:
    # `_follow` reads two of its attributes, which have the names of these parameters.
    answer = module.generation_types.BaseGenerateContentResponse
    check_signature(answer.__init__, ("iterator", "result"), name_of(answer, "__init__"))
    put(module.GenerativeModel, "generate_content", _generated)
    put(module.GenerativeModel, "generate_content_async", _generated_async)
    shim_classes(module)


def _owns(client: object) -> bool:
    module = sys.modules.get(_MODELS)
    return module is not None and isinstance(client, module.GenerativeModel)


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(
    _NAME, {_MODELS: _hook_models}, (_MODELS,), _owns, _bind_client, distribution="google-generativeai"
)  # fmt: skip
