"""Makes the ledger of a service that ran for a quarter: `python benches/python/years.py DIRECTORY --calls 10000000`.

It has 7 models, 20 teams, 5,000 users and two tags. A service writes calls in the order of time, with some jitter; with `--shuffled`
they come in no order, as in a copy of another system's calls.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import NamedTuple

import taximeter

MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "o3"), ("anthropic", "claude-sonnet-4-5")]
MODELS += [("anthropic", "claude-haiku-4-5"), ("gcp.gemini", "gemini-2.5-pro"), ("mistral_ai", "mistral-large-latest")]
DAYS = 90
JITTER = 30.0
"""Seconds by which the calls of several processes arrive out of order."""


class Made(NamedTuple):
    """A ledger that was made."""

    path: Path
    calls: int
    seconds: float
    """From the first `track` to the last committed row."""


def make(state: Path, calls: int, customers: int, *, is_shuffled: bool = False) -> Made:
    """Track calls over 90 days into a state directory.

    Args:
        state: The directory.
        calls: How many.
        customers: How many customers they have.
        is_shuffled: Whether the calls come in no order of time.
    """
    choose = random.Random(3).random
    names = [f"customer-{number}" for number in range(customers)]
    users, teams = [f"user-{number}" for number in range(5_000)], [f"team-{number}" for number in range(20)]
    tags = [{"plan": "free"}, {"plan": "pro"}]
    first = time.time() - DAYS * 86_400
    step = (DAYS * 86_400 - JITTER) / calls
    with taximeter.Meter(state_dir=state, budget_mb=4096) as meter:
        track, begin = meter.track, time.perf_counter()
        for number in range(calls):
            provider, model = MODELS[int(choose() * 7)]
            moment = choose() * DAYS * 86_400 if is_shuffled else number * step + choose() * JITTER
            track(
                provider=provider, model=model, input_tokens=int(choose() * 20_000), output_tokens=int(choose() * 2_000),
                team=teams[int(choose() * 20)], customer=names[int(choose() * customers)], user=users[int(choose() * 5_000)],
                tags=tags[int(choose() * 2)], latency_ms=200 + choose() * 8_000, started_at=first + moment,
            )  # fmt: skip
            if number % 50_000 == 0:
                meter.flush(120)
        report = meter.flush(600)
        seconds = time.perf_counter() - begin
        assert (report.pending, report.dropped) == (0, 0), report
        return Made(Path(meter.settings.ledger), calls, seconds)


def main() -> None:
    """Make a ledger, and print the rate."""
    parser = argparse.ArgumentParser(description="make the ledger of a service that ran for a quarter")
    parser.add_argument("directory", type=Path, help="the state directory")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--shuffled", action="store_true", help="the calls come in no order of time")
    options = parser.parse_args()
    made = make(options.directory, options.calls, options.customers, is_shuffled=options.shuffled)
    size = made.path.stat().st_size / made.calls
    print(f"{made.path}: {made.calls:,} calls at {made.calls / made.seconds:,.0f} calls/s to committed rows, {size:.0f} bytes a call")


if __name__ == "__main__":
    main()
