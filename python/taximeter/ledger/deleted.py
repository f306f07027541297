"""The calls that were deleted from a ledger, as far as counters still count them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from ..errors import TaximeterError
from ..table import EXACT
from .reader import Ledger

__all__ = ["DURATIONS", "TOKENS", "Key", "Sums", "of_deleted_calls"]

Key = tuple[str, ...]
"""The values of labels; an absent value is empty."""
TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
"""The kinds of tokens with sums of their own."""
DURATIONS: Final = (("latency", "latency_ms"), ("ttft", "ttft_ms"))
"""The durations of calls: the column of `deleted_calls`, and the field of calls."""
_LABELS: Final = (
    "provider", "model", "operation", "status", "agent", "feature", "team", "service_tier", "region", "error", "usage_status",
    "finish_reason",
)  # fmt: skip
"""The labels in the column `labels`, as in `src/ledger/deleted.rs`."""
_OCTAVE: Final = 8
"""Buckets of an octave, as in `src/ledger/latency.rs`."""
_ZERO: Final = Decimal(0)


@dataclass
class Sums:
    """The sums of the calls with the same labels."""

    calls: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    """By kind."""
    cost: Decimal = _ZERO
    """The known cost as first recorded, in US dollars."""
    correction: Decimal = _ZERO
    """What repricing has changed of it."""
    unpriced: int = 0
    """Calls without a known cost when they were recorded."""
    unpriced_correction: int = 0
    """What repricing has changed of their number."""
    saved: Decimal | None = None
    """What caching has saved, in US dollars; `None` if it is unknown."""
    durations: tuple[Counter[float], Counter[float]] = field(default_factory=lambda: (Counter(), Counter()))
    """Calls by the upper limit of their bucket in milliseconds, for each of `DURATIONS`."""
    first_seq: int = 0
    """The number of the first call that was deleted; 0 if none was."""

    def add(self, other: Sums) -> None:
        """Add sums."""
        self.calls += other.calls
        self.tokens.update(other.tokens)
        self.cost = EXACT.add(self.cost, other.cost)
        self.correction = EXACT.add(self.correction, other.correction)
        self.unpriced += other.unpriced
        self.unpriced_correction += other.unpriced_correction
        if other.saved is not None:
            self.saved = other.saved if self.saved is None else EXACT.add(self.saved, other.saved)
        for own, more in zip(self.durations, other.durations, strict=True):
            own.update(more)
        self.first_seq = min(filter(None, (self.first_seq, other.first_seq)), default=0)


def of_deleted_calls(own: Ledger, names: Sequence[str]) -> dict[Key, Sums]:
    """Return the sums of the calls that were deleted, by the values of labels.

    Args:
        own: The ledger.
        names: The labels: fields of `_LABELS`.
    """
    columns = ", ".join((*(f"{kind}_tokens" for kind in TOKENS), *(name for name, _ in DURATIONS)))
    sql = (
        "SELECT labels, first_seq, calls, unpriced, unpriced_correction, cost_usd, correction_usd, cache_saved_usd, "  # noqa: S608
        f"{columns} FROM deleted_calls"
    )
    try:
        rows = list(own.query(sql, timeout=None))
    except (ValueError, TaximeterError):
        return {}  # of an older schema
    chosen = [_LABELS.index(name) for name in names]
    sums: dict[Key, Sums] = {}
    for labels, first, calls, unpriced, unpriced_correction, cost, correction, saved, *more in rows:
        values = json.loads(labels)
        one = Sums(
            calls=calls,
            tokens=Counter(dict(zip(TOKENS, more, strict=False))),
            cost=Decimal(cost),
            correction=Decimal(correction),
            unpriced=unpriced,
            unpriced_correction=unpriced_correction,
            saved=None if saved is None else Decimal(saved),
            durations=(_limits(more[len(TOKENS)]), _limits(more[len(TOKENS) + 1])),
            first_seq=first,
        )
        sums.setdefault(tuple(values[index] for index in chosen), Sums()).add(one)
    return sums


def _limits(buckets: str) -> Counter[float]:
    """Return the calls by the upper limit of their bucket in milliseconds, from those by the number of the bucket as JSON."""
    return Counter({2 ** ((int(bucket) + 1) / _OCTAVE) / 1000: count for bucket, count in json.loads(buckets).items()})
