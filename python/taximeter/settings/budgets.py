"""The setting `budgets`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..budgets.definition import Budget, from_mapping
from ..errors import ConfigError
from .toml import named, text_or_file

__all__ = ["budgets"]

_MOST = 1_000
"""The most budgets of a program. Keys are not counted: `by=` splits one budget."""


def budgets(layers: Sequence[tuple[str, Any]]) -> tuple[Budget, ...]:
    """Merge the budgets of all sources by name. Earlier sources take precedence.

    Raises:
        ConfigError: A budget is invalid, or two of one source have the same name.
    """
    merged: dict[str, Budget] = {}
    for source, value in layers:
        try:
            own = _by_name(value)
        except RecursionError:
            raise ConfigError(f"budgets: nested too deep (from {source})") from None
        except ConfigError as error:
            raise named(error, source, value) from None
        merged = {**own, **merged}
    if len(merged) > _MOST:
        raise ConfigError(f"budgets: {len(merged):,} are more than {_MOST:,}; split one budget with by= instead")
    return tuple(merged.values())


def _by_name(value: Any) -> dict[str, Budget]:
    found: dict[str, Budget] = {}
    for one in _listed(value):
        budget = from_mapping(one)
        if budget.name in found:
            raise ConfigError(f"budget {budget.name!r}: two budgets have this name; rename one, or split one with by=")
        found[budget.name] = budget
    return found


def _listed(value: Any) -> Sequence[Any]:
    """Return the budgets of a list, of JSON text, or of a TOML or JSON file."""
    if isinstance(value, (str, os.PathLike)):
        value = text_or_file("budgets", os.fspath(value).strip().removeprefix("\ufeff"), ("[", "{"))
        if isinstance(value, Mapping) and set(value) == {"budgets"}:
            value = value["budgets"]
    if isinstance(value, (Budget, Mapping)):
        return [value]
    if isinstance(value, (list, tuple)):
        return value
    kind = type(value).__name__
    raise ConfigError(f"budgets: {kind} is neither a list of budgets, JSON, nor the path of a TOML or JSON file")
