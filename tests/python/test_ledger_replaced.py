"""The ledger file is moved, replaced, deleted or restored while programs run. It stays intact, and later events are in it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import taximeter
from conftest import wait_for
from old_ledger import age

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}

# Tracks one call per millisecond until told to stop, so that the ledger is never idle. Prints the id of each event.
WORKER = """
import os, sys, time, taximeter
taximeter.init(instrument=False)
os.set_blocking(0, False)
while not os.path.exists(sys.argv[1]):
    receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"filler": "x" * 200})
    os.write(1, receipt.id.encode() + b"\\n")
    time.sleep(0.001)
taximeter.flush(20)
"""


def copy_of(ledger: Path, to: Path) -> None:
    """Make a backup with SQLite's own function."""
    with closing(sqlite3.connect(ledger)) as source:
        source.execute("VACUUM INTO ?", (str(to),))


def mv_over(ledger: Path, backup: Path) -> None:
    os.replace(backup, ledger)


def cp_over(ledger: Path, backup: Path) -> None:
    subprocess.run(["cp", backup, ledger], check=True)


def mv_away(ledger: Path, backup: Path) -> None:
    ledger.rename(ledger.parent.parent / "elsewhere.db")


def rm_all(ledger: Path, backup: Path) -> None:
    for file in ledger.parent.glob("ledger.db*"):
        file.unlink()


def rm_file(ledger: Path, backup: Path) -> None:
    ledger.unlink()


def rm_log(ledger: Path, backup: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)


def restore(ledger: Path, backup: Path) -> None:
    """Do the same as `.restore` of the sqlite3 program."""
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(ledger, timeout=30)) as target:
        source.backup(target)


def vacuum(ledger: Path, backup: Path) -> None:
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        connection.execute("VACUUM")


OPERATIONS = [mv_over, cp_over, mv_away, rm_all, rm_file, rm_log, restore, vacuum]
KEEPS_BEFORE = {rm_log, vacuum}


def ids_of(ledger: Path) -> list[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ids = [row[0] for row in connection.execute("SELECT id FROM events NOT INDEXED")]
        assert connection.execute("SELECT sum(calls) FROM hourly").fetchone() == (len(ids),)
    assert len(ids) == len(set(ids))
    return ids


def drain(state: Path) -> None:
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "taximeter", "drain"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_events_tracked_after_the_ledger_was_replaced_are_in_the_new_one(state, operation: Callable[[Path, Path], None]):
    """Two processes track throughout, and a ledger reader is open."""
    ledger, stop, backup = state / "ledger.db", state.parent / "stop", state.parent / "backup.db"
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    first = taximeter.Meter(state_dir=state)
    first.track(**CALL, user="first")
    assert first.flush(60).pending == 0
    first.close(5)
    copy_of(ledger, backup)
    script = textwrap.dedent(WORKER)
    workers = [
        subprocess.Popen([sys.executable, "-c", script, stop], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment)
        for _ in range(2)
    ]
    outputs = [bytearray(), bytearray()]

    def read() -> list[str]:
        for worker, output in zip(workers, outputs, strict=True):
            os.set_blocking(worker.stdout.fileno(), False)
            while chunk := worker.stdout.read():
                output += chunk
        return [line for output in outputs for line in output.decode().split("\n")[:-1]]

    reader = taximeter.Ledger(ledger)
    wait_for(lambda: len(read()) > 300 and reader.report(()).total.calls > 200)
    # The main file has grown by now, so its contents differ from the backup's.
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    wait_for(lambda: len(read()) > 500)
    before = set(read())
    operation(ledger, backup)
    time.sleep(0.1)
    begun = set(read())
    wait_for(lambda: len(read()) > len(begun) + 500)
    stop.touch()
    for worker in workers:
        worker.wait(60)
    after = set(read()) - begun
    for worker in workers:
        assert worker.returncode == 0
        worker.stdout.close()
    drain(state)
    ids = set(ids_of(ledger))
    assert after <= ids, f"{len(after - ids)} of {len(after)} lost"
    if operation in KEEPS_BEFORE:
        assert before <= ids, f"{len(before - ids)} of {len(before)} lost"
    if operation is mv_away:
        moved = set(ids_of(ledger.parent.parent / "elsewhere.db"))
        # Each event is in the file that had the name at that time, or in both.
        assert before | begun <= moved | ids
        assert len(moved) > 200
    assert reader.report(()).total.calls == len(ids)
    assert list(reader.events(where={"user": "first"})) == [] if operation in {mv_away, rm_all, rm_file} else True


@pytest.mark.parametrize("operation", [mv_over, cp_over, mv_away], ids=lambda operation: operation.__name__)
def test_the_log_of_a_replaced_ledger_is_not_applied_to_the_new_one(state, operation: Callable[[Path, Path], None]):
    """All processes are killed and a backup is put in place. Then a report is the first to open it."""
    ledger, backup, stop = state / "ledger.db", state.parent / "backup.db", state.parent / "stop"
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    first = taximeter.Meter(state_dir=state)
    first.track(**CALL, user="first")
    first.close(5)
    copy_of(ledger, backup)
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), stop], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment
    )
    lines = [worker.stdout.readline() for _ in range(300)]
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    lines += [worker.stdout.readline() for _ in range(300)]
    wait_for(lambda: Path(f"{ledger}-wal").stat().st_size > 0)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert Path(f"{ledger}-wal").stat().st_size > 0
    shutil.rmtree(state / "journal")  # undelivered events would be delivered, which is not tested here
    operation(ledger, backup)
    time.sleep(1.1)  # a recently overwritten file may be incomplete
    expected = 0 if operation is mv_away else 1
    assert taximeter.Ledger(ledger).report(()).total.calls == expected
    meter = taximeter.Meter(state_dir=state)
    receipt = meter.track(**CALL)
    assert meter.flush(60).pending == 0
    meter.close(5)
    ids = ids_of(ledger)
    assert receipt.id in ids
    assert len(ids) == expected + 1


def test_a_whole_state_directory_can_be_copied_and_moved_with_its_log(state, tmp_path):
    """The log belongs to the copied or moved ledger as well."""
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL)
    meter.flush(10)
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(state, copy)
    meter.close(5)
    assert (copy / "ledger.db-wal").stat().st_size > 0
    copy.rename(moved)
    assert taximeter.Ledger(moved / "ledger.db").report(()).total.calls == 1
    again = taximeter.Meter(state_dir=moved)
    again.track(**CALL)
    again.close(5)
    assert taximeter.Ledger(moved / "ledger.db").report(()).total.calls == 2


def test_follow_continues_in_a_recreated_ledger(meter):
    path = meter.settings.ledger
    for number in range(5):
        meter.track(**{**CALL, "input_tokens": number + 1})
    meter.flush(10)
    ledger = taximeter.Ledger(path)
    following = ledger.follow(last=1, every=0.01)
    assert next(following)["input_tokens"] == 5
    for file in path.parent.glob("ledger.db*"):
        file.unlink()
    for number in range(10, 13):
        meter.track(**{**CALL, "input_tokens": number})
        meter.flush(10)
        assert next(following)["input_tokens"] == number


def test_follow_does_not_repeat_events_of_a_restored_backup(meter, tmp_path):
    path, backup = meter.settings.ledger, tmp_path / "backup.db"
    for number in range(3):
        meter.track(**{**CALL, "input_tokens": number + 1})
    meter.flush(10)
    copy_of(path, backup)
    meter.track(**{**CALL, "input_tokens": 4})
    meter.flush(10)
    following = taximeter.Ledger(path).follow(last=1, every=0.01)
    assert next(following)["input_tokens"] == 4
    os.replace(backup, path)
    meter.track(**{**CALL, "input_tokens": 5})
    meter.flush(10)
    assert next(following)["input_tokens"] == 5


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.skipif(sys.platform == "win32", reason="users and modes are those of Unix")
def test_a_ledger_of_an_earlier_schema_is_read_without_changes(state, schema):
    """A report changes nothing, neither on a read-only disk nor elsewhere."""
    meter = taximeter.Meter(state_dir=state)
    receipt = meter.track(**CALL, team="t")
    meter.close(5)
    if schema < 8:
        age(state / "ledger.db", schema)
    with tempfile.TemporaryDirectory() as name:
        # A user who may only read: another user if the tests run as root.
        folder = Path(name)
        ledger = folder / "ledger.db"
        shutil.copyfile(state / "ledger.db", ledger)
        ledger.chmod(0o444)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            reader = taximeter.Ledger(ledger)
            assert reader.report("team").total.calls == 1
            assert [event["id"] for event in reader.events()] == [receipt.id]
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert sorted(file.name for file in folder.iterdir()) == ["ledger.db"]
    assert taximeter.Ledger(state / "ledger.db").report(()).total.calls == 1
    with closing(sqlite3.connect(state / "ledger.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema,)


def test_another_programs_sqlite_file_is_not_a_ledger(state):
    state.mkdir(mode=0o700)
    other = state / "ledger.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(taximeter.LedgerError, match="not a ledger"):
        taximeter.Ledger(other)
    # No ledger is created in the file either. Its events wait.
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL)
    wait_for(
        lambda: meter.flush(0.1).pending == 1 and "not a ledger" in (meter.stats()["destinations"]["ledger"]["last_error"] or "")
    )
    meter.close(1)
    with closing(sqlite3.connect(other)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]
