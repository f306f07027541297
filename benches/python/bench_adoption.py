"""Measures how a slow destination slows down another one, and what thousands of journals of ended processes cost a process."""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import sink
import taximeter

EVENTS = 300_000
ROUNDS = 3
JOURNALS = 2_000
DESCRIPTORS = 256
EXIT = """
import sys, time, taximeter
taximeter.init(instrument=False)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
print(time.time(), flush=True)
"""


def main() -> None:
    beside_a_slow_one()
    dead_journals()


def beside_a_slow_one() -> None:
    """Measure a collector's rate alone, and beside a ledger that another program keeps locked."""
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(rate(is_ledger_locked=False))
        beside.append(rate(is_ledger_locked=True))
    before, after = statistics.median(alone), statistics.median(beside)
    print(f"a collector alone: {before:,.0f} events/s; beside a ledger that is locked: {after:,.0f} ({after / before:.2f} ×)")


def rate(*, is_ledger_locked: bool) -> float:
    """Return events per second from `track()` to the sink's response."""
    with tempfile.TemporaryDirectory() as state, sink.running() as port:
        url = f"cloudevents+http://127.0.0.1:{port}/"
        meter = taximeter.Meter(destination=["ledger", url] if is_ledger_locked else url, state_dir=state, budget_mb=1000)
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert meter.flush(10).pending == 0
        lock = sqlite3.connect(Path(state) / "ledger.db", isolation_level=None)
        if is_ledger_locked:
            lock.execute("BEGIN EXCLUSIVE")
        begin = time.perf_counter()
        for _ in range(EVENTS):
            meter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme")
        (name,) = (name for name in meter.stats()["destinations"] if name != "ledger")
        while meter.stats()["destinations"][name]["delivered"] <= EVENTS:
            meter.flush(0.05)
        took = time.perf_counter() - begin
        lock.close()
        meter.close(0)
        return EVENTS / took


def dead_journals() -> None:
    """Adopt journals of killed processes with few file descriptors, and measure the exit of a short program among them."""
    with tempfile.TemporaryDirectory() as state:
        os.environ["TAXIMETER_STATE_DIR"] = state
        leave_behind(Path(state))
        ends = []
        for _ in range(5):
            outcome = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, text=True, check=True)
            ends.append(time.time() - float(outcome.stdout))
        print(f"a program with one event ends within {max(ends):.2f} s among {JOURNALS:,} journals of ended processes")
        left = journals(Path(state))
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        most, stop = 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not stop.wait(0.002):
                most = max(most, sum(1 for _ in Path("/proc/self/fd").iterdir()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        meter, begin = taximeter.Meter(state_dir=state), time.perf_counter()
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        while journals(Path(state)) > 1 and time.perf_counter() - begin < 120:
            time.sleep(0.05)
        took = time.perf_counter() - begin
        stop.set()
        watcher.join()
        meter.close(1)
        print(f"{left:,} journals adopted in {took:.1f} s with at most {most} descriptors open (limit {DESCRIPTORS})")
        assert taximeter.Ledger(Path(state) / "ledger.db").report(()).total.calls == JOURNALS + 6


def journals(state: Path) -> int:
    return sum(1 for _ in (state / "journal").iterdir())


def leave_behind(state: Path) -> None:
    """Make journals of one event each by killing processes."""
    code = """
import os, sys, taximeter
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        meter = taximeter.Meter(state_dir=sys.argv[2], backend="written", budget_mb=10_000)
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        os.kill(os.getpid(), 9)
    os.wait()
"""
    lock = sqlite3.connect(state / "ledger.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    subprocess.run([sys.executable, "-c", code, str(JOURNALS), str(state)], check=True)
    lock.close()
    (state / "ledger.db").unlink()


if __name__ == "__main__":
    main()
