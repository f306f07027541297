"""The data classes of both versions of Paygent, and the prices and names of models of the first."""

from __future__ import annotations

from .v1.models import (
    MODEL_PRICING,
    AnthropicModels,
    APIRequest,
    AWSModels,
    CohereModels,
    DeepSeekModels,
    GoogleDeepMindModels,
    MetaModels,
    MistralAIModels,
    ModelPricing,
    OpenAIModels,
)
from .v4.models import (
    CostBreakdown,
    Customer,
    CustomerCreateOrGetRequest,
    ExternalBillingData,
    ExternalCostData,
    LLMConfig,
    RawUsageData,
    SendUsageV2Response,
    SpeechToSpeechUsageMetadata,
    StsCachedBreakdown,
    STSConfig,
    StsInputSide,
    StsModalityUsage,
    StsOutputSide,
    STTConfig,
    SttUsageData,
    TTSConfig,
    TtsUsageData,
    UsageData,
    UsageDataWithStrings,
    VideoUsageData,
)

__all__ = [
    "MODEL_PRICING", "APIRequest", "AWSModels", "AnthropicModels", "CohereModels", "CostBreakdown", "Customer",
    "CustomerCreateOrGetRequest", "DeepSeekModels", "ExternalBillingData", "ExternalCostData", "GoogleDeepMindModels",
    "LLMConfig", "MetaModels", "MistralAIModels", "ModelPricing", "OpenAIModels", "RawUsageData", "STSConfig", "STTConfig",
    "SendUsageV2Response", "SpeechToSpeechUsageMetadata", "StsCachedBreakdown", "StsInputSide", "StsModalityUsage",
    "StsOutputSide", "SttUsageData", "TTSConfig", "TtsUsageData", "UsageData", "UsageDataWithStrings", "VideoUsageData",
]  # fmt: skip
