"""The columns of reports on the command line: which there are, in which order, and which stay when space is short."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ..fields import nearest
from ..ledger import Report, Row, cost_cells
from ..table import Column, bars

__all__ = ["COLUMNS", "SORTS", "check_columns", "percent", "report_columns", "short"]

_ABSENT: Final = "–"
_BAR: Final = 16
_FULL: Final = 10_000
"""Counts below this are written in full."""
_SIZES: Final = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k"))
_ONE_PLACE: Final = 100

SORTS: Final = {
    "cost": "cost_usd",
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cache_read_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "share": "cost_usd",
}
"""Names of columns that are sums under another name."""


def short(count: int) -> str:
    """Return a count in few characters, such as `9,999`, `12.3k` or `1.8M`."""
    if abs(count) < _FULL:
        return f"{count:,}"
    size, unit = next((size, unit) for size, unit in _SIZES if abs(count) >= size)
    value = count / size
    return f"{value:,.1f}{unit}" if abs(value) < _ONE_PLACE else f"{value:,.0f}{unit}"


def percent(part: Decimal | int, whole: Decimal | int, places: int = 0) -> str:
    """Return a part as a percentage; nothing without a whole."""
    return f"{100 * float(part) / float(whole):.{places}f} %" if whole else ""


class _Kind(NamedTuple):
    """A column that reports can have."""

    rank: int
    """See `Column.rank`."""
    cells: Callable[[Sequence[Row], Row, bool], Sequence[str]]
    """Makes the cells of rows, with their total, in exact numbers or short ones."""
    is_needed: Callable[[Row], Any] = lambda _total: True
    """Whether a report with this total has the column, if no columns are asked for."""


def _count(name: str) -> Callable[[Sequence[Row], Row, bool], Sequence[str]]:
    return lambda rows, _total, _is_exact: [f"{getattr(row, name):,}" for row in rows]


def _few(name: str) -> Callable[[Sequence[Row], Row, bool], Sequence[str]]:
    return lambda rows, _total, _is_exact: [f"{count:,}" if (count := getattr(row, name)) else "" for row in rows]


def _tokens(name: str) -> Callable[[Sequence[Row], Row, bool], Sequence[str]]:
    return lambda rows, _total, is_exact: [(f"{getattr(row, name):,}" if is_exact else short(getattr(row, name))) for row in rows]


def _costs(rows: Sequence[Row], _total: Row, is_exact: bool) -> Sequence[str]:
    if not is_exact:
        return cost_cells(rows)
    shown = cost_cells(rows)
    places = max((len(format(row.cost_usd, "f").partition(".")[2]) for row in rows), default=0)
    return [
        cell if not cell[-1:].isdigit() else f"{'≥ ' if cell.startswith('≥') else ''}{row.cost_usd:,.{places}f}"
        for cell, row in zip(shown, rows, strict=True)
    ]


COLUMNS: Final[Mapping[str, _Kind]] = {
    "cost": _Kind(0, _costs),
    "share": _Kind(2, lambda rows, total, _: [percent(row.cost_usd, total.cost_usd) for row in rows]),
    "calls": _Kind(1, _count("calls")),
    "errors": _Kind(3, _few("errors"), lambda total: total.errors),
    "unpriced": _Kind(3, _few("unpriced"), lambda total: total.unpriced),
    "cached": _Kind(
        4,
        lambda rows, _total, _: [percent(row.cache_read_tokens, row.input_tokens) for row in rows],
        lambda total: total.cache_read_tokens,
    ),
    "input": _Kind(6, _tokens("input_tokens")),
    "output": _Kind(7, _tokens("output_tokens")),
    "cache_read": _Kind(8, _tokens("cache_read_tokens"), lambda _: False),
    "cache_write": _Kind(9, _tokens("cache_write_tokens"), lambda _: False),
    "reasoning": _Kind(10, _tokens("reasoning_tokens"), lambda _: False),
}
"""The columns of sums by name, in their order."""


_BY_TIME: Final = ("cost", "calls", "errors", "input", "output")


def check_columns(text: str) -> list[str]:
    """Return the names of a comma-separated list of columns.

    Raises:
        ValueError: There is no such column. The message names the nearest.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in COLUMNS:
            alike = nearest(name, COLUMNS)
            remedy = f"did you mean {alike!r}?" if alike else f"there are {', '.join(COLUMNS)}"
            raise ValueError(f"--columns: there is no column {name!r}; {remedy}; the fields of --by are always shown")
    return names


def report_columns(
    report: Report,
    names: Sequence[str] | None = None,
    *,
    is_exact: bool = False,
    marks: Sequence[str] | None = None,
    label: Callable[[str, str], str] | None = None,
) -> list[Column]:
    """Return the columns of a report: its fields, and sums. The last cells are the totals, if the report has fields and no marks.

    Args:
        report: The report.
        names: The sums; by default those that say something.
        is_exact: Whether all digits are shown.
        marks: For a report by time: what its rows have at their ends. It has bars, and no totals.
        label: Formats the value of a field.
    """
    has_total = bool(report.by) and marks is None
    rows = [*(report.rows if report.by else ()), *([report.total] if has_total or not report.by else [])]
    keys = []
    for place, field in enumerate(report.by):
        cells = [_ABSENT if (value := row.key[field]) is None else label(field, value) if label else value for row in report.rows]
        if marks is not None and place == 0:
            cells = ["" if index and cell == cells[index - 1] else cell for index, cell in enumerate(cells)]
        cells += ["total" if place == 0 else ""] if has_total else []
        keys.append(Column(field, cells, is_text=True, is_whole=marks is not None and place == 0))
    chosen = list(names) if names is not None else [name for name, kind in COLUMNS.items() if kind.is_needed(report.total)]
    if marks is not None and names is None:
        chosen = [name for name in _BY_TIME if COLUMNS[name].is_needed(report.total)]
    columns = [
        Column(name.replace("_", " "), COLUMNS[name].cells(rows, report.total, is_exact), rank=COLUMNS[name].rank) for name in chosen
    ]
    if marks is not None:
        drawn = Column("", bars([row.cost_usd for row in rows], _BAR), is_text=True, rank=5, is_whole=True)
        place = chosen.index("cost") + 1 if "cost" in chosen else 0
        columns.insert(place, drawn)
        if any(marks):
            columns.append(Column("", list(marks), is_text=True, rank=4, is_whole=True))
    return [*keys, *columns]
