"""The Anthropic client."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family

__all__ = ["FAMILY"]

_BATCHES: Final = {"Batches": ("create", "retrieve", "results")}
_MESSAGES: Final = {"Messages": ("create", "parse", "stream", "count_tokens", "tool_runner")}

FAMILY: Final = stainless_family(
    "anthropic",
    # The others are those of Vertex and Bedrock.
    operations={
        "/messages": "chat",
        ":rawPredict": "chat",
        ":streamRawPredict": "chat",
        "/invoke": "chat",
        "/invoke-with-response-stream": "chat",
    },
    methods={
        "anthropic.resources.messages.messages": _MESSAGES,
        "anthropic.resources.messages": _MESSAGES,
        "anthropic.resources.beta.messages.messages": _MESSAGES,
        "anthropic.resources.beta.messages": _MESSAGES,
        "anthropic.resources.messages.batches": _BATCHES,
        "anthropic.resources.beta.messages.batches": _BATCHES,
    },
    wire="anthropic",
)
