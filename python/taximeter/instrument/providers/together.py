"""The Together client, from version 2."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family

__all__ = ["FAMILY"]

FAMILY: Final = stainless_family(
    "together",
    operations={
        "/chat/completions": "chat",
        "/completions": "text_completion",
        "/embeddings": "embeddings",
        "/images/generations": "generate_content",
        "/rerank": "rerank",
        "/audio/transcriptions": "transcription",
        "/audio/translations": "transcription",
        "/audio/speech": "speech",
    },
)
