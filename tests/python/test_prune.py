"""Deleting calls, with the sums of reports in step."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest

import taximeter
from conftest import rows
from taximeter import _core

DAY = 86_400.0
BY = ((), "model", "team", "customer", ("customer", "model"), "user", "tag:plan", "day", ("status", "cost_status"))


def fill(state, count=400, **settings):
    """Record calls of the last 40 days, ten a day, half of them of a customer with an unusual name."""
    meter = taximeter.Meter(state_dir=state, **settings)
    now = time.time()
    for index in range(count):
        meter.track(
            provider="openai", model="gpt-4o" if index % 3 else "no-such-model", input_tokens=index, output_tokens=1,
            customer="ACME-canary" if index % 2 else None, user=f"u{index % 5}", team="a", tags={"plan": f"p{index % 3}"},
            status="error" if index % 13 == 0 else "success", started_at=now - index * DAY / 10 - 60,
        )  # fmt: skip
    meter.flush()
    meter.close()
    return taximeter.Ledger(state / "ledger.db", timezone="UTC")


def check_reports_agree(own):
    """Every report has the sums of the calls that are there."""
    events = list(own.events())
    for by in BY:
        report = own.report(by)
        assert report.total.calls == sum(row.calls for row in report) == len(events), by
        assert report.total.cost_usd == own.report("user").total.cost_usd
        assert all(row.calls for row in report)
    return events


def test_old_calls_are_deleted_with_their_sums(state):
    own = fill(state)
    assert own.prune("20d", dry_run=True).events == 200
    assert len(check_reports_agree(own)) == 400
    seen = []
    assert own.prune(timedelta(days=20), progress=lambda *done: seen.append(done)).events == 200
    events = check_reports_agree(own)
    assert len(events) == 200
    assert own.prune("20d").events == 0
    assert not own.check().faults
    assert own.prune("0s").events == 200
    assert check_reports_agree(own) == []


def test_nothing_is_left_of_a_customers_calls(state, cli):
    own = fill(state)
    assert b"ACME-canary" in (state / "ledger.db").read_bytes()
    assert rows(cli("prune", "--customer", "ACME-canary", "--dry-run", "--json"))[0]["deleted"] == 200
    assert "200 calls deleted" in cli("prune", "--customer", "ACME-canary").stderr
    events = check_reports_agree(own)
    assert len(events) == 200 and all("customer" not in event for event in events)
    assert {row.key["customer"] for row in own.report("customer")} == {None}
    own.compact()
    assert not any(b"ACME-canary" in path.read_bytes() for path in state.glob("ledger.db*"))
    assert own.prune("10d", customer="nobody").events == 0
    assert own.prune(customer="ACME-canary", user="u1").events == 0
    assert "40 calls deleted" in cli("prune", "--user", "u1").stderr
    assert {event["user"] for event in check_reports_agree(own)} == {"u0", "u2", "u3", "u4"}


def test_wrong_arguments_are_named(state, cli):
    own = fill(state, 10)
    for wrong, message in (
        ({}, "give before, customer or user"),
        ({"customer": ""}, "customer: "),
        ({"user": ""}, "user: "),
        ({"before": "soon"}, "before: "),
    ):
        with pytest.raises(ValueError, match=message):
            own.prune(**wrong)
    assert "give --before, --customer or --user" in cli("prune", code=2).stderr
    assert "user: the name is empty" in cli("prune", "--user", "", code=2).stderr
    assert "before: " in cli("prune", "--before", "soon", code=2).stderr
    assert len(check_reports_agree(own)) == 10
    assert taximeter.Ledger(state / "none.db").prune("1d").events == 0


def test_repricings_of_deleted_calls_go_with_them(state):
    own = fill(state, 60)
    meter = taximeter.Meter(
        state_dir=state, prices={"rates": {"openai/no-such-model": {"input_tokens": {"per_1m": 2}, "output_tokens": {"per_1m": 8}}}}
    )
    assert meter.reprice().rows
    meter.close()
    own.prune("3d")
    check_reports_agree(own)
    (left,) = next(iter(own.query("SELECT count(*) FROM repricings WHERE id NOT IN (SELECT id FROM events)")))
    assert left == 0


def test_packed_calls_are_deleted_too(state):
    own = fill(state, 2_000)
    _core.ledger_pack(own.path, None)
    assert own.prune("30d", customer="ACME-canary").events > 0
    assert len(check_reports_agree(own)) < 2_000
    own.prune("100d")
    kept = {by: own.report(by).to_dicts() for by in ("customer", "tag:plan", ("user", "day"))}
    assert own.prune("20d", keep_rollups=True).events > 0
    assert {by: own.report(by).to_dicts() for by in kept} == kept
    assert len(list(own.events())) < own.report(()).total.calls


def test_the_file_becomes_smaller(state):
    own = fill(state, 6_000)
    before = (state / "ledger.db").stat().st_size
    assert own.prune("1d").free == 0
    assert (state / "ledger.db").stat().st_size < before / 4


def test_calls_are_deleted_beside_a_writer(state):
    own = fill(state, 9_000)
    stop, meter, tracked = threading.Event(), taximeter.Meter(state_dir=state, linger_ms=0), []

    def write():
        while not stop.is_set():
            tracked.append(meter.track(provider="openai", model="gpt-4o", input_tokens=1, customer="w").id)
            meter.flush()

    writer = threading.Thread(target=write)
    writer.start()
    own.prune("1h")
    stop.set()
    writer.join()
    meter.close()
    assert [event["id"] for event in check_reports_agree(own) if event.get("customer") == "w"] == tracked


def test_reports_still_count_calls_whose_rows_alone_are_deleted(state):
    own = fill(state)
    before = {by: own.report(by).to_dicts() for by in ((), "model", "day")}
    assert own.prune("20d", keep_rollups=True).events == 200
    assert len(list(own.events())) == 200
    assert {by: own.report(by).to_dicts() for by in before} == before


def test_sums_are_kept_of_old_calls_that_arrive_meanwhile(state):
    # Reports that read packed calls would no longer have those whose rows are deleted before they are packed.
    own = fill(state, 9_000)
    stop, meter = threading.Event(), taximeter.Meter(state_dir=state, linger_ms=0)

    def write():
        while not stop.is_set():
            meter.track(provider="openai", model="gpt-4o", input_tokens=1, user="late", started_at=time.time() - 100 * DAY)
            meter.flush()

    writer = threading.Thread(target=write)
    writer.start()
    own.prune("1d", keep_rollups=True)
    stop.set()
    writer.join()
    meter.close()
    assert own.report("user").total == own.report("model").total
    assert own.check().faults == ()


def test_retention_deletes_old_calls_when_new_ones_are_stored(state):
    own = fill(state)
    meter = taximeter.Meter(state_dir=state, linger_ms=0, retention="20d")
    deadline = time.monotonic() + 60
    while own.report(()).total.calls > 300 and time.monotonic() < deadline:
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, user="new")
        meter.flush()
        time.sleep(0.1)
    meter.close()
    events = check_reports_agree(own)
    assert sum(event.get("user") != "new" for event in events) == 200


def test_new_ledgers_give_space_back_and_older_ones_after_a_compaction(state):
    own = fill(state, 100)
    with closing(sqlite3.connect(state / "ledger.db")) as connection, connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        connection.execute("PRAGMA journal_mode = delete")
        connection.execute("PRAGMA auto_vacuum = none")
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    connection.close()
    own.compact()
    with closing(sqlite3.connect(state / "ledger.db")) as connection, connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()
    assert len(check_reports_agree(own)) == 100
