"""Measures the rate from `track()` to committed rows with one producer, and reports over a million events."""

from __future__ import annotations

import random
import tempfile
import time

import taximeter

MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "gpt-4.1"), ("anthropic", "claude-sonnet-5")]
MODELS += [("anthropic", "claude-haiku-4-5"), ("gcp.gemini", "gemini-2.5-pro"), ("mistral_ai", "mistral-large-latest")]
EVENTS = 1_000_000
DAY = 86_400


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(state_dir=state)
        end_to_end(meter)
        meter.close(60)
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(state_dir=state)
        fill(meter)
        meter.close(60)
        reports(taximeter.Ledger(f"{state}/ledger.db"))


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


def fill(meter: taximeter.Meter) -> None:
    """Tracks a million events over 30 days: 7 models, 20 teams, 12 features, 200 customers, 5,000 users."""
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


if __name__ == "__main__":
    main()
