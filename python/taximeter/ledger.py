"""The ledger: what was spent, on what, by whom."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import _core, config

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Ledger", "Report", "Repricing", "RepricingRow", "Row"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PAGE: Final = 1000

Moment = datetime | date | timedelta | str | int | float


def unix_ns(name: str, moment: Moment | None) -> int | None:
    """A moment in nanoseconds of the Unix epoch.

    Args:
        name: What the moment is called in errors.
        moment: An aware datetime; a date (midnight UTC); a timedelta or a text such as `7d`, `24h` or `30m` before now; an ISO
            8601 text (UTC when it has no zone); or seconds since 1970.

    Raises:
        ValueError: The moment has another type or form.
    """
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = _parse(name, moment)
    if isinstance(moment, timedelta):
        try:
            moment = datetime.now(timezone.utc) - moment
        except OverflowError:
            raise ValueError(f"{name}: {moment!r} ago is before there were dates") from None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{name}: {moment!r} has no time zone")
        moment = moment.timestamp()
    elif isinstance(moment, date):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < 1e10:  # noqa: PLR2004 - year 2286
        raise ValueError(f"{name}: {moment!r} is not a moment since 1970")
    return round(moment * 1_000_000) * 1000


def _parse(name: str, text: str) -> datetime | timedelta:
    if match := re.fullmatch(r"(\d{1,6})\s*([smhdw])", text.strip()):
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is neither a time span such as '7d' nor an ISO 8601 time") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Row:
    """Sums of one group of events."""

    key: Mapping[str, str | None]
    """The group: its value of each field; `None` where events have none."""
    calls: int
    errors: int
    """Calls that failed."""
    unpriced: int
    """Calls whose cost is unknown. They are in no sum of money."""
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal
    """Exact sum of the known costs, in US dollars."""


@dataclass(frozen=True)
class RepricingRow:
    """What a repricing came to for one model."""

    provider: str
    model: str
    changed: int
    """Calls that cost something else now."""
    newly_priced: int
    """Of them, those whose cost was unknown."""
    before_usd: Decimal
    """What those that changed cost before, as far as it was known."""
    after_usd: Decimal
    """What they cost now."""


@dataclass(frozen=True)
class Repricing:
    """What `Meter.reprice` came to."""

    examined: int
    """Calls that were looked at."""
    rows: tuple[RepricingRow, ...]


@dataclass(frozen=True)
class Report:
    """Rows, the costliest first, and their sum."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Row

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Rows as flat mappings; costs as exact decimal texts."""
        return [_flat(row) for row in self.rows]

    def to_json(self) -> str:
        """The report as a JSON object with `by`, `rows` and `total`."""
        return json.dumps({"by": self.by, "rows": self.to_dicts(), "total": _flat(self.total)}, indent=2)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and cells for people: the fields, calls, tokens and money, the total last."""
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
        from rich.table import Table  # noqa: PLC0415 - only ever called by rich itself

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
    """An amount for people: at least cents, at most a ten-thousandth of a cent, rounded half to even."""
    short = amount.quantize(Decimal("0.000001")).normalize()
    return f"{short:,.2f}" if short == short.quantize(Decimal("0.01")) else f"{short:,f}"


def _cells(row: Row) -> list[str]:
    # The cost of a group of which nothing is priced is not zero but unknown.
    cost = "unknown" if row.unpriced and row.unpriced == row.calls else money(row.cost_usd)
    return [
        f"{row.calls:,}",
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
        cost,
        f"{row.unpriced:,}" if row.unpriced else "",
    ]


class Ledger:
    """Reads the ledger while others write it.

    Args:
        path: The ledger's file; by default the one that `init` settled. One that does not exist yet reads as empty.

    Raises:
        LedgerError: The file is no ledger, or cannot be read.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = _default_path() if path is None else Path(path)
        self._reader = _core.LedgerReader(self.path)

    def report(
        self,
        by: str | Sequence[str] = ("model",),
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> Report:
        """Sum events by fields.

        Args:
            by: `provider`, `model`, `operation`, `status`, `agent`, `feature`, `team`, `customer`, `user`, `session`, `day`,
                `hour`, `tag:KEY`, and others that the error for an unknown one lists. Empty for one sum of everything.
            since: Only calls that began at or after this; see `unix_ns` for what a moment can be.
            until: Only calls that began before this.
            where: Only calls with these values; `None` for those that have none.

        Raises:
            ValueError: A field is unknown or a moment is invalid; the message names it.
            LedgerError: The ledger cannot be read.
        """
        names = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Sequence) else (by,)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"by: {by!r} is not a field name, nor a sequence of them")
        rows = tuple(
            Row(key=dict(zip(names, values, strict=True)), **sums)
            for values, sums in self._reader.report(list(names), unix_ns("since", since), unix_ns("until", until), equal(where))
        )
        return Report(names, rows, _total(rows))

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Every event in order of arrival, read page by page; see `report` for the filters."""
        start, end, equals, after = unix_ns("since", since), unix_ns("until", until), equal(where), 0
        while True:
            page, after = self._reader.events(start, end, equals, after, _PAGE)
            if not page:
                return
            yield from map(json.loads, page)

    def follow(self, *, last: int = 10, every: float = 0.5) -> Iterator[dict[str, Any]]:
        """The last events, then new ones as they come, for ever.

        Args:
            last: How many of the events that are there to begin with.
            every: Seconds between looks.
        """
        after = max(0, self._reader.last_sequence() - last)
        files, latest = self._reader.files(), ""
        while True:
            page, reached = self._reader.events(None, None, [], after, _PAGE)
            if (now := self._reader.files()) != files:
                # Another file has the ledger's place: sequence numbers are its own, ids go on.
                files, after = now, self._reader.sequence_of(latest)
                continue
            after = reached
            for event in map(json.loads, page):
                latest = max(latest, event["id"])
                yield event
            if not page:
                time.sleep(every)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last events in order of arrival."""
        page, _ = self._reader.events(None, None, [], max(0, self._reader.last_sequence() - count), count)
        return [json.loads(event) for event in page]


def _default_path() -> Path:
    from ._api import default_meter  # noqa: PLC0415 - it imports this module

    return (default_meter.settings or config.resolve({})).ledger


def equal(where: Mapping[str, str | None] | None) -> list[tuple[str, str]]:
    """A filter by values, as the core takes it."""
    if where is None:
        return []
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise ValueError(f"where: {where!r} is not a mapping of field names")
    return [(name, "" if value is None else str(value)) for name, value in where.items()]


def _total(rows: Sequence[Row]) -> Row:
    def add(name: str) -> Any:
        return sum(getattr(row, name) for row in rows)

    names = ("calls", "errors", "unpriced", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    sums = {name: add(name) for name in (*names, "reasoning_tokens")}
    return Row(key={}, cost_usd=sum((row.cost_usd for row in rows), Decimal(0)), **sums)
