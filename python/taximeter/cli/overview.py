"""The screen of `taximeter` without a command: what was spent today and this month, on which models, and how it goes on."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ..ledger import Ledger, Report, Row, cost_cells
from ..table import Column, amounts, layout, sparkline
from ..zones import zone_name
from .budgets import print_budgets
from .common import ledger
from .render import answer_report, counted, say

__all__ = ["Forecast", "forecast", "overview"]

_MODELS: Final = 8
_TREND_DAYS: Final = 14
_BASIS_DAYS: Final = 28
_LEAST_DAYS: Final = 3
"""A forecast from fewer days would be a guess."""
_TENTH: Final = 1.2816
"""The distance of the 10th and the 90th percentile from the mean of a normal distribution, in standard deviations."""


class Forecast(NamedTuple):
    """The expected cost of a month, in US dollars."""

    low_usd: Decimal
    """The 10th percentile."""
    high_usd: Decimal
    """The 90th percentile."""
    until: date
    """The last day of the month."""


def overview(options: argparse.Namespace) -> int:
    """Print what was spent today and this month."""
    own = ledger(options)
    now = datetime.now(own.timezone)
    month = own.report("model", since="this-month")
    today = own.report("model", since="today")
    daily = _daily(own, now)
    expected = forecast(month.total.cost_usd, daily, now)
    burn = own.report((), since=timedelta(hours=1)).total.cost_usd
    if options.json:
        answer_report(
            options,
            month,
            today=today.to_dict(),
            last_hour_usd=format(burn, "f"),
            forecast=None if expected is None else {name: str(value) for name, value in expected._asdict().items()},
        )
        return 0
    print(f"{now:%a %d %b %Y %H:%M}, {zone_name(own.timezone)}")
    columns = _sums(own, now, today.total, month.total)
    print("\n".join(_fitting(columns)))
    rate = f"now ${amounts([burn])[0]}/h"
    if expected is not None:
        low, high = (f"{value:,.0f}" for value in (expected.low_usd, expected.high_usd))
        rate = f"forecast ${low} to ${high} by {expected.until:%d %b}    {rate}"
    print(rate)
    if month.rows:
        print("\n" + "\n".join(_fitting(_models(own, now, month))))
    _notes(own, month.total)
    print_budgets()
    return 0


def _notes(own: Ledger, month: Row) -> None:
    if month.unpriced:
        share = 100 * month.unpriced / month.calls
        print(f"{counted(month.unpriced, 'call')} of this month ({share:.1f} %) without a price, in no sum: see taximeter unpriced")
    if not month.calls:
        say(f"no calls are recorded this month in {own.path}; taximeter doctor says why not, and taximeter report shows all months")


def _fitting(columns: Sequence[Column]) -> list[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = layout(columns, width=width)[0]
    return [lines[0], *lines[2:]]


def _sums(own: Ledger, now: datetime, today: Row, month: Row) -> list[Column]:
    """Return the columns of the first lines: today and this month, beside the same part of the day and of the month before."""
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    first = midnight.replace(day=1)
    earlier = (first - timedelta(days=1)).replace(day=1)
    # The last month may be shorter than this one is old.
    before = [
        own.report((), since="yesterday", until=now - timedelta(days=1)).total,
        own.report((), since=earlier, until=min(earlier + (now - first), first)).total,
    ]
    rows = [today, month]
    return [
        Column("", ["today", f"{now:%B}"], is_text=True),
        Column("cost (USD)", cost_cells(rows)),
        Column("before", [_change(row.cost_usd, old.cost_usd) for row, old in zip(rows, before, strict=True)], rank=3),
        Column("calls", [f"{row.calls:,}" for row in rows], rank=1),
        Column("errors", [_percent(row.errors, row.calls) for row in rows], rank=2),
        Column("cached", [_percent(row.cache_read_tokens, row.input_tokens) for row in rows], rank=4),
    ]


def _models(own: Ledger, now: datetime, month: Report) -> list[Column]:
    """Return the columns of the most expensive models of the month."""
    shown = month.top(_MODELS)
    days = [now.date() - timedelta(days=back) for back in reversed(range(_TREND_DAYS))]
    since = datetime.combine(days[0], time(), now.tzinfo)
    spent = {(row.key["model"], row.key["day"]): row.cost_usd for row in own.report(("model", "day"), since=since)}
    trends = [sparkline([spent.get((row.key["model"], f"{day}"), Decimal(0)) for day in days]) for row in shown.rows]
    whole = month.total.cost_usd
    return [
        Column(f"model ({now:%B})", [row.key["model"] or "–" for row in shown.rows], is_text=True),
        Column("cost (USD)", cost_cells(shown.rows)),
        Column("share", [_percent(row.cost_usd, whole, 0) for row in shown.rows], rank=2),
        Column("calls", [f"{row.calls:,}" for row in shown.rows], rank=1),
        Column("cached", [_percent(row.cache_read_tokens, row.input_tokens) for row in shown.rows], rank=4),
        Column(f"{_TREND_DAYS} days", trends, is_text=True, rank=5),
    ]


def _percent(part: Any, whole: Any, places: int = 1) -> str:
    return f"{100 * float(part) / float(whole):.{places}f} %" if whole else ""


def _change(now: Decimal, before: Decimal) -> str:
    return f"{100 * (float(now) / float(before) - 1):+,.0f} %" if before else ""


def _daily(own: Ledger, now: datetime) -> dict[date, Decimal]:
    """Return the cost of each of the last whole days, from the first one with a call on."""
    today = now.date()
    first = datetime.combine(today - timedelta(days=_BASIS_DAYS), time(), now.tzinfo)
    report = own.report("day", since=first, until=datetime.combine(today, time(), now.tzinfo))
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
