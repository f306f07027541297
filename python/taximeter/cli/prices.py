"""The commands about prices."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Final

from .. import _core, _default
from ..catalog.document import rates_in_force
from ..catalog.merge import Merged
from ..fields import unknown_name
from ..meter import engine_of
from ..moments import unix_ns
from ..settings import Settings
from ..table import Column
from .common import Add, action_adder, add_csv, count, csv_writer
from .progress import progress
from .rates import price_columns, price_lines
from .render import amount, answer, counted, is_terminal, print_table, rows_that_fit, say

__all__ = ["add_commands"]

_FIRST: Final = 2015
_LAST: Final = 2100
"""The years of known prices."""
_COUNTS: Final = {
    "input": ("input_tokens", "all input tokens"),
    "output": ("output_tokens", "all output tokens"),
    "cache_read": ("cache_read_tokens", "input tokens read from a cache"),
    "cache_write": ("cache_write_tokens", "input tokens written to a cache"),
}


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    examples = ("price gpt-4o --input 1200 --output 350 --explain", "price o3 --input 5000 --usage web_searches=2 --batch")
    price = add("price", _price, "print what a call costs, and why", *examples)
    price.add_argument("model", metavar="MODEL")
    price.add_argument("--provider", help="the provider, if the model's name does not identify it")
    for name, (_, what) in _COUNTS.items():
        price.add_argument(f"--{name.replace('_', '-')}", type=int, default=0, metavar="N", help=what)
    price.add_argument("--usage", action="append", default=[], metavar="UNIT=N", help="any other unit, such as web_searches=3")
    price.add_argument("--service-tier", metavar="TIER", help="flex, priority, …")
    price.add_argument("--region", help="the region that serves the call")
    price.add_argument("--batch", action="store_true", help="price a call through a batch endpoint")
    price.add_argument("--at", metavar="WHEN", help="when the call began: 2026-11-01, 2026-11-01T09:00:00Z")
    price.add_argument("--explain", action="store_true", help="print one line for each unit")

    models = add("models", _models, "list the models of the price catalog", "models claude", "models --provider openai")
    _add_search(models)

    prices = add("prices", _list, "list, compare and update the price catalog")
    act = action_adder(prices.add_subparsers(title="actions", metavar="ACTION"), "prices ")
    prices.set_defaults(pattern="", provider=None, limit=None)

    examples = ("prices list gpt-4o", "prices list --provider anthropic --limit 100")
    _add_search(act("list", _list, "print your own rates and the catalog's rates of today", *examples))
    for name, run, text in (
        ("update", _update, "download the catalog, merge it into the last one, and use it from now on"),
        ("diff", _diff, "print what an update would change"),
    ):
        action = act(name, run, text)
        action.add_argument("--from", dest="catalog_source", metavar="FILE|URL", help="a catalog, or the public data of genai-prices")
        action.add_argument("--accept", action="append", default=[], metavar="PROVIDER/MODEL", help="accept a held-back rate")


def _add_search(command: argparse.ArgumentParser) -> None:
    command.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="only names that contain this text")
    command.add_argument("--provider", metavar="PROVIDER", help="only models of this provider")
    command.add_argument("--limit", type=count, metavar="N", help="at most N rows (default: what fits on a terminal)")
    add_csv(command)


def _price(options: argparse.Namespace) -> int:
    used: dict[str, int] = {}
    for name, (unit, _) in _COUNTS.items():
        count = getattr(options, name)
        if count or name in {"input", "output"}:
            used[unit] = count
    for pair in options.usage:
        unit, separator, count = pair.partition("=")
        if not separator or not count.isdigit():
            raise ValueError(f"--usage: {pair!r} is not of the form UNIT=N")
        if unit not in _core.UNITS:
            raise ValueError(f"--usage: {unit!r} is not a unit; there are {', '.join(_core.UNITS)}")
        used[unit] = int(count)
    moment = unix_ns("--at", options.at)
    if moment is not None and not _FIRST <= datetime.fromtimestamp(moment / 1e9, timezone.utc).year <= _LAST:
        raise ValueError(f"--at: {options.at!r} must lie between {_FIRST} and {_LAST}")
    cost = _default.price(
        options.model,
        used,
        options.provider,
        None if moment is None else moment / 1e9,
        options.service_tier,
        options.batch,
        options.region,
    )
    if options.json:
        answer(options, [_cost_fields(cost)])
        return 0 if cost.usd is not None else 1
    if cost.model is None:
        print("no catalog entry")
    else:
        since = f", rates since {cost.valid_from}" if cost.valid_from else ""
        provider = f"{cost.provider}/" if cost.provider and cost.match != "override" else ""
        print(f"{provider}{cost.model} ({cost.match} match, {cost.catalog}{since})")
    lines = cost.explain().splitlines()
    # The last lines are the total and the notes.
    print("\n".join(lines if options.explain else lines[-1 - len(cost.notes) :]))
    return 0 if cost.usd is not None else 1


def _cost_fields(cost: _core.Cost) -> dict[str, Any]:
    def text(value: Decimal | None) -> str | None:
        return None if value is None else amount(value)

    return {
        "usd": text(cost.usd),
        "input_usd": text(cost.input_usd),
        "output_usd": text(cost.output_usd),
        "status": cost.status,
        "notes": list(cost.notes),
        "provider": cost.provider,
        "model": cost.model,
        "match": cost.match,
        "catalog": cost.catalog,
        "valid_from": cost.valid_from,
        "explanation": cost.explain().splitlines(),
    }


def _models(options: argparse.Namespace) -> int:
    wanted = options.pattern.lower()
    found = [
        entry
        for entry in _default.default_meter.models()
        if wanted in f"{entry[0]}/{entry[1]}".lower() and options.provider in (None, entry[0])
    ]
    names = ("provider", "model", "retired", "catalog")
    if options.json:
        answer(options, [dict(zip(names, entry, strict=True)) for entry in found[: options.limit]])
    elif options.csv:
        writer, safe = csv_writer(options, names)
        writer.writerows({name: safe(value) for name, value in zip(names, entry, strict=True)} for entry in found[: options.limit])
    elif is_terminal() and found:
        columns = [
            Column("model", [f"{provider}/{model}" for provider, model, _, _ in found], is_text=True),
            Column("", ["retired" if retired else "" for _, _, retired, _ in found], is_text=True, rank=1),
        ]
        print_table(columns, options.limit, what="models")
    else:
        for provider, model, retired, _ in found[: options.limit]:
            print(f"{provider}/{model}{'  (retired)' if retired else ''}")
    return 0 if found else _nothing(options)


def _nothing(options: argparse.Namespace) -> int:
    """Say that no model matches, and which names are near. Return the exit code."""
    meter = _default.default_meter
    if options.provider is not None and options.provider not in (known := {entry[0] for entry in meter.models()}):
        say(f"--provider: {unknown_name(options.provider, known)}")
        return 1
    near = meter.price(options.pattern, {"input_tokens": 1}, options.provider).suggestions if options.pattern else ()
    where = "" if options.provider is None else f" of {options.provider}"
    say(f"no model{where} has {options.pattern!r} in its name" + (f"; the nearest names are {', '.join(near)}" if near else ""))
    return 1


def _list(options: argparse.Namespace) -> int:
    settings: Settings = options.settings
    meter = _default.default_meter
    documents = [engine_of(meter).catalog_document()]
    if settings.prices.long_tail:
        documents.append(json.loads(_core.embedded_catalog(long_tail=True)))
    wanted = options.pattern.lower()

    def matches(name: str) -> bool:
        return wanted in name.lower() and (options.provider is None or name.startswith(f"{options.provider}/"))

    own = json.loads(settings.prices.overrides or "{}")
    rows = [
        {"kind": kind, "name": name, "rates": rule} for kind, rules in own.items() for name, rule in rules.items() if matches(name)
    ]
    rows += [
        {"kind": "catalog", "name": name, "rates": rates}
        for document in documents
        for name, rates in rates_in_force(document)
        if matches(name)
    ]
    if options.json:
        answer(options, rows[: options.limit], catalog=meter.catalog, as_of=meter.catalog_as_of)
        return 0 if rows else 1
    if not rows:
        return _nothing(options)
    lines = [line for row in rows for line in price_lines(row["kind"], row["name"], row["rates"])]
    if options.csv:
        names = list(lines[0]._asdict())
        writer, safe = csv_writer(options, names)
        writer.writerows({name: safe(value) for name, value in line._asdict().items()} for line in lines[: options.limit])
        return 0
    say(f"{meter.catalog}, as of {meter.catalog_as_of or 'an unknown date'}; $ per million tokens")
    most = rows_that_fit(len(lines)) if options.limit is None else options.limit
    print_table(price_columns(lines[:most]), most)
    if len(lines) > most:
        say(f"{len(lines) - most:,} other rates; --limit {len(lines)} shows all")
    return 0


def _update(options: argparse.Namespace) -> int:
    with progress("downloading the catalog"):
        merged = _default.default_meter.update_catalog(options.catalog_source, accept=options.accept)
    if merged is None:
        if options.json:
            nothing: dict[str, list[str]] = {name: [] for name in ("changes", "held", "kept", "dated", "left_out")}
            answer(options, [{"catalog": _default.default_meter.catalog, **nothing}])
        say("nothing new")
        return 0
    return _show(options, merged)


def _diff(options: argparse.Namespace) -> int:
    with progress("downloading the catalog"):
        merged = _default.default_meter.preview_catalog(options.catalog_source, accept=options.accept)
    return _show(options, merged)


def _show(options: argparse.Namespace, merged: Merged) -> int:
    if options.json:
        found: dict[str, Any] = {"catalog": f"{merged.document['source']}-{merged.document['version']}"}
        for name in ("changes", "held"):
            found[name] = [vars(change) for change in getattr(merged, name)]
        answer(options, [found | {"kept": merged.kept, "dated": merged.dated, "left_out": merged.left_out}])
        return 0
    for change in merged.changes:
        print(change)
    for change in merged.held:
        print(f"held back: {change}  (--accept {change.provider}/{change.model} accepts it)")
    for entry in merged.left_out:
        print(f"left out: {entry}")
    say(f"{counted(len(merged.changes), 'change')}, {len(merged.held)} held back, {len(merged.kept)} kept that the source dropped")
    return 0
