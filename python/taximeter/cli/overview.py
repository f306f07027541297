"""The screen of `taximeter` without a command: what was spent today and this month, on which models, and how it goes on."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final

from ..ledger import Ledger, Report, Row, cost_cells
from ..ledger.forecast import Forecast, daily_costs, forecast
from ..sanitize import printable
from ..table import Column, amounts, display_width, layout, sparkline
from ..zones import zone_name
from .budgets import fullest_budget, has_several_budgets, print_budgets
from .columns import percent
from .common import ledger, say_nothing_found
from .progress import progress
from .render import answer_report, color, counted, is_terminal, print_lines, say

__all__ = ["Forecast", "forecast", "overview"]

_MODELS: Final = 8
_TREND_DAYS: Final = 14


def overview(options: argparse.Namespace) -> int:
    """Print what was spent today and this month."""
    own = ledger(options)
    now = datetime.now(own.timezone)
    with progress("reading the ledger"):
        month = own.report("model", since="this-month")
        today = own.report("model", since="today")
        daily = daily_costs(own, now)
        burn = own.report((), since=timedelta(hours=1)).total.cost_usd
    expected = forecast(month.total.cost_usd, daily, now)
    if options.json:
        answer_report(
            options,
            month,
            today=today.to_dict(),
            last_hour_usd=format(burn, "f"),
            forecast=None if expected is None else {name: str(value) for name, value in expected._asdict().items()},
        )
        return 0
    if not month.total.calls and options.source is None and not own.path.exists():
        say_nothing_found(options, own)
        return 0
    print(f"{now:%a %d %b %Y %H:%M}, {zone_name(own.timezone)}")
    print_lines(_fitting([*_sums(own, now, today.total, month.total), Column("", _notes(own, month.total), is_text=True, rank=5)]))
    # Budgets are those of this machine.
    for line in _rates(expected, burn, None if options.source else fullest_budget()):
        print(line)
    if month.rows:
        print()
        print_lines(_fitting(_models(own, now, month)))
    if unpriced := month.total.unpriced:
        share = percent(unpriced, month.total.calls, 1)
        verbs = "has no price and is" if unpriced == 1 else "have no price and are"
        print(color(f"{counted(unpriced, 'call')} ({share}) {verbs} in no sum: taximeter unpriced", "yellow"))
    if options.source is None and has_several_budgets():
        print_budgets()
    if not month.total.calls:
        remedy = "taximeter report shows all months, taximeter doctor checks that calls are recorded"
        say(f"no calls this month in {printable(own.place)}; {remedy}")
    return 0


def _fitting(columns: Sequence[Column]) -> list[str]:
    width = shutil.get_terminal_size().columns if is_terminal() else None
    return layout(columns, width=width, has_rule=False)[0]


def _rates(expected: Forecast | None, burn: Decimal, fullest: str | None) -> list[str]:
    """Return the line below the sums: the forecast, what the last hour cost, and the fullest budget."""
    parts = [f"now ${amounts([burn])[0]}/h"]
    if expected is not None:
        low, high = (f"{value:,.0f}" for value in (expected.low_usd, expected.high_usd))
        parts.insert(0, f"forecast  ${low if low == high else f'{low}-{high}'} by {expected.until:%d %b}")
    if fullest:
        parts.append(fullest)
    line = "    ".join(parts)
    if not is_terminal() or display_width(line) <= shutil.get_terminal_size().columns:
        return [line]
    return ["    ".join(parts[:2]), *parts[2:]]


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
    costs = [re.sub(r"(?=\d)", "$", cell, count=1) for cell in cost_cells(rows)]
    return [
        Column("", ["today", f"{now:%B}"], is_text=True),
        Column("cost", costs),
        Column("before", [_change(row.cost_usd, old.cost_usd) for row, old in zip(rows, before, strict=True)], rank=3),
        Column("calls", [f"{row.calls:,}" for row in rows], rank=1),
        Column("errors", [percent(row.errors, row.calls, 1) for row in rows], rank=2),
        Column("cached", [percent(row.cache_read_tokens, row.input_tokens) for row in rows], rank=4),
    ]


def _notes(own: Ledger, month: Row) -> list[str]:
    """Return what stands beside the sums: how long the calls of today took, and what caching saved this month."""
    saved = month.cache_saved_usd
    return [_latency(own), f"caching saved ${amounts([saved])[0]}" if saved is not None and saved > 0 else ""]


def _latency(own: Ledger) -> str:
    for one in own.percentiles("latency_ms", (), fractions=(0.5, 0.95), since="today"):
        median, high = (value / 1000 for value in one.values)
        return f"p50 {median:.1f} s  p95 {high:.1f} s"
    return ""


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
        Column("cost", cost_cells(shown.rows)),
        Column("share", [percent(row.cost_usd, whole) for row in shown.rows], rank=2),
        Column("calls", [f"{row.calls:,}" for row in shown.rows], rank=1),
        Column("cached", [percent(row.cache_read_tokens, row.input_tokens) for row in shown.rows], rank=4),
        Column(f"{_TREND_DAYS} days", trends, is_text=True, rank=5),
    ]


def _change(now: Decimal, before: Decimal) -> str:
    return f"{100 * (float(now) / float(before) - 1):+,.0f} %" if before else ""
