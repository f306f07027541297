"""Derive the price catalog, data/catalog.json, from the installed `genai-prices` package.

The catalog holds ids, match rules, rates, dates and units; no prose. It is written one model a line, so that a refresh is a
diff a person can review, and byte for byte the same from the same package. `--check` writes nothing and fails when the
committed file is not what the installed package gives.

Run it in the development environment: `python scripts/refresh_catalog.py [--check]`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from genai_prices import data, types, units

SCHEMA = 1
TARGET = Path(__file__).parent.parent / "data" / "catalog.json"


def clause(match: Any) -> dict[str, Any] | None:
    """One match rule; the data set compares everything but regular expressions without regard to case."""
    match match:
        case None:
            return None
        case types.ClauseEquals():
            return {"equals": match.equals.lower()}
        case types.ClauseStartsWith():
            return {"starts_with": match.starts_with.lower()}
        case types.ClauseEndsWith():
            return {"ends_with": match.ends_with.lower()}
        case types.ClauseContains():
            return {"contains": match.contains.lower()}
        case types.ClauseRegex():
            return regex_clause(match.regex)
        case types.ClauseOr():
            return {"or": [clause(part) for part in match.or_]}
        case types.ClauseAnd():
            return {"and": [clause(part) for part in match.and_]}
    raise TypeError(f"unknown kind of match rule: {match!r}")


def regex_clause(pattern: str) -> dict[str, Any]:
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
        raise ValueError(f"look-ahead of a shape the core cannot match: {pattern}")
    refused, rest = pattern[4:end], pattern[end + 1 :]
    parts: list[dict[str, Any]] = [{"not": {"regex": f"^(?:{refused})"}}]
    if rest:
        parts.append({"regex": f"^{rest}"})
    return {"and": parts} if len(parts) > 1 else parts[0]


def rates(price: types.ModelPrice, registry: units.UnitRegistry) -> dict[str, Any]:
    """Rates by unit name, in US dollars per the unit's denominator; a tiered one as [base, [above, rate], …]."""
    found: dict[str, Any] = {}
    for key, value in vars(price).items():
        if value is None:
            continue
        unit = registry.unit_for_price_key(key)
        if isinstance(value, types.TieredPrices):
            found[unit.usage_key] = [
                format(value.base, "f"),
                *([tier.start, format(tier.price, "f")] for tier in value.tiers),
            ]
        else:
            found[unit.usage_key] = format(value, "f")
    order = list(registry.units)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def constraint(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case types.StartDateConstraint():
            return {"from": value.start_date.isoformat()}
        case types.TimeOfDateConstraint():
            start, end = (time.isoformat("seconds") for time in (value.start_time, value.end_time))
            if value.start_time.utcoffset() or value.end_time.utcoffset():
                raise ValueError(f"a daily window that is not in UTC: {value!r}")
            return {"window": [start[:8], end[:8]]}
    raise TypeError(f"unknown kind of constraint: {value!r}")


def model(info: types.ModelInfo, registry: units.UnitRegistry) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": info.id, "match": clause(info.match)}
    if info.deprecated:
        entry["retired"] = True
    rows = info.prices if isinstance(info.prices, list) else [types.ConditionalPrice(prices=info.prices)]
    entry["prices"] = [constraint(row.constraint) | {"rates": rates(row.prices, registry)} for row in rows]
    if info.price_variants:
        entry["variants"] = [
            {"when": row.when} | constraint(row.constraint) | {"rates": rates(row.prices, registry)} for row in info.price_variants
        ]
    return entry


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def render() -> str:
    """The whole catalog as text."""
    registry = units._get_registry()  # noqa: SLF001 - the package has no public name for its unit table
    source_file = Path(data.__file__)
    head = {
        "schema": SCHEMA,
        "currency": "USD",
        "source": "genai-prices",
        "version": metadata.version("genai-prices"),
        "sha256": hashlib.sha256(source_file.read_bytes()).hexdigest(),
        "licence": "MIT, Copyright Pydantic Services Inc. 2025 to present",
        "script": "scripts/refresh_catalog.py",
    }
    lines = [compact(head)[:-1] + ',"providers":[']
    for index, provider in enumerate(data.providers):
        entry = {
            "id": provider.id,
            "api": provider.api_pattern,
            "provider_match": clause(provider.provider_match),
            "model_match": clause(provider.model_match),
            "fallback": provider.fallback_model_providers or [],
        }
        lines.append(compact(entry)[:-1] + ',"models":[')
        lines += [
            compact(model(info, registry)) + ("," if number + 1 < len(provider.models) else "")
            for number, info in enumerate(provider.models)
        ]
        lines.append("]}" + ("," if index + 1 < len(data.providers) else ""))
    lines.append("]}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file would change")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        if TARGET.read_text("utf-8") != text:
            sys.stderr.write("data/catalog.json is not what the installed genai-prices gives\n")
            return 1
        return 0
    TARGET.write_text(text, "utf-8")
    sys.stderr.write(f"wrote {len(text):,} characters\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
