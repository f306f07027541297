"""Compares the sums of reports with each other and with the calls that they are of."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..table import EXACT

if TYPE_CHECKING:
    from .reader import Ledger
    from .report import Row

__all__ = ["disagreements"]

_FIELDS: Final = ("provider", "model", "operation", "status", "cost_status")
_SQL: Final = (
    "SELECT provider, model, operation, status, cost_status, count(*), sum(input_tokens), sum(output_tokens), "
    "decimal_sum(cost_usd) FROM events GROUP BY 1, 2, 3, 4, 5"
)

_Sums = dict[tuple[str, ...], tuple[int, int, int, Decimal]]


def disagreements(own: Ledger) -> list[str]:
    """Return what does not agree: the sums by hour, the packed calls, and the rows of calls.

    Reports may count more calls than there are rows, because `prune` can keep the sums of calls that it deletes.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    # Without another field, reports read the sums by hour; with one, the calls.
    by_hour = _of_rows(own.report(_FIELDS))
    by_call = _of_rows(own.report((*_FIELDS, "usage_status")))
    stored: _Sums = {
        tuple(map(str, row[:5])): (row[5], row[6], row[7], Decimal(row[8] or 0)) for row in own.query(_SQL, timeout=None)
    }
    faults = [
        f"{_named(key)}: the sums by hour are {_shown(by_hour.get(key))}, those of the calls {_shown(by_call.get(key))}"
        for key in sorted(by_hour.keys() | by_call.keys())
        if by_hour.get(key) != by_call.get(key)
    ]
    faults += [
        f"{_named(key)}: reports have {_shown(by_call.get(key))}, and the rows of calls {_shown(sums)}"
        for key, sums in sorted(stored.items())
        if key not in by_call or by_call[key][0] < sums[0] or (by_call[key][0] == sums[0] and by_call[key] != sums)
    ]
    return faults


def _of_rows(rows: Iterable[Row]) -> _Sums:
    sums: _Sums = {}
    for row in rows:
        key = tuple(row.key[name] or "" for name in _FIELDS)
        calls, read, written, cost = sums.get(key, (0, 0, 0, Decimal(0)))
        sums[key] = (calls + row.calls, read + row.input_tokens, written + row.output_tokens, EXACT.add(cost, row.cost_usd))
    return sums


def _named(key: tuple[str, ...]) -> str:
    return " ".join(part for part in key if part)


def _shown(sums: tuple[Any, ...] | None) -> str:
    if sums is None:
        return "missing"
    calls, read, written, cost = sums
    return f"{calls:,} calls, {read:,} + {written:,} tokens, ${cost:f}"
