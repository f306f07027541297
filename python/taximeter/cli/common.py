"""Code that several groups of commands share: filters, actions, and the up-to-date ledger."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .. import _default
from ..errors import ConfigError, TaximeterError
from ..ledger import Ledger
from ..ledger.urls import is_clickhouse
from ..ledger.where import condition
from ..sanitize import printable, spreadsheet_cell
from .progress import progress
from .render import say

if TYPE_CHECKING:
    from ..ledger.clickhouse import Server

__all__ = [
    "Add",
    "Run",
    "action_adder",
    "add_common",
    "add_csv",
    "add_filters",
    "add_source",
    "count",
    "csv_writer",
    "filters",
    "ledger",
    "say_nothing_found",
    "seconds_of",
    "server_of",
]

Run = Callable[[argparse.Namespace], int]


class Add(Protocol):
    """Adds a command or an action to a parser."""

    def __call__(self, name: str, run: Run, text: str, *examples: str) -> argparse.ArgumentParser:
        """Add a command or an action.

        Args:
            name: Its name on the command line.
            run: Returns the exit code.
            text: What it does, as an imperative sentence without a period.
            examples: Command lines for its help, without `taximeter`.
        """


def add_common(parser: argparse.ArgumentParser, *, is_whole: bool = False) -> None:
    """Add the options that every command has, before and after its name.

    Args:
        parser: The parser of the whole command line or of a command.
        is_whole: Whether it is the former, which has the defaults.
    """

    def option(*names: str, default: Any = None, **how: Any) -> None:
        parser.add_argument(*names, default=default if is_whole else argparse.SUPPRESS, **how)

    option("--state-dir", metavar="DIR", help="the directory of journals and ledger")
    option("--json", action="store_true", default=False, help="print JSON")
    option(
        "-z", "--timezone", metavar="ZONE", help="the time zone, such as Europe/Paris or UTC (default: the setting, or the machine's)"
    )
    option("--color", choices=("auto", "always", "never"), default="auto", help="whether to print colours (default: auto)")
    option("-q", "--quiet", action="store_true", default=False, help="print no messages, only data and errors")


def action_adder(commands: Any, prefix: str = "") -> Add:
    """Return a function that adds commands or actions to the subparsers of a parser.

    Args:
        commands: The subparsers.
        prefix: What precedes an action's name on the command line.
    """

    def add(name: str, run: Run, text: str, *examples: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="\n".join(["examples:", *(f"  taximeter {example}" for example in examples)]) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common(command)
        command.set_defaults(run=run, command=f"{prefix}{name}")
        return command

    return add


def add_source(command: argparse.ArgumentParser, *, is_whole: bool = False) -> None:
    """Add the option that names another ledger than that of this machine.

    Args:
        command: The parser of a command, or of the whole command line.
        is_whole: Whether it is the latter, which has the default.
    """
    if not is_whole:
        command.set_defaults(has_source=True)
    command.add_argument(
        "--from",
        dest="source",
        metavar="URL",
        default=None if is_whole else argparse.SUPPRESS,
        help="read calls from clickhouse+https://HOST:8443/DATABASE, with the keys of this destination in the settings, else with "
        "CLICKHOUSE_USER and CLICKHOUSE_PASSWORD",
    )


def add_period(command: argparse.ArgumentParser) -> None:
    """Add the options of a period."""
    command.add_argument(
        "--since", metavar="WHEN", help="7d, 24h, today, yesterday, last-month, 2026-11, 2026-W48, 2026-11-01, 2026-11-01T09:00:00Z"
    )
    command.add_argument("--until", metavar="WHEN", help="the end of the time span (exclusive), in the same form")


def add_filters(command: argparse.ArgumentParser) -> None:
    """Add the options that `filters` reads."""
    add_period(command)
    command.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only calls that meet FIELD=VALUE, FIELD!=VALUE, FIELD~PART, FIELD>N or FIELD<N; VALUE,VALUE stands for either, an "
        "empty VALUE for no value; repeatable",
    )


def server_of(options: argparse.Namespace, name: str, url: str) -> Server:
    """Return the ClickHouse server with a URL, and the keys of this destination in the settings or of the environment.

    Args:
        options: The options of the command.
        name: The name of the argument, for errors.
        url: The URL.

    Raises:
        ConfigError: The URL is invalid.
    """
    from ..ledger.clickhouse import Server, destination_of  # noqa: PLC0415 - most commands read the ledger's file

    if not is_clickhouse(url):
        raise ConfigError(f"{name}: it does not begin with clickhouse+https://; give clickhouse+https://HOST:8443/DATABASE")
    return Server(destination_of(url, options.settings.destinations))


def ledger(options: argparse.Namespace, *, drains: bool = True) -> Ledger:
    """Return the ledger, after delivering the events of ended processes to it.

    Args:
        options: The options of the command.
        drains: Whether these events are delivered.

    Raises:
        ConfigError: The given state directory does not exist, there is no such time zone, or the URL of `--from` is invalid.
    """
    timezone = getattr(options, "timezone", None) or options.settings.timezone
    if source := options.source:
        return Ledger(server_of(options, "--from", source).destination, timezone=timezone)
    if options.state_dir is not None and not options.settings.state_dir.is_dir():
        raise ConfigError(f"--state-dir: there is no directory {options.settings.root}; check the path")
    if not drains:
        return Ledger(options.settings.ledger, timezone=timezone)
    try:
        with progress("delivering what ended processes left", unit="events"):
            _default.drain()
    except TaximeterError as error:
        say(f"taximeter: the events of ended processes could not be delivered: {error}")
    return Ledger(options.settings.ledger, timezone=timezone)


def say_nothing_found(options: argparse.Namespace, own: Ledger, what: str = "calls", since: str | None = None) -> None:
    """Say what was looked for, where, and what to do next.

    Args:
        options: The command's options.
        own: The ledger.
        what: What was looked for.
        since: The beginning of the period without `--since` and `--until`.
    """
    if options.source is None and not own.path.exists():
        say(
            f"there is no ledger at {own.path} yet: no program has recorded a call in this state directory. Call taximeter.init() in "
            "your program, or name its directory with --state-dir; taximeter doctor checks the settings"
        )
        return
    looked = [f"with {text}" for text in getattr(options, "where", None) or ()]
    ends = [(name, getattr(options, name, None)) for name in ("since", "until")]
    if not any(moment for _, moment in ends):
        ends = [("since", since)]
    looked += [f"{name} {moment}" for name, moment in ends if moment]
    period = own.period()
    last = "" if period is None else f"; the last call began on {period[1].astimezone(own.timezone):%a %d %b %Y at %H:%M}"
    say(f"no {what}{''.join(f' {one}' for one in looked)} in {printable(own.place)}{last}")
    if period is None:
        say("taximeter doctor checks that calls are recorded")
    elif looked:
        say("choose another --since, --until or --where to see more; taximeter calls lists the last calls")


def seconds_of(text: str) -> float:
    """Parse a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:  # noqa: PLR2004 - a tenth of a second to a day
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return seconds


def filters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of `Ledger.report` from the options."""
    return {"since": options.since, "until": options.until, "where": [condition(text) for text in options.where]}


def add_csv(command: argparse.ArgumentParser) -> None:
    """Add the options that `csv_writer` reads."""
    command.set_defaults(has_csv=True)
    command.add_argument("--csv", action="store_true", default=argparse.SUPPRESS, help="print CSV")
    command.add_argument("--raw", action="store_true", help="with --csv: texts as they are, even formulas")


def count(text: str) -> int:
    """Parse a number of rows."""
    if not text.isascii() or not text.isdigit() or int(text) > 1_000_000:  # noqa: PLR2004 - use export for more
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1,000,000")
    return int(text)


def csv_writer(options: argparse.Namespace, columns: Sequence[str]) -> tuple[csv.DictWriter[str], Callable[[Any], Any]]:
    """Return a writer of CSV to standard output, and the function that makes a text safe for a spreadsheet."""
    writer = csv.DictWriter(sys.stdout, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return writer, lambda value: spreadsheet_cell(value) if isinstance(value, str) and not options.raw else value
