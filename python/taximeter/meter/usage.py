"""Converts a provider's usage report, as any kind of object, to taximeter's units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from .. import _core
from ..errors import UsageError

__all__ = ["normalize"]

_MAX_DEPTH: Final = 5
# Fields that identify a provider's usage object, although some of its other names are also names of units.
_OWN_FIELDS: Final = frozenset(
    {
        "total_tokens",
        "prompt_tokens",
        "completion_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cache_creation",
        "server_tool_use",
        "service_tier",
        "iterations",
        "billed_units",
        "billable_audio_seconds",
        "cost",
        "cost_in_usd_ticks",
        "type",
    }
)
_MAX: Final = 10**12


def normalize(usage: Any, *, provider: str | None = None, inclusive: bool | None = None) -> tuple[dict[str, Any], Decimal | None]:
    """Return counts by unit name, with parts included in their totals, and the cost that the provider reports.

    `src/capture/usage.rs` describes the formats. Each is recognised by fields that only it has.

    Args:
        usage: A mapping of unit names; or a usage object or mapping of a provider, LangChain or litellm.
        provider: The provider. Some report a cost, each in its own field.
        inclusive: `True` if `input_tokens` includes cached tokens although the fields are Anthropic's, as some gateways report. By
            default, the format decides.

    Raises:
        UsageError: It is not usage, or a key is neither a unit nor a field of a known format.
    """
    fields = _fields(usage)
    _check(fields)
    further = fields.keys() - _core.UNITS.keys()
    if not further:
        return fields, None
    if further != fields.keys() and not further & _OWN_FIELDS and not any("details" in name for name in further):
        # Some unit names are also names in providers' formats, but those have further fields of their own.
        raise UsageError(f"{min(further)} is not a unit of usage; taximeter.UNITS lists all units")
    if inclusive:
        fields = _as_total(fields)
    try:
        found = _core.normalize_usage(json.dumps(fields, default=_plain), _family(fields, provider), provider)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"usage cannot be read: {error}") from None
    if found is None:
        unknown = sorted(str(key) for key in fields.keys() - _core.UNITS.keys())
        raise UsageError(f"{unknown[0]} is not a unit of usage; taximeter.UNITS lists all units")
    return found


def _family(fields: Mapping[str, Any], provider: str | None) -> str | None:
    """Return Anthropic's family if the fields that identify it are all null. Otherwise the fields decide."""
    is_other = {"prompt_tokens", "completion_tokens", "input_token_details", "output_token_details"} & fields.keys()
    return "anthropic" if provider == "anthropic" and not is_other else None


def _as_total(fields: dict[str, Any]) -> dict[str, Any]:
    """Rename Anthropic's fields to those of a format whose input includes cached tokens."""
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    return {names.get(name, name): value for name, value in fields.items()}


def _check(fields: Mapping[str, Any], depth: int = 0) -> None:
    """Reject values that are not counts, at any depth, because dropping one would make the price wrong."""
    if depth > _MAX_DEPTH:
        raise UsageError("usage is nested too deep")
    for name, value in fields.items():
        if not isinstance(name, str):
            raise UsageError(f"usage has a key that is not a text: {name!r}")
        if isinstance(value, Mapping):
            _check(value, depth + 1)
        elif name.endswith("_tokens") and not (value is None or _is_count(value)) and not _is_object(value):
            raise UsageError(f"{name} must be a whole number from 0 to 1,000,000,000,000, not {value!r}")


def _plain(value: Any) -> Any:
    """Convert values that JSON cannot express: decimals to texts, objects to their fields."""
    return str(value) if isinstance(value, Decimal) else _fields(value)


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and value >= 0 and value <= _MAX and value == int(value)


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
