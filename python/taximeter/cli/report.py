"""The commands that read the ledger: the overview, `report`, `tail` and `export`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from ..fields import ATTRIBUTION, TAGS
from ..ledger import Row
from .common import Add, add_filters, filters, ledger
from .render import print_json, print_line, print_report, say

if TYPE_CHECKING:
    from ..types import Event

__all__ = ["add_commands", "overview"]

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
    report.add_argument("--by", default="model", metavar="FIELDS", help="comma-separated fields, such as model,team,day,tag:plan")
    add_filters(report)
    report.add_argument("--csv", action="store_true", help="print CSV")

    tail = add("tail", _tail, "print the last calls, then new ones as they arrive")
    tail.add_argument("-n", "--lines", type=_count, default=10, metavar="N", help="how many of the last calls (default: 10)")
    tail.add_argument("--no-follow", action="store_true", help="do not wait for new calls")

    export = add("export", _export, "print every call, as JSON lines or CSV")
    add_filters(export)
    export.add_argument("--csv", action="store_true", help="print CSV")


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:  # noqa: PLR2004 - use export for more
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1,000,000")
    return number


def overview(options: argparse.Namespace) -> int:
    """Print what was spent today and this month, by model."""
    own = ledger(options)
    today = datetime.now(timezone.utc).date()
    reports = {
        "today": own.report("model", since=today),
        "this month": own.report("model", since=today.replace(day=1)),
    }
    if options.json:
        print_json({name: json.loads(report.to_json()) for name, report in reports.items()})
        return 0
    for name, report in reports.items():
        print(f"{name} (UTC)")
        print_report(report)
        print()
    if not reports["this month"].total.calls:
        say(f"no calls are recorded this month in {own.path}")
    return 0


def _report(options: argparse.Namespace) -> int:
    names = [name.strip() for name in options.by.split(",") if name.strip()]
    report = ledger(options).report(names, **filters(options))
    if options.csv:
        writer = csv.DictWriter(sys.stdout, [*names, *(field.name for field in fields(Row) if field.name != "key")])
        writer.writeheader()
        writer.writerows(report.to_dicts())
    elif options.json:
        print(report.to_json())
    else:
        print_report(report)
    return 0


def _tail(options: argparse.Namespace) -> int:
    own = ledger(options)
    for event in own.last(options.lines) if options.no_follow else own.follow(last=options.lines):
        if options.json:
            print_line(event)
        else:
            print(_line(event), flush=True)
    return 0


def _line(event: Event) -> str:
    cost = event["cost_usd"]
    labels = " ".join(str(value) for name, value in event.items() if name in ATTRIBUTION)
    return (
        f"{event['started_at'][:19]}Z  {event['provider']}/{event['model']}  {event['input_tokens']:,} in  "
        f"{event['output_tokens']:,} out  {'unpriced' if cost is None else '$' + cost}  {event['status']}  {labels}"
    ).rstrip()


def _export(options: argparse.Namespace) -> int:
    events = ledger(options).events(**filters(options))
    if not options.csv:
        for event in events:
            print(json.dumps(event, ensure_ascii=False))
        return 0
    writer = csv.DictWriter(sys.stdout, _COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for event in events:
        nested: dict[str, Any] = {
            name: json.dumps(event[name], ensure_ascii=False) for name in ("usage", "tags", "cost_notes") if name in event
        }
        writer.writerow({**event, **nested})
    return 0
