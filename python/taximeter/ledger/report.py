"""Reports of the ledger: rows of sums, as a table, HTML or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NewType

from .. import _core
from ..sanitize import printable
from ..table import EXACT, Column, amounts, layout
from ..zones import UNITS

if TYPE_CHECKING:
    from ..chart import Chart

__all__ = ["SUMS", "Report", "Repricing", "RepricingRow", "Row", "cost_cells", "less", "total"]

_ABSENT: Final = "–"
_UNKNOWN: Final = "unknown"
_NOTEBOOK_ROWS: Final = 25

Amount = NewType("Amount", Decimal)
"""An amount of US dollars. Polars would take `Decimal` itself for a type without decimal places, and fail."""


@dataclass(frozen=True, slots=True)
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
    cost_usd: Amount
    """The exact sum of the known costs, in US dollars."""
    cache_saved_usd: Amount | None = None
    """What caching saved, in US dollars: the cost without cache rates, less the cost, of the calls of which that is known. It is
    negative if writing to caches cost more than reading from them saved. `None` if it is unknown, because a
    table in ClickHouse that an older version created has no column for it."""


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


@dataclass(frozen=True, repr=False)
class Report:
    """Rows and their sum. Rows by time are in the order of time, others begin with the most expensive."""

    by: tuple[str, ...]
    """The fields that the calls were grouped by."""
    rows: tuple[Row, ...]
    """The groups."""
    total: Row
    """The sums of all groups, exact. Its `key` is empty."""
    timezone: str = "UTC"
    """The zone of hours, days, weeks and months."""
    since: datetime | None = None
    """When the period begins; `None` for the first call."""
    until: datetime | None = None
    """When the period ends, exclusive; `None` for the last call."""
    others: Row | None = None
    """The sums of the groups that `limit` and `offset` left out; its `key` is empty. `None` if all groups are in `rows`."""
    left_out: int = 0
    """How many groups those are."""
    is_last: bool = False
    """Whether `rows` are the last ones of their order, not the first."""

    @property
    def groups(self) -> int:
        """The number of groups, also of those without a row."""
        return len(self.rows) + self.left_out

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        by = f" by {', '.join(self.by)}" if self.by else ""
        return f"<Report{by}: {_counted(self.groups, 'row')}, {_counted(self.total.calls, 'call')}, {_cost_text(self.total)}>"

    def sorted_by(self, name: str) -> Report:
        """Return the report in another order.

        Args:
            name: A field of `by`, ascending; or a sum such as `calls` or `cost_usd`, from the highest. A minus in front reverses
                the order.

        Raises:
            ValueError: The report has no such field.
        """
        field, is_reversed = name.removeprefix("-"), name.startswith("-")
        if field in self.by:
            rows = sorted(self.rows, key=lambda row: (row.key[field] is None, row.key[field] or ""), reverse=is_reversed)
        elif field in SUMS:
            rows = sorted(self.rows, key=lambda row: getattr(row, field) or 0, reverse=not is_reversed)
        else:
            raise ValueError(f"sort: {field!r} is not a field of the report; it has {', '.join((*self.by, *SUMS))}")
        return replace(self, rows=tuple(rows))

    def top(self, count: int) -> Report:
        """Return the report with its first rows, and one row for all others if there are more."""
        rest = self.rows[count:]
        if not (rest or self.left_out) or not self.by:
            return self
        others = total(rest if self.others is None else (*rest, self.others))
        name = f"{len(rest) + self.left_out:,} others"
        key = {field: name if field == self.by[0] else "" for field in self.by}
        return replace(self, rows=(*self.rows[:count], replace(others, key=key)), others=None, left_out=0)

    def folded(self) -> Report:
        """Return the report with one row for the groups that were left out: before the last rows, or after the first ones."""
        if not self.is_last:
            return self.top(len(self.rows))
        turned = replace(self, rows=self.rows[::-1]).top(len(self.rows))
        return replace(turned, rows=turned.rows[::-1])

    def page(self, limit: int | None, offset: int = 0, *, is_last: bool = False) -> Report:
        """Return the report with a part of its rows.

        Args:
            limit: The most rows; `None` for no limit.
            offset: How many rows are left out before them.
            is_last: Whether rows are counted from the last one.
        """
        rows = self.rows[::-1] if is_last else self.rows
        end = len(rows) if limit is None else offset + limit
        others = (*rows[:offset], *rows[end:], *(() if self.others is None else (self.others,)))
        kept = rows[offset:end][:: -1 if is_last else 1]
        left_out = self.groups - len(kept)
        return replace(self, rows=kept, others=total(others) if left_out else None, left_out=left_out, is_last=is_last)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as flat mappings, with costs as exact decimal texts."""
        return [_flat(row) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a mapping for JSON, with costs as exact decimal texts. `others` is there if groups were left out."""
        return {
            "timezone": self.timezone,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "by": list(self.by),
            "rows": self.to_dicts(),
            "total": _flat(self.total),
            **({} if self.others is None else {"others": _flat(self.others), "groups": self.groups}),
        }

    def to_json(self) -> str:
        """Return the report as a JSON object with `timezone`, `since`, `until`, `by`, `rows` and `total`."""
        return json.dumps(self.to_dict(), indent=2)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Return the rows for data frames and databases: pandas, polars, pyarrow, DuckDB and others read a report itself.

        Args:
            requested_schema: Not used: a consumer converts the types itself.

        Returns:
            A capsule with an Arrow C stream of one batch. Costs have the type `decimal128(38, 24)`, which is exact.
        """
        words = [(name, [row.key[name] for row in self.rows]) for name in self.by]
        counts = [(name, [getattr(row, name) for row in self.rows]) for name in SUMS if name not in _AMOUNTS]
        costs = [(name, [_amount(getattr(row, name)) for row in self.rows]) for name in _AMOUNTS]
        return _core.report_stream(words, counts, costs)

    def columns(self) -> list[Column]:
        """Return the columns for display: the fields, and the sums with their total last."""
        if self.left_out:
            return self.folded().columns()
        rows = [*self.rows, self.total] if self.by else [self.total]
        labels = ["total", *[""] * (len(self.by) - 1)] if self.by else []
        keys = [
            Column(name, [*(_ABSENT if (value := row.key[name]) is None else value for row in self.rows), label], is_text=True)
            for name, label in zip(self.by, labels, strict=True)
        ]
        optional = [
            Column(name, [f"{count:,}" if (count := getattr(row, name)) else "" for row in rows], rank=rank)
            for name, rank in (("unpriced", 2), ("errors", 3))
            if getattr(self.total, name) or name == "unpriced"
        ]
        return [
            *keys,
            Column("calls", [f"{row.calls:,}" for row in rows], rank=1),
            Column("input", [f"{row.input_tokens:,}" for row in rows], rank=5),
            Column("output", [f"{row.output_tokens:,}" for row in rows], rank=6),
            Column("cost (USD)", cost_cells(rows)),
            *optional,
        ]

    def __str__(self) -> str:
        return "\n".join(layout(self.columns(), has_foot=bool(self.by))[0])

    def plot(self, metric: str = "cost_usd", *, kind: str = "bars", top: int | None = None, title: str | None = None) -> Chart:
        """Draw the report: stacked bars if a field of it is a time, else a bar for each group.

        Args:
            metric: The sum to show: `cost_usd`, `calls`, `errors`, `input_tokens`, or another one of the rows.
            kind: `bars`, or `lines` for one line for each group over time.
            top: How many groups have their own name; by default 8 over time, else 20. All others are one group.
            title: The title. By default it says what the chart shows.

        Returns:
            A chart, which a notebook shows and which `save` writes to a file.

        Raises:
            ValueError: An argument is invalid, there are more than 750 hours, days, weeks or months, or the report was made with
                `limit`: a chart sums up all other groups itself.
        """
        if self.left_out:
            raise ValueError(f"limit: {self.left_out:,} groups are not in the report; make it without limit, and choose with top")
        from .notebook import plot  # noqa: PLC0415 - only for charts

        return plot(self, SUMS, metric, kind, top, title)

    def _repr_html_(self) -> str:
        from .notebook import html, period  # noqa: PLC0415 - only for notebooks

        by = f" by {', '.join(self.by)}" if self.by else ""
        columns = self._shortened(_NOTEBOOK_ROWS).columns()
        return html(self, columns, f"{_cost_text(self.total)}, {_counted(self.total.calls, 'call')}{by}: {period(self)}")

    def _shortened(self, count: int) -> Report:
        """Return the report with so many rows and one for all others: the last rows of a report by time, else the first ones."""
        if self.left_out and len(self.rows) <= count:
            return self.folded()
        if len(self.rows) <= count or set(UNITS).isdisjoint(self.by):
            return self.top(count)
        last = replace(self, rows=self.rows[::-1]).top(count).rows[::-1]
        return replace(self, rows=last)

    def __rich__(self) -> Any:
        from rich.table import Table  # noqa: PLC0415 - only rich calls this
        from rich.text import Text  # noqa: PLC0415

        table = Table(show_footer=bool(self.by))
        columns = self.columns()
        # Texts would otherwise be read as markup.
        for column in columns:
            foot = Text(column.cells[-1]) if self.by else ""
            table.add_column(Text(printable(column.name)), foot, justify="left" if column.is_text else "right")
        for line in list(zip(*(column.cells for column in columns), strict=True))[: -1 if self.by else None]:
            table.add_row(*(Text(printable(cell)) for cell in line))
        return table


SUMS: Final = tuple(field.name for field in fields(Row) if field.name != "key")
"""The names of the sums of a row, in their order."""
_AMOUNTS: Final = ("cost_usd", "cache_saved_usd")


def _flat(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in SUMS}
    return {**row.key, **values, **{name: _amount(values[name]) for name in _AMOUNTS}}


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _cost_text(row: Row) -> str:
    if row.unpriced and row.unpriced == row.calls:
        return "cost unknown"
    return f"{'at least ' if row.unpriced else ''}${amounts([row.cost_usd])[0]}"


def cost_cells(rows: Sequence[Row]) -> list[str]:
    """Return the costs of rows for display. A cost that leaves out unpriced calls begins with `≥`."""
    costs = amounts([row.cost_usd for row in rows])
    return [
        _UNKNOWN if row.unpriced and row.unpriced == row.calls else f"≥ {cost}" if row.unpriced else cost
        for row, cost in zip(rows, costs, strict=True)
    ]


def less(row: Row, parts: Sequence[Row]) -> Row:
    """Return the sums of a row without those of some of its parts, exact."""
    sums = total(parts)
    left: dict[str, Any] = {name: getattr(row, name) - getattr(sums, name) for name in SUMS if name not in _AMOUNTS}
    for name in _AMOUNTS:
        whole, part = getattr(row, name), getattr(sums, name)
        left[name] = None if whole is None or part is None else Amount(EXACT.subtract(whole, part))
    return replace(row, **left)


def total(rows: Sequence[Row]) -> Row:
    """Sum up all rows, exactly under any decimal context of the caller."""
    sums: dict[str, Any] = {name: sum(getattr(row, name) for row in rows) for name in SUMS if name not in _AMOUNTS}
    for name in _AMOUNTS:
        values = [getattr(row, name) for row in rows]
        sums[name] = None if None in values else Amount(reduce(EXACT.add, values, Decimal(0)))
    return Row(key={}, **sums)
