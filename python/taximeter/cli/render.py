"""How the commands print: data as JSON or text to standard output, messages to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..ledger import Report

__all__ = ["age", "amount", "print_json", "print_line", "print_report", "say", "table"]


def say(text: str) -> None:
    """Print a message to standard error."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print indented JSON."""
    print(json.dumps(value, indent=2))


def print_line(value: Any) -> None:
    """Print JSON on one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_report(report: Report) -> None:
    """Print a report as a table, with rich if it is installed and the output is a terminal."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415 - an optional dependency
        except ImportError:
            pass
        else:
            Console().print(report)
            return
    print(report)


def table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield the lines of a table. The first row is its heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def age(seconds: float) -> str:
    """Format a time span for display."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def amount(value: Decimal) -> str:
    """Format an exact amount without an exponent."""
    return format(value, "f")
