"""The values and the conditions of a query, and the stretches of time in which it is asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from ... import _core

__all__ = ["HOUR", "KEY", "SECOND", "Conditions", "Parameters", "Parts", "stretches"]

_NUMBERS: Final = {"latency_ms": "(latency_us / 1000)", "ttft_ms": "(ttft_us / 1000)"}
"""The numbers by which conditions compare, where they are not columns. A quotient is the number that the ledger's file has."""
_TEXTS: Final = frozenset(name for name, kind, _ in _core.clickhouse_columns() if kind in {"String", "LowCardinality(String)"})
_MOST_BYTES: Final = 8_000
_MOST_VALUES: Final = 50
"""The most values of a query in its URL, which may have 64 kB. A byte may take three of them. Others are in the text of the query."""
_MOST_PARTS: Final = 8_000
"""The most hours of a query: 88 kB of the 256 kB that its text may have."""
Conditions = Sequence[tuple[str, str, Sequence[str | None]]]
"""Conditions that a call meets all of: a field, a comparison and values."""
SECOND: Final = 1_000_000_000
HOUR: Final = "toStartOfHour(started_at)"
KEY: Final = ("provider", "model", "id")
"""The columns by which the table is sorted within an hour."""


Parts = Mapping[str, Sequence[int]]
"""When the parts of time begin that a report groups by, in nanoseconds since 1970, by the names of their fields."""


def stretches(since: int | None, until: int | None, parts: Parts) -> Iterator[tuple[int | None, int | None, Parts]]:
    """Yield the stretches of a period, each with the parts of time that it touches, of which a query may have so many.

    They are cut where parts begin, so no group is in two of them. A stretch without parts has no calls and is left out.
    """
    longest = max(parts.values(), key=len, default=())
    for begin, end in pairwise([since, *longest[_MOST_PARTS::_MOST_PARTS], until]):
        touched = {name: _within(edges, begin, end) for name, edges in parts.items()}
        if all(touched.values()):
            yield begin, end, touched


def _within(edges: Sequence[int], since: int | None, until: int | None) -> Sequence[int]:
    first = 0 if since is None else max(bisect_right(edges, since) - 1, 0)
    return edges[first : None if until is None else bisect_left(edges, until)]


class Parameters:
    """The values of a query. What a user gave is written into its text as hexadecimal digits only."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._size = 0

    def add(self, value: str, kind: str = "String") -> str:
        """Return the expression of a value."""
        self._size += len(value.encode())
        if self._size > _MOST_BYTES or len(self.values) >= _MOST_VALUES:
            text = f"unhex('{value.encode().hex()}')"
            return text if kind == "String" else f"CAST({text}, '{kind}')"
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def field(self, name: str) -> str:
        """Return the expression of a field. `check_query` has accepted the name."""
        return f"tags[{self.add(name[4:])}]" if name.startswith("tag:") else f"`{name}`"

    def part(self, edges: Sequence[int]) -> str:
        """Return the expression of the beginning of a part of time, in seconds. Zones begin their parts at whole seconds."""
        # Numbers, in the text of the query because they are too many for a URL.
        begins = f"[{','.join(str(edge // SECOND) for edge in edges)}]"
        return f"roundDown(intDiv(toUnixTimestamp64Nano(started_at), {SECOND}), {begins})"

    def where(self, since: int | None, until: int | None, conditions: Conditions, after: tuple[Any, ...] | None = None) -> str:
        """Return the clause of a selection; empty for all calls. `after` is where a page ends: an hour and the columns of `KEY`."""
        found = [
            f"started_at {sign} fromUnixTimestamp64Nano({self.add(str(min(time, 2**63 - 1)), 'Int64')}, 'UTC')"
            for sign, time in ((">=", since), ("<", until))
            if time is not None
        ]
        if after is not None:
            hour, provider, model, last = after
            begin = f"toDateTime({self.add(str(hour), 'UInt32')}, 'UTC')"
            # The first condition uses the key of the table.
            found.append(f"{HOUR} >= {begin}")
            last_key = f"{begin}, {self.add(provider)}, {self.add(model)}, {self.add(last, 'UUID')}"
            found.append(f"({HOUR}, {', '.join(KEY)}) > ({last_key})")
        found.extend(self._condition(*condition) for condition in conditions)
        return f"WHERE {' AND '.join(found)}" if found else ""

    def _condition(self, name: str, sign: str, values: Iterable[str | None]) -> str:
        if name.startswith("tag:") or name in _TEXTS:
            field = self.field(name)
            if sign == "~":
                parts = (f"position(lowerUTF8({field}), {self.add((value or '').lower())}) > 0" for value in values)
                return f"({' OR '.join(parts)})"
            marks = ", ".join(self.add(value or "") for value in values)
            return f"{field} {'NOT ' if sign == '!=' else ''}IN ({marks})"
        parts = (self._number(name, "=" if sign == "!=" else sign, value) for value in values)
        return f"{'NOT ' if sign == '!=' else ''}({' OR '.join(parts)})"

    def _number(self, name: str, sign: str, value: str | None) -> str:
        field = _NUMBERS.get(name, name)
        if value is None:
            return f"isNull({field})"
        given = f"toDecimal128({self.add(value)}, 24)" if name == "cost_usd" else self.add(value, "Float64")
        return f"ifNull({field} {sign} {given}, 0)"
