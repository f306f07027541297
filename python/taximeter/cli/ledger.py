"""The commands that care for the ledger's file: `backup`, `restore`, `ledger check`, `ledger compact` and `query`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, Final

from .. import _default
from ..errors import ConfigError
from ..ledger import Ledger, restore
from ..sanitize import printable, spreadsheet_cell
from ..table import Column, layout
from . import common
from .common import Add, action_adder, add_csv
from .progress import at_exit, progress
from .render import answer, counted, say

__all__ = ["add_commands"]

_MUCH_FREE: Final = 1_000_000
"""The unused bytes of the file that are worth a remark."""
_MOST_ROWS: Final = 1_000
"""The rows of a table. JSON and CSV have all."""


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    backup = add("backup", _backup, "copy the ledger to a file while programs write")
    backup.add_argument("file", metavar="FILE", help="the new file")
    backup.add_argument("--force", action="store_true", help="replace the file if it exists")
    put = add("restore", _restore, "put a backup in the place of the ledger, and keep the replaced one")
    put.add_argument("file", metavar="FILE", help="the backup")
    prune = add("prune", _prune, "delete old calls, or those of a customer or a user, with their sums")
    prune.add_argument("--before", metavar="WHEN", help="calls that began before this moment, such as 400d or 2026-01-01")
    prune.add_argument("--customer", metavar="NAME", help="only calls of this customer; see also ledger compact")
    prune.add_argument("--user", metavar="NAME", help="only calls of this user; see also ledger compact")
    prune.add_argument("--keep-rollups", action="store_true", help="reports still count the calls")
    prune.add_argument("--dry-run", action="store_true", help="only count the calls")
    care = add("ledger", _check, "check the ledger's file, or make it smaller")
    act = action_adder(care.add_subparsers(title="actions", metavar="ACTION"), "ledger ")
    act("check", _check, "check the structure of the ledger, its indexes, and that the sums agree with the calls")
    act("compact", _compact, "rewrite the ledger's file without unused space; events wait meanwhile")
    query = add("query", _query, "run an SQL statement that only reads the ledger")
    query.add_argument("sql", metavar="SQL", help="the statement; decimal_sum(cost_usd) adds costs exactly")
    query.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds until it is stopped (default: 60)")
    add_csv(query)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


@contextmanager
def _shown(what: str, unit: str = "pages") -> Iterator[Callable[[int, int], None]]:
    """Show the progress of work on pages of the file."""
    with progress(what, unit=unit) as shown:

        def tell(done: int, total: int) -> None:
            shown.done, shown.total = done, total or None

        yield tell


@contextmanager
def _draft(path: Path) -> Iterator[None]:
    """Delete an unfinished copy of a ledger if Ctrl-C ends the process, which leaves the core no time for it."""

    def delete() -> None:
        for end in ("", "-journal", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)

    with at_exit(delete):
        yield


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _backup(options: argparse.Namespace) -> int:
    own = common.ledger(options)
    with _shown("copying") as tell, _draft(Path(f"{options.file}.partial")):
        made = own.backup(options.file, replace=options.force, progress=tell)
    if options.json:
        answer(options, [{"file": options.file, "events": made.events, "bytes": made.size}])
    else:
        say(f"{counted(made.events, 'event')}, {_size(made.size)}, in {printable(options.file)}")
    return 0


def _restore(options: argparse.Namespace) -> int:
    path: Path = options.settings.ledger
    with _shown("restoring") as tell, _draft(Path(f"{path}-restoring")):
        made = restore(path, options.file, tell)
    kept = None if made.kept is None else str(made.kept)
    if options.json:
        answer(options, [{"file": options.file, "events": made.events, "bytes": made.size, "kept": kept}])
    else:
        say(f"{counted(made.events, 'event')} restored to {path}")
        if kept is not None:
            say(f"the ledger before is kept in {kept}; delete it when you do not need it")
    return 0


def _check(options: argparse.Namespace) -> int:
    own = _existing(options)
    with _shown("checking") as tell:
        found = own.check(progress=tell)
    if options.json:
        sizes = {"events": found.events, "bytes": found.size, "free_bytes": found.free}
        answer(options, [{"ok": not found.faults, "faults": list(found.faults), **sizes}])
    else:
        print(f"{own.path}: {counted(found.events, 'event')}, {_size(found.size)}, {_size(found.free)} of it unused")
        for fault in found.faults:
            print(f"BAD  {printable(fault)}")
        print("damaged: restore a backup, see taximeter restore" if found.faults else "ok")
    return 1 if found.faults else 0


def _compact(options: argparse.Namespace) -> int:
    own = _existing(options)
    with _shown("compacting") as tell:
        before, after = own.compact(progress=tell)
    if options.json:
        answer(options, [{"bytes_before": before, "bytes_after": after}])
    else:
        say(f"{_size(before)} before, {_size(after)} now")
    return 0


def _prune(options: argparse.Namespace) -> int:
    if options.before is None and options.customer is None and options.user is None:
        raise ValueError("prune: give --before, --customer or --user")
    own = _existing(options)
    _default.drain()
    with _shown("deleting", "calls") as tell:
        done = own.prune(
            options.before,
            customer=options.customer,
            user=options.user,
            keep_rollups=options.keep_rollups,
            dry_run=options.dry_run,
            progress=tell,
        )
    if options.json:
        answer(options, [{"deleted": done.events, "free_bytes": done.free, "dry_run": options.dry_run}])
        return 0
    say(f"{counted(done.events, 'call')} {'would be deleted' if options.dry_run else 'deleted'}")
    if (options.customer or options.user) and done.events and not options.dry_run:
        say("unused parts of the file may still have bytes of them: taximeter ledger compact removes them")
    elif done.free > _MUCH_FREE:
        say(f"{_size(done.free)} of the file are unused: taximeter ledger compact gives them back")
    return 0


def _existing(options: argparse.Namespace) -> Ledger:
    path: Path = options.settings.ledger
    if not path.exists():
        raise ConfigError(f"there is no ledger at {path}; check --state-dir and the setting state_dir")
    return Ledger(path, timezone=options.settings.timezone)


def _query(options: argparse.Namespace) -> int:
    rows = common.ledger(options).query(options.sql, timeout=options.timeout)
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.columns)
        writer.writerows([_cell(value, is_raw=options.raw) for value in row] for row in rows)
    elif options.json:
        found = [{name: _json_value(value) for name, value in row.items()} for row in rows.dicts()]
        answer(options, found, columns=list(rows.columns))
    else:
        _print_table(rows.columns, iter(rows))
    return 0


def _print_table(names: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    shown = [row for _, row in zip(range(_MOST_ROWS), rows, strict=False)]
    columns = [
        Column(
            printable(name),
            ["–" if row[index] is None else _cell(row[index], is_raw=False) for row in shown],
            is_text=not all(isinstance(row[index], (int, float, Decimal, type(None))) for row in shown),
        )
        for index, name in enumerate(names)
    ]
    lines = layout(columns, has_foot=False)[0]
    print("\n".join(lines))
    if next(rows, None) is not None:
        say(f"only the first {_MOST_ROWS:,} rows are shown; --csv and --json print all")


def _cell(value: Any, *, is_raw: bool) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return value if is_raw else spreadsheet_cell(value)
    return "" if value is None else str(_json_value(value))


def _json_value(value: Any) -> Any:
    """Return a value as JSON has it: amounts as exact texts, bytes in hexadecimal, infinite numbers as texts."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value
