"""What a period of a budget is expected to take, from what it took so far."""

from __future__ import annotations

import decimal
import random
from decimal import Decimal

import pytest

from taximeter.budgets.pace import Pace, pace, pace_text

DAY = 86_400


def standing(used: str, *, calls: int = 1_000, unit: str = "usd", start: float | None = 0, end: float | None = 10 * DAY) -> dict:
    return {"used": used, "calls": calls, "unit": unit, "period_start": start, "resets_at": end}


def test_the_rate_so_far_goes_on():
    low, high = pace(standing("50"), 5 * DAY)
    assert low < 100 < high
    assert low > 50
    assert (low + high) / 2 == pytest.approx(100, abs=0.02)
    # The nearer the end, the narrower.
    later = pace(standing("90"), 9 * DAY)
    assert later.high - later.low < high - low
    few = pace(standing("50", calls=20), 5 * DAY)
    assert few.low < low and few.high > high


def test_a_range_holds_what_eight_of_ten_periods_take():
    chance, held = random.Random(7), 0
    for _ in range(400):
        rate = 1 + 0.2 * chance.gauss(0, 1)  # of the second half
        first = [chance.expovariate(1) for _ in range(200)]
        second = [chance.expovariate(1) for _ in range(max(0, round(200 * rate)))]
        low, high = pace(standing(f"{sum(first):.6f}", calls=200), 5 * DAY)
        held += low <= Decimal(sum(first) + sum(second)) <= high
    assert 300 <= held <= 340


@pytest.mark.parametrize(
    ("given", "now"),
    [
        (standing("5"), 2 * DAY),  # too early
        (standing("5", calls=9), 5 * DAY),
        (standing("5", start=None, end=None), 5 * DAY),
        (standing("5"), 11 * DAY),
        (standing("5"), -1),
    ],
)
def test_there_is_none_where_it_would_be_a_guess(given, now):
    assert pace(given, now) is None


def test_it_does_not_depend_on_the_decimal_context():
    with decimal.localcontext(decimal.Context(prec=2)):
        found = pace(standing("12345.678901"), 9.9 * DAY)
        text = pace_text(found, "usd")
    assert found == pace(standing("12345.678901"), 9.9 * DAY)
    assert text == "$12,470"


@pytest.mark.parametrize(
    ("low", "high", "unit", "text"),
    [
        ("590.40", "640.10", "usd", "$590-640"), ("610", "612.5", "usd", "$611"), ("1.20", "1.95", "usd", "$1.20-1.95"),
        ("95.50", "120", "usd", "$95.50-120"), ("1500", "2500", "tokens", "1,500-2,500 tokens"), ("1000", "1001", "calls", "1,000 calls"),
        ("0.00", "0.00", "usd", "$0"),
    ],
)  # fmt: skip
def test_it_is_said_shortly(low, high, unit, text):
    assert pace_text(Pace(Decimal(low), Decimal(high)), unit) == text
