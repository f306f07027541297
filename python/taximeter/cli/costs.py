"""The doctor's checks of costs: unknown prices, missing usage, and units without a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .. import _core, _default
from .._core import Cost
from ..errors import TaximeterError
from ..ledger import Ledger, Row
from ..sanitize import printable
from .render import counted

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
    checks = _check_unknown(path, [row for row in rows if row.key["usage_status"] != "missing"])
    # A response that came to its end says why it ended.
    complete = [row for row in without if row.key["finish_reason"]]
    if unreported := _models(complete):
        has_own = all(str(row.key["provider"]).startswith(_OWN_FORMATS) for row in complete)
        remedy = "record these calls with track() or measure()" if has_own else _ASK
        detail = f"usage missing for {unreported}: {remedy}; these responses were complete and did not report it"
        checks.append(("usage reports", False, detail))
    if interrupted := _models([row for row in without if not row.key["finish_reason"]]):
        detail = f"usage missing for {interrupted}: {_ASK}; a stream that is left before its end has none"
        checks.append(("usage", None, detail))
    return [*checks, *_check_unrated(path)]


_ASK = "ask with stream_options={'include_usage': True}, or for all streams of a host in OpenAI's format with the setting usage_hosts"


_OWN_FORMATS: Final = ("anthropic", "aws.bedrock", "cohere", "gcp.")
"""The providers whose streams report usage unasked, in a format of their own."""
_LOCAL: Final = frozenset({"ollama", "vllm", "hosted_vllm", "lm_studio", "llamafile", "llamacpp"})
"""Servers of one's own, whose calls cost nothing."""
_MOST: Final = 10
"""The most models that are named."""
_MOST_ASKED: Final = 50
"""The most models whose price is looked up. Each needs a query."""


def _check_unknown(path: Path, rows: Sequence[Row]) -> list[Check]:
    """Check the models without a price: each needs the user's rate or alias, or has a price by now."""
    calls: Counter[tuple[str, str]] = Counter()
    for row in rows:
        calls[str(row.key["provider"]), str(row.key["model"])] += row.calls
    unknown: list[str] = []
    known: list[str] = []
    local: Counter[str] = Counter()
    for (provider, model), count in calls.most_common(_MOST_ASKED):
        name = f"{provider}/{model}"
        where = {"cost_status": "unpriced", "status": "success", "provider": provider, "model": model}
        event: Mapping[str, Any] = next(Ledger(path).events(since="30d", where=where), {})
        try:
            cost = _default.default_meter.price(model, event.get("usage", {}), provider, batch=event.get("batch", False))
        except TaximeterError:
            cost = None  # contradictory counts
        if cost is not None and cost.usd is not None:
            known.append(f"{name} ({count:,})")
        elif provider in _LOCAL:
            local[provider] += count
        else:
            unknown.append(f"{name} ({count:,}): {_remedy(provider, model, cost)}")
    if unknown:
        others = len(unknown) - _MOST + max(0, len(calls) - _MOST_ASKED)
        more = f"; and {others:,} more" if others > 0 else ""
        detail = f"unknown for {'; '.join(unknown[:_MOST])}{more}. Then run taximeter reprice"
        checks: list[Check] = [("prices", False, printable(detail))]
    else:
        checks = [("prices", True, "known for every call of the last 30 days")]
    if known:
        detail = f"now known for {', '.join(known[:_MOST])}, but not when these calls were recorded: run taximeter reprice"
        checks.append(("prices since", None, printable(detail)))
    if local:
        names, keys = (", ".join(template.format(name) for name in local) for template in ("{}", '"{}/*"'))
        detail = f"{counted(local.total(), 'call')} to {names} without a price; if they cost nothing, set prices.free = [{keys}]"
        checks.append(("local models", None, printable(detail)))
    return checks


def _remedy(provider: str, model: str, cost: Cost | None) -> str:
    """Return the line of `taximeter.toml` that gives a model a price."""
    name = model if model.startswith("arn:") else f"{provider}/{model}"
    if cost is not None and _UNRATED in cost.notes:
        return "a unit that was used has no rate, see below"
    if near := () if cost is None else cost.suggestions:
        found = near[0] if "/" in near[0] else f"{provider}/{near[0]}"
        return f'if it is the model {near[0]}, prices.aliases = {{ "{name}" = "{found}" }}'
    if provider.startswith("azure.") or model.startswith("arn:"):
        return f'the name is your own; say which model it is: prices.aliases = {{ "{name}" = "provider/model" }}'
    return f'prices.rates."{name}" = {{ input_tokens = {{ per_1m = … }}, output_tokens = {{ per_1m = … }} }}'


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
