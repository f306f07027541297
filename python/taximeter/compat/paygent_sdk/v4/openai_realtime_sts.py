"""Converts the usage of OpenAI's realtime sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ._reports import count_of, value_of
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata

__all__ = ["speech_to_speech_metadata_from_openai_realtime_usage", "unwrap_openai_realtime_event"]

_MODALITIES: Final = ("text", "audio", "image")
# How deep an event may be wrapped.
_MAX_DEPTH: Final = 8


def unwrap_openai_realtime_event(event: Any) -> dict[str, Any] | None:
    """Return the server's event in an object of a client library, or in a mapping; `None` if it has no event."""
    for _ in range(_MAX_DEPTH):
        data = event.get("data") if isinstance(event, Mapping) and "type" not in event else getattr(event, "data", None)
        if data is None:
            break
        event = data
    dump = getattr(event, "model_dump", None)
    if callable(dump):
        event = dump(mode="json")
    if not isinstance(event, Mapping):
        return None
    inner = [event, *(event.get(name) for name in ("payload", "event", "message"))]
    return next((dict(one) for one in inner if isinstance(one, Mapping) and "type" in one), None)


def speech_to_speech_metadata_from_openai_realtime_usage(usage_or_event: Any) -> SpeechToSpeechUsageMetadata | None:
    """Return the usage in a response, or in its `usage`; `None` if it has no usage.

    Args:
        usage_or_event: An object of `openai`, or a mapping in either style of names.
    """
    if usage_or_event is None:
        return None
    usage = value_of(usage_or_event, "usage")
    if usage is None:
        if value_of(usage_or_event, "input_tokens") is None:
            return None
        usage = usage_or_event
    got, made = (value_of(usage, f"{side}_token_details") or {} for side in ("input", "output"))
    cached_total = count_of(usage, "cached_tokens") or count_of(got, "cached_tokens")
    details = value_of(got, "cached_tokens_details") or {}
    cached = {name: count_of(details, f"{name}_tokens") for name in _MODALITIES}
    if not any(cached.values()):
        cached = {name: count_of(got, f"cached_{name}_tokens") for name in _MODALITIES}
    given = {name: count_of(got, f"{name}_tokens") for name in _MODALITIES}
    if not any(given.values()):
        given["text"] = max(count_of(usage, "input_tokens") - cached_total, 0)
    generated = {name: count_of(made, f"{name}_tokens") for name in ("text", "audio")}
    return SpeechToSpeechUsageMetadata.of(given, generated, cached if cached_total else {}, cached_total)
