"""The calls of `paygent-sdk` 4.9.7, which nobody waits for: they are on disk when they return, and sent in the background."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from ...destination import Secret
from .. import _vendor
from .._outbox import Account, Outbox, Service
from .models import (
    CostBreakdown,
    Customer,
    CustomerCreateOrGetRequest,
    ExternalCostData,
    RawUsageData,
    SendUsageV2Response,
    VideoUsageData,
)

__all__ = ["PROVIDERS", "EventCalls", "ids_of", "tags_of"]

log = logging.getLogger("paygent_sdk")

P = ParamSpec("P")
R = TypeVar("R")

_CUSTOMERS: Final = "/api/v1/customers/create-or-get"
_MOST_TAGS: Final = 20
_TAG_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_TAG: Final = 256
# Customers that are known to be there; of more, some are asked for again.
_MOST_CUSTOMERS: Final = 10_000
_CUSTOMER: Final = {
    "email": "email", "website": "website", "phone": "phone", "address_line1": "addressLine1", "address_line2": "addressLine2",
    "city": "city", "state": "state", "zip_code": "zipCode", "country": "country",
}  # fmt: skip
"""Fields of a customer, and their names on the wire."""
_USAGE: Final = {
    "input_tokens": "inputTokens", "output_tokens": "outputTokens", "cached_tokens": "cachedTokens",
    "audio_duration": "audioDuration", "character_count": "characterCount", "video_duration_sec": "videoDurationSec",
    "video_resolution": "videoResolution", "video_is_audio": "videoIsAudio", "usage_metadata": "usageMetadata",
}  # fmt: skip
"""Fields of raw usage, and their names on the wire."""
PROVIDERS: Final = {
    "Google DeepMind": "gcp.gemini", "Gemini": "gcp.gemini", "Google": "gcp.gemini", "AWS": "aws.bedrock", "Mistral AI": "mistral_ai",
    "Meta": "meta", "Open AI": "openai",
}  # fmt: skip
"""Providers that the ledger has under another name than Paygent."""


def _placeholder() -> SendUsageV2Response:
    """What is answered before the service has: it computes the cost, and tells nobody here."""
    return SendUsageV2Response("", 0.0, CostBreakdown(0.0, 0.0, 0.0, 0.0, 0.0), {})


def _quiet(
    answer: Callable[[], R],
) -> Callable[[Callable[Concatenate[EventCalls, P], R]], Callable[Concatenate[EventCalls, P], R]]:
    """Has a call never raise: what goes wrong is warned about, and `answer` returned."""

    def decorate(call: Callable[Concatenate[EventCalls, P], R]) -> Callable[Concatenate[EventCalls, P], R]:
        def run(self: EventCalls, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return call(self, *args, **kwargs)
            except Exception as error:
                log.warning("%s skipped: %s", call.__name__, error)
                return answer()

        run.__doc__, run.__name__ = call.__doc__, call.__name__
        return run

    return decorate


class EventCalls:
    """The calls that nobody waits for, of a client with a key, a URL and destinations."""

    base_url: str
    destinations: _vendor.Destinations
    _api_key: Secret

    def _prepare_outbox(self) -> None:
        self._account = Account(lambda key, url: Service("paygent", url, {"paygent-api-key": key}))
        self._customers: dict[str, None] = {}

    @property
    def _outbox(self) -> Outbox:
        return self._account.outbox(self._api_key.reveal(), self.base_url)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what was sent in the background is delivered, at most `timeout` seconds; says whether it was."""
        return self._outbox.flush(timeout).pending == 0

    @_quiet(_placeholder)
    def send_usage_v2(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | RawUsageData | None = None,
        raw_usage: RawUsageData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> SendUsageV2Response:
        """Report what a call used; Paygent computes the cost. Never raises, never blocks.

        Args:
            agent_id, customer_id: The agent, and the customer it worked for.
            indicator: What it was for; without one, cost is tracked and nothing billed. The usage may take its place.
            raw_usage: What it used.
            meta_tags: At most 20 tags of up to 64 letters, digits, `_` and `-`, with values of up to 256 characters.

        Returns:
            A placeholder.
        """
        if raw_usage is None and isinstance(indicator, RawUsageData):
            raw_usage, indicator = indicator, ""
        if raw_usage is None:
            raise ValueError("raw_usage is required")
        self._report(ids_of(agent_id, customer_id, indicator), raw_usage, meta_tags)
        return _placeholder()

    @_quiet(_placeholder)
    def send_usage_video(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | VideoUsageData | None = None,
        video_usage: VideoUsageData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> SendUsageV2Response:
        """Report the generation of a video; see `send_usage_v2`. Its duration, in seconds, must be above 0."""
        if video_usage is None and isinstance(indicator, VideoUsageData):
            video_usage, indicator = indicator, ""
        if video_usage is None:
            raise ValueError("video_usage is required")
        if not video_usage.video_duration_sec or video_usage.video_duration_sec <= 0:
            raise ValueError("video_duration_sec must be above 0")
        names = ("video_duration_sec", "video_resolution", "video_is_audio")
        raw = RawUsageData(
            video_usage.provider, video_usage.model, plan=video_usage.plan, **{name: getattr(video_usage, name) for name in names}
        )
        self._report(ids_of(agent_id, customer_id, indicator), raw, meta_tags)
        return _placeholder()

    @_quiet(lambda: None)
    def send_indicator(self, agent_id: str, customer_id: str, indicator: str, meta_tags: Mapping[str, Any] | None = None) -> None:
        """Report what is billed without any usage. The customer is made known first. Never raises, never blocks."""
        body = ids_of(agent_id, customer_id, indicator)
        if not body["indicator"]:
            raise ValueError("indicator is required")
        self._post("/api/v2/revenue", {**body, **tags_of(meta_tags)}, before=self._introduction(body["customerId"]))

    def create_or_get_customer(self, request: CustomerCreateOrGetRequest) -> Customer:
        """Make a customer known. Never raises, never blocks.

        Returns:
            A placeholder with the customer's own id and name.
        """
        try:
            external = (request.external_id or "").strip()
            if not external:
                raise ValueError("external_id is required")  # noqa: TRY301 - warned about like all else
            name = (request.name or "").strip() or external
            known = {wire: getattr(request, field) for field, wire in _CUSTOMER.items() if getattr(request, field, None)}
            self._post(_CUSTOMERS, {"name": name, "externalId": external, **known})
        except Exception as error:
            log.warning("create_or_get_customer skipped: %s", error)
            return Customer("", "", "")
        return Customer("", external, name)

    def send_external_cost(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | ExternalCostData | None = None,
        cost_data: ExternalCostData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a cost that is no model's. Never blocks.

        Args:
            agent_id, customer_id: The agent, and the customer it worked for.
            indicator: What it was for. May be left out: the cost then takes its place.
            cost_data: The cost, as it is configured at Paygent.
            meta_tags: See `send_usage_v2`.

        Raises:
            ValueError: `agent_id`, `customer_id`, `cost_data`, its name or its id is missing.
        """
        if cost_data is None and isinstance(indicator, ExternalCostData):
            cost_data, indicator = indicator, ""
        given = {"agent_id": agent_id, "customer_id": customer_id, "cost_data": cost_data}
        given |= {f"cost_data.{name}": getattr(cost_data, name, None) for name in ("name", "external_cost_id")}
        for name, value in given.items():
            if not (value.strip() if isinstance(value, str) else value):
                raise ValueError(f"send_external_cost: {name} is required")
        cost: Any = cost_data
        body = {
            **ids_of(agent_id, customer_id, indicator),
            "name": cost.name.strip(),
            "externalCostId": cost.external_cost_id.strip(),
            "properties": cost.properties or {},
            **tags_of(cost.meta_tags, meta_tags),
        }
        try:
            self._post("/api/v1/external-billing", body)
        except Exception as error:
            log.warning("send_external_cost skipped: %s", error)

    def _report(self, ids: dict[str, str], raw: RawUsageData, meta_tags: Mapping[str, Any] | None) -> None:
        """Reports usage wherever it goes."""
        tags = tags_of(raw.meta_tags, meta_tags)
        if self.destinations.to_ledger:
            _vendor.record(lambda: _event(ids, raw, tags.get("metaTags", {})))
        self._post_usage(ids, raw, tags)

    def _post_usage(
        self, ids: dict[str, str], raw: RawUsageData, tags: dict[str, dict[str, str]], before: tuple[str, Any] | None = None
    ) -> None:
        """Reports usage to the service."""
        usage = {wire: value for field, wire in _USAGE.items() if (value := getattr(raw, field)) is not None}
        raw_usage = {"provider": raw.provider, "model": raw.model, "plan": raw.plan or "default", **usage}
        self._post("/api/v2/usage", {**ids, "rawUsage": raw_usage, **tags}, before)

    def _post(self, path: str, body: dict[str, Any], before: tuple[str, Any] | None = None) -> None:
        if self.destinations.to_vendor:
            self._outbox.post(path, body, before=before)

    def _introduction(self, customer: str, name: str | None = None) -> tuple[str, dict[str, str]] | None:
        """The request that makes a customer known, the first time it is needed."""
        if customer in self._customers:
            return None
        if len(self._customers) >= _MOST_CUSTOMERS:
            self._customers.clear()
        self._customers[customer] = None
        return _CUSTOMERS, {"name": name or customer, "externalId": customer}


def ids_of(agent: Any, customer: Any, indicator: Any) -> dict[str, str]:
    """Who and what for, as the service takes it.

    Raises:
        ValueError: The agent or the customer is missing.
    """
    found = {
        "agentId": str(agent or "").strip(),
        "customerId": str(customer or "").strip(),
        "indicator": str(indicator or "").strip(),
    }
    if not found["agentId"] or not found["customerId"]:
        raise ValueError("agent_id and customer_id are required")
    return found


def tags_of(*given: Any) -> dict[str, dict[str, str]]:
    """Tags as the service takes them, the last before the others; a set that it would refuse is left out, and nothing else for it."""
    merged: dict[str, str] = {}
    for tags in given:
        if not tags:
            continue
        texts = {str(key).strip(): str(value).strip() for key, value in tags.items()} if isinstance(tags, Mapping) else None
        is_valid = texts is not None and len(texts) <= _MOST_TAGS
        if not is_valid or not all(_TAG_KEY.fullmatch(key) and len(value) <= _LONGEST_TAG for key, value in (texts or {}).items()):
            log.warning("meta_tags are left out: at most 20 tags of 64 letters, digits, _ and -, with values of 256 characters")
            continue
        merged |= texts or {}
    return {"metaTags": merged} if merged else {}


def _event(ids: Mapping[str, str], raw: RawUsageData, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "provider": PROVIDERS.get(raw.provider, raw.provider),
        "model": raw.model,
        "input_tokens": raw.input_tokens,
        "output_tokens": raw.output_tokens,
        "cache_read_tokens": raw.cached_tokens,
        "agent": ids["agentId"],
        "customer": ids["customerId"],
        "feature": ids["indicator"],
        "tags": tags,
    }
