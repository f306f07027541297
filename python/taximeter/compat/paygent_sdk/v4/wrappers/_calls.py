"""What the wrappers share: a call is made, its response is returned, and what it used is reported."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..... import _default, instrument
from ...._vendor.destinations import record
from ..._client import encoding_of
from ..events import LoggingErrors, event_of, ids_of
from ..models import RawUsageData

if TYPE_CHECKING:
    from .....meter import Meter
    from ..client import Client

__all__ = ["Part", "ReportedCall", "as_text", "count"]

_WHOSE: Final = ("external_agent_id", "external_customer_id", "indicator")
"""The keywords that every method of a wrapper requires."""
_NAME: Final = "external_customer_name"


class Part:
    """A part of a wrapper, such as its chats.

    Every method that calls the client has the arguments of the client's own method, and these keywords:

    Args:
        indicator: The event that is billed.
        external_agent_id, external_customer_id: The agent, and the customer for whom it worked.
        external_customer_name: The customer's name. May be left out; then it is the id.
    """

    def __init__(self, client: Any, paygent_client: Client) -> None:
        self._inner = client
        self.paygent_client = paygent_client

    def _call(self, provider: str, arguments: dict[str, Any], model: str | None = None) -> ReportedCall:
        """Take the keywords for Paygent out of the arguments of a call.

        Raises:
            TypeError: One of them, or the model, is missing.
        """
        if missing := [name for name in (*_WHOSE, *(() if model else ("model",))) if name not in arguments]:
            raise TypeError(f"missing required keyword arguments: {', '.join(missing)}")
        ids = tuple(arguments.pop(name) for name in _WHOSE)
        return ReportedCall(self.paygent_client, provider, model or arguments["model"], ids, arguments.pop(_NAME, ""))


class ReportedCall:
    """One call of a wrapped client.

    It observes the call (see `instrument.Observer`), so that a call that `taximeter.init()` meters is one row in the ledger, with the
    agent, customer and indicator given here.

    Args:
        client: The client that reports.
        provider, model: By the service's names.
        ids: The agent, the customer, and the indicator.
        customer_name: The customer's name; by default the id.
        tags: Tags that the service accepts.
    """

    is_active = True

    def __init__(
        self,
        client: Client,
        provider: str,
        model: str,
        ids: tuple[str, ...],
        customer_name: str = "",
        tags: dict[str, str] | None = None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._model = model
        self._ids = ids
        self._customer_name = customer_name or None
        self._tags = tags or {}
        self._is_metered = False

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:  # noqa: ARG002
        return _default.ledger_meter() if self._client.destinations.to_ledger else None

    def budgets_meter(self) -> Meter:
        return _default.default_meter

    def defaults(self) -> Mapping[str, Any]:
        return {}

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        if not self._client.destinations.to_ledger:
            return {}
        named = zip(("agent", "customer", "feature"), self._ids, strict=True)
        return {**{name: value for name, value in named if value}, **({"tags": self._tags} if self._tags else {})}

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:  # noqa: ARG002
        self._is_metered = True

    def make(self, call: Callable[[], Any], report: Callable[[Any], None]) -> Any:
        """Make the call and report its response with `report`. Return the response, or an awaitable in its place.

        Raises:
            Exception: That of the call. A failed report is logged.
        """
        with instrument.observe(self):
            response = call()
        if inspect.isawaitable(response):
            return self._awaited(response, report)
        with LoggingErrors("the report of a call"):
            report(response)
        return response

    async def _awaited(self, pending: Awaitable[Any], report: Callable[[Any], None]) -> Any:
        with instrument.observe(self):
            response = await pending
        with LoggingErrors("the report of a call"):
            report(response)
        return response

    def reported(self, input_tokens: int, output_tokens: int, cached_tokens: int | None = None) -> None:
        """Report the tokens that the provider reports."""
        raw = RawUsageData(self._provider, self._model, input_tokens, output_tokens, cached_tokens)
        ids = ids_of(*self._ids)
        if self._client.destinations.to_ledger and not self._is_metered:
            record(lambda: event_of(ids, raw, self._tags))
        tags = {"metaTags": self._tags} if self._tags else {}
        self._client._post_usage(ids, raw, tags, (ids["customerId"], self._customer_name))  # noqa: SLF001 - of this package

    def counted(self, prompt: str, output: str) -> None:
        """Count and report the tokens of texts, because the provider reports none. The texts are not sent or stored."""
        encoding = encoding_of(self._model)
        self.reported(encoding.count(prompt), encoding.count(output))


def count(usage: Any, name: str) -> int:
    """Return a count in a usage report; 0 if it is absent."""
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else 0


def as_text(value: Any) -> str:
    """Return the text whose tokens are counted: a text itself, other values as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
