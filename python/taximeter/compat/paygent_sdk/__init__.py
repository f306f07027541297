"""The interface of `paygent-sdk` 1.0.0: usage with its cost for Paygent, the ledger, or both.

client = Client("your-api-key", destination=("paygent", "ledger"))
client.send_usage("agent-123", "customer-456", "email-sent", UsageData(model="gpt-4o", prompt_tokens=756, completion_tokens=244))
"""

from __future__ import annotations

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
from .models import APIRequest, ModelPricing, UsageData, UsageDataWithStrings

__all__ = [
    "MODEL_PRICING", "APIRequest", "AWSModels", "AnthropicModels", "Client", "CohereModels", "DeepSeekModels", "GoogleDeepMindModels",
    "MetaModels", "MistralAIModels", "ModelPricing", "OpenAIModels", "ServiceProvider", "UsageData", "UsageDataWithStrings",
    "is_model_supported",
]  # fmt: skip

__version__ = "1.0.0"
