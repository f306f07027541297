"""The extension's values in Python: receipts and costs can be copied and pickled, units are constant, and times have several forms."""

from __future__ import annotations

import copy
import pickle
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

import taximeter
from conftest import events_of, without_address

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {number}": lambda value, number=number: pickle.loads(pickle.dumps(value, number)) for number in range(2, 6)},
}
TOLD = (
    "usd", "computed_usd", "input_usd", "output_usd", "status", "notes", "provider", "model", "match", "catalog", "valid_from",
)  # fmt: skip


@pytest.mark.parametrize("how", COPIES)
def test_receipts_copy_and_pickle(meter, how):
    recorded = meter.track(provider="openai", model="gpt-4o", input_tokens=1200)
    unpriced = meter.track(provider="openai", model="no-such-model", input_tokens=1)
    refused = meter.track(provider="openai")
    disabled = taximeter.Meter(enabled=False).track(provider="openai", model="gpt-4o")
    for receipt in (recorded, unpriced, refused, disabled):
        other = COPIES[how](receipt)
        assert (other.id, other.cost_usd, other.refused, bool(other)) == (
            receipt.id, receipt.cost_usd, receipt.refused, bool(receipt),
        )  # fmt: skip
        assert (other, hash(other), repr(other)) == (receipt, hash(receipt), repr(receipt))
    assert recorded != unpriced


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "gpt-4o", "usage": {"input_tokens": 1200, "output_tokens": 350}},
        {"model": "no-such-model", "usage": {"input_tokens": 1}, "provider": "openai"},
        {"model": "gpt-4o", "usage": {"prompt_tokens": 9, "total_tokens": 9, "cost": 0.25}, "provider": "openrouter"},
        {"model": "gpt-4o", "usage": {"input_tokens": 9}, "service_tier": "no-such-tier"},
    ],
)
def test_costs_copy_and_pickle(meter, how, arguments):
    cost = meter.price(**arguments)
    other = COPIES[how](cost)
    assert [getattr(other, name) for name in TOLD] == [getattr(cost, name) for name in TOLD]
    assert (other.explain(), repr(other), other, hash(other)) == (cost.explain(), repr(cost), cost, hash(cost))
    assert other != meter.price("gpt-4o", {"input_tokens": 77})


def test_invalid_pickles_of_receipts_and_costs_are_rejected():
    for arguments in [("no-id", None, None), (str(taximeter.Receipt), None, None), ("", "1", None), ("", None, "no-reason")]:
        with pytest.raises(ValueError, match="not a pickle of a Receipt"):
            taximeter._core._restore_receipt(*arguments)
    with pytest.raises(ValueError, match="not a pickle of a Cost"):
        taximeter._core._restore_cost({})


def test_units_cannot_be_changed():
    assert taximeter.UNITS["input_tokens"][0] == 1_000_000
    with pytest.raises(TypeError):
        taximeter.UNITS["input_tokens"] = 0
    with pytest.raises(TypeError):
        taximeter.UNITS["input_tokens"][1][0] = "other"


NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)
SAME = [
    NEW_YEAR,
    date(2026, 1, 1),
    "2026-01-01",
    " 2026-01-01T00:00:00Z ",
    "2026-01-01T00:00:00",
    "2026-01-01T01:00:00+01:00",
    datetime(2025, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5))),
    NEW_YEAR.timestamp(),
    int(NEW_YEAR.timestamp()),
]


@pytest.mark.parametrize("moment", SAME, ids=without_address)
def test_times_can_be_datetimes_dates_texts_or_seconds(meter, moment):
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=moment)
    (event,) = events_of(meter)
    assert event["started_at"] == "2026-01-01T00:00:00.000000000Z"
    assert meter.stats()["remarks"]["invalid_time"] == 0
    assert meter.price("gpt-4o", {"input_tokens": 1}, at=moment).usd is not None


@pytest.mark.parametrize(
    "moment", [date(2015, 1, 1), "2100-12-31T23:59:59Z", date(2099, 5, 1), "2026-12-24", date.today() + timedelta(days=400)]
)
def test_prices_are_known_for_any_day_from_2015_to_2100(meter, moment):
    assert meter.price("gpt-4o", {"input_tokens": 1_000_000}, at=moment).status == "priced"


@pytest.mark.parametrize(
    ("moment", "rule"),
    [
        (date(2014, 12, 31), "between 2015 and 2100"),
        ("2101-01-01", "between 2015 and 2100"),
        (float("nan"), "between 2015 and 2100"),
        (datetime(2026, 1, 1), "must have a time zone"),
        ("soon", "an ISO 8601 text"),
        ("", "an ISO 8601 text"),
        (object(), "an aware datetime, a date"),
        ([], "an aware datetime, a date"),
    ],
    ids=without_address,
)
def test_an_invalid_time_is_an_error_in_price_and_a_remark_in_track(meter, moment, rule):
    with pytest.raises(ValueError, match=rule):
        meter.price("gpt-4o", {"input_tokens": 1}, at=moment)
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=moment)
    assert meter.stats()["remarks"]["invalid_time"] == 1


def test_track_rejects_a_start_in_the_future(meter):
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=date.today() + timedelta(days=3))
    assert meter.stats()["remarks"]["invalid_time"] == 1


def test_a_future_rate_is_used_from_its_date_on(state):
    rows = [{"rates": {"input_tokens": {"per_1m": "2"}}}, {"from": "2030-01-01", "rates": {"input_tokens": {"per_1m": "3"}}}]
    meter = taximeter.Meter(state_dir=state, prices={"rates": {"gpt-next": rows}})
    assert meter.price("gpt-next", {"input_tokens": 1_000_000}, at="2029-12-31").usd == Decimal(2)
    assert meter.price("gpt-next", {"input_tokens": 1_000_000}, at="2030-01-01").usd == Decimal(3)
