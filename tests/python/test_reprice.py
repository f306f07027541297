"""Stored costs only change on request, and the old costs are kept."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import datetime
from decimal import Decimal

import pytest

import taximeter
from conftest import events_of
from taximeter import _core

MINE = {"rates": {"x/m": {"input_tokens": {"per_1m": "2"}}}}


def rows(meter, query: str) -> list[tuple]:
    """Query in another process. If Python's SQLite closed the file here, it would drop the locks of the meter."""
    text = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
    shown = subprocess.run([sys.executable, "-c", text, meter.settings.ledger, query], capture_output=True, text=True, check=True)
    return ast.literal_eval(shown.stdout)


@pytest.fixture(params=["unpacked", "packed"])
def tracked(state, request):
    meter = taximeter.Meter(state_dir=state, prices=MINE)
    meter.track(provider="x", model="m", input_tokens=1_000_000, team="a", tags={"plan": "pro"})
    meter.track(provider="x", model="m", input_tokens=2_000_000, team="b", batch=True)
    meter.track(provider="x", model="unknown", input_tokens=5, team="a")
    meter.track(provider="x", model="m", input_tokens=1_000_000, cost_usd="0.125", team="a")
    meter.track(provider="x", model="m", team="a")
    events_of(meter)
    if request.param == "packed":
        _core.ledger_pack(meter.settings.ledger, None)
    yield meter
    meter.close()


def test_new_prices_do_not_change_stored_costs(tracked):
    before = rows(tracked, "SELECT * FROM events")
    tracked._engine.configure({"prices": {"rates": {"x/*": {"input_tokens": {"per_1m": "3"}}}}})
    tracked.track(provider="x", model="other", input_tokens=1_000_000)
    assert events_of(tracked)[-1]["cost_usd"] == "3"
    assert rows(tracked, "SELECT * FROM events")[: len(before)] == before
    assert rows(tracked, "SELECT * FROM repricings") == []


def test_a_repricing_keeps_the_old_costs_and_updates_the_sums(tracked):
    ledger = taximeter.Ledger(tracked.settings.ledger)
    assert ledger.report("team").total.cost_usd == Decimal("6.125")
    tracked._engine.configure(
        {"prices": {"rates": {"x/*": {"input_tokens": {"per_1m": "3"}}, "x/m": {"input_tokens": {"per_1m": "3"}}}}}
    )
    dry = tracked.reprice(dry_run=True)
    assert rows(tracked, "SELECT count(*) FROM repricings") == [(0,)]
    done = tracked.reprice()
    assert done == dry
    assert done.examined == 5
    by_model = {row.model: (row.changed, row.newly_priced, row.before_usd, row.after_usd) for row in done.rows}
    assert by_model == {
        # Two computed costs, and the computed cost of a call with a reported one.
        "m": (3, 0, Decimal("6.125"), Decimal("9.125")),
        "unknown": (1, 1, Decimal(0), Decimal("0.000015")),
    }
    kept = rows(
        tracked, "SELECT r.cost_usd, r.cost_status, r.catalog, e.cost_usd FROM repricings r JOIN events e USING (id) ORDER BY e.seq"
    )
    assert [(old, status, new) for old, status, _, new in kept] == [
        ("2", "manual", "3"), ("4", "manual", "6"), (None, "unpriced", "0.000015"), ("0.125", "reported", "0.125"),
    ]  # fmt: skip
    assert kept[0][2].startswith("override-")
    # The hourly sums and the packed calls equal the events. Reports by `trace_id` read these.
    for by in ("model", "team", "cost_status", ("team", "model"), "cost_notes", "catalog"):
        fast = ledger.report(by)
        assert fast.total.cost_usd == Decimal("9.125015")
        slow = ledger.report((*([by] if isinstance(by, str) else by), "trace_id"))
        assert {(tuple(row.key.values()), row.calls, row.cost_usd) for row in fast} == {
            (tuple(row.key.values())[:-1], row.calls, row.cost_usd) for row in slow
        }
    assert rows(tracked, "SELECT count(*) FROM hourly WHERE calls <= 0") == [(0,)]
    assert tracked.reprice().rows == ()


def test_only_selected_calls_are_repriced(tracked):
    tracked._engine.configure({"prices": {"rates": {"x/m": {"input_tokens": {"per_1m": "5"}}}}})
    (row,) = tracked.reprice(where={"team": "b"}, since="1h").rows
    assert (row.changed, row.before_usd, row.after_usd) == (1, 4, 10)
    assert tracked.reprice(since="2020-01-01", until="2021-01-01").examined == 0


def test_a_call_is_repriced_at_the_rates_of_its_time(state):
    meter = taximeter.Meter(state_dir=state)
    for moment in ("2026-10-31T23:59:59Z", "2026-11-01T00:00:00Z"):
        at = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        meter.track(provider="x", model="m", input_tokens=1_000_000, started_at=at)
    events_of(meter)
    dated = [{"rates": {"input_tokens": {"per_1m": 1}}}, {"from": "2026-11-01", "rates": {"input_tokens": {"per_1m": 2}}}]
    meter._engine.configure({"prices": {"rates": {"x/m": dated}}})
    meter.reprice()
    assert [event["cost_usd"] for event in taximeter.Ledger(meter.settings.ledger).events()] == ["1", "2"]
    meter.close()


def test_a_price_that_became_unknown_does_not_replace_the_stored_cost(tracked):
    tracked._engine.configure({"prices": {"rates": {"y/other": {"input_tokens": {"per_1m": "5"}}}}})
    assert tracked.reprice().rows == ()
    assert taximeter.Ledger(tracked.settings.ledger).report().total.cost_usd == Decimal("6.125")


def test_without_a_ledger_there_is_nothing_to_reprice(state):
    meter = taximeter.Meter(state_dir=state)
    assert meter.reprice() == taximeter.ledger.Repricing(0, ())
    assert not meter.settings.ledger.exists()
    with pytest.raises(ValueError, match="since"):
        meter.reprice(since="nonsense")
    meter.close()


def test_progress_counts_the_calls_that_were_priced(meter):
    for _ in range(3):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    for _ in range(2):
        assert meter.reprice(dry_run=True).examined == meter._engine.core.repriced == 3


@pytest.mark.parametrize("is_packed", [False, True])
def test_what_caching_saved_is_exact(state, is_packed):
    rates = {"input_tokens": {"per_1m": "2"}, "cache_read_tokens": {"per_1m": "0.5"}, "cache_write_tokens": {"per_1m": "2.5"}}
    with taximeter.Meter(state_dir=state, prices={"rates": {"x/m": rates}}) as meter:
        meter.track(provider="x", model="m", input_tokens=1_000_000, cache_read_tokens=400_000, team="read")
        meter.track(provider="x", model="m", input_tokens=1_000_000, cache_write_tokens=200_000, team="write")
        meter.track(provider="x", model="m", input_tokens=1_000_000, team="plain")
        meter.track(provider="x", model="unknown", input_tokens=1_000_000, cache_read_tokens=400_000, team="unknown")
        meter.track(provider="x", model="m", input_tokens=1_000_000, cache_read_tokens=400_000, cost_usd="1", team="reported")
        saved = {event["team"]: event.get("cache_saved_usd") for event in events_of(meter)}
        assert saved == {"read": "0.6", "write": "-0.1", "plain": None, "unknown": None, "reported": "0.6"}
        if is_packed:
            _core.ledger_pack(meter.settings.ledger, None)
        ledger = taximeter.Ledger(meter.settings.ledger)
        assert {row.key["team"]: row.cache_saved_usd for row in ledger.report("team")} == {
            team: Decimal(amount or 0) for team, amount in saved.items()
        }
        assert {row.key["model"]: row.cache_saved_usd for row in ledger.report("model")} == {"m": Decimal("1.1"), "unknown": 0}
        assert ledger.report().to_dict()["total"]["cache_saved_usd"] == "1.1"
        # Reading from the cache becomes free.
        meter._engine.configure({"prices": {"rates": {"x/m": {**rates, "cache_read_tokens": {"per_1m": "0"}}}}})
        meter.reprice()
        assert ledger.report("team").total.cache_saved_usd == ledger.report("model").total.cache_saved_usd == Decimal("1.5")
