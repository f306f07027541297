"""`taximeter budgets`, and the budgets in the overview, in reports and in the doctor's checks."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

import taximeter
from conftest import rows
from taximeter.cli.budgets import _table


def spend(state, *customers: str, **fields) -> None:
    """Charge each customer $0.0025, in a budget of $0.005 a day each."""
    budget = taximeter.Budget("customer-day", **{"usd": "0.005", "per": "day", "by": "customer", **fields})
    with taximeter.Meter(state_dir=state, budgets=[budget]) as meter:
        for customer in customers:
            assert meter.track(provider="openai", model="gpt-4o", input_tokens=1000, customer=customer)


def test_the_list_has_each_key_and_check_exits_with_3_if_one_is_used_up(cli, state):
    spend(state, "acme")
    lines = cli("budgets", "--check").stdout.splitlines()
    assert lines[0].split() == ["BUDGET", "KEY", "LIMIT", "USED", "HELD", "LEFT", "%", "RESETS", "(UTC)"]
    assert lines[1].split()[:7] == ["customer-day", "acme", "$0.005", "$0.0025", "$0", "$0.0025", "50"]
    spend(state, "acme", "other\x1b[2J")
    outcome = cli("budgets", "--check", "--json", code=3)
    found = {one["key"][0]: one for one in rows(outcome)}
    assert (found["acme"]["used"], found["acme"]["left"], found["acme"]["is_spent"]) == ("0.005", "0", True)
    assert cli("budgets", "--key", "other\x1b[2J", "--check").stdout.count("\n") == 2
    assert "\x1b" not in cli("budgets").stdout


def test_the_list_says_what_a_period_is_expected_to_take():
    now = time.time()
    one = {
        "budget": "team",
        "key": [],
        "unit": "usd",
        "amount": "500",
        "used": "250",
        "held": "0",
        "left": "250",
        "percent": 50.0,
        "calls": 4_000,
    }
    early, late = ({**one, "period_start": now - 86_400 * days, "resets_at": now + 86_400 * (30 - days)} for days in (1, 29))
    heading, first, second = _table([early, late])
    assert heading.split()[-4:] == ["%", "ON", "PACE", "RESETS", "(UTC)"][1:]
    assert first.split()[6] == "50" and second.split()[6:8] == ["50", "$259"]
    assert "PACE" not in "".join(_table([early]))


def test_a_spent_budget_that_only_warns_is_no_problem(cli, state):
    spend(state, "acme", "acme", action="warn")
    cli("budgets", "--check")


def test_without_budgets_there_is_nothing_to_list(cli):
    outcome = cli("budgets", "--check")
    assert outcome.stdout == ""
    assert "there are no budgets" in outcome.stderr


def test_budgets_are_set_changed_reset_and_removed(cli, state):
    cli("budgets", "set", "team-month", "--usd", "50", "--per", "month", "--starts", "15", "--tz", "Europe/Paris", "--by", "team,model",
        "--limit", "search/gpt-4o=80", "--where", "team=s*", "--warn-at", "0.5,0.9", "--unavailable", "block")  # fmt: skip
    with taximeter.Meter(state_dir=state) as meter:
        meter.track(provider="openai", model="gpt-4o", input_tokens=1000, team="search")
        meter.track(provider="openai", model="gpt-4o", input_tokens=1000, team="sales")
        meter.track(provider="openai", model="gpt-4o", input_tokens=1000, team="other")
    found = {tuple(one["key"]): one for one in rows(cli("budgets", "--json"))}
    assert {key: one["amount"] for key, one in found.items()} == {("search", "gpt-4o"): "80", ("sales", "gpt-4o"): "50"}

    assert "changed" in cli("budgets", "set", "team-month", "--usd", "60").stderr
    found = {tuple(one["key"]): one for one in rows(cli("budgets", "--json"))}
    assert {one["amount"] for one in found.values()} == {"80", "60"}
    assert {one["used"] for one in found.values()} == {"0.0025"}

    assert cli("budgets", "reset", "team-month", "--key", "search", "--key", "gpt-4o").stdout == "1 key reset\n"
    cli("budgets", "reset", "team-month", "--key", "nobody", "--key", "gpt-4o", code=1)
    found = {tuple(one["key"]): one["used"] for one in rows(cli("budgets", "--json"))}
    assert found[("sales", "gpt-4o")] == "0.0025"
    assert found.get(("search", "gpt-4o"), "0") == "0"

    assert "removed" in cli("budgets", "rm", "team-month").stdout
    assert cli("budgets").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "b"), "usd, tokens, calls: none is given"),
        (("set", "b", "--usd", "-1", "--per", "day"), "usd: '-1' is not above 0"),
        (("set", "b", "--usd", "1", "--per", "day", "--tz", "Mars/Base"), "tz: 'Mars/Base' is not a time zone"),
        (("set", "b", "--usd", "1", "--per", "day", "--where", "team"), "--where: 'team' is not of the form"),
        (("set", "b", "--usd", "1", "--per", "day", "--by", "team", "--limit", "x"), "--limit: 'x' is not of the form"),
        (("set", "customer-day", "--per", "month"), "customer-day"),
        (("reset", "customer-dya"), "there is no 'customer-dya'; did you mean 'customer-day'?"),
        (("rm", "other"), "there is no 'other'"),
    ],
)
def test_bad_input_exits_with_2_and_names_the_field(cli, state, arguments, message):
    spend(state, "acme")
    assert message in cli("budgets", *arguments, code=2).stderr


def test_a_settings_file_adds_no_budgets_when_a_command_reads_it(cli, state):
    spend(state, "acme")
    (state.parent / "taximeter.toml").write_text('[[budgets]]\nname = "file"\nusd = "1"\nper = "day"\n')
    assert "file" not in cli("budgets").stdout
    cli("budgets", "rm", "customer-day")
    assert cli("budgets").stdout == ""


def test_a_recount_takes_what_is_used_from_the_ledger(cli, state):
    def used():
        return [one["used"] for one in rows(cli("budgets", "--json"))]

    spend(state, "acme")
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE budget_spend SET cost_usd = '0.004'")
    assert cli("budgets", "recount").stdout == "1 key counted again from the ledger\n"
    assert used() == ["0.004"]
    # A reset is not undone.
    cli("budgets", "reset", "customer-day")
    assert "1 key" in cli("budgets", "recount").stdout
    assert used() == ["0"]
    spend(state, "acme")
    assert "1 key" in cli("budgets", "recount").stdout
    assert used() == ["0.0025"]


def test_a_recount_needs_a_ledger(cli, state):
    spend(state, "acme")
    (state / "ledger.db").unlink()
    assert "there is no ledger to count from" in cli("budgets", "recount", code=2).stderr
    assert [one["used"] for one in rows(cli("budgets", "--json"))] == ["0.0025"]


def test_reports_the_overview_and_the_doctor_show_budgets(cli, state):
    assert "budgets" not in cli("report").stdout
    assert "budgets" not in cli("doctor").stdout
    spend(state, "acme", *(f"customer-{number}" for number in range(10)))
    for command in ((), ("report",)):
        lines = cli(*command).stdout.splitlines()
        assert lines[-1] == "and 1 more key; see taximeter budgets"
        assert "budgets" in lines
    assert "budgets" not in cli("report", "--json").stdout
    assert "ok    budgets: 1 in force, 11 keys" in cli("doctor").stdout
    spend(state, "acme")
    assert "note  budgets: 1 in force, 11 keys; used up: customer-day/acme; see taximeter budgets" in cli("doctor").stdout


def test_the_doctor_says_that_budgets_cannot_be_read(cli, state):
    spend(state, "acme")
    (state / "budgets" / "definitions.json").write_text("{")
    assert "BAD   budgets: they cannot be read: " in cli("doctor", code=1).stdout


def test_metrics_of_budgets_are_in_those_of_all_processes(cli, state):
    spend(state, "acme")
    text = cli("doctor", "--prometheus").stdout
    assert 'taximeter_budget_used{budget="customer-day",key="",unit="usd"} 0.0025' in text
    assert "acme" not in text
