"""What Paygent is told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["APIRequest", "ModelPricing", "UsageData", "UsageDataWithStrings"]


@dataclass
class UsageData:
    """Tokens of a call. `total_tokens` is not used: it is what the others come to."""

    service_provider: str = ""
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass
class UsageDataWithStrings:
    """Texts of a call, whose tokens are counted here; the texts go nowhere."""

    service_provider: str
    model: str
    prompt_string: str
    output_string: str


@dataclass
class APIRequest:
    """The core of a request."""

    agent_id: str
    customer_id: str
    indicator: str
    amount: float


@dataclass
class ModelPricing:
    """The price of a model: US dollars for 1,000 tokens of each kind."""

    prompt_tokens_cost: float
    completion_tokens_cost: float
