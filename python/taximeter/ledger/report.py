"""Reports of the ledger: rows of sums, as a table, HTML or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

__all__ = ["Report", "Repricing", "RepricingRow", "Row", "money", "total"]


@dataclass(frozen=True)
class Row:
    """Sums over one group of events."""

    key: Mapping[str, str | None]
    """The group's value of each field; `None` if its events do not have the field."""
    calls: int
    """The number of calls."""
    errors: int
    """Calls that failed."""
    unpriced: int
    """Calls whose cost is unknown. `cost_usd` does not include them."""
    input_tokens: int
    """All input tokens, cached ones included."""
    output_tokens: int
    """All output tokens, reasoning included."""
    cache_read_tokens: int
    """Input tokens read from a cache."""
    cache_write_tokens: int
    """Input tokens written to a cache."""
    reasoning_tokens: int
    """Output tokens spent on reasoning."""
    cost_usd: Decimal
    """The exact sum of the known costs, in US dollars."""


@dataclass(frozen=True)
class RepricingRow:
    """The changes that a repricing made to one model's calls."""

    provider: str
    """The model's provider."""
    model: str
    """The model's name."""
    changed: int
    """Calls whose cost changed."""
    newly_priced: int
    """Calls whose cost was unknown before. `changed` includes them."""
    before_usd: Decimal
    """The sum of the known old costs of the changed calls, in US dollars."""
    after_usd: Decimal
    """The sum of their new costs, in US dollars."""


@dataclass(frozen=True)
class Repricing:
    """The result of `Meter.reprice`."""

    examined: int
    """Calls that were priced again."""
    rows: tuple[RepricingRow, ...]
    """The changes, one row for each model."""


@dataclass(frozen=True)
class Report:
    """Rows, the most expensive first, and their sum."""

    by: tuple[str, ...]
    """The fields that the calls were grouped by."""
    rows: tuple[Row, ...]
    """The groups, the most expensive first."""
    total: Row
    """The sums of all groups. Its `key` is empty."""

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as flat mappings, with costs as exact decimal texts."""
        return [_flat(row) for row in self.rows]

    def to_json(self) -> str:
        """Return the report as a JSON object with `by`, `rows` and `total`."""
        return json.dumps({"by": self.by, "rows": self.to_dicts(), "total": _flat(self.total)}, indent=2)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and cells for display: the fields, calls, tokens and cost, with the total last."""
        lines = [[row.key[name] or "–" for name in self.by] + _cells(row) for row in self.rows]
        label = ["total", *[""] * (len(self.by) - 1)] if self.by else []
        return [*self.by, "calls", "input", "output", "cost (USD)", "unpriced"], [*lines, label + _cells(self.total)]

    def __str__(self) -> str:
        head, lines = self.table()
        widths = [max(len(row[column]) for row in [head, *lines]) for column in range(len(head))]
        texts = len(self.by)

        def line(cells: Sequence[str]) -> str:
            padded = (
                cell.ljust(width) if column < texts else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return "  ".join(padded).rstrip()

        rule = "  ".join("─" * width for width in widths)
        return "\n".join([line(head), rule, *map(line, lines[:-1]), rule, line(lines[-1])])

    def _repr_html_(self) -> str:
        head, lines = self.table()

        def cells(tag: str, row: Sequence[str]) -> str:
            return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)

        body = "".join(f"<tr>{cells('td', line)}</tr>" for line in lines)
        return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"

    def __rich__(self) -> Any:
        from rich.table import Table  # noqa: PLC0415 - only rich calls this

        head, lines = self.table()
        table = Table(show_footer=True)
        for column, (name, foot) in enumerate(zip(head, lines[-1], strict=True)):
            table.add_column(name, foot, justify="left" if column < len(self.by) else "right")
        for line in lines[:-1]:
            table.add_row(*line)
        return table


def _flat(row: Row) -> dict[str, Any]:
    values = {name: value for name, value in vars(row).items() if name != "key"}
    return {**row.key, **values, "cost_usd": str(row.cost_usd)}


def money(amount: Decimal) -> str:
    """Format an amount for display: at least cents, at most a ten-thousandth of a cent, rounded half to even."""
    short = amount.quantize(Decimal("0.000001")).normalize()
    return f"{short:,.2f}" if short == short.quantize(Decimal("0.01")) else f"{short:,f}"


def _cells(row: Row) -> list[str]:
    # If no call of the group is priced, its cost is unknown, not zero.
    cost = "unknown" if row.unpriced and row.unpriced == row.calls else money(row.cost_usd)
    return [
        f"{row.calls:,}",
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
        cost,
        f"{row.unpriced:,}" if row.unpriced else "",
    ]


def total(rows: Sequence[Row]) -> Row:
    """Sum up all rows."""

    def add(name: str) -> Any:
        return sum(getattr(row, name) for row in rows)

    names = ("calls", "errors", "unpriced", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    sums = {name: add(name) for name in (*names, "reasoning_tokens")}
    return Row(key={}, cost_usd=sum((row.cost_usd for row in rows), Decimal(0)), **sums)
