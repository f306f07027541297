"""Measures delivery over HTTP to a sink in another process, producer included, of taximeter and of other SDKs."""

from __future__ import annotations

import json
import logging
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import sink
import taximeter

EVENTS = 400_000
OTEL_EVENTS = 20_000
SDK_EVENTS = 1_000
TAGS = {"plan": "pro", "env": "prod", "region": "eu"}
# Enough events for some seconds of delivery at full rate.
BACKLOG = 2_500_000
PACE = 10_000
ROUNDS = 5
NEIGHBOUR = """
import os, zlib
data = os.urandom(1 << 16) * 4
print(flush=True)
while True:
    zlib.compress(data, 1)
"""


def processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    for protocol in ("cloudevents", "otlp", "clickhouse"):
        ours(protocol)
    peers()
    beside()


def ours(protocol: str) -> None:
    with tempfile.TemporaryDirectory() as state, sink.running() as port:
        meter = taximeter.Meter(destination=f"{protocol}+http://127.0.0.1:{port}/", state_dir=state, budget_mb=512)
        track = meter.track
        for _ in range(1000):
            track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350)
        meter.flush(10)
        used, begin = processor_time(), time.perf_counter()
        for _ in range(EVENTS):
            track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, feature="chat", team="acme", tags=TAGS)
        tracked = time.perf_counter() - begin
        report = meter.flush(120)
        took = time.perf_counter() - begin
        assert report.pending == 0, meter.stats()
        print(f"{protocol}: {EVENTS / took:,.0f} events/s from track() to the sink's 200 ({EVENTS:,} tracked in {tracked:.2f} s)")
        print(f"{protocol}: {(processor_time() - used) / EVENTS * 1e6:.2f} µs of processor time an event, of the whole process")
        meter.close()


def peers() -> None:
    """Make the same call through each other SDK's client, until the sink has all requests."""
    logging.disable(logging.ERROR)
    for name, make, count in (
        ("opentelemetry-sdk 1.45.2, BatchSpanProcessor", opentelemetry, OTEL_EVENTS),
        ("tokenr 0.1.3", tokenr, SDK_EVENTS),
        ("paygent-sdk 4.9.7", paygent, SDK_EVENTS),
        ("teer 0.1.7", teer, SDK_EVENTS),
        ("tokentally 0.4.0", tokentally, SDK_EVENTS),
    ):
        with sink.running() as port:
            one, finish = make(port)
            used, begin = processor_time(), time.perf_counter()
            for _ in range(count):
                one()
            finish(count)
            took = time.perf_counter() - begin
            cost = (processor_time() - used) / count * 1e6
            print(f"{name}: {count / took:,.0f} events/s, {cost:,.0f} µs of processor time an event")
    logging.disable(logging.NOTSET)


Peer = tuple[Callable[[], object], Callable[[int], object]]


def opentelemetry(port: int) -> Peer:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    provider = TracerProvider()
    # Its queue drops events that do not fit. This pace avoids that.
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=OTEL_EVENTS * 2, max_export_batch_size=512))
    tracer = provider.get_tracer("bench")
    attributes = {
        "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 350, "feature": "chat", "team": "acme", **TAGS,
    }  # fmt: skip

    def one() -> None:
        tracer.start_span("chat gpt-4o", attributes=attributes).end()

    return one, lambda _: provider.force_flush(120_000)


def wait_at(port: int) -> Callable[[int], None]:
    """Return a function that waits until a sink has `count` requests, or no more arrive."""

    def wait(count: int) -> None:
        last, since = 0, time.perf_counter()
        while (there := json.loads(sink.ask(port))["requests"]) < count:
            if there > last:
                last, since = there, time.perf_counter()
            elif time.perf_counter() - since > 10:
                print(f"  (only {there} of {count} events arrived)")
                return
            time.sleep(0.01)

    return wait


def tokenr(port: int) -> Peer:
    import tokenr as sdk

    sdk.configure(token="tk_bench", url=f"http://127.0.0.1:{port}/api/v1/track")
    return lambda: sdk.track("openai", "gpt-4o", 1200, 350, feature_name="chat", team_id="acme", tags=TAGS), wait_at(port)


def paygent(port: int) -> Peer:
    from paygent_sdk import Client, UsageData

    client = Client("bench")
    client.base_url = f"http://127.0.0.1:{port}"
    usage = UsageData("openai", "gpt-4o", 1200, 350, 1550)
    return lambda: client.send_usage("agent", "acme", "chat", usage), wait_at(port)


def teer(port: int) -> Peer:
    import teer as sdk

    client = sdk.TeerClient("bench", track_url=f"http://127.0.0.1:{port}")
    payload = {"provider": "openai", "model": "gpt-4o", "function_id": "chat", "usage": {"input": 1200, "output": 350}}
    return lambda: client.ingest.send(payload), lambda _: None


def tokentally(port: int) -> Peer:
    import tokentally as sdk

    client = sdk.TokenTally("tt_bench", base_url=f"http://127.0.0.1:{port}")
    return lambda: client.track(1200, 350, "gpt-4o", "openai", metadata=TAGS), lambda _: None


def beside() -> None:
    """Measure how a sender at full rate slows down the rest of the process: a caller of `track()`, and a loop in another thread.

    Two cores share caches and clock, so any work on one core slows down the other. The same is therefore measured beside another
    process that compresses data and shares nothing with taximeter.
    """
    figures: dict[str, list[tuple[float, float]]] = {"idle": [], "another process": [], "our sender": []}
    with tempfile.TemporaryDirectory() as state:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        meter = taximeter.Meter(destination=f"cloudevents+http://127.0.0.1:{port}/", state_dir=state, budget_mb=2048)
        for _ in range(ROUNDS):
            figures["idle"].append((paced(meter), loop()))
            with subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdout=subprocess.PIPE) as neighbour:
                neighbour.stdout.readline()
                figures["another process"].append((paced(meter), loop()))
                neighbour.kill()
            for number in range(BACKLOG):
                meter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, team="acme")
                if number % 1000 == 0:
                    time.sleep(0.001)  # the maintenance thread prepares pages meanwhile
            with sink.running("--port", str(port)):
                meter.flush(0.001)
                while not next(iter(meter.stats()["destinations"].values()))["delivered"]:
                    time.sleep(0.001)
                figures["our sender"].append((paced(meter), loop()))
                assert next(iter(meter.stats()["destinations"].values()))["pending"] > PACE, "the backlog was too small"
                assert meter.flush(120).pending == 0
        meter.close(0)
    idle_wait, idle_speed = (statistics.median(column) for column in zip(*figures["idle"], strict=True))
    for name, rows in figures.items():
        wait, speed = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"beside {name}: p99 of track() at {PACE:,}/s {wait:.2f} µs ({wait / idle_wait:.2f} ×), ", end="")
        print(f"a loop in another thread {(1 - speed / idle_speed) * 100:+.1f} % slower")


def paced(meter: taximeter.Meter) -> float:
    """Return the p99 of `track()` at a steady pace, in µs."""
    times = []
    begin = time.perf_counter()
    for number in range(PACE):
        while time.perf_counter() < begin + number / PACE:
            pass
        before = time.perf_counter_ns()
        meter.track(provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=350, team="acme")
        times.append(time.perf_counter_ns() - before)
    return statistics.quantiles(times, n=100)[98] / 1000


def loop() -> float:
    """Return how many rounds per second a pure Python loop in another thread runs."""
    found = []

    def run() -> None:
        rounds, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < 1:
            for _ in range(1000):
                rounds += 1
        found.append(rounds / (time.perf_counter() - begin))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


if __name__ == "__main__":
    os.environ.pop("TAXIMETER_DESTINATION", None)
    main()
