"""Metrics as Debian's Prometheus reads them from `taximeter serve`, and the board of `taximeter grafana`, every panel of which has data."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlencode

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import taximeter
from conftest import wait_for
from pages import DOCS, blocks
from taximeter.cli.grafana import FIELDS, board
from taximeter.ledger.metrics import MORE_LABELS, OWN_LABELS

DAY = 86_400.0
BOARD = board("a title")
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {(panel["title"], target["refId"]): target["expr"] for panel in PANELS for target in panel["targets"]}
VALUES = {
    "provider": ".*", "model": ".*", "operation": ".*", "instance": ".*", "by": "model", "__range": "1h", "__interval": "1m",
    "__rate_interval": "1m",
}  # fmt: skip
"""What Grafana puts in the place of variables."""
RATES = {"rates": {"openai/late-model": {"input_tokens": {"per_1m": 2}, "output_tokens": {"per_1m": 8}}}}


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"this test needs {name} of Debian's package prometheus, which .ci/run installs: apt-get install prometheus"
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(*command: str, **options) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


class Prometheus:
    """A Prometheus that scrapes one target every second."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: object):
        """Return the data of an answer; `None` while nothing answers."""
        try:
            with urllib.request.urlopen(f"{self._address}/api/v1/{path}?{urlencode(query)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                return None  # it is starting
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:
            return None

    def values(self, expression: str) -> list[float]:
        """Return the values of an expression in the last minutes that are numbers."""
        now = time.time()
        found = self.get("query_range", query=expression, start=now - 300, end=now, step=1)
        return [
            value
            for series in (found or {"result": []})["result"]
            for _, text in series["values"]
            if math.isfinite(value := float(text))
        ]

    def sums(self, metric: str, by: str = "") -> dict[str, float]:
        """Return the sums of a metric now by a label."""
        found = self.get("query", query=f"sum by ({by}) ({metric})")
        return {series["metric"].get(by, ""): float(series["value"][1]) for series in found["result"]}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("grafana") / "state"


@pytest.fixture(scope="module")
def meter(state):
    """Return a meter whose ledger has every kind of call, repriced ones and deleted ones too, and whose events wait for a destination."""
    first = taximeter.Meter(state_dir=state, linger_ms=0)
    for back in range(80):
        track(first, back, started_at=time.time() - back * DAY / 8 - 1)
    first.flush()
    first.close()
    budgets = [
        taximeter.Budget("of-teams", usd="10", per="day", by="team"),
        taximeter.Budget("of-customers", usd="0.01", per="day", by="customer"),
    ]
    closed = f"jsonl+http://127.0.0.1:{free_port()}/events"
    meter = taximeter.Meter(state_dir=state, linger_ms=0, destination=["ledger", closed], prices=RATES, budgets=budgets)
    assert meter.reprice().rows
    taximeter.Ledger(state / "ledger.db").prune("8d")
    yield meter
    meter.close(1)


def track(meter: taximeter.Meter, number: int, **fields: object) -> None:
    """Record a call. Those of five numbers in turn are all kinds."""
    meter.track(
        provider="openai", model=("gpt-4o", "gpt-4o-mini", "no-such-model", "late-model", "gpt-4o")[number % 5], operation="chat",
        input_tokens=2_000, output_tokens=100 + number, cache_read_tokens=1_000, error="RateLimitError" if number % 5 == 4 else None,
        latency_ms=500 + number, ttft_ms=100 + number, team="search" if number % 2 else None, customer=f"customer-{number % 3}",
        user="person-a", session="session-a", **fields,
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(state, meter):
    """Serve the dashboard. Return its address, and the token for scripts."""
    command = (sys.executable, "-m", "taximeter", "--json", "serve", "--port", "0", "--metrics-by", "team")
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    with running(*command, env=environment, cwd=state.parent, stdout=subprocess.PIPE) as process:
        printed = json.loads("".join(takewhile(lambda line: line != "}\n", process.stdout)) + "}")
        yield f"127.0.0.1:{printed['rows'][0]['port']}", (state / "serve.token").read_text().strip()


@pytest.fixture(scope="module")
def prometheus(state, address):
    config = state.parent / "prometheus.yml"
    target = {
        "job_name": "taximeter", "authorization": {"credentials_file": str(state / "serve.token")},
        "static_configs": [{"targets": [address[0]]}],
    }  # fmt: skip
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}))
    port = free_port()
    command = (
        program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={state.parent / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    )  # fmt: skip
    with running(*command):
        server = Prometheus(port)
        wait_for(lambda: server.get("query", query="1"))
        yield server


def metrics(address, accept: str = "") -> tuple[str, str]:
    """Return the content type and the text of the metrics of the dashboard."""
    request = urllib.request.Request(
        f"http://{address[0]}/metrics", headers={"Authorization": f"Bearer {address[1]}", "Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_every_expression_of_the_board_has_data_and_sums_equal_the_report(state, meter, prometheus):
    expressions = {name: re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], text) for name, text in EXPRESSIONS.items()}
    wait_for(lambda: prometheus.values("taximeter_calls_total"))
    number, deadline = 0, time.monotonic() + 120
    while missing := [name for name, text in expressions.items() if not prometheus.values(text)]:
        assert time.monotonic() < deadline, missing
        for _ in range(5):
            track(meter, number)
            number += 1
        meter.flush(0.2)
    own = taximeter.Ledger(state / "ledger.db")
    total = own.report(()).total
    (deleted,) = own.query(
        "SELECT sum(calls), sum(input_tokens), sum(unpriced + unpriced_correction), decimal_sum(cost_usd), decimal_sum(correction_usd) "
        "FROM deleted_calls"
    )
    assert deleted[0] > 0
    wait_for(lambda: prometheus.sums("taximeter_calls_total") == {"": total.calls + deleted[0]})
    assert prometheus.sums('taximeter_tokens_total{kind="input"}') == {"": total.input_tokens + deleted[1]}
    assert prometheus.sums("taximeter_latency_seconds_count") == {"": total.calls + deleted[0]}
    unpriced = prometheus.sums("taximeter_unpriced_calls_total + taximeter_unpriced_calls_correction")
    assert unpriced == {"": total.unpriced + deleted[2]}
    cost = float(total.cost_usd + Decimal(deleted[3]) + Decimal(deleted[4]))
    assert prometheus.sums("taximeter_cost_usd_total + taximeter_cost_correction_usd")[""] == pytest.approx(cost, rel=1e-12)
    assert set(prometheus.sums("taximeter_calls_total", "team")) == {"", "search"}
    hidden = prometheus.get("query", query='{__name__=~"taximeter.*"}')["result"]
    assert not any("customer" in json.dumps(series["metric"].get("key", "")) for series in hidden)
    assert not re.search("customer-|person-a|session-a", json.dumps(hidden))
    ratios = prometheus.sums("taximeter_budget_ratio", "budget")
    assert ratios["of-customers"] > ratios["of-teams"] > 0


def test_sums_of_a_ledger_from_which_nothing_was_deleted_equal_the_report(tmp_path):
    """Prometheus' text and the report, after a repricing."""
    meter = taximeter.Meter(state_dir=tmp_path / "state")
    for number in range(50):
        track(meter, number)
    meter.flush()
    meter.close()
    later = taximeter.Meter(state_dir=tmp_path / "state", prices=RATES)
    assert later.reprice().rows
    own = taximeter.Ledger(later.settings.ledger)
    total, text = own.report(()).total, later.prometheus()

    def of(metric: str, labels: str = "") -> Decimal:
        found = re.findall(rf"^{metric}\{{[^}}]*{labels}[^}}]*\}} (\S+)$", text, re.MULTILINE)
        return sum(map(Decimal, found), Decimal(0))

    assert of("taximeter_calls_total") == total.calls
    assert of("taximeter_calls_total", 'status="error"') == total.errors > 0
    assert of("taximeter_cost_usd_total") + of("taximeter_cost_correction_usd") == total.cost_usd
    assert of("taximeter_cost_correction_usd") > 0
    assert of("taximeter_unpriced_calls_total") + of("taximeter_unpriced_calls_correction") == total.unpriced > 0
    assert of("taximeter_unpriced_calls_correction") == -10
    assert of("taximeter_tokens_total", 'kind="input"') == total.input_tokens
    assert of("taximeter_cache_saved_usd") == total.cache_saved_usd
    assert of("taximeter_latency_seconds_count") == total.calls
    later.close()


def test_promtool_has_nothing_to_complain_of(state, meter, address):
    printed = subprocess.run(
        [sys.executable, "-m", "taximeter", "doctor", "--prometheus", "--metrics-by", "team,feature"],
        capture_output=True, text=True, timeout=300, check=True, env={**os.environ, "TAXIMETER_STATE_DIR": str(state)}, cwd=state.parent,
    ).stdout  # fmt: skip
    kind, text = metrics(address, "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert kind.startswith("text/plain; version=0.0.4")
    for one in (text, printed, meter.prometheus(by=["team"])):
        outcome = subprocess.run(
            [program("promtool"), "check", "metrics"], input=one, capture_output=True, text=True, timeout=300, check=False
        )
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_the_configurations_of_the_page_are_valid(tmp_path):
    config, rules = (block for block in blocks(DOCS / "metrics.md") if block.language == "yaml")
    for what, block in (("config", config), ("rules", rules)):
        (tmp_path / block.title).write_text(block.text)
        command = [program("promtool"), "check", what, *(["--syntax-only"] if what == "config" else []), block.title]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
        assert outcome.returncode == 0, outcome
        assert "SUCCESS" in outcome.stdout


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False), ("*/*", False), ("text/plain", False), ("application/openmetrics-text", True),
        # What Prometheus 2 and 3 send.
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.6", False),
        ("application/openmetrics-text;q=0", False), ("application/openmetrics-text;q=x", False), ("application/openmetrics-text;version=2.0.0", False),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_was_asked_for(address, accept, is_openmetrics):
    kind, text = metrics(address, accept)
    assert kind.startswith("application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; version=0.0.4")
    assert text.endswith("# EOF\n") == is_openmetrics


def test_the_board_is_one_that_grafana_reads():
    """The parts that Grafana needs, without two panels in the same place."""
    taken: dict[tuple[int, int], str] = {}
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    rows = {y for _, y in taken}
    assert len(taken) == 24 * len(rows) == 24 * (max(rows) + 1), "there is a gap"
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert {panel["type"] for panel in PANELS} == {"stat", "timeseries", "bargauge", "table"}
    names = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert names == {"datasource", "by", "instance", "provider", "model", "operation"}
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"] in {"currencyUSD", "s", "percentunit", "short", "none"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= names | {"__range", "__interval", "__rate_interval"}
            assert "CALLS" not in target["expr"] and "MACHINE" not in target["expr"]
            if "seconds" in target["expr"]:
                assert panel["fieldConfig"]["defaults"]["unit"] == "s"
    assert set(FIELDS) <= {*OWN_LABELS, *MORE_LABELS}


def lost(given: object, read: object, path: str = "") -> Iterator[str]:
    """Yield the places of a document that a reader of it did not understand."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            yield from lost(value, read[key], f"{path}.{key}") if key in read else [f"{path}.{key}"]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for one, other in zip(given, read, strict=True):
            yield from lost(one, other, path)
    elif given != read:
        yield path


def test_grafanas_own_models_understand_every_part_of_the_board():
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(BOARD), cls=JSONEncoder))
    # The models are those of Grafana 10.1. Later versions have two more options; `definition` repeats a variable's query, for the editor.
    assert set(lost(BOARD, read)) == {
        ".templating.list.definition", ".panels.options.wideLayout", ".panels.options.namePlacement"
    }  # fmt: skip


def test_the_command_prints_the_board(tmp_path):
    command = [sys.executable, "-m", "taximeter", "grafana", "--title", "LLM \N{EURO SIGN}"]
    outcome = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TAXIMETER_STATE_DIR": str(tmp_path / "state")},
    )
    assert json.loads(outcome.stdout) == board("LLM \N{EURO SIGN}")
    assert not Path(tmp_path / "state").exists()
