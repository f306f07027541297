"""Price catalogs as documents: read from a source, compared, merged into the last good one, and written.

A catalog is a JSON object: its provenance, then providers, each with its models, their match rules and rows of rates. Rates are
decimal texts in US dollars per the unit's denominator (`taximeter.UNITS`). `data/catalog.json` is one. The core reads them and has
the last word on what is well formed: see `src/pricing/document.rs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from . import _core
from .errors import CatalogError
from .fields import MOST_PLACES

__all__ = ["Change", "Document", "Merged", "changes", "from_genai", "merge", "rates_in_force", "render", "seal"]

Document = dict[str, Any]

SCHEMA: Final = 1
# A source that lost more than a tenth of its models is broken, whatever it says.
LEAST_KEPT: Final = Decimal("0.9")
# A rate that moves by more than this, or to nothing, is held back until a person has looked at it.
LARGEST_MOVE: Final = 10

_SUFFIXES: Final = {
    "_mtok": "_tokens",
    "_mchars": "_characters",
    "_hours": "_seconds",
    "_gpixels": "_pixels",
    "_kpages": "_pages",
    "_kcount": "",
}
# genai-prices has these in its code and not in its data: Groq bills at least ten seconds of audio.
_LEAST_SECONDS: Final = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}


@dataclass(frozen=True)
class Change:
    """One difference between two catalogs."""

    provider: str
    model: str
    what: str
    """`added`, `removed`, `rate` or `rule`."""
    context: str = ""
    """The request context of a changed rate, such as `processing=batch`; empty for the standard one."""
    unit: str = ""
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        place = f"{self.provider}/{self.model}" + (f" [{self.context}]" if self.context else "")
        if self.what == "rate":
            return f"{place} {self.unit}: {self.old or '–'} → {self.new or '–'}"
        return f"{place}: {self.what}"


@dataclass
class Merged:
    """A catalog with a newer one merged into it."""

    document: Document
    changes: list[Change] = field(default_factory=list)
    """What is different in it."""
    held: list[Change] = field(default_factory=list)
    """What was not taken over: rates that moved too far. Their entries stay as they were."""
    kept: list[str] = field(default_factory=list)
    """Entries that the newer one has dropped, which stay as retired, and request contexts that it has, whose rates stay."""
    left_out: list[str] = field(default_factory=list)
    """Entries of the newer one that this version cannot express, each with the reason; known ones stay as they were."""
    dated: list[str] = field(default_factory=list)
    """Entries whose rates the newer one overwrote. The old rates stay, up to the day of the merge."""


# From genai-prices, whose public data is a list of providers.


def from_genai(providers: Sequence[Mapping[str, Any]], *, strict: bool = True) -> tuple[list[Document], list[str]]:
    """Providers of a catalog from those of `genai-prices`.

    Args:
        providers: Its public data, numbers read as `Decimal`.
        strict: Raise on a model that cannot be expressed; otherwise leave it out.

    Returns:
        The providers, and the models that were left out, each with the reason.

    Raises:
        CatalogError: The data is not of the known form.
    """
    left_out: list[str] = []
    found = []
    try:
        for provider in providers:
            models = [_model_or_reason(provider["id"], raw, left_out, strict=strict) for raw in provider["models"]]
            found.append(
                {
                    "id": provider["id"],
                    "api": provider["api_pattern"],
                    "provider_match": _clause(provider.get("provider_match")),
                    "model_match": _clause(provider.get("model_match")),
                    "fallback": list(provider.get("fallback_model_providers") or ()),
                    "models": [model for model in models if model is not None],
                }
            )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation, RecursionError) as error:
        raise CatalogError(f"this is not the data of genai-prices: {type(error).__name__}: {error}") from None
    return found, left_out


def _model_or_reason(provider: str, raw: Mapping[str, Any], left_out: list[str], *, strict: bool) -> Document | None:
    try:
        return _model(provider, raw)
    except CatalogError as error:
        if strict:
            raise
        left_out.append(f"{provider}/{raw['id']}: {error}")
        return None


def _model(provider: str, raw: Mapping[str, Any]) -> Document:
    entry: Document = {"id": raw["id"], "match": _clause(raw["match"])}
    if raw.get("deprecated"):
        entry["retired"] = True
    if least := _LEAST_SECONDS.get((provider, raw["id"])):
        entry["least_seconds"] = least
    rows = raw["prices"] if isinstance(raw["prices"], list) else [{"prices": raw["prices"]}]
    entry["prices"] = [_period(row.get("constraint")) | {"rates": _rates(row["prices"])} for row in rows]
    if variants := raw.get("price_variants"):
        entry["variants"] = [
            {"when": dict(row["when"])} | _period(row.get("constraint")) | {"rates": _rates(row["prices"])} for row in variants
        ]
    return entry


def _clause(rule: Mapping[str, Any] | None) -> Document | None:
    """One match rule; the data set compares everything but regular expressions without regard to case."""
    if rule is None:
        return None
    ((kind, value),) = rule.items()
    if kind in {"or", "and"}:
        return {kind: [_clause(part) for part in value]}
    if kind == "regex":
        return _regex(value)
    if kind in {"equals", "starts_with", "ends_with", "contains"}:
        return {kind: value.lower()}
    raise CatalogError(f"{kind!r} is no known kind of match rule")


def _regex(pattern: str) -> Document:
    """A regular expression without look-ahead; one that begins with a negative look-ahead is split in two."""
    if "(?!" not in pattern:
        return {"regex": pattern}
    depth, end = 0, None
    for index, character in enumerate(pattern[1:], start=1):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            end = index
            break
    if not pattern.startswith("^(?!") or end is None or "(?!" in pattern[end:]:
        raise CatalogError(f"look-ahead of a shape the core cannot match: {pattern}")
    refused, rest = pattern[4:end], pattern[end + 1 :]
    parts: list[Document] = [{"not": {"regex": f"^(?:{refused})"}}]
    if rest:
        parts.append({"regex": f"^{rest}"})
    return {"and": parts} if len(parts) > 1 else parts[0]


def _rates(prices: Mapping[str, Any]) -> Document:
    """Rates by unit name, in US dollars per the unit's denominator; a tiered one as [base, [above, rate], …]."""
    found: Document = {}
    for key, value in prices.items():
        if value is None:
            continue
        suffix = next((suffix for suffix in _SUFFIXES if key.endswith(suffix)), None)
        unit = key if suffix is None else key.removesuffix(suffix) + _SUFFIXES[suffix]
        if suffix is None or unit not in _core.UNITS:
            raise CatalogError(f"{key} is a rate for a unit that this version does not know")
        if isinstance(value, Mapping):
            tiers = sorted(value["tiers"], key=lambda tier: tier["start"])
            found[unit] = [_decimal(value["base"]), *([tier["start"], _decimal(tier["price"])] for tier in tiers)]
        else:
            found[unit] = _decimal(value)
    return _ordered(found)


def _ordered(rates: Document) -> Document:
    """Rates in the order of the units: input, output, cache, and so on."""
    return {unit: rates[unit] for unit in _core.UNITS if unit in rates}


def _decimal(value: Any) -> str:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite():
        raise CatalogError(f"{value} is no rate")
    if abs(number.adjusted()) > MOST_PLACES:
        raise CatalogError(f"{number} is no rate")
    # Without trailing zeros, so that the same rate is the same text. normalize() would round to 28 digits, which rates do not have.
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _period(constraint: Mapping[str, Any] | None) -> Document:
    if constraint is None:
        return {}
    if "start_date" in constraint:
        return {"from": str(constraint["start_date"])}
    times = [str(constraint[name]) for name in ("start_time", "end_time")]
    plain = [time.removesuffix("Z").removesuffix("+00:00") for time in times]
    if any(len(time) != len("00:00:00") for time in plain):
        raise CatalogError(f"a daily window that is not in UTC: {times}")
    return {"window": plain}


# Comparing and merging.


def _models(document: Document) -> Iterator[tuple[str, Document]]:
    for provider in document["providers"]:
        for model in provider["models"]:
            yield provider["id"], model


def _by_context(model: Document) -> dict[str, list[Document]]:
    """The rows of a model by their request context; the standard ones under ''."""
    grouped: dict[str, list[Document]] = {"": list(model["prices"])}
    for row in model.get("variants", ()):
        grouped.setdefault(_context(row), []).append(row)
    return grouped


def _context(row: Document) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(row.get("when", {}).items()))


def _in_force(rows: Sequence[Document], day: str) -> list[Document]:
    """What of rows can apply on a day, without its start: the last row for every hour, and the windows after it."""
    begun = [row for row in rows if row.get("from", "") <= day]
    found: list[Document] = []
    for row in begun or rows[:1]:
        if not _hours(row):
            found = []
        found.append({name: value for name, value in row.items() if name != "from"})
    return found


def _hours(row: Document) -> str:
    """The hours and days that a row is for, as a prefix; nothing where it holds all the time."""
    parts = ["–".join(row["window"])] if "window" in row else []
    return " ".join([*parts, *row.get("days", ())]) + " " if parts or "days" in row else ""


def _flat(rows: Sequence[Document]) -> dict[str, str]:
    """Rates by a name that tells hours, unit and tier."""
    flat = {}
    for row in rows:
        for unit, rate in _ordered(row["rates"]).items():
            for part in [rate] if isinstance(rate, str) else rate:
                name, value = (unit, part) if isinstance(part, str) else (f"{unit} above {part[0]}", part[1])
                flat[_hours(row) + name] = value
    return flat


def _rate_changes(provider: str, old: Document, new: Document, day: str) -> Iterator[Change]:
    before, after = _by_context(old), _by_context(new)
    for context in [*before, *(context for context in after if context not in before)]:
        earlier, later = (_flat(_in_force(rows.get(context, ()), day)) for rows in (before, after))
        yield from _differences(provider, new["id"], context, earlier, later)


def _differences(provider: str, model: str, context: str, earlier: Mapping[str, str], later: Mapping[str, str]) -> Iterator[Change]:
    for unit in [*earlier, *(unit for unit in later if unit not in earlier)]:
        if earlier.get(unit) != later.get(unit):
            yield Change(provider, model, "rate", context, unit, earlier.get(unit), later.get(unit))


def _leaps(provider: str, old: Document, new: Document, today: str) -> Iterator[Change]:
    """Rates of `new`, of today and of days to come, that are too far from those of `old` to be believed unseen."""
    before, after = _by_context(old), _by_context(new)
    for context, rows in after.items():
        # A context that is new is held against the standard rates.
        known = _flat(_in_force(before.get(context, before[""]), today))
        for day in sorted({today, *(row["from"] for row in rows if row.get("from", "") > today)}):
            named = _flat(_in_force(rows, day))
            for change in _differences(provider, new["id"], context, known, named):
                plain = change.unit.rpartition(" above ")[0] or change.unit
                base = known.get(change.unit, known.get(plain, known.get(plain.rpartition(" ")[2])))
                is_dropped = change.new is None and context in before and " above " not in change.unit
                if base is not None and (is_dropped or (change.new is not None and _is_leap(base, change.new))):
                    yield Change(provider, new["id"], "rate", context, change.unit, base, change.new)


def _is_leap(old: str, new: str) -> bool:
    before, after = Decimal(old), Decimal(new)
    return before != after and (not before or not after or after > before * LARGEST_MOVE or after * LARGEST_MOVE < before)


def changes(old: Document, new: Document, day: date | None = None) -> list[Change]:
    """What is different in `new`: entries, rules, and the rates in force on a day (today by default)."""
    today = (day or date.today()).isoformat()  # noqa: DTZ011 - a day more or less shows the same rates
    before = {(provider, model["id"]): model for provider, model in _models(old)}
    after = {(provider, model["id"]): model for provider, model in _models(new)}
    found = [Change(*key, "removed") for key in before if key not in after]
    for key, model in after.items():
        if (known := before.get(key)) is None:
            found.append(Change(*key, "added"))
            continue
        if known["match"] != model["match"]:
            found.append(Change(*key, "rule"))
        found += _rate_changes(key[0], known, model, today)
    return found


def merge(old: Document, new: Document, *, today: date, accept: Iterable[str] = (), left_out: Sequence[str] = ()) -> Merged:
    """`new` with everything that `old` knows and it does not: entries it dropped, and rates it overwrote without a date.

    Merging the same catalog again changes nothing.

    Args:
        old: The last good catalog.
        new: A newer one of the same source.
        today: The day on which overwritten rates end.
        accept: Entries, as `provider/model`, whose rates may move however far.
        left_out: Entries of `new` that could not be expressed, as `from_genai` names them.

    Raises:
        CatalogError: `new` has lost too many entries to be believed.
    """
    before = {(provider, model["id"]): model for provider, model in _models(old)}
    unread = {tuple(entry.partition(":")[0].split("/", 1)) for entry in left_out}
    found = {(provider, model["id"]) for provider, model in _models(new)} | unread
    # Entries that were dropped before do not count again.
    live = {key for key, model in before.items() if not model.get("retired")}
    if len(live & found) < len(live) * LEAST_KEPT:
        raise CatalogError(f"the new catalog has {len(live & found)} of the {len(live)} models of the last one: it is not taken over")
    accepted = set(accept)
    merged = Merged({**new, "providers": []}, left_out=list(left_out))
    for provider in new["providers"]:
        models = []
        for model in provider["models"]:
            known = before.pop((provider["id"], model["id"]), None)
            models.append(model if known is None else _merged_model(merged, provider["id"], known, model, today, accepted))
        merged.document["providers"].append({**provider, "models": models})
    present = {provider["id"]: provider for provider in merged.document["providers"]}
    for provider in old["providers"]:
        missing = [model for model in provider["models"] if (provider["id"], model["id"]) in before]
        if missing and provider["id"] not in present:
            present[provider["id"]] = {**provider, "models": []}
            merged.document["providers"].append(present[provider["id"]])
        for model in missing:
            if (provider["id"], model["id"]) in unread:
                present[provider["id"]]["models"].append(model)
                continue
            if not model.get("retired"):
                merged.kept.append(f"{provider['id']}/{model['id']}")
            # In the order of its fields, so that a second merge writes the same.
            retired = {"id": model["id"], "match": model["match"], "retired": True}
            present[provider["id"]]["models"].append(retired | model | {"retired": True})
    merged.changes = changes(old, merged.document, today)
    return merged


def _merged_model(merged: Merged, provider: str, old: Document, new: Document, today: date, accepted: set[str]) -> Document:
    name = f"{provider}/{new['id']}"
    leaps = [] if name in accepted else list(_leaps(provider, old, new, today.isoformat()))
    if leaps:
        merged.held += leaps
        return old
    before, after = _by_context(old), _by_context(new)
    rows = {context: _merged_rows(before.get(context, []), rows, today) for context, rows in after.items()}
    merged.dated += [name] if rows != after else []
    for context, known in before.items():
        if context not in rows:
            merged.kept.append(f"{name} [{context}]")
            rows[context] = known
    if rows == after:
        return new
    entry = {**new, "prices": rows.pop("")}
    if rows:
        entry["variants"] = [row for group in rows.values() for row in group]
    return entry


def _merged_rows(old: list[Document], new: list[Document], today: date) -> list[Document]:
    """New rows, after old ones that the new do not remember."""
    yesterday, now = (today - timedelta(days=1)).isoformat(), today.isoformat()
    # Before the first row begins, it holds all the same.
    earliest = [{name: value for name, value in row.items() if name != "from"} for row in old[:1]]
    past = [row for row in old if row.get("from", "") <= yesterday] or earliest
    days = {row.get("from", "0000-00-00") for row in past} | ({yesterday} if past else set())
    if all(_in_force(old, day) == _in_force(new, day) for day in days):
        return new
    current = [] if _in_force(past, now) == _in_force(new, now) else [_dated(row, now) for row in _in_force(new, now)]
    return [*past, *current, *(row for row in new if row.get("from", "") > now)]


def _dated(row: Document, day: str) -> Document:
    when = {"when": row["when"]} if "when" in row else {}
    return {**when, "from": day, **row}


def rates_in_force(document: Document, day: date | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Every entry, as `provider/model`, with its rates on a day (today by default); those of a context by its name."""
    today = (day or date.today()).isoformat()  # noqa: DTZ011 - a day more or less shows the same rates
    for provider, model in _models(document):
        rates: dict[str, str] = {}
        for context, rows in _by_context(model).items():
            prefix = f"[{context}] " if context else ""
            rates |= {prefix + unit: rate for unit, rate in _flat(_in_force(rows, today)).items()}
        yield f"{provider}/{model['id']}", rates


# Writing.


def seal(document: Document, label: str) -> Document:
    """The catalog with a version that tells its contents: a label, and a checksum of its providers."""
    digest = hashlib.sha256(_compact(document["providers"]).encode()).hexdigest()
    return {**document, "version": f"{label}.{digest[:8]}"}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def render(document: Document) -> str:
    """The catalog as JSON, one model a line, so that a refresh is a diff that a person can review."""
    head = {name: value for name, value in document.items() if name != "providers"}
    lines = [_compact(head)[:-1] + ',"providers":[']
    providers = document["providers"]
    for index, provider in enumerate(providers):
        entry = {name: value for name, value in provider.items() if name != "models"}
        models = [_compact(model) for model in provider["models"]]
        lines.append(_compact(entry)[:-1] + ',"models":[')
        lines += [line + "," for line in models[:-1]] + models[-1:]
        lines.append("]}" + ("," if index + 1 < len(providers) else ""))
    return "\n".join([*lines, "]}"]) + "\n"
