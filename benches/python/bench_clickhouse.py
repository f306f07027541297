"""Measures ClickHouse: from `track()` to committed rows, beside a client that posts ready bodies; and reports of a million rows."""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import time
from pathlib import Path

import taximeter
from taximeter.ledger import Ledger
from taximeter.ledger.clickhouse import Server, Table

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python"))
from clickhouse_server import ClickHouse, Recorder

EVENTS = 200_000
ROWS = 1_000_000
PARTS = 42
TAGS = {"plan": "pro", "env": "prod", "region": "eu"}
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = ClickHouse(Path(directory)).start()
        try:
            rates = [(ours(server), ready(server)) for _ in range(ROUNDS)]
            own, other = (statistics.median(column) for column in zip(*rates, strict=True))
            ratio = statistics.median(one / two for one, two in rates)
            print(
                f"track() to committed rows: {own:,.0f} rows/s; a client that posts ready bodies: {other:,.0f} rows/s; {ratio:.2f} x"
            )
            reports(server)
        finally:
            server.kill()


def new_table(server: ClickHouse) -> None:
    server.run("DROP TABLE IF EXISTS taximeter_events SYNC")
    Table(Server(server.destination(user="default", token=None))).create()


def tracked(destination: taximeter.Destination, count: int) -> float:
    """Return the seconds in which so many calls are tracked and delivered."""
    with tempfile.TemporaryDirectory() as state:
        meter = taximeter.Meter(destination=destination, state_dir=state, budget_mb=512)
        begin = time.perf_counter()
        for number in range(count):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number, output_tokens=350, team="acme", tags=TAGS)
        pending = meter.flush(300).pending
        seconds = time.perf_counter() - begin
        meter.close()
    assert pending == 0, pending
    return seconds


def ours(server: ClickHouse) -> float:
    new_table(server)
    seconds = tracked(server.destination(), EVENTS)
    assert server.number("count()") == EVENTS
    return EVENTS / seconds


def ready(server: ClickHouse) -> float:
    """Post bodies of 10,000 rows that exist before the measurement, compressed as ours, one after another."""
    new_table(server)
    with Recorder() as recorder:
        tracked(recorder.destination(), EVENTS)
    bodies = recorder.requests
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Content-Encoding": "gzip", "X-ClickHouse-User": "writer", "X-ClickHouse-Key": "writer-key-4711"}
    begin = time.perf_counter()
    for query, body in bodies:
        own = headers if body[:2] == b"\x1f\x8b" else {name: value for name, value in headers.items() if name[0] != "C"}
        connection.request("POST", f"/?{query}", body, own)
        response = connection.getresponse()
        assert response.read() == b"", response.status
    seconds = time.perf_counter() - begin
    assert server.number("count()") == EVENTS
    return EVENTS / seconds


FILL = """
INSERT INTO taximeter_events (id, started_at, provider, model, operation, status, usage_status, cost_status, cost_usd, input_tokens,
    output_tokens, team, customer, user, tags)
SELECT reinterpretAsUUID(sipHash128(number)), fromUnixTimestamp64Nano(toInt64(1759000000000000000 + number * 2500000000), 'UTC'),
    ['openai', 'anthropic'][1 + number % 2], concat('model-', toString(number % 12)), 'chat',
    if(number % 50 = 0, 'error', 'success'), 'complete', 'priced', toDecimal128(number % 1000, 24) / 100000, number % 5000,
    number % 900, concat('team-', toString(number % 20)), concat('customer-', toString(number % 2000)),
    concat('user-', toString(number % 50000)), map('plan', ['free', 'pro'][1 + number % 2])
FROM numbers({first}, {count})
"""


def reports(server: ClickHouse) -> None:
    new_table(server)
    server.run(FILL.format(first=0, count=ROWS))
    server.run("OPTIMIZE TABLE taximeter_events FINAL")
    reader = Ledger(server.destination(user="reader", token="reader-key-4711"), timezone="UTC")
    for by in ("model", ("team", "day"), "customer", "user", "tag:plan"):
        print(f"report by {by}, {ROWS:,} merged rows: {milliseconds(reader, by):,.0f} ms")
    new_table(server)
    server.run("SYSTEM STOP MERGES")
    for part in range(PARTS):
        # Every part has rows of the same hours, so that none can be read alone.
        step = ROWS // PARTS
        server.run(FILL.format(first=part * step, count=step).replace("number * 2500000000", f"(number % {step}) * 105000000000"))
    parts = int(server.run("SELECT count() FROM system.parts WHERE table = 'taximeter_events' AND active"))
    print(f"report by model, the same in {parts} unmerged parts: {milliseconds(reader, 'model'):,.0f} ms")


def milliseconds(reader: Ledger, by: str | tuple[str, ...]) -> float:
    times = []
    for _ in range(ROUNDS + 2):
        begin = time.perf_counter()
        report = reader.report(by)
        times.append(time.perf_counter() - begin)
        assert report.total.calls >= ROWS - PARTS
    return statistics.median(times) * 1000


if __name__ == "__main__":
    main()
