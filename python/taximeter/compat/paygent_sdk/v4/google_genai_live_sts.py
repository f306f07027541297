"""Converts the usage of Gemini's live sessions."""

from __future__ import annotations

from typing import Any

from ._reports import count_of, tokens_by_modality, value_of
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata

__all__ = ["speech_to_speech_metadata_from_google_live_usage"]


def speech_to_speech_metadata_from_google_live_usage(usage: Any) -> SpeechToSpeechUsageMetadata | None:
    """Return the usage in the `usage_metadata` of a message of a live session; `None` if the message has no usage.

    Documents count as text. Generated video counts as audio. Totals are used only where there are no counts by modality. Thinking
    tokens are left out, because they may be part of the generated text.

    Args:
        usage: An object of `google-genai`, or a mapping in either style of names.
    """
    if usage is None:
        return None
    details = {
        name: tokens_by_modality(value_of(usage, f"{name}_tokens_details"))
        for name in ("prompt", "tool_use_prompt", "response", "cache")
    }
    prompt, tools, response, cache = details.values()
    given = {
        name: sum(side.get(one, 0) for side in (prompt, tools) for one in kinds)
        for name, kinds in (("text", ("TEXT", "DOCUMENT")), ("audio", ("AUDIO",)), ("image", ("IMAGE",)), ("video", ("VIDEO",)))
    }
    if not tools:
        given["text"] += count_of(usage, "tool_use_prompt_token_count")
        if not prompt:
            given["text"] += count_of(usage, "prompt_token_count")
    generated = {name: _sum(response, *kinds) for name, kinds in (("text", ("TEXT", "DOCUMENT")), ("audio", ("AUDIO", "VIDEO")))}
    if not any(generated.values()):
        generated["audio"] = count_of(usage, "response_token_count")
    cached = {
        name: _sum(cache, *kinds)
        for name, kinds in (("text", ("TEXT", "DOCUMENT")), ("audio", ("AUDIO", "VIDEO")), ("image", ("IMAGE",)))
    }
    return SpeechToSpeechUsageMetadata.of(given, generated, cached, count_of(usage, "cached_content_token_count"))


def _sum(tokens: dict[str, int], *kinds: str) -> int:
    return sum(tokens.get(kind, 0) for kind in kinds)
