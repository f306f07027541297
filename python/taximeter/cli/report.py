"""The commands that read the ledger: the overview, `report`, `tail` and `export`."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..fields import ATTRIBUTION, TAGS
from ..ledger import Row
from ..sanitize import printable, spreadsheet_cell
from ..table import amounts, cut
from .budgets import budget_lines
from .common import Add, add_filters, filters, ledger
from .render import print_json, print_line, print_report, say

if TYPE_CHECKING:
    from ..types import Event

__all__ = ["add_commands", "overview"]

SCHEMA_VERSION: Final = 1
"""The version of the JSON that commands print. Within a version, fields are only added."""
_COLUMNS: Final = (
    "id", "started_at", "provider", "model", "operation", "status", "error", "finish_reason", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage", "provider_usage", "usage_status",
    "cost_usd", "cost_status",
    "computed_cost_usd", "cost_notes",
    "priced_as", "catalog", "latency_ms", "ttft_ms", "service_tier", "region", "batch", *ATTRIBUTION, TAGS,
    "trace_id", "span_id", "parent_span_id", "call_id",
)  # fmt: skip


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    report = add("report", _report, "sum up calls by any field")
    report.add_argument(
        "--by", default="model", metavar="FIELDS", help="comma-separated fields, such as model,team,hour,day,week,month,tag:plan"
    )
    add_filters(report)
    report.add_argument(
        "--sort",
        metavar="FIELD",
        help="a field of --by, or a sum such as calls; -FIELD reverses (default: time, else cost)",
    )
    report.add_argument("--limit", type=_count, metavar="N", help="N rows, and one for all others (default: what fits)")
    _add_csv(report)

    tail = add("tail", _tail, "print the last calls, then new ones as they arrive")
    tail.add_argument("-n", "--lines", type=_count, default=10, metavar="N", help="how many of the last calls (default: 10)")
    tail.add_argument("--no-follow", action="store_true", help="do not wait for new calls")

    export = add("export", _export, "print every call, as JSON lines or CSV")
    add_filters(export)
    _add_csv(export)


def _add_csv(command: argparse.ArgumentParser) -> None:
    command.add_argument("--csv", action="store_true", help="print CSV")
    command.add_argument("--raw", action="store_true", help="with --csv: texts as they are, even formulas")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 1_000_000:  # noqa: PLR2004 - use export for more
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1,000,000")
    return int(text)


def _writer(options: argparse.Namespace, columns: Sequence[str]) -> tuple[csv.DictWriter[str], Callable[[Any], Any]]:
    """Return a writer of CSV to standard output, and the function that makes a text safe for a spreadsheet."""
    if options.json:
        raise ValueError("--csv and --json exclude each other; give one of them")
    writer = csv.DictWriter(sys.stdout, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return writer, lambda value: spreadsheet_cell(value) if isinstance(value, str) and not options.raw else value


def overview(options: argparse.Namespace) -> int:
    """Print what was spent today and this month, by model."""
    own = ledger(options)
    reports = {"today": own.report("model", since="today"), "this month": own.report("model", since="this-month")}
    if options.json:
        print_json({"schema_version": SCHEMA_VERSION} | {name: report.to_dict() for name, report in reports.items()})
        return 0
    for name, report in reports.items():
        print(f"{name} ({report.timezone})")
        print_report(report)
        print()
    _print_budgets()
    if not reports["this month"].total.calls:
        say(f"no calls are recorded this month in {own.path}; taximeter doctor says why not, and taximeter report shows all months")
    return 0


def _report(options: argparse.Namespace) -> int:
    names = [name.strip() for name in options.by.split(",") if name.strip()]
    own = ledger(options)
    report = own.report(names, **filters(options))
    if options.sort is not None:
        report = report.sorted_by(options.sort)
    shown = report if options.limit is None else report.top(options.limit)
    if options.csv:
        writer, safe = _writer(options, [*names, *(field.name for field in fields(Row) if field.name != "key")])
        writer.writerows({**row, **{name: safe(row[name]) for name in names}} for row in shown.to_dicts())
    elif options.json:
        print_json({"schema_version": SCHEMA_VERSION, "command": "report", **shown.to_dict()})
    else:
        print_report(shown, is_whole=options.limit is not None)
        if not report.rows:
            say(f"no calls match in {own.path}; see --since, --until and --where; taximeter doctor checks that calls are recorded")
        print_report(report)
        _print_budgets(before="\n")
    return 0


def _print_budgets(before: str = "") -> None:
    if lines := budget_lines():
        print(before + "budgets")
        for line in lines:
            print(line)


def _tail(options: argparse.Namespace) -> int:
    own = ledger(options)
    shown_day = datetime.now(own.timezone).date()
    for event in own.last(options.lines) if options.no_follow else own.follow(last=options.lines):
        if options.json:
            print_line(event)
            continue
        started = datetime.fromisoformat(f"{event['started_at'][:19]}+00:00").astimezone(own.timezone)
        if started.date() != shown_day:
            shown_day = started.date()
            print(f"{shown_day:%a %d %b %Y}")
        print(_fitting(f"{started:%H:%M:%S}  {_line(event)}"), flush=True)
    return 0


def _fitting(line: str) -> str:
    """Cut a line at the end of the terminal's line, so that each call takes one."""
    return line if not sys.stdout.isatty() else cut(line, shutil.get_terminal_size().columns)


def _line(event: Event) -> str:
    """Return one call as a line: its model, usage, cost, duration, error and attribution."""
    if event["usage_status"] == "missing":
        usage = "usage missing"
    else:
        usage = f"{event['input_tokens']:>7,} in {event['output_tokens']:>6,} out"
    cost = "unpriced" if event["cost_usd"] is None else f"${amounts([Decimal(event['cost_usd'])])[0]}"
    latency = event.get("latency_ms")
    parts = [
        f"{event['model']:<24}",
        f"{usage:<21}",
        f"{cost:<9}",
        "" if latency is None else f"{latency / 1000:.1f}s",
        (event.get("error") or "error") if event["status"] == "error" else "",
        *(f"{name}={value}" for name, value in event.items() if name in ATTRIBUTION and value),
    ]
    return printable("  ".join(part for part in parts if part))


def _export(options: argparse.Namespace) -> int:
    events = ledger(options).events(**filters(options))
    if not options.csv:
        for event in events:
            print(json.dumps(event, ensure_ascii=False))
        return 0
    writer, safe = _writer(options, _COLUMNS)
    for event in events:
        nested: dict[str, Any] = {
            name: json.dumps(event[name], ensure_ascii=False) for name in ("usage", "tags", "cost_notes") if name in event
        }
        writer.writerow({name: safe(value) for name, value in {**event, **nested}.items()})
    return 0
