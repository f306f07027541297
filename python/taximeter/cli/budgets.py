"""`taximeter budgets`: what is used of each budget, and the commands that change budgets."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from .. import _core, _default
from ..budgets.checks import PERIODS, UNITS
from ..budgets.definition import Budget, from_core
from ..budgets.pace import Pace, pace, pace_text
from ..budgets.refusal import SEPARATOR, moment, with_unit
from ..errors import ConfigError, TaximeterError
from ..meter import engine_of
from ..sanitize import printable
from ..table import bar
from .common import Add, action_adder, ledger
from .costs import Check
from .render import answer, counted, say, table

__all__ = ["add_commands", "budget_lines", "check_budgets"]

_SPENT: Final = 3
"""The exit code of `--check` if a budget is used up."""
_BAR: Final = 9
_FULLEST: Final = 10
"""How many keys the overview, a report and the doctor show."""


def add_commands(add: Add) -> None:
    """Add `budgets` to the command line."""
    command = add("budgets", _list, "list what is used of each budget; set, reset and remove budgets")
    _add_key(command, "only this key; for a budget with several dimensions, once for each of them")
    command.add_argument("--check", action="store_true", help="exit with 3 if a budget that blocks is used up")
    act = action_adder(command.add_subparsers(title="actions", metavar="ACTION"), "budgets ")
    change = act("set", _set, "add a budget, or change the given fields of one; running programs take it over")
    _add_fields(change)
    reset = act("reset", _reset, "set what is used in this period to 0")
    reset.add_argument("name", metavar="NAME", help="the budget")
    _add_key(reset, "only this key; for a budget with several dimensions, once for each of them")
    remove = act("rm", _remove, "remove a budget; a program that still has it in its settings adds it again when it starts")
    remove.add_argument("name", metavar="NAME", help="the budget")
    act("recount", _recount, "set what is used in this period to what the ledger has, and charges without an event; resets hold")


def _add_key(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--key", action="append", metavar="K", help=text)


def _add_fields(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the budget")
    amount = command.add_mutually_exclusive_group()
    amount.add_argument("--usd", metavar="AMOUNT", help="the limit in US dollars")
    amount.add_argument("--tokens", metavar="N", help="the limit in tokens, input and output together")
    amount.add_argument("--calls", metavar="N", help="the limit in calls")
    command.add_argument(
        "--limit", action="append", metavar="KEY=AMOUNT", help="another limit for a key, such as trial-*=1; repeatable"
    )
    command.add_argument("--per", choices=PERIODS, metavar="PERIOD", help="hour, day, week, month or total")
    command.add_argument("--rolling", metavar="TIME", help="instead of --per: the last 24h, for example")
    command.add_argument("--tz", metavar="ZONE", help="the time zone of the period, such as Europe/Paris (default: UTC)")
    command.add_argument("--starts", metavar="WHEN", help="when the period begins: 06:00, mon, or a day of the month")
    command.add_argument("--by", metavar="DIMENSIONS", help="a limit for each: comma-separated, such as customer,model,tag:plan")
    command.add_argument(
        "--absent", choices=("count", "skip", "block"), metavar="HOW", help="calls without a value of --by: count, skip or block"
    )
    command.add_argument("--where", action="append", metavar="DIMENSION=VALUE", help="only calls with this value; repeatable")
    command.add_argument(
        "--action", dest="action_", choices=("block", "warn"), metavar="WHAT", help="for calls that do not fit: block or warn"
    )
    command.add_argument(
        "--admit", choices=("fits", "room"), metavar="HOW", help="calls that fit, or calls for which there is any room: fits or room"
    )
    command.add_argument(
        "--estimate", choices=("max", "typical"), metavar="HOW", help="what a call is expected to use: max or typical"
    )
    command.add_argument("--unpriced", metavar="HOW", help="calls without a known price: allow, block, or an amount for each")
    command.add_argument(
        "--unavailable", choices=("allow", "block"), metavar="HOW", help="calls while the counts cannot be read: allow or block"
    )
    command.add_argument(
        "--cancelled", choices=("input", "release"), metavar="HOW", help="what calls that end early are charged: input or release"
    )
    command.add_argument(
        "--crashed", choices=("release", "input"), metavar="HOW", help="what calls of killed processes are charged: release or input"
    )
    command.add_argument(
        "--hold-timeout", metavar="TIME", help="after what time a call in flight is charged its input (default: 15m)"
    )
    command.add_argument(
        "--cut", action=argparse.BooleanOptionalAction, default=None, help="close streams that use more than is left"
    )
    command.add_argument("--warn-at", metavar="PARTS", help="comma-separated parts of the limit, such as 0.8,0.95")
    command.add_argument("--webhook", metavar="URL", help="called when a threshold is crossed")
    command.add_argument("--share", metavar="PART", help="the part of the limit for this host, such as 0.25")


def _budgets() -> _core.Budgets:
    return engine_of(_default.default_meter).budgets


def _standings() -> list[dict[str, Any]]:
    try:
        found = _budgets().all_standings()
    except OSError as error:
        raise TaximeterError(f"the counts of budgets cannot be read: {error.strerror or error}") from None
    return sorted(found, key=lambda one: (one["budget"], -one["percent"], one["key"]))


def _nothing_used(key: str | None) -> str:
    if key is not None:
        return f"nothing is used by the key {printable(key)!r}"
    if not json.loads(_budgets().definitions()):
        return "there are no budgets; taximeter budgets set NAME --usd 100 --per month makes one"
    return "nothing is used of any budget"


def _list(options: argparse.Namespace) -> int:
    found = [one for one in _standings() if options.key is None or one["key"] == options.key]
    if options.json:
        answer(options, [{**one, "pace": None if (expected := _pace(one)) is None else [*map(str, expected)]} for one in found])
    else:
        for line in _table(found):
            print(line)
        if not found:
            say(_nothing_used(options.key))
    spent = [one for one in found if one["is_spent"] and one["action"] == "block"]
    return _SPENT if options.check and spent else 0


def _table(found: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not found:
        return ()
    heading = ("BUDGET", "KEY", "LIMIT", "USED", "HELD", "LEFT", "%", "RESETS (UTC)")
    rows = [heading, *(_row(one) for one in found)]
    paces = [_pace(one) for one in found]
    if any(paces):
        texts = ["" if expected is None else pace_text(expected, one["unit"]) for expected, one in zip(paces, found, strict=True)]
        rows = [(*row[:-1], text, row[-1]) for row, text in zip(rows, ["ON PACE", *texts], strict=True)]
    return table(rows)


def _pace(one: Mapping[str, Any]) -> Pace | None:
    return pace(one, time.time())


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    resets = moment(one["resets_at"])
    amounts = (with_unit(Decimal(one[name]), one["unit"]) for name in ("amount", "used", "held", "left"))
    when = "" if resets is None else f"{resets:%Y-%m-%d %H:%M}"
    return (one["budget"], printable(SEPARATOR.join(one["key"])) or "-", *amounts, f"{one['percent']:.0f}", when)


def budget_lines() -> list[str]:
    """Return the lines of a table of the keys that are closest to their limits; empty without budgets."""
    try:
        found = sorted(_standings(), key=lambda one: -one["percent"])
    except (TaximeterError, ValueError):
        return []  # the doctor says why
    lines = [*_table(found[:_FULLEST])]
    if len(found) > _FULLEST:
        lines.append(f"and {counted(len(found) - _FULLEST, 'more key')}; see taximeter budgets")
    return lines


def fullest_budget() -> str | None:
    """Return the budget that is closest to its limit as a bar, with how full it is; `None` without budgets."""
    try:
        found = max(_standings(), key=lambda one: one["percent"], default=None)
    except (TaximeterError, ValueError):
        return None  # the doctor says why
    if found is None:
        return None
    drawn = bar(Decimal(str(min(found["percent"], 100))) / 100, _BAR)
    name = printable(SEPARATOR.join((found["budget"], *found["key"])))
    text = f"budget {name} {drawn} {found['percent']:.0f} % of {with_unit(Decimal(found['amount']), found['unit'])}"
    expected = _pace(found)
    return text if expected is None else f"{text}, on pace {pace_text(expected, found['unit'])}"


def has_several_budgets() -> bool:
    """Return whether more than one key has a count."""
    try:
        return len(_standings()) > 1
    except (TaximeterError, ValueError):
        return False


def print_budgets() -> None:
    """Print the keys that are closest to their limits below another table, if there are budgets."""
    if lines := budget_lines():
        print("\nbudgets", *lines, sep="\n")


def _set(options: argparse.Namespace) -> int:
    known = {one["name"]: one for one in json.loads(_budgets().definitions())}
    fields = from_core(known[options.name]) if options.name in known else {}
    given = {name: value for name in _FIELDS if (value := getattr(options, "action_" if name == "action" else name)) is not None}
    if given.keys() & {*UNITS}:
        for unit in UNITS:
            fields.pop(unit, None)
    if given.keys() & {"per", "rolling"}:
        for name in ("per", "rolling", "tz", "starts"):
            fields.pop(name, None)
    if options.limit is not None:
        given["limits"] = dict(_pair("--limit", text) for text in options.limit)
    if options.where is not None:
        where: dict[str, list[str]] = {}
        for text in options.where:
            dimension, value = _pair("--where", text)
            where.setdefault(dimension, []).append(value)
        given["where"] = where
    if "warn_at" in given:
        given["warn_at"] = [part.strip() for part in given["warn_at"].split(",") if part.strip()]
    budget = Budget(options.name, **{**fields, **given})
    engine_of(_default.default_meter).limits.put_in_force([budget])
    if options.json:
        answer(options, [{"changed" if options.name in known else "set": options.name}])
    say(f"budget {options.name} is {'changed' if options.name in known else 'set'}")
    return 0


_FIELDS: Final = (
    *UNITS, "per", "rolling", "tz", "starts", "by", "absent", "action", "admit", "estimate", "unpriced", "unavailable", "cancelled",
    "crashed", "hold_timeout", "warn_at", "webhook", "share",
)  # fmt: skip


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"{option}: {text!r} is not of the form NAME=VALUE")
    return name, value


def _known(name: str) -> None:
    names = [one["name"] for one in json.loads(_budgets().definitions())]
    if name not in names:
        from ..fields import unknown_name  # noqa: PLC0415 - only for a misspelt name

        raise ConfigError(unknown_name(name, names) if names else f"there is no budget {name!r}; none is set")


def _reset(options: argparse.Namespace) -> int:
    _known(options.name)
    count = _budgets().reset(options.name, options.key)
    if options.json:
        answer(options, [{"reset": count}])
    else:
        print(f"{counted(count, 'key')} reset")
    return 0 if count or options.key is None else 1


def _remove(options: argparse.Namespace) -> int:
    _known(options.name)
    _budgets().remove(options.name)
    if options.json:
        answer(options, [{"removed": options.name}])
    else:
        print(f"budget {options.name} removed")
    return 0


def _recount(options: argparse.Namespace) -> int:
    settings = options.settings
    has_ledger = settings.uses_ledger and settings.ledger.exists()
    if not has_ledger and json.loads(_budgets().definitions()):
        raise ConfigError(
            "destination: there is no ledger to count from; budgets without one keep their counts in budgets/checkpoint"
        )
    ledger(options)  # the events of ended processes
    count = _budgets().recount()
    if options.json:
        answer(options, [{"recounted": count}])
    else:
        print(f"{counted(count, 'key')} counted again from the ledger")
    return 0


def check_budgets() -> list[Check]:
    """Check that the counts of budgets can be read, and say which budgets are used up; empty without budgets."""
    budgets = _budgets()
    try:
        definitions = json.loads(budgets.definitions())
        found = budgets.all_standings()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        return [("budgets", False, f"they cannot be read: {why}; calls are blocked or not, as each budget's unavailable says")]
    if not definitions:
        return []
    spent = [one for one in found if one["is_spent"]]
    detail = f"{len(definitions):,} in force, {counted(len(found), 'key')}"
    if spent:
        names = ", ".join(printable(SEPARATOR.join((one["budget"], *one["key"]))) for one in spent[:_FULLEST])
        detail += (
            f"; used up: {names}{f' and {len(spent) - _FULLEST:,} more' if len(spent) > _FULLEST else ''}; see taximeter budgets"
        )
    return [("budgets", None if spent else True, detail)]
