"""Checks of arguments. Errors name the place in the argument."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["as_json", "listed", "mapping", "text"]


def listed(value: object, where: str) -> list[Any]:
    """Return the items of a sequence of mappings.

    Raises:
        TypeError: The value is not such a sequence.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{where} must be a sequence of mappings, not {type(value).__name__}")
    return list(value)


def mapping(value: object, where: str) -> Mapping[str, Any]:
    """Return the value if it is a mapping.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a mapping, not {type(value).__name__}")
    return value


def text(value: object, where: str) -> str:
    """Return the value if it is a text.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a str, not {type(value).__name__}")
    return value


def as_json(value: object, where: str) -> str:
    """Return the value as JSON text.

    Raises:
        TypeError: JSON cannot express the value.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{where} must be JSON: {error}") from None
