"""Calls, tokens, money and durations of a ledger as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from .. import _core
from ..errors import TaximeterError
from ..exposition import Family, Sample
from ..fields import unknown_name
from ..table import EXACT
from .deleted import DURATIONS, TOKENS, Key, Sums, of_deleted_calls
from .forecast import daily_costs, forecast
from .reader import Ledger
from .report import Row

__all__ = ["MORE_LABELS", "MOST", "OWN_LABELS", "check_labels", "families", "labels", "table_families"]

OWN_LABELS: Final = ("provider", "model", "operation", "status")
"""The labels of every series."""
MORE_LABELS: Final = ("agent", "feature", "team", "service_tier", "region", "error", "usage_status", "finish_reason")
"""The labels that can be added. Users, sessions and customers are too many, and may be persons. No label may change after a call is
recorded, as `cost_status` does, or counters would fall."""
MOST: Final = 2_000
"""The most combinations of labels. The calls of the others are counted under `other`."""
_OTHER: Final = "other"
_HISTOGRAMS: Final = (
    ("taximeter_latency_seconds", "Time to the last byte of the response. Its sum is within 4.5 %."),
    ("taximeter_ttft_seconds", "Time to the first token. Its sum is within 4.5 %."),
)
_BOUNDS: Final = tuple(2**power / 1e6 for power in range(13, 29))
"""The bounds of histograms in seconds: octaves from 8 ms to 268 s."""
_TOLERANCE: Final = 1 + 1e-9
"""Limits of buckets are rounded."""
_MIDDLE: Final = 2 ** (-1 / 16)
"""The middle of a bucket, as a part of its upper limit."""
_ZERO: Final = Decimal(0)


def labels(text: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_labels(by: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of calls, with those that are added.

    Raises:
        ValueError: There is no such label.
    """
    for name in by:
        if name not in MORE_LABELS:
            raise ValueError(f"metrics by: {unknown_name(name, MORE_LABELS)}")
    return (*OWN_LABELS, *dict.fromkeys(by))


def families(own: Ledger, by: Sequence[str] = ()) -> list[Family]:
    """Return the metrics of all calls of a ledger, and of those that were deleted from it.

    Counters never fall while the ledger is the same: calls that are deleted stay counted, and the cost is as it was first recorded.
    What repricing has changed is a metric of its own. Together they are the cost of reports.

    Args:
        own: The ledger. Its zone is that of the month and of the days of its forecast.
        by: More labels, of `MORE_LABELS`.

    Raises:
        ValueError: There is no such label.
        LedgerError: The ledger cannot be read.
    """
    names = check_labels(by)
    rows = {_key(row.key): row for row in own.report(names).rows}
    changes = _corrections(own, names)
    sums: dict[Key, Sums] = of_deleted_calls(own, names)
    firsts = {key: one.first_seq for key, one in sums.items()}
    for key, row in rows.items():
        sums.setdefault(key, Sums()).add(_sums(row, *changes.get(key, (_ZERO, 0))))
    for which, (_, what) in enumerate(DURATIONS):
        for values, _, _, buckets in _core.LedgerReader(own.path).durations(what, names, None, None, [], {}, []):
            sums.setdefault(tuple(value or "" for value in values), Sums()).durations[which].update(dict(buckets))
    named = [(dict(zip(names, key, strict=True)), one) for key, one in _cut(own, names, sums, firsts).items()]
    return [*_of_calls(named), *_of_the_month(own), *_histograms(named)]


def table_families(own: Ledger, by: Sequence[str] = ()) -> list[Family]:
    """Return the metrics of the calls that a table of ClickHouse has now.

    They are gauges with names of their own, because they fall when the table deletes calls (its TTL, mutations) and change when calls
    are priced again: `rate()` would take a sum that fell for a counter that began anew, and add all of it.

    Args:
        own: The ledger. Its zone is that of the month and of the days of its forecast.
        by: More labels, of `MORE_LABELS`. Of more than `MOST` combinations, those with the fewest calls are counted under `other`.

    Raises:
        ValueError: There is no such label.
        LedgerError: The table cannot be read.
    """
    names = check_labels(by)
    report = own.report(names, sort="calls", limit=MOST - 1)
    named = [(dict(zip(names, _key(row.key), strict=True)), row) for row in report.rows]
    if report.others is not None:
        named.append((dict.fromkeys(names, _OTHER), report.others))
    note = "that the table has now; it falls when the table deletes calls, so use no rate()."

    def samples(name: str) -> list[Sample]:
        return [Sample(label, getattr(row, name)) for label, row in named]

    tokens = [Sample({**label, "kind": kind}, getattr(row, f"{kind}_tokens")) for label, row in named for kind in TOKENS]
    saved = [Sample(label, row.cache_saved_usd) for label, row in named if row.cache_saved_usd is not None]
    return [
        Family("taximeter_table_calls", "gauge", f"Calls {note}", samples("calls")),
        Family("taximeter_table_tokens", "gauge", f"Tokens of the calls {note}", tokens),
        Family("taximeter_table_cost_usd", "gauge", f"Known cost in US dollars of the calls {note}", samples("cost_usd")),
        Family("taximeter_table_unpriced_calls", "gauge", f"Calls without a known cost {note}", samples("unpriced")),
        Family("taximeter_cache_saved_usd", "gauge", "What caching has saved, in US dollars; may be negative.", saved),
        *_of_the_month(own),
    ]


def _of_calls(named: Sequence[tuple[Mapping[str, str], Sums]]) -> Iterator[Family]:
    def samples(name: str) -> list[Sample]:
        return [Sample(label, value) for label, one in named if (value := getattr(one, name)) is not None]

    tokens = [Sample({**label, "kind": kind}, one.tokens[kind]) for label, one in named for kind in TOKENS]
    yield Family("taximeter_calls_total", "counter", "Calls.", samples("calls"))
    text = "Tokens: input and output are totals, the other kinds are parts of them."
    yield Family("taximeter_tokens_total", "counter", text, tokens)
    text = "Known cost of calls in US dollars, as first recorded."
    yield Family("taximeter_cost_usd_total", "counter", text, samples("cost"))
    text = "What repricing has changed of the cost, in US dollars."
    yield Family("taximeter_cost_correction_usd", "gauge", text, samples("correction"))
    yield Family(
        "taximeter_unpriced_calls_total", "counter", "Calls without a known cost when they were recorded.", samples("unpriced")
    )
    text = "What repricing has changed of the calls without a known cost."
    yield Family("taximeter_unpriced_calls_correction", "gauge", text, samples("unpriced_correction"))
    text = "What caching has saved, in US dollars; may be negative."
    yield Family("taximeter_cache_saved_usd", "gauge", text, samples("saved"))


def _of_the_month(own: Ledger) -> Iterator[Family]:
    """Yield the cost of the month, and what the whole month will cost."""
    now = datetime.now(own.timezone)
    so_far = own.report((), since="this-month").total.cost_usd
    yield Family("taximeter_month_cost_usd", "gauge", "Known cost of this month in US dollars.", [Sample({}, so_far)])
    expected = forecast(so_far, daily_costs(own, now, own.timezone), now)
    ends = [] if expected is None else [("low", expected.low_usd), ("high", expected.high_usd)]
    text = "The 10th (low) and the 90th (high) percentile of the cost of the whole month in US dollars."
    yield Family("taximeter_month_forecast_usd", "gauge", text, [Sample({"bound": bound}, value) for bound, value in ends])


def _cut(own: Ledger, names: Sequence[str], sums: dict[Key, Sums], firsts: Mapping[Key, int]) -> dict[Key, Sums]:
    """Return the sums with all but the first combinations of labels under `other`.

    Those that came first keep their names, because they do so for ever: with any other order, the counters of a combination that
    loses its name, and of `other`, would fall.
    """
    if len(sums) <= MOST:
        return sums
    columns = ", ".join(f"ifnull({name}, '')" for name in names)  # the names are those of `OWN_LABELS` and `MORE_LABELS`
    sql = f"SELECT {columns}, min(seq) FROM events GROUP BY {columns}"  # noqa: S608
    order = {tuple(row[:-1]): int(row[-1]) for row in own.query(sql, timeout=None)}
    order = {**order, **{key: min(first, order.get(key, first)) for key, first in firsts.items()}}
    cut: dict[Key, Sums] = {}
    latest = max(order.values(), default=0) + 1
    for rank, key in enumerate(sorted(sums, key=lambda key: (order.get(key, latest), key))):
        cut.setdefault(key if rank < MOST else (_OTHER,) * len(names), Sums()).add(sums[key])
    return cut


def _histograms(named: Sequence[tuple[Mapping[str, str], Sums]]) -> Iterator[Family]:
    """Yield the durations of calls. The ledger counts them in eight buckets an octave, of which each bound here ends one."""
    for which, (name, text) in enumerate(_HISTOGRAMS):
        found = [(label, one.durations[which]) for label, one in named if one.durations[which]]
        yield Family(name, "histogram", text, [sample for label, counts in found for sample in _histogram(label, counts)])


def _histogram(label: Mapping[str, str], counts: Counter[float]) -> Iterator[Sample]:
    """Yield the samples of a histogram.

    Args:
        label: Its labels.
        counts: How many calls there are by the upper limit of their bucket, in milliseconds.
    """
    for bound in _BOUNDS:
        within = sum(count for limit, count in counts.items() if limit <= 1000 * bound * _TOLERANCE)
        yield Sample({**label, "le": f"{bound}"}, within, "_bucket")
    yield Sample({**label, "le": "+Inf"}, counts.total(), "_bucket")
    seconds = sum(limit * _MIDDLE * count for limit, count in counts.items()) / 1000
    yield Sample(label, round(seconds, 6), "_sum")
    yield Sample(label, counts.total(), "_count")


def _key(values: Mapping[str, str | None]) -> Key:
    return tuple(value or "" for value in values.values())


def _sums(row: Row, correction: Decimal, unpriced_correction: int) -> Sums:
    return Sums(
        calls=row.calls,
        tokens=Counter({kind: getattr(row, f"{kind}_tokens") for kind in TOKENS}),
        cost=EXACT.subtract(row.cost_usd, correction),
        correction=correction,
        unpriced=row.unpriced - unpriced_correction,
        unpriced_correction=unpriced_correction,
        # A ledger's file knows it, as far as it is known.
        saved=row.cache_saved_usd or Decimal(0),
    )


def _corrections(own: Ledger, names: Sequence[str]) -> dict[Key, tuple[Decimal, int]]:
    """Return what repricing has changed by combination of labels: of the cost, and of the number of calls without a price."""
    # The names are those of `OWN_LABELS` and `MORE_LABELS`.
    columns = ", ".join(f"ifnull(e.{name}, '')" for name in names)
    sql = (
        f"SELECT {columns}, decimal_sum(e.cost_usd), decimal_sum(r.cost_usd), "  # noqa: S608
        "sum((e.cost_status = 'unpriced') - (r.cost_status = 'unpriced')) "
        "FROM (SELECT min(seq) AS seq FROM repricings GROUP BY id) f JOIN repricings r ON r.seq = f.seq "
        f"JOIN events e ON e.id = r.id GROUP BY {columns}"
    )
    try:
        found = list(own.query(sql, timeout=None))
    except (ValueError, TaximeterError):
        return {}  # written before repricings were recorded
    return {tuple(row[:-3]): (EXACT.subtract(Decimal(row[-3] or 0), Decimal(row[-2] or 0)), int(row[-1])) for row in found}
