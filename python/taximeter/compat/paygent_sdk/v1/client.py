"""The client of `paygent-sdk` 1.0.0. It computes costs itself, and its calls wait for Paygent's response."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from .... import _default
from ....errors import TaximeterError
from ....sanitize import printable
from ..._vendor.destinations import record
from ..._vendor.providers import FROM_PAYGENT
from .._client import PaygentClient, encoding_of
from .models import MODEL_PRICING, APIRequest, ModelPricing, UsageData, UsageDataWithStrings

__all__ = ["MODEL_PRICING", "APIRequest", "Client", "ModelPricing", "UsageData", "UsageDataWithStrings"]

_USAGE: Final = "/api/v1/usage"
# The original's README bills unknown models at $0.10 per million tokens.
_UNKNOWN: Final = ModelPricing(0.0001, 0.0001)


class Client(PaygentClient):
    """A client of Paygent; see `PaygentClient`."""

    @classmethod
    def new_client_with_url(cls, api_key: str, base_url: str) -> Any:
        """Return a client of the service at this URL."""
        return cls(api_key, base_url)

    def send_usage(self, agent_id: str, customer_id: str, indicator: str, usage_data: UsageData) -> None:
        """Report a call with its cost, which is computed locally. Wait for the response unless the client works in the background.

        Args:
            agent_id: The agent that made the call.
            customer_id: The customer for whom the call was made.
            indicator: The event that is billed.
            usage_data: What the call used.

        Raises:
            ValueError: An id or the indicator is empty, or a count is invalid. The message names it.
            requests.RequestException: There is no response, or it has an error status. A class of the same name if `requests` is not
                installed.
        """
        for name, value in (("agent_id", agent_id), ("customer_id", customer_id), ("indicator", indicator)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name} must be a non-empty text")
        for name in ("prompt_tokens", "completion_tokens"):
            count = getattr(usage_data, name, None)
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"Failed to calculate cost: {name} must be a whole number from 0")
        amount = self._amount(usage_data)
        if self.destinations.to_ledger:
            record(lambda: _event(agent_id, customer_id, indicator, usage_data, amount))
        if self.destinations.to_vendor:
            self._call(
                _USAGE,
                {
                    "agentId": agent_id,
                    "customerId": customer_id,
                    "indicator": indicator,
                    "amount": float(amount),
                    "inputToken": usage_data.prompt_tokens,
                    "outputToken": usage_data.completion_tokens,
                    "model": usage_data.model,
                    "serviceProvider": usage_data.service_provider,
                },
            )

    def send_usage_with_token_string(self, agent_id: str, customer_id: str, indicator: str, usage_data: UsageDataWithStrings) -> None:
        """Report a call by its texts, otherwise like `send_usage`. Tokens are counted locally; texts are not sent or stored."""
        for name in ("prompt_string", "output_string"):
            if not isinstance(getattr(usage_data, name, None), str):
                raise ValueError(f"Failed to count tokens: {name} must be a text")  # noqa: TRY004 - the interface's
        encoding = encoding_of(usage_data.model)
        prompt, output = encoding.count(usage_data.prompt_string), encoding.count(usage_data.output_string)
        counted = UsageData(usage_data.service_provider, usage_data.model, prompt, output)
        Client.send_usage(self, agent_id, customer_id, indicator, counted)

    def _amount(self, usage: UsageData) -> Decimal:
        """Return what a call costs: by the price of the model here, else by the catalog, else by the price of unknown models."""
        price = MODEL_PRICING.get(usage.model)
        if price is None:
            try:
                counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
                known = _default.price(usage.model, counts).usd
            except (TaximeterError, ValueError):
                known = None
            if known is not None:
                return known
            self.logger.warning("%s is unknown; it is billed at $0.10 per million tokens", printable(usage.model))
            price = _UNKNOWN
        prompt, completion = (Decimal(str(cost)) for cost in (price.prompt_tokens_cost, price.completion_tokens_cost))
        return (usage.prompt_tokens * prompt + usage.completion_tokens * completion) / 1000


def _event(agent: str, customer: str, indicator: str, usage: UsageData, amount: Decimal) -> Mapping[str, Any]:
    return {
        "provider": FROM_PAYGENT.get(usage.service_provider, usage.service_provider) or "unknown",
        "model": usage.model,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "agent": agent,
        "customer": customer,
        "feature": indicator,
        # Paygent's cost is the one billed. Our computed cost is recorded beside it.
        "cost_usd": amount,
    }
