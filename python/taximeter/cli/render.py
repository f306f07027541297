"""How the commands print: data as JSON or text to standard output, messages to standard error."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..sanitize import printable
from ..table import Column, layout, shorten
from ..zones import zone as zone_of
from ..zones import zone_name

if TYPE_CHECKING:
    from ..ledger import Report

__all__ = [
    "SCHEMA_VERSION", "age", "amount", "answer", "answer_report", "color", "complain", "counted",
    "is_full_terminal", "is_terminal", "most_rows", "on_terminal", "print_bytes", "print_json", "print_line", "print_lines",
    "print_report", "print_table", "rows_that_fit", "say", "set_up", "table",
]  # fmt: skip

SCHEMA_VERSION: Final = 1
"""The version of the JSON that commands print. Within a version, fields are only added."""

_AROUND: Final = 8
"""The lines of a screen around the rows of a report: its head, total and messages, and the prompts."""
_FEWEST: Final = 10
_NUMBER: Final = re.compile(r"|\?|-|\$?-?[\d,]+(\.\d+)?\+?")
_LONGEST: Final = 48
"""The widest text of a report on a terminal. A longer name would push the numbers away from the others."""


class _Output:
    """How this process prints."""

    is_quiet = False
    has_colors = False
    is_captured = False
    """Whether standard output is captured for the whole terminal."""


def set_up(*, is_quiet: bool, colors: str) -> None:
    """Set how this process prints.

    Args:
        is_quiet: Whether messages are left out. Errors are always printed.
        colors: `auto`, `always` or `never`. `auto` means a terminal that is not `dumb`, unless the environment says otherwise:
            `NO_COLOR` turns colours off, `FORCE_COLOR` turns them on.
    """
    _Output.is_quiet = is_quiet
    environment = os.environ
    if colors == "auto" and environment.get("NO_COLOR"):
        colors = "never"
    if colors == "auto" and environment.get("FORCE_COLOR", "0") != "0":
        colors = "always"
    _Output.has_colors = colors == "always" or (colors == "auto" and is_terminal() and environment.get("TERM") != "dumb")


_STYLES: Final = {"bold": 1, "dim": 2, "red": 31, "yellow": 33, "green": 32}


def color(text: str, style: str) -> str:
    """Return a line or a part of one in a style, if this process prints colours."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if _Output.has_colors and text else text


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return _Output.is_captured or sys.stdout.isatty()


def is_full_terminal() -> bool:
    """Return whether standard output is a terminal on which a program can draw anywhere."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def on_terminal() -> Iterator[None]:
    """Print in this block as to a terminal, although the output is captured."""
    _Output.is_captured = True
    try:
        yield
    finally:
        _Output.is_captured = False


def say(text: str) -> None:
    """Print a message to standard error."""
    if not _Output.is_quiet:
        complain(text)


def complain(text: str) -> None:
    """Print an error to standard error. It may repeat arguments and names from events, so only its line breaks are kept."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


def answer(
    options: argparse.Namespace,
    rows: Sequence[Any],
    total: Any = None,
    *,
    since: str | None = None,
    until: str | None = None,
    zone: str | None = None,
    **more: Any,
) -> None:
    """Print the JSON of a command; see `docs/json.md`.

    Args:
        options: The command's options.
        rows: What it found. A command that finds one thing has one row.
        total: The sums of the rows, if it has any.
        since: When its period begins, in ISO 8601.
        until: When its period ends, exclusive.
        zone: The name of the time zone; by default the one of the options and settings.
        more: Further fields.
    """
    setting = getattr(getattr(options, "settings", None), "timezone", None)  # the doctor answers with invalid settings, too
    named = zone or zone_name(zone_of("timezone", options.timezone or setting))
    head = {"schema_version": SCHEMA_VERSION, "command": options.command, "timezone": named, "since": since, "until": until}
    print_json({**head, **more, "rows": rows, "total": total})


def answer_report(options: argparse.Namespace, report: Report, **more: Any) -> None:
    """Print a report as the JSON of a command."""
    found = report.to_dict()
    rows, total, since, until, named = (found.pop(name) for name in ("rows", "total", "since", "until", "timezone"))
    answer(options, rows, total, since=since, until=until, zone=named, **found, **more)


def print_json(value: Any) -> None:
    """Print indented JSON."""
    print(json.dumps(value, indent=2))


def print_bytes(block: bytes) -> None:
    """Print whole lines in UTF-8, as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def print_line(value: Any) -> None:
    """Print JSON on one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_report(report: Report, columns: Callable[[Report], Sequence[Column]]) -> None:
    """Print a report as a table. A terminal gets the columns that fit into it.

    Args:
        report: The report.
        columns: Makes the columns.
    """
    size = shutil.get_terminal_size() if is_terminal() else None
    made = columns(report)
    if size is not None:
        made = [
            one._replace(cells=[shorten(printable(cell), _LONGEST) for cell in one.cells]) if one.is_text else one for one in made
        ]
    has_foot = len(made[0].cells) > len(report.rows) > 0
    lines, dropped = layout(made, width=None if size is None else size.columns, has_foot=has_foot, has_rule=False)
    print_lines(lines)
    _tell_dropped(dropped)


def _with_short_texts(column: Column) -> Column:
    return column._replace(cells=[shorten(printable(cell), _LONGEST) for cell in column.cells]) if column.is_text else column


def _tell_dropped(dropped: Sequence[str]) -> None:
    if names := [name for name in dropped if name]:
        say(f"no room for {', '.join(names)}")


def most_rows() -> int | None:
    """Return how many rows fit on the terminal, or `None` if standard output is not a terminal."""
    return max(shutil.get_terminal_size().lines - _AROUND, _FEWEST) if is_terminal() else None


def rows_that_fit(count: int) -> int:
    """Return how many of so many rows are shown: all, or on a terminal what fits."""
    return count if (most := most_rows()) is None else most


def print_table(columns: Sequence[Column], limit: int | None = None, *, what: str = "rows") -> None:
    """Print a table.

    Args:
        columns: Its columns.
        limit: The most rows; by default all, or on a terminal what fits.
        what: The plural of the name of what a row stands for.
    """
    count = len(columns[0].cells)
    most = rows_that_fit(count) if limit is None else limit
    shown = [column._replace(cells=column.cells[:most]) for column in columns]
    lines, dropped = layout(shown, width=shutil.get_terminal_size().columns if is_terminal() else None, has_rule=False)
    print_lines(lines)
    _tell_dropped(dropped)
    if count > most:
        say(f"{count - most:,} other {what}; --limit {count} shows all")


def print_lines(lines: Sequence[str]) -> None:
    """Print the lines of a table: the heading bold, rules dim."""
    for index, line in enumerate(lines):
        print(color(line, "bold") if index == 0 else color(line, "dim") if line.startswith("─") else line)


def table(rows: Sequence[tuple[str, ...]]) -> Sequence[str]:
    """Return the lines of a table of texts and numbers. The first row is its heading. The last columns are left out first."""
    columns = [
        Column(name, cells, is_text=not all(map(_NUMBER.fullmatch, cells)), rank=max(0, place - 1))
        for place, (name, *cells) in enumerate(zip(*rows, strict=True))
    ]
    lines, dropped = layout(columns, width=shutil.get_terminal_size().columns if is_terminal() else None, has_rule=False)
    _tell_dropped(dropped)
    return lines


def counted(count: int, name: str) -> str:
    """Return a count with the name of what is counted, such as `1 event` or `2,000 events`."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def age(seconds: float) -> str:
    """Format a time span for display."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def amount(value: Decimal) -> str:
    """Format an exact amount without an exponent."""
    return format(value, "f")
