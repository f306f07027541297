"""Spans through a real collector, rotel, into a real ClickHouse: each event once, and the exact cost of the ledger."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

import taximeter
from clickhouse_server import ClickHouse, free_port
from conftest import ROOT, wait_for

ROUNDS = 5
TABLE = """
CREATE TABLE otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, SpanName LowCardinality(String),
    SpanKind LowCardinality(String), ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String),
    ScopeName String, ScopeVersion String, SpanAttributes Map(LowCardinality(String), String), Duration UInt64,
    StatusCode LowCardinality(String), StatusMessage String,
    `Events.Timestamp` Array(DateTime64(9)), `Events.Name` Array(LowCardinality(String)),
    `Events.Attributes` Array(Map(LowCardinality(String), String)), `Links.TraceId` Array(String), `Links.SpanId` Array(String),
    `Links.TraceState` Array(String), `Links.Attributes` Array(Map(LowCardinality(String), String))
) ENGINE = MergeTree ORDER BY (ServiceName, Timestamp)
"""
"""The table of OpenTelemetry's ClickHouse exporter, which rotel fills."""
DISTINCT = "(SELECT SpanId, any(SpanAttributes) AS found FROM otel_traces GROUP BY SpanId)"
"""A span that was sent twice has two rows in this table."""
SENDER = """
import random, sys, taximeter
meter = taximeter.Meter(destination=["ledger", sys.argv[2]], state_dir=sys.argv[1])
print(flush=True)
while True:
    meter.track(
        provider="openai", model="gpt-4o", input_tokens=random.randrange(10_000), output_tokens=random.randrange(999),
        customer=f"c{random.randrange(50)}",
    )
    if random.random() < 0.01:
        meter.flush(0.05)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ClickHouse]:
    one = ClickHouse(tmp_path_factory.mktemp("clickhouse")).start()
    one.run(TABLE)
    yield one
    one.kill()


@pytest.fixture(scope="module")
def collector(server) -> Iterator[str]:
    """Yield the URL of a collector that writes to the server."""
    found = list((ROOT / ".venv-rotel").glob("lib/python*/site-packages/rotel/rotel-agent"))
    assert found, "this test needs `make environments`"
    found[0].chmod(found[0].stat().st_mode | stat.S_IXUSR)
    port = free_port()
    arguments = {
        "otlp-http-endpoint": f"127.0.0.1:{port}",
        "otlp-grpc-endpoint": f"127.0.0.1:{free_port()}",
        "exporter": "clickhouse",
        "clickhouse-exporter-endpoint": f"http://127.0.0.1:{server.port}",
        "clickhouse-exporter-database": "default",
        "clickhouse-exporter-async-insert": "false",
    }
    command = [found[0], "start", *(part for name, value in arguments.items() for part in (f"--{name}", value))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=server.directory) as agent:

        def is_up() -> bool:
            assert agent.poll() is None, "rotel ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True

        wait_for(is_up)
        yield f"otlp+http://127.0.0.1:{port}"
        agent.kill()


def test_killed_senders_leave_each_event_once_with_its_exact_cost(state, server, collector):
    for _ in range(ROUNDS):
        with subprocess.Popen([sys.executable, "-c", SENDER, str(state), collector], stdout=subprocess.PIPE) as sender:
            sender.stdout.readline()
            before = int(server.run("SELECT count() FROM otel_traces"))
            wait_for(lambda before=before: int(server.run("SELECT count() FROM otel_traces")) > before)
            sender.send_signal(signal.SIGKILL)
    meter = taximeter.Meter(destination=["ledger", collector], state_dir=state)
    meter.drain()
    ledger = taximeter.Ledger(meter.ledger_path)
    meter.close()
    known = ledger.report("customer")
    # rotel collects spans before it writes them.
    wait_for(lambda: int(server.run("SELECT uniqExact(SpanId) FROM otel_traces")) == known.total.calls)
    cost = "toString(sum(toDecimal128(found['taximeter.cost_usd'], 24)))"
    rows = server.run(f"SELECT found['taximeter.customer'] AS customer, count(), {cost} FROM {DISTINCT} GROUP BY customer")
    there = {customer: (int(calls), cost) for customer, calls, cost in (row.split("\t") for row in rows.splitlines())}
    assert there == {row.key["customer"]: (row.calls, str(row.cost_usd)) for row in known}
    tokens = "sum(toUInt64(found['gen_ai.usage.input_tokens'])), sum(toUInt64(found['gen_ai.usage.output_tokens']))"
    sums = server.run(f"SELECT {tokens} FROM {DISTINCT}")
    assert sums == f"{known.total.input_tokens}\t{known.total.output_tokens}"
