"""Lays out tables of text for terminals, pipes and files. The only place that does."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple

from .sanitize import printable

__all__ = ["EXACT", "Column", "amounts", "bar", "bars", "cut", "display_width", "layout", "shorten", "sparkline"]

EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN, Emin=-999, Emax=999, traps=[])
"""Sums and formats amounts, because the caller's own context may round to a few digits. An amount has at most 39 digits."""
_GAP: Final = "  "
_CUT: Final = "…"
_FILLED: Final = "#"
_EMPTY: Final = "."
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_SHORT: Final = 12
"""Texts are cut to this width before a column is left out."""
_PLACES: Final = ((Decimal(1), 2), (Decimal("0.01"), 4), (Decimal(0), 6))
"""The decimal places of a column, by its smallest amount from which they are used: cents for dollars, more for less."""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    cells: Sequence[str]
    is_text: bool = False
    """Whether its cells are texts, which are aligned left and may be cut in the middle. Numbers are never cut."""
    rank: int = 0
    """Of two columns that do not fit, the one with the higher rank is left out first. Rank 0 always stays."""
    is_whole: bool = False
    """Whether its texts are not cut, as a bar would show another value."""


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text
    )


def shorten(text: str, width: int) -> str:
    """Cut a text in the middle, so that it takes at most `width` columns. Names often differ at their ends."""
    if display_width(text) <= width:
        return text
    room = max(width - 1, 0)
    head = cut(text, room - room // 2)
    tail = cut(text[::-1], room - display_width(head))[::-1]
    return f"{head}{_CUT}{tail}"


def cut(text: str, width: int) -> str:
    """Return the beginning of a text that takes at most `width` columns."""
    used = 0
    for index, character in enumerate(text):
        used += display_width(character)
        if used > width:
            return text[:index]
    return text


def amounts(values: Sequence[Decimal]) -> list[str]:
    """Format the amounts of a column with one number of decimal places, rounded half to even."""
    smallest = min((value.copy_abs() for value in values if value), default=Decimal(1))
    places = next(places for least, places in _PLACES if smallest >= least)
    return [f"{value.quantize(Decimal(1).scaleb(-places), context=EXACT):,f}" for value in values]


def bars(values: Sequence[Decimal], width: int) -> list[str]:
    """Return a bar for each value. The largest value has a bar of `width` columns."""
    most = max(values, default=Decimal(0))
    if not most:
        return ["" for _ in values]
    return [bar(EXACT.divide(max(value, Decimal(0)), most), width) for value in values]


def bar(part: Decimal, width: int) -> str:
    """Return a bar of `width` columns, filled by a part from 0 to 1. A part that is not 0 fills one column at least."""
    filled = min(int(EXACT.multiply(part, Decimal(width))), width)
    filled = max(filled, 1) if part > 0 else filled
    return _FILLED * filled + _EMPTY * (width - filled)


def sparkline(values: Sequence[Decimal]) -> str:
    """Return a small diagram of values, one character each."""
    most = max(values, default=Decimal(0))
    if not most:
        return ""
    return "".join(
        _LEVELS[int(EXACT.divide(EXACT.multiply(max(value, Decimal(0)), Decimal(len(_LEVELS) - 1)), most))] for value in values
    )


def layout(
    columns: Sequence[Column], *, width: int | None = None, has_foot: bool = False, has_rule: bool = True
) -> tuple[list[str], list[str]]:
    """Lay out a table.

    Args:
        columns: The columns. Their texts may come from anywhere.
        width: The most columns of the terminal; `None` for no limit.
        has_foot: Whether the last cells are sums, below a line.
        has_rule: Whether there is a line below the heading.

    Returns:
        The lines, and the names of the columns that were left out because they do not fit.
    """
    shown = [column._replace(cells=[printable(cell) for cell in (column.name, *column.cells)]) for column in columns]
    dropped: list[str] = []
    while True:
        widths = _fit(shown, width, _SHORT)
        rank = max(column.rank for column in shown)
        if widths is not None or not rank:
            break
        last = max(index for index, column in enumerate(shown) if column.rank == rank)
        dropped.append(shown.pop(last).name)
    found = widths or _fit(shown, width, 1) or [max(map(display_width, column.cells)) for column in shown]
    rows = [_line(shown, found, index) for index in range(len(shown[0].cells))]
    rule = _GAP.join("─" * size for size in found)
    body = [rows[0], *([rule] if has_rule else []), *rows[1:]]
    if has_foot:
        body.insert(-1, rule)
    return body, dropped


def _fit(columns: Sequence[Column], width: int | None, least: int) -> list[int] | None:
    """Return the widths of columns, with texts cut to not less than `least`; `None` if they do not fit."""
    widths = [max(map(display_width, column.cells)) for column in columns]
    if width is None:
        return widths
    texts = [index for index, column in enumerate(columns) if column.is_text and not (column.is_whole and least > 1)]
    for _ in range(sum(widths) + len(_GAP) * (len(widths) - 1) - width):
        widest = max(texts, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= least:
            return None
        widths[widest] -= 1
    return widths


def _line(columns: Sequence[Column], widths: Sequence[int], row: int) -> str:
    cells = []
    for column, size in zip(columns, widths, strict=True):
        text = shorten(column.cells[row], size) if column.is_text else column.cells[row]
        space = " " * (size - display_width(text))
        cells.append(text + space if column.is_text else space + text)
    return _GAP.join(cells).rstrip()
