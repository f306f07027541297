"""The Groq client."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family

__all__ = ["FAMILY"]

FAMILY: Final = stainless_family(
    "groq",
    operations={
        "/chat/completions": "chat",
        "/embeddings": "embeddings",
        "/audio/transcriptions": "transcription",
        "/audio/translations": "transcription",
        "/audio/speech": "speech",
    },
)
