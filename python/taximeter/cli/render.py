"""How the commands print: data as JSON or text to standard output, messages to standard error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..table import Column, layout

if TYPE_CHECKING:
    from ..ledger import Report

__all__ = ["age", "amount", "counted", "print_bytes", "print_json", "print_line", "print_report", "say", "table"]


_AROUND: Final = 8
"""The lines of a screen around the rows of a report: its head, total and messages, and the prompts."""
_FEWEST: Final = 10


def say(text: str) -> None:
    """Print a message to standard error."""
    print(text, file=sys.stderr)


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


def print_report(report: Report, *, is_whole: bool = False, columns: Callable[[Report], Sequence[Column]] | None = None) -> None:
    """Print a report as a table.

    Args:
        report: The report. A terminal gets the columns that fit into it.
        is_whole: Whether a terminal gets all rows, even if they do not fit.
        columns: Makes the columns; by default those of the report.
    """
    made = type(report).columns if columns is None else columns
    if not sys.stdout.isatty():
        print("\n".join(layout(made(report), has_foot=bool(report.by))[0]))
        return
    size = shutil.get_terminal_size()
    shown = report if is_whole else report.top(max(size.lines - _AROUND, _FEWEST))
    lines, dropped = layout(made(shown), width=size.columns, has_foot=bool(shown.by))
    print("\n".join(lines))
    if dropped := [name for name in dropped if name]:
        say(f"left out, because the terminal is too narrow: {', '.join(dropped)}")
    if len(shown) < len(report):
        say(f"--limit {len(report)} shows all rows")


def table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield the lines of a table. The first row is its heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


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
