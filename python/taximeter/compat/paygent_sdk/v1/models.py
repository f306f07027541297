"""The data classes of Paygent's first version, its prices and the names of its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ._prices import MODEL_PRICING, ModelPricing
from .constants import (
    AnthropicModels,
    AWSModels,
    CohereModels,
    DeepSeekModels,
    GoogleDeepMindModels,
    MetaModels,
    MistralAIModels,
    OpenAIModels,
)

__all__ = [
    "MODEL_PRICING", "APIRequest", "AWSModels", "AnthropicModels", "CohereModels", "DeepSeekModels", "GoogleDeepMindModels",
    "MetaModels", "MistralAIModels", "ModelPricing", "OpenAIModels", "UsageData", "UsageDataWithStrings",
]  # fmt: skip

_REQUIRED: Final[Any] = object()
"""Stands for an argument that is missing. It is needed because the optional provider comes first."""


@dataclass
class UsageData:
    """The tokens of a call.

    Raises:
        TypeError: The model or a count is missing.
    """

    service_provider: str = ""
    model: str = _REQUIRED
    prompt_tokens: int = _REQUIRED
    completion_tokens: int = _REQUIRED
    total_tokens: int = _REQUIRED
    """Not used. By default the sum of the others."""

    def __post_init__(self) -> None:
        missing = [name for name in ("model", "prompt_tokens", "completion_tokens") if getattr(self, name) is _REQUIRED]
        if missing:
            raise TypeError(f"{type(self).__name__}() is missing {', '.join(missing)}; a call without such tokens has 0")
        if self.total_tokens is _REQUIRED:
            counts = self.prompt_tokens, self.completion_tokens
            self.total_tokens = sum(count for count in counts if isinstance(count, int))


@dataclass
class UsageDataWithStrings:
    """The texts of a call. Their tokens are counted locally, and the texts are not sent or stored."""

    service_provider: str
    model: str
    prompt_string: str
    output_string: str


@dataclass
class APIRequest:
    """The common fields of a request."""

    agent_id: str
    customer_id: str
    indicator: str
    amount: float
