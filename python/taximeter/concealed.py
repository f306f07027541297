"""Texts that tracebacks with local variables, logs and error trackers do not show. A destination's URL may hold a key."""

from __future__ import annotations

from typing import Any

__all__ = ["Concealed", "concealed"]


class Concealed(str):
    """A text whose `repr` hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def concealed(value: Any) -> Any:
    """Return the same value with its texts concealed, including those of a list or a tuple. Never raises."""
    if type(value) is str:
        return Concealed(value)
    if type(value) in (list, tuple):
        return [concealed(one) for one in value]
    return value
