"""The order of a report's groups in ClickHouse, and the part of them that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..report import SUMS, Row, less, total
from .parameters import Parts

__all__ = ["Answer", "Group", "Page"]

Group = tuple[tuple[str | None, ...], tuple[Any, ...]]
"""The values of a group's fields, and its sums in the order of `SUMS`."""
Answer = tuple[list[Group], tuple[Any, ...], tuple[Any, ...], int]
"""The groups of a page, the sums of all other groups and those of all, and the number of groups."""


class Page(NamedTuple):
    """A part of the groups of a report; see `_core.LedgerReader.report`."""

    sort: str | None = None
    is_reversed: bool = False
    offset: int = 0
    limit: int | None = None
    is_last: bool = False

    def clauses(self, by: Sequence[str], parts: Parts, sums: Sequence[str], names: Sequence[str]) -> str:
        """Return the end of a query for groups: their order, and which of them.

        Args:
            by: The fields of the report.
            parts: Those of them that are parts of time.
            sums: The columns of the sums, in the order of `SUMS`. The last one may be missing.
            names: The columns of the fields.
        """
        times = [column for name, column in zip(by, names, strict=True) if name in parts]
        order = [(column, False) for column in times]
        order += [(sums[SUMS.index("cost_usd")], True), (sums[0], True)]
        order += [(column, False) for name, column in zip(by, names, strict=True) if name not in parts]
        if self.sort in by:
            column = names[by.index(self.sort)]
            # Absent values are last.
            first = [(column, False)] if self.sort in parts else [(f"{column} = ''", False), (column, False)]
        elif self.sort in SUMS[: len(sums)]:
            first = [(sums[SUMS.index(self.sort)], True)]
        else:
            first = []
        order = [(column, falls != self.is_reversed) for column, falls in first] + order
        text = ", ".join(f"{column}{' DESC' if falls != self.is_last else ''}" for column, falls in order)
        # Without a row, there would be no sums of all groups.
        limit = "" if self.limit is None else f" LIMIT {max(self.limit, 1)}"
        return f"ORDER BY {text}{limit}{f' OFFSET {self.offset}' if self.offset else ''}"

    def cut(self, groups: list[Group], by: Sequence[str], parts: Parts) -> Answer:
        """Return the page of all groups, which come in the order without `sort`."""
        ordered = groups
        if self.sort in by:
            index = by.index(self.sort)
            ordered = sorted(groups, key=lambda one: _place(one[0][index], self.sort in parts), reverse=self.is_reversed)
        elif self.sort in SUMS:
            index = SUMS.index(self.sort)
            ordered = sorted(groups, key=lambda one: one[1][index], reverse=not self.is_reversed)
        if self.is_last:
            ordered = ordered[::-1]
        shown = ordered[self.offset : None if self.limit is None else self.offset + self.limit]
        whole = total([Row({}, *sums) for _, sums in groups])
        rest = less(whole, [Row({}, *sums) for _, sums in shown])
        return shown[::-1] if self.is_last else shown, _sums(rest), _sums(whole), len(groups)


def _place(value: str | None, is_part: bool) -> tuple[bool, int | str]:
    return value is None, int(value or 0) if is_part else value or ""


def _sums(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in SUMS)
