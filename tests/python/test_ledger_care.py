"""Backups, restoring, checks, SQL that only reads, and exports of a ledger."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from decimal import Decimal

import pytest

import taximeter
from taximeter.errors import LedgerError
from taximeter.ledger import COLUMNS
from taximeter.sanitize import spreadsheet_cell

HOSTILE = [
    "=HYPERLINK(1)",
    "[/foo]",
    "\x1b[2J",
    "a\u202eb",
    "x,y",
    'say "hi"',
    "株式会社",
    "e\u0301",
    "line\nbreak",
    "\u00a0",
    "\U000e0001",
    "plain",
]


def fill(state, count=50):
    meter = taximeter.Meter(state_dir=state)
    for index in range(count):
        meter.track(
            provider="openai", model="gpt-4o" if index % 5 else "no-such-model", input_tokens=index, output_tokens=1, latency_ms=index * 1.5,
            customer=HOSTILE[index % len(HOSTILE)], team=None if index % 3 else "a", tags={"plan": HOSTILE[index % len(HOSTILE)]},
            batch=index % 7 == 0, started_at=1_700_000_000 + index, operation="chat", status="error" if index % 11 == 0 else "success",
        )  # fmt: skip
    meter.flush()
    meter.close()
    return state / "ledger.db"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("care"))


@pytest.fixture
def own(path):
    return taximeter.Ledger(path, timezone="UTC")


def command(state, *arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "taximeter", *arguments, "--state-dir", state], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


# SQL that only reads


def test_a_query_gives_rows_with_exact_amounts(own):
    rows = own.query(
        "SELECT model, count(*) AS calls, decimal_sum(cost_usd) AS cost_usd FROM events WHERE team = ? GROUP BY model", ["a"]
    )
    assert rows.columns == ("model", "calls", "cost_usd")
    found = {model: (calls, cost) for model, calls, cost in rows}
    expected = {row.key["model"]: (row.calls, row.cost_usd) for row in own.report("model", where={"team": "a"})}
    assert found == {model: (calls, cost or None) for model, (calls, cost) in expected.items()}
    assert isinstance(found["gpt-4o"][1], Decimal)
    first = next(own.query("SELECT input_tokens FROM events WHERE customer = :c ORDER BY 1", {"c": "x,y"}).dicts())
    assert first == {"input_tokens": 4}


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM events", "INSERT INTO repricings (id) VALUES ('x')", "UPDATE events SET model = 'x'", "DROP TABLE events",
        "ATTACH '/tmp/x.db' AS x", "PRAGMA journal_mode = delete", "PRAGMA writable_schema = 1", "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA query_only = 0", "SELECT load_extension('x')", "VACUUM INTO '/tmp/x.db'", "CREATE TEMP TABLE x (y)", "BEGIN IMMEDIATE",
        "SELECT 1; DELETE FROM events", "WITH x AS (SELECT 1) DELETE FROM events", "REINDEX", "ANALYZE", "SELECT * FROM pragma_query_only",
        "PRAGMA main.synchronous(0)", "EXPLAIN DELETE FROM events",
    ],
)  # fmt: skip
def test_only_statements_that_read_are_allowed(own, sql):
    before = own.path.read_bytes()
    with pytest.raises(ValueError, match="sql: "):
        list(own.query(sql))
    assert own.path.read_bytes() == before


def test_unknown_columns_and_wrong_arguments_are_named(own):
    with pytest.raises(ValueError, match="did you mean customer"):
        own.query("SELECT custmer FROM events")
    with pytest.raises(ValueError, match="did you mean events"):
        own.query("SELECT * FROM event")
    with pytest.raises(ValueError, match="takes 1, and 2 are given"):
        own.query("SELECT ?", [1, 2])
    with pytest.raises(ValueError, match=":b has no value"):
        own.query("SELECT :a, :b", {"a": 1})
    with pytest.raises(ValueError, match="sql: ") as caught:
        own.query("SELECT 'x")
    assert "did you mean" not in str(caught.value)
    for wrong in ({"sql": ""}, {"sql": "SELECT 1", "timeout": 0}):
        with pytest.raises(ValueError, match=f"{list(wrong)[-1]}: "):
            own.query(**wrong)
    with pytest.raises(TypeError, match="not a value of SQL"):
        own.query("SELECT ?", [object()])
    with pytest.raises(TypeError, match="parameters: 'x'"):
        own.query("SELECT ?", "x")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "


def test_an_endless_statement_is_stopped_in_time(own):
    with pytest.raises(LedgerError, match="longer than allowed"):
        list(own.query(f"{ENDLESS}count(*) FROM n", timeout=0.2))
    # Rows arrive before the end, and a result that is given up ends its statement.
    with own.query(f"{ENDLESS}i FROM n", timeout=None) as rows:
        assert next(iter(rows)) == (1,)
    with pytest.raises(ValueError, match="too big"):
        list(own.query("SELECT zeroblob(1000000000)"))


def test_an_interrupt_ends_a_query(path):
    code = (
        "import signal, os, threading, taximeter\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        f"try:\n    list(taximeter.Ledger({str(path)!r}).query({ENDLESS + 'count(*) FROM n'!r}, timeout=None))\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "interrupted\n", done.stderr


def test_queries_read_an_empty_ledger_and_the_command_line_has_them(tmp_path, path):
    assert list(taximeter.Ledger(tmp_path / "none.db").query("SELECT count(*) FROM events")) == [(0,)]
    sql = "SELECT customer, count(*) AS calls, decimal_sum(cost_usd) AS cost_usd FROM events GROUP BY 1 ORDER BY 1"
    found = json.loads(command(path.parent, "query", sql, "--json").stdout)
    assert found["schema_version"] == 1
    assert {row["customer"] for row in found["rows"]} == set(HOSTILE)
    assert all(isinstance(row["cost_usd"], (str, type(None))) for row in found["rows"])
    table = command(path.parent, "query", sql).stdout
    assert "\x1b" not in table and "\\x1b[2J" in table
    assert command(path.parent, "query", sql, "--csv").stdout.splitlines()[0] == "customer,calls,cost_usd"
    assert '"a": "-inf"' in command(path.parent, "query", "SELECT -1e999 AS a", "--json").stdout
    assert "only statements that read" in command(path.parent, "query", "DELETE FROM events", code=2).stderr


# Export


def test_exports_have_the_events_in_both_forms(own):
    events = list(own.events())
    assert [json.loads(line) for line in b"".join(own.export()).splitlines()] == events
    text = b"".join(own.export("csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == COLUMNS
    raw = list(csv.DictReader(io.StringIO(b"".join(own.export("csv", raw=True)).decode(), newline="")))
    for event, row, plain in zip(events, rows, raw, strict=True):
        for name in COLUMNS:
            value = event.get(name, "")
            if name in ("usage", "tags", "cost_notes", "provider_usage") and name in event:
                assert json.loads(plain[name]) == value
            elif isinstance(value, str):
                assert (row[name], plain[name]) == (spreadsheet_cell(value), value)
            else:
                assert row[name] == plain[name] == ("" if value is None else str(value))


def test_an_export_is_filtered_and_pages_have_no_seam(own, monkeypatch):
    monkeypatch.setattr("taximeter.ledger.export._BLOCK", 7)
    assert len(b"".join(own.export()).splitlines()) == 50
    found = [json.loads(line) for line in b"".join(own.export(where={"team": "a"}, until=1_700_000_010)).splitlines()]
    assert found == list(own.events(where={"team": "a"}, until=1_700_000_010)) and found
    with pytest.raises(ValueError, match="form: 'xml'"):
        list(own.export("xml"))


def test_an_empty_export_has_a_header(tmp_path):
    (tmp_path / "state").mkdir()
    assert command(tmp_path / "state", "export", "--csv").stdout == f"{','.join(COLUMNS)}\n"
    assert command(tmp_path / "state", "export").stdout == ""


# Backups


def test_a_backup_is_a_moment_of_a_ledger_that_is_written(tmp_path):
    source = fill(tmp_path / "state")
    stop, meter = threading.Event(), taximeter.Meter(state_dir=tmp_path / "state", linger_ms=0)

    def write():
        while not stop.is_set():
            meter.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, team="w")
            meter.flush()

    writer = threading.Thread(target=write)
    writer.start()
    own = taximeter.Ledger(source)
    for index in range(5):
        target = tmp_path / f"backup-{index}.db"
        made = own.backup(target)
        copy = taximeter.Ledger(target)
        assert made.events == len(list(copy.events())) == copy.report(()).total.calls >= 50
        assert not copy.check().faults
        assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.db-wal"))
        assert os.stat(target).st_mode & 0o777 == 0o600
    stop.set()
    writer.join()
    meter.close()
    with pytest.raises(ValueError, match="exists; name another file"):
        own.backup(target)
    os.mkfifo(tmp_path / "fifo")
    for special in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ValueError, match="is not a regular file"):
            own.backup(special, replace=True)
    assert (tmp_path / "fifo").is_fifo()
    with pytest.raises(ValueError, match="target: there is no directory"):
        own.backup(tmp_path / "none" / "x.db")
    with pytest.raises(ValueError, match="is the ledger itself"):
        own.backup(source, replace=True)
    assert own.backup(target, replace=True).events > made.events
    with pytest.raises(ValueError, match="there is no ledger"):
        taximeter.Ledger(tmp_path / "none.db").backup(tmp_path / "x.db")


def test_ctrl_c_leaves_no_part_of_a_restored_ledger(tmp_path):
    state = tmp_path / "state"
    copy = fill(state).rename(tmp_path / "copy.db")
    shutil.rmtree(state)
    state.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as other:
        # The command waits for this lock, after it has created its file.
        other.execute("PRAGMA journal_mode = delete")
        other.execute("BEGIN EXCLUSIVE")
        arguments = [sys.executable, "-m", "taximeter", "--state-dir", str(state), "restore", str(copy)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not (state / "ledger.db-restoring").exists():
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=300) == (b"", None)
        assert process.returncode == 130
    assert list(state.iterdir()) == []


def test_a_backup_is_restored_while_a_program_writes(tmp_path):
    source = fill(tmp_path / "state")
    backup = tmp_path / "backup.db"
    command(tmp_path / "state", "backup", backup)
    meter = taximeter.Meter(state_dir=tmp_path / "state", linger_ms=0)

    def track(team):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, team=team)
        meter.flush()

    track("before")
    # Another connection has the old ledger and its log open, as a running program has.
    reader = taximeter.Ledger(source)
    (found,) = json.loads(command(tmp_path / "state", "restore", backup, "--json").stdout)["rows"]
    track("after")
    meter.close()
    assert found["events"] == 50
    teams = [event.get("team") for event in reader.events()]
    assert teams.count("after") == 1 and "before" not in teams and len(teams) == 51
    kept = taximeter.Ledger(found["kept"])
    assert [event.get("team") for event in kept.events()].count("before") == 1
    assert not kept.check().faults and not reader.check().faults
    assert not list((tmp_path / "state").glob("*restoring*"))


def test_only_sound_ledgers_are_restored(tmp_path):
    source = fill(tmp_path / "state")
    before = source.read_bytes()
    own = taximeter.Ledger(source)
    good = tmp_path / "good.db"
    own.backup(good)

    def changed(name, *statements):
        shutil.copy(good, tmp_path / name)
        with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return tmp_path / name

    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    damaged = bytearray(good.read_bytes())
    damaged[8192:12288] = b"\xff" * 4096
    (tmp_path / "damaged.db").write_bytes(damaged)
    (tmp_path / "text.db").write_text("not a database" * 1000)
    (tmp_path / "empty.db").touch()
    for path, message in [
        (foreign, "not a ledger"), (changed("newer.db", "PRAGMA user_version = 999"), "has schema 999"), (tmp_path / "text.db", "not a database"),
        (tmp_path / "damaged.db", "damaged|malformed"), (tmp_path / "empty.db", "no ledger"), (tmp_path / "none.db", "there is no file"),
        (source, "is the ledger itself"),
    ]:  # fmt: skip
        with pytest.raises((LedgerError, ValueError), match=message):
            own.restore(path)
    assert source.read_bytes() == before
    assert not list((tmp_path / "state").glob("*restoring*")) and not list((tmp_path / "state").glob("*.replaced-*"))


def test_a_damaged_ledger_is_found_and_replaced(tmp_path):
    source = fill(tmp_path / "state", 400)
    command(tmp_path / "state", "backup", tmp_path / "b.db")
    assert "ok" in command(tmp_path / "state", "ledger", "check").stdout
    damaged = bytearray(source.read_bytes())
    damaged[4096 * 5 : 4096 * 12] = b"\xff" * 4096 * 7
    source.write_bytes(damaged)
    done = subprocess.run(
        [sys.executable, "-m", "taximeter", "ledger", "check", "--state-dir", tmp_path / "state"], capture_output=True, text=True
    )
    assert done.returncode in (1, 2) and ("BAD" in done.stdout or "malformed" in done.stderr)
    command(tmp_path / "state", "restore", tmp_path / "b.db")
    assert json.loads(command(tmp_path / "state", "ledger", "check", "--json").stdout)["rows"][0]["events"] == 400


def test_a_wrong_state_directory_is_an_error(tmp_path, path):
    (tmp_path / "empty").mkdir()
    for arguments in (["ledger", "check"], ["ledger", "compact"], ["query", "SELECT 1"], ["backup", tmp_path / "x.db"]):
        assert "there is no" in command(tmp_path / "wrong", *arguments, code=2).stderr
    assert "there is no ledger" in command(tmp_path / "empty", "ledger", "check", code=2).stderr


def test_a_compacted_ledger_is_smaller_and_the_same(tmp_path):
    source = fill(tmp_path / "state", 2_000)
    events = list(taximeter.Ledger(source).events())
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("CREATE TABLE ballast AS SELECT randomblob(1000000) AS x")
        connection.execute("DROP TABLE ballast")
    connection.close()
    own = taximeter.Ledger(source)
    assert own.check().free > 900_000
    before, after = own.compact()
    assert before - after > 900_000 and own.check().free == 0
    assert list(own.events()) == events and source.stat().st_size == after


def test_sums_agree_while_a_program_writes(tmp_path):
    source, stop = fill(tmp_path / "state", 300), threading.Event()
    meter = taximeter.Meter(state_dir=tmp_path / "state", linger_ms=0)

    def write():
        while not stop.is_set():
            meter.track(provider="openai", model="gpt-4o", input_tokens=1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        faults = [taximeter.Ledger(source).check().faults for _ in range(5)]
    finally:
        stop.set()
        writer.join()
        meter.close()
    assert faults == [()] * 5


def test_sums_that_do_not_agree_with_the_calls_are_found(tmp_path):
    source = fill(tmp_path / "state", 300)
    own = taximeter.Ledger(source)
    assert own.check().faults == ()
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("UPDATE hourly SET calls = calls + 1 WHERE model = 'gpt-4o' AND status = 'error'")
    connection.close()
    (fault,) = own.check().faults
    assert fault.startswith("openai gpt-4o chat error") and "the sums by hour are" in fault
    assert "BAD  openai gpt-4o" in command(tmp_path / "state", "ledger", "check", code=1).stdout
