"""The data classes of Paygent's fourth version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..v1 import models
from ..v1.models import APIRequest
from .speech_to_speech_usage import (
    SpeechToSpeechUsageMetadata,
    StsCachedBreakdown,
    StsInputSide,
    StsModalityUsage,
    StsOutputSide,
)

__all__ = [
    "APIRequest", "CostBreakdown", "Customer", "CustomerCreateOrGetRequest", "ExternalBillingData", "ExternalCostData",
    "LLMConfig", "RawUsageData", "STSConfig", "STTConfig", "SendUsageV2Response", "SpeechToSpeechUsageMetadata",
    "StsCachedBreakdown", "StsInputSide", "StsModalityUsage", "StsOutputSide", "SttUsageData", "TTSConfig", "TtsUsageData",
    "UsageData", "UsageDataWithStrings", "VideoUsageData",
]  # fmt: skip


@dataclass
class UsageData(models.UsageData):
    """The tokens of a call."""

    cached_tokens: int | None = None
    """The part of the prompt's tokens that was read from a cache."""
    plan: str | None = None


@dataclass
class UsageDataWithStrings(models.UsageDataWithStrings):
    """The texts of a call. Their tokens are counted locally, and the texts are not sent or stored."""

    plan: str | None = None


@dataclass
class SttUsageData:
    """Speech that was turned into text."""

    service_provider: str
    model: str
    audio_duration: float
    """In minutes."""
    plan: str | None = None


@dataclass
class TtsUsageData:
    """Text that was turned into speech."""

    service_provider: str
    model: str
    character_count: int
    plan: str | None = None


@dataclass
class _Config:
    model: str
    provider: str
    plan: str | None = "default"


class STTConfig(_Config):
    """A service that turns speech into text."""


class LLMConfig(_Config):
    """A service that generates text."""


class TTSConfig(_Config):
    """A service that turns text into speech."""


class STSConfig(_Config):
    """A service that answers speech with speech."""


@dataclass
class RawUsageData:
    """What a call used. Paygent computes the cost."""

    provider: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """The part of the input tokens that was read from a cache."""
    audio_duration: float | None = None
    """In minutes."""
    character_count: int | None = None
    plan: str | None = None
    video_duration_sec: float | None = None
    video_resolution: str | None = None
    video_is_audio: bool | None = None
    usage_metadata: Mapping[str, Any] | None = None
    meta_tags: Mapping[str, Any] | None = None


@dataclass
class VideoUsageData:
    """A generated video."""

    provider: str
    model: str
    video_duration_sec: float
    plan: str | None = None
    video_resolution: str | None = None
    video_is_audio: bool | None = None


@dataclass
class CostBreakdown:
    """What a call cost, in US dollars."""

    input_cost: float
    output_cost: float
    cached_cost: float
    audio_cost: float
    total_cost: float


@dataclass
class SendUsageV2Response:
    """A placeholder for the response, because the report is sent later."""

    cp_data_id: str
    calculated_cost: float
    breakdown: CostBreakdown
    model_metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class CustomerCreateOrGetRequest:
    """A customer to create."""

    name: str = ""
    external_id: str = ""
    email: str | None = None
    website: str | None = None
    phone: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    country: str | None = None


@dataclass
class Customer:
    """A customer."""

    id: str
    external_id: str
    name: str
    email: str | None = None
    website: str | None = None
    phone: str | None = None
    address_line1: str | None = None
    address_line2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    country: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


@dataclass
class ExternalCostData:
    """A cost that no model caused, as configured at Paygent."""

    name: str
    external_cost_id: str
    properties: Mapping[str, Any] | None = None
    meta_tags: Mapping[str, Any] | None = None


ExternalBillingData = ExternalCostData
