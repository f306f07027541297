"""The interface of `paygent-sdk` 1.0.0, together with that of 4.9.7: usage goes to Paygent, the ledger, or both.

client = Client("your-api-key", destination=("paygent", "ledger"))
client.send_usage("agent-123", "customer-456", "email-sent", UsageData(model="gpt-4o", prompt_tokens=756, completion_tokens=244))
"""

from __future__ import annotations

from .auto import init, send_external_cost, send_indicator
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
    UsageData,
    UsageDataWithStrings,
    VideoUsageData,
)

__all__ = [
    "MODEL_PRICING", "APIRequest", "AWSModels", "AnthropicModels", "Client", "CohereModels", "CostBreakdown", "Customer",
    "CustomerCreateOrGetRequest", "DeepSeekModels", "ExternalBillingData", "ExternalCostData", "GoogleDeepMindModels", "MetaModels",
    "MistralAIModels", "ModelPricing", "OpenAIModels", "RawUsageData", "SendUsageV2Response", "ServiceProvider", "UsageData",
    "UsageDataWithStrings", "VideoUsageData", "init", "is_model_supported", "send_external_cost", "send_indicator",
]  # fmt: skip

__version__ = "1.0.0"
