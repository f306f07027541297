"""Ledgers of an earlier schema are upgraded by the next writer, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import taximeter
from old_ledger import age

CALLS = 25_000
"""More than the calls of six transactions of an upgrade."""
UPGRADE = "import sys; from taximeter import _core; _core.ledger_pack(sys.argv[1], None)"
TRACK = """
import taximeter
taximeter.init(instrument=False)
for number in range(200):
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=number, customer=f"new-{number}")
assert taximeter.flush(60).pending == 0
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """Return a state directory with a ledger of schema 7."""
    state = tmp_path_factory.mktemp("old") / "state"
    meter = taximeter.Meter(state_dir=state)
    for number in range(CALLS):
        meter.track(
            provider="openai", model=f"m-{number % 7}", input_tokens=number, output_tokens=number % 3, customer=f"customer-{number % 500}",
            session=f"s-{number}", tags={"plan": "pro"} if number % 2 else None, status="error" if number % 9 == 0 else "success",
            latency_ms=number / 7,
        )  # fmt: skip
    assert meter.flush(60).pending == 0
    meter.close()
    age(state / "ledger.db", 7)
    return state


def stored(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM events ORDER BY seq").fetchall()


def version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def killed_in_its_upgrade(ledger: Path) -> bool:
    """Kill a process that upgrades the ledger, between two transactions of it. Return whether it had not finished."""
    process = subprocess.Popen([sys.executable, "-c", UPGRADE, str(ledger)])
    with closing(sqlite3.connect(ledger, timeout=300, isolation_level=None)) as connection:
        while process.poll() is None:
            # The upgrade waits while this transaction is open.
            connection.execute("BEGIN IMMEDIATE")
            has_begun = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'calls'").fetchone()[0]
            if has_begun:
                break
            connection.execute("ROLLBACK")
        process.kill()
        process.wait()
        return version(connection) == 7 and connection.execute("SELECT count(*) FROM calls").fetchone()[0] < CALLS


def test_an_upgrade_that_was_killed_loses_nothing(old, tmp_path, run):
    before, report = stored(old / "ledger.db"), taximeter.Ledger(old / "ledger.db").report("customer").to_dicts()
    for attempt in range(20):
        state = tmp_path / str(attempt)
        shutil.copytree(old, state)
        if killed_in_its_upgrade(state / "ledger.db"):
            break
    else:
        pytest.fail("each upgrade had ended before it was killed")
    own = taximeter.Ledger(state / "ledger.db")
    assert stored(own.path) == before, "a part is copied, and tools read the table"
    assert own.report("customer").to_dicts() == report
    run(TRACK, TAXIMETER_STATE_DIR=str(state))
    after = stored(own.path)
    assert after[:CALLS] == before
    assert [row[9] for row in after[CALLS:]] == list(range(200))
    assert not own.check().faults
    with closing(sqlite3.connect(own.path)) as connection:
        assert version(connection) > 7


def test_writers_beside_an_upgrade_lose_nothing(old, tmp_path):
    """Three programs find the old file at the same time: one of them upgrades it, or they share that work."""
    state = tmp_path / "state"
    shutil.copytree(old, state)
    before = stored(state / "ledger.db")
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    programs = [subprocess.Popen([sys.executable, "-c", TRACK], env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for program in programs:
        _, error = program.communicate(timeout=120)
        assert program.returncode == 0, error
    after = stored(state / "ledger.db")
    assert after[:CALLS] == before
    assert sorted(row[9] for row in after[CALLS:]) == sorted([*range(200)] * 3)
    assert len({row[1] for row in after}) == CALLS + 600
    own = taximeter.Ledger(state / "ledger.db")
    assert own.report(()).total.calls == CALLS + 600
    assert not own.check().faults


def test_a_row_of_a_call_can_be_deleted_by_sql(state):
    meter = taximeter.Meter(state_dir=state)
    for user in ("a", "b", "a"):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, user=user)
    meter.close(5)
    with closing(sqlite3.connect(state / "ledger.db")) as connection, connection:
        connection.execute("DELETE FROM events WHERE user = 'a'")
    assert [event["user"] for event in taximeter.Ledger(state / "ledger.db").events()] == ["b"]
