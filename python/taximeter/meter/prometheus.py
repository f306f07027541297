"""The counts of `stats()` and of budgets as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ..errors import TaximeterError
from ..exposition import Family, Sample
from ..ledger import Ledger
from ..ledger.metrics import families as of_calls
from ..ledger.metrics import table_families

__all__ = ["UNREADABLE", "families", "of_ledger", "of_source"]


class _Metric(NamedTuple):
    """A metric: its name, its key in `stats()`, and its description."""

    name: str
    key: str
    text: str
    """The description."""
    label: str = ""
    """The label that distinguishes the counts of a group."""

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        return "counter" if self.name.endswith("_total") else "gauge"


_PROCESS: Final = (
    _Metric("taximeter_tracked_total", "tracked", "Events tracked."),
    _Metric("taximeter_refused_total", "refused", "Events that were not recorded, by reason.", "reason"),
    _Metric("taximeter_remarks_total", "remarks", "Problems of recorded events, by kind.", "remark"),
    _Metric("taximeter_corrupt_records_total", "corrupt_records", "Damaged and lost records of journals."),
    _Metric("taximeter_lost_records_total", "lost_records", "Those of them that are missing entirely."),
    _Metric("taximeter_journal_tier", "tier", "Where events are kept until they are delivered.", "tier"),
    _Metric("taximeter_journal_bytes", "journal_bytes", "Bytes of the journal on disk."),
    _Metric("taximeter_journal_memory_bytes", "memory_bytes", "Bytes of the journal in memory."),
    _Metric("taximeter_journal_budget_bytes", "budget_bytes", "The most bytes that the journal may take on disk."),
    _Metric("taximeter_journal_seconds_to_full", "seconds_to_full", "Seconds until the budget is used up at the current growth."),
)
_DESTINATION: Final = (
    _Metric("taximeter_destination_pending", "pending", "Events waiting for the destination."),
    _Metric("taximeter_destination_oldest_seconds", "oldest_seconds", "Age of the oldest waiting event."),
    _Metric("taximeter_destination_state", "state", "State: closed, open (one request at a time), paused.", "state"),
    _Metric("taximeter_destination_delivered_total", "delivered", "Events that the destination accepted."),
    _Metric("taximeter_destination_duplicates_total", "duplicates", "Events that the destination already had."),
    _Metric("taximeter_destination_retries_total", "retries", "Requests that were sent again."),
    _Metric("taximeter_destination_failures_total", "failures", "Requests, or batches, that failed."),
    _Metric("taximeter_destination_lost_total", "lost", "Events that the destination will not get, by reason.", "reason"),
)
_BUDGETS: Final = (
    _Metric("taximeter_budget_calls_total", "calls", "Calls that budgets were asked about or charged with, by outcome.", "outcome"),
    _Metric("taximeter_budget_unavailable_total", "unavailable", "How often the counts of budgets could not be read or written."),
    _Metric("taximeter_budget_dropped_total", "dropped", "Charges that were lost."),
    _Metric("taximeter_budget_waiting", "waiting", "Charges that wait in memory for the lock."),
)
_OUTCOMES: Final = ("admitted", "refused", "unpriced", "abandoned", "unestimated")
_STANDINGS: Final = (
    _Metric("taximeter_budget_limit", "amount", "What may be used in the period, in the budget's unit."),
    _Metric("taximeter_budget_used", "used", "What is charged in the period."),
    _Metric("taximeter_budget_ratio", "ratio", "What is charged in the period, as a part of the limit."),
    _Metric("taximeter_budget_held", "held", "What calls in flight hold."),
)
MOST_KEYS: Final = 1_000
"""The most keys of budgets that have metrics, those closest to their limit."""
_PUBLIC_KEYS: Final = frozenset({"agent", "feature", "team", "provider", "model"})
"""The fields whose values may be labels. Of budgets by others, such as customers, only the key closest to its limit has metrics,
without its name: the others are too many, and may be persons."""
_PROCESS_LABELS: Final = frozenset({"journal", "pid"})
"""The labels of one process. Counters are sums over all processes without them: when a process ends, its counts move to those of
ended processes, and a query over both would count them twice."""
_REASONS: Final = ("rejected", "dead", "dropped", "expired", "evicted", "unreadable")


_Processes = Sequence[tuple[Mapping[str, str], Mapping[str, Any]]]


def families(
    processes: Iterable[tuple[Mapping[str, str], Mapping[str, Any]]], standings: Iterable[Mapping[str, Any]] = ()
) -> list[Family]:
    """Return the metrics of several processes.

    Args:
        processes: The labels and the `stats()` of each process. Values that are `None` or absent are left out.
        standings: What is used of the budgets, see `Engine.standings`; the counts are those of all processes.
    """
    found = list(processes)
    destinations = [
        (
            {**labels, "destination": name, "host": one.get("host") or ""},
            {**one, "lost": {reason: one[reason] for reason in _REASONS if reason in one}},
        )
        for labels, stats in found
        for name, one in stats.get("destinations", {}).items()
    ]
    budgets = [
        (labels, {**one, "calls": {outcome: one[outcome] for outcome in _OUTCOMES if outcome in one}})
        for labels, stats in found
        if (one := stats.get("budgets")) is not None
    ]
    keys = [({"budget": one["budget"], "key": key, "unit": one["unit"]}, one) for key, one in _fullest(standings)]
    groups = ((_PROCESS, found), (_DESTINATION, destinations), (_BUDGETS, budgets), (_STANDINGS, keys))
    return [_family(metric, samples) for metrics, samples in groups for metric in metrics]


def of_ledger(path: Path, by: Sequence[str], timezone: str | tzinfo = "UTC") -> list[Family]:
    """Return the metrics of the calls in a ledger, and whether it could be read.

    Args:
        path: The ledger's file.
        by: More labels, of `taximeter.ledger.metrics.MORE_LABELS`.
        timezone: The zone of the month and of the days of its forecast.

    Raises:
        ValueError: There is no such label.
    """
    try:
        own = Ledger(path, timezone=timezone)
    except TaximeterError:  # a subinterpreter has no ledger
        return UNREADABLE
    return of_source(own, by)


def of_source(own: Any, by: Sequence[str]) -> list[Family]:
    """Return the metrics of the calls in a ledger, and whether it could be read. Those of a table in ClickHouse are others.

    Args:
        own: The ledger.
        by: More labels, of `taximeter.ledger.metrics.MORE_LABELS`.

    Raises:
        ValueError: There is no such label.
    """
    try:
        found = of_calls(own, by) if own.is_file else table_families(own, by)
    except TaximeterError:
        return UNREADABLE
    return [_readable(is_well=True), *found]


def _readable(*, is_well: bool) -> Family:
    return Family("taximeter_ledger_readable", "gauge", "Whether the ledger could be read.", [Sample({}, int(is_well))])


UNREADABLE: Final = [_readable(is_well=False)]
"""The metrics of a ledger that cannot be read."""


def _fullest(standings: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the keys of budgets that have metrics as they are shown, and what is used of each, those closest to their limit first."""
    shown: set[tuple[str, str]] = set()
    for one in sorted(standings, key=lambda one: -one["percent"]):
        by = one.get("by")
        key = "/".join(one["key"]) if by is not None and _PUBLIC_KEYS.issuperset(by) else ""
        if (one["budget"], key) not in shown and len(shown) < MOST_KEYS:
            shown.add((one["budget"], key))
            yield key, {**one, "ratio": one["percent"] / 100}


def _family(metric: _Metric, processes: _Processes) -> Family:
    samples = [Sample(*sample) for labels, stats in processes for sample in _values(metric, labels, stats)]
    return Family(metric.name, metric.kind, metric.text, _summed(samples) if metric.kind == "counter" else samples)


def _summed(samples: Iterable[Sample]) -> list[Sample]:
    """Return the sums of counters over processes."""
    sums: dict[tuple[tuple[str, str], ...], Any] = {}
    for labels, value, _ in samples:
        key = tuple((name, text) for name, text in labels.items() if name not in _PROCESS_LABELS)
        sums[key] = sums.get(key, 0) + value
    return [Sample(dict(key), value) for key, value in sums.items()]


def _values(metric: _Metric, labels: Mapping[str, str], stats: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, str], Any]]:
    value = stats.get(metric.key)
    if isinstance(value, Mapping):
        yield from (({**labels, metric.label: name}, count) for name, count in value.items())
    elif isinstance(value, str) and metric.label:
        yield {**labels, metric.label: value}, 1
    elif value is not None:
        yield labels, value
