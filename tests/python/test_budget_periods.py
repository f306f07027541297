"""The boundaries of budgets' periods, against what the clocks of the zones show."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.budgets.periods import COUNT, boundaries
from taximeter.zones import WEEKDAYS, named_zone, parts

HOUR = 3600
DAY = 24 * HOUR


def at(text: str, tz: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp())


def of(per: str, now: int, tz: str = "UTC", starts=None) -> list[int]:
    default = {"hour": None, "day": "00:00", "week": "mon", "month": 1}[per]
    return boundaries({"per": per, "tz": tz, "starts": default if starts is None else starts}, now)


def shown(boundary: int, tz: str) -> str:
    return datetime.fromtimestamp(boundary, ZoneInfo(tz)).strftime("%m-%d %H:%M")


def test_a_day_has_23_and_25_hours_when_the_clocks_of_paris_change():
    spring = of("day", at("2026-03-28T12:00", "Europe/Paris"), "Europe/Paris")[:4]
    assert [shown(one, "Europe/Paris") for one in spring] == ["03-28 00:00", "03-29 00:00", "03-30 00:00", "03-31 00:00"]
    assert [(after - before) / HOUR for before, after in pairwise(spring)] == [24, 23, 24]
    autumn = of("day", at("2026-10-24T12:00", "Europe/Paris"), "Europe/Paris")[:4]
    assert [(after - before) / HOUR for before, after in pairwise(autumn)] == [24, 25, 24]


def test_a_start_that_the_clocks_skip_is_the_first_moment_after_the_gap():
    found = of("day", at("2026-03-28T12:00", "Europe/Paris"), "Europe/Paris", "02:30")
    assert [shown(one, "Europe/Paris") for one in found[:3]] == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]


def test_a_start_that_the_clocks_show_twice_is_the_first_one():
    found = of("day", at("2026-10-24T12:00", "Europe/Paris"), "Europe/Paris", "02:30")
    assert [(after - before) / HOUR for before, after in pairwise(found[:4])] == [24, 25, 24]
    assert datetime.fromtimestamp(found[1], ZoneInfo("Europe/Paris")).fold == 0


@pytest.mark.parametrize(
    ("tz", "day", "first"),
    [
        ("America/Sao_Paulo", "2018-11-03", "11-04 01:00"),
        ("Africa/Cairo", "2026-04-23", "04-24 01:00"),
        ("America/Asuncion", "2023-09-30", "10-01 01:00"),
        ("Asia/Beirut", "2022-03-26", "03-27 01:00"),
    ],
)
def test_a_day_without_midnight_begins_when_the_gap_ends(tz, day, first):
    found = of("day", at(f"{day}T12:00", tz), tz)
    assert shown(found[1], tz) == first
    assert shown(found[2], tz).endswith("00:00")


def test_a_day_that_a_zone_skips_is_no_period():
    found = of("day", at("2011-12-29T12:00", "Pacific/Apia"), "Pacific/Apia")
    assert [shown(one, "Pacific/Apia") for one in found[:3]] == ["12-29 00:00", "12-31 00:00", "01-01 00:00"]


def test_a_month_that_begins_on_the_31st_begins_on_the_last_day_of_shorter_ones():
    found = of("month", at("2026-01-31T00:00"), starts=31)
    assert [shown(one, "UTC") for one in found[:5]] == ["01-31 00:00", "02-28 00:00", "03-31 00:00", "04-30 00:00", "05-31 00:00"]
    assert shown(of("month", at("2028-02-29T23:59"), starts=31)[0], "UTC") == "02-29 00:00"


def test_hours_of_india_begin_half_an_hour_after_those_of_utc():
    now = at("2026-07-01T10:45")
    assert of("hour", now, "Asia/Kolkata")[0] == at("2026-07-01T10:30")
    assert of("day", now, "Asia/Kolkata")[0] == at("2026-06-30T18:30")


def test_an_hour_that_the_clocks_show_twice_is_two_periods():
    found = of("hour", at("2026-10-25T00:30", "Europe/Paris"), "Europe/Paris")
    assert {after - before for before, after in pairwise(found[:8])} == {HOUR}


def test_an_hour_is_longer_where_clocks_change_by_half_an_hour():
    autumn = of("hour", at("2026-04-05T00:30", "Australia/Lord_Howe"), "Australia/Lord_Howe")[:4]
    assert [(after - before) / HOUR for before, after in pairwise(autumn)] == [1, 1.5, 1]
    spring = of("hour", at("2026-10-04T00:30", "Australia/Lord_Howe"), "Australia/Lord_Howe")[:5]
    assert [(after - before) / HOUR for before, after in pairwise(spring)] == [1, 1, 0.5, 1]


def odd_changes() -> list[tuple[str, int]]:
    """Return the zones with offsets or changes of other than whole hours, and when their clocks change, in seconds since 1970."""
    samples = [at(f"{year}-{month:02}-01T00:00") for year in range(2014, 2030) for month in (1, 4, 7, 10)]
    found = []
    for name in sorted(available_timezones()):
        where = ZoneInfo(name)
        offsets = [datetime.fromtimestamp(sample, where).utcoffset() for sample in samples]
        if all(offset % timedelta(hours=1) == timedelta(0) for offset in offsets):
            continue
        for (before, after), (one, other) in zip(pairwise(samples), pairwise(offsets), strict=True):
            while one != other and after - before > 1:
                middle = (before + after) // 2
                is_old = datetime.fromtimestamp(middle, where).utcoffset() == one
                before, after = (middle, after) if is_old else (before, middle)
            if one != other:
                found.append((name, after))
    return found


def test_an_hour_has_only_moments_at_which_the_clocks_show_it():
    changes = odd_changes()
    assert {"Australia/Lord_Howe", "Pacific/Chatham", "America/St_Johns"} <= {name for name, _ in changes}
    for name, change in changes:
        where = ZoneInfo(name)
        edges, labels = parts("hour", (change - 2 * HOUR) * 10**9, (change + 2 * HOUR) * 10**9, where)
        assert len(set(labels)) == len(labels)
        clock = None
        for moment in range(change - 2 * HOUR, change + 2 * HOUR, 60):
            place = bisect_right(edges, moment * 10**9) - 1
            before, clock = clock, datetime.fromtimestamp(moment, where).replace(tzinfo=None)
            start = datetime.fromtimestamp(edges[place] // 10**9, where)
            assert start.replace(minute=0, tzinfo=None) == clock.replace(minute=0), (name, moment)
            assert labels[place] == start.isoformat(timespec="minutes")
            # No hour has a time of the clocks twice, if one begins with it.
            is_new = before is None or clock.replace(minute=0) != before.replace(minute=0) or clock.minute == 0
            assert before is None or (edges[place] == moment * 10**9) == is_new, (name, moment)


def test_an_hour_of_chatham_into_which_clocks_are_put_back_is_its_own():
    autumn = of("hour", at("2026-04-05T02:10", "Pacific/Chatham"), "Pacific/Chatham")[:4]
    assert [(after - before) / HOUR for before, after in pairwise(autumn)] == [1, 0.75, 0.25]
    assert shown(autumn[2], "Pacific/Chatham") == "04-05 02:45"


def test_the_last_moment_of_a_period_belongs_to_it_and_the_next_one_does_not():
    boundary = at("2026-06-01T00:00")
    assert of("month", boundary - 1)[1] == boundary
    assert of("month", boundary)[0] == boundary


def test_boundaries_end_with_the_calendar():
    assert 1 < len(of("month", at("9999-06-15T00:00"))) < 8


@pytest.mark.parametrize("name", ["Mars/Base", "Europe", "../../etc/passwd", "Europe/Paris\0", ""])
def test_an_unknown_zone_is_an_error(name):
    with pytest.raises(ValueError, match="not a time zone"):
        named_zone(name)


ZONES = [
    "UTC", "Europe/Paris", "Europe/London", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia",
    "America/Sao_Paulo", "Africa/Cairo", "America/Asuncion", "Asia/Beirut", "Antarctica/Troll", "America/Havana", "Africa/Casablanca",
]  # fmt: skip
NOW = st.integers(at("1995-01-01"), at("2035-01-01"))


def first_time(label: datetime, tz: str, around: int) -> int:
    """Return the first minute in which the clocks show a time or a later one, by looking at each minute."""
    where = ZoneInfo(tz)
    minute = around
    while datetime.fromtimestamp(minute, where).replace(tzinfo=None) < label:
        minute += 60
    return minute


@settings(max_examples=20)
@given(st.sampled_from(ZONES), NOW, st.sampled_from(["00:00", "02:30", "06:00", "23:59"]))
def test_days_begin_when_the_clocks_first_show_their_start(tz, now, starts):
    found = of("day", now, tz, starts)
    assert len(found) == COUNT
    assert found[0] <= now < found[1]
    assert all(before < after for before, after in pairwise(found))
    hour, minute = map(int, starts.split(":"))
    for boundary in found[:3]:
        day = datetime.fromtimestamp(boundary, ZoneInfo(tz)).date()
        label = datetime(day.year, day.month, day.day, hour, minute)
        if datetime.fromtimestamp(boundary, ZoneInfo(tz)).replace(tzinfo=None) < label:
            continue  # the start was in a gap that ended on the next day
        assert first_time(label, tz, boundary - 30 * HOUR) == boundary


@settings(max_examples=20)
@given(st.sampled_from(ZONES), NOW)
def test_weeks_begin_on_their_day_and_months_on_theirs(tz, now):
    for number, starts in [*enumerate(WEEKDAYS)][::3]:
        weeks = of("week", now, tz, starts)
        assert weeks[0] <= now < weeks[1]
        # A zone that skips a day may skip the first one of a week.
        days = {datetime.fromtimestamp(one, ZoneInfo(tz)).weekday() for one in weeks[:20]}
        assert days <= {number, (number + 1) % 7}
        assert {round((after - before) / DAY) for before, after in pairwise(weeks[:20])} <= {6, 7}
    for starts in (1, 29, 31):
        months = of("month", now, tz, starts)
        assert months[0] <= now < months[1]
        for one in months[:13]:
            day = datetime.fromtimestamp(one, ZoneInfo(tz)).date()
            assert day.day == starts or (day + timedelta(days=1)).day == 1 or tz == "Pacific/Apia"


@settings(max_examples=20)
@given(st.sampled_from(ZONES), NOW)
def test_hours_are_what_the_clocks_show(tz, now):
    """A boundary is a minute in which the clocks show minute 0, or the end of a gap over such a minute."""
    found = of("hour", now, tz)
    assert found[0] <= now < found[1]
    where = ZoneInfo(tz)
    for start, end in pairwise(found[:12]):
        for minute in range(start, end, 60):
            here = datetime.fromtimestamp(minute, where)
            before = datetime.fromtimestamp(minute - 60, where)
            skips = here.utcoffset() > before.utcoffset() and before.hour != here.hour
            assert (here.minute == 0 or skips) == (minute == start), datetime.fromtimestamp(minute, timezone.utc)


def test_a_definition_made_later_has_the_same_boundaries():
    """A process that starts later, or that renews its definitions, finds the same periods."""
    early, late = of("day", at("2026-03-01T00:00"), "Europe/Paris"), of("day", at("2026-11-01T00:00"), "Europe/Paris")
    assert [one for one in early if one >= late[0]] == late[: COUNT - early.index(late[0])]
