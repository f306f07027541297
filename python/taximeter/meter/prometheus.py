"""Writes the counts of `stats()` in Prometheus' text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..sanitize import printable

__all__ = ["render"]


class _Metric(NamedTuple):
    """A metric: its name, its key in `stats()`, and its description."""

    name: str
    key: str
    text: str
    """The description."""
    label: str = ""
    """The label that distinguishes the counts of a group."""

    @property
    def kind(self) -> str:
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
    _Metric("taximeter_budget_held", "held", "What calls in flight hold."),
)
MOST_KEYS: Final = 1_000
"""The most keys of budgets that have metrics, those closest to their limit. A metric for each of 100,000 customers is too much."""
_REASONS: Final = ("rejected", "dead", "dropped", "expired", "evicted", "unreadable")


_Processes = Sequence[tuple[Mapping[str, str], Mapping[str, Any]]]


def render(processes: Iterable[tuple[Mapping[str, str], Mapping[str, Any]]], standings: Iterable[Mapping[str, Any]] = ()) -> str:
    """Render the metrics of several processes.

    Args:
        processes: The labels and the `stats()` of each process. Values that are `None` or absent are left out.
        standings: What is used of the budgets, see `_core.Budgets.standings`; the counts are those of all processes.
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
    fullest = sorted(standings, key=lambda one: -one["percent"])[:MOST_KEYS]
    keys = [({"budget": one["budget"], "key": "/".join(one["key"]), "unit": one["unit"]}, one) for one in fullest]
    groups = ((_PROCESS, found), (_DESTINATION, destinations), (_BUDGETS, budgets), (_STANDINGS, keys))
    return "".join(f"{line}\n" for metrics, samples in groups for line in _blocks(metrics, samples))


def _blocks(metrics: Iterable[_Metric], processes: _Processes) -> Iterator[str]:
    for metric in metrics:
        samples = [sample for labels, stats in processes for sample in _values(metric, labels, stats)]
        if samples:
            yield f"# HELP {metric.name} {metric.text}"
            yield f"# TYPE {metric.name} {metric.kind}"
            yield from (f"{metric.name}{_labels(labels)} {value}" for labels, value in samples)


def _values(metric: _Metric, labels: Mapping[str, str], stats: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, str], float | str]]:
    value = stats.get(metric.key)
    if isinstance(value, Mapping):
        yield from (({**labels, metric.label: name}, count) for name, count in value.items())
    elif isinstance(value, str) and metric.label:
        yield {**labels, metric.label: value}, 1
    elif value is not None:
        yield labels, value


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    inner = ",".join(f'{name}="{escaped(printable(value))}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""
