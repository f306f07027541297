"""The doctor's checks of costs: unknown prices, missing usage, and units without a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .. import _core, _default
from ..errors import TaximeterError
from ..ledger import Ledger, Row
from ..sanitize import printable

__all__ = ["Check", "check_costs"]

Check = tuple[str, bool | None, str]
"""What was checked, whether it is well, and details. `None` is a note: worth knowing, and no fault."""
_UNRATED: Final = "unit_without_rate"


def check_costs(path: Path) -> list[Check]:
    """Check that each call of the last 30 days has a cost. A call without usage has no cost, whatever the prices are."""
    if not path.exists():
        return [("prices", True, "nothing to price yet")]
    where = {"cost_status": "unpriced", "status": "success"}
    try:
        rows: Sequence[Row] = Ledger(path).report(("provider", "model"), since="30d", where=where).rows
        if rows:
            # A second query, because this one reads every event.
            rows = Ledger(path).report(("provider", "model", "usage_status", "finish_reason"), since="30d", where=where).rows
    except TaximeterError as error:
        return [("prices", False, str(error))]
    without = [row for row in rows if row.key["usage_status"] == "missing"]
    unknown = _models([row for row in rows if row.key["usage_status"] != "missing"])
    checks: list[Check] = [
        ("prices", not unknown, f"unknown for {unknown}" if unknown else "known for every call of the last 30 days")
    ]
    # A response that came to its end says why it ended.
    if unreported := _models([row for row in without if row.key["finish_reason"]]):
        detail = f"usage missing for {unreported}: {_ASK}; these responses were complete and did not report it"
        checks.append(("usage reports", False, detail))
    if interrupted := _models([row for row in without if not row.key["finish_reason"]]):
        detail = f"usage missing for {interrupted}: {_ASK}; a stream that is left before its end has none"
        checks.append(("usage", None, detail))
    return [*checks, *_check_unrated(path)]


_ASK = "ask with stream_options={'include_usage': True}, or for all streams of a host in OpenAI's format with the setting usage_hosts"


def _models(rows: Sequence[Row]) -> str:
    """Name the models of rows, with the calls of each."""
    calls: Counter[str] = Counter()
    for row in rows:
        calls[f"{row.key['provider']}/{row.key['model']}"] += row.calls
    return ", ".join(printable(f"{name} ({count:,})") for name, count in calls.most_common(10))


def _check_unrated(path: Path) -> list[Check]:
    """List units that were used and have no rate. Their cost is missing from the call's, or the call has none."""
    book = Ledger(path)
    try:
        rows = book.report(("provider", "model", "cost_notes", "cost_status"), since="30d", where={"status": "success"}).rows
    except TaximeterError:
        return []  # written before costs had notes
    found: list[str] = []
    for row in rows:
        notes = row.key["cost_notes"] or ""
        if _UNRATED not in notes.split(","):
            continue
        where = {"status": "success", **{name: row.key[name] for name in ("provider", "model", "cost_notes", "cost_status")}}
        event: Mapping[str, Any] = next(book.events(since="30d", where=where), {})
        units = list(_unrated(event))
        if not units:
            continue  # a rate was set in the meantime
        name = f"{row.key['provider']}/{row.key['model']}"
        rates = ", ".join(f"{unit} = {{ {_core.usual_denominator(unit)} = … }}" for unit in units)
        found.append(f'{", ".join(units)} of {name} ({row.calls:,}): prices.rates."{name}" = {{ base = "catalog", {rates} }}')
    if not found:
        return []
    detail = "no rate for " + "; ".join(found[:10]) + ". The cost of these calls does not include it; set your rate as shown"
    return [("rates", None, printable(detail))]


def _unrated(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield the units of an event that have no rate today."""
    for unit, count in event.get("usage", {}).items():
        try:
            cost = _default.default_meter.price(event["model"], {unit: count}, event["provider"]) if count else None
        except TaximeterError:
            continue  # a part alone, whose total has a rate
        if cost is not None and cost.usd is None:
            yield unit
