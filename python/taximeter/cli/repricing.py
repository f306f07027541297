"""The commands that price stored calls again: `reprice`, and `what-if`, which changes nothing."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from .. import _default
from ..ledger import Ledger, RepricingRow
from ..meter import engine_of
from ..moments import unix_ns
from ..table import EXACT, Column, amounts
from .common import Add, add_filters, add_source, filters, ledger, say_nothing_found
from .progress import progress
from .render import amount, answer, counted, print_table, say

__all__ = ["add_commands"]

_CENT: Final = Decimal("0.01")
_UNRATED: Final = "unit_without_rate"


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    examples = ("what-if --model gpt-4o-mini --where model=gpt-4o --since 7d", "what-if --model openai/gpt-5 --at now")
    what_if = add("what-if", _what_if, "price the ledger's calls as calls of another model; nothing is changed", *examples)
    what_if.add_argument("--model", required=True, metavar="M", help="the other model, or PROVIDER/MODEL")
    what_if.add_argument(
        "--at", choices=("then", "now"), default="then", help="at the rates of each call's time, or of today (default: then)"
    )
    add_filters(what_if)
    add_source(what_if)

    text = "price the ledger's calls again, at the rates of their time; the old costs are kept"
    reprice = add("reprice", _reprice, text, "reprice --since 30d --dry-run", "reprice --where model=my-deployment")
    add_filters(reprice)
    reprice.add_argument("--dry-run", action="store_true", help="only print what would change")


class _Sums:
    """What some calls cost, and what they would have cost."""

    def __init__(self) -> None:
        self.calls = 0
        self.before = self.after = Decimal(0)

    def add(self, before: Decimal, after: Decimal) -> None:
        self.calls += 1
        self.before = EXACT.add(self.before, before)
        self.after = EXACT.add(self.after, after)

    def to_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "before_usd": amount(self.before), "after_usd": amount(self.after)}


def _what_if(options: argparse.Namespace) -> int:
    own = ledger(options)
    chosen = filters(options)
    if _default.price(options.model, {"input_tokens": 1}).usd is None and not _is_known(options.model):
        near = _default.price(options.model, {"input_tokens": 1}).suggestions
        raise ValueError(f"--model: {options.model!r} has no price" + (f"; the nearest names are {', '.join(near)}" if near else ""))
    models: dict[tuple[str, str], _Sums] = {}
    left_out: Counter[str] = Counter()
    whole = _Sums()
    report = own.report((), **chosen)
    with progress("pricing", report.total.calls) as one:
        for before, after, event in _priced(options, own, chosen, left_out):
            one.done += 1
            models.setdefault((event["provider"], event["model"]), _Sums()).add(before, after)
            whole.add(before, after)
    found = sorted(models.items(), key=lambda item: (item[1].before.copy_negate(), item[0]))
    if options.json:
        rows = [{"provider": provider, "model": model, **sums.to_dict()} for (provider, model), sums in found]
        period = report.to_dict()
        total = {**whole.to_dict(), "left_out": dict(sorted(left_out.items()))}
        answer(options, rows, total, since=period["since"], until=period["until"], zone=report.timezone, model=options.model)
        return 0
    if not whole.calls and not left_out:
        say_nothing_found(options, own)
        return 0
    if len(models) > 1:
        print_table(
            [
                Column("model", ["/".join(name) for name, _ in found], is_text=True),
                Column("calls", [f"{sums.calls:,}" for _, sums in found], rank=1),
                Column("cost", amounts([sums.before for _, sums in found])),
                Column(f"as {options.model}", amounts([sums.after for _, sums in found])),
            ],
            what="models",
        )
    both = [whole.before, whole.after]
    # Cents, unless one of them would have no digit left.
    in_cents = max(both) >= 1 and all(not one or one >= _CENT for one in both)
    cost, other = (f"{one:,.2f}" for one in both) if in_cents else amounts(both)
    change = f" ({100 * (float(whole.after) / float(whole.before) - 1):+,.0f} %)" if whole.before else ""
    print(f"{counted(whole.calls, 'call')}: ${cost} -> ${other}{change}; tokenizers may differ")
    for reason, count in sorted(left_out.items(), key=lambda item: (-item[1], item[0])):
        print(f"{counted(count, 'call')} left out: {reason}")
    return 0


def _is_known(model: str) -> bool:
    """Return whether the catalog has a model, perhaps without a rate for plain input."""
    return any(model in (name, f"{provider}/{name}") for provider, name, *_ in _default.default_meter.models())


def _priced(
    options: argparse.Namespace, own: Ledger, chosen: Mapping[str, Any], left_out: Counter[str]
) -> Iterator[tuple[Decimal, Decimal, Mapping[str, Any]]]:
    """Yield what each call cost and would have cost. Count the others by the reason why they are left out."""
    meter, model = _default.default_meter, options.model
    events: Iterator[Mapping[str, Any]] = own.events(**chosen)
    for event in events:
        if event["usage_status"] == "missing":
            left_out["their usage is not known"] += 1
            continue
        if event["cost_usd"] is None:
            left_out["they have no price now; see taximeter unpriced"] += 1
            continue
        moment = None if options.at == "now" else (unix_ns("started_at", event["started_at"]) or 0) / 1e9
        usage = event.get("usage") or {}
        cost = meter.price(model, usage, None, moment, event.get("service_tier"), event.get("batch", False))
        if cost.usd is None or _UNRATED in cost.notes:
            units = ", ".join(unit for unit, used in usage.items() if used and meter.price(model, {unit: used}).usd is None)
            left_out[f"{model} has no rate for {units or 'what they used'}"] += 1
            continue
        yield Decimal(event["cost_usd"]), cost.usd, event


def _reprice(options: argparse.Namespace) -> int:
    own = ledger(options)
    chosen = filters(options)
    report = own.report((), **chosen)
    core = engine_of(_default.default_meter).core
    with progress("repricing", report.total.calls) as one:
        one.counter = lambda: core.repriced
        repriced = _default.default_meter.reprice(**chosen, dry_run=options.dry_run)
    changed = sum(row.changed for row in repriced.rows)
    if options.json:
        amounts_of = [{"before_usd": amount(row.before_usd), "after_usd": amount(row.after_usd)} for row in repriced.rows]
        rows = [vars(row) | found for row, found in zip(repriced.rows, amounts_of, strict=True)]
        period = report.to_dict()
        answer(
            options, rows, {"examined": repriced.examined, "changed": changed}, since=period["since"], until=period["until"],
            zone=report.timezone, dry_run=options.dry_run,
        )  # fmt: skip
        return 0
    if repriced.rows:
        after = amounts([row.after_usd for row in repriced.rows])
        changes = amounts([EXACT.subtract(row.after_usd, row.before_usd) for row in repriced.rows])
        print_table(
            [
                Column("model", [f"{row.provider}/{row.model}" for row in repriced.rows], is_text=True),
                Column("calls", [f"{row.changed:,}" for row in repriced.rows], rank=1),
                Column("unpriced before", [f"{row.newly_priced:,}" if row.newly_priced else "" for row in repriced.rows], rank=2),
                Column("before (USD)", list(map(_before, repriced.rows, amounts([row.before_usd for row in repriced.rows])))),
                Column("after (USD)", after),
                Column("change", [change if change.startswith("-") else f"+{change}" for change in changes], rank=3),
            ],
            len(repriced.rows),
        )
    what = f"{counted(repriced.examined, 'call')} examined, {changed:,} "
    say(what + ("would change" if options.dry_run else f"changed; the old costs are in {own.path}, table repricings"))
    return 0


def _before(row: RepricingRow, text: str) -> str:
    """Return what the calls of a row cost before. A cost that was unknown is not 0."""
    if row.newly_priced == row.changed:
        return "unpriced"
    return f"≥ {text}" if row.newly_priced else text
