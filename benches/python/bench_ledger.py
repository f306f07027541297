"""Measures the ledger: the rate to committed rows, processor time, idle wake-ups, and reports over a million events."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

import taximeter

MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "gpt-4.1"), ("anthropic", "claude-sonnet-5")]
MODELS += [("anthropic", "claude-haiku-4-5"), ("gcp.gemini", "gemini-2.5-pro"), ("mistral_ai", "mistral-large-latest")]
EVENTS = 1_000_000
DAY = 86_400
RATES = ((100, 1), (1_000, 1), (50_000, 500))
"""Events a second, and how many of them at once."""


def quick() -> None:
    """Measure the rate of committed rows, and the processor time of an event, with fewer repetitions."""
    write(RATES[1:2], 2)


def write(rates: Sequence[tuple[int, int]], seconds: float) -> None:
    """Measure what writing takes."""
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(state_dir=state)
        end_to_end(meter)
        meter.close(60)
    for rate, burst in rates:
        with tempfile.TemporaryDirectory() as state:
            processor_time(state, rate, burst, seconds)


def main() -> None:
    write(RATES, 5)
    with tempfile.TemporaryDirectory() as state:
        wake_ups(state)
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(state_dir=state)
        fill(meter)
        meter.close(60)
        reports(taximeter.Ledger(f"{state}/ledger.db"))
        exports(taximeter.Ledger(f"{state}/ledger.db"))
        scan(taximeter.Ledger(f"{state}/ledger.db"))


def end_to_end(meter: taximeter.Meter) -> None:
    """One thread tracks as fast as it can. The time ends when the last row is committed."""
    count = 400_000
    tags = {"plan": "pro", "env": "prod", "region": "eu"}
    track = meter.track
    begin = time.perf_counter()
    for number in range(count):
        provider, model = MODELS[number % 7]
        track(provider=provider, model=model, input_tokens=1200, output_tokens=350, feature="chat", team="acme", tags=tags)
    tracked = time.perf_counter() - begin
    report = meter.flush(120)
    seconds = time.perf_counter() - begin
    assert report.pending == 0
    rows = taximeter.Ledger(meter.settings.ledger).report(()).total.calls
    assert rows == count - report.dropped, (rows, report)
    print(
        f"track() to committed row: {rows / seconds:,.0f} events/s ({count:,} tracked in {tracked:.2f} s, {report.dropped} refused)"
    )


def paced(call: Callable[[int], object], rate: int, burst: int, seconds: float) -> float:
    """Call at a rate. Return the processor time of the whole process for each call, in µs."""
    begin, processor = time.perf_counter(), time.process_time()
    count = int(rate * seconds)
    for first in range(0, count, burst):
        for number in range(first, first + burst):
            call(number)
        time.sleep(max(0.0, begin + (first + burst) / rate - time.perf_counter()))
    return (time.process_time() - processor) / count * 1e6


def processor_time(state: str, rate: int, burst: int, seconds: float) -> None:
    """Return the processor time of an event, of all threads, beyond that of the same loop without metering."""
    tags = {"plan": "pro", "env": "prod", "region": "eu"}

    def call(number: int) -> None:
        provider, model = MODELS[number % 7]
        track(provider=provider, model=model, input_tokens=1200, output_tokens=350, feature="chat", team="acme", tags=tags)

    with taximeter.Meter(state_dir=state) as meter:
        track = meter.track
        paced(call, rate, burst, 1)
        added, with_metering = [], []
        for _ in range(3):
            meter.flush(10)
            with_metering.append(paced(call, rate, burst, seconds))
            added.append(with_metering[-1] - paced(int, rate, burst, seconds))
        assert meter.flush(60).pending == 0
    print(
        f"{rate:,} events/s: {sorted(added)[1]:.1f} µs of processor time an event beyond the loop's "
        f"(of three: {min(added):.1f} to {max(added):.1f}; with the loop's {sorted(with_metering)[1]:.1f})"
    )


def wake_ups(state: str, seconds: float = 10) -> None:
    """How often the threads of an idle meter wake up."""

    def switches() -> int:
        own = threading.get_native_id()
        lines = [
            line
            for task in Path("/proc/self/task").iterdir()
            if int(task.name) != own
            for line in (task / "status").read_text().splitlines()
        ]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    with taximeter.Meter(state_dir=state) as meter:
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        meter.flush(10)
        time.sleep(3)
        before = switches()
        time.sleep(seconds)
        print(f"an idle meter: {(switches() - before) / seconds:.1f} wake-ups a second")


def fill(meter: taximeter.Meter) -> None:
    """Track a million events over 30 days: 7 models, 20 teams, 12 features, 200 customers, 5,000 users."""
    random.seed(3)
    now = time.time()
    for number in range(EVENTS):
        provider, model = random.choice(MODELS)
        meter.track(
            provider=provider, model=model, input_tokens=random.randrange(20_000), output_tokens=random.randrange(2_000),
            team=f"team-{random.randrange(20)}", feature=f"feature-{random.randrange(12)}",
            customer=f"customer-{random.randrange(200)}", user=f"user-{random.randrange(5_000)}",
            tags={"plan": random.choice(("free", "pro"))}, started_at=now - random.random() * 30 * DAY,
        )  # fmt: skip
        if number % 50_000 == 0:
            meter.flush(60)
    report = meter.flush(120)
    assert (report.pending, report.dropped) == (0, 0)


def reports(ledger: taximeter.Ledger) -> None:
    for name, by, options in (
        ("model", ("model",), {}),
        ("model, last 7 days", ("model",), {"since": "7d"}),
        ("team and day", ("team", "day"), {}),
        ("customer", ("customer",), {}),
        ("team and feature (reads every event)", ("team", "feature"), {}),
        ("user (reads every event)", ("user",), {}),
        ("tag:plan (reads every event)", ("tag:plan",), {}),
    ):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            report = ledger.report(by, **options)
            times.append(time.perf_counter() - begin)
        print(f"report by {name}: {min(times) * 1000:,.0f} ms at best, {max(times) * 1000:,.0f} ms at worst, {len(report)} rows")
        if not options:
            assert report.total.calls == EVENTS


def exports(ledger: taximeter.Ledger) -> None:
    """Write every call as JSON lines and CSV, beside encoding the same calls in Python, in turns."""
    rates: dict[str, list[float]] = {"JSON lines": [], "CSV": [], "json.dumps of Ledger.events()": []}
    for _ in range(3):
        for name, blocks in (
            ("JSON lines", ledger.export()),
            ("CSV", ledger.export("csv")),
            ("json.dumps of Ledger.events()", (json.dumps(event).encode() + b"\n" for event in ledger.events())),
        ):
            begin = time.perf_counter()
            lines = sum(block.count(b"\n") for block in blocks)
            rates[name].append(EVENTS / (time.perf_counter() - begin))
            assert lines - (name == "CSV") == EVENTS
    slowest = max(rates["json.dumps of Ledger.events()"])
    for name, found in rates.items():
        times = max(found) / slowest
        print(f"export, {name}: {max(found):,.0f} calls/s at best, {min(found):,.0f} at worst; {times:.1f} times Python's")


def scan(ledger: taximeter.Ledger) -> None:
    """Read ten columns of every call into a table of Arrow's arrays."""
    names = ["started_at", "provider", "model", "team", "customer", "user", "status", "input_tokens", "output_tokens", "cost_usd"]
    for columns in (names, [*names[:-1], "tags"], None):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            table = pa.table(ledger.scan(columns))
            times.append(time.perf_counter() - begin)
            assert len(table) == EVENTS
        what = f"{table.num_columns} columns{', tags among them' if 'tags' in table.column_names else ''}"
        print(f"scan of {EVENTS:,} calls x {what}: {min(times):.2f} s at best, {max(times):.2f} s at worst")


if __name__ == "__main__":
    main()
