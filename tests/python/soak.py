"""Tests with random faults for any length of time: `python tests/python/soak.py --seconds 86400`, or `make soak`.

One process runs throughout; others are killed or forked. All of them track while their collector fails, hangs and is stopped. At the
end of each round the faults stop. Then the collector must have exactly the acknowledged events, and the long-running process must not
have grown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# The growth allowed to the long-running process after its first round, in which pools and allocators settle.
MAX_GROWTH_MB = 12
MAX_MORE_FILES = 8

COLLECTOR = """
import random, signal, sys, threading, time
from collector import Collector
faulty = True
def rule(events):
    chance = random.random() if faulty else 1
    if chance < 0.1:
        return 503
    if chance < 0.2:
        return "reset"
    if chance < 0.25:
        return 429, {"Retry-After": "0"}, b""
    if chance < 0.3:
        return 413 if len(events) > 10 else 200
    if chance < 0.32:
        time.sleep(2)
    return 200
with Collector() as collector:
    collector.rule = rule
    print(collector.url, flush=True)
    for line in sys.stdin:
        faulty = line.strip() == "faulty"
        if line.strip() == "ids":
            # Swapped in one step, so that events that arrive meanwhile count for the next call.
            found, collector.events, collector.requests = collector.events, {}, []
            print(*found, flush=True)
"""
RESIDENT = """
import gc, os, sys, threading, time, taximeter
taximeter.init(destination=taximeter.Destination(sys.argv[1], timeout=3), instrument=False)
go = True
lock = threading.Lock()
def work():
    while True:
        if not go:
            time.sleep(0.01)
            continue
        with lock:
            os.write(1, taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"plan": "pro"}).id.encode() + b"\\n")
        time.sleep(0.002)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
for line in sys.stdin:
    command = line.strip()
    if command == "fork":
        with lock:
            pid = os.fork()
        if pid == 0:
            os.write(1, taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).id.encode() + b"\\n")
            os._exit(0)
        os.waitpid(pid, 0)
    elif command == "go":
        go = True
    elif command == "calm":
        go = False
        time.sleep(0.1)
        while taximeter.flush(1).pending:
            pass
        with lock:
            os.write(1, b"# calm\\n")
    elif command == "measure":
        gc.collect()
        resident = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
        with lock:
            os.write(1, f"# {resident} {len(os.listdir('/proc/self/fd'))}\\n".encode())
"""
KILLED = """
import os, sys, threading, taximeter
taximeter.init(destination=taximeter.Destination(sys.argv[1], timeout=3), instrument=False)
def work():
    while True:
        os.write(1, taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"plan": "pro"}).id.encode() + b"\\n")
for _ in range(int(sys.argv[2]) - 1):
    threading.Thread(target=work).start()
work()
"""


class Soak:
    """One state directory and one collector, with the faults that happen to them."""

    def __init__(self, state: str) -> None:
        self._environment = {**os.environ, "TAXIMETER_STATE_DIR": state}
        self.acknowledged: set[str] = set()
        self._signs: list[str] = []
        self._lock = threading.Lock()
        here = str(Path(__file__).parent)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._collector = subprocess.Popen([sys.executable, "-c", COLLECTOR], cwd=here, **pipes)
        self.url = self._collector.stdout.readline().strip()
        self._resident = subprocess.Popen([sys.executable, "-c", RESIDENT, self.url], env=self._environment, **pipes)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._resident.stdout:
            with self._lock:
                if line.startswith("#"):
                    self._signs.append(line)
                else:
                    self.acknowledged.add(line.strip())

    def chaos(self, seconds: float) -> None:
        """Cause random faults for some time."""
        self._tell(self._collector, "faulty")
        self._tell(self._resident, "go")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chance = random.random()
            if chance < 0.5:
                self._kill_one()
            elif chance < 0.8:
                self._tell(self._resident, "fork")
                time.sleep(random.uniform(0, 0.2))
            else:
                self._collector.send_signal(signal.SIGSTOP)
                time.sleep(random.uniform(0, 2))
                self._collector.send_signal(signal.SIGCONT)

    def _kill_one(self) -> None:
        command = [sys.executable, "-c", KILLED, self.url, str(random.randint(1, 8))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment) as process:
            lines = [process.stdout.readline()]
            time.sleep(random.uniform(0, 0.1))
            process.kill()
            lines += process.stdout.read().splitlines(keepends=True)
        with self._lock:
            self.acknowledged.update(line.strip() for line in lines if line.endswith("\n"))

    def calm(self) -> tuple[float, int]:
        """Wait for delivery and check it. Return the megabytes and open files of the long-running process."""
        deadline = time.monotonic() + 120
        self._tell(self._collector, "well")
        self._ask("calm", deadline)
        drain = [sys.executable, "-m", "taximeter", "drain"]
        environment = {**self._environment, "TAXIMETER_DESTINATION": self.url}
        # The long-running process may be adopting a journal at this moment.
        while subprocess.run(drain, env=environment, capture_output=True, check=False).returncode and time.monotonic() < deadline:
            pass
        arrived: set[str] = set()
        while not self.acknowledged <= arrived and time.monotonic() < deadline:
            self._tell(self._collector, "ids")
            arrived.update(self._collector.stdout.readline().split())
            time.sleep(0.2)
        lost = self.acknowledged - arrived
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} lost"
        letters = list(Path(self._environment["TAXIMETER_STATE_DIR"]).glob("dead/*"))
        assert not letters, letters
        self.count = len(self.acknowledged)
        self.acknowledged.clear()
        resident, files = self._ask("measure", deadline)
        return int(resident) / 1024, int(files)

    def _ask(self, word: str, deadline: float) -> list[str]:
        self._tell(self._resident, word)
        while not self._signs:
            assert time.monotonic() < deadline, "the long-running process does not answer"
            time.sleep(0.05)
        return self._signs.pop().split()[1:]

    @staticmethod
    def _tell(process: subprocess.Popen[str], word: str) -> None:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    def end(self) -> None:
        for process in (self._resident, self._collector):
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.stdin.close()
            process.wait()
            process.stdout.close()


def soak(rounds: float, round_seconds: float, say=print) -> int:
    """Run rounds of faults, at least two. Return how many events were delivered.

    Raises:
        AssertionError: An event was lost, or the process grew.
    """
    total, first, number = 0, None, 0
    with tempfile.TemporaryDirectory() as state:
        one = Soak(state)
        try:
            while number < max(rounds, 2):
                number += 1
                one.chaos(round_seconds)
                memory, files = one.calm()
                total += one.count
                first = first or (memory, files)
                say(f"{total:,} events delivered, none lost; {memory:.1f} MB, {files} files")
                assert memory - first[0] < MAX_GROWTH_MB, f"{first[0]:.1f} MB became {memory:.1f}"
                assert files - first[1] < MAX_MORE_FILES, f"{first[1]} open files became {files}"
        finally:
            one.end()
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=86_400)
    parser.add_argument("--round", type=float, default=60)
    options = parser.parse_args()
    seed = time.time_ns()
    print(f"seed {seed}", flush=True)
    random.seed(seed)
    soak(options.seconds / options.round, options.round, lambda text: print(text, flush=True))
