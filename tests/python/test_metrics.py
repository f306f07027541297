"""Calls, tokens and money as metrics, which equal reports."""

from __future__ import annotations

import time
from collections import defaultdict
from decimal import Decimal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

import taximeter
from taximeter import exposition
from taximeter.dashboard.metrics import Paced
from taximeter.ledger import metrics

HOSTILE = ['a"b', "back\\slash", "new\nline", "\x1b[2J", "株式会社", "", "{x}"]


@pytest.fixture
def meter(state):
    meter = taximeter.Meter(state_dir=state, linger_ms=0)
    for index in range(60):
        meter.track(
            provider="openai", model=["gpt-4o", "no-such-model", "late-model"][index % 3], input_tokens=100 + index, output_tokens=index,
            cache_read_tokens=index, operation="chat", status="error" if index % 10 == 0 else "success", team=HOSTILE[index % 7] or None,
            customer=f"c{index}", latency_ms=index * 10.0,
        )  # fmt: skip
    meter.flush()
    yield meter
    meter.close()


def values(text, name, parse=plain):
    """Return the values of a metric by their labels."""
    return {
        tuple(sorted(sample.labels.items())): Decimal(str(sample.value))
        for family in parse(text)
        for sample in family.samples
        if sample.name == name
    }


def test_metrics_equal_the_report(meter, state):
    text = meter.prometheus()
    report = taximeter.Ledger(state / "ledger.db").report(metrics.OWN_LABELS)
    calls = values(text, "taximeter_calls_total")
    assert calls == {tuple(sorted((name, value or "") for name, value in row.key.items())): row.calls for row in report}
    assert sum(values(text, "taximeter_unpriced_calls_total").values()) == report.total.unpriced > 0
    costs = values(text, "taximeter_cost_usd_total")
    assert float(sum(costs.values())) == pytest.approx(float(report.total.cost_usd), rel=1e-12)
    tokens = defaultdict(Decimal)
    for labels, value in values(text, "taximeter_tokens_total").items():
        tokens[dict(labels)["kind"]] += value
    assert tokens == {
        kind: getattr(report.total, f"{kind}_tokens") for kind in ("input", "output", "cache_read", "cache_write", "reasoning")
    }
    assert set(values(text, "taximeter_cost_correction_usd").values()) == {0}
    assert "c1" not in text
    assert "taximeter_calls_total" not in meter.prometheus(calls=False)


def test_the_first_cost_and_its_correction_are_the_cost_of_the_report(meter, state):
    before = values(meter.prometheus(), "taximeter_cost_usd_total")
    meter.close()
    later = taximeter.Meter(
        state_dir=state, prices={"rates": {"openai/late-model": {"input_tokens": {"per_1m": 2}, "output_tokens": {"per_1m": 8}}}}
    )
    assert later.reprice().rows
    text = later.prometheus()
    later.close()
    assert values(text, "taximeter_cost_usd_total") == before
    corrections = values(text, "taximeter_cost_correction_usd")
    total = taximeter.Ledger(state / "ledger.db").report(()).total.cost_usd
    assert float(sum(before.values()) + sum(corrections.values())) == pytest.approx(float(total), rel=1e-12)
    assert sum(corrections.values()) > 0


@pytest.mark.parametrize("parse", [plain, openmetrics])
def test_hostile_labels_arrive_as_they_are_shown(meter, parse):
    text = meter.prometheus(by=["team"], openmetrics=parse is openmetrics)
    found = values(text, "taximeter_calls_total", parse)
    assert {dict(labels)["team"] for labels in found} == {'a"b', "back\\slash", "new\\nline", "\\x1b[2J", "株式会社", "", "{x}"}
    assert sum(found.values()) == 60
    families = list(parse(text))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    assert text.endswith("# EOF\n") == (parse is openmetrics)


def test_histograms_have_the_durations_of_calls(meter):
    text = meter.prometheus(openmetrics=True)
    buckets = values(text, "taximeter_latency_seconds_bucket", openmetrics)
    bounds = sorted({float(dict(labels)["le"]) for labels in buckets})
    for bound in bounds:
        found = sum(value for labels, value in buckets.items() if float(dict(labels)["le"]) == bound)
        assert found == sum(index * 0.01 <= bound for index in range(60)), bound
    assert sum(values(text, "taximeter_latency_seconds_count", openmetrics).values()) == 60
    assert float(sum(values(text, "taximeter_latency_seconds_sum", openmetrics).values())) == pytest.approx(17.7, rel=0.045)
    assert "taximeter_ttft_seconds" not in text


COUNTERS = (
    "calls_total",
    "tokens_total",
    "cost_usd_total",
    "unpriced_calls_total",
    "latency_seconds_bucket",
    "latency_seconds_count",
)


def counters(text):
    return {name: values(text, f"taximeter_{name}") for name in COUNTERS}


@pytest.mark.parametrize("keeps", [False, True])
def test_counters_do_not_fall_when_calls_are_deleted_or_repriced(meter, state, keeps):
    by = ["team", "finish_reason"]
    before, gauges = counters(meter.prometheus(by=by)), "taximeter_cost_correction_usd"
    meter.close()
    own = taximeter.Ledger(state / "ledger.db")
    assert own.prune(customer="c7").events == own.prune(customer="c8").events == 1
    later = taximeter.Meter(
        state_dir=state, prices={"rates": {"openai/late-model": {"input_tokens": {"per_1m": 2}, "output_tokens": {"per_1m": 8}}}}
    )
    assert later.reprice().rows
    assert counters(later.prometheus(by=by)) == before
    corrections = values(later.prometheus(by=by), gauges)
    assert sum(corrections.values()) > 0
    assert own.prune("0s", keep_rollups=keeps).events == 58
    assert counters(later.prometheus(by=by)) == before
    assert values(later.prometheus(by=by), gauges) == corrections
    total = own.report(()).total
    assert total.calls == (58 if keeps else 0)
    later.track(provider="openai", model="gpt-4o", input_tokens=1, operation="chat")
    later.flush()
    after = values(later.prometheus(), "taximeter_calls_total")
    assert sum(after.values()) == 61
    assert "c7" not in "".join(str(row) for row in own.query("SELECT * FROM deleted_calls"))
    later.close()


def test_a_ledger_in_the_place_of_another_has_its_own_counts(meter, state):
    meter.close()
    for file in state.glob("ledger.db*"):
        file.unlink()
    with taximeter.Meter(state_dir=state) as later:
        later.track(provider="openai", model="gpt-4o", input_tokens=1, operation="chat")
        later.flush()
        assert list(values(later.prometheus(), "taximeter_calls_total").values()) == [1]


def test_the_month_and_its_forecast_are_those_of_the_ledger(meter, state):
    text = meter.prometheus()
    month = taximeter.Ledger(state / "ledger.db").report((), since="this-month").total.cost_usd
    assert float(values(text, "taximeter_month_cost_usd")[()]) == pytest.approx(float(month), rel=1e-12)
    assert "taximeter_month_forecast_usd" not in text
    for days in range(1, 6):
        meter.track(provider="openai", model="gpt-4o", input_tokens=10**6, started_at=time.time() - days * 86_400)
    meter.flush()
    found = values(meter.prometheus(), "taximeter_month_forecast_usd")
    low, high = (found[(("bound", bound),)] for bound in ("low", "high"))
    assert 0 < low <= high


def test_the_first_combinations_of_labels_keep_their_names(meter, state, monkeypatch):
    monkeypatch.setattr(metrics, "MOST", 3)
    found = values(meter.prometheus(by=["team"]), "taximeter_calls_total")
    assert len(found) == 4 and sum(found.values()) == 60
    other = tuple((name, "other") for name in sorted((*metrics.OWN_LABELS, "team")))
    # Another combination becomes the one with the most calls, and the calls of the first ones are deleted.
    for _ in range(100):
        meter.track(provider="anthropic", model="claude-sonnet-4-5", input_tokens=1, team="t")
    meter.flush()
    meter.close()
    taximeter.Ledger(state / "ledger.db").prune(customer="c0")
    with taximeter.Meter(state_dir=state) as later:
        after = values(later.prometheus(by=["team"]), "taximeter_calls_total")
    assert after == {**found, other: found[other] + 100}


def test_a_large_ledger_is_not_read_by_every_scrape():
    times, made = iter([0, 3, 4, 62, 63, 64, 66, 67]), []
    paced = Paced(clock=lambda: next(times))

    def make():
        made.append(len(made))
        return [exposition.Family("taximeter_x", "gauge", "A number.", [exposition.Sample({}, made[-1])])]

    def fail():
        raise ValueError

    assert [paced.families(make)[0].samples[0].value for _ in range(3)] == [0, 0, 0]  # at 0 to 3, 4 and 62
    with pytest.raises(ValueError):
        paced.families(fail)  # at 63
    assert [paced.families(make)[0].samples[0].value for _ in range(2)] == [1, 1]  # at 64 to 66, and 67


def test_labels_are_checked_and_a_damaged_ledger_is_said(meter, state, cli):
    with pytest.raises(ValueError, match="did you mean 'team'"):
        meter.prometheus(by=["tem"])
    for name in ("user", "session", "customer", "hour", "tag:plan", "cost_status"):
        with pytest.raises(ValueError, match="metrics by"):
            meter.prometheus(by=[name])
    assert "did you mean 'feature'" in cli("doctor", "--prometheus", "--metrics-by", "featur", code=2).stderr
    text = cli("doctor", "--prometheus", "--metrics-by", "team,feature", "--openmetrics").stdout
    assert sum(values(text, "taximeter_calls_total", openmetrics).values()) == 60
    assert values(text, "taximeter_ledger_readable", openmetrics) == {(): 1}
    meter.close()
    (state / "ledger.db").write_text("no database" * 1_000)
    for leftover in state.glob("ledger.db-*"):
        leftover.unlink()
    assert values(cli("doctor", "--prometheus").stdout, "taximeter_ledger_readable") == {(): 0}
