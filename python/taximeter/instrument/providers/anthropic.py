"""The Anthropic client."""

from __future__ import annotations

from typing import Final

from ..stainless import stainless_family

__all__ = ["FAMILY"]

FAMILY: Final = stainless_family(
    "anthropic",
    # The other paths are those of Vertex and Bedrock.
    operations={
        "/messages": "chat",
        ":rawPredict": "chat",
        ":streamRawPredict": "chat",
        "/invoke": "chat",
        "/invoke-with-response-stream": "chat",
    },
    wire="anthropic",
)
