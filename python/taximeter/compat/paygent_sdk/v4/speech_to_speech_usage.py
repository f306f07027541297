"""The usage of models that answer speech with speech, by modality, and how it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "SpeechToSpeechUsageMetadata", "StsCachedBreakdown", "StsInputSide", "StsModalityUsage", "StsOutputSide",
    "build_hume_usage_metadata", "build_speech_to_speech_usage_metadata", "metadata_of",
]  # fmt: skip

_INPUT: Final = ("text", "audio", "image", "video")
_OUTPUT: Final = ("text", "audio")
_CACHED: Final = ("text", "audio", "image")
_COUNTED_IN_TOKENS: Final = {("input", "image"), ("output", "text")}
"""Modalities that the service does not count in minutes."""


@dataclass
class StsModalityUsage:
    """The tokens or minutes of one modality."""

    tokens: int = 0
    minutes: float = 0.0


@dataclass
class StsInputSide:
    """What a model got."""

    text: StsModalityUsage | None = None
    audio: StsModalityUsage | None = None
    image: StsModalityUsage | None = None
    video: StsModalityUsage | None = None


@dataclass
class StsOutputSide:
    """What a model generated."""

    text: StsModalityUsage | None = None
    audio: StsModalityUsage | None = None


@dataclass
class StsCachedBreakdown:
    """Tokens that were read from a cache. `legacy_tokens` is for providers that only report their sum."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    legacy_tokens: int = 0


@dataclass
class SpeechToSpeechUsageMetadata:
    """The usage of a session or of one turn."""

    schema_version: int = 1
    input: StsInputSide | None = None
    output: StsOutputSide | None = None
    cached: StsCachedBreakdown | None = None
    connection_minutes: float = 0.0
    """The duration of the session, for providers that bill by it."""

    def to_api_dict(self) -> dict[str, Any]:
        """Return the usage in the service's form, without what is absent or zero."""
        found: dict[str, Any] = {"schemaVersion": int(self.schema_version)}
        for side, names in (("input", _INPUT), ("output", _OUTPUT)):
            usage = {name: _written(side, name, getattr(getattr(self, side), name, None)) for name in names}
            if present := {name: one for name, one in usage.items() if one}:
                found[side] = present
        if self.cached is not None:
            split = {name: {"tokens": int(count)} for name in _CACHED if (count := getattr(self.cached, f"{name}_tokens"))}
            if split:
                found["cached"] = split
            elif self.cached.legacy_tokens:
                found["cached"] = {"tokens": int(self.cached.legacy_tokens)}
        if self.connection_minutes and self.connection_minutes > 0:
            found["connection"] = {"minutes": float(self.connection_minutes)}
        return found

    @classmethod
    def from_api_dict(cls, data: Mapping[str, Any]) -> SpeechToSpeechUsageMetadata:
        """Read usage in the service's form."""
        cached = data.get("cached")
        if not isinstance(cached, Mapping):
            breakdown = None
        elif "tokens" in cached and not any(name in cached for name in _CACHED):
            breakdown = StsCachedBreakdown(legacy_tokens=int(cached.get("tokens") or 0))
        else:
            breakdown = StsCachedBreakdown(*(_read(cached.get(name)).tokens for name in _CACHED))
        connection = data.get("connection")
        return cls(
            int(data.get("schemaVersion", 1)),
            _side(StsInputSide, _INPUT, data.get("input")),
            _side(StsOutputSide, _OUTPUT, data.get("output")),
            breakdown,
            _read(connection).minutes,
        )

    @classmethod
    def of(
        cls, given: Mapping[str, int], generated: Mapping[str, int], cached: Mapping[str, int], cached_total: int
    ) -> SpeechToSpeechUsageMetadata | None:
        """Return the usage with these tokens by modality; `None` without tokens."""
        breakdown = None
        if any(cached.values()):
            breakdown = StsCachedBreakdown(**{f"{name}_tokens": cached.get(name, 0) for name in _CACHED})
        elif cached_total > 0:
            breakdown = StsCachedBreakdown(legacy_tokens=cached_total)
        made = cls(input=_tokens(StsInputSide, given), output=_tokens(StsOutputSide, generated), cached=breakdown)
        return made if len(made.to_api_dict()) > 1 else None


def _written(side: str, name: str, usage: StsModalityUsage | None) -> dict[str, Any]:
    if usage is None or ((side, name) in _COUNTED_IN_TOKENS and not usage.tokens):
        return {}
    found: dict[str, Any] = {"tokens": int(usage.tokens)} if usage.tokens else {}
    return {**found, "minutes": float(usage.minutes)} if usage.minutes and usage.minutes > 0 else found


def _read(usage: Any) -> StsModalityUsage:
    known = usage if isinstance(usage, Mapping) else {}
    return StsModalityUsage(int(known.get("tokens") or 0), float(known.get("minutes") or 0.0))


def _side(kind: Any, names: tuple[str, ...], usage: Any) -> Any:
    known = usage if isinstance(usage, Mapping) else {}
    found = {name: one for name in names if (one := _read(known.get(name))) != StsModalityUsage()}
    return kind(**found) if found else None


def _tokens(kind: Any, counts: Mapping[str, int]) -> Any:
    found = {name: StsModalityUsage(count) for name, count in counts.items() if count}
    return kind(**found) if found else None


def metadata_of(usage: SpeechToSpeechUsageMetadata | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return usage in the service's form. A mapping is in that form."""
    return usage.to_api_dict() if isinstance(usage, SpeechToSpeechUsageMetadata) else usage


def build_speech_to_speech_usage_metadata(
    *,
    input_text_tokens: int = 0,
    input_audio_tokens: int = 0,
    input_audio_minutes: float = 0.0,
    input_image_tokens: int = 0,
    input_video_minutes: float = 0.0,
    output_text_tokens: int = 0,
    output_audio_tokens: int = 0,
    output_audio_minutes: float = 0.0,
    cached_text_tokens: int = 0,
    cached_audio_tokens: int = 0,
    cached_image_tokens: int = 0,
    cached_legacy_tokens: int = 0,
    connection_minutes: float = 0.0,
    schema_version: int = 1,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return usage in the service's form, without what is zero.

    Args:
        input_text_tokens, input_audio_tokens, input_image_tokens: Tokens that the model got.
        input_audio_minutes, input_video_minutes: Minutes that the model got.
        output_text_tokens, output_audio_tokens: Tokens that the model generated.
        output_audio_minutes: Minutes that the model generated.
        cached_text_tokens, cached_audio_tokens, cached_image_tokens: Tokens that were read from a cache.
        cached_legacy_tokens: Their sum, if that is all that the provider reports.
        connection_minutes: The duration of the session.
        schema_version: The version of this form.
        extra: Further fields.
    """
    usage = SpeechToSpeechUsageMetadata(
        schema_version,
        StsInputSide(
            StsModalityUsage(input_text_tokens),
            StsModalityUsage(input_audio_tokens, input_audio_minutes),
            StsModalityUsage(input_image_tokens),
            StsModalityUsage(minutes=input_video_minutes),
        ),
        StsOutputSide(StsModalityUsage(output_text_tokens), StsModalityUsage(output_audio_tokens, output_audio_minutes)),
        StsCachedBreakdown(cached_text_tokens, cached_audio_tokens, cached_image_tokens, cached_legacy_tokens),
        connection_minutes,
    )
    return {**usage.to_api_dict(), **(extra or {})}


def build_hume_usage_metadata(connection_minutes: float) -> dict[str, Any]:
    """Return the usage of a session that is billed by its duration, in the service's form."""
    return SpeechToSpeechUsageMetadata(connection_minutes=connection_minutes).to_api_dict()
