"""The selection of calls for a report, a page of calls or a repricing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import NamedTuple

from ..moments import Moment, unix_ns
from ..zones import UNITS, span

__all__ = ["Above", "Below", "Condition", "Like", "Not", "Selection", "Where"]


@dataclass(frozen=True)
class Not:
    """A condition of `where`: the field has none of these values."""

    value: str | Sequence[str | None] | None
    """A value or several; `None` is an absent value."""


@dataclass(frozen=True)
class Like:
    """A condition of `where`: the field contains a text, in any case of letters."""

    value: str | Sequence[str]
    """The text, or several, of which one has to do."""


@dataclass(frozen=True)
class Above:
    """A condition of `where`: a number such as `latency_ms`, `cost_usd` or `input_tokens` is above a limit."""

    value: int | float | Decimal | str
    """The limit. A text has the form of a decimal number."""


@dataclass(frozen=True)
class Below:
    """A condition of `where`: a number is below a limit."""

    value: int | float | Decimal | str
    """The limit. A text has the form of a decimal number."""


Condition = str | int | float | Decimal | None | Sequence[str | None] | Not | Like | Above | Below
"""A value that the field has, several of which it has one, or another comparison. `None` is an absent value."""
Where = Mapping[str, Condition] | Sequence[tuple[str, Condition]]
"""Conditions by field. A sequence of pairs may name a field several times; a call meets all of them."""
_MOST_VALUES = 10_000
"""SQLite takes 32,766 values in a statement, and the same conditions may be in it several times."""
_SIGNS = {Not: "!=", Like: "~", Above: ">", Below: "<"}


class Selection(NamedTuple):
    """A selection of events, in the form that the core takes."""

    since: int | None
    """Only events that began at this time or later, in nanoseconds since 1970."""
    until: int | None
    """Only events that began before this time."""
    conditions: list[tuple[str, str, list[str | None]]]
    """Only events that meet all of these: a field, a comparison (`=`, `!=`, `~`, `>` or `<`) and values."""

    @classmethod
    def of(cls, since: Moment | None, until: Moment | None, where: Where | None, place: tzinfo) -> Selection:
        """Return the selection of these filters; see `Ledger.report`.

        Raises:
            ValueError: A filter is invalid.
        """
        start, end = unix_ns("since", since, place), unix_ns("until", until, place)
        conditions = []
        for name, condition in _pairs(where):
            sign = _SIGNS.get(type(condition), "=")
            values = _values(name, condition.value if isinstance(condition, Not | Like | Above | Below) else condition)
            if name not in UNITS:
                conditions.append((name, sign, values))
                continue
            if sign != "=" or len(values) != 1 or values[0] is None:
                raise ValueError(f"where: {name}: give one {name}; for others use since= and until=")
            first, second = span("where", name, values[0], place)
            start, end = max(start or 0, first), second if end is None else min(end, second)
        return cls(start, end, conditions)


def _pairs(where: Where | None) -> Iterator[tuple[str, Condition]]:
    pairs = where.items() if isinstance(where, Mapping) else () if where is None else where
    if isinstance(pairs, str) or not hasattr(pairs, "__iter__"):
        raise ValueError(f"where: {where!r} is not a mapping of field names")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - a pair
            raise ValueError(f"where: {where!r} is not a mapping of field names, nor pairs of a name and a value")
        yield pair


def _values(name: str, value: object) -> list[str | None]:
    several = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    if len(several) > _MOST_VALUES:
        raise ValueError(f"where: {name}: there are {len(several):,} values, and the most are {_MOST_VALUES:,}; ask several times")
    return [_text(name, one) for one in several]


def _text(name: str, value: object) -> str | None:
    match value:
        case None:
            return None
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"where: {name}: {value!r} is not a valid Unicode text, and no call has it") from None
            return value
        case bool():
            return str(value)
        case float() | Decimal():
            return format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
        case int():
            return str(value)
        case _:
            raise ValueError(f"where: {name}: {value!r} is not a text, a number or None")
