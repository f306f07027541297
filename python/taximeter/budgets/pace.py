"""Says what a period of a budget will take if it goes on as it began."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from .refusal import with_unit

__all__ = ["Pace", "pace", "pace_text"]

_LEAST_PART: Final = 0.25
"""The part of the period that has to be over. Before that, its nights and weekends decide, which the counts do not tell."""
_LEAST_CALLS: Final = 10
_TENTH: Final = 1.2816
"""The distance of the 10th and the 90th percentile from the mean of a normal distribution, in standard deviations."""
_DRIFT: Final = 0.2
"""The standard deviation of the rate of the rest of a period, as a part of the rate so far: traffic has nights and weekends."""
_CLOSE: Final = 0.05
"""A range that is narrower than this part of its middle is one number."""
_WHOLE: Final = 100
"""From this many US dollars on, an expectation has no cents."""


class Pace(NamedTuple):
    """What the period is expected to take, in the budget's unit."""

    low: Decimal
    """The 10th percentile."""
    high: Decimal
    """The 90th percentile."""


def pace(counts: Mapping[str, Any], now: float) -> Pace | None:
    """Return what is expected to be used of a budget when its period ends, at the rate of the period so far.

    A budget that was set or reset in the middle of its period has counted for less time than the period, so it gets too little.

    Args:
        counts: A standing of the core; see `_core.Budgets.standings`.
        now: Seconds since 1970.

    Returns:
        The range; `None` if the period has no end, less than a quarter of it is over, or it has fewer than ten calls.
    """
    start, end, calls = counts.get("period_start"), counts.get("resets_at"), counts.get("calls") or 0
    if start is None or end is None or not start < now < end or calls < _LEAST_CALLS:
        return None
    part = (now - start) / (end - start)
    if part < _LEAST_PART:
        return None
    used = float(counts["used"])
    ahead = (1 - part) / part
    # The calls so far and those to come vary by chance. Their sizes do so as much as their number, hence the 2.
    deviation = math.sqrt(2 / calls * (1 + 1 / ahead) + _DRIFT**2)
    places = 2 if counts["unit"] == "usd" else 0
    low, high = (used * (1 + ahead * max(0.0, 1 + sign * _TENTH * deviation)) for sign in (-1, 1))
    return Pace(Decimal(f"{low:.{places}f}"), Decimal(f"{high:.{places}f}"))


def pace_text(expected: Pace, unit: str) -> str:
    """Return a range for people: `$611`, or `$590-640` if it is wide."""
    low, high = map(float, expected)
    middle = (low + high) / 2
    if high - low <= _CLOSE * middle:
        return _text(middle, unit)
    return f"{_text(low, unit).removesuffix(f' {unit}')}-{_text(high, unit).removeprefix('$')}"


def _text(amount: float, unit: str) -> str:
    """Return an amount without the digits that an expectation does not have."""
    places = 2 if unit == "usd" and amount < _WHOLE else 0
    return with_unit(Decimal(f"{amount:.{places}f}"), unit)
