"""The destinations of a client's events: the SDK's own service, the ledger, or both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from ... import _default, settings
from ..._core import Receipt
from ...errors import ConfigError

__all__ = ["Destinations", "flush_ledger", "price_of", "record"]

log = logging.getLogger("taximeter")
LEDGER: Final = "ledger"


class Destinations:
    """The destinations of a client's events: the SDK's own service, the ledger, or both.

    Args:
        vendor: The SDK's name.
        given: `None` for the service only, a name (the SDK's or `"ledger"`), or a sequence of names.

    Raises:
        ConfigError: A name is unknown.
    """

    __slots__ = ("to_ledger", "to_vendor")

    def __init__(self, vendor: str, given: str | Sequence[str] | None) -> None:
        names = (vendor,) if given is None else (given,) if isinstance(given, str) else tuple(given)
        if not names or not {*names} <= {vendor, LEDGER}:
            raise ConfigError(f"destination: {given!r} is neither {vendor!r} nor 'ledger', nor both")
        is_enabled = not settings.is_disabled()
        self.to_vendor = vendor in names and is_enabled
        self.to_ledger = LEDGER in names and is_enabled


def flush_ledger(timeout: float) -> None:
    """Wait until the ledger has all events, at most `timeout` seconds."""
    _default.ledger_meter().flush(timeout)


def record(make: Callable[[], Mapping[str, Any]]) -> Receipt | None:
    """Record an event in the ledger. Never raises, because the arguments of the SDK's call may be anything."""
    try:
        return _default.ledger_meter().track(**make())
    except Exception:
        log.warning("taximeter cannot record a call in the ledger", exc_info=log.isEnabledFor(logging.DEBUG))
        return None


def price_of(provider: str, model: str, usage: Mapping[str, int], *, batch: bool = False) -> Decimal | None:
    """Return what a call costs in US dollars; `None` if it has no price or is invalid."""
    try:
        return _default.price(model, usage, provider, batch=batch).usd
    except Exception:
        return None
