"""Parses times and durations as users write them, for settings, filters and the command line."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final

__all__ = ["Moment", "midnight", "seconds", "starts_in_a_day", "unix_ns"]

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


_MONTH: Final = re.compile(r"(\d{4})-(\d\d)")
_WEEK: Final = re.compile(r"(\d{4})-?W(\d\d)")
_DAYS: Final = ("today", "yesterday", "this-week", "last-week", "this-month", "last-month")


def unix_ns(name: str, moment: Moment | None, where: tzinfo = timezone.utc) -> int | None:
    """Return a moment in nanoseconds since the Unix epoch, or `None` for `None`.

    Args:
        name: The name of the argument, for errors.
        moment: An aware datetime; a date, which begins at midnight; a timedelta or a text such as `7d`, `24h` or `30m` before now;
            `today`, `yesterday`, `this-week`, `last-week`, `this-month` or `last-month`; a month such as `2026-11` or a week such as
            `2026-W48`, which stand for their beginning; an ISO 8601 text; or seconds since 1970.
        where: The time zone of dates, and of texts without a zone.

    Raises:
        ValueError: The moment has another type or form.
    """
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = _parse(name, moment, where)
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
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=where).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < 1e10:  # noqa: PLR2004 - year 2286
        raise ValueError(f"{name}: {moment!r} is not a time from 1970 to 2286")
    return round(moment * 1_000_000) * 1000


def _parse(name: str, text: str, where: tzinfo) -> datetime | timedelta | date:
    text = text.strip()
    if text[-1:].lower() in _UNITS:
        length = seconds(text)
        # 1e12 seconds are some 30,000 years, more than dates can express.
        if length is not None and math.isfinite(length) and 0 <= length < 1e12:  # noqa: PLR2004
            return timedelta(seconds=length)
    try:
        if found := _MONTH.fullmatch(text):
            return date(int(found[1]), int(found[2]), 1)
        if found := _WEEK.fullmatch(text):
            return date.fromisocalendar(int(found[1]), int(found[2]), 1)
        if text.lower() in _DAYS:
            return _named_day(text.lower(), datetime.now(where).date())
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"{name}: {text!r} is neither a time span such as '7d', nor an ISO 8601 time, a month such as '2026-11', a week such as "
            f"'2026-W48', nor one of {', '.join(_DAYS)}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=where)


def _named_day(name: str, today: date) -> date:
    """Return the day on which a span begins."""
    match name:
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
        case "this-week" | "last-week":
            return today - timedelta(days=today.weekday() + 7 * (name == "last-week"))
        case "this-month":
            return today.replace(day=1)
        case _:
            return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def starts_in_a_day(moment: Moment | None) -> bool:
    """Return whether a moment is so many days or weeks before now, which is seldom the beginning of a day."""
    if isinstance(moment, str):
        text = moment.strip().lower()
        return text[-1:] in {"d", "w"} and text[:-1].isdigit()
    return isinstance(moment, timedelta) and moment % timedelta(days=1) == timedelta()


def midnight(moment: int, where: tzinfo) -> int:
    """Return the beginning of the day of a moment; both in nanoseconds since the Unix epoch."""
    day = datetime.fromtimestamp(moment // 1_000_000_000, where).date()
    return int(datetime.combine(day, time(), where).timestamp()) * 1_000_000_000
