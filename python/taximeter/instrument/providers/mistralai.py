"""The Mistral client: version 1, and later versions, which are in `mistralai.client`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from .. import bindings
from ..bindings import Family
from ..speakeasy import hook_base

if TYPE_CHECKING:
    from ...meter import Engine

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


def _owns(client: object) -> bool:
    bases = (sys.modules.get(name) for name in _BASES)
    return any(base is not None and isinstance(client, base.BaseSDK) for base in bases)


def _shared(client: Any) -> Any:
    return client.sdk_configuration


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(_shared(client), meter)


_BASES: Final = ("mistralai.client.basesdk", "mistralai.basesdk")

_HOOK: Final = hook_base(_NAME, _PROVIDER, _OPERATIONS, "openai", _shared, batches="/batch/jobs")

FAMILY: Final = Family(_NAME, dict.fromkeys(_BASES, _HOOK), _BASES, _owns, _bind_client)
