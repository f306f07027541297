"""Compares `track()` with nine keywords, one of them three tags, to `orjson.dumps` of the same event, in one run.

`orjson.dumps` serializes the complete event in taximeter's JSON form, including id, time and cost, from a ready dict. `track()` also
makes the id, checks, prices and journals the event. The ledger is written meanwhile, at the rate that each row states.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import orjson

import taximeter

TAGS = {"plan": "pro", "env": "prod", "region": "eu"}
EVENT = {
    "id": "019abcde-0000-7000-8000-0123456789ab",
    "started_at": "2026-11-22T12:00:00.000000000Z",
    "provider": "openai",
    "model": "gpt-4o",
    "operation": "chat",
    "status": "success",
    "usage": {"input_tokens": 1200, "output_tokens": 350},
    "usage_status": "complete",
    "cost_usd": "0.0065",
    "cost_status": "priced",
    "priced_as": "openai/gpt-4o",
    "catalog": "genai-prices-0.2.3",
    "feature": "chat",
    "team": "acme",
    "customer": "c-17",
    "user": "u-42",
    "tags": TAGS,
}
ARGUMENTS = {key: EVENT[key] for key in ("provider", "model", "feature", "team", "customer", "user", "tags")} | EVENT["usage"]
BURST = 500
BESIDE = "track(), beside 3 budgets for other calls"
WITHIN = "track(), in one budget"
BUDGETS = {
    BESIDE: [taximeter.Budget(f"team-{number}", usd=1, per="day", where={"team": f"team-{number}"}) for number in range(3)],
    WITHIN: [taximeter.Budget("all", usd=10**9, per="day")],
}
CUSTOMERS = itertools.cycle([f"c-{number}" for number in range(997)])
USERS = itertools.cycle([f"u-{number}" for number in range(1009)])
STRACE = """
import os, sys, tempfile, time
import taximeter
taximeter.init(state_dir=sys.argv[1], instrument=False)
track = taximeter.track
tags = {"plan": "pro", "env": "prod", "region": "eu"}
def burst(n):
    for _ in range(n):
        track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme", customer="c-17",
              user="u-42", tags=tags)
burst(20000)
calls, pause = int(sys.argv[2]), float(sys.argv[3])
time.sleep(0.1)
os.getppid()
for _ in range(calls // 500):
    burst(500)
    if pause:
        time.sleep(pause)
os.getppid()
os._exit(0)
"""


def call_track() -> None:
    taximeter.track(
        provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme", customer="c-17",
        user="u-42", tags=TAGS,
    )  # fmt: skip


def call_track_for_many() -> None:
    """Call it for another customer and another user each time."""
    customer, user = next(CUSTOMERS), next(USERS)
    taximeter.track(
        provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme", customer=customer,
        user=user, tags=TAGS,
    )  # fmt: skip


def call_peer() -> None:
    orjson.dumps(EVENT)


def call_peer_on_arguments() -> None:
    orjson.dumps(ARGUMENTS)


def call_nothing() -> None:
    pass


def sample(call: Callable[[], None], bursts: int, pause: float) -> tuple[float, list[int]]:
    """Return the median time of a call in ns, from whole bursts; and single times in ns, each including the clock's own cost."""
    clock = time.perf_counter_ns
    per_call, single = [], []
    for number in range(bursts):
        if number % 2:
            begin = clock()
            for _ in range(BURST):
                call()
            per_call.append((clock() - begin) / BURST)
        else:
            for _ in range(BURST):
                begin = clock()
                call()
                single.append(clock() - begin)
        if pause:
            time.sleep(pause)
    return statistics.median(per_call), single


def percentile(times: list[int], share: float) -> float:
    return sorted(times)[int(len(times) * share)]


def quick() -> None:
    """Measure with fewer repetitions, without counting system calls."""
    measure(100)


def main() -> None:
    measure(400)
    count_system_calls()


def measure(bursts: int) -> None:
    """Compare the times of `track()` and its peers."""
    with tempfile.TemporaryDirectory() as state:
        taximeter.init(state_dir=state, instrument=False)
        call_track()
        nothing, nothing_single = sample(call_nothing, 200, 0)
        clock_cost = statistics.median(nothing_single)
        print(f"{'':44}{'p50 ns':>9}{'p99 ns':>9}")
        results = {}
        for name, call, pause in (
            ("orjson.dumps(event)", call_peer, 0.005),
            ("orjson.dumps(arguments only)", call_peer_on_arguments, 0.005),
            ("track(), 50,000 events/s", call_track, 0.01),
            ("track(), as fast as it goes", call_track, 0),
            ("track(), for many customers and users", call_track_for_many, 0),
            ("track(), inside attribute()", call_track, 0),
            (BESIDE, call_track, 0),
            (WITHIN, call_track, 0),
        ):
            if name in BUDGETS:
                taximeter.init(state_dir=state, instrument=False, budgets=BUDGETS[name])
            with taximeter.attribute(agent="support", team="search") if "attribute" in name else contextlib.nullcontext():
                median, single = sample(call, bursts, pause)
            results[name] = median - nothing, percentile(single, 0.99) - clock_cost
            print(f"{name:44}{results[name][0]:9.0f}{results[name][1]:9.0f}")
            taximeter.flush(60)
        peer = results["orjson.dumps(event)"]
        added = results[BESIDE][0] - results["track(), as fast as it goes"][0]
        print(f"budgets for other calls add {added:.0f} ns to track()")
        for name in list(results)[2:]:
            p50, p99 = results[name]
            print(f"{name}: p50 {p50 / peer[0]:.2f} ×, p99 {p99 / peer[0]:.2f} × orjson.dumps's p50 ({p99 / peer[1]:.2f} × its p99)")
        taximeter.close(60)


def count_system_calls(calls: int = 100_000) -> None:
    """Count the system calls of the tracking thread, except for its own pauses."""
    if not shutil.which("strace"):
        print("strace is not installed: system calls were not counted")
        return
    for pace, pause in (("50,000 events/s", 0.01), ("as fast as it goes", 0.0)):
        with tempfile.TemporaryDirectory() as state, tempfile.NamedTemporaryFile("r") as log:
            # Without -f, strace only follows the thread that calls track(), not the delivery threads.
            command = ["strace", "-o", log.name, sys.executable, "-c", STRACE, state, str(calls), str(pause)]
            subprocess.run(command, check=True)
            lines = log.read().splitlines()
        first, last = (number for number, line in enumerate(lines) if line.startswith("getppid("))
        names = Counter(line.partition("(")[0] for line in lines[first + 1 : last])
        names.pop("clock_nanosleep", None)
        print(f"system calls in {calls:,} calls of track(), {pace}: {names.total()} {dict(names) or ''}")


if __name__ == "__main__":
    main()
