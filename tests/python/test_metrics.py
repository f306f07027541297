"""Calls, tokens and money as metrics, which equal reports."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

import taximeter
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
    assert "taximeter_cost_correction_usd" not in text
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


def test_many_combinations_of_labels_are_cut(meter, state, monkeypatch):
    monkeypatch.setattr(metrics, "MOST", 3)
    found = values(meter.prometheus(by=["team"]), "taximeter_calls_total")
    assert len(found) == 4 and sum(found.values()) == 60
    assert sum({"other"} == {value for _, value in labels} for labels in found) == 1


def test_labels_are_checked_and_a_damaged_ledger_is_said(meter, state, cli):
    with pytest.raises(ValueError, match="did you mean 'team'"):
        meter.prometheus(by=["tem"])
    for name in ("user", "session", "customer", "hour", "tag:plan"):
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
