"""The boundaries of calendar periods: hours, days, weeks and months of a time zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..zones import named_zone, starts

__all__ = ["COUNT", "boundaries"]

COUNT: Final = 400
"""How many boundaries a definition gets: 33 years of months, more than a year of days, 16 days of hours."""


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
    where = named_zone(source["tz"])
    found: list[int] = []
    try:
        for boundary in starts(source["per"], where, source["starts"], now):
            if boundary <= now:
                found = [boundary]
            elif not found or boundary > found[-1]:
                found.append(boundary)
            if len(found) == COUNT:
                break
    except (OverflowError, ValueError):
        pass  # the end of the calendar
    return found
