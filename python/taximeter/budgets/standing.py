"""What is used of a budget by one key."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from .refusal import SEPARATOR, moment

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Standing", "standing_of"]


class Standing(NamedTuple):
    """What is used of a budget by one key in the current period. Amounts are in the budget's unit."""

    budget: str
    """The name of the budget."""
    key: str
    """The values of the budget's `by`, separated by `/` if there are several; empty without `by`."""
    unit: str
    """`usd`, `tokens` or `calls`."""
    amount: Decimal | int
    """The limit."""
    used: Decimal | int
    """What is charged."""
    held: Decimal | int
    """What calls in flight hold."""
    left: Decimal | int
    """What another call may take: `amount - used - held`, at least 0."""
    calls: int
    """The calls that are charged."""
    unpriced: int
    """Those of them without a known price."""
    resets_at: datetime | None
    """When the period ends; `None` if it does not."""
    threshold: Decimal | None = None
    """The part of the amount that was crossed, for `on_threshold`; else `None`."""


def standing_of(counts: Mapping[str, Any]) -> Standing:
    """Return a standing of the core; see `_core.Budgets.standings`."""
    kind = Decimal if counts["unit"] == "usd" else int
    threshold = counts.get("threshold")
    return Standing(
        budget=counts["budget"],
        key=SEPARATOR.join(counts["key"]),
        unit=counts["unit"],
        amount=kind(counts["amount"]),
        used=kind(counts["used"]),
        held=kind(counts["held"]),
        left=kind(counts["left"]),
        calls=counts["calls"],
        unpriced=counts["unpriced"],
        resets_at=moment(counts["resets_at"]),
        threshold=None if threshold is None else Decimal(threshold),
    )
