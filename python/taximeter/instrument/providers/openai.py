"""The OpenAI client, and everything it is pointed at."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family
from ._openai_sockets import hook_connections

__all__ = ["FAMILY"]

_CHAT: Final = {"Completions": ("create", "parse", "stream")}

FAMILY: Final = stainless_family(
    "openai",
    operations={
        "/chat/completions": "chat",
        "/completions": "text_completion",
        "/embeddings": "embeddings",
        "/responses": "chat",
        "/responses/compact": "chat",
        "/images/generations": "generate_content",
        "/images/edits": "generate_content",
        "/images/variations": "generate_content",
        "/audio/transcriptions": "transcription",
        "/audio/translations": "transcription",
        "/audio/speech": "speech",
        "/decisions": "chat",
    },
    methods={
        # The first is the module of recent versions, the second that of openai 1.0.
        "openai.resources.chat.completions.completions": _CHAT,
        "openai.resources.chat.completions": _CHAT,
        "openai.resources.beta.chat.completions": {"Completions": ("parse", "stream")},
        "openai.resources.completions": {"Completions": ("create",)},
        "openai.resources.embeddings": {"Embeddings": ("create",)},
        "openai.resources.responses.responses": {"Responses": ("create", "parse", "stream", "compact", "retrieve", "connect")},
        "openai.resources.beta.responses.responses": {"Responses": ("create", "compact", "retrieve", "connect")},
        "openai.resources.realtime.realtime": {"Realtime": ("connect",)},
        "openai.resources.live.live": {"Live": ("connect",)},
        "openai.resources.batches": {"Batches": ("create", "retrieve")},
        "openai.resources.decisions": {"Decisions": ("create",)},
        "openai.resources.images": {"Images": ("generate", "edit", "create_variation")},
        "openai.resources.audio.transcriptions": {"Transcriptions": ("create",)},
        "openai.resources.audio.translations": {"Translations": ("create",)},
        "openai.resources.audio.speech": {"Speech": ("create",)},
    },
    hooks=dict.fromkeys(
        (
            "openai.resources.realtime.realtime",
            "openai.resources.live.live",
            "openai.resources.live.sideband",
            "openai.resources.live.forks",
            "openai.resources.beta.realtime.realtime",
            "openai.resources.responses.responses",
            "openai.resources.beta.responses.responses",
        ),
        hook_connections,
    ),
)
