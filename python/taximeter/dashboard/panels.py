"""The data of the panels, as values for JSON. Amounts are texts, so that no reader rounds them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from .. import __version__
from ..budgets.pace import pace
from ..ledger import Report, Row
from ..ledger.forecast import daily_costs, forecast
from ..ledger.report import less
from ..ledger.series import ABSENT, Series, series
from ..ledger.where import GROUPS, NUMBERS
from ..moments import unix_ns
from ..scale import Number
from ..zones import UNITS
from .answers import about, part_of, report_of
from .calls import calls
from .http import RequestError
from .prices import remedy
from .source import Redaction, Source
from .state import METRICS, State

__all__ = ["PANELS", "budgets", "first", "latency_series_of", "ranked", "series_of"]

_MOST_BINS: Final = 750
_MANY: Final = frozenset({"customer", "user", "session", "trace_id", "call_id"})
"""Fields that may have as many values as there are calls. So may tags."""
_BINS: Final = ((timedelta(days=3), "hour"), (timedelta(days=120), "day"), (timedelta(days=900), "week"))
"""The units of `auto`, by the longest period that has them."""
_MOST_BUDGETS: Final = 500
_MOST_REMEDIES: Final = 50
"""The most models whose nearest names are looked up."""
_FRACTIONS: Final = (0.5, 0.95, 0.99)
_ONLY_FILES: Final = ("arrivals", "counters", "repricings")
"""What a ledger in ClickHouse cannot tell: when calls arrived, counters that never fall, and what repricings replaced."""


def meta(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return the fields that requests may name, and when the first and the last call began."""
    return _meta(source, state, redaction, report_of(source, state, ()))


def _meta(source: Source, state: State, redaction: Redaction, report: Report) -> dict[str, Any]:
    ends = source.period()
    lacks = [] if source.is_file else [*_ONLY_FILES, *(["cache_saved_usd"] if report.total.cache_saved_usd is None else [])]
    return {
        "version": __version__,
        "ledger": source.place,
        "fields": [*GROUPS, "tag:KEY"],
        "numbers": list(NUMBERS),
        "metrics": list(METRICS),
        "bins": ["auto", *UNITS],
        "panels": sorted({*PANELS, "budgets"}),
        "redacted": sorted(redaction.fields),
        "lacks": lacks,
        "first": None if ends is None else ends[0].astimezone(state.zone).isoformat(),
        "last": None if ends is None else ends[1].astimezone(state.zone).isoformat(),
        **about(report),
    }


def summary(source: Source, state: State, _: Redaction) -> dict[str, Any]:
    """Return the sums of the period, of the period of the same length before, and of the last hour, and what the month will cost.

    There is no forecast for a part of the calls.
    """
    report = report_of(source, state, ())
    return {**_sums(source, state, report), **_durations(source, state, report), **about(report)}


def first(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return what the page needs before all else, `meta` and the sums of `summary`, in one answer.

    The query is that of the page's address. The durations come with `latency`, because they take fifty times as long as the sums.
    """
    report = report_of(source, state, ())
    return {**_meta(source, state, redaction, report), **_sums(source, state, report)}


def _sums(source: Source, state: State, report: Report) -> dict[str, Any]:
    before = None
    if report.since is not None:
        until = report.until or datetime.now(state.zone)
        start = report.since - (until - report.since)
        if state.is_whole:
            start = start.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
        earliest = datetime.fromtimestamp(0, timezone.utc)
        before = source.report((), since=max(start, earliest), until=report.since, where=state.where, tz=state.zone).to_dict()[
            "total"
        ]
    hour = source.report((), since=timedelta(hours=1), where=state.where, tz=state.zone).total
    return {
        "total": report.to_dict()["total"],
        "before": before,
        "last_hour_usd": format(hour.cost_usd, "f"),
        "forecast_usd": None if state.where else _forecast(source, state),
    }


def _durations(source: Source, state: State, report: Report) -> dict[str, Any]:
    """Return percentiles of all calls of the period."""
    return {
        "latency_p95_ms": _percentile(source, state, report, "latency_ms", 0.95),
        "ttft_p50_ms": _percentile(source, state, report, "ttft_ms", 0.5),
    }


def _percentile(source: Source, state: State, report: Report, what: str, fraction: float) -> float | None:
    """Return a percentile of all durations of the period in milliseconds; `None` without one."""
    found = source.percentiles(what, (), fractions=(fraction,), since=report.since, until=report.until, where=state.where)
    return _rounded(found[0].values[0]) if found else None


def _forecast(source: Source, state: State) -> list[str] | None:
    """Return the range of the cost of this month; `None` with too few days."""
    now = datetime.now(state.zone)
    month = source.report((), since="this-month", tz=state.zone).total
    expected = forecast(month.cost_usd, daily_costs(source, now, state.zone), now)
    return None if expected is None else [format(expected.low_usd, "f"), format(expected.high_usd, "f")]


def series_of(source: Source, state: State, redaction: Redaction) -> tuple[str, Report, Series]:
    """Return the unit of the bins, the report and its series.

    Raises:
        RequestError: The period has too many bins.
    """
    unit = state.by if state.by in UNITS else state.bin if state.bin != "auto" else _bin(source, state)
    if state.by in _MANY or state.by.startswith("tag:"):
        report, found = _series_of_many(source, state, redaction, unit)
    else:
        groups = [] if state.by in {"", unit} else [state.by]
        report = _redacted(report_of(source, state, (unit, *groups)), redaction)
        found = series(report, state.metric, state.top)
    _checked(unit, found.bins)
    return unit, report, found


def _series_of_many(source: Source, state: State, redaction: Redaction, unit: str) -> tuple[Report, Series]:
    """Return the report and the series of a field with very many values: only the greatest groups are read by time."""
    whole = report_of(source, state, (unit,))
    _checked(unit, series(whole, state.metric).bins)
    # One series takes no more space than "1 others".
    first = part_of(source, state, state.metric, state.top + 1)
    chosen = first.rows if not first.left_out else first.rows[: state.top]
    names = [row.key[state.by] for row in chosen]
    more = ((state.by, names),) if first.left_out else ()
    report = _redacted(report_of(source, state, (unit, state.by), more), redaction)
    if not first.left_out:
        return report, series(report, state.metric, state.top)
    rest = f"{first.groups - len(names):,} others"
    while rest in {row.key[state.by] for row in report.rows}:
        rest += "'"
    shown: dict[str | None, list[Row]] = {}
    for row in report.rows:
        shown.setdefault(row.key[unit], []).append(row)
    others = (replace(less(row, shown.get(row.key[unit], ())), key={unit: row.key[unit], state.by: rest}) for row in whole.rows)
    combined = replace(report, rows=(*report.rows, *others), total=whole.total)
    found = series(combined, state.metric, len(names) + 1)
    last: list[Number] = [Decimal(0) if value is None else value for value in found.values[rest]]
    values = {name: numbers for name, numbers in found.values.items() if name != rest}
    return combined, Series(found.bins, {**values, rest: last}, rest)


def series_panel(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return the sums of the greatest groups over time."""
    unit, report, found = series_of(source, state, redaction)
    shown = [
        {"name": name, "is_rest": name == found.rest, "values": [_value(value) for value in values]}
        for name, values in found.values.items()
    ]
    return {
        "metric": state.metric,
        "by": state.by,
        "bin": unit,
        "bins": found.bins,
        "series": shown,
        "absent": ABSENT,
        **about(report),
    }


def top(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return the rows of a page of groups, the sum of all others, and the sum of all."""
    sort = state.sort or state.metric
    try:
        if sort.removeprefix("-") in redaction.fields:
            # The order of the values would tell what they are.
            everything = _redacted(report_of(source, state, (state.by,) if state.by else ()), redaction)
            report = everything.sorted_by(sort).page(state.limit, state.offset)
        else:
            report = _redacted(part_of(source, state, sort, state.limit, state.offset), redaction)
    except ValueError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
    found = report.to_dict()
    page = {"rows": found["rows"], "other": found.get("others"), "groups": report.groups, "total": found["total"]}
    return {"by": state.by, **page, **about(report)}


def ranked(source: Source, state: State, redaction: Redaction) -> tuple[list[str], list[Number], str]:
    """Return the names of the rows of a page of groups, their values of the metric, and the name of all others, which are last."""
    page = top(source, state, redaction)
    names = [ABSENT if row.get(state.by) is None else str(row[state.by]) for row in page["rows"]]
    values: list[Number] = [_number(row, state.metric) for row in page["rows"]]
    if page["other"] is None:
        return names, values, ""
    rest = f"{page['groups'] - len(names):,} others"
    return [*names, rest], [*values, _number(page["other"], state.metric)], rest


def _number(row: Mapping[str, Any], metric: str) -> Number:
    """Return the value of a metric, which is `None` for the cost of calls of which none has one."""
    if metric == "cost_usd" and row["unpriced"] == row["calls"]:
        return None
    return Decimal(row[metric])


def errors(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return the failed calls by the class of the error and the model."""
    return _selected(source, state, redaction, ("error", "provider", "model"), (("status", "error"),))


def unpriced(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return the calls whose cost is unknown, by model, each with the nearest names of the catalog and what to do about it."""
    found = _selected(source, state, redaction, ("provider", "model"), (("cost_status", "unpriced"),))
    rows = found["rows"][:_MOST_REMEDIES]
    # The names of the catalog that are nearest to a code say nothing.
    return found if redaction.hides_prices else {**found, "rows": [{**row, **remedy(row["provider"], row["model"])} for row in rows]}


def cache(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return how many input tokens came from a cache, by model."""
    report = _redacted(report_of(source, state, ("provider", "model")), redaction).sorted_by("cache_read_tokens")
    rows = [
        {**row, "cached_share": row["cache_read_tokens"] / row["input_tokens"] if row["input_tokens"] else None}
        for row in report.to_dicts()
    ]
    return {"rows": rows[: state.limit], "total": report.to_dict()["total"], **about(report)}


def latency(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return percentiles of the latency and of the time to the first token, by model and of all calls."""
    report = report_of(source, state, ())

    def found(what: str) -> dict[str | None, dict[str, Any]]:
        groups = source.percentiles(what, ("model",), fractions=_FRACTIONS, since=report.since, until=report.until, where=state.where)
        names = [f"{'ttft_' if what == 'ttft_ms' else ''}p{fraction * 100:.0f}_ms" for fraction in _FRACTIONS]
        return {
            one.key["model"]: {"calls": one.calls, **{name: round(ms, 1) for name, ms in zip(names, one.values, strict=True)}}
            for one in groups
        }

    first_tokens = found("ttft_ms")
    rows = [
        {"model": redaction.value("model", model), **first_tokens.get(model, {}), **values}
        for model, values in found("latency_ms").items()
    ]
    return {"rows": rows[: state.limit], "total": _durations(source, state, report), **about(report)}


def latency_series_of(source: Source, state: State) -> tuple[str, Report, list[str], dict[str, list[Number]]]:
    """Return the unit of the bins, the report, the bins, and percentiles of the latency and the time to the first token in each.

    Raises:
        RequestError: The period has too many bins.
    """
    unit = state.bin if state.bin != "auto" else _bin(source, state)
    report = report_of(source, state, (unit,))
    bins = _checked(unit, series(report, "calls").bins)
    lines: dict[str, list[Number]] = {}
    for what, names in (("latency_ms", ("p50", "p95", "p99")), ("ttft_ms", ("first token p50",))):
        groups = source.percentiles(
            what,
            (unit,),
            fractions=_FRACTIONS[: len(names)],
            since=report.since,
            until=report.until,
            where=state.where,
            tz=state.zone,
        )
        found = {one.key[unit]: one.values for one in groups}
        for index, name in enumerate(names if found else ()):
            lines[name] = [found[label][index] if label in found else None for label in bins]
    return unit, report, bins, lines


def latency_series(source: Source, state: State, _: Redaction) -> dict[str, Any]:
    """Return percentiles of the latency and of the time to the first token over time, in milliseconds."""
    unit, report, bins, lines = latency_series_of(source, state)
    shown = [{"name": name, "is_rest": False, "values": [_rounded(value) for value in values]} for name, values in lines.items()]
    return {"metric": "latency_ms", "by": "", "bin": unit, "bins": bins, "series": shown, **about(report)}


def _rounded(value: Number) -> float | None:
    return None if value is None else round(float(value), 1)


def _checked(unit: str, bins: list[str]) -> list[str]:
    if len(bins) > _MOST_BINS:
        message = f"bin: the period has {len(bins):,} {unit}s, and the most are {_MOST_BINS}; choose a longer one"
        raise RequestError(HTTPStatus.BAD_REQUEST, message)
    return bins


def budgets(standings: Sequence[Mapping[str, Any]], redaction: Redaction) -> dict[str, Any]:
    """Return what is used of budgets, those that are closest to their limits first, and what their periods are expected to take.

    Args:
        standings: As `_core.Budgets.all_standings` has them.
        redaction: What is not shown. A key may be of any field, so each is replaced if any field is.
    """
    ordered = sorted(standings, key=lambda one: (-one["percent"], one["budget"], one["key"]))
    now = time.time()
    rows = []
    for one in ordered[:_MOST_BUDGETS]:
        key = [redaction.code("key", part) for part in one["key"]] if redaction.fields else one["key"]
        expected = pace(one, now)
        rows.append({**one, "key": key, "pace": None if expected is None else [*map(str, expected)]})
    return {"schema_version": 1, "rows": rows, "total": len(ordered)}


PANELS: Final = {
    "meta": meta, "summary": summary, "first": first, "series": series_panel, "top": top, "errors": errors, "unpriced": unpriced,
    "cache": cache, "calls": calls, "latency": latency, "latency-series": latency_series,
}  # fmt: skip
"""The panels by name. Each returns an object."""


def _selected(
    source: Source, state: State, redaction: Redaction, by: Sequence[str], more: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    report = _redacted(report_of(source, state, by, more), redaction).sorted_by("calls")
    return {"rows": report.to_dicts()[: state.limit], "groups": len(report), "total": report.to_dict()["total"], **about(report)}


def _redacted(report: Report, redaction: Redaction) -> Report:
    if redaction.fields.isdisjoint(report.by):
        return report
    rows = (replace(row, key={name: redaction.value(name, value) for name, value in row.key.items()}) for row in report.rows)
    return replace(report, rows=tuple(rows))


def _value(value: Number) -> str | float | None:
    return format(value, "f") if isinstance(value, Decimal) else value


def _bin(source: Source, state: State) -> str:
    """Return the unit of time that suits the period."""
    since, until = unix_ns("since", state.since, state.zone), unix_ns("until", state.until, state.zone)
    if since is None or until is None:
        ends = source.period()
        first, last = (ends[0], datetime.now(timezone.utc)) if ends else (None, None)
        since = since if since is not None else 0 if first is None else int(first.timestamp() * 1e9)
        until = until if until is not None else since if last is None else int(last.timestamp() * 1e9)
    length = timedelta(seconds=max(until - since, 0) / 1e9)
    return next((unit for most, unit in _BINS if length <= most), "month")
