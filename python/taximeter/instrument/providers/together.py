"""The Together client, from its second version on."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family

__all__ = ["FAMILY"]


def _named(name: str, method: str) -> dict[str, tuple[str, ...]]:
    """A class, by both names that versions have for it."""
    return {name: (method,), f"{name}Resource": (method,)}


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
    methods={
        "together.resources.chat.completions": _named("Completions", "create"),
        "together.resources.completions": _named("Completions", "create"),
        "together.resources.embeddings": _named("Embeddings", "create"),
        "together.resources.images": _named("Images", "generate"),
        "together.resources.rerank": _named("Rerank", "create"),
        "together.resources.audio.speech": _named("Speech", "create"),
        "together.resources.audio.transcriptions": _named("Transcriptions", "create"),
        "together.resources.audio.translations": _named("Translations", "create"),
    },
)
