"""The boundaries of calendar periods: hours, days, weeks and months of a time zone.

A period begins when the clocks of the zone show its start. If they show it twice, it begins with the first time, but an hour begins
with each. If they skip it, it begins with the first moment after the gap. So days have 23 to 25 hours where clocks change by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final

__all__ = ["COUNT", "WEEKDAYS", "boundaries", "zone"]

COUNT: Final = 400
"""How many boundaries a definition gets: 33 years of months, more than a year of days, 16 days of hours."""
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = timedelta(days=1)


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        ValueError: The system does not have it.
    """
    if name == "UTC":
        return timezone.utc  # needs no data, which slim containers and Windows lack
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most budgets are in UTC

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, ModuleNotFoundError):
        # Names that lead to directories or out of the data's directory raise others than an unknown name.
        raise ValueError("not a time zone of this system") from None


def boundaries(source: Mapping[str, Any], now: float) -> list[int]:
    """Return the boundaries of periods in seconds since 1970, ascending: the last one until now, and those after it.

    Args:
        source: `per`: `hour`, `day`, `week` or `month`. `tz`: the IANA name of the zone. `starts`: `HH:MM` for days, a name of
            `WEEKDAYS` for weeks, a day from 1 to 31 for months; `None` for hours.
        now: Seconds since 1970.

    Returns:
        `COUNT` boundaries; fewer only at the end of the year 9999.

    Raises:
        ValueError: The system does not have the zone.
    """
    where = zone(source["tz"])
    found: list[int] = []
    try:
        for boundary in _starts(source["per"], where, source["starts"], now):
            if boundary <= now:
                found = [boundary]
            elif not found or boundary > found[-1]:
                found.append(boundary)
            if len(found) == COUNT:
                break
    except (OverflowError, ValueError):
        pass  # the end of the calendar
    return found


def _starts(per: str, where: tzinfo, starts: Any, now: float) -> Iterator[int]:
    """Yield the starts of periods, from one that has passed on."""
    today = datetime.fromtimestamp(now, where).replace(tzinfo=None)
    if per == "hour":
        yield from _hours(where, int(now) - 2 * 86_400)
        return
    # A day, week or month earlier than seems needed: it may begin in a gap, or later than midnight.
    if per == "month":
        number = today.year * 12 + today.month - 1 - 2
        while True:
            year, month = divmod(number, 12)
            yield _instant(datetime.combine(_day_of_month(year, month + 1, int(starts)), time()), where)
            number += 1
    if per == "week":
        back = (today.weekday() - WEEKDAYS.index(starts)) % 7 + 7
        day, step, at = today.date() - back * _DAY, 7 * _DAY, time()
    else:
        day, step, at = today.date() - 2 * _DAY, _DAY, time.fromisoformat(starts)
    while True:
        yield _instant(datetime.combine(day, at), where)
        day += step


def _day_of_month(year: int, month: int, day: int) -> date:
    """Return a day of a month, or its last day if it is shorter."""
    following = date(year, month, 28) + 4 * _DAY
    last = (following - following.day * _DAY).day
    return date(year, month, min(day, last))


def _hours(where: tzinfo, at: int) -> Iterator[int]:
    """Yield the starts of hours after a moment, in seconds since 1970."""
    while True:
        shown = datetime.fromtimestamp(at, where)
        following = at + 3600 - shown.minute * 60 - shown.second
        if _offset(following, where) == shown.utcoffset():
            yield (at := following)
            continue
        # The clocks change. They may show the start of an hour then, or skip it.
        at = _change(at, following, where)
        last, first = (datetime.fromtimestamp(moment, where).replace(tzinfo=None) for moment in (at - 1, at))
        if first == _hour(first) or _hour(last) < _hour(first):
            yield at


def _hour(shown: datetime) -> datetime:
    return shown.replace(minute=0, second=0)


def _instant(label: datetime, where: tzinfo) -> int:
    """Return when clocks first show a time without a zone, or the first moment after the gap that skips it, in seconds since 1970."""
    found = int(label.replace(tzinfo=where).timestamp())
    if datetime.fromtimestamp(found, where).replace(tzinfo=None) == label:
        return found
    # With the zone's offset after the gap, the skipped time is before it; with the one before the gap, after it.
    return _change(int(label.replace(tzinfo=where, fold=1).timestamp()), found, where)


def _change(before: int, after: int, where: tzinfo) -> int:
    """Return the first second with the offset that the zone has at `after`, if it changes once in between."""
    offset = _offset(after, where)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, where) == offset:
            after = middle
        else:
            before = middle
    return after


def _offset(at: int, where: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(at, where).utcoffset()
