"""The names of models and the prices of Paygent's first version."""

from __future__ import annotations

from .v1._prices import MODEL_PRICING
from .v1.constants import (
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

__all__ = [
    "MODEL_PRICING", "AWSModels", "AnthropicModels", "CohereModels", "DeepSeekModels", "GoogleDeepMindModels", "MetaModels",
    "MistralAIModels", "OpenAIModels", "ServiceProvider", "is_model_supported",
]  # fmt: skip
