"""Texts that tracebacks with locals, logs and error trackers do not show: a destination's URL can hold a key."""

from __future__ import annotations

from typing import Any

__all__ = ["Concealed", "concealed"]


class Concealed(str):
    """A text with a `repr` that hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def concealed(value: Any) -> Any:
    """The same value with its texts concealed, those of a list or a tuple too. Never raises."""
    if type(value) is str:
        return Concealed(value)
    if type(value) in (list, tuple):
        return [concealed(one) for one in value]
    return value
