"""A price catalog as a document: its form, the rates in force on a day, and its text.

A catalog is a JSON object that says where it comes from and lists providers. A provider has models, and a model has match rules and
rows of rates. Rates are decimal texts in US dollars per the unit's denominator (`taximeter.UNITS`). `data/catalog.json` is an
example. The core decides whether a catalog is valid: see `src/pricing/document.rs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

from .. import _core

__all__ = ["SCHEMA", "Document", "by_context", "entries", "flat", "in_force", "ordered", "rates_in_force", "render", "seal"]

Document = dict[str, Any]
SCHEMA: Final = 1


def ordered(rates: Document) -> Document:
    """Sort rates in the order of the units: input, output, cache, and so on."""
    return {unit: rates[unit] for unit in _core.UNITS if unit in rates}


def entries(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield every entry: its provider's id, and its model."""
    for provider in document["providers"]:
        for model in provider["models"]:
            yield provider["id"], model


def by_context(model: Document) -> dict[str, list[Document]]:
    """Group the rows of a model by their request context. Standard rows have the key ''."""
    grouped: dict[str, list[Document]] = {"": list(model["prices"])}
    for row in model.get("variants", ()):
        grouped.setdefault(_context(row), []).append(row)
    return grouped


def _context(row: Document) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(row.get("when", {}).items()))


def in_force(rows: Sequence[Document], day: str) -> list[Document]:
    """Return the rows that can apply on a day, without their start: the last row for all hours, and the time windows after it."""
    begun = [row for row in rows if row.get("from", "") <= day]
    found: list[Document] = []
    for row in begun or rows[:1]:
        if not _hours(row):
            found = []
        found.append({name: value for name, value in row.items() if name != "from"})
    return found


def _hours(row: Document) -> str:
    """Return the time window and days of a row as a prefix; empty if the row always applies."""
    parts = ["–".join(row["window"])] if "window" in row else []
    return " ".join([*parts, *row.get("days", ())]) + " " if parts or "days" in row else ""


def flat(rows: Sequence[Document]) -> dict[str, str]:
    """Return rates by a name made of hours, unit and tier."""
    flat = {}
    for row in rows:
        for unit, rate in ordered(row["rates"]).items():
            for part in [rate] if isinstance(rate, str) else rate:
                name, value = (unit, part) if isinstance(part, str) else (f"{unit} above {part[0]}", part[1])
                flat[_hours(row) + name] = value
    return flat


def rates_in_force(document: Document, day: date | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every entry as `provider/model`, with its rates on a day (today by default). Names of other contexts have a prefix."""
    today = (day or date.today()).isoformat()  # noqa: DTZ011 - for display; the time zone does not matter
    for provider, model in entries(document):
        rates: dict[str, str] = {}
        for context, rows in by_context(model).items():
            prefix = f"[{context}] " if context else ""
            rates |= {prefix + unit: rate for unit, rate in flat(in_force(rows, today)).items()}
        yield f"{provider}/{model['id']}", rates


def seal(document: Document, label: str) -> Document:
    """Give the catalog a version that depends on its contents: a label, and a checksum of its providers."""
    digest = hashlib.sha256(_compact(document["providers"]).encode()).hexdigest()
    return {**document, "version": f"{label}.{digest[:8]}"}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def render(document: Document) -> str:
    """Render the catalog as JSON with one model per line, so that a person can review the diff of an update."""
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
