"""A provider's usage, whatever object it comes in, in taximeter's units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from . import _core
from .errors import UsageError

__all__ = ["normalize"]

_DEEPEST: Final = 5
_MOST: Final = 10**12


def normalize(usage: Any, *, provider: str | None = None) -> dict[str, Any]:
    """Counts by unit name, totals including their parts.

    Args:
        usage: A mapping of unit names, or a usage object or mapping as the OpenAI or Anthropic API reports it.
        provider: The provider, which tells apart formats that share field names.

    Raises:
        UsageError: It is no usage, or a key is neither a unit nor a field of a known format.
    """
    fields = _fields(usage)
    _check(fields)
    if not fields.keys() - _core.UNITS.keys():
        return fields
    family = {"openai": "openai", "anthropic": "anthropic"}.get(provider or "")
    try:
        counts = _core.normalize_usage(json.dumps(fields, default=_fields), family)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"usage cannot be read: {error}") from None
    if counts is None:
        unknown = sorted(str(key) for key in fields.keys() - _core.UNITS.keys())
        raise UsageError(f"{unknown[0]} is not a unit of usage; taximeter.UNITS lists those there are")
    return counts


def _check(fields: Mapping[str, Any], depth: int = 0) -> None:
    """Refuses counts that are none, wherever a provider puts them: dropping one would make the price wrong."""
    if depth > _DEEPEST:
        raise UsageError("usage is nested too deep")
    for name, value in fields.items():
        if not isinstance(name, str):
            raise UsageError(f"usage has a key that is no text: {name!r}")
        if isinstance(value, Mapping):
            _check(value, depth + 1)
        elif name.endswith("_tokens") and not (value is None or _is_count(value)) and not _is_object(value):
            raise UsageError(f"{name} must be a whole number from 0 to 1,000,000,000,000, not {value!r}")


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value >= 0 and value <= _MOST and value == int(value)


def _is_object(value: Any) -> bool:
    return not isinstance(value, (str, bytes, bool, int, float))


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dict(dump())
    try:
        return dict(vars(value))
    except TypeError:
        raise UsageError(f"usage must be a mapping or a usage object, not {type(value).__name__}") from None
