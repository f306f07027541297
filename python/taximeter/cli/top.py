"""`taximeter top`: what runs now; and `taximeter statusline`, one line for a prompt or a status bar."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ..errors import TaximeterError
from ..ledger import Ledger, Row
from ..ledger.where import check_field, condition
from ..sanitize import printable
from ..table import EXACT, Column, amounts, layout
from ..zones import zone_name
from .budgets import fullest_budget
from .common import Add, add_source, ledger, seconds_of
from .render import amount, answer, color, is_full_terminal, on_terminal, print_lines
from .screen import Screen, screen

__all__ = ["add_commands"]

_WINDOWS: Final = {"1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
_GROUPS: Final = ("model", "provider", "team", "feature", "customer", "agent", "user")
_SORTS: Final = ("cost", "calls", "now", "errors", "name")
_KEYS: Final = "g group  s sort  p pause  / filter  q quit"
_ABSENT: Final = "–"
_AROUND: Final = 6
"""The lines of a screen around the rows."""
_FEWEST: Final = 5
_HEADING: Final = 2
"""The line of a frame that has the names of the columns."""


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    top = add("top", _top, "show calls a minute and dollars an hour, over 1 minute, 5 minutes and 1 hour", "top", "top --by customer")
    top.add_argument("--by", default="model", metavar="FIELD", help="the field to group by (default: model); the key g changes it")
    top.add_argument("--sort", choices=_SORTS, default="cost", help="the order (default: cost); the key s changes it")
    top.add_argument("--where", action="append", default=[], metavar="CONDITION", help="as for report; the key / adds one")
    top.add_argument("--every", type=seconds_of, default=2.0, metavar="S", help="seconds between two frames (default: 2)")
    add_source(top)
    text = "print one line: today, this month, the last hour, and the fullest budget"
    add_source(add("statusline", _statusline, text, "statusline"))


@dataclass
class _View:
    """What `top` shows."""

    by: str
    sort: str
    where: list[str] = field(default_factory=list)
    is_paused: bool = False
    message: str = ""


@dataclass
class _Line:
    """One group of calls."""

    name: str | None
    rows: dict[str, Row] = field(default_factory=dict)

    def calls(self, window: str) -> int:
        return self.rows[window].calls if window in self.rows else 0

    def errors(self) -> int:
        return self.rows["1h"].errors if "1h" in self.rows else 0

    def cost(self, window: str) -> Decimal:
        return self.rows[window].cost_usd if window in self.rows else Decimal(0)

    def calls_a_minute(self, window: str) -> float:
        return self.calls(window) / (_WINDOWS[window] / timedelta(minutes=1))

    def usd_an_hour(self, window: str) -> Decimal:
        return EXACT.multiply(self.cost(window), Decimal(round(timedelta(hours=1) / _WINDOWS[window])))

    def to_dict(self, by: str) -> dict[str, Any]:
        return {
            by: self.name,
            "calls_per_minute": {window: self.calls_a_minute(window) for window in _WINDOWS},
            "usd_per_hour": {window: amount(self.usd_an_hour(window)) for window in _WINDOWS},
            "errors": self.errors(),
        }


def _top(options: argparse.Namespace) -> int:
    check_field("--by", options.by)
    view = _View(options.by, options.sort, list(options.where))
    for text in view.where:
        condition(text)
    own = ledger(options)
    if options.json:
        lines, total = _read(own, view)
        answer(options, [line.to_dict(view.by) for line in lines], total.to_dict(view.by))
        return 0
    if not is_full_terminal():
        print_lines(_frame(own, view, None, None))
        return 0
    with screen() as whole:
        drawn: Sequence[str] = []
        while True:
            size = shutil.get_terminal_size()
            if not view.is_paused or not drawn:
                with on_terminal():
                    drawn = _frame(own, view, size.columns, max(size.lines - _AROUND, _FEWEST))
            status = view.message or ("paused: p goes on" if view.is_paused else _KEYS)
            heading = color(drawn[_HEADING], "bold") if len(drawn) > _HEADING else ""
            whole.draw("\n".join([*drawn[:_HEADING], heading, *drawn[_HEADING + 1 :], "", status]))
            key = whole.key(options.every)
            if key:
                view.message = ""
            if not _press(whole, view, key):
                return 0


def _press(whole: Screen, view: _View, key: str) -> bool:
    """Do what a key asks for. Return whether to go on."""
    match key.lower():
        case "q":
            return False
        case "g":
            view.by = _after(_GROUPS, view.by)
        case "s":
            view.sort = _after(_SORTS, view.sort)
        case "p":
            view.is_paused = not view.is_paused
        case "/":
            _ask(whole, view)
    return True


def _after(choices: Sequence[str], chosen: str) -> str:
    return choices[(choices.index(chosen) + 1) % len(choices)] if chosen in choices else choices[0]


def _ask(whole: Screen, view: _View) -> None:
    """Read a condition, key by key. Enter takes it, an empty one removes all, Escape leaves them."""
    text = ""
    while True:
        whole.draw(f"filter, such as team=search or model~gpt; nothing removes all; Esc goes back\n\n/{printable(text)}")
        key = whole.key(60)
        if key in {"\r", "\n"}:
            break
        if key.startswith("\x1b"):
            return
        text = text[:-1] if key in {"\x7f", "\b"} else text + "".join(one for one in key if one.isprintable())
    try:
        if text:
            condition(text)
        view.where = [*view.where, text] if text else []
    except ValueError as error:
        view.message = printable(str(error))


def _read(own: Ledger, view: _View) -> tuple[list[_Line], _Line]:
    """Return the groups in their order, and their sum."""
    lines: dict[str | None, _Line] = {}
    total = _Line("total")
    where = [condition(text) for text in view.where]
    for window, length in _WINDOWS.items():
        report = own.report(view.by, since=length, where=where)
        total.rows[window] = report.total
        for row in report.rows:
            lines.setdefault(row.key[view.by], _Line(row.key[view.by])).rows[window] = row
    keys: Mapping[str, Any] = {
        "cost": lambda line: -line.cost("1h"),
        "calls": lambda line: -line.calls("1h"),
        "now": lambda line: (-line.cost("1m"), -line.calls("1m"), -line.cost("5m")),
        "errors": lambda line: -line.errors(),
        "name": lambda line: line.name or "",
    }
    return sorted(lines.values(), key=keys[view.sort]), total


def _frame(own: Ledger, view: _View, width: int | None, most: int | None) -> list[str]:
    """Return the lines of one frame: the time, what is shown, and the table."""
    try:
        lines, total = _read(own, view)
    except TaximeterError as error:
        return [printable(str(error))]
    shown = lines if most is None else lines[:most]
    now = datetime.now(own.timezone)
    where = f"  {' '.join(view.where)}" if view.where else ""
    rows = [*shown, total]
    ranks = {"1m": 1, "5m": 4, "1h": 2}
    names = [_ABSENT if line.name is None else line.name for line in rows]
    columns = [Column(view.by, names, is_text=True)]
    for window, rank in ranks.items():
        name = f"{'calls/min ' if window == '1m' else ''}{window}"
        columns.append(Column(name, [f"{line.calls_a_minute(window):,.1f}" for line in rows], rank=rank))
    for window, rank in ranks.items():
        name = f"{'$/h ' if window == '1m' else ''}{window}"
        columns.append(Column(name, amounts([line.usd_an_hour(window) for line in rows]), rank=rank - 1))
    columns.append(Column("errors 1h", [f"{line.errors():,}" if line.errors() else "" for line in rows], rank=3))
    table = layout(columns, width=width, has_foot=True, has_rule=False)[0]
    others = [f"{len(lines) - len(shown):,} others"] if len(lines) > len(shown) else []
    head = f"{now:%a %d %b %Y %H:%M:%S}, {zone_name(own.timezone)}  by {view.by}, sorted by {view.sort}{printable(where)}"
    return [head[:width], "", *table[:-2], *others, *table[-2:]]


def _statusline(options: argparse.Namespace) -> int:
    # A prompt does not wait for the events of ended processes.
    own = ledger(options, drains=False)
    now = datetime.now(own.timezone)
    today, month = (own.report((), since=since).total for since in ("today", "this-month"))
    burn = own.report((), since=timedelta(hours=1)).total.cost_usd
    # Budgets are those of this machine.
    fullest = None if options.source else fullest_budget()
    if options.json:
        found = {"today_usd": amount(today.cost_usd), "month_usd": amount(month.cost_usd), "last_hour_usd": amount(burn)}
        answer(options, [{**found, "unpriced": month.unpriced, "budget": fullest}])
        return 0
    parts = [f"{_dollars(today)} today", f"{_dollars(month)} {now:%b}", f"${amounts([burn])[0]}/h"]
    if fullest:
        parts.append(fullest)
    print("  ".join(parts))
    return 0


def _dollars(row: Row) -> str:
    return f"{'≥ ' if row.unpriced else ''}${amounts([row.cost_usd])[0]}"
