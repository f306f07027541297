"""Kills and forks processes and lets collectors fail, and checks that no event is lost or counted twice."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import sink
import taximeter
from bench_process import PRODUCER

KILLS = 1000
FORKS = 1000
QUEUED = 5_000_000
PACE = 40_000

FORKER = """
import faulthandler, os, signal, sys, threading, time, taximeter
faulthandler.dump_traceback_later(280, exit=True)
taximeter.init(instrument=False)
go, counts = True, [0] * 8
def work(n):
    while go:
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        counts[n] += 1
        time.sleep(0.0005)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[thread.start() for thread in threads]
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, "a child hung"
go = False
[thread.join() for thread in threads]
report = taximeter.flush(60)
print(sum(counts) - report.dropped)
"""


def main() -> None:
    kills()
    forks()
    outage()


def surroundings(state: str, port: int) -> Mapping[str, str]:
    return {**os.environ, "TAXIMETER_STATE_DIR": state, "TAXIMETER_DESTINATION": f"cloudevents+http://127.0.0.1:{port}/"}


def drain(environment: Mapping[str, str]) -> None:
    """Deliver all remaining events, with retries because the sink's errors end some runs early."""
    command = [sys.executable, "-m", "taximeter", "drain"]
    for _ in range(20):
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0:
            return
    raise SystemExit("the remaining events could not be delivered")


def kills() -> None:
    """Kill processes at random while eight threads print acknowledged ids and two fifths of the requests fail."""
    random.seed(11)
    acknowledged: set[bytes] = set()
    with tempfile.TemporaryDirectory() as state, sink.running("--keep") as port:
        environment = surroundings(state, port)
        for _ in range(KILLS):
            with subprocess.Popen([sys.executable, "-c", PRODUCER, "8"], stdout=subprocess.PIPE, env=environment) as process:
                lines = [process.stdout.readline()]
                time.sleep(random.uniform(0, 0.2))
                process.kill()
                lines += process.stdout.read().splitlines(keepends=True)
            acknowledged.update(bytes.fromhex(line.decode().replace("-", "")) for line in lines if line.endswith(b"\n"))
        drain(environment)
        text = sink.ask(port, "/ids")
        ids = {text[at : at + 16] for at in range(0, len(text), 16)}
        said = json.loads(sink.ask(port))
        left = len(list(Path(state, "journal").iterdir()))
        letters = sum(path.stat().st_size for path in Path(state).glob("dead/*"))
    lost = len(acknowledged - ids)
    print(f"{KILLS} kill -9 under 8 threads, {len(acknowledged):,} acknowledged: {lost} lost,", end=" ")
    print(f"{said['events'] - said['distinct']:,} repeated in {said['requests']:,} requests, each identified by its id;", end=" ")
    print(f"{left} journals and {letters} bytes of dead letters left")
    assert not lost


def forks() -> None:
    """Fork while eight threads track. Each child tracks one event and exits without cleanup."""
    with tempfile.TemporaryDirectory() as state, sink.running("--keep") as port:
        environment = surroundings(state, port)
        command = [sys.executable, "-c", FORKER, str(FORKS)]
        begin = time.perf_counter()
        outcome = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
        took = time.perf_counter() - begin
        drain(environment)
        tracked = int(outcome.stdout) + FORKS
        found = len(sink.ask(port, "/ids")) // 16
    print(f"{FORKS} forks while 8 threads track, {took:.0f} s: no deadlock, {tracked - found} of {tracked:,} lost")
    assert found == tracked


def resident() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def outage() -> None:
    """Simulate a collector that is down while events are queued at a steady pace, and then comes back."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        url = f"cloudevents+http://127.0.0.1:{port}/"
        meter = taximeter.Meter(destination=url, state_dir=state, budget_mb=4096)
        memory, begin = [], time.perf_counter()
        for burst in range(QUEUED // 400):
            while time.perf_counter() < begin + burst * 400 / PACE:
                time.sleep(0.001)
            for _ in range(400):
                meter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme")
            if burst % 250 == 249:
                memory.append(resident())
        came = QUEUED / (time.perf_counter() - begin)
        stats = meter.stats()
        full = stats["seconds_to_full"]
        assert not stats["refused"]["no_space"], stats
        with sink.running("--port", str(port)):
            begin = time.perf_counter()
            report = meter.flush(300)
            took = time.perf_counter() - begin
            memory.append(resident())
        assert report.pending == 0, meter.stats()
        there = next(iter(meter.stats()["destinations"].values()))["delivered"]
        meter.close()
    growth = max(memory) - memory[0]
    print(f"outage with {QUEUED:,} events queued at {came:,.0f}/s: {growth:+.1f} MB resident (of {memory[0]:.0f}),", end=" ")
    print(
        f"{stats['journal_bytes'] / 1e6:,.0f} MB on disk, full in {full:,.0f} s; {there:,} delivered at {there / took:,.0f}/s,",
        end=" ",
    )
    print(f"{there / took / came:.1f} × the rate at which they were tracked")


if __name__ == "__main__":
    main()
