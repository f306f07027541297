"""The interface of `paygent-sdk` 4.9.7: `taximeter.compat.install("paygent_sdk", version="4")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import wrappers
from .auto import init, send_external_cost, send_indicator
from .batch_client import send_batch_usage, send_batch_usage_bulk
from .client import Client
from .constants import (
    AmazonPollyTTSModels,
    AnthropicModels,
    AssemblyAISTTModels,
    AWSModels,
    CohereModels,
    DeepgramSTTModels,
    DeepgramTTSModels,
    DeepSeekModels,
    ElevenLabsSTTModels,
    ElevenLabsTTSModels,
    GoogleCloudSpeechSTTModels,
    GoogleCloudTextToSpeechTTSModels,
    GoogleDeepMindModels,
    MetaModels,
    MicrosoftAzureSpeechSTTModels,
    MicrosoftAzureSpeechTTSModels,
    MistralAIModels,
    MoonshotAIModels,
    OpenAIModels,
    ServiceProvider,
    SonioxSTTModels,
    is_model_supported,
)
from .google_genai_live_sts import speech_to_speech_metadata_from_google_live_usage
from .models import (
    APIRequest,
    CostBreakdown,
    Customer,
    CustomerCreateOrGetRequest,
    ExternalBillingData,
    ExternalCostData,
    RawUsageData,
    SendUsageV2Response,
    SpeechToSpeechUsageMetadata,
    StsCachedBreakdown,
    StsInputSide,
    StsModalityUsage,
    StsOutputSide,
    SttUsageData,
    TtsUsageData,
    UsageData,
    UsageDataWithStrings,
    VideoUsageData,
)
from .voice_client import send_stt_usage, send_tts_usage
from .wrappers import (
    PaygentAnthropic,
    PaygentGemini,
    PaygentMistral,
    PaygentOpenAI,
)

if TYPE_CHECKING:
    from .wrappers import PaygentLangChainCallback, PaygentLangGraphCallback

__all__ = [
    "APIRequest", "AWSModels", "AmazonPollyTTSModels", "AnthropicModels", "AssemblyAISTTModels", "Client", "CohereModels",
    "CostBreakdown", "Customer", "CustomerCreateOrGetRequest", "DeepSeekModels", "DeepgramSTTModels", "DeepgramTTSModels",
    "ElevenLabsSTTModels", "ElevenLabsTTSModels", "ExternalBillingData", "ExternalCostData", "GoogleCloudSpeechSTTModels",
    "GoogleCloudTextToSpeechTTSModels", "GoogleDeepMindModels", "MetaModels", "MicrosoftAzureSpeechSTTModels",
    "MicrosoftAzureSpeechTTSModels", "MistralAIModels", "MoonshotAIModels", "OpenAIModels", "PaygentAnthropic",
    "PaygentGemini", "PaygentLangChainCallback", "PaygentLangGraphCallback", "PaygentMistral", "PaygentOpenAI",
    "RawUsageData", "SendUsageV2Response", "ServiceProvider", "SonioxSTTModels", "SpeechToSpeechUsageMetadata",
    "StsCachedBreakdown", "StsInputSide", "StsModalityUsage", "StsOutputSide", "SttUsageData", "TtsUsageData", "UsageData",
    "UsageDataWithStrings", "VideoUsageData", "init", "is_model_supported", "send_batch_usage", "send_batch_usage_bulk",
    "send_external_cost", "send_indicator", "send_stt_usage", "send_tts_usage",
    "speech_to_speech_metadata_from_google_live_usage",
]  # fmt: skip

__version__ = "1.0.0"
"""What the original says of itself."""


def __getattr__(name: str) -> Any:
    """Import LangChain's callbacks when they are used; see `wrappers`."""
    if name in {"PaygentLangChainCallback", "PaygentLangGraphCallback"}:
        return getattr(wrappers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
