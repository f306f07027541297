"""Time zones, and the hours, days, weeks and months of a zone: the periods of budgets, and what reports group by."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any, Final

from .errors import ConfigError

__all__ = ["MAX_PARTS", "UNITS", "WEEKDAYS", "Zone", "machine_zone", "named_zone", "parts", "span", "starts", "zone", "zone_name"]

Zone = str | tzinfo
UNITS: Final = ("hour", "day", "week", "month")
"""The units of time. In reports, a week begins on Monday, and has its number by ISO 8601."""
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_PARTS: Final = 100_000
"""The most parts of a span: eleven years of hours."""
_DAY: Final = timedelta(days=1)
_NS: Final = 1_000_000_000
_ZONEINFO: Final = "zoneinfo/"
_BEGINS: Final = {"hour": None, "day": "00:00", "week": "mon", "month": 1}
_LABELS: Final = {
    "hour": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(Z|[+-]\d\d:\d\d)?"),
    "day": re.compile(r"\d{4}-\d\d-\d\d"),
    "week": re.compile(r"\d{4}-W\d\d"),
    "month": re.compile(r"\d{4}-\d\d"),
}
_FORMS: Final = {"hour": "2026-11-22T09:00Z", "day": "2026-11-22", "week": "2026-W48", "month": "2026-11"}


def named_zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        ValueError: The system does not have it.
    """
    if name == "UTC":
        return timezone.utc  # needs no data, which slim containers and Windows lack
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most programs need none

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, ModuleNotFoundError):
        # Names that lead to directories or out of the data's directory raise others than an unknown name.
        raise ValueError("not a time zone of this system") from None


def zone(setting: str, value: Zone | None) -> tzinfo:
    """Return a time zone.

    Args:
        setting: The name of the argument or setting, for errors.
        value: A name of the IANA database such as `Europe/Paris`, `UTC`, or a `tzinfo`. `None` and an empty text stand for the
            machine's.

    Raises:
        ConfigError: There is no such zone, or no database of zones.
    """
    if value is None or value == "":
        return machine_zone()
    if isinstance(value, tzinfo):
        return value
    try:
        return named_zone(value)
    except (ValueError, TypeError):
        raise ConfigError(
            f"{setting}: {value!r} is not a time zone of this system; write a name of the IANA database such as 'Europe/Paris', "
            "or 'UTC'; a system without the database needs the package tzdata"
        ) from None


def machine_zone() -> tzinfo:
    """Return the zone of this machine: of the variable `TZ`, or else of the system."""
    local = os.path.realpath("/etc/localtime")
    for name in (os.environ.get("TZ", "").lstrip(":"), local.rpartition(_ZONEINFO)[2] if _ZONEINFO in local else ""):
        if name.removeprefix("Etc/") in {"UTC", "UCT", "Zulu", "Universal"}:
            return timezone.utc
        try:
            return named_zone(name)
        except ValueError:
            continue
    # Without a name there is only the present difference from UTC.
    found = datetime.now().astimezone().tzinfo
    return timezone.utc if found is None or not found.utcoffset(None) else found


def zone_name(where: tzinfo) -> str:
    """Return the name of a zone for display."""
    return str(getattr(where, "key", None) or where)


def parts(unit: str, start: int, end: int, where: tzinfo) -> tuple[list[int], list[str]]:
    """Divide a span of time into the hours, days, weeks or months of a zone.

    Args:
        unit: One of `UNITS`.
        start: The beginning, in nanoseconds since 1970. The first part contains it.
        end: The end, exclusive.
        where: The zone.

    Returns:
        The beginning of each part in nanoseconds since 1970, ascending; and the label of each part.

    Raises:
        ValueError: There are more than `MAX_PARTS`.
    """
    found: list[int] = []
    for second in starts(unit, where, _BEGINS[unit], start // _NS):
        if second * _NS <= start:
            found = [second]
        elif second * _NS >= end:
            break
        elif second > found[-1]:
            found.append(second)
        if len(found) > MAX_PARTS:
            raise ValueError(f"since: the span has more than {MAX_PARTS:,} {unit}s; give a shorter one with since= and until=")
    return [second * _NS for second in found], [_label(unit, datetime.fromtimestamp(second, where)) for second in found]


def span(name: str, unit: str, label: str, where: tzinfo) -> tuple[int, int]:
    """Return the beginning and the end of a part in nanoseconds since 1970.

    Args:
        name: The name of the argument, for errors.
        unit: One of `UNITS`.
        label: The part, as reports label it. An hour without an offset is one of `where`.
        where: The zone.

    Raises:
        ValueError: The label has another form, or the zone has no such part.
    """
    wrong = ValueError(f"{name}: {label!r} is not a {unit} of the form {_FORMS[unit]}")
    if not _LABELS[unit].fullmatch(label):
        raise wrong
    try:
        moment = _moment(unit, label, where)
        for start, end in pairwise(starts(unit, where, _BEGINS[unit], moment.timestamp())):
            shown = _label(unit, datetime.fromtimestamp(start, where))
            if shown == label or (unit == "hour" and moment.timestamp() == start):
                return start * _NS, end * _NS
            if start > moment.timestamp() + _DAY.total_seconds():
                break
    except (ValueError, OverflowError):
        pass
    raise wrong from None


def _moment(unit: str, label: str, where: tzinfo) -> datetime:
    """Return a moment in a part, or shortly before it."""
    if unit == "hour":
        moment = datetime.fromisoformat(label.replace("Z", "+00:00"))
        return moment if moment.tzinfo else moment.replace(tzinfo=where)
    if unit == "week":
        year, number = label.split("-W")
        day = date.fromisocalendar(int(year), int(number), 1)
    else:
        day = date.fromisoformat(label if unit == "day" else f"{label}-01")
    return datetime.combine(day, time(), where)


def _label(unit: str, moment: datetime) -> str:
    match unit:
        case "hour":
            text = moment.isoformat(timespec="minutes")
            return f"{text[:-6]}Z" if moment.tzinfo is timezone.utc else text
        case "week":
            year, number, _ = moment.isocalendar()
            return f"{year:04}-W{number:02}"
        case "month":
            return f"{moment:%Y-%m}"
        case _:
            return f"{moment:%Y-%m-%d}"


def starts(per: str, where: tzinfo, begins: Any, now: float) -> Iterator[int]:
    """Yield when hours, days, weeks or months of a zone begin, in seconds since 1970, ascending, without end.

    A period begins when the clocks of the zone show its start. If they show it twice, it begins with the first time, but an hour
    begins with each. If they skip it, it begins with the first moment after the gap. So days have 23 to 25 hours where clocks change
    by one. An hour also begins when clocks are put back into it from the middle of the next one, as in Chatham.

    Args:
        per: One of `UNITS`.
        where: The zone.
        begins: `HH:MM` for days, one of `WEEKDAYS` for weeks, a day from 1 to 31 for months (the last day if it is shorter).
        now: Seconds since 1970. The first start is before it.

    Raises:
        OverflowError, ValueError: At the end of the calendar.
    """
    today = datetime.fromtimestamp(now, where).replace(tzinfo=None)
    if per == "hour":
        yield from _hours(where, int(now) - 2 * 86_400)
        return
    # A day, week or month earlier than seems needed: it may begin in a gap, or later than midnight.
    if per == "month":
        number = today.year * 12 + today.month - 1 - 2
        while True:
            year, month = divmod(number, 12)
            yield _instant(datetime.combine(_day_of_month(year, month + 1, int(begins)), time()), where)
            number += 1
    if per == "week":
        back = (today.weekday() - WEEKDAYS.index(begins)) % 7 + 7
        day, step, at = today.date() - back * _DAY, 7 * _DAY, time()
    else:
        day, step, at = today.date() - 2 * _DAY, _DAY, time.fromisoformat(begins)
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
        # The clocks change. They may show the start of an hour then, or another hour: one whose start they skip, or an earlier one.
        at = _change(at, following, where)
        last, first = (datetime.fromtimestamp(moment, where).replace(tzinfo=None) for moment in (at - 1, at))
        if first == _hour(first) or _hour(last) != _hour(first):
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
