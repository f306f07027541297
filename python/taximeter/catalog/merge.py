"""Compares catalogs, and merges a newer one into the last valid one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from ..errors import CatalogError
from .document import Document, by_context, entries, flat, in_force

__all__ = ["Change", "Merged", "changes", "merge"]

# A source that lost more than a tenth of its models is considered broken.
MIN_KEPT: Final = Decimal("0.9")
# A rate that changes by a larger factor, or to or from 0, is held back until a person accepts it.
MAX_RATE_FACTOR: Final = 10


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
    """The differences from the old catalog."""
    held: list[Change] = field(default_factory=list)
    """Rates that moved too far and were not adopted. Their entries stay as they were."""
    kept: list[str] = field(default_factory=list)
    """Entries that the newer catalog lacks, which stay as retired; and request contexts that it lacks, whose rates stay."""
    left_out: list[str] = field(default_factory=list)
    """Entries of the newer catalog that this version cannot express, with the reason for each. Known ones stay as they were."""
    dated: list[str] = field(default_factory=list)
    """Entries whose rates the newer catalog replaced. The old rates stay valid until the day of the merge."""


def _rate_changes(provider: str, old: Document, new: Document, day: str) -> Iterator[Change]:
    before, after = by_context(old), by_context(new)
    for context in [*before, *(context for context in after if context not in before)]:
        earlier, later = (flat(in_force(rows.get(context, ()), day)) for rows in (before, after))
        yield from _differences(provider, new["id"], context, earlier, later)


def _differences(provider: str, model: str, context: str, earlier: Mapping[str, str], later: Mapping[str, str]) -> Iterator[Change]:
    for unit in [*earlier, *(unit for unit in later if unit not in earlier)]:
        if earlier.get(unit) != later.get(unit):
            yield Change(provider, model, "rate", context, unit, earlier.get(unit), later.get(unit))


def _large_moves(provider: str, old: Document, new: Document, today: str) -> Iterator[Change]:
    """Yield the rates of `new`, current and future, that differ too much from those of `old` to adopt them without a review."""
    before, after = by_context(old), by_context(new)
    for context, rows in after.items():
        # The rates of a new context are compared with the standard rates.
        known = flat(in_force(before.get(context, before[""]), today))
        for day in sorted({today, *(row["from"] for row in rows if row.get("from", "") > today)}):
            named = flat(in_force(rows, day))
            for change in _differences(provider, new["id"], context, known, named):
                plain = change.unit.rpartition(" above ")[0] or change.unit
                base = known.get(change.unit, known.get(plain, known.get(plain.rpartition(" ")[2])))
                is_dropped = change.new is None and context in before and " above " not in change.unit
                if base is not None and (is_dropped or (change.new is not None and _is_large_move(base, change.new))):
                    yield Change(provider, new["id"], "rate", context, change.unit, base, change.new)


def _is_large_move(old: str, new: str) -> bool:
    before, after = Decimal(old), Decimal(new)
    return before != after and (not before or not after or after > before * MAX_RATE_FACTOR or after * MAX_RATE_FACTOR < before)


def changes(old: Document, new: Document, day: date | None = None) -> list[Change]:
    """Return what is different in `new`: entries, match rules, and the rates in force on a day (today by default)."""
    today = (day or date.today()).isoformat()  # noqa: DTZ011 - for display; the time zone does not matter
    before = {(provider, model["id"]): model for provider, model in entries(old)}
    after = {(provider, model["id"]): model for provider, model in entries(new)}
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
    """Merge `new` into `old`. Entries that `new` lacks and rates that it replaces without a date are kept.

    Merging the same catalog twice changes nothing.

    Args:
        old: The last valid catalog.
        new: A newer one of the same source.
        today: The day on which replaced rates end.
        accept: Entries, as `provider/model`, whose rates may change by any amount.
        left_out: Entries of `new` that could not be expressed, as returned by `from_genai`.

    Raises:
        CatalogError: `new` has lost too many entries.
    """
    before = {(provider, model["id"]): model for provider, model in entries(old)}
    unread = {tuple(entry.partition(":")[0].split("/", 1)) for entry in left_out}
    found = {(provider, model["id"]) for provider, model in entries(new)} | unread
    # Entries that were dropped earlier are not counted again.
    live = {key for key, model in before.items() if not model.get("retired")}
    if len(live & found) < len(live) * MIN_KEPT:
        raise CatalogError(f"the new catalog has {len(live & found)} of the {len(live)} models of the last one, and was rejected")
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
            # In a fixed order of fields, so that a second merge writes the same text.
            retired = {"id": model["id"], "match": model["match"], "retired": True}
            present[provider["id"]]["models"].append(retired | model | {"retired": True})
    merged.changes = changes(old, merged.document, today)
    return merged


def _merged_model(merged: Merged, provider: str, old: Document, new: Document, today: date, accepted: set[str]) -> Document:
    name = f"{provider}/{new['id']}"
    moves = [] if name in accepted else list(_large_moves(provider, old, new, today.isoformat()))
    if moves:
        merged.held += moves
        return old
    before, after = by_context(old), by_context(new)
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
    """Return the new rows, preceded by the old rows that they do not contain."""
    yesterday, now = (today - timedelta(days=1)).isoformat(), today.isoformat()
    # Before its start, the first row applies as well.
    earliest = [{name: value for name, value in row.items() if name != "from"} for row in old[:1]]
    past = [row for row in old if row.get("from", "") <= yesterday] or earliest
    days = {row.get("from", "0000-00-00") for row in past} | ({yesterday} if past else set())
    if all(in_force(old, day) == in_force(new, day) for day in days):
        return new
    current = [] if in_force(past, now) == in_force(new, now) else [_dated(row, now) for row in in_force(new, now)]
    return [*past, *current, *(row for row in new if row.get("from", "") > now)]


def _dated(row: Document, day: str) -> Document:
    when = {"when": row["when"]} if "when" in row else {}
    return {**when, "from": day, **row}
