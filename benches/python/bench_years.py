"""Measures reading a ledger of years: reports by each field, pages of calls, memory. It takes minutes, so it runs only by name.

`python benches/python/run.py years` makes a ledger of 10,000,000 calls of 100,000 customers first. `YEARS_CALLS` sets another number,
`YEARS_LEDGER` the file of a ledger that `years.py` has made.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import taximeter
from years import make

RUNS = 20
CUSTOMER = {"customer": "customer-77"}


def questions(ledger: taximeter.Ledger) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    return {
        "report by model": lambda: ledger.report("model"),
        "model, last 30 days": lambda: ledger.report("model", since="30d"),
        "day and model": lambda: ledger.report(("day", "model")),
        "team": lambda: ledger.report("team"),
        "team and day, last 30 days": lambda: ledger.report(("team", "day"), since="30d"),
        "customer, 25 rows": lambda: ledger.report("customer", limit=25),
        "customer, last 30 days, 25 rows": lambda: ledger.report("customer", since="30d", limit=25),
        "one customer by day": lambda: ledger.report("day", where=CUSTOMER),
        "user, 25 rows": lambda: ledger.report("user", limit=25),
        "tag:plan": lambda: ledger.report("tag:plan"),
        "team and user, 25 rows": lambda: ledger.report(("team", "user"), limit=25),
        "page of calls": lambda: ledger.newest(50),
        "page of a customer's calls": lambda: ledger.newest(50, where=CUSTOMER),
        "page of the costliest calls of 30 days": lambda: ledger.highest("cost_usd", 50, since="30d"),
        "page of a customer's slowest calls of 30 days": lambda: ledger.highest("latency_ms", 50, since="30d", where=CUSTOMER),
        "customer, all rows": lambda: ledger.report("customer"),
    }


def measure(name: str, ask: Callable[[], object]) -> None:
    """Print the 95th percentile of 20 answers, and the processor time of the median one."""
    times, processor = [], []
    for _ in range(RUNS):
        begin, used = time.perf_counter(), time.process_time()
        ask()
        times.append(time.perf_counter() - begin)
        processor.append(time.process_time() - used)
    p95 = sorted(times)[RUNS * 95 // 100 - 1]
    print(f"{name}: p95 {p95 * 1000:,.0f} ms, processor {sorted(processor)[RUNS // 2] * 1000:,.0f} ms", flush=True)


def memory(path: str, statement: str) -> int:
    """Return the highest resident memory of a process that runs a statement, in MB."""
    # `ru_maxrss` would start at the resident memory of this process, from which the child is forked.
    code = f"import taximeter; own = taximeter.Ledger({path!r}); {statement}; print(open('/proc/self/status').read())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def read(path: str) -> None:
    """Measure a ledger."""
    ledger = taximeter.Ledger(path, timezone="UTC")
    for name, ask in questions(ledger).items():
        measure(name, ask)
    for name, statement in {
        "import and nothing": "pass",
        "customer, 25 rows": "own.report('customer', limit=25)",
        "customer, all rows": "own.report('customer')",
    }.items():
        print(f"highest resident memory, {name}: {memory(path, statement):,} MB", flush=True)


def main() -> None:
    """Make a ledger, unless there is one, and measure it."""
    if path := os.environ.get("YEARS_LEDGER"):
        read(path)
        return
    calls = int(os.environ.get("YEARS_CALLS", "10000000"))
    with tempfile.TemporaryDirectory() as state:
        made = make(Path(state), calls, 100_000)
        rate, size = calls / made.seconds, made.path.stat().st_size / calls
        print(f"{calls:,} calls of 100,000 customers: {rate:,.0f} calls/s to committed rows, {size:.0f} bytes a call", flush=True)
        read(str(made.path))


if __name__ == "__main__":
    main()
