"""The lock of a journal's owner: it survives when the process closes the file elsewhere, and no child inherits it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

import taximeter
from conftest import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks of open file descriptions are built for Linux")

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}
TRY = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError: sys.exit(3)
"""


def is_free(lock: Path) -> bool:
    """Return whether another process could take the lock, with the system call that earlier versions use."""
    code = subprocess.run([sys.executable, "-S", "-c", TRY, lock], check=False).returncode
    assert code in {0, 3}
    return code == 0


def owner_locks(state: Path) -> list[Path]:
    return sorted(state.glob("journal/*/owner.lock"))


def test_reading_the_state_directory_keeps_its_locks(state, meter):
    """A backup thread of the process reads every file. Closing a file drops all POSIX locks of the process on it."""
    meter.track(**CALL)
    (lock,) = owner_locks(state)
    assert not is_free(lock)
    for file in state.rglob("*"):
        if file.is_file():
            file.read_bytes()
    assert not is_free(lock)
    meter.close(5)
    assert owner_locks(state) == []


HOST = """
import os, pathlib, shutil, sys, tempfile, threading, time, taximeter
taximeter.init(instrument=False)
state = pathlib.Path(os.environ["TAXIMETER_STATE_DIR"])
def copy():
    while True:
        target = tempfile.mkdtemp(dir=state.parent)
        shutil.copytree(state, target, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        shutil.rmtree(target)
def keep_copying():
    while True:
        try: copy()
        except (OSError, shutil.Error): pass  # files come and go
threading.Thread(target=keep_copying, daemon=True).start()
while True:
    receipt = taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    os.write(1, receipt.id.encode() + b"\\n")
    if taximeter.stats()["tier"] != "mapped": time.sleep(0.001)
"""


def test_a_process_that_copies_its_own_state_directory_loses_nothing(state):
    """Meanwhile `drain` runs in another process and adopts unlocked journals, and the process is killed."""
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    drain = [sys.executable, "-m", "taximeter", "drain"]
    acknowledged: list[str] = []
    for _ in range(3):
        host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, env=environment)
        lines = [host.stdout.readline()]
        for _ in range(2):
            subprocess.run(drain, env=environment, capture_output=True, timeout=300, check=False)
        host.kill()
        lines += host.stdout.read().splitlines(keepends=True)
        host.wait()
        host.stdout.close()
        acknowledged += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    subprocess.run(drain, env=environment, capture_output=True, timeout=300, check=True)
    with closing(sqlite3.connect(state / "ledger.db")) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM events")]
        assert connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    assert len(acknowledged) > 30
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))


PARENT = """
import ctypes, os, sqlite3, sys, time, taximeter
taximeter.init(instrument=False)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
taximeter.flush(10)
blocker = sqlite3.connect(os.environ["TAXIMETER_STATE_DIR"] + "/ledger.db", isolation_level=None)
blocker.execute("BEGIN IMMEDIATE")
for _ in range(100): taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
FORK
if child == 0: time.sleep(60); os._exit(0)
print(child, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["fork", "clone"])
def test_a_running_child_does_not_hold_its_dead_parents_journal(state, kind):
    """The child does not use the journal. A child of a bare `clone` runs no fork handler, so it holds the lock until it ends."""
    clone = {"x86_64": "56", "aarch64": "220"}[os.uname().machine]
    fork = {"fork": "child = os.fork()", "clone": f"child = ctypes.CDLL(None).syscall({clone}, 17, 0, 0, 0, 0)"}[kind]
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    script = textwrap.dedent(PARENT).replace("FORK", fork)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    child = int(parent.stdout.readline())
    try:
        (lock,) = owner_locks(state)
        assert not is_free(lock)
        parent.kill()
        parent.wait()
        os.kill(child, 0)
        if kind == "clone":
            os.kill(child, signal.SIGKILL)
            child = 0
        wait_for(lambda: is_free(lock))
        command = [sys.executable, "-m", "taximeter", "drain"]
        subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True)
    finally:
        parent.kill()
        parent.stdout.close()
        if child:
            os.kill(child, signal.SIGKILL)
    assert taximeter.Ledger(state / "ledger.db").report(()).total.calls == 101
    assert owner_locks(state) == []
