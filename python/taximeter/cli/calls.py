"""The commands that show single calls: `calls`, `show`, `tail` and `export`."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..fields import ATTRIBUTION
from ..ledger import COLUMNS, Ledger
from ..sanitize import printable
from ..table import amounts, cut, display_width, shorten
from .common import Add, add_csv, add_filters, add_source, count, filters, ledger, say_nothing_found, server_of
from .progress import progress
from .render import answer, color, is_terminal, print_bytes, print_line, say

if TYPE_CHECKING:
    from ..types import Event

__all__ = ["add_commands"]

_WIDTHS: Final = (14, 5, 4, 7)
"""The least widths of model, input, output and cost."""
_GAP: Final = "  "
_LEAST_NAME: Final = 12
"""Less of an attribution would say nothing."""
_NARROW: Final = 16
"""The widest model beside an id, on a terminal that is narrower than this:"""
_WIDE: Final = 100
_ID: Final = 18
"""The characters of an id that a terminal shows: enough for `show`, and few enough that no number is cut at 80 columns."""
_LONGEST: Final = 32
"""The longest attribution that is shown in full."""
_LEAST: Final = Decimal("0.0001")
_MOST: Final = (24, 15, 15, 15)


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    calls = add("calls", _calls, "list calls, the newest first")
    add_filters(calls)
    add_source(calls)
    calls.add_argument("-n", "--limit", type=count, default=20, metavar="N", help="at most N calls (default: 20)")

    show = add("show", _show, "print everything that is known of one call")
    show.add_argument("id", metavar="ID", help="the id of its event, or the beginning of it")
    add_source(show)

    tail = add("tail", _tail, "print the last calls, then new ones as they arrive")
    tail.add_argument("-n", "--lines", type=count, default=10, metavar="N", help="how many of the last calls (default: 10)")
    tail.add_argument("--no-follow", action="store_true", help="do not wait for new calls")

    export = add("export", _export, "print every call, as JSON lines or CSV")
    add_filters(export)
    add_source(export)
    export.add_argument(
        "--to",
        metavar="URL",
        help="store the calls in clickhouse+https://HOST:8443/DATABASE instead; repeating this changes nothing",
    )
    add_csv(export)


def _calls(options: argparse.Namespace) -> int:
    own = ledger(options)
    chosen = filters(options)
    found = own.newest(options.limit, **chosen)
    if options.json:
        period = own.report((), **chosen).to_dict()
        answer(options, found, since=period["since"], until=period["until"], zone=period["timezone"])
        return 0
    for line in _lines(own, found, found, with_id=True):
        print(line)
    if not found:
        say_nothing_found(options, own)
    return 0


def _show(options: argparse.Namespace) -> int:
    own = ledger(options)
    event: Mapping[str, Any] | None = own.find(options.id)
    if event is None:
        raise ValueError(f"id: no call in {own.place} has an id that begins with {options.id!r}; taximeter calls lists them")
    if options.json:
        answer(options, [event])
        return 0
    shown = {name: event[name] for name in COLUMNS if name in event and event[name] not in (None, "", {}, [])}
    width = max(map(len, shown))
    for name, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{name:<{width}}  {printable(text)}")
    if event["cost_usd"] is None:
        print(f"{'':<{width}}  its price is not known; taximeter doctor says why")
    return 0


def _tail(options: argparse.Namespace) -> int:
    own = ledger(options)
    if not own.path.exists():
        say_nothing_found(options, own)
    last = own.last(options.lines)
    events = last if options.no_follow else own.follow(last=options.lines)
    if options.json:
        for event in events:
            print_line(event)
    else:
        for line in _lines(own, events, last):
            print(line, flush=True)
    return 0


def _lines(own: Ledger, events: Iterable[Event], first: Iterable[Event], *, with_id: bool = False) -> Iterator[str]:
    """Yield a line for each call, and a line with the date before the calls of another day than today.

    The columns are as wide as the first calls need.
    """
    day = datetime.now(own.timezone).date()
    widths = list(_WIDTHS)
    is_narrow = with_id and is_terminal() and shutil.get_terminal_size().columns < _WIDE
    most = (_NARROW if is_narrow else _MOST[0], *_MOST[1:])
    for event in first:
        _parts(event, widths, most)
    for event in events:
        started = datetime.fromisoformat(f"{event['started_at'][:19]}+00:00").astimezone(own.timezone)
        if started.date() != day:
            day = started.date()
            yield f"{day:%a %d %b %Y}"
        name = [event["id"][: _ID if is_terminal() else None]] if with_id else []
        yield _styled(_fitting([f"{started:%H:%M:%S}", *name, *_parts(event, widths, most)]), event)


def _styled(line: str, event: Event) -> str:
    if event["status"] == "error":
        return color(line, "red")
    return color(line, "yellow") if event["cost_usd"] is None else line


def _fitting(parts: Sequence[str]) -> str:
    """Join the parts of a line, as many as fit into the terminal's. Only a name may be cut, no number."""
    line = _GAP.join(parts)
    if not is_terminal() or display_width(line) <= (width := shutil.get_terminal_size().columns):
        return line
    line = ""
    for part in parts:
        room = width - display_width(line) - len(_GAP)
        if display_width(part.rstrip()) > room:
            return f"{line}{_GAP}{cut(part, room)}" if "=" in part and room >= _LEAST_NAME else line
        line = f"{line}{_GAP}{part}" if line else part
    return line


def _parts(event: Event, widths: list[int], most: Sequence[int]) -> list[str]:
    """Return the parts of the line of a call: its model, usage, cost, duration, error and attribution.

    Args:
        event: The call.
        widths: The widths of model, input, output and cost so far; they grow with what is shown.
        most: The largest widths.
    """
    is_missing = event["usage_status"] == "missing"
    counts = ["", ""] if is_missing else [f"{event['input_tokens']:,}", f"{event['output_tokens']:,}"]
    cost = _cost(event)
    cells = [printable(event["model"]), *counts, cost]
    widths[:] = [min(max(width, display_width(cell)), limit) for width, cell, limit in zip(widths, cells, most, strict=True)]
    model = shorten(cells[0], widths[0])
    usage = f"{cells[1]:>{widths[1]}} in {cells[2]:>{widths[2]}} out"
    latency = event.get("latency_ms")
    parts = [
        model + " " * (widths[0] - display_width(model)),
        f"{'usage missing':<{len(usage)}}" if is_missing else usage,
        f"{cost:<{widths[3]}}",
        "" if latency is None else f"{latency / 1000:.1f}s",
        (event.get("error") or "error") if event["status"] == "error" else "",
        *(f"{name}={shorten(printable(str(value)), _LONGEST)}" for name, value in event.items() if name in ATTRIBUTION and value),
    ]
    return [printable(part) for part in parts if part]


def _cost(event: Event) -> str:
    if event["cost_usd"] is None:
        return "unpriced"
    cost = Decimal(event["cost_usd"])
    return f"${cost:,.4f}" if not cost or cost >= _LEAST else f"${amounts([cost])[0]}"


def _export(options: argparse.Namespace) -> int:
    own = ledger(options)
    chosen = filters(options)
    if options.to is not None:
        return _copy(options, own, chosen)
    with progress("exporting", unit="MB", streams=True) as shown:
        written = 0
        for block in own.export("csv" if options.csv else "jsonl", **chosen, raw=options.raw):
            print_bytes(block)
            written += len(block)
            shown.done = written // 1_000_000
    return 0


def _copy(options: argparse.Namespace, own: Ledger, chosen: dict[str, Any]) -> int:
    """Store calls in ClickHouse."""
    from ..ledger.clickhouse import copy  # noqa: PLC0415 - as in server_of

    server = server_of(options, "--to", options.to)
    with progress("exporting") as shown:
        for count in copy(own.events(**chosen), server):
            shown.done = count
    say(f"{shown.done:,} calls are in {server}")
    return 0
