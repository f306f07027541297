"""Billing of customers by usage."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..._vendor.transport import Timeout
from .base import BaseResource

if TYPE_CHECKING:
    from .. import TeerClient

__all__ = [
    "BillingFields", "BillingFieldsBase", "BillingProvider", "BillingResource", "MeterEvent", "MeterEventCreateParams",
    "MeterEventFieldsBase", "MeterEventsResource", "MultiMeterFields", "SingleMeterFields", "StripeMeterEventCreateParams",
    "StripeMeterEventFields", "StripePayload", "TeerBillingConfig",
]  # fmt: skip

BillingProvider = Literal["stripe"]


class _Customer(TypedDict):
    customer: str


class BillingFieldsBase(_Customer, total=False):
    """The customer that is billed."""

    email: str


class SingleMeterFields(BillingFieldsBase):
    """Billing by one meter."""

    meter: str


class MultiMeterFields(BillingFieldsBase):
    """Billing by several meters, by name."""

    meters: dict[str, str]


BillingFields = SingleMeterFields | MultiMeterFields


class TeerBillingConfig(TypedDict):
    """How a call is billed."""

    provider: BillingProvider
    fields: BillingFields


class MeterEventFieldsBase(TypedDict):
    """The fields that every billing provider needs. Type checkers require all of them, as in the original; `create` does not."""

    event_name: str
    identifier: str | None
    timestamp: str | None


class StripePayload(TypedDict):
    """The fields that Stripe needs."""

    stripe_customer_id: str
    value: str


class StripeMeterEventFields(MeterEventFieldsBase):
    """A meter event for Stripe."""

    payload: StripePayload


class StripeMeterEventCreateParams(TypedDict):
    """A meter event for Stripe, with the provider's name."""

    provider: Literal["stripe"]
    fields: StripeMeterEventFields


MeterEventCreateParams = StripeMeterEventCreateParams


class MeterEvent(TypedDict):
    """The service's response."""

    id: str
    event_name: str
    timestamp: str
    payload: dict[str, Any]
    identifier: str | None
    created_at: str
    updated_at: str


class MeterEventsResource(BaseResource):
    """Meter events."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "billing/meter-events", client.track_base)

    def create(
        self, params: MeterEventCreateParams | Mapping[str, Any], headers: Mapping[str, str] | None = None, timeout: Timeout = 10
    ) -> Any:
        """Report one event. Wait for the response unless the client works in the background.

        An event without an `identifier` gets one. If the call fails, the identifier is stored in the caller's `fields`, so that a
        retry with the same fields is billed only once.

        Args:
            params: The event, which is otherwise sent unchanged.
            headers: Further headers.
            timeout: Seconds for connecting and for each read, `(connect, read)`, or `None` for no timeout.

        Returns:
            The service's response; see `MeterEvent`. For a client that works in the background, the locally known fields.

        Raises:
            requests.RequestException: There is no response, or it has an error status.
            TypeError: A value in the event cannot be expressed in JSON.
        """
        fields = params.get("fields") if isinstance(params, Mapping) else None
        if not isinstance(fields, Mapping) or fields.get("identifier"):
            return self._create(params, headers, timeout)
        own = {"identifier": str(uuid.uuid4())}
        try:
            return self._create({**params, "fields": {**fields, **own}}, headers, timeout)
        except Exception:
            if isinstance(fields, MutableMapping):
                fields.update(own)
            raise

    def _create(self, params: Mapping[str, Any], headers: Mapping[str, str] | None, timeout: Timeout) -> Any:
        known = params.get("fields") if isinstance(params, Mapping) else None
        local = dict(known) if isinstance(known, Mapping) else {}
        if not self.client.destinations.to_vendor:
            # The ledger records usage only.
            return local
        if not self.client.background:
            return self._request("POST", data=params, headers=headers, timeout=timeout)
        return {"id": self._post_later(params, headers).id, **local}


class BillingResource(BaseResource):
    """Billing of customers."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "billing", client.track_base)
        self.meter_events = MeterEventsResource(client)
