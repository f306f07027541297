"""Calls, tokens, money and durations of a ledger as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from .. import _core
from ..errors import TaximeterError
from ..exposition import Family, Sample
from ..fields import unknown_name
from ..table import EXACT
from .reader import Ledger
from .report import Row

__all__ = ["MORE_LABELS", "MOST", "OWN_LABELS", "families"]

OWN_LABELS: Final = ("provider", "model", "operation", "status")
"""The labels of every series."""
MORE_LABELS: Final = ("agent", "feature", "team", "service_tier", "region", "error", "cost_status", "usage_status", "finish_reason")
"""The labels that can be added. Users, sessions and customers are too many, and may be persons."""
MOST: Final = 2_000
"""The most combinations of labels. The calls of the others are counted under `other`."""
_TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
_OTHER: Final = "other"
_DURATIONS: Final = (
    ("taximeter_latency_seconds", "latency_ms", "Time to the last byte of the response. Its sum is within 4.5 %."),
    ("taximeter_ttft_seconds", "ttft_ms", "Time to the first token. Its sum is within 4.5 %."),
)
_BOUNDS: Final = tuple(2**power / 1e6 for power in range(13, 29))
"""The bounds of histograms in seconds: octaves from 8 ms to 268 s."""
_TOLERANCE: Final = 1 + 1e-9
"""Limits of buckets are rounded."""
_MIDDLE: Final = 2 ** (-1 / 16)
"""The middle of a bucket, as a part of its upper limit."""
_ZERO: Final = Decimal(0)

_Key = tuple[str, ...]


def families(own: Ledger, by: Sequence[str] = ()) -> list[Family]:
    """Return the metrics of all calls of a ledger.

    The cost is as it was first recorded, so that it never falls while calls are kept; what repricing has changed is a metric of its
    own. Together they are the cost of reports.

    Args:
        own: The ledger.
        by: More labels, of `MORE_LABELS`.

    Raises:
        ValueError: There is no such label.
        LedgerError: The ledger cannot be read.
    """
    for name in by:
        if name not in MORE_LABELS:
            raise ValueError(f"metrics by: {unknown_name(name, MORE_LABELS)}")
    labels = (*OWN_LABELS, *dict.fromkeys(by))
    report = own.report(labels)
    keys = {_key(row.key): row for row in report.rows}
    # Of as many combinations, those with the most calls keep their names.
    kept = frozenset(sorted(keys, key=lambda key: (-keys[key].calls, key))[:MOST])

    def shown(key: _Key) -> _Key:
        return key if key in kept else (_OTHER,) * len(labels)

    corrections = _corrections(own, labels)
    sums: dict[_Key, dict[str, Any]] = {}
    for key, row in keys.items():
        _add(sums.setdefault(shown(key), {}), row, corrections.get(key, _ZERO))
    named = [(dict(zip(labels, key, strict=True)), one) for key, one in sums.items()]

    def samples(name: str) -> list[Sample]:
        return [Sample(names, one[name]) for names, one in named if one.get(name) is not None]

    tokens = [Sample({**names, "kind": kind}, one[kind]) for names, one in named for kind in _TOKENS]
    corrected = [sample for sample in samples("correction") if corrections]
    return [
        Family("taximeter_calls_total", "counter", "Calls.", samples("calls")),
        Family(
            "taximeter_tokens_total", "counter", "Tokens: input and output are totals, the other kinds are parts of them.", tokens
        ),
        Family("taximeter_cost_usd_total", "counter", "Known cost of calls in US dollars, as first recorded.", samples("first")),
        Family("taximeter_cost_correction_usd", "gauge", "What repricing has changed of the cost, in US dollars.", corrected),
        Family("taximeter_unpriced_calls_total", "counter", "Calls without a known cost.", samples("unpriced")),
        Family("taximeter_cache_saved_usd", "gauge", "What caching has saved, in US dollars; may be negative.", samples("saved")),
        *_histograms(own, labels, kept),
    ]


def _histograms(own: Ledger, labels: Sequence[str], kept: frozenset[_Key]) -> Iterator[Family]:
    """Yield the durations of calls. The ledger counts them in eight buckets an octave, of which each bound here ends one."""
    reader = _core.LedgerReader(own.path)
    for name, what, text in _DURATIONS:
        counts: dict[_Key, Counter[float]] = {}
        for values, _, _, buckets in reader.durations(what, labels, None, None, [], {}, []):
            key = tuple(value or "" for value in values)
            counts.setdefault(key if key in kept else (_OTHER,) * len(labels), Counter()).update(dict(buckets))
        samples = [sample for key, found in counts.items() for sample in _histogram(dict(zip(labels, key, strict=True)), found)]
        yield Family(name, "histogram", text, samples)


def _histogram(labels: Mapping[str, str], counts: Counter[float]) -> Iterator[Sample]:
    """Yield the samples of a histogram.

    Args:
        labels: Its labels.
        counts: How many calls there are by the upper limit of their bucket, in milliseconds.
    """
    for bound in _BOUNDS:
        within = sum(count for limit, count in counts.items() if limit <= 1000 * bound * _TOLERANCE)
        yield Sample({**labels, "le": f"{bound}"}, within, "_bucket")
    yield Sample({**labels, "le": "+Inf"}, counts.total(), "_bucket")
    seconds = sum(limit * _MIDDLE * count for limit, count in counts.items()) / 1000
    yield Sample(labels, round(seconds, 6), "_sum")
    yield Sample(labels, counts.total(), "_count")


def _key(values: Mapping[str, str | None]) -> _Key:
    return tuple(value or "" for value in values.values())


def _add(sums: dict[str, Any], row: Row, correction: Decimal) -> None:
    added: dict[str, Any] = {
        "calls": row.calls,
        "unpriced": row.unpriced,
        "correction": correction,
        "first": EXACT.subtract(row.cost_usd, correction),
        **{kind: getattr(row, f"{kind}_tokens") for kind in _TOKENS},
    }
    if (saved := getattr(row, "cache_saved_usd", None)) is not None:
        added["saved"] = saved
    for name, value in added.items():
        old = sums.get(name)
        sums[name] = value if old is None else EXACT.add(old, value) if isinstance(value, Decimal) else old + value


def _corrections(own: Ledger, labels: Iterable[str]) -> dict[_Key, Decimal]:
    """Return by how much repricing has changed the cost of each combination of labels."""
    # The names are those of `OWN_LABELS` and `MORE_LABELS`.
    columns = ", ".join(f"ifnull(e.{name}, '')" for name in labels)
    sql = (
        f"SELECT {columns}, decimal_sum(e.cost_usd), decimal_sum(r.cost_usd) "  # noqa: S608
        "FROM (SELECT min(seq) AS seq FROM repricings GROUP BY id) f JOIN repricings r ON r.seq = f.seq "
        f"JOIN events e ON e.id = r.id GROUP BY {columns}"
    )
    try:
        found = list(own.query(sql, timeout=None))
    except (ValueError, TaximeterError):
        return {}  # written before repricings were recorded
    amounts = {row[:-2]: EXACT.subtract(Decimal(row[-2] or 0), Decimal(row[-1] or 0)) for row in found}
    return {key: amount for key, amount in amounts.items() if amount}
