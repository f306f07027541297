"""Processes that are killed, fork or exit, and disks that are full, missing or damaged, all without mocks."""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

import taximeter
from conftest import EXAMPLES, events_of, wait_for

ROUNDS = int(os.environ.get("TAXIMETER_KILL_ROUNDS", "25"))
CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1200, "output_tokens": 350}

PRODUCER = """
import os, sys, threading, taximeter
taximeter.init(instrument=False)
def work():
    while True:
        receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, tags={"plan": "pro"})
        os.write(1, receipt.id.encode() + b"\\n")
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=work).start()
work()
"""


def ledger_ids(state: Path) -> list[str]:
    with closing(sqlite3.connect(state / "ledger.db")) as connection, connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM events")]
    connection.close()
    return ids


def drain(state: Path, *, code: int = 0) -> None:
    """Adopt the journals of dead processes, like the next process would. Check the exit code."""
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    outcome = subprocess.run([sys.executable, "-m", "taximeter", "drain"], env=environment, capture_output=True, timeout=300)
    assert outcome.returncode == code, outcome.stderr


def test_no_acknowledged_event_is_lost_or_repeated_by_kill_9(state):
    random.seed(7)
    acknowledged: list[str] = []
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    for round_ in range(ROUNDS):
        process = subprocess.Popen([sys.executable, "-c", PRODUCER, str(1 + round_ % 8)], stdout=subprocess.PIPE, env=environment)
        lines = [process.stdout.readline()]  # wait until it tracks
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        acknowledged += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    drain(state)
    ids = ledger_ids(state)
    assert len(acknowledged) > ROUNDS * 10
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
    assert list((state / "journal").iterdir()) == []


def test_first_events_are_on_disk_although_killed_processes_have_used_up_the_budget(state):
    text = """
import os, sys, taximeter
taximeter.init(instrument=False)
receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
print(receipt.id, taximeter.stats()["tier"], flush=True)
sys.stdin.read()
"""
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "TAXIMETER_BUDGET_MB": "16"}
    acknowledged = []
    # Each leaves one or two segments of 4 MiB.
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        call, tier = process.stdout.readline().decode().split()
        process.kill()
        process.communicate()
        assert tier != "memory"
        acknowledged.append(call)
    drain(state)
    assert sorted(ledger_ids(state)) == sorted(acknowledged)


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.abort()",
        "ctypes.string_at(0)",
        "sys.exit(0)",
        "raise RuntimeError",
    ],
)
def test_events_survive_every_kind_of_process_end(state, run, end):
    run(
        f"""
        import ctypes, faulthandler, os, signal, sys, taximeter
        taximeter.init(instrument=False)
        for _ in range(500):
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        {end}
        """,
        check=False,
    )
    drain(state)
    assert len(ledger_ids(state)) == 500


def test_a_script_with_one_event_finds_it_in_the_ledger(state, run):
    run("import taximeter; taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)")
    assert len(ledger_ids(state)) == 1
    assert list((state / "journal").iterdir()) == []


FORKS = {
    "os.fork": "pid = os.fork()",
    "libc fork": "pid = ctypes.CDLL(None).fork()",
    "raw fork": "pid = ctypes.CDLL(None).syscall(57)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of system calls are Linux's")
@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("when", ["before the first event", "after"])
def test_a_forked_child_records_its_own_events(state, run, fork, when):
    run(
        f"""
        import ctypes, os, taximeter
        meter = taximeter.init(instrument=False)
        def track(who): assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user=who)
        if {when == "after"}:
            track("parent before")
        {FORKS[fork]}
        if pid == 0:
            for _ in range(100):
                track("child")
            taximeter.flush(5)
            os._exit(0)
        for _ in range(100):
            track("parent")
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
    drain(state)
    users = [event.get("user") for event in taximeter.Ledger(state / "ledger.db").events()]
    assert users.count("child") == 100
    assert users.count("parent") == 100
    assert users.count("parent before") == (when == "after")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no child of a process that has the ledger open may use it")
def test_a_daemon_forked_while_the_ledger_is_open_delivers_its_own_events(state, run, collector):
    """Its parent exits at once, and no other process is there to adopt its journal."""
    run(
        """
        import os, sys, time, taximeter
        taximeter.init(destination=["ledger", sys.argv[2]], instrument=False)
        def track(who): assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user=who)
        track("parent")
        while not taximeter.stats()["destinations"]["ledger"]["delivered"]:
            time.sleep(0.001)
        if os.fork():
            os._exit(0)
        for n in range(50):
            track("child")
            time.sleep(0.002)
        pending = taximeter.flush(20).pending
        open(sys.argv[1] + ".tmp", "w").write(str(pending))
        os.rename(sys.argv[1] + ".tmp", sys.argv[1])
        os._exit(0)
        """,
        str(state.parent / "pending"),
        collector.url,
    )
    wait_for(lambda: (state.parent / "pending").exists())
    assert (state.parent / "pending").read_text() == "0"
    report = taximeter.Ledger(state / "ledger.db").report(by="user")
    assert {row.key["user"]: row.calls for row in report}["child"] == 50
    assert sum(event["data"].get("user") == "child" for event in collector.events.values()) == 50


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of system calls are Linux's")
def test_the_parent_delivers_for_a_child_that_must_not_use_the_ledger(state, run):
    """A bare fork runs no handlers, so the child must not use SQLite. The parent delivers its events while it runs."""
    run(
        """
        import ctypes, os, time, taximeter
        taximeter.init(instrument=False)
        def track(who): assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user=who)
        track("parent")
        while not taximeter.stats()["destinations"]["ledger"]["delivered"]:
            time.sleep(0.001)
        pid = ctypes.CDLL(None).syscall(57)
        if pid == 0:
            track("child")
            taximeter.flush(0.1)
            time.sleep(600)
        for _ in range(400):
            ledger = taximeter.Ledger().report(by="user")
            if {row.key["user"] for row in ledger} == {"parent", "child"}:
                break
            time.sleep(0.1)
        else:
            raise SystemExit("the living child's event never came")
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        """,
        timeout=90,
    )


def test_a_hundred_forks_under_eight_threads_lose_nothing(state, run):
    run(
        """
        import faulthandler, os, signal, threading, time, taximeter
        faulthandler.dump_traceback_later(90, exit=True)
        taximeter.init(instrument=False)
        go = True
        counts = [0] * 8
        def work(n):
            while go:
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user="parent")
                counts[n] += 1
                if counts[n] % 100 == 0:
                    time.sleep(0.02)  # slow enough for the ledger on a busy machine
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        [t.start() for t in threads]
        for n in range(100):
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user=f"child-{n}")
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        go = False
        [t.join() for t in threads]
        report = taximeter.flush(60)
        open("count", "w").write(str(sum(counts) - report.dropped))
        """,
        timeout=120,
    )
    drain(state)
    report = taximeter.Ledger(state / "ledger.db").report(by="user")
    calls = {row.key["user"]: row.calls for row in report}
    assert calls.pop("parent") == int((state.parent / "count").read_text())
    assert calls == {f"child-{n}": 1 for n in range(100)}


def test_a_ledger_opened_before_a_fork_is_rejected_in_the_child(run):
    run(
        """
        import os, signal, taximeter
        taximeter.init(instrument=False)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        taximeter.flush()
        ledger = taximeter.Ledger()
        if (pid := os.fork()) == 0:
            signal.alarm(20)
            try:
                ledger.report()
            except taximeter.LedgerError as error:
                raise SystemExit("fork" not in str(error))
            raise SystemExit("the parent's connection was used")
        assert os.waitpid(pid, 0)[1] == 0
        assert ledger.report().total.calls == 1
        """
    )


def _child_of(method: str, state: str, number: int) -> None:
    meter = taximeter.Meter(state_dir=state) if method == "spawn" else _inherited
    for _ in range(50):
        meter.track(**CALL, user=f"{method}-{number}")


_inherited: taximeter.Meter


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_children_record_their_own_events(state, method):
    global _inherited
    meter = _inherited = taximeter.Meter(state_dir=state)
    meter.track(**CALL, user="parent")
    meter.flush()
    context = multiprocessing.get_context(method)
    children = [context.Process(target=_child_of, args=(method, str(state), number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    meter.close(5)
    drain(state)
    calls = {row.key["user"]: row.calls for row in taximeter.Ledger(state / "ledger.db").report(by="user")}
    assert calls == {"parent": 1, **{f"{method}-{number}": 50 for number in range(3)}}


def test_a_running_process_adopts_the_journal_of_a_dead_one(state, run):
    run(
        """
        import os, taximeter
        taximeter.init(instrument=False)
        for _ in range(100):
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user="dead")
        os._exit(0)
        """
    )
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL, user="alive")
    wait_for(
        lambda: (
            {row.key["user"]: row.calls for row in taximeter.Ledger(state / "ledger.db").report(by="user")}
            == {"dead": 100, "alive": 1}
        )
    )
    meter.close(5)


def test_several_processes_write_one_ledger(state):
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "PYTHONPATH": str(EXAMPLES)}
    text = """
    import sys, taximeter
    taximeter.init(instrument=False)
    for _ in range(3000):
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1, team=sys.argv[1])
    assert taximeter.flush(60).pending == 0
    """
    processes = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(text), f"team-{n}"], env=environment) for n in range(4)]
    assert [process.wait(300) for process in processes] == [0] * 4
    report = taximeter.Ledger(state / "ledger.db").report(by="team")
    assert {row.key["team"]: row.calls for row in report} == {f"team-{n}": 3000 for n in range(4)}
    assert report.total.input_tokens == 12_000


def test_without_a_writable_directory_events_are_kept_in_memory_and_delivered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    meter = taximeter.Meter(state_dir=blocked / "state")
    assert meter.track(**CALL)
    stats = meter.stats()
    assert stats["tier"] == "memory"
    wait_for(lambda: meter.flush(0.1).pending == 1 and "ledger" in (meter.stats()["destinations"]["ledger"]["last_error"] or ""))
    blocked.unlink()
    wait_for(lambda: meter.flush(1).pending == 0)
    assert meter.track(**CALL)
    wait_for(lambda: meter.stats()["tier"] == "mapped" or not meter.track(**CALL).refused and meter.stats()["tier"] == "mapped")
    meter.close(5)


def test_a_deleted_state_directory_is_created_again(state):
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL, user="before")
    meter.flush()
    # Deleted under another name, because the meter creates it again at once, also while it is being deleted.
    gone = state.rename(state.with_name("gone"))
    subprocess.run(["rm", "-rf", str(gone)], check=True)
    wait_for(lambda: meter.track(**CALL, user="after") and (state / "journal").exists())
    meter.close(5)
    drain(state)
    assert "after" in {event["user"] for event in taximeter.Ledger(state / "ledger.db").events()}


@pytest.fixture
def small_disk(tmp_path: Path):
    """Yield a file system of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs privileges that this machine does not give")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_loses_exactly_the_counted_events_and_recovers(small_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65_536)
                file.flush()
        except OSError:
            pass
    meter = taximeter.Meter(state_dir=small_disk / "state")
    for number in range(1_000):
        meter.track(**CALL, user=str(number))
    assert meter.stats()["tier"] == "memory"
    report = meter.flush(0.5)
    assert report.pending + report.dropped == 1_000
    filler.unlink()
    wait_for(lambda: meter.flush(1).pending == 0)
    meter.track(**CALL, user="healed")
    events = events_of(meter)
    assert len(events) == 1_001 - meter.flush().dropped
    assert len({event["user"] for event in events}) == len(events)
    meter.close(5)


def test_a_file_size_limit_is_an_error_not_a_signal(state, run):
    run(
        """
        import resource, taximeter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        taximeter.init(instrument=False)
        for _ in range(6000):
            assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"pad": "x" * 400})
        assert taximeter.stats()["tier"] == "written"
        """
    )
    drain(state)
    assert len(ledger_ids(state)) == 6_000


@pytest.mark.parametrize("damage", ["truncate", "zeros", "garbage", "empty"])
def test_a_damaged_journal_does_not_hide_others(state, run, damage):
    state.mkdir(mode=0o700)
    for name in ("first", "second"):
        # The lock keeps a slowly exiting process from delivering the events whose journal is to be damaged.
        lock = sqlite3.connect(state / "ledger.db", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        run(
            f"""
            import os, taximeter
            taximeter.init(instrument=False)
            for _ in range(1000):
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, user="{name}")
            os._exit(0)
            """
        )
        lock.close()
        if name == "first":
            # On a slow machine there may be further prepared segments.
            segment = min((state / "journal").glob("*/*.seg"))
            size = {"truncate": 100_000, "empty": 0}.get(damage, segment.stat().st_size)
            with segment.open("r+b") as file:
                file.truncate(size)
                if damage in ("zeros", "garbage"):
                    file.seek(70_000)
                    file.write((b"\0" if damage == "zeros" else b"\xa5") * 1_000)
            hidden = state / "hidden"
            (state / "journal").rename(hidden)
    for journal in (state / "hidden").iterdir():
        journal.rename(state / "journal" / journal.name)
    drain(state, code=1)  # the code for damaged events
    calls = {row.key["user"]: row.calls for row in taximeter.Ledger(state / "ledger.db").report(by="user")}
    assert calls["second"] == 1000
    assert calls.get("first", 0) < 1000
    # The process may have delivered some events before it died. No event is there twice.
    ids = ledger_ids(state)
    assert len(ids) == len(set(ids))


def test_a_segment_truncated_under_the_writer_does_not_stop_the_reader(state, run):
    """As documented: writing to a page that another process truncated raises SIGBUS. Reading uses the file and does not."""
    outcome = run(
        """
        import glob, os, taximeter
        taximeter.init(instrument=False)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        taximeter.flush()
        (segment,) = glob.glob(os.environ["TAXIMETER_STATE_DIR"] + "/journal/*/*.seg")
        os.truncate(segment, 4096)
        print(taximeter.stats()["tier"])
        """
    )
    assert outcome.stdout.strip() == "mapped"


def test_import_opens_no_file_and_neither_import_nor_init_starts_a_thread(state, run):
    outcome = run(
        """
        import sys, threading
        before = set(sys.modules)
        import taximeter
        print(len(open("/proc/self/task/%d/children" % __import__("os").getpid()).read()), len(__import__("os").listdir("/proc/self/task")))
        print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} & {"openai", "anthropic", "httpx", "pydantic", "rich", "sqlite3"}))
        print(__import__("os").path.exists(__import__("os").environ["TAXIMETER_STATE_DIR"]))
        taximeter.init(instrument=True)
        print(len(__import__("os").listdir("/proc/self/task")))
        """
    )
    assert outcome.stdout.splitlines() == ["0 1", "[]", "False", "1"]
    assert [path.name for path in state.iterdir()] == ["journal"]


def test_exit_waits_only_briefly_for_a_locked_ledger(state, run):
    (state).mkdir()
    run("import taximeter; taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)")
    lock = sqlite3.connect(state / "ledger.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    run("import taximeter; taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)")
    # Half a second for the ledger; the rest is for the start of a process on a busy machine. SQLite would wait for the lock for ever.
    assert time.monotonic() - started < 100
    lock.close()
    drain(state)
    assert len(ledger_ids(state)) == 2


def test_a_signal_handler_can_track(state, run):
    run(
        """
        import signal, taximeter
        taximeter.init(instrument=False)
        def track(*_): assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        signal.signal(signal.SIGALRM, track)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(20000):
            track()
        signal.setitimer(signal.ITIMER_REAL, 0)
        """
    )
