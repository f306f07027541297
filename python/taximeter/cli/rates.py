"""Lays out the rates of price catalogs: a line for each model and condition, a column for each frequent unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .. import _core
from ..table import Column

__all__ = ["PriceLine", "price_columns", "price_lines"]

_KEY: Final = re.compile(r"(?:\[(?P<context>[^]]*)\] )?(?P<unit>\w+)(?: above (?P<above>\d+))?")
_COLUMNS: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
}
_ALWAYS: Final = ("model", "input", "output")
_PER: Final = {3_600: "hour", 1_000_000: "million"}
"""Names of denominators. Seconds are priced by the hour."""


class PriceLine(NamedTuple):
    """The rates of a model under one condition, in US dollars."""

    model: str
    """`provider/model`."""
    condition: str
    """When the rates apply, such as `batch` or `above 200,000`; empty for the usual ones."""
    input: str
    """Per million input tokens."""
    output: str
    """Per million output tokens."""
    cache_read: str
    """Per million input tokens that are read from a cache."""
    cache_write: str
    """Per million input tokens that are written to a cache."""
    others: str
    """The rates of other units, each with its unit."""


def price_lines(kind: str, name: str, rates: Any) -> Iterable[PriceLine]:
    """Yield the lines of one entry.

    Args:
        kind: `catalog`, or the setting that it comes from, such as `rates`.
        name: Its name.
        rates: The rates of the catalog by unit; or the setting's value.
    """
    if kind != "catalog":
        yield PriceLine(name, f"your {kind}", "", "", "", "", json.dumps(rates))
        return
    if not rates:
        yield PriceLine(name, "", "", "", "", "", "unpriced")
    found: dict[str, dict[str, str]] = {}
    for key, rate in rates.items():
        match = _KEY.fullmatch(key)
        context, unit, above = match.group("context", "unit", "above") if match else ("", key, None)
        parts = [part.partition("=")[2] or part for part in (context or "").split(",") if part]
        if above:
            parts.append(f"above {int(above):,}")
        found.setdefault(", ".join(parts), {})[unit] = rate
    for condition, units in found.items():
        others = "  ".join(_other(unit, rate) for unit, rate in units.items() if unit not in _COLUMNS)
        input_, output, read, write = (units.get(unit, "") for unit in _COLUMNS)
        yield PriceLine(name, condition, input_, output, read, write, others)


def _other(unit: str, rate: str) -> str:
    per = _core.catalog_denominator(unit) or 1
    return f"{unit} {rate} per {_PER.get(per) or f'{per:,}'}"


def price_columns(lines: Sequence[PriceLine]) -> list[Column]:
    """Return the columns of a table of rates. A model's name is on its first line only."""
    names = [line.model if index == 0 or lines[index - 1].model != line.model else "" for index, line in enumerate(lines)]
    numbers: Mapping[str, list[str]] = {column: [getattr(line, column) for line in lines] for column in _COLUMNS.values()}
    columns = [
        Column("model", names, is_text=True),
        Column("condition", [line.condition for line in lines], is_text=True, rank=3 if any(line.condition for line in lines) else 9),
        *(Column(name.replace("_", " "), aligned(cells), rank=rank) for rank, (name, cells) in enumerate(numbers.items())),
        Column("other units", [line.others for line in lines], is_text=True, rank=8),
    ]
    return [column for column in columns if column.name in _ALWAYS or any(cell.strip() for cell in column.cells)]


def aligned(cells: Sequence[str]) -> list[str]:
    """Align numbers of different lengths at their decimal point, with spaces on the right."""
    tails = [len(cell.partition(".")[2]) + ("." in cell) for cell in cells]
    widest = max(tails, default=0)
    return [cell + " " * (widest - tail) for cell, tail in zip(cells, tails, strict=True)]
