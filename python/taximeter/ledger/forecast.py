"""Says what a month will cost, from what the days before it cost."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from .report import Report

__all__ = ["Forecast", "daily_costs", "forecast"]

_BASIS_DAYS: Final = 28
_LEAST_DAYS: Final = 3
"""A forecast from fewer days would be a guess."""
_TENTH: Final = 1.2816
"""The distance of the 10th and the 90th percentile from the mean of a normal distribution, in standard deviations."""


class Reports(Protocol):
    """What has reports, such as a ledger."""

    def report(self, by: Any = ..., *, since: Any = ..., until: Any = ..., where: Any = ..., tz: Any = ...) -> Report:
        """Sum up calls by fields."""


class Forecast(NamedTuple):
    """The expected cost of a month, in US dollars."""

    low_usd: Decimal
    """The 10th percentile."""
    high_usd: Decimal
    """The 90th percentile."""
    until: date
    """The last day of the month."""


def daily_costs(own: Reports, now: datetime, zone: tzinfo | None = None) -> dict[date, Decimal]:
    """Return the cost of each of the last whole days, from the first one with a call on.

    Args:
        own: What has reports.
        now: The time, in the zone of the days.
        zone: That zone; `None` for the one of the reports.
    """
    today = now.date()
    first = datetime.combine(today - timedelta(days=_BASIS_DAYS), time(), now.tzinfo)
    report = own.report("day", since=first, until=datetime.combine(today, time(), now.tzinfo), tz=zone)
    spent = {date.fromisoformat(row.key["day"] or ""): row.cost_usd for row in report.rows}
    days = [today - timedelta(days=back) for back in range(_BASIS_DAYS, 0, -1)]
    return {day: spent.get(day, Decimal(0)) for day in days if spent and day >= min(spent)}


def forecast(so_far: Decimal, daily: dict[date, Decimal], now: datetime) -> Forecast | None:
    """Return the expected cost of the month: what was spent, and for each remaining day the mean of its day of the week.

    Args:
        so_far: The cost of the month until now, in US dollars.
        daily: The cost of each of the last whole days.
        now: The time.

    Returns:
        The range from the 10th to the 90th percentile, if days vary as they did; `None` with fewer than three whole days.
    """
    if len(daily) < _LEAST_DAYS:
        return None
    mean = sum(map(float, daily.values())) / len(daily)
    weekdays: dict[int, list[float]] = {}
    for day, cost in daily.items():
        weekdays.setdefault(day.weekday(), []).append(float(cost))
    means = {weekday: sum(costs) / len(costs) for weekday, costs in weekdays.items()}
    last = (now.date().replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    rest_of_today = 1 - (now.hour * 3600 + now.minute * 60 + now.second) / 86_400
    parts = [(now.date() + timedelta(days=ahead), 1.0) for ahead in range(1, (last - now.date()).days + 1)]
    parts.insert(0, (now.date(), rest_of_today))
    rest = sum(means.get(day.weekday(), mean) * part for day, part in parts)
    variance = sum((float(cost) - means[day.weekday()]) ** 2 for day, cost in daily.items()) / max(len(daily) - len(means), 1)
    spread = _TENTH * math.sqrt(variance * sum(part for _, part in parts))
    low, high = (max(so_far, so_far + Decimal(rest + sign * spread)) for sign in (-1, 1))
    return Forecast(low.quantize(Decimal("0.01")), high.quantize(Decimal("0.01")), last)
