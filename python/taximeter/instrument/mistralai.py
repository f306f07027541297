"""The Mistral client: its first version, and the later ones, which have it in `mistralai.client`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from . import _binding, _http
from ._binding import Family
from ._call import current_call
from ._hosts import provider_of
from ._shims import after, shim_all

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["FAMILY"]

_NAME: Final = "mistralai"
_PROVIDER: Final = "mistral_ai"
_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/fim/completions": "text_completion",
    "/agents/completions": "chat",
    "/embeddings": "embeddings",
    "/conversations": "chat",
    "/responses": "chat",
    "/ocr": "generate_content",
    "/audio/transcriptions": "transcription",
}
_FOUR: Final = ("complete", "complete_async", "stream", "stream_async")
_METHODS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "chat": {"Chat": (*_FOUR, "parse", "parse_async", "parse_stream", "parse_stream_async")},
    "fim": {"Fim": _FOUR},
    "agents": {"Agents": _FOUR},
    "embeddings": {"Embeddings": ("create", "create_async")},
    "ocr": {"Ocr": ("process", "process_async")},
    "conversations": {
        "Conversations": tuple(
            f"{what}{how}" for what in ("start", "append", "restart") for how in ("", "_async", "_stream", "_stream_async")
        )
    },
    "responses": {"Responses": ("create", "create_async")},
}  # fmt: skip


def _look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
    meter = _binding.meter_of(_NAME, client.sdk_configuration)
    request = kwargs.get("request") or args[1]
    path = request.url.path.removesuffix("/restart")
    if "/conversations/" in path:
        path = path.rpartition("/")[0]
    operation = next((what for end, what in _OPERATIONS.items() if path.endswith(end)), None)
    if meter is None or operation is None or request.method != "POST":
        return
    call = current_call()
    fields = {
        "provider": provider_of(request.url.host, _PROVIDER),
        # Counts where the response names none, as a stream does that ends before its first part.
        "model": call and call.kwargs.get("model"),
        "operation": operation,
    }
    _http.follow(meter, "openai", fields, response)


def _hook_base(module: ModuleType) -> None:
    after(module.BaseSDK, "do_request", _look)
    after(module.BaseSDK, "do_request_async", _look)


def _owns(client: object) -> bool:
    bases = (sys.modules.get(name) for name in _BASES)
    return any(base is not None and isinstance(client, base.BaseSDK) for base in bases)


def _bind_client(client: Any, meter: Meter) -> None:
    # All parts of a client share it.
    _binding.mark(client.sdk_configuration, meter)


_BASES: Final = ("mistralai.client.basesdk", "mistralai.basesdk")

FAMILY: Final = Family(
    _NAME,
    dict.fromkeys(_BASES, _hook_base)
    | {
        f"{package}.{module}": partial(shim_all, classes=classes)
        for package in ("mistralai.client", "mistralai")
        for module, classes in _METHODS.items()
    },
    _BASES,
    _owns,
    _bind_client,
)
