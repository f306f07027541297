"""Counts of budgets after a reboot, and what other processes define. A reboot is another id of the boot in the state file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import taximeter
from conftest import wait_for
from taximeter import _core

MODEL = {"provider": "openai", "model": "gpt-4o"}
DAY = {"name": "day", "unit": "usd", "amount": "100", "by": ["customer"], "period": {"kind": "total"}}
HOUR = {"name": "hour", "unit": "tokens", "amount": "1000000", "period": {"kind": "rolling", "seconds": 3600}}


def budgets_of(meter: taximeter.Meter) -> _core.Budgets:
    return _core.Budgets(meter._engine.core)


def used(budgets: _core.Budgets) -> dict[tuple[str, ...], tuple[str, str, int]]:
    return {(one["budget"], *one["key"]): (one["used"], one["held"], one["calls"]) for one in budgets.all_standings()}


def reboot(state: Path) -> None:
    path = state / "budgets" / "state"
    content = bytearray(path.read_bytes())
    content[16:32] = bytes(16)
    path.write_bytes(content)


@pytest.mark.parametrize("lost", ["nothing", "checkpoint", "ledger"])
def test_counts_survive_a_reboot(state, lost: str):
    meter = taximeter.Meter(state_dir=state)
    budgets = budgets_of(meter)
    budgets.set(json.dumps([DAY, HOUR]))
    for customer, tokens in [("acme", 4_000), ("acme", 8_000), ("other", 400)]:
        meter.track(**MODEL, input_tokens=tokens, output_tokens=0, customer=customer)
    ticket = budgets.admit(_core.Scope(customer="acme"), "openai", "gpt-4o", None, input_tokens=4_000, max_output=0)
    expected = {("day", "acme"): ("0.03", "0", 2), ("day", "other"): ("0.001", "0", 1), ("hour",): ("12400", "0", 3)}
    assert used(budgets)["day", "acme"] == ("0.03", "0.01", 2)
    meter.close(5)
    ticket.end("failed")
    with closing(sqlite3.connect(state / "ledger.db")) as ledger, ledger:
        rows = ledger.execute(
            "SELECT budget, key, calls, tokens, cost_usd FROM budget_spend WHERE budget = 'day' ORDER BY key"
        ).fetchall()
    assert rows == [("day", '["acme"]', 2, 12_000, "0.03"), ("day", '["other"]', 1, 400, "0.001")]
    if lost == "checkpoint":
        (state / "budgets" / "checkpoint").unlink()
    elif lost == "ledger":
        (state / "ledger.db").unlink()
    reboot(state)
    assert used(budgets_of(taximeter.Meter(state_dir=state))) == expected


def test_a_reset_and_calls_without_an_event_survive_a_reboot_and_a_recount(state):
    meter = taximeter.Meter(state_dir=state)
    budgets = budgets_of(meter)
    budgets.set(json.dumps([DAY]))

    def spent() -> str:
        return used(budgets).get(("day", ""), ("0",))[0]

    meter.track(**MODEL, input_tokens=4_000, output_tokens=0)
    assert budgets.reset("day", None) == 1
    meter.track(**MODEL, input_tokens=8_000, output_tokens=0)
    budgets.admit(None, "openai", "gpt-4o", None, input_tokens=400, max_output=0).end("cancelled")
    assert spent() == "0.021"
    meter.flush(5)
    assert budgets.recount() == 1
    assert spent() == "0.021"
    meter.close(5)
    reboot(state)
    budgets = budgets_of(taximeter.Meter(state_dir=state))
    assert spent() == "0.021"


def test_events_that_no_process_has_delivered_are_counted_after_a_reboot(state, run):
    run(
        """
        import json, os, taximeter
        meter = taximeter.Meter(state_dir=os.environ["TAXIMETER_STATE_DIR"])
        taximeter._core.Budgets(meter._engine.core).set(json.dumps([json.loads(os.environ["DAY"])]))
        for _ in range(50):
            meter.track(provider="openai", model="gpt-4o", input_tokens=4_000, output_tokens=0, customer="acme")
        os._exit(0)
        """,
        DAY=json.dumps(DAY),
    )
    (state / "budgets" / "checkpoint").unlink(missing_ok=True)
    reboot(state)
    assert used(budgets_of(taximeter.Meter(state_dir=state))) == {("day", "acme"): ("0.5", "0", 50)}


def test_a_running_process_takes_over_what_another_one_defines(state):
    one, other = taximeter.Meter(state_dir=state), taximeter.Meter(state_dir=state)
    budgets = budgets_of(one)
    budgets.set(json.dumps([DAY]))

    def admitted() -> Any:
        return budgets.admit(_core.Scope(customer="acme"), "openai", "gpt-4o", None, input_tokens=4_000, max_output=0)

    assert isinstance(admitted(), _core.Ticket)
    budgets_of(other).set(json.dumps([{**DAY, "amount": "0.001"}]))
    assert admitted().reason == "exceeded", "at the next call"
    assert budgets_of(other).remove("day")
    assert admitted() is None
    one.close(5)


def test_the_delivery_thread_expires_holds_and_finds_definitions(state):
    meter, other = taximeter.Meter(state_dir=state), taximeter.Meter(state_dir=state)
    meter.track(**MODEL, input_tokens=1)
    budgets = budgets_of(meter)
    assert budgets.stats()["definitions"] == 0
    budgets_of(other).set(json.dumps([{**DAY, "hold_timeout": 1}]))
    held = budgets_of(other).admit(None, "openai", "gpt-4o", None, input_tokens=4_000, max_output=1_000)
    wait_for(lambda: budgets.stats()["definitions"] and used(budgets) == {("day", ""): ("0.01", "0", 1)})
    budgets_of(other).track(held, **MODEL, input_tokens=8_000, output_tokens=0)
    assert used(budgets) == {("day", ""): ("0.02", "0", 1)}, "the difference"
    meter.close(5)
