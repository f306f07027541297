"""The client of Paygent."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from ... import _default, tokens
from ...errors import TaximeterError, TransferError
from ...sanitize import printable
from ...settings.destination import Secret
from .. import _requests
from .._outbox import refusal
from .._vendor.destinations import Destinations, record
from .._vendor.providers import FROM_PAYGENT
from .._vendor.transport import dumps, post
from .constants import MODEL_PRICING
from .events import EventCalls
from .models import ModelPricing, RawUsageData, UsageData, UsageDataWithStrings

__all__ = ["Client"]

DEFAULT_BASE_URL: Final = "https://cp-api.withpaygent.com"
_TIMEOUT: Final = 30.0
_USAGE: Final = "/api/v1/usage"
# The original's README bills unknown models at $0.10 per million tokens.
_UNKNOWN: Final = ModelPricing(0.0001, 0.0001)

log = logging.getLogger("paygent_sdk")


class Client(EventCalls):
    """A client of Paygent.

    Args:
        api_key: The API key.
        base_url: The service's URL, which may have a path. Paygent's own by default.
        destination: Where usage goes: `"paygent"` (the default), `"ledger"`, or both.
        background: Whether `send_usage` returns once the usage is on disk. It is then sent until Paygent accepts it.

    Raises:
        ConfigError: The destination is invalid.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        *,
        destination: str | Sequence[str] | None = None,
        background: bool = False,
    ) -> None:
        self._api_key = Secret(api_key)
        self.base_url = (base_url or DEFAULT_BASE_URL).rstrip("/")
        self.destinations = Destinations("paygent", destination)
        self.background = background
        self._prepare_outbox()
        self.logger = log

    @classmethod
    def new_client(cls, api_key: str) -> Client:
        """Return a client of Paygent's own service."""
        return cls(api_key)

    @classmethod
    def new_client_with_url(cls, api_key: str, base_url: str) -> Client:
        """Return a client of the service at this URL."""
        return cls(api_key, base_url)

    def set_log_level(self, level: int) -> None:
        """Set the level of the logger `paygent_sdk`, which all clients share."""
        self.logger.setLevel(level)

    def get_logger(self) -> logging.Logger:
        """Return the logger `paygent_sdk`, which has no handler."""
        return self.logger

    def send_usage(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | UsageData,
        usage_data: UsageData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call with its cost, which is computed locally. Wait for the response unless the client works in the background.

        If it is called with Paygent 4's arguments (no indicator, `meta_tags`, or usage with `cached_tokens` or a `plan`), it behaves
        like Paygent 4; see `send_usage_v2`.

        Args:
            agent_id: The agent that made the call.
            customer_id: The customer for whom the call was made.
            indicator: The event that is billed.
            usage_data: What the call used.
            meta_tags: Tags; only for Paygent 4.

        Raises:
            ValueError: An id or the indicator is empty, or a count is invalid. The message names it.
            requests.RequestException: There is no response, or it has an error status. A class of the same name if `requests` is not
                installed.
        """
        if isinstance(indicator, UsageData) or _is_for_version_4(usage_data, meta_tags):
            self._send_as_version_4(agent_id, customer_id, indicator, usage_data, meta_tags)
            return
        for name, value in (("agent_id", agent_id), ("customer_id", customer_id), ("indicator", indicator)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"{name} must be a non-empty text")
        for name in ("prompt_tokens", "completion_tokens"):
            count = getattr(usage_data, name, None)
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"Failed to calculate cost: {name} must be a whole number from 0")
        usage: Any = usage_data
        amount = self._amount(usage)
        if self.destinations.to_ledger:
            record(lambda: _event(agent_id, customer_id, indicator, usage, amount))
        if self.destinations.to_vendor:
            self._send(
                {
                    "agentId": agent_id,
                    "customerId": customer_id,
                    "indicator": indicator,
                    "amount": float(amount),
                    "inputToken": usage.prompt_tokens,
                    "outputToken": usage.completion_tokens,
                    "model": usage.model,
                    "serviceProvider": usage.service_provider,
                }
            )

    def _send_as_version_4(self, agent: str, customer: str, indicator: Any, usage: Any, meta_tags: Mapping[str, Any] | None) -> None:
        if usage is None:
            usage, indicator = indicator, ""
        raw = RawUsageData(
            usage.service_provider, usage.model, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, plan=usage.plan
        )
        self.send_usage_v2(agent, customer, indicator, raw, meta_tags)

    def send_usage_with_token_string(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | UsageDataWithStrings,
        usage_data: UsageDataWithStrings | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call by its texts, otherwise like `send_usage`. Tokens are counted locally; texts are not sent or stored."""
        texts = indicator if isinstance(indicator, UsageDataWithStrings) else usage_data
        for name in ("prompt_string", "output_string"):
            if not isinstance(getattr(texts, name, None), str):
                raise ValueError(f"Failed to count tokens: {name} must be a text")  # noqa: TRY004 - the interface's
        given: Any = texts
        encoding = _encoding(given.model)
        prompt, output = encoding.count(given.prompt_string), encoding.count(given.output_string)
        counted = UsageData(given.service_provider, given.model, prompt, output, prompt + output, plan=given.plan)
        if isinstance(indicator, UsageDataWithStrings):
            self.send_usage(agent_id, customer_id, counted, meta_tags=meta_tags)
        else:
            self.send_usage(agent_id, customer_id, indicator, counted, meta_tags)

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

    def _send(self, body: dict[str, Any]) -> None:
        if self.background:
            if reason := refusal(self._outbox.post(_USAGE, body)):
                raise _requests.not_recorded(reason)
            return
        url = f"{self.base_url}{_USAGE}"
        headers = {"content-type": "application/json", "paygent-api-key": self.api_key}
        try:
            content = dumps(body)
        except ValueError as error:
            raise _requests.invalid_json(error) from None
        try:
            response = _requests.Response(*post(url, headers, content, _TIMEOUT))
        except TransferError as error:
            _requests.raise_transfer_error(error, url)
        _requests.raise_for_status(response)


def _is_for_version_4(usage: UsageData | None, meta_tags: Any) -> bool:
    """Return whether an argument is given that Paygent 1 does not have."""
    return meta_tags is not None or any(getattr(usage, name, None) is not None for name in ("cached_tokens", "plan"))


def _encoding(model: str) -> tokens.Encoding:
    """Return the model's own encoding. For models without a known one it is `cl100k_base`, as the original's README says."""
    try:
        found = tokens.encoding_for_model(model)
    except ValueError:
        return tokens.encoding("cl100k_base")
    return found.encoding if found.exact and found.encoding is not None else tokens.encoding("cl100k_base")


def _event(agent: str, customer: str, indicator: str, usage: UsageData, amount: Decimal) -> dict[str, Any]:
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
