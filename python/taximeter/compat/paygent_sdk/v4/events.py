"""The events of `paygent-sdk` 4.9.7. They are reported in the background: on disk when a call returns, and sent later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from ..._outbox import Outbox
from ..._vendor.destinations import record
from ..._vendor.providers import FROM_PAYGENT
from .._client import PaygentClient, log
from .meta_tags import tags_of
from .models import (
    CostBreakdown,
    Customer,
    CustomerCreateOrGetRequest,
    ExternalCostData,
    RawUsageData,
    SendUsageV2Response,
    VideoUsageData,
)
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata

__all__ = ["EventCalls", "LoggingErrors", "event_of", "ids_of"]

_CUSTOMERS: Final = "/api/v1/customers/create-or-get"
# The size of a cache of customers that the service knows. When it is full it is cleared, and customers are created again.
_MAX_CUSTOMERS: Final = 10_000
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


def _placeholder() -> SendUsageV2Response:
    """Return the placeholder for a response. Paygent computes the cost later and does not report it to this client."""
    return SendUsageV2Response("", 0.0, CostBreakdown(0.0, 0.0, 0.0, 0.0, 0.0), {})


class LoggingErrors:
    """A block that logs exceptions instead of raising them."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        log.warning("%s skipped: %s", self._what, error)
        return True


class EventCalls(PaygentClient):
    """The calls that report events; see `PaygentClient`."""

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        *,
        destination: str | Sequence[str] | None = None,
        background: bool = False,
    ) -> None:
        self._customers: dict[tuple[Outbox, str, str | None], None] = {}
        super().__init__(api_key, base_url, destination=destination, background=background)

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
            agent_id, customer_id: The agent, and the customer for whom it worked.
            indicator: The event that is billed. Without one, Paygent tracks the cost but bills nothing. The usage may take its place.
            raw_usage: What the call used.
            meta_tags: At most 20 tags with keys of up to 64 letters, digits, `_` and `-`, and values of up to 256 characters.

        Returns:
            A placeholder.
        """
        with LoggingErrors("send_usage_v2"):
            if raw_usage is None and isinstance(indicator, RawUsageData):
                raw_usage, indicator = indicator, ""
            if raw_usage is None:
                raise ValueError("raw_usage is required")
            self._report(ids_of(agent_id, customer_id, indicator), raw_usage, meta_tags)
        return _placeholder()

    def send_usage_video(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | VideoUsageData | None = None,
        video_usage: VideoUsageData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> SendUsageV2Response:
        """Report the generation of a video; see `send_usage_v2`. Its duration must be above 0 seconds."""
        with LoggingErrors("send_usage_video"):
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

    def send_indicator(self, agent_id: str, customer_id: str, indicator: str, meta_tags: Mapping[str, Any] | None = None) -> None:
        """Report an event that is billed without usage, after creating its customer. Never raises, never blocks."""
        with LoggingErrors("send_indicator"):
            body = ids_of(agent_id, customer_id, indicator)
            if not body["indicator"]:
                raise ValueError("indicator is required")
            self._post("/api/v2/revenue", {**body, **tags_of(meta_tags)}, (body["customerId"], None))

    def create_or_get_customer(self, request: CustomerCreateOrGetRequest) -> Customer:
        """Create a customer at Paygent. Never raises, never blocks.

        Returns:
            A placeholder with the given id and name.
        """
        with LoggingErrors("create_or_get_customer"):
            external = (request.external_id or "").strip()
            if not external:
                raise ValueError("external_id is required")
            name = (request.name or "").strip() or external
            known = {wire: getattr(request, field) for field, wire in _CUSTOMER.items() if getattr(request, field, None)}
            self._post(_CUSTOMERS, {"name": name, "externalId": external, **known})
            return Customer("", external, name)
        return Customer("", "", "")

    def send_external_cost(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | ExternalCostData | None = None,
        cost_data: ExternalCostData | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a cost that no model caused. Never blocks.

        Args:
            agent_id, customer_id: The agent, and the customer for whom it worked.
            indicator: The event that is billed. May be left out; the cost then takes its place.
            cost_data: The cost, as configured at Paygent.
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
        with LoggingErrors("send_external_cost"):
            self._post("/api/v1/external-billing", body)

    def _report(self, ids: dict[str, str], raw: RawUsageData, meta_tags: Mapping[str, Any] | None) -> None:
        """Report usage to all destinations."""
        tags = tags_of(raw.meta_tags, meta_tags)
        if self.destinations.to_ledger:
            record(lambda: event_of(ids, raw, tags.get("metaTags", {})))
        self._post_usage(ids, raw, tags)

    def _post_usage(
        self,
        ids: dict[str, str],
        raw: RawUsageData,
        tags: dict[str, dict[str, str]],
        customer: tuple[str, str | None] | None = None,
    ) -> None:
        """Report usage to Paygent."""
        usage = {wire: value for field, wire in _USAGE.items() if (value := getattr(raw, field)) is not None}
        raw_usage = {"provider": raw.provider, "model": raw.model, "plan": raw.plan or "default", **usage}
        self._post("/api/v2/usage", {**ids, "rawUsage": raw_usage, **tags}, customer)

    def _post(self, path: str, body: dict[str, Any], customer: tuple[str, str | None] | None = None) -> None:
        """Record a request. If it is the first with this customer's id and name, a request that creates the customer comes first."""
        if not self.destinations.to_vendor:
            return
        outbox = self._outbox
        if customer is None or (outbox, *customer) in self._customers:
            outbox.post(path, body)
            return
        external, name = customer
        if outbox.post(path, body, before=(_CUSTOMERS, {"name": name or external, "externalId": external})):
            if len(self._customers) >= _MAX_CUSTOMERS:
                self._customers.clear()
            # A named customer is also known without a name.
            self._customers |= {(outbox, external, name): None, (outbox, external, None): None}


def ids_of(agent: Any, customer: Any, indicator: Any) -> dict[str, str]:
    """Return the ids and the indicator in the service's form.

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


def event_of(ids: Mapping[str, str | None], raw: RawUsageData, tags: Mapping[str, str]) -> dict[str, Any]:
    """Convert usage to an event for the ledger."""
    counts = {"input_tokens": raw.input_tokens, "output_tokens": raw.output_tokens, "cache_read_tokens": raw.cached_tokens}
    units: dict[str, Any] = {"input_characters": raw.character_count, "audio_seconds": _seconds(raw.audio_duration)}
    if raw.usage_metadata:
        counts, units = _by_modality(raw.usage_metadata)
    input_tokens, cached = counts["input_tokens"], counts["cache_read_tokens"] or 0
    if input_tokens is not None and cached > input_tokens:
        # In Anthropic's form, input tokens do not include cached ones.
        input_tokens += cached
    return {
        "provider": FROM_PAYGENT.get(raw.provider, raw.provider),
        "model": raw.model,
        "input_tokens": input_tokens,
        "output_tokens": counts["output_tokens"],
        "cache_read_tokens": cached or None,
        "usage": units,
        "agent": ids["agentId"],
        "customer": ids["customerId"],
        "feature": ids["indicator"],
        "tags": {**tags, **({} if raw.video_duration_sec is None else {"video_seconds": raw.video_duration_sec})},
    }


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


def _by_modality(metadata: Mapping[str, Any]) -> tuple[dict[str, int | None], dict[str, Any]]:
    """Return the sums of tokens in speech-to-speech usage, and the units by modality."""
    usage = SpeechToSpeechUsageMetadata.from_api_dict(metadata)
    units: dict[str, Any] = {}
    sums: dict[str, int | None] = {"cache_read_tokens": None}
    for side, names in (("input", ("text", "audio", "image", "video")), ("output", ("text", "audio"))):
        found = {name: one for name in names if (one := getattr(getattr(usage, side), name, None)) is not None}
        sums[f"{side}_tokens"] = sum(one.tokens for one in found.values())
        units |= {f"{side}_{name}_tokens": one.tokens for name, one in found.items() if name != "text" and one.tokens}
        if "audio" in found and found["audio"].minutes:
            units[f"{side}_audio_seconds"] = _seconds(found["audio"].minutes)
    if usage.cached is not None:
        cached = usage.cached
        sums["cache_read_tokens"] = cached.text_tokens + cached.audio_tokens + cached.image_tokens + cached.legacy_tokens
        units |= {name: count for name, count in (("cache_audio_read_tokens", cached.audio_tokens),) if count}
    return sums, units
