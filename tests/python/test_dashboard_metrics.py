"""What the dashboard answers to Prometheus."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

import taximeter
from dashboard_server import ask, call_app, serving
from taximeter import dashboard


@pytest.fixture(scope="module")
def path(dashboard_calls):
    return dashboard_calls


@pytest.fixture(scope="module")
def server(dashboard_calls):
    with serving(dashboard_calls) as running:
        yield running


@pytest.fixture(scope="module")
def ledger(dashboard_calls):
    return taximeter.Ledger(dashboard_calls, timezone="UTC")


def test_metrics_need_a_secret_and_are_those_of_the_ledger(server, ledger):
    assert ask(server, "/metrics", Authorization="")[0] == 401
    status, headers, body = ask(server, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    calls = sum(sample.value for sample in families["taximeter_calls"].samples)
    assert (status, calls) == (200, ledger.report(()).total.calls)
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    _, headers, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_metrics_have_budgets_and_delivery_and_hide_what_is_redacted(path):
    standing = {
        "budget": "a",
        "by": ["team"],
        "key": ["search"],
        "unit": "usd",
        "amount": "1",
        "used": "0.5",
        "held": "0",
        "percent": 50.0,
    }
    hidden = {**standing, "budget": "b", "by": ["customer"], "key": ["acme"]}
    ended = ({"journal": "ended", "pid": ""}, {"tracked": 3, "destinations": {"ledger": {"delivered": 3}}})
    running = ({"journal": "x", "pid": "7"}, {"tracked": 4, "destinations": {"ledger": {"delivered": 2, "pending": 2}}})
    given = {
        "budgets": lambda: [standing, hidden, {**hidden, "key": ["other"], "percent": 9.0}],
        "processes": lambda: [ended, running], "metrics_by": ["team"],
    }  # fmt: skip
    text = call_app(dashboard.Dashboard(lambda: taximeter.Ledger(path), **given), "/metrics")[2].decode()
    assert 'taximeter_budget_ratio{budget="a",key="search",unit="usd"} 0.5\n' in text
    assert re.findall(r'taximeter_budget_ratio\{budget="b".*', text) == ['taximeter_budget_ratio{budget="b",key="",unit="usd"} 0.5']
    assert 'taximeter_destination_delivered_total{destination="ledger",host=""} 5\n' in text
    assert 'taximeter_destination_pending{journal="x",pid="7",destination="ledger",host=""} 2\n' in text
    assert "taximeter_tracked_total 7\n" in text
    assert 'model="gpt-4o",' in text
    assert ',team=""}' in text
    text = call_app(dashboard.Dashboard(lambda: taximeter.Ledger(path), redact=["model"], **given), "/metrics")[2].decode()
    assert "search" not in text
    assert "gpt-4o" not in text
    assert 'model="model-' in text
    with pytest.raises(ValueError, match="metrics by"):
        dashboard.Dashboard(metrics_by=["customer"])


def test_metrics_go_on_when_a_scraper_does_not_wait_for_them(path):
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    app._readers.longest = 1e-9
    # The client has gone, and panels would be stopped at once: the answer is for its next request.
    status, _, body = call_app(app, "/metrics", **{"taximeter.is_gone": lambda: True})
    assert status == 200
    assert b"taximeter_ledger_readable 1\n" in body


def test_metrics_of_a_damaged_ledger_say_so(tmp_path):
    (tmp_path / "ledger.db").write_text("no database" * 1_000)
    app = dashboard.Dashboard(lambda: taximeter.Ledger(tmp_path / "ledger.db"), processes=lambda: [({}, {"tracked": 1})])
    status, _, body = call_app(app, "/metrics")
    assert status == 200
    assert b"taximeter_ledger_readable 0\n" in body
    assert b"taximeter_tracked_total 1\n" in body
