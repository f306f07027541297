"""Compares the sums of reports with each other and with the calls that they are of."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from .. import _core
from ..table import EXACT

__all__ = ["disagreements"]

_FIELDS: Final = ("provider", "model", "operation", "status", "cost_status")
_OTHER: Final = "usage_status"
"""A field that the sums by hour do not have, so that a report reads the calls."""

_Sums = dict[tuple[str, ...], tuple[int, int, int, Decimal]]


def disagreements(reader: _core.LedgerReader) -> list[str]:
    """Return what does not agree: the sums by hour, the packed calls, and the rows of calls.

    All are of the same moment, whatever programs write meanwhile. Reports may count more calls than there are rows, because `prune`
    can keep the sums of calls that it deletes.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    by_hour, by_call, stored = map(_of_rows, reader.sums_in_three_ways(_FIELDS, _OTHER))
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


def _of_rows(rows: Iterable[tuple[tuple[str | None, ...], tuple[Any, ...]]]) -> _Sums:
    sums: _Sums = {}
    for values, (more_calls, _, _, more_read, more_written, *_, more_cost, _) in rows:
        key = tuple(value or "" for value in values[: len(_FIELDS)])
        calls, read, written, cost = sums.get(key, (0, 0, 0, Decimal(0)))
        sums[key] = (calls + more_calls, read + more_read, written + more_written, EXACT.add(cost, more_cost))
    return sums


def _named(key: tuple[str, ...]) -> str:
    return " ".join(part for part in key if part)


def _shown(sums: tuple[Any, ...] | None) -> str:
    if sums is None:
        return "missing"
    calls, read, written, cost = sums
    return f"{calls:,} calls, {read:,} + {written:,} tokens, ${cost:f}"
