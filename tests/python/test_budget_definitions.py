"""Definitions of budgets: what is accepted, what is an error, and where they come from."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taximeter
from taximeter.budgets.definition import FIELDS, Budget, from_core, from_mapping
from taximeter.budgets.refusal import error_of, with_unit
from taximeter.errors import BudgetExceeded, BudgetUnavailable
from taximeter.settings import resolve

NOW = 1_780_000_000.0


def test_a_definition_has_the_form_of_the_core():
    budget = Budget(
        "customer-day", usd=Decimal("10.00"), per="day", tz="Europe/Paris", starts="06:00", by="customer", warn_at=(0.8, 0.95),
        limits={"acme": "500", "trial-*": 1}, where={"model": ["gpt-4o", "claude-*"], "tag:env": "prod"}, share=0.25, hold_timeout="15m",
    )  # fmt: skip
    found = budget.to_core(NOW)
    boundaries = found["period"].pop("boundaries")
    assert len(boundaries) == 400
    assert boundaries[0] <= NOW < boundaries[1]
    assert json.loads(json.dumps(found)) == {
        "name": "customer-day", "unit": "usd", "amount": "10", "limits": [["acme", "500"], ["trial-*", "1"]],
        "period": {"kind": "calendar"}, "period_source": {"per": "day", "tz": "Europe/Paris", "starts": "06:00"},
        "by": ["customer"], "absent": "count", "where": {"model": ["claude-*", "gpt-4o"], "tag:env": ["prod"]},
        "action": "block", "admit": "fits", "estimate": "max", "unpriced": "allow", "unavailable": "allow", "cancelled": "input",
        "crashed": "release", "hold_timeout": 900, "warn_at": ["0.8", "0.95", "1"], "share": "0.25", "webhook": None, "cut": False,
    }  # fmt: skip


def test_other_periods_have_no_boundaries():
    rolling = Budget("b", tokens=5, rolling="24h").to_core()
    assert (rolling["period"], rolling["period_source"]) == ({"kind": "rolling", "seconds": 86_400}, None)
    assert Budget("b", calls=5, per="total").to_core()["period"] == {"kind": "total"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"usd": 10.5}, r"usd: 10\.5 is a float, .*usd=\"10\.5\""),
        ({"usd": "0"}, "usd: '0' is not above 0"),
        ({"usd": -1}, "usd: -1 is not above 0"),
        ({"usd": "ten"}, "usd: 'ten' is not a decimal number"),
        ({"usd": "nan"}, "usd: 'nan' is not a decimal number"),
        ({"usd": "Infinity"}, "is not a decimal number"),
        ({"usd": True}, "usd: True is not a decimal number"),
        ({"usd": "1e-25"}, "more than 24 decimal places"),
        ({"usd": "1e-999999999"}, "more than 24 decimal places"),
        ({"usd": "1e999999999"}, "more than 1,000,000,000,000 US dollars"),
        ({"usd": "1" * 5000}, "is not a decimal number|more than"),
        ({"tokens": 1.0, "usd": None}, "tokens: 1.0 is a float"),
        ({"tokens": "1.5", "usd": None}, "tokens: '1.5' is not a whole number"),
        ({"calls": 10**19, "usd": None}, "calls: .* is not a whole number"),
        ({"usd": None}, "usd, tokens, calls: none is given"),
        ({"calls": 5}, "usd, tokens, calls: usd and calls are given"),
        ({"per": None}, "per: missing"),
        ({"rolling": "24h"}, "per: given together with rolling"),
        ({"per": "fortnight"}, "per: 'fortnight' is not one of hour, day, week, month, total"),
        ({"per": None, "rolling": "30s"}, "rolling: '30s' is not a time from 1 minute to 31 days"),
        ({"per": None, "rolling": "32d"}, "rolling: '32d' is not a time"),
        ({"per": None, "rolling": "24h", "tz": "UTC"}, "tz: a rolling budget does not follow the calendar"),
        ({"per": "total", "starts": 1}, "starts: a total budget does not follow the calendar"),
        ({"tz": "Mars/Base"}, "tz: 'Mars/Base' is not a time zone of this system"),
        ({"tz": 7}, "tz: 7 is not the name of a time zone"),
        ({"starts": "25:00"}, "starts: '25:00' is not a time of the day"),
        ({"starts": 6}, "starts: 6 is not a time of the day"),
        ({"per": "hour", "starts": "00:30"}, "starts: hours begin at minute 0"),
        ({"per": "week", "starts": "noday"}, "starts: 'noday' is not a day of the week"),
        ({"per": "month", "starts": 32}, "starts: 32 is not a day of the month"),
        ({"by": "custmer"}, "by: there is no dimension 'custmer'; did you mean 'customer'"),
        ({"by": ["customer", "customer"]}, "by: a dimension is named twice"),
        ({"by": "tag:"}, "by: 'tag:' is not a dimension"),
        ({"by": 7}, "by: 7 is not a list of dimensions"),
        ({"by": [f"tag:{number}" for number in range(9)]}, "by: 9 dimensions are more than 8"),
        ({"where": {"colour": "red"}}, "where: 'colour' is not a dimension"),
        ({"where": {"team": []}}, "where: 'team' has no values"),
        ({"where": {"team": "a*b"}}, "where: team: 'a\\*b' has a \\* that is not its last"),
        ({"where": {"team": 1.5}}, "where: team: 1.5 is not a text"),
        ({"where": {"team": "x" * 513}}, "where: team: .* more than 512 bytes"),
        ({"where": "team"}, "where: 'team' is not a mapping"),
        ({"limits": {"acme": "5"}}, "limits: the budget has no keys without by"),
        ({"by": "team", "limits": {"acme": 0.5}}, "limits: 'acme': 0.5 is a float"),
        ({"by": "team", "limits": {"acme": "-5"}}, "limits: 'acme': '-5' is not above 0"),
        ({"absent": "never"}, "absent: 'never' is not one of count, skip, block"),
        ({"action": "stop"}, "action: 'stop' is not one of block, warn"),
        ({"admit": "all"}, "admit: 'all' is not one of fits, room"),
        ({"estimate": "least"}, "estimate: 'least' is not one of max, typical"),
        ({"unavailable": "warn"}, "unavailable: 'warn' is not one of allow, block"),
        ({"cancelled": "all"}, "cancelled: 'all' is not one of input, release"),
        ({"crashed": "all"}, "crashed: 'all' is not one of"),
        ({"unpriced": "0"}, "unpriced: '0' is not above 0.*or write 'allow' or 'block'"),
        ({"unpriced": 0.1}, "unpriced: 0.1 is a float"),
        ({"usd": None, "calls": 5, "unpriced": "0.1"}, "unpriced: '0.1' is an amount of money, and the budget counts calls"),
        ({"hold_timeout": 0}, "hold_timeout: 0 is not a time from 1 second to 31 days"),
        ({"hold_timeout": "soon"}, "hold_timeout: 'soon' is not a time"),
        ({"cut": "yes"}, "cut: 'yes' is not true or false"),
        ({"warn_at": (0,)}, "warn_at: 0 is not above 0 and at most 10"),
        ({"warn_at": ["much"]}, "warn_at: 'much' is not a decimal number"),
        ({"warn_at": [number / 100 for number in range(1, 20)]}, "warn_at: 20 thresholds are more than 16"),
        ({"share": 1.5}, "share: 1.5 is not above 0 and at most 1"),
        ({"on_threshold": "mail"}, "on_threshold: 'mail' cannot be called"),
    ],
)
def test_an_invalid_field_is_an_error_that_names_it_the_rule_and_the_remedy(fields, message):
    with pytest.raises(taximeter.ConfigError, match=message) as caught:
        Budget("b", **{"usd": "1", "per": "day", **fields})
    assert str(caught.value).startswith("budget 'b': ")


@pytest.mark.parametrize("name", ["", "Big", "a b", "x" * 65, None, 7])
def test_a_name_has_few_characters(name):
    with pytest.raises(taximeter.ConfigError, match="name: .* is not 1 to 64"):
        Budget(name, usd="1", per="day")


@pytest.mark.parametrize(
    "url", ["http://hooks.example/canary", "ftp://x/canary", "canary", "https://", 7, "https://x y/canary", "https://x:canary/"]
)
def test_a_webhook_is_a_url_that_nothing_shows(url):
    with pytest.raises(taximeter.ConfigError, match="webhook: not a URL") as caught:
        Budget("b", usd="1", per="day", webhook=url)
    assert "canary" not in str(caught.value)


def test_a_valid_webhook_is_not_shown_either():
    budget = Budget("b", usd="1", per="day", by=("team", "model"), webhook="https://hooks.example/canary")
    assert repr(budget) == "Budget('b', usd='1', per='day', by=['team', 'model'])"
    assert budget.to_core()["webhook"] == "https://hooks.example/canary"


@given(st.text(max_size=20) | st.integers() | st.decimals() | st.floats() | st.none() | st.booleans() | st.binary(max_size=5))
def test_any_amount_is_accepted_exactly_or_a_config_error(value):
    try:
        budget = Budget("b", usd=value, per="day")
    except taximeter.ConfigError:
        return
    amount = budget.to_core()["amount"]
    assert Decimal(amount) == Decimal(value)
    assert "e" not in amount.lower()


def test_equal_definitions_are_equal_however_they_are_written():
    one = Budget("b", usd="10.0", per="day", by="team, customer", where={"model": ["b", "a"]})
    assert one == Budget("b", usd=10, per="day", by=["team", "customer"], where={"model": {"a", "b"}})
    assert one != Budget("b", usd=11, per="day", by=["team", "customer"], where={"model": {"a", "b"}})
    assert hash(one) == hash(Budget("b", usd=11, per="day"))


def test_budgets_come_from_arguments_the_environment_and_the_file_and_add_up_by_name(tmp_path):
    (tmp_path / "taximeter.toml").write_text(
        """
        [[budgets]]
        name = "team-month"
        usd = 100.1
        per = "month"
        starts = 15
        by = ["team"]
        limits = { search = "250" }

        [[budgets]]
        name = "day"
        usd = "5"
        per = "day"
        """
    )
    environ = {"TAXIMETER_BUDGETS": '[{"name": "day", "usd": 0.30, "per": "day"}]'}
    found = {
        one.name: one.to_core() for one in resolve({"budgets": [Budget("run", calls=9, per="total")]}, environ, tmp_path).budgets
    }
    assert {name: one["amount"] for name, one in found.items()} == {"run": "9", "day": "0.3", "team-month": "100.1"}
    assert found["team-month"]["limits"] == [["search", "250"]]


def test_budgets_can_be_in_a_file_of_their_own(tmp_path):
    (tmp_path / "limits.toml").write_text('[[budgets]]\nname = "day"\nusd = "5"\nper = "day"\n')
    (tmp_path / "limits.json").write_text('[{"name": "json", "usd": 0.1, "per": "day"}]')
    (tmp_path / "taximeter.toml").write_text('budgets = "limits.toml"\n')
    assert [one.name for one in resolve({}, {}, tmp_path).budgets] == ["day"]
    found = resolve({"budgets": tmp_path / "limits.json"}, {}, tmp_path).budgets
    assert {one.name: one.to_core()["amount"] for one in found} == {"json": "0.1", "day": "5"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"usd": "1", "per": "day"}], r"budgets: a budget has no name.*\(from argument\)"),
        ([{"name": "a", "usd": "1", "per": "day"}] * 2, "budget 'a': two budgets have this name"),
        ([{"name": "a", "usd": "1", "per": "day", "warn": 1}], "budget 'a': there is no 'warn'; did you mean 'warn_at'"),
        ([{"name": "a", "usd": "1", "per": "day", "on_threshold": "x"}], "budget 'a': there is no 'on_threshold'"),
        ([7], "budgets: 7 is neither a Budget nor a mapping"),
        (7, "budgets: int is neither a list of budgets"),
        ("[" * 100_000, "budgets: "),
        ("[{]", "budgets: "),
        ("nowhere.toml", "nowhere.toml: "),
        ("nowhere.json", "budgets: nowhere.json: No such file"),
    ],
)
def test_a_wrong_setting_is_an_error(value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(taximeter.ConfigError, match=message):
        resolve({"budgets": value}, {}, tmp_path)


def test_a_table_has_every_field_but_the_callback():
    table = {"name": "b", "usd": "1", "per": "day", "warn_at": 0.5}
    assert from_mapping(table) == Budget(**table)
    assert {"limits", "where", "webhook", "on_threshold"} < {*FIELDS}


@pytest.mark.parametrize(
    "budget",
    [
        Budget("b", usd="1.5", per="week", starts="sun", tz="Asia/Kolkata", by=["team", "tag:a"], limits={"x/y": "2"}, webhook="https://h/x"),
        Budget("b", tokens=7, rolling="1h", where={"model": "gpt-*"}, action="warn", admit="room", warn_at=[], share="0.5"),
        Budget("b", calls=7, per="total", unpriced="block", unavailable="block", absent="skip", by="user"),
        Budget("b", usd=7, per="hour", unpriced="0.01", hold_timeout=60),
    ],
)  # fmt: skip
def test_a_definition_of_the_core_can_be_read_again(budget):
    assert Budget("b", **from_core(json.loads(json.dumps(budget.to_core())))) == budget


def refusal(**fields):
    return SimpleNamespace(**{
        "reason": "exceeded", "budget": "customer-day", "key": ("acme", "gpt-4o"), "unit": "usd", "amount": Decimal(10), "used": Decimal("9.5"),
        "held": Decimal("0.25"), "estimate": Decimal("0.5012"), "resets_at": NOW, "is_held": False, "retry_after": 3600.0, "detail": "", **fields,
    })  # fmt: skip


def test_an_exceeded_budget_says_what_is_used_and_held_and_survives_pickling():
    error = error_of(refusal())
    assert isinstance(error, BudgetExceeded)
    assert str(error) == (
        "budget customer-day, 'acme/gpt-4o': $9.50 of $10 used, $0.25 held by calls in flight; this call may take $0.5012; "
        "it resets at 2026-05-28 20:26 UTC"
    )
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again), type(again)) == (str(error), vars(error), BudgetExceeded)
    assert (again.key, again.status_code, again.retry_after, again.is_held) == ("acme/gpt-4o", 429, 3600.0, False)
    assert again.resets_at.timestamp() == NOW


def test_a_call_that_may_fit_later_says_so():
    assert "it may fit when these calls have ended" in str(error_of(refusal(is_held=True)))
    total = error_of(refusal(key=(), held=Decimal(0), resets_at=None, retry_after=None))
    assert str(total) == "budget customer-day: $9.50 of $10 used; this call may take $0.5012"
    assert "the price of this model is unknown" in str(error_of(refusal(reason="unpriced")))
    assert "attribute the call" in str(error_of(refusal(reason="absent")))


def test_an_unavailable_budget_says_why_and_survives_pickling():
    error = error_of(refusal(reason="unavailable", detail="the disk is full"))
    assert isinstance(error, BudgetUnavailable)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.budget, again.reason, again.status_code) == (str(error), "customer-day", "the disk is full", 503)
    assert "the disk is full" in str(error)


def test_amounts_are_shown_with_their_unit():
    amounts = ("0.5", "1200", "0.000001", "1234.5678", "10.00")
    assert [with_unit(Decimal(one), "usd") for one in amounts] == ["$0.50", "$1,200", "$0.000001", "$1,234.5678", "$10"]
    assert with_unit(12_345, "tokens") == "12,345 tokens"
