"""Billing of customers by what they used."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..._vendor.transport import Timeout
from ..._vendor.typing import NotRequired
from .base import BaseResource

if TYPE_CHECKING:
    from .. import TeerClient

__all__ = [
    "BillingFields", "BillingFieldsBase", "BillingProvider", "BillingResource", "MeterEvent", "MeterEventCreateParams",
    "MeterEventFieldsBase", "MeterEventsResource", "MultiMeterFields", "SingleMeterFields", "StripeMeterEventCreateParams",
    "StripeMeterEventFields", "StripePayload", "TeerBillingConfig",
]  # fmt: skip

BillingProvider = Literal["stripe"]


class BillingFieldsBase(TypedDict):
    """Who is billed."""

    customer: str
    email: NotRequired[str]


class SingleMeterFields(BillingFieldsBase):
    """By one meter."""

    meter: str


class MultiMeterFields(BillingFieldsBase):
    """By several, by name."""

    meters: dict[str, str]


BillingFields = SingleMeterFields | MultiMeterFields


class TeerBillingConfig(TypedDict):
    """How a call is billed."""

    provider: BillingProvider
    fields: BillingFields


class MeterEventFieldsBase(TypedDict):
    """What any provider wants."""

    event_name: str
    identifier: NotRequired[str]
    timestamp: NotRequired[str]


class StripePayload(TypedDict):
    """What Stripe wants."""

    stripe_customer_id: str
    value: str


class StripeMeterEventFields(MeterEventFieldsBase):
    """An event of a meter of Stripe's."""

    payload: StripePayload


class StripeMeterEventCreateParams(TypedDict):
    """An event of a meter of Stripe's, and that it is one."""

    provider: Literal["stripe"]
    fields: StripeMeterEventFields


MeterEventCreateParams = StripeMeterEventCreateParams


class MeterEvent(TypedDict):
    """The answer."""

    id: str
    event_name: str
    timestamp: str
    payload: dict[str, Any]
    identifier: str
    created_at: str
    updated_at: str


class MeterEventsResource(BaseResource):
    """Events of meters."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "billing/meter-events", client.track_base)

    def create(
        self, params: MeterEventCreateParams | Mapping[str, Any], headers: Mapping[str, str] | None = None, timeout: Timeout = 10
    ) -> Any:
        """Report one event, and wait for the answer unless the client works in the background.

        One that has no `identifier` is given one. If the call fails, it is left in the caller's own `fields`, so that who calls again
        with them bills once.

        Args:
            params: The event, sent as it is but for that.
            headers: Further headers.
            timeout: Seconds for a connection, and for each wait for bytes, or a pair of them; `None` for ever.

        Returns:
            The service's answer; see `MeterEvent`. Of a client that works in the background, what is known of it here.

        Raises:
            requests.RequestException: There is no answer, or it says no.
            TypeError: Something in the event is not JSON.
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
            # It is no usage, which is all that the ledger has.
            return local
        if not self.client.background:
            return self._request("POST", data=params, headers=headers, timeout=timeout)
        return {"id": self._post_later(params, headers).id, **local}


class BillingResource(BaseResource):
    """Billing of customers."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "billing", client.track_base)
        self.meter_events = MeterEventsResource(client)
