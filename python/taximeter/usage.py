"""A provider's usage, whatever object it comes in, in taximeter's units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import _core
from .errors import UsageError

__all__ = ["normalize"]


def normalize(usage: Any, *, provider: str | None = None) -> dict[str, Any]:
    """Counts by unit name, totals including their parts.

    Args:
        usage: A mapping of unit names, or a usage object or mapping as the OpenAI or Anthropic API reports it.
        provider: The provider, which tells apart formats that share field names.

    Raises:
        UsageError: It is no usage, or a key is neither a unit nor a field of a known format.
    """
    fields = _fields(usage)
    if not fields.keys() - _core.UNITS.keys():
        return fields
    family = {"openai": "openai", "anthropic": "anthropic"}.get(provider or "")
    counts = _core.normalize_usage(json.dumps(fields, default=_fields), family)
    if counts is None:
        unknown = sorted(str(key) for key in fields.keys() - _core.UNITS.keys())
        raise UsageError(f"{unknown[0]} is not a unit of usage; taximeter.UNITS lists those there are")
    return counts


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
