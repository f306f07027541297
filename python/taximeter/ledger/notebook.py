"""Shows reports in notebooks: as a table, and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Final

from ..chart import Chart, bars, lines, ranking, sparkline
from ..fields import unknown_name
from ..sanitize import printable
from ..scale import Number, Unit
from ..table import EXACT, Column
from ..zones import UNITS, named_zone, parts, span

if TYPE_CHECKING:
    from .report import Report

__all__ = ["html", "period", "plot"]

Sums = Mapping[str, Decimal]

_ABSENT: Final = "–"
_MOST_BARS: Final = 750
"""More would be thinner than a pixel in a notebook."""
_MOST_SERIES: Final = 8
"""The number of colours."""
_MOST_GROUPS: Final = 20
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TITLES: Final = {"cost_usd": "Cost", "unpriced": "Calls without a price"}
_KINDS: Final = {"bars": bars, "lines": lines}


def plot(report: Report, metrics: Sequence[str], metric: str, kind: str, top: int | None, title: str | None) -> Chart:
    """Draw a report. See `Report.plot`.

    Args:
        report: The report.
        metrics: The names of the sums that its rows have.
        metric: The sum to show.
        kind: `bars` or `lines`.
        top: How many groups have their own name; `None` for as many as are legible.
        title: The title, or `None` for one that says what is shown.

    Raises:
        ValueError: An argument is invalid, or the report has too many hours or days.
    """
    for name, value, known in (("metric", metric, metrics), ("kind", kind, _KINDS)):
        if value not in known:
            raise ValueError(f"{name}: {unknown_name(value, known)}")
    if top is not None and top < 1:
        raise ValueError(f"top: {top!r} is less than 1")
    unit: Unit = "USD" if metric == "cost_usd" else ""
    time = next((field for field in report.by if field in UNITS), None)
    groups = [field for field in report.by if field != time]
    heading = _TITLES.get(metric, metric.replace("_", " ").capitalize())
    if title is None:
        title = f"{heading} by {' and '.join(report.by)}" if report.by else heading
        if unit and report.total.unpriced:
            title += f" ({report.total.unpriced:,} of {report.total.calls:,} calls have no price)"
    series: dict[str, dict[str, Decimal]] = {}
    has_cost = set()
    for row in report.rows:
        group = " · ".join(_ABSENT if row.key[field] is None else str(row.key[field]) for field in groups) or heading
        _add(series.setdefault(group, {}), row.key[time] or "" if time else "", Decimal(getattr(row, metric)))
        if row.calls > row.unpriced:
            has_cost.add(group)
    shown, rest = _folded(series, top or (_MOST_SERIES if time else _MOST_GROUPS))

    def number(name: str, value: Decimal) -> Number:
        if not unit:
            return int(value)
        return value if name in has_cost or name == rest else None

    if time is None:
        return ranking(list(shown), [number(name, sums[""]) for name, sums in shown.items()], title=title, unit=unit, rest=rest)
    labels = _labels(report, time)
    if len(labels) > _MOST_BARS:
        raise ValueError(
            f"by: a chart of {len(labels):,} {time}s is too wide; the most are {_MOST_BARS}; choose a longer unit or a shorter period"
        )
    values = {name: [number(name, sums.get(label, Decimal(0))) for label in labels] for name, sums in shown.items()}
    return _KINDS[kind](labels, values, title=title, unit=unit, ticks=[_tick(time, label) for label in labels], rest=rest)


def html(report: Report, columns: Sequence[Column], summary: str) -> str:
    """Return a report as a table of HTML, in the colours of the page that shows it.

    Args:
        report: The report, with all rows.
        columns: The columns to show.
        summary: What the report is about.
    """
    time = next((field for field in report.by if field in UNITS), None)
    trend = ""
    if time is not None and len(labels := _labels(report, time)) > 1:
        sums: dict[str, Decimal] = {}
        for row in report.rows:
            _add(sums, row.key[time] or "", row.cost_usd)
        values = [sums.get(label, Decimal(0)) for label in labels]
        trend = sparkline(values, title=f"Cost by {time}", unit="USD").markup
    cells = [[(column.is_text, printable(cell)) for cell in (column.name, *column.cells)] for column in columns]
    head, *body = zip(*cells, strict=True)
    foot = [_line("th", body.pop())] if report.by else []

    return (
        f'<table class="taximeter-report"><caption style="text-align:left">{escape(printable(summary))} {trend}</caption>'
        f"<thead>{_line('th', head)}</thead><tbody>{''.join(_line('td', line) for line in body)}</tbody>"
        f"<tfoot>{''.join(foot)}</tfoot></table>"
    )


def period(report: Report) -> str:
    """Return the period and the zone of a report for a person."""
    ends = [None if end is None else f"{end:%Y-%m-%d %H:%M}" for end in (report.since, report.until)]
    shown = {(True, True): "all calls", (True, False): f"until {ends[1]}", (False, True): f"since {ends[0]}"}
    return f"{shown.get((ends[0] is None, ends[1] is None), f'{ends[0]} to {ends[1]}')}, {report.timezone}"


def _line(tag: str, cells: Sequence[tuple[bool, str]]) -> str:
    shown = (f'<{tag} style="text-align:{"left" if is_text else "right"}">{escape(cell)}</{tag}>' for is_text, cell in cells)
    return f"<tr>{''.join(shown)}</tr>"


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


def _labels(report: Report, unit: str) -> list[str]:
    """Return the labels of all hours, days, weeks or months of the period, also of those without calls."""
    present = list(dict.fromkeys(row.key[unit] or "" for row in report.rows))
    if not present:
        return []
    try:
        # Days, weeks and months have the same labels in every zone.
        place = named_zone(report.timezone) if unit == "hour" else timezone.utc
        first, last = span("", unit, present[0], place)[0], span("", unit, present[-1], place)[1]
        if report.since is not None:
            first = min(first, _unix_ns(report.since, unit))
            last = max(last, _unix_ns(report.until or datetime.now(report.since.tzinfo), unit))
        labels = parts(unit, first, last, place)[1]
    except ValueError:
        return present
    return labels if set(present) <= set(labels) else present


def _unix_ns(moment: datetime, unit: str) -> int:
    """Return a moment in nanoseconds since 1970: for days, weeks and months, the one at which UTC has the same date and time."""
    shown = moment if unit == "hour" else moment.replace(tzinfo=timezone.utc)
    return int(shown.timestamp()) * 1_000_000_000


def _tick(unit: str, label: str) -> str:
    """Return a short form of a label."""
    if unit == "week":
        return label[5:]
    if unit == "month":
        return f"{_MONTHS[int(label[5:7]) - 1]} {label[:4]}"
    day = date.fromisoformat(label[:10])
    is_hour = unit == "hour" and label[11:16] != "00:00"
    return label[11:16] if is_hour else f"{day.day} {_MONTHS[day.month - 1]}"
