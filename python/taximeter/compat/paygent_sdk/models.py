"""The data classes of Paygent's clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "APIRequest", "CostBreakdown", "Customer", "CustomerCreateOrGetRequest", "ExternalBillingData", "ExternalCostData",
    "ModelPricing", "RawUsageData", "SendUsageV2Response", "UsageData", "UsageDataWithStrings", "VideoUsageData",
]  # fmt: skip


@dataclass
class UsageData:
    """The tokens of a call. `total_tokens` is not used, because it is the sum of the others."""

    service_provider: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    """Only in Paygent 4."""
    plan: str | None = None
    """Only in Paygent 4."""


@dataclass
class UsageDataWithStrings:
    """The texts of a call. Their tokens are counted locally, and the texts are not sent or stored."""

    service_provider: str
    model: str
    prompt_string: str
    output_string: str
    plan: str | None = None
    """Only in Paygent 4."""


@dataclass
class APIRequest:
    """The common fields of a request."""

    agent_id: str
    customer_id: str
    indicator: str
    amount: float


@dataclass
class ModelPricing:
    """The price of a model in US dollars per 1,000 tokens of each kind."""

    prompt_tokens_cost: float
    completion_tokens_cost: float


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
