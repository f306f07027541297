"""Code that several groups of commands share: filters, actions, and the up-to-date ledger."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from .. import _default
from ..errors import ConfigError, TaximeterError
from ..ledger import Ledger
from ..sanitize import spreadsheet_cell
from .progress import progress
from .render import say

__all__ = ["SCHEMA_VERSION", "Add", "Run", "action_adder", "add_csv", "add_filters", "count", "csv_writer", "filters", "ledger"]

SCHEMA_VERSION: Final = 1
"""The version of the JSON that commands print. Within a version, fields are only added."""

Run = Callable[[argparse.Namespace], int]


class Add(Protocol):
    """Adds a command or an action to a parser."""

    def __call__(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        """Add a command or an action.

        Args:
            name: Its name on the command line.
            run: Returns the exit code.
            text: What it does, as an imperative sentence without a period.
        """


def action_adder(commands: Any) -> Add:
    """Return a function that adds commands or actions to the subparsers of a parser."""

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--state-dir", metavar="DIR", default=argparse.SUPPRESS, help="the directory of journals and ledger")
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        command.set_defaults(run=run, command=name)
        return command

    return add


def add_filters(command: argparse.ArgumentParser) -> None:
    """Add the options that `filters` reads."""
    command.add_argument(
        "--since", metavar="WHEN", help="7d, 24h, today, yesterday, last-month, 2026-11, 2026-W48, 2026-11-01, 2026-11-01T09:00:00Z"
    )
    command.add_argument("--until", metavar="WHEN", help="the end of the time span (exclusive), in the same form")
    command.add_argument(
        "-z", "--timezone", metavar="ZONE", help="the time zone, such as Europe/Paris or UTC (default: the setting, or the machine's)"
    )
    command.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only calls with this value; an empty VALUE selects calls without one; repeatable",
    )


def ledger(options: argparse.Namespace) -> Ledger:
    """Return the ledger, after delivering the events of ended processes to it.

    Raises:
        ConfigError: The given state directory does not exist, or there is no such time zone.
    """
    if options.state_dir is not None and not options.settings.state_dir.is_dir():
        raise ConfigError(f"--state-dir: there is no directory {options.settings.root}; check the path")
    try:
        with progress("delivering what ended processes left", unit="events"):
            _default.drain()
    except TaximeterError as error:
        say(f"taximeter: the events of ended processes could not be delivered: {error}")
    return Ledger(options.settings.ledger, timezone=getattr(options, "timezone", None) or options.settings.timezone)


def filters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of `Ledger.report` from the options."""
    where = {}
    for pair in options.where:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--where: {pair!r} is not of the form FIELD=VALUE")
        where[name.strip()] = value or None
    return {"since": options.since, "until": options.until, "where": where}


def add_csv(command: argparse.ArgumentParser) -> None:
    """Add the options that `csv_writer` reads."""
    command.add_argument("--csv", action="store_true", help="print CSV")
    command.add_argument("--raw", action="store_true", help="with --csv: texts as they are, even formulas")


def count(text: str) -> int:
    """Parse a number of rows."""
    if not text.isascii() or not text.isdigit() or int(text) > 1_000_000:  # noqa: PLR2004 - use export for more
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1,000,000")
    return int(text)


def csv_writer(options: argparse.Namespace, columns: Sequence[str]) -> tuple[csv.DictWriter[str], Callable[[Any], Any]]:
    """Return a writer of CSV to standard output, and the function that makes a text safe for a spreadsheet."""
    if options.json:
        raise ValueError("--csv and --json exclude each other; give one of them")
    writer = csv.DictWriter(sys.stdout, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return writer, lambda value: spreadsheet_cell(value) if isinstance(value, str) and not options.raw else value
