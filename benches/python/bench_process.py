"""Measures import, memory and exit of a process, and what is kept if it is killed."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = "import time; b = time.perf_counter(); import taximeter; print((time.perf_counter() - b) * 1000)"
MEMORY = """
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024
before = resident()
import taximeter
imported = resident()
taximeter.init()
print(imported - before, resident() - before)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
taximeter.flush()
print(resident() - before)
"""
ONE = "import taximeter; taximeter.track(provider='openai', model='gpt-4o', input_tokens=1)"
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
KILLS = 200


def run(text: str, state: str) -> str:
    # With bytecode files, as after `pip install`.
    environment = {**os.environ, "TAXIMETER_STATE_DIR": state, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True).stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        imports = [float(run(IMPORT, state)) for _ in range(16)][1:]
        print(f"import taximeter: {statistics.median(imports):.1f} ms (worst of {len(imports)}: {max(imports):.1f} ms)")
        memory, tracking = run(MEMORY, state).splitlines()
        imported, init = map(float, memory.split())
        print(f"resident memory: import {imported:.1f} MB, and init {init:.1f} MB, and the first event {float(tracking):.1f} MB")
        bare, one = [], []
        for _ in range(9):
            for text, times in (("pass", bare), (ONE, one)):
                begin = time.perf_counter()
                run(text, state)
                times.append(time.perf_counter() - begin)
        with sqlite3.connect(f"{state}/ledger.db") as connection:
            (rows,) = connection.execute("SELECT count(*) FROM events").fetchone()
        connection.close()
        assert rows == 1 + len(one), rows
        print(f"script of one event: {statistics.median(one):.3f} s in all (an empty one {statistics.median(bare):.3f} s), row kept")
    kill()


def kill() -> None:
    """Kill processes at random while one to eight threads print acknowledged ids."""
    random.seed(11)
    acknowledged: list[bytes] = []
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "TAXIMETER_STATE_DIR": state}
        for number in range(KILLS):
            command = [sys.executable, "-c", PRODUCER, str(1 + number % 8)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                lines = [process.stdout.readline()]
                time.sleep(random.uniform(0, 0.2))
                process.kill()
                lines += process.stdout.read().splitlines(keepends=True)
            acknowledged += [line.strip() for line in lines if line.endswith(b"\n")]
        subprocess.run([sys.executable, "-m", "taximeter", "drain"], env=environment, check=True, capture_output=True)
        with sqlite3.connect(f"{state}/ledger.db") as connection:
            ids = [row[0].encode() for row in connection.execute("SELECT id FROM events")]
        connection.close()
        left = len(list(Path(state, "journal").iterdir()))
    lost, twice = len(set(acknowledged) - set(ids)), len(ids) - len(set(ids))
    print(f"{KILLS} kill -9, {len(acknowledged):,} acknowledged events: {lost} lost, {twice} twice, {left} journals left over")


if __name__ == "__main__":
    main()
