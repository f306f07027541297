"""The client of `paygent-sdk` 4.9.7. Paygent computes the costs, and no call of this module blocks or raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._client import encoding_of
from .batch_client import BatchCalls
from .events import LoggingErrors
from .models import RawUsageData, UsageData, UsageDataWithStrings

__all__ = ["Client"]


class Client(BatchCalls):
    """A client of Paygent; see `PaygentClient`."""

    def send_usage(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | UsageData | None = None,
        usage_data: UsageData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report what a call used. Never raises, never blocks.

        Args:
            agent_id, customer_id: The agent, and the customer for whom it worked. Without them, the call is skipped with a warning.
            indicator: The event that is billed. Without one, Paygent tracks the cost but bills nothing. The usage may take its place.
            usage_data: What the call used.
            meta_tags: See `send_usage_v2`.
        """
        with LoggingErrors("send_usage"):
            if usage_data is None and not isinstance(indicator, str):
                usage_data, indicator = indicator, ""
            if usage_data is None:
                raise ValueError("usage_data is required")
            raw = RawUsageData(
                usage_data.service_provider,
                usage_data.model,
                usage_data.prompt_tokens,
                usage_data.completion_tokens,
                getattr(usage_data, "cached_tokens", None),
                plan=getattr(usage_data, "plan", None),
            )
            self.send_usage_v2(agent_id, customer_id, str(indicator or ""), raw, meta_tags)

    def send_usage_with_token_string(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | UsageDataWithStrings | None = None,
        usage_data: UsageDataWithStrings | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call by its texts, otherwise like `send_usage`. Tokens are counted locally; texts are not sent or stored."""
        with LoggingErrors("send_usage_with_token_string"):
            if usage_data is None and not isinstance(indicator, str):
                usage_data, indicator = indicator, ""
            if usage_data is None:
                raise ValueError("usage_data is required")
            encoding = encoding_of(usage_data.model)
            prompt, output = (encoding.count(text or "") for text in (usage_data.prompt_string, usage_data.output_string))
            plan = getattr(usage_data, "plan", None)
            raw = RawUsageData(usage_data.service_provider, usage_data.model, prompt, output, plan=plan)
            self.send_usage_v2(agent_id, customer_id, str(indicator or ""), raw, meta_tags)
