"""Parses times and durations as users write them, for settings, filters and the command line."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

__all__ = ["Moment", "seconds", "unix_ns"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

Moment = datetime | date | timedelta | str | int | float


def seconds(value: Any) -> float | None:
    """Return seconds from a number or from a text such as `90`, `6h` or `7d`; `None` for anything else.

    The units are `s`, `m`, `h`, `d` and `w`.
    """
    text = str(value).strip().lower()
    unit = _UNITS.get(text[-1:])
    try:
        return float(text) if unit is None else float(text[:-1]) * unit
    except ValueError:
        return None


def unix_ns(name: str, moment: Moment | None) -> int | None:
    """Return a moment in nanoseconds since the Unix epoch, or `None` for `None`.

    Args:
        name: The name of the argument, for errors.
        moment: An aware datetime; a date (midnight UTC); a timedelta or a text such as `7d`, `24h` or `30m` before now; an ISO
            8601 text (UTC when it has no zone); or seconds since 1970.

    Raises:
        ValueError: The moment has another type or form.
    """
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = _parse(name, moment)
    if isinstance(moment, timedelta):
        try:
            moment = datetime.now(timezone.utc) - moment
        except OverflowError:
            raise ValueError(f"{name}: {moment!r} ago is before the year 1") from None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{name}: {moment!r} has no time zone")
        moment = moment.timestamp()
    elif isinstance(moment, date):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < 1e10:  # noqa: PLR2004 - year 2286
        raise ValueError(f"{name}: {moment!r} is not a time from 1970 to 2286")
    return round(moment * 1_000_000) * 1000


def _parse(name: str, text: str) -> datetime | timedelta:
    text = text.strip()
    if text[-1:].lower() in _UNITS:
        length = seconds(text)
        # 1e12 seconds are some 30,000 years, more than dates can express.
        if length is not None and math.isfinite(length) and 0 <= length < 1e12:  # noqa: PLR2004
            return timedelta(seconds=length)
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is neither a time span such as '7d' nor an ISO 8601 time") from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
