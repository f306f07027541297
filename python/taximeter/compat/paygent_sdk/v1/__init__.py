"""The interface of `paygent-sdk` 1.0.0: `taximeter.compat.install("paygent_sdk", version="1")`."""

from __future__ import annotations

from .client import Client
from .constants import (
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
from .models import MODEL_PRICING, APIRequest, ModelPricing, UsageData, UsageDataWithStrings

__all__ = [
    "MODEL_PRICING", "APIRequest", "AWSModels", "AnthropicModels", "Client", "CohereModels", "DeepSeekModels", "GoogleDeepMindModels",
    "MetaModels", "MistralAIModels", "ModelPricing", "OpenAIModels", "ServiceProvider", "UsageData", "UsageDataWithStrings",
    "is_model_supported",
]  # fmt: skip

__version__ = "1.0.0"
