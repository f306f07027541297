"""Converts the usage of LiveKit's realtime models."""

from __future__ import annotations

from typing import Any, Final

from ._reports import count_of, value_of
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata

__all__ = ["map_livekit_metrics_to_sts_metadata"]

_MODALITIES: Final = ("text", "audio", "image")


def map_livekit_metrics_to_sts_metadata(metrics: Any) -> SpeechToSpeechUsageMetadata | None:
    """Return the usage in LiveKit's `RealtimeModelMetrics`, or in a mapping of the same form; `None` if it has no usage."""
    got, made = (value_of(metrics, f"{side}_token_details") or {} for side in ("input", "output"))
    details = value_of(got, "cached_tokens_details") or {}
    return SpeechToSpeechUsageMetadata.of(
        {name: count_of(got, f"{name}_tokens") for name in _MODALITIES},
        {name: count_of(made, f"{name}_tokens") for name in ("text", "audio")},
        {name: count_of(details, f"{name}_tokens") for name in _MODALITIES},
        count_of(got, "cached_tokens"),
    )
