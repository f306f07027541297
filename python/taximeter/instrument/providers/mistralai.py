"""The Mistral client: its first version, and the later ones, which have it in `mistralai.client`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import bindings
from ..bindings import Family
from ..shims import shim_all
from ..speakeasy import hook_base

if TYPE_CHECKING:
    from ...meter import Meter

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
    "transcriptions": {"Transcriptions": _FOUR},
}  # fmt: skip


def _owns(client: object) -> bool:
    bases = (sys.modules.get(name) for name in _BASES)
    return any(base is not None and isinstance(client, base.BaseSDK) for base in bases)


def _shared(client: Any) -> Any:
    return client.sdk_configuration


def _bind_client(client: Any, meter: Meter) -> None:
    bindings.mark(_shared(client), meter)


_BASES: Final = ("mistralai.client.basesdk", "mistralai.basesdk")

FAMILY: Final = Family(
    _NAME,
    dict.fromkeys(_BASES, hook_base(_NAME, _PROVIDER, _OPERATIONS, "openai", _shared))
    | {
        f"{package}.{module}": partial(shim_all, classes=classes)
        for package in ("mistralai.client", "mistralai")
        for module, classes in _METHODS.items()
    },
    _BASES,
    _owns,
    _bind_client,
)
