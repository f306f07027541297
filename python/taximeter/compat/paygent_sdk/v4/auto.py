"""Paygent 4's `init`: reports the calls of clients that name their agent and customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .... import _default, instrument
from ....locks import ForkSafeLock
from ..._vendor.events import usage_of
from ..._vendor.providers import TO_PAYGENT
from .._client import log
from .client import Client
from .events import ids_of
from .meta_tags import tags_of
from .models import ExternalCostData, RawUsageData

if TYPE_CHECKING:
    from ....meter import Meter

__all__ = ["init", "send_external_cost", "send_indicator"]

_PREFIX: Final = "paygent_"
_FAMILIES: Final = (
    "openai", "anthropic", "google.genai", "google.generativeai", "botocore", "mistralai", "cohere", "groq", "together", "ollama",
    "litellm",
)  # fmt: skip

_ATTRIBUTION: Final = {
    "agent": "paygent_agent_id", "customer": "paygent_customer_id", "feature": "paygent_indicator",
}  # fmt: skip

_client: Client | None = None
_lock = ForkSafeLock()


def init(api_key: str, base_url: str | None = None, *, destination: str | Sequence[str] | None = None) -> Client:
    """Report the clients' calls that have the keywords `paygent_agent_id` and `paygent_customer_id` from now on.

    The keywords `paygent_indicator`, `paygent_customer_name`, `paygent_plan` and `paygent_meta_tags` are used as well. None of these
    keywords reach the client. A second call returns the client of the first.

    Args:
        api_key: The API key.
        base_url: The service's URL; Paygent's own by default.
        destination: Where usage goes: `"paygent"` (the default), `"ledger"`, or both.

    Returns:
        The client that the functions of this module share.
    """
    global _client  # noqa: PLW0603 - the interface's
    with _lock:
        if _client is None:
            _client = Client(api_key, base_url, destination=destination)
            instrument.subscribe(_Observer(_client), _FAMILIES, _PREFIX)
        return _client


def send_indicator(agent_id: str, customer_id: str, indicator: str, meta_tags: Mapping[str, Any] | None = None) -> None:
    """Call `Client.send_indicator` of the client of `init`. Without one, it only logs an error."""
    if _client is None:
        log.error("send_indicator skipped: call paygent_sdk.init(api_key) first")
        return
    _client.send_indicator(agent_id, customer_id, indicator, meta_tags)


def send_external_cost(
    agent_id: str,
    customer_id: str,
    indicator: str | ExternalCostData = "",
    cost_data: ExternalCostData | None = None,
    meta_tags: Mapping[str, Any] | None = None,
) -> None:
    """Call `Client.send_external_cost` of the client of `init`, with its errors. Without one, it only logs an error."""
    if _client is None:
        log.error("send_external_cost skipped: call paygent_sdk.init(api_key) first")
        return
    _client.send_external_cost(agent_id, customer_id, indicator, cost_data, meta_tags)


class _Observer:
    """Reports the calls of clients to Paygent."""

    def __init__(self, client: Client) -> None:
        self._client = client

    is_active = True

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:
        return _default.ledger_meter() if self._client.destinations.to_ledger and _names_both(own) else None

    def budgets_meter(self) -> Meter:
        return _default.default_meter

    def defaults(self) -> Mapping[str, Any]:
        return {}

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        named = {ours: own[theirs] for ours, theirs in _ATTRIBUTION.items() if own.get(theirs)}
        return {**named, "tags": tags_of(own.get("paygent_meta_tags")).get("metaTags", {})}

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:  # noqa: ARG002
        if not self._client.destinations.to_vendor or not _names_both(own):
            return
        usage = usage_of(event, self._client._outbox, str(event["model"]))  # noqa: SLF001 - of this package
        if usage is None:
            return
        ids = ids_of(own["paygent_agent_id"], own["paygent_customer_id"], own.get("paygent_indicator"))
        raw = RawUsageData(
            TO_PAYGENT.get(event["provider"], event["provider"]),
            event["model"],
            usage.get("input_tokens", 0),
            usage.get("output_tokens", 0),
            usage.get("cache_read_tokens") or None,
            plan=own.get("paygent_plan"),
        )
        customer = ids["customerId"], own.get("paygent_customer_name")
        self._client._post_usage(ids, raw, tags_of(own.get("paygent_meta_tags")), customer)  # noqa: SLF001


def _names_both(own: Mapping[str, Any]) -> bool:
    """Return whether a call names its agent and its customer."""
    return bool(own.get("paygent_agent_id") and own.get("paygent_customer_id"))
