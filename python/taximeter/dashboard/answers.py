"""What all panels have in common: the report of a request, and what its answer says of the period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ledger import Report
from ..ledger.filters import Condition
from .source import Source
from .state import State

__all__ = ["about", "part_of", "report_of"]


def report_of(source: Source, state: State, by: Sequence[str], more: Sequence[tuple[str, Condition]] = ()) -> Report:
    """Return the report that a request asks for, by these fields, with more conditions."""
    return source.report(by, since=state.since, until=state.until, where=(*state.where, *more), tz=state.zone)


def part_of(source: Source, state: State, sort: str, limit: int, offset: int = 0) -> Report:
    """Return some of the groups in an order."""
    by = (state.by,) if state.by else ()
    return source.report(
        by, since=state.since, until=state.until, where=state.where, tz=state.zone, sort=sort, limit=limit, offset=offset
    )


def about(report: Report) -> Mapping[str, Any]:
    """Return what every panel says of its report."""
    return {
        "schema_version": 1,
        "since": None if report.since is None else report.since.isoformat(),
        "until": None if report.until is None else report.until.isoformat(),
        "timezone": report.timezone,
        "unpriced": report.total.unpriced,
    }
