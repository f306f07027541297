"""Turns the rows of a report into series of numbers over time, for charts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from ..scale import Number
from ..table import EXACT
from ..zones import UNITS, named_zone, parts, span

if TYPE_CHECKING:
    from .report import Report

__all__ = ["ABSENT", "Series", "cost_by", "series", "time_of"]

Sums = Mapping[str, Decimal]

ABSENT: Final = "–"
"""The name of the group of calls without the field."""
_MOST_SERIES: Final = 8
"""The number of colours."""
_MOST_GROUPS: Final = 20


class Series(NamedTuple):
    """The sums of a report by group and time."""

    bins: list[str]
    """The labels of all hours, days, weeks or months of the period; one empty label if the report has none."""
    values: dict[str, list[Number]]
    """The values of each group, one for each bin. A cost is `None` if none of the group's calls has one, and what caching saved is
    if it is unknown."""
    rest: str
    """The name of the group that sums up all others; empty if every group has a name of its own."""


def time_of(report: Report) -> str | None:
    """Return the first field of a report that is a time."""
    return next((field for field in report.by if field in UNITS), None)


def series(report: Report, metric: str, top: int | None = None) -> Series:
    """Return the sums of a report over time, the greatest groups first.

    Args:
        report: The report.
        metric: The sum.
        top: How many groups have their own name; `None` for as many as are legible.
    """
    time, is_cost, is_amount = time_of(report), metric == "cost_usd", metric.endswith("_usd")
    groups = [field for field in report.by if field != time]
    sums: dict[str, dict[str, Decimal]] = {}
    known = set()
    for row in report.rows:
        group = " · ".join(ABSENT if row.key[field] is None else str(row.key[field]) for field in groups) or metric
        value = getattr(row, metric)
        _add(sums.setdefault(group, {}), row.key[time] or "" if time else "", Decimal(0 if value is None else value))
        if (row.calls > row.unpriced) if is_cost else (value is not None):
            known.add(group)
    shown, rest = _folded(sums, top or (_MOST_SERIES if time else _MOST_GROUPS))

    def number(name: str, value: Decimal) -> Number:
        if not is_amount:
            return int(value)
        return value if name in known or (name == rest and known) else None

    bins = _bins(report, time) if time else [""]
    return Series(bins, {name: [number(name, of.get(label, Decimal(0))) for label in bins] for name, of in shown.items()}, rest)


def cost_by(report: Report, unit: str) -> list[Decimal]:
    """Return the cost of each hour, day, week or month of the period."""
    sums: dict[str, Decimal] = {}
    for row in report.rows:
        _add(sums, row.key[unit] or "", row.cost_usd)
    return [sums.get(label, Decimal(0)) for label in _bins(report, unit)]


def _add(sums: dict[str, Decimal], label: str, value: Decimal) -> None:
    # The caller's own decimal context may round.
    sums[label] = EXACT.add(sums.get(label, Decimal(0)), value)


def _folded(series: Mapping[str, Sums], top: int) -> tuple[dict[str, Sums], str]:
    """Return the greatest series and the sum of all others, and the name of the latter, which is empty if there are no others."""
    ordered = sorted(series, key=lambda name: sum(map(float, series[name].values())), reverse=True)
    # One series takes no more space than "1 others".
    if len(ordered) <= top + 1:
        return {name: series[name] for name in ordered}, ""
    others: dict[str, Decimal] = {}
    for name in ordered[top:]:
        for label, value in series[name].items():
            _add(others, label, value)
    rest = f"{len(ordered) - top:,} others"
    while rest in ordered[:top]:
        rest += "'"
    return {**{name: series[name] for name in ordered[:top]}, rest: others}, rest


def _bins(report: Report, unit: str) -> list[str]:
    """Return the labels of all hours, days, weeks or months of the period, also of those without calls."""
    present = list(dict.fromkeys(row.key[unit] or "" for row in report.rows))
    if not present and report.since is None:
        return []
    try:
        # Days, weeks and months have the same labels in every zone.
        place = named_zone(report.timezone) if unit == "hour" else timezone.utc
        ordered = sorted(present)
        ends = [end for label in (ordered[:1] + ordered[-1:]) for end in span("", unit, label, place)]
        if report.since is not None:
            ends += [_unix_ns(report.since, unit), _unix_ns(report.until or datetime.now(report.since.tzinfo), unit)]
        labels = parts(unit, min(ends), max(ends), place)[1]
    except ValueError:
        return present
    return labels if set(present) <= set(labels) else present


def _unix_ns(moment: datetime, unit: str) -> int:
    """Return a moment in nanoseconds since 1970: for days, weeks and months, the one at which UTC has the same date and time."""
    shown = moment if unit == "hour" else moment.replace(tzinfo=timezone.utc)
    return int(shown.timestamp()) * 1_000_000_000
