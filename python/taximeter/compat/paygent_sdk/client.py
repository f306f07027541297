"""A client with the calls of both versions of Paygent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import v1, v4
from ._client import DEFAULT_BASE_URL
from .models import APIRequest, UsageData, UsageDataWithStrings
from .v1.models import MODEL_PRICING, ModelPricing
from .v1.models import UsageData as Usage
from .v1.models import UsageDataWithStrings as Texts

__all__ = ["DEFAULT_BASE_URL", "MODEL_PRICING", "APIRequest", "Client", "ModelPricing", "UsageData", "UsageDataWithStrings"]


class Client(v1.Client, v4.Client):
    """A client of Paygent; see `PaygentClient`. It has the calls of both versions.

    `send_usage` and `send_usage_with_token_string`, which both versions have, are those of version 1 unless they are called in a way
    that only version 4 allows: without an indicator, with `meta_tags`, or with `cached_tokens` or a `plan` in the usage.
    """

    def send_usage(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | Usage | None = None,
        usage_data: Usage | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call like version 1 or 4, depending on the arguments.

        Args:
            agent_id: The agent that made the call.
            customer_id: The customer for whom the call was made.
            indicator: The event that is billed. May be left out in version 4.
            usage_data: What the call used.
            meta_tags: Tags; only in version 4.

        Raises:
            ValueError: Version 1: an id or the indicator is empty, or a count is invalid. The message names it.
            requests.RequestException: Version 1: there is no response, or it has an error status. A class of the same name if
                `requests` is not installed.
        """
        if _is_for_version_4(indicator, usage_data, meta_tags):
            new: tuple[Any, Any] = indicator, usage_data
            v4.Client.send_usage(self, agent_id, customer_id, *new, meta_tags)
        else:
            old: tuple[Any, Any] = indicator, usage_data
            v1.Client.send_usage(self, agent_id, customer_id, *old)

    def send_usage_with_token_string(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | Texts | None = None,
        usage_data: Texts | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a call by its texts, otherwise like `send_usage`. Tokens are counted locally; texts are not sent or stored."""
        if _is_for_version_4(indicator, usage_data, meta_tags):
            new: tuple[Any, Any] = indicator, usage_data
            v4.Client.send_usage_with_token_string(self, agent_id, customer_id, *new, meta_tags)
        else:
            old: tuple[Any, Any] = indicator, usage_data
            v1.Client.send_usage_with_token_string(self, agent_id, customer_id, *old)


def _is_for_version_4(indicator: Any, usage: Any, meta_tags: Any) -> bool:
    """Return whether a call's arguments are allowed in version 4 only."""
    if meta_tags is not None or getattr(usage, "cached_tokens", None) is not None or getattr(usage, "plan", None) is not None:
        return True
    return not isinstance(indicator, str) and (isinstance(indicator, (Usage, Texts)) or (indicator is None and usage is not None))
