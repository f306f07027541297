"""The commands that sum up calls: `report`, and its ready-made forms such as `daily` and `customers`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..ledger import Ledger, Report, Row
from ..ledger.where import check_field
from ..table import Column, bars
from ..zones import UNITS, span
from .budgets import print_budgets
from .common import Add, add_csv, add_filters, count, csv_writer, filters, ledger
from .render import answer_report, print_report, say

__all__ = ["add_commands"]


class _Ready(NamedTuple):
    """A report under a name of its own."""

    by: str
    text: str
    since: str | None = None
    """The default of `--since`; `None` for all calls."""
    where: tuple[tuple[str, str], ...] = ()
    sort: str | None = None


_READY: Final = {
    "hourly": _Ready("hour", "sum up calls by hour, by default of the last 24 hours", "24h"),
    "daily": _Ready("day", "sum up calls by day, by default of the last 14 days", "13d"),
    "weekly": _Ready("week", "sum up calls by week, by default of the last 12 weeks", "77d"),
    "monthly": _Ready("month", "sum up calls by month"),
    "customers": _Ready("customer", "sum up calls by customer"),
    "session": _Ready("session", "sum up calls by session"),
    "errors": _Ready(
        "error,provider,model",
        "sum up failed calls by the class of their error, and by model",
        where=(("status", "error"),),
        sort="calls",
    ),
    "unpriced": _Ready(
        "provider,model,usage_status",
        "sum up the calls without a known cost, by model",
        where=(("cost_status", "unpriced"), ("status", "success")),
        sort="calls",
    ),
}
_BAR: Final = 16


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    report = add("report", _report, "sum up calls by any field")
    report.add_argument(
        "--by", default="model", metavar="FIELDS", help="comma-separated fields, such as model,team,hour,day,week,month,tag:plan"
    )
    _add_options(report)
    for name, ready in _READY.items():
        command = add(name, _report, ready.text)
        if ready.by in UNITS:
            command.add_argument("--breakdown", metavar="FIELD", help="a second field, such as model or team")
        _add_options(command)
        command.set_defaults(by=ready.by, ready=ready)


def _add_options(command: argparse.ArgumentParser) -> None:
    add_filters(command)
    command.add_argument(
        "--sort", metavar="FIELD", help="a field of the report, or a sum such as calls; -FIELD reverses (default: time, else cost)"
    )
    command.add_argument("--limit", type=count, metavar="N", help="N rows, and one for all others (default: what fits)")
    add_csv(command)


def _report(options: argparse.Namespace) -> int:
    own = ledger(options)
    report = _made(own, options)
    ready: _Ready | None = getattr(options, "ready", None)
    if sort := options.sort or (ready and ready.sort):
        report = report.sorted_by(sort)
    shown = report if options.limit is None else report.top(options.limit)
    if options.csv:
        writer, safe = csv_writer(options, [*report.by, *(field.name for field in fields(Row) if field.name != "key")])
        writer.writerows({**row, **{name: safe(row[name]) for name in report.by}} for row in shown.to_dicts())
    elif options.json:
        answer_report(options, shown)
    else:
        print_report(
            shown, is_whole=options.limit is not None, columns=_timeline(own) if report.by[:1] and report.by[0] in UNITS else None
        )
        if options.command == "report":
            print_budgets()
        if not report.rows:
            say(f"no calls match in {own.path}; see --since, --until and --where; taximeter doctor checks that calls are recorded")
    return 0


def _made(own: Ledger, options: argparse.Namespace) -> Report:
    names = list(dict.fromkeys(name.strip() for name in options.by.split(",") if name.strip()))
    chosen: dict[str, Any] = filters(options)
    ready: _Ready | None = getattr(options, "ready", None)
    if ready is not None:
        if breakdown := getattr(options, "breakdown", None):
            names += [name.strip() for name in breakdown.split(",") if name.strip() and name.strip() not in names]
        chosen["where"] = [*ready.where, *chosen["where"]]
        if chosen["since"] is None and chosen["until"] is None:
            chosen["since"] = ready.since
    for name in names:
        check_field("--breakdown" if name in (getattr(options, "breakdown", None) or "").split(",") else "--by", name)
    return own.report(names, **chosen)


def _timeline(own: Ledger) -> Callable[[Report], Sequence[Column]]:
    """Return the function that makes the columns of a report by time: with bars of the costs, and a mark at parts that go on."""

    def columns(report: Report) -> Sequence[Column]:
        first, *others = report.columns()
        now = datetime.now(own.timezone).timestamp() * 1e9
        marks = [_mark(report, row, now) for row in report.rows]
        first = first._replace(cells=[f"{cell}{mark}" for cell, mark in zip(first.cells, [*marks, ""], strict=True)])
        drawn = Column("", [*bars([row.cost_usd for row in report.rows], _BAR), ""], is_text=True, rank=4)
        place = next(index for index, column in enumerate(others) if column.name.startswith("cost")) + 1
        return [first, *others[:place], drawn, *others[place:]]

    def _mark(report: Report, row: Row, now: float) -> str:
        unit = report.by[0]
        try:
            start, end = span(unit, unit, row.key[unit] or "", own.timezone)
        except ValueError:
            return ""  # the row of all others
        if start <= now < end:
            return " (so far)"
        is_cut = (report.since is not None and start < report.since.timestamp() * 1e9) or (
            report.until is not None and end > report.until.timestamp() * 1e9
        )
        return " (partial)" if is_cut else ""

    return columns
