"""The commands that sum up calls: `report`, and its ready-made forms such as `daily` and `customers`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from ..fields import unknown_name
from ..ledger import Ledger, Report, Row
from ..ledger.where import check_field
from ..table import Column
from ..zones import UNITS, span
from .budgets import print_budgets
from .columns import COLUMNS, SORTS, check_columns, report_columns
from .common import Add, add_csv, add_filters, add_source, count, csv_writer, filters, ledger, say_nothing_found, seconds_of
from .progress import progress
from .render import answer_report, counted, most_rows, print_report, say
from .screen import watch

__all__ = ["add_commands"]


class _Ready(NamedTuple):
    """A report under a name of its own."""

    by: str
    text: str
    since: str | None = None
    """The default of `--since`; `None` for all calls."""
    where: tuple[tuple[str, str], ...] = ()
    sort: str | None = None
    columns: tuple[str, ...] | None = None
    what: str = "calls"
    """What it looks for."""


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
        columns=("calls",),
        what="failed calls",
    ),
    "unpriced": _Ready(
        "provider,model,usage_status",
        "sum up the calls without a known cost, by model",
        where=(("cost_status", "unpriced"), ("status", "success")),
        sort="calls",
        columns=("calls", "input", "output"),
        what="calls without a price",
    ),
}


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    examples: tuple[str, ...] = (
        "report --by customer,model --since 30d",
        "report --by team --where 'model~claude' --where status=success --sort -calls",
        "report --by day,model --since 2026-11 --plot november.svg",
    )
    report = add("report", _report, "sum up calls by any field", *examples)
    report.add_argument(
        "--by", default="model", metavar="FIELDS", help="comma-separated fields, such as model,team,hour,day,week,month,tag:plan"
    )
    _add_options(report)
    for name, ready in _READY.items():
        has_breakdown = ready.by in UNITS
        examples = (f"{name} --breakdown team", f"{name} --watch") if has_breakdown else (f"{name} --since 7d", f"{name} --csv")
        command = add(name, _report, ready.text, *examples)
        if has_breakdown:
            command.add_argument("--breakdown", metavar="FIELD", help="a second field, such as model or team")
        _add_options(command)
        command.set_defaults(by=ready.by, ready=ready)


def _add_options(command: argparse.ArgumentParser) -> None:
    add_filters(command)
    add_source(command)
    command.add_argument(
        "--sort", metavar="FIELD", help="a field of the report, or a sum such as calls; -FIELD reverses (default: time, else cost)"
    )
    command.add_argument("--limit", type=count, metavar="N", help="N rows, and one for all others (default: what fits)")
    command.add_argument("--columns", metavar="NAMES", help=f"comma-separated sums: {', '.join(COLUMNS)}")
    command.add_argument("--exact", action="store_true", help="all digits of costs and tokens")
    command.add_argument(
        "--watch", nargs="?", type=seconds_of, const=2.0, metavar="S", help="show it again every S seconds (default: 2), until q"
    )
    command.add_argument("--plot", metavar="FILE", help="draw it into a file: .svg, or .png with the extra taximeter[png]")
    add_csv(command)


def _report(options: argparse.Namespace) -> int:
    if options.watch is None:
        return _show(options)
    if options.csv or options.json or options.plot:
        raise ValueError("--watch redraws a table on a terminal; leave out --csv, --json and --plot")
    return watch(lambda: _show(options), options.watch)


def _show(options: argparse.Namespace) -> int:
    own = ledger(options)
    ready: _Ready | None = getattr(options, "ready", None)
    names = check_columns(options.columns) if options.columns is not None else ready.columns if ready else None
    limit = most_rows() if options.limit is None and not (options.csv or options.json) else options.limit
    with progress("reading the ledger"):
        report = _made(own, options, None if options.plot else limit)
    if options.plot is not None:
        return _plot(options, own, report)
    shown = report.folded()
    if options.csv:
        writer, safe = csv_writer(options, [*report.by, *(field.name for field in fields(Row) if field.name != "key")])
        writer.writerows({**row, **{name: safe(row[name]) for name in report.by}} for row in shown.to_dicts())
        return 0
    if options.json:
        answer_report(options, shown)
        return 0
    if report.rows or not report.by:
        print_report(shown, _columns(own, options, names))
        if report.left_out and options.limit is None:
            say(f"--limit {report.groups} shows all rows")
        if report.total.unpriced and not (ready and ready.where):
            what = counted(report.total.unpriced, "call")
            say(f"{what} without a price, in no sum: see taximeter unpriced")
    else:
        _say_nothing(options, own)
    # Budgets are those of this machine.
    if options.command == "report" and options.source is None:
        print_budgets()
    return 0


def _say_nothing(options: argparse.Namespace, own: Ledger) -> None:
    ready: _Ready | None = getattr(options, "ready", None)
    say_nothing_found(options, own, *(() if ready is None else (ready.what, ready.since)))


def _sort_field(names: Sequence[str], text: str) -> str:
    sign, name = ("-", text[1:]) if text.startswith("-") else ("", text)
    known = (*names, *SORTS, *(field.name for field in fields(Row) if field.name != "key"))
    if name not in known:
        raise ValueError(f"--sort: {unknown_name(name, known)}")
    return sign + (name if name in names else SORTS.get(name, name))


def _plot(options: argparse.Namespace, own: Ledger, report: Report) -> int:
    if not report.rows:
        _say_nothing(options, own)
        say("so --plot draws nothing")
        return 1
    try:
        report.plot(top=options.limit).save(options.plot)
    except (ValueError, ModuleNotFoundError) as error:
        raise ValueError(f"--plot: {error}") from None
    say(f"the chart is in {options.plot}")
    return 0


def _made(own: Ledger, options: argparse.Namespace, limit: int | None) -> Report:
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
    sort = options.sort or (ready and ready.sort)
    return own.report(names, **chosen, sort=_sort_field(names, sort) if sort else None, limit=limit)


def _columns(own: Ledger, options: argparse.Namespace, names: Sequence[str] | None) -> Callable[[Report], Sequence[Column]]:
    """Return the function that makes the columns of a report."""

    def columns(report: Report) -> Sequence[Column]:
        if not report.by or report.by[0] not in UNITS:
            return report_columns(report, names, is_exact=options.exact)
        now = datetime.now(own.timezone)
        marks = [_mark(own, report, row, now.timestamp() * 1e9) for row in report.rows]
        years = {(row.key[report.by[0]] or "")[:4] for row in report.rows}
        has_year = years != {f"{now:%Y}"}
        return report_columns(
            report,
            names,
            is_exact=options.exact,
            marks=marks,
            label=lambda field, value: _label(field, value, has_year=has_year) if field in UNITS else value,
        )

    return columns


def _label(unit: str, value: str, *, has_year: bool) -> str:
    """Return a part of time for people: `2026-11-27` becomes `Fri 27 Nov`, or `27 Nov 2026`, so that 80 columns suffice."""
    day = "%d %b %Y" if has_year else "%a %d %b"
    try:
        match unit:
            case "hour":
                moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
                return moment.strftime(f"{day} %H:%M")
            case "day":
                return date.fromisoformat(value).strftime(day)
            case "week":
                first = date.fromisocalendar(int(value[:4]), int(value[6:]), 1)
                return first.strftime(f"{value[5:]}, from %d %b{' %Y' if has_year else ''}")
            case _:
                return date.fromisoformat(f"{value}-01").strftime("%b %Y")
    except ValueError:
        return value  # the row of all others


def _mark(own: Ledger, report: Report, row: Row, now: float) -> str:
    """Return what a part of time has at its end: whether it goes on, or the period cuts it."""
    unit = report.by[0]
    try:
        start, end = span(unit, unit, row.key[unit] or "", own.timezone)
    except ValueError:
        return ""  # the row of all others
    if start <= now < end:
        return "(so far)"
    is_cut = (report.since is not None and start < report.since.timestamp() * 1e9) or (
        report.until is not None and end > report.until.timestamp() * 1e9
    )
    return "(partial)" if is_cut else ""
