"""Shows reports in notebooks: as a table, and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from typing import TYPE_CHECKING, Final

from ..chart import Chart, bars, lines, ranking, sparkline
from ..fields import unknown_name
from ..sanitize import printable
from ..scale import Unit
from ..table import Column
from .series import cost_by, series, time_of

if TYPE_CHECKING:
    from .report import Report

__all__ = ["html", "period", "plot", "ticks"]

_MOST_BARS: Final = 750
"""More would be thinner than a pixel in a notebook."""
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
    if any(getattr(row, metric) is None for row in report.rows):
        raise ValueError(f"metric: {metric} is unknown: the table has no column for it; run taximeter clickhouse init")
    unit: Unit = "USD" if metric.endswith("_usd") else ""
    time = time_of(report)
    heading = _TITLES.get(metric, metric.replace("_", " ").capitalize())
    if title is None:
        title = f"{heading} by {' and '.join(report.by)}" if report.by else heading
        if metric == "cost_usd" and report.total.unpriced:
            title += f" ({report.total.unpriced:,} of {report.total.calls:,} calls have no price)"
    found = series(report, metric, top)
    if time is None:
        values = [numbers[0] for numbers in found.values.values()]
        return ranking(list(found.values), values, title=title, unit=unit, rest=found.rest)
    if len(found.bins) > _MOST_BARS:
        raise ValueError(
            f"by: a chart of {len(found.bins):,} {time}s is too wide; the most are {_MOST_BARS}; "
            "choose a longer unit or a shorter period"
        )
    return _KINDS[kind](found.bins, found.values, title=title, unit=unit, ticks=ticks(time, found.bins), rest=found.rest)


def html(report: Report, columns: Sequence[Column], summary: str) -> str:
    """Return a report as a table of HTML, in the colours of the page that shows it.

    Args:
        report: The report, with all rows.
        columns: The columns to show.
        summary: What the report is about.
    """
    time, trend = time_of(report), ""
    if time is not None:
        sums = cost_by(report, time)
        trend = sparkline(sums, title=f"Cost by {time}", unit="USD").markup if len(sums) > 1 else ""
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


def ticks(unit: str, labels: Sequence[str]) -> list[str]:
    """Return short forms of the labels of hours, days, weeks or months."""
    return [_tick(unit, label) for label in labels]


def _tick(unit: str, label: str) -> str:
    """Return a short form of a label."""
    if unit == "week":
        return label[5:]
    if unit == "month":
        return f"{_MONTHS[int(label[5:7]) - 1]} {label[:4]}"
    day = date.fromisoformat(label[:10])
    is_hour = unit == "hour" and label[11:16] != "00:00"
    return label[11:16] if is_hour else f"{day.day} {_MONTHS[day.month - 1]}"
