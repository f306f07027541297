"""The ledger's locks beside another SQLite library in the same process, beside forks, and beside code that closes descriptors.

Python's `sqlite3` is a separate copy of SQLite. POSIX locks belong to the process, so each `close()` of one copy would drop the locks
of the other. Therefore ours uses locks of the open file description.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import taximeter
from conftest import ROOT, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks of open file descriptions are built for Linux")

# Without the lock that is held during forks, one in eight children inherited a descriptor.
FORKS = int(os.environ.get("TAXIMETER_FORKS", "300"))
CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}
WRITE_LOCK = 120
"""The byte of `-shm` that is locked while a transaction writes."""

# Makes our write transactions long: for each event, SQLite counts to the number in `pace`.
SLOW = """
CREATE TABLE pace (steps INTEGER);
INSERT INTO pace VALUES (0);
CREATE TRIGGER slow AFTER INSERT ON calls BEGIN
    UPDATE pace SET steps = steps WHERE 0 > (
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < (SELECT steps FROM pace)) SELECT count(*) FROM c);
END;
"""

OTHER = """
import sqlite3, sys
for line in sys.stdin:
    connection = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
    try: print("ok", connection.execute(line).fetchone(), flush=True)
    except sqlite3.Error as error: print(error, flush=True)
    connection.close()
"""


class Other:
    """Another process that runs statements, each on its own connection."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", OTHER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, statement: str) -> str:
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()


@pytest.fixture
def ledger(meter: taximeter.Meter) -> Path:
    """Return a ledger with one event and a pace. No connection has it open."""
    meter.track(**CALL)
    assert meter.flush(60).pending == 0
    with closing(sqlite3.connect(meter.settings.ledger)) as connection:
        connection.executescript(SLOW)
    at_rest(meter.settings.ledger)
    return meter.settings.ledger


@pytest.fixture
def other(ledger: Path) -> Iterator[Other]:
    other = Other(ledger)
    yield other
    other.close()


def locks(path: Path) -> list[tuple[str, str, int]]:
    """Return kind, mode and first byte of each lock of the ledger and its `-shm`, by any process."""
    files = [Path(f"{path}{suffix}") for suffix in ("", "-shm")]
    inodes = {file.stat().st_ino for file in files if file.exists()}
    found = []
    for line in Path("/proc/locks").read_text().splitlines():
        words = [word for word in line.split() if word != "->"]
        if int(words[5].split(":")[2]) in inodes:
            found.append((words[1], words[3], int(words[6])))
    return found


def is_writing(path: Path) -> bool:
    return ("OFDLCK", "WRITE", WRITE_LOCK) in locks(path)


def at_rest(path: Path) -> None:
    """Wait until our writer has closed the ledger, half a second after the last event."""
    wait_for(lambda: not locks(path) and not Path(f"{path}-wal").exists())


def descriptors(path: Path) -> list[str]:
    """Return this process's descriptors of the ledger and its files."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:  # the descriptor of the listing itself
            continue
    return [name for name in found if name.startswith(str(path))]


def set_pace(path: Path, steps: int) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute("UPDATE pace SET steps = ?", (steps,))


def while_ours_writes(meter: taximeter.Meter, look, steps: int = 3_000_000) -> list:
    """Return what `look` sees during a transaction of ours. If the transaction ended too early, tries again with a longer one."""
    path = meter.settings.ledger
    for _ in range(4):
        set_pace(path, steps)
        meter.track(**CALL)
        wait_for(lambda: is_writing(path))
        seen = look()
        was_open = is_writing(path)
        wait_for(lambda: not is_writing(path))
        set_pace(path, 0)
        assert meter.flush(60).pending == 0
        if was_open:
            return seen
        steps *= 3
    raise AssertionError("no transaction lasted long enough")


def test_our_transaction_keeps_its_lock_when_python_closes_the_ledger(meter, ledger, other):
    # Checks nothing itself, because `while_ours_writes` may have to repeat it with a longer transaction.
    def look() -> list[object]:
        seen: list[object] = []
        for query in ("?mode=ro", ""):
            with closing(sqlite3.connect(f"file:{ledger}{query}", uri=True)) as reader:
                reader.execute("SELECT count(*) FROM events").fetchone()
            seen.append(other("BEGIN IMMEDIATE"))
        ledger.read_bytes()
        Path(f"{ledger}-shm").read_bytes()
        seen.append(other("BEGIN IMMEDIATE"))
        # Python's `sqlite3` in this process is locked out, too.
        with closing(sqlite3.connect(ledger, timeout=0, isolation_level=None)) as writer:
            try:
                seen.append(writer.execute("BEGIN IMMEDIATE").fetchone())
            except sqlite3.OperationalError as error:
                seen.append(str(error))
        return [*seen, {lock[0] for lock in locks(ledger)}]

    assert while_ours_writes(meter, look) == [*["database is locked"] * 4, {"OFDLCK"}]
    at_rest(ledger)
    assert other("PRAGMA integrity_check") == "ok ('ok',)"


def test_pythons_transaction_keeps_its_lock_when_we_close_the_ledger(meter, ledger, other):
    with closing(sqlite3.connect(ledger, isolation_level=None)) as python:
        python.execute("BEGIN IMMEDIATE")
        python.execute("CREATE TABLE notes (text)")
        taximeter.Ledger(ledger).report()
        assert other("BEGIN IMMEDIATE") == "database is locked"
        meter.track(**CALL)
        assert meter.flush(0.3).pending == 1
        assert other("BEGIN IMMEDIATE") == "database is locked"
        python.execute("COMMIT")
        assert meter.flush(60).pending == 0
    assert other("SELECT count(*) FROM notes") == "ok (0,)"
    assert taximeter.Ledger(ledger).report(()).total.calls == 2


def test_the_write_ahead_log_stays_while_python_has_the_ledger_open(ledger, other):
    with closing(sqlite3.connect(ledger, isolation_level=None)) as python:
        python.execute("CREATE TABLE notes (text)")
        taximeter.Ledger(ledger).report()
        log = Path(f"{ledger}-wal")
        inode = log.stat().st_ino
        assert other("INSERT INTO notes VALUES ('theirs')") == "ok None"
        assert log.stat().st_ino == inode
        assert python.execute("SELECT count(*) FROM notes").fetchone() == (1,)
        python.execute("INSERT INTO notes VALUES ('ours')")
    assert other("SELECT count(*) FROM notes") == "ok (2,)"


@pytest.mark.parametrize("first", ["reader", "meter"])
def test_our_last_connection_deletes_the_write_ahead_log(state, first):
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL)
    meter.flush(10)
    path = meter.settings.ledger
    reader = taximeter.Ledger(path)
    reader.report()
    if first == "reader":
        del reader
        meter.close(5)
    else:
        meter.close(5)
        assert reader.report(()).total.calls == 1
        del reader
    assert [Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm")] == [False, False]
    assert locks(path) == []


def test_few_descriptors_stay_open_and_deleted_ledgers_free_their_space(tmp_path, meter, ledger):
    for _ in range(300):
        taximeter.Ledger(ledger).report(())
    assert len(descriptors(ledger)) <= 2
    with closing(sqlite3.connect(ledger)) as connection:
        schema = [row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql NOTNULL AND name NOT LIKE 'pace'")]
    one = tmp_path / "one.db"
    for _ in range(20):
        with closing(sqlite3.connect(one)) as connection, connection:
            connection.execute("PRAGMA journal_mode = wal")
            for statement in schema:
                connection.execute(statement)
            connection.execute("PRAGMA user_version = 5")
        assert taximeter.Ledger(one).report(()).total.calls == 0
        one.unlink()
    taximeter.Ledger(ledger).report(())
    assert descriptors(one) == []
    # The number of open descriptors is also bounded for many existing ledgers.
    ledgers = [tmp_path / f"{number}.db" for number in range(60)]
    for path in ledgers:
        path.write_bytes(ledger.read_bytes())
        taximeter.Ledger(path).report(())
    assert sum(len(descriptors(path)) for path in ledgers) <= 32


def test_descriptors_closed_by_other_code_are_not_touched(run, meter, ledger):
    """The numbers then belong to other files. Neither a forked child nor our next open may close or write to those."""
    outcome = run(
        """
        import os, sys, tempfile, taximeter
        path = sys.argv[1]
        taximeter.Ledger(path).report()
        mine = [int(n) for n in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{n}") and os.readlink(f"/proc/self/fd/{n}").startswith(path)]
        assert mine
        for number in mine: os.close(number)
        folder = tempfile.mkdtemp()
        taken = [os.open(f"{folder}/{n}", os.O_RDWR | os.O_CREAT) for n in range(20)]
        assert set(mine) & set(taken)
        if (child := os.fork()) == 0:
            try: [os.fstat(number) for number in taken]
            except OSError: os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert taximeter.Ledger(path).report(()).total.calls == 1
        assert {os.fstat(number).st_size for number in taken} == {0}
        """,
        str(ledger),
    )
    assert outcome.returncode == 0


HOLDER = """
import ctypes, os, subprocess, sys, time, taximeter
taximeter.init(instrument=False)
taximeter.Ledger(sys.argv[1]).report(("user",))
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
shm = sys.argv[1] + "-shm"
def is_writing():
    try: inode = os.stat(shm).st_ino
    except FileNotFoundError: return False  # not open yet
    return any(f":{inode} 120 " in line and " WRITE " in line for line in open("/proc/locks"))
held = 0
while held < 20:  # opening the file takes the lock for a moment
    held = held + 1 if is_writing() else 0
    time.sleep(0.01)
CHILD
print(child, flush=True)
time.sleep(60)
"""
CHILDREN = {
    "fork": "child = os.fork()\nif child == 0: time.sleep(60); os._exit(0)",
    "exec": "child = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL).pid",
    "clone": "child = ctypes.CDLL(None).syscall(SYS_CLONE, 17, 0, 0, 0, 0)\nif child == 0: time.sleep(60); os._exit(0)",
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_children_of_a_killed_writer_hold_no_lock(state, meter, ledger, other, kind):
    meter.close(5)
    set_pace(ledger, 10**9)
    clone = {"x86_64": "56", "aarch64": "220"}[os.uname().machine]
    script = textwrap.dedent(HOLDER).replace("CHILD", CHILDREN[kind]).replace("SYS_CLONE", clone)
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    parent = subprocess.Popen([sys.executable, "-c", script, ledger], stdout=subprocess.PIPE, text=True, env=environment)
    child = int(parent.stdout.readline())
    try:
        assert other("BEGIN IMMEDIATE") == "database is locked"
        parent.kill()
        parent.wait()
        os.kill(child, 0)
        if kind == "clone":  # it ran no fork handler, so the lock lasts until it ends
            os.kill(child, signal.SIGKILL)
            child = 0
        wait_for(lambda: other("BEGIN IMMEDIATE") == "ok None")
    finally:
        parent.kill()
        parent.stdout.close()
        if child:
            os.kill(child, signal.SIGKILL)
    assert other("PRAGMA integrity_check") == "ok ('ok',)"


def test_a_child_forked_between_transactions_and_its_parent_lock_each_other_out(run, meter, ledger):
    """Both write to the ledger through taximeter, and every event is there once."""
    meter.close(5)
    outcome = run(
        """
        import os, sys, time, taximeter
        path = sys.argv[1]
        meter = taximeter.Meter()
        call = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}
        meter.track(**call); assert meter.flush(60).pending == 0
        while os.path.exists(path + "-wal"): time.sleep(0.01)
        time.sleep(0.5)  # the log is deleted slightly before the connection is closed
        pid = os.fork()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            meter.track(**call)
            meter.flush(10)
        report = meter.flush(20)
        if pid == 0: os._exit(report.pending)
        assert os.waitpid(pid, 0)[1] == 0
        assert report.pending == 0
        """,
        str(ledger),
    )
    assert outcome.returncode == 0
    report = taximeter.Ledger(ledger)
    assert report.report(()).total.calls == report.report("user").total.calls > 10
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(DISTINCT id) - count(*) FROM events").fetchone() == (0,)


def test_children_inherit_no_locked_file_or_map(run, meter, ledger):
    outcome = run(
        """
        import os, sys, threading, time, taximeter
        path, forks = sys.argv[1], int(sys.argv[2])
        taximeter.init(instrument=False)
        stop, opens = [], 0
        def work():
            global opens
            while not stop:
                taximeter.Ledger(path).report(("user",)); opens += 1
                taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        thread = threading.Thread(target=work); thread.start()
        leaked = 0
        for number in range(forks):
            if (child := os.fork()) == 0:
                names = []
                for n in os.listdir("/proc/self/fd"):
                    try: names.append(os.readlink(f"/proc/self/fd/{n}").removesuffix(" (deleted)"))
                    except OSError: pass
                with open("/proc/self/maps") as maps: names += [line.split()[-1] for line in maps]
                # The write-ahead log and rollback journals are never locked.
                os._exit(any(n.startswith(path) and not n.endswith(("-wal", "-journal")) for n in names))
            leaked += os.waitpid(child, 0)[1] != 0
        stop.append(1); thread.join()
        print(leaked, opens)
        """,
        str(ledger), str(FORKS),
    )  # fmt: skip
    leaked, opens = map(int, outcome.stdout.split())
    assert leaked == 0
    assert opens > 10


SECCOMP = """
import ctypes, os, struct, sys
class Filter(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
number = {"x86_64": 72, "aarch64": 25}[os.uname().machine]
def step(code, k, yes=0, no=0): return struct.pack("HBBI", code, yes, no, k)
code = b"".join([
    step(0x20, 0), step(0x15, number, 0, 4),        # not fcntl: allow
    step(0x20, 24), step(0x35, 36, 0, 2),           # its command, below F_OFD_GETLK: allow
    step(0x25, 38, 1, 0), step(0x06, 0x00050016),   # up to F_OFD_SETLKW: EINVAL
    step(0x06, 0x7FFF0000),
])
buffer = ctypes.create_string_buffer(code, len(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(code) // 8, ctypes.addressof(buffer)))) == 0, ctypes.get_errno()
import fcntl
try: fcntl.fcntl(0, 36, b"\\0" * 32)
except OSError as error: assert error.errno == 22, error
"""


def test_a_kernel_without_open_file_locks_uses_posix_locks(run, meter, ledger):
    """Simulate a sandbox that returns EINVAL. A program and a concurrent `drain` work with POSIX locks."""
    meter.close(5)
    outcome = run(
        SECCOMP
        + textwrap.dedent(
            """
            import taximeter
            taximeter.init(instrument=False)
            reader = taximeter.Ledger(sys.argv[1]); reader.report()
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
            assert taximeter.flush(60).pending == 0
            inodes = {os.stat(sys.argv[1] + end).st_ino for end in ("", "-shm")}
            lines = [line.replace("->", "").split() for line in open("/proc/locks")]
            print({words[1] for words in lines if int(words[5].split(":")[2]) in inodes})
            """
        ),
        str(ledger),
    )
    assert outcome.stdout.strip() == "{'POSIX'}"
    assert taximeter.Ledger(ledger).report(()).total.calls == 2


def test_one_round_of_the_stress_test_passes(tmp_path):
    """Run one short round of storm.py."""
    outcome = subprocess.run(
        [sys.executable, ROOT / "tests" / "python" / "storm.py", "--rounds", "1", "--seconds", "3.5"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    result = json.loads(outcome.stdout.splitlines()[-1])
    assert result["bad"] == 0
    assert result["acknowledged"] > 100
