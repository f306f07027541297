"""Compares `price()` with `genai_prices.calc_price`, and measures unknown names and the size of the catalog."""

from __future__ import annotations

import functools
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from genai_prices import Usage, calc_price

import taximeter

FIRST = """
import time, taximeter
begin = time.perf_counter(); taximeter.price("gpt-4o", {"input_tokens": 1}); print((time.perf_counter() - begin) * 1000)
"""
CASES = {
    "plain": ("openai", "gpt-4o", {"input_tokens": 1200, "output_tokens": 350}),
    "cached": ("anthropic", "claude-sonnet-4-5", {"input_tokens": 1200, "output_tokens": 350, "cache_read_tokens": 800}),
    "a pattern of Bedrock": (
        "aws",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"input_tokens": 1200, "output_tokens": 350, "cache_read_tokens": 300, "cache_write_tokens": 200},
    ),
}
NAMES = 10_000


def microseconds(work: Callable[[], object], calls: int) -> float:
    """Return the median time of a call over five rounds, in µs."""
    rounds = []
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        rounds.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(rounds)


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def distinct(kind: str) -> list[str]:
    """Return new names: some that a pattern matches, some that none matches, some that look like noise."""
    rng = random.Random(kind)
    digits = [f"{rng.randrange(10**9):09}" for _ in range(NAMES)]
    shapes = {
        "aws": (
            "us.anthropic.claude-sonnet-4-5-{}-v1:0",
            "eu.meta.llama-{}-v1:0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/{}",
        ),
        "openai": ("gpt-4o-{}", "ft:gpt-4.1:acme::{}", "{}"),
        "openrouter": ("anthropic/claude-sonnet-4.5-{}", "nobody/model-{}:free", "{}"),
    }
    return [shapes[kind][number % 3].format(one) for number, one in enumerate(digits)]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        # Like a user's project: no settings, no downloaded catalog, and bytecode files, as after `pip install`.
        environment = {**os.environ, "TAXIMETER_STATE_DIR": place, "PYTHONDONTWRITEBYTECODE": ""}
        run = functools.partial(subprocess.run, [sys.executable, "-c", FIRST], env=environment, cwd=place, check=True)
        first = [float(run(capture_output=True, text=True).stdout) for _ in range(16)][1:]
    print(f"first price after import: {statistics.median(first):.1f} ms (worst of {len(first)}: {max(first):.1f} ms)")
    for name, (provider, model, usage) in CASES.items():
        assert taximeter.price(model, usage, provider).usd == calc_price(Usage(**usage), model, provider_id=provider).total_price
        ours = microseconds(lambda m=model, u=usage, p=provider: taximeter.price(m, u, p), 20_000)
        counts = Usage(**usage)
        peer = microseconds(lambda m=model, u=counts, p=provider: calc_price(u, m, provider_id=p), 500)
        print(f"price(), {name}: {ours:.2f} µs; genai_prices.calc_price {peer:.0f} µs: {peer / ours:.0f} x as fast")
    for provider in ("aws", "openai", "openrouter"):
        names = distinct(provider)
        usage = {"input_tokens": 1200, "output_tokens": 350}
        before, times = resident(), []
        for name in names:
            begin = time.perf_counter()
            taximeter.price(name, usage, provider)
            times.append((time.perf_counter() - begin) * 1e6)
        times.sort()
        middle, late = times[NAMES // 2], times[NAMES * 99 // 100]
        print(f"{NAMES:,} new names at {provider}: p50 {middle:.2f} µs, p99 {late:.2f} µs, {resident() - before:.1f} MB more")
    for source in sorted(Path("target/release/build").glob("taximeter-*/out/*.bin"), key=lambda path: path.stat().st_mtime)[-2:]:
        data = source.read_bytes()
        print(f"{source.stem} as embedded: {len(data):,} bytes, {len(zlib.compress(data, 9)):,} in the wheel")


if __name__ == "__main__":
    main()
