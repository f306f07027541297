"""The OpenAI client, also for OpenAI-compatible providers."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family
from ._openai_sockets import hook_connections

__all__ = ["FAMILY"]

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
        "/runs": "chat",
        "/submit_tool_outputs": "chat",
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
