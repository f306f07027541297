"""The panel of calls, and one call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any, Final

from ..fields import unknown_name
from ..ledger import Report
from ..types import Event
from .answers import about, report_of
from .http import RequestError
from .source import Redaction, Source
from .state import State

__all__ = ["call", "calls"]

_SAME_TIME: Final = 64
_REPRICED: Final = ("repriced_at", "cost_usd", "cost_status", "computed_cost_usd", "cost_notes", "priced_as", "catalog")
_SORTS: Final = ("cost_usd", "latency_ms")
_MOST_SORTED: Final = timedelta(days=31)
"""Sorting reads every call of the period."""


def calls(source: Source, state: State, redaction: Redaction) -> dict[str, Any]:
    """Return a page of calls, and where the next page begins: the newest first, or with `sort` those with the highest values."""
    report = report_of(source, state, ())
    if state.sort:
        return _highest(source, state, redaction, report)
    found, more = _page(source, state)
    last = f"{found[-1]['started_at']}~{found[-1]['id']}" if found and more else None
    return {
        "rows": [redaction.event(event) for event in found],
        "next": last,
        "next_offset": None,
        "total": report.total.calls,
        **about(report),
    }


def _highest(source: Source, state: State, redaction: Redaction, report: Report) -> dict[str, Any]:
    if state.sort not in _SORTS:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"sort: {unknown_name(state.sort, _SORTS)}")
    until = report.until or datetime.now(timezone.utc)
    if report.since is None or until - report.since > _MOST_SORTED + timedelta(minutes=1):
        message = f"sort: calls are sorted by {state.sort} within {_MOST_SORTED.days} days; choose a shorter period"
        raise RequestError(HTTPStatus.BAD_REQUEST, message)
    found = source.highest(state.sort, state.limit + 1, offset=state.offset, since=report.since, until=state.until, where=state.where)
    following = state.offset + state.limit if len(found) > state.limit else None
    rows = [redaction.event(event) for event in found[: state.limit]]
    return {"rows": rows, "next": None, "next_offset": following, "total": report.total.calls, **about(report)}


def call(source: Source, event_id: str, redaction: Redaction, explain: Callable[[Event], str | None]) -> dict[str, Any]:
    """Return one call, the explanation of its cost, and the figures that a repricing replaced, the oldest first.

    Args:
        source: The source.
        event_id: The whole id of its event.
        redaction: What is not shown.
        explain: Returns how the cost of a call comes about; `None` if that is not known.

    Raises:
        RequestError: There is no such call.
    """
    event = source.find(event_id)
    if event is None or event["id"] != event_id:
        raise RequestError(HTTPStatus.NOT_FOUND, f"there is no call {event_id!r}")
    before = [redaction.event(one) for one in _repricings(source, event_id)] if source.is_file else None
    explanation = None if redaction.hides_prices else explain(event)
    return {"schema_version": 1, "call": redaction.event(event), "explanation": explanation, "repricings": before}


def _repricings(source: Source, event_id: str) -> list[dict[str, Any]]:
    columns = ", ".join(_REPRICED)
    rows = source.query(f"SELECT {columns} FROM repricings WHERE id = ? ORDER BY seq", [event_id])  # noqa: S608 - a constant
    before = [dict(zip(_REPRICED, row, strict=True)) for row in rows]
    for one in before:
        one["repriced_at"] = datetime.fromtimestamp(one["repriced_at"] / 1e9, timezone.utc).isoformat()
    return before


def _page(source: Source, state: State) -> tuple[list[Event], bool]:
    """Return a page of calls, and whether there are more."""
    if not state.after:
        found = list(source.newest(state.limit + 1, since=state.since, until=state.until, where=state.where))
        return found[: state.limit], len(found) > state.limit
    text, _, event_id = state.after.partition("~")
    try:
        # Moments have microseconds, so the page begins with calls of the same microsecond, which are skipped.
        until = datetime.fromisoformat(text[:26] + "+00:00") + timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"after: {state.after!r} is not a `next` of a page") from None
    more = _SAME_TIME
    while True:
        found = list(source.newest(state.limit + 1 + more, since=state.since, until=until, where=state.where))
        place = next((index for index, event in enumerate(found) if event["id"] == event_id), None)
        if place is not None and (len(found) - place > state.limit + 1 or len(found) < state.limit + 1 + more):
            rest = found[place + 1 :]
            return rest[: state.limit], len(rest) > state.limit
        if len(found) < state.limit + 1 + more:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"after: there is no call {event_id!r} in the period")
        more *= 4
