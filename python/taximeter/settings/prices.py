"""The setting `prices`: the user's rates, multipliers and aliases, and how the catalog is updated."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from .. import _core
from ..catalog import MAX_PLACES
from ..errors import CatalogError, ConfigError
from ..moments import seconds
from .model import Prices
from .toml import TOO_DEEP, named, text_or_file
from .values import FALSE, TRUE, flag

__all__ = ["prices"]

_RULES: Final = ("rates", "multipliers", "aliases")


def prices(layers: Sequence[tuple[str, Any]]) -> Prices:
    """Merge the price settings of all sources. Earlier sources take precedence."""
    merged: dict[str, Any] = {}
    rules: dict[str, Any] = {}
    for source, layer in reversed(layers):
        _add_prices(merged, rules, source, layer)
    return Prices(
        overrides=_core_text(rules) if rules else "",
        long_tail=merged.get("long_tail", False),
        refresh=merged.get("refresh"),
        source=merged.get("source"),
    )


def _add_prices(merged: dict[str, Any], rules: dict[str, Any], layer: str, value: Any) -> None:
    """Put the price settings of one source over those already merged. Errors name the source."""
    try:
        found, own = _checked_prices(_price_table(value))
    except RecursionError:
        raise ConfigError(f"prices: {TOO_DEEP} (from {layer})") from None
    except ConfigError as error:
        raise named(error, layer, value) from None
    merged |= found
    for name, given in own.items():
        if name == "free":
            rules[name] = [*given, *rules.get(name, ())]
        else:
            rules.setdefault(name, {}).update(given)


def _checked_prices(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the checked settings of a table, and its rules by kind."""
    if unknown := sorted(set(table) - {*_RULES, "free", "long_tail", "refresh", "source"}):
        raise ConfigError(f"prices: {unknown[0]!r} is not one of {', '.join(_RULES)}, free, long_tail, refresh, source")
    own: dict[str, Any] = {}
    for name in _RULES:
        given = table.get(name)
        if not isinstance(given, (Mapping, type(None))):
            raise ConfigError(f"prices: {name}: {given!r} is not a mapping")
        if given:
            own[name] = {str(key): value for key, value in given.items()}
    if free := table.get("free"):
        if isinstance(free, str) or not isinstance(free, (list, tuple)) or not all(isinstance(key, str) for key in free):
            raise ConfigError(f'prices: free: {free!r} is not a list of keys, such as ["ollama/*"]')
        own["free"] = list(free)
    _core.check_overrides(_core_text(own))
    found: dict[str, Any] = {}
    if (source := table.get("source")) is not None:
        if not isinstance(source, (str, os.PathLike)):
            raise ConfigError(f"prices: source: {type(source).__name__} is neither a URL nor a path")
        from ..catalog.source import check_source  # noqa: PLC0415 - few users set a source

        try:
            check_source(str(source))
        except CatalogError as error:
            raise ConfigError(f"prices: source: {error}") from None
        found["source"] = str(source)
    if "long_tail" in table:
        found["long_tail"] = flag("prices: long_tail", table["long_tail"])
    if "refresh" in table:
        found["refresh"] = _interval(table["refresh"])
    return found, own


def _price_table(value: Any) -> Mapping[str, Any]:
    """Return price settings from a mapping, from JSON text, or from a TOML or JSON file."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (str, os.PathLike)):
        text = str(value).removeprefix("\ufeff").strip()
        if "://" in text and not text.startswith("{"):
            raise ConfigError("prices: a URL belongs in prices.source; prices takes a mapping, JSON or a path")
        table = text_or_file("prices", text, "{")
        if isinstance(table, Mapping):
            return _own_table(table)
    raise ConfigError(f"prices: {type(value).__name__} is neither a mapping, JSON, nor the path of a TOML or JSON file")


def _core_text(rules: Mapping[str, Any]) -> str:
    """Return rules in the form that the core reads: JSON with numbers as decimal texts."""
    return json.dumps(_exact(rules), sort_keys=True)


def _own_table(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table itself, or its only key `prices`: a file of prices may have the same layout as `taximeter.toml`."""
    inner = table.get("prices")
    return inner if isinstance(inner, Mapping) and set(table) == {"prices"} else table


def _exact(value: Any) -> Any:
    """Convert numbers at any depth to decimal texts, the only form that the core accepts."""
    if isinstance(value, Mapping):
        return {str(key): _exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item) for item in value]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = Decimal(str(value))
        # Larger numbers than a rate can have keep their exponent, because 1e99999999 written out would take a hundred megabytes.
        is_short = number.is_finite() and abs(number.adjusted()) <= MAX_PLACES
        return format(number, "f") if is_short else str(number)
    return value if isinstance(value, str) else str(value)


def _interval(value: Any) -> float | None:
    """Return seconds from a number, from a text such as `6h`, or from `True`, which means daily. `None` means never."""
    if value is None or value is False:
        return None
    if value is True:
        return 86_400.0
    text = str(value).strip().lower()
    if text in FALSE:
        return None
    if text in TRUE - {"1"}:
        return 86_400.0
    found = seconds(text)
    if found is None or not 60 <= found <= 366 * 86_400:  # noqa: PLR2004 - polite to the source; at most a year
        raise ConfigError(f"prices: refresh: {value!r} is not a time from 60 seconds to a year, such as '6h' or '1d'")
    return found
