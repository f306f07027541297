"""The interface of `paygent-sdk` 1.0.0 together with that of 4.9.7: usage goes to Paygent, the ledger, or both.

client = Client("your-api-key", destination=("paygent", "ledger"))
usage = UsageData(model="gpt-4o", prompt_tokens=756, completion_tokens=244)
client.send_usage("agent-123", "customer-456", "email-sent", usage)

The modules `v1` and `v4` have the interface of one version each. A name that both have, such as `OpenAIModels`, is that of version 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import v4
from .client import Client
from .constants import (
    MODEL_PRICING,
    AnthropicModels,
    AWSModels,
    CohereModels,
    DeepSeekModels,
    GoogleDeepMindModels,
    MetaModels,
    MistralAIModels,
    OpenAIModels,
    ServiceProvider,
    is_model_supported,
)
from .models import (
    APIRequest,
    CostBreakdown,
    Customer,
    CustomerCreateOrGetRequest,
    ExternalBillingData,
    ExternalCostData,
    ModelPricing,
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
from .v4 import (
    AmazonPollyTTSModels,
    AssemblyAISTTModels,
    DeepgramSTTModels,
    DeepgramTTSModels,
    ElevenLabsSTTModels,
    ElevenLabsTTSModels,
    GoogleCloudSpeechSTTModels,
    GoogleCloudTextToSpeechTTSModels,
    MicrosoftAzureSpeechSTTModels,
    MicrosoftAzureSpeechTTSModels,
    MoonshotAIModels,
    PaygentAnthropic,
    PaygentGemini,
    PaygentMistral,
    PaygentOpenAI,
    SonioxSTTModels,
    init,
    send_batch_usage,
    send_batch_usage_bulk,
    send_external_cost,
    send_indicator,
    send_stt_usage,
    send_tts_usage,
    speech_to_speech_metadata_from_google_live_usage,
)

if TYPE_CHECKING:
    from .v4 import PaygentLangChainCallback, PaygentLangGraphCallback

__all__ = [
    "MODEL_PRICING",
    "APIRequest",
    "AWSModels",
    "AmazonPollyTTSModels",
    "AnthropicModels",
    "AssemblyAISTTModels",
    "Client",
    "CohereModels",
    "CostBreakdown",
    "Customer",
    "CustomerCreateOrGetRequest",
    "DeepSeekModels",
    "DeepgramSTTModels",
    "DeepgramTTSModels",
    "ElevenLabsSTTModels",
    "ElevenLabsTTSModels",
    "ExternalBillingData",
    "ExternalCostData",
    "GoogleCloudSpeechSTTModels",
    "GoogleCloudTextToSpeechTTSModels",
    "GoogleDeepMindModels",
    "MetaModels",
    "MicrosoftAzureSpeechSTTModels",
    "MicrosoftAzureSpeechTTSModels",
    "MistralAIModels",
    "ModelPricing",
    "MoonshotAIModels",
    "OpenAIModels",
    "PaygentAnthropic",
    "PaygentGemini",
    "PaygentLangChainCallback",
    "PaygentLangGraphCallback",
    "PaygentMistral",
    "PaygentOpenAI",
    "RawUsageData",
    "SendUsageV2Response",
    "ServiceProvider",
    "SonioxSTTModels",
    "SpeechToSpeechUsageMetadata",
    "StsCachedBreakdown",
    "StsInputSide",
    "StsModalityUsage",
    "StsOutputSide",
    "SttUsageData",
    "TtsUsageData",
    "UsageData",
    "UsageDataWithStrings",
    "VideoUsageData",
    "init",
    "is_model_supported",
    "send_batch_usage",
    "send_batch_usage_bulk",
    "send_external_cost",
    "send_indicator",
    "send_stt_usage",
    "send_tts_usage",
    "speech_to_speech_metadata_from_google_live_usage",
]  # fmt: skip

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:
    """Import LangChain's callbacks when they are used; see `v4.wrappers`."""
    if name in {"PaygentLangChainCallback", "PaygentLangGraphCallback"}:
        return getattr(v4, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
