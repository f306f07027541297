"""The dashboard of a ledger in ClickHouse, against the real server: the same answers, and what it cannot tell."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from playwright.sync_api import expect, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

import taximeter
from clickhouse_server import ClickHouse, environment
from dashboard_server import TOKEN, serving
from taximeter import Destination
from taximeter.dashboard.metrics import Paced
from taximeter.ledger import metrics
from taximeter.ledger.clickhouse import Server, Table, reader

NOW = datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Serve 300 calls twice: from the file, and from the table to which the same meter delivered them."""
    table = ClickHouse(tmp_path_factory.mktemp("clickhouse")).start()
    own = Destination(table.url, user="default")
    Table(Server(own)).create()
    meter = taximeter.Meter(destination=["ledger", own], state_dir=tmp_path_factory.mktemp("state"))
    for number in range(300):
        meter.track(
            provider="openai", model=("gpt-4o", "gpt-4o-mini", "nosuch")[number % 3], input_tokens=1000 + number, output_tokens=number,
            started_at=NOW - timedelta(hours=2 * number, seconds=1), customer=("<b>acme</b>", "株式会社", None)[number % 3], latency_ms=100 + number,
            error="RateLimitError" if number % 10 == 0 else None, tags={"plan": "pro"},
        )  # fmt: skip
    assert meter.flush(60).pending == 0
    read = Destination(table.url, user="reader", token="reader-key-4711")
    with serving(meter.settings.ledger) as file, serving(read) as remote:
        yield file, remote, table, meter
    meter.close()
    table.kill()


def get(server, target: str, **headers: str):
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}{target}", headers={"Authorization": f"Bearer {TOKEN}", **headers}
    )
    return urllib.request.urlopen(request, timeout=300)


@pytest.mark.parametrize(
    "target",
    [
        "summary?since=20d", "series?since=20d&by=customer", "top?since=20d&by=model&limit=2", "top?since=20d&by=tag:plan", "errors?since=20d",
        "unpriced?since=20d", "cache?since=20d", "calls?since=20d&limit=20", "calls?since=20d&sort=cost_usd", "series?tz=Asia/Kolkata&bin=day&since=2026-01-01",
        "series?tz=Pacific/Auckland&bin=day&since=2026-01-01&metric=calls", "summary?since=20d&where=customer%3D" + quote("株式会社"),
    ],
)  # fmt: skip
def test_the_answers_are_those_of_the_file(both, target):
    file, remote, *_ = both
    # Moments before now differ by the time between two requests.
    until = NOW.isoformat().replace("+", "%2B")
    found = [json.load(get(server, f"/api/v1/{target}&until={until}")) for server in (file, remote)]
    for answer in found:
        answer.pop("query_ms")
        answer.pop("since")
        # The last hour ends now.
        answer.pop("last_hour_usd", None)
    # Percentiles of a file are those of its buckets.
    latency, exact = (answer.pop("latency_p95_ms", None) for answer in found)
    assert latency == (None if exact is None else pytest.approx(exact, rel=0.05))
    assert found[0] == found[1]
    assert found[0].get("rows", found[0].get("series", [1]))


def test_pages_and_one_call_are_those_of_the_file(both):
    _, remote, _, meter = both
    seen, after = [], ""
    while after is not None:
        page = json.load(get(remote, f"/api/v1/calls?since=all&limit=70&after={quote(after)}"))
        seen += [row["id"] for row in page["rows"]]
        after = page["next"]
    events = {event["id"]: event for event in taximeter.Ledger(meter.settings.ledger).events(since="60d")}
    assert len(seen) == len(set(seen)) and set(events) <= set(seen)
    one = json.load(get(remote, f"/api/v1/calls/{seen[0]}"))
    assert one["call"]["cost_usd"] == events[seen[0]]["cost_usd"]
    assert one["repricings"] is None


def test_the_page_shows_it_and_says_what_is_missing(both):
    _, remote, *_ = both
    said = []
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{remote.address()}&since=20d&by=customer")
        page.locator("html[data-ready]").wait_for(timeout=300_000)
        names = page.locator("#top tbody td:first-child").all_inner_texts()
        assert sorted(names) == ["(none)", "<b>acme</b>", "株式会社"]
        assert page.locator("#latency tbody tr").count() == 3 and page.locator("#series svg").count() == 1
        page.locator("#calls tbody tr").first.click()
        expect(page.locator("dialog[open]")).to_contain_text("this ledger is in ClickHouse")
        browser.close()
    assert said == []


def test_it_says_what_clickhouse_cannot_tell(both, monkeypatch):
    _, remote, table, _ = both
    monkeypatch.setattr(remote._dashboard, "_paced", Paced())
    meta = json.load(get(remote, "/api/v1/meta"))
    assert {"counters", "repricings"} <= set(meta["lacks"])
    assert meta["ledger"].startswith("clickhouse://127.0.0.1") and "reader-key" not in json.dumps(meta)
    rows = get(remote, "/api/v1/export.csv?since=20d").read().splitlines()
    assert len(rows) == 241
    table.kill()
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(remote, "/api/v1/summary")
        assert refused.value.code == 503 and b"127.0.0.1" in refused.value.read()
        assert b"taximeter_ledger_readable 0\n" in get(remote, "/metrics").read()
    finally:
        table.start()


def test_its_metrics_are_gauges_of_what_the_table_has(both, monkeypatch):
    _, remote, _, meter = both
    monkeypatch.setattr(remote._dashboard, "_paced", Paced())
    text = get(remote, "/metrics").read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    report = taximeter.Ledger(meter.settings.ledger).report(("provider", "model", "operation", "status"))
    found = {(*(one.labels[name] for name in report.by),): one.value for one in families["taximeter_table_calls"].samples}
    assert found == {tuple(value or "" for value in row.key.values()): row.calls for row in report}
    assert sum(one.value for one in families["taximeter_table_cost_usd"].samples) == pytest.approx(float(report.total.cost_usd))
    tokens = sum(one.value for one in families["taximeter_table_tokens"].samples if one.labels["kind"] == "input")
    assert tokens == report.total.input_tokens
    assert {family.type for family in families.values() if family.name.startswith("taximeter_table")} == {"gauge"}
    assert "taximeter_ledger_readable 1\n" in text and "taximeter_month_cost_usd" in families
    assert "taximeter_calls" not in families
    said = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    # Of many combinations of labels, the rest is one.
    monkeypatch.setattr(metrics, "MOST", 2)
    few = {family.name: family for family in metrics.table_families(remote._dashboard._readers.make())}[
        "taximeter_table_calls"
    ].samples
    assert len(few) == 2 and few[1].labels["model"] == "other"
    assert sum(one.value for one in few) == report.total.calls


def test_live_calls_arrive_once_and_in_order_across_a_reconnect(both, monkeypatch):
    _, remote, _, meter = both
    monkeypatch.setattr(remote._dashboard._live, "every", 0.02)
    # No batch waits that long here.
    monkeypatch.setattr(reader, "_SETTLED_MS", 2_000)
    stream = get(remote, "/api/v1/live?where=model%3Dlive")
    last, found = read(stream, 1)
    assert found == []
    for number in range(40):
        meter.track(provider="openai", model="live", input_tokens=number)
    assert meter.flush(60).pending == 0
    last, first = read(stream, 15, last)
    stream.close()
    stream = get(remote, "/api/v1/live?where=model%3Dlive", **{"Last-Event-ID": last})
    _, second = read(stream, 25, last)
    stream.close()
    assert first + second == list(range(40))


def read(stream, messages: int, last: str = "") -> tuple[str, list[int]]:
    """Read messages. Return the id of the last one and the input tokens of their calls; heartbeats are not counted."""
    found, ids = [], 0
    while len(found) < messages and not (messages == 1 and ids):
        line = stream.readline().decode()
        assert line
        if line.startswith("id: "):
            last, ids = line[4:].strip(), ids + 1
        elif line.startswith("data: "):
            found.append(json.loads(line[6:])["input_tokens"])
    return last, found


def test_an_answer_that_takes_too_long_ends():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with serving(Destination(f"clickhouse+http://127.0.0.1:{silent.getsockname()[1]}/default")) as server:
            server._dashboard._readers.longest = 0.05
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(server, "/api/v1/summary")
    assert refused.value.code == 503 and b"choose a shorter period" in refused.value.read()


def test_the_command_serves_it(both, tmp_path):
    *_, table, _ = both
    command = [sys.executable, "-m", "taximeter", "serve", "--from", table.url, "--port", "0", "--json", "--state-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        (row,) = json.loads(text)["rows"]
        assert row["ledger"] == "clickhouse://127.0.0.1/default"
        request = urllib.request.Request(
            f"http://127.0.0.1:{row['port']}/api/v1/summary?since=60d",
            headers={"Authorization": f"Bearer {(tmp_path / 'serve.token').read_text().strip()}"},
        )
        assert json.load(urllib.request.urlopen(request, timeout=300))["total"]["calls"] >= 300
        process.kill()
