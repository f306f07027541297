"""Converts the public data of genai-prices to the providers of a catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from .. import _core
from ..errors import CatalogError
from . import MAX_PLACES
from .document import Document, ordered

__all__ = ["from_genai"]

_SUFFIXES: Final = {
    "_mtok": "_tokens",
    "_mchars": "_characters",
    "_hours": "_seconds",
    "_gpixels": "_pixels",
    "_kpages": "_pages",
    "_kcount": "",
}
# Groq bills at least ten seconds of audio. genai-prices has this in its code, not in its data.
_MIN_SECONDS: Final = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}


def from_genai(providers: Sequence[Mapping[str, Any]], *, strict: bool = True) -> tuple[list[Document], list[str]]:
    """Convert providers of `genai-prices` to providers of a catalog.

    Args:
        providers: The public data, with numbers read as `Decimal`.
        strict: Raise if a model cannot be expressed in a catalog. Otherwise it is left out.

    Returns:
        The providers, and the models that were left out with the reason for each.

    Raises:
        CatalogError: The data does not have the known form.
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
        raise CatalogError(f"the data does not have the form of genai-prices: {type(error).__name__}: {error}") from None
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
    if least := _MIN_SECONDS.get((provider, raw["id"])):
        entry["least_seconds"] = least
    rows = raw["prices"] if isinstance(raw["prices"], list) else [{"prices": raw["prices"]}]
    entry["prices"] = [_period(row.get("constraint")) | {"rates": _rates(row["prices"])} for row in rows]
    if variants := raw.get("price_variants"):
        entry["variants"] = [
            {"when": dict(row["when"])} | _period(row.get("constraint")) | {"rates": _rates(row["prices"])} for row in variants
        ]
    return entry


def _clause(rule: Mapping[str, Any] | None) -> Document | None:
    """Convert a match rule. The public data ignores case in all rules except regular expressions."""
    if rule is None:
        return None
    ((kind, value),) = rule.items()
    if kind in {"or", "and"}:
        return {kind: [_clause(part) for part in value]}
    if kind == "regex":
        return _regex(value)
    if kind in {"equals", "starts_with", "ends_with", "contains"}:
        return {kind: value.lower()}
    raise CatalogError(f"{kind!r} is not a known kind of match rule")


def _regex(pattern: str) -> Document:
    """Convert a regular expression to one without look-ahead. A negative look-ahead at its start becomes a rule of its own."""
    if "(?!" not in pattern:
        return {"regex": pattern}
    depth, end = 0, None
    for index, character in enumerate(pattern[1:], start=1):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            end = index
            break
    if not pattern.startswith("^(?!") or end is None or "(?!" in pattern[end:]:
        raise CatalogError(f"the core does not support this look-ahead: {pattern}")
    refused, rest = pattern[4:end], pattern[end + 1 :]
    parts: list[Document] = [{"not": {"regex": f"^(?:{refused})"}}]
    if rest:
        parts.append({"regex": f"^{rest}"})
    return {"and": parts} if len(parts) > 1 else parts[0]


def _rates(prices: Mapping[str, Any]) -> Document:
    """Return rates by unit name, in US dollars per the unit's denominator; tiered rates are `[base, [above, rate], …]`."""
    found: Document = {}
    for key, value in prices.items():
        if value is None:
            continue
        suffix = next((suffix for suffix in _SUFFIXES if key.endswith(suffix)), None)
        unit = key if suffix is None else key.removesuffix(suffix) + _SUFFIXES[suffix]
        if suffix is None or unit not in _core.UNITS:
            raise CatalogError(f"{key} is a rate for an unknown unit")
        if isinstance(value, Mapping):
            tiers = sorted(value["tiers"], key=lambda tier: tier["start"])
            found[unit] = [_decimal(value["base"]), *([tier["start"], _decimal(tier["price"])] for tier in tiers)]
        else:
            found[unit] = _decimal(value)
    return ordered(found)


def _decimal(value: Any) -> str:
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite():
        raise CatalogError(f"{value} is not a rate")
    if abs(number.adjusted()) > MAX_PLACES:
        raise CatalogError(f"{number} is not a rate")
    # Without trailing zeros, so that equal rates have equal texts. normalize() would round to 28 digits.
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
        raise CatalogError(f"the daily window is not in UTC: {times}")
    return {"window": plain}
