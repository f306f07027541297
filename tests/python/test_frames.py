"""Data frames and databases read reports and events through Arrow, with sums that are exactly those of the reports."""

from __future__ import annotations

import decimal
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import taximeter
from conftest import ROOT, events_of
from old_ledger import age
from taximeter.ledger import COLUMNS
from taximeter.ledger import scan as scans

BATCH = 1_000
COUNT = BATCH + 200
START = 1_790_000_000
TEN = ["model", "team", "customer", "status", "started_at", "latency_ms", "input_tokens", "output_tokens", "cost_usd", "tags"]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(scans, "_ROWS", BATCH)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """Return a ledger of two batches, whose second one has other models, and customers whose names are markup and formulas."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("framed"))
    for number in range(COUNT):
        meter.track(
            provider="openai", model=("gpt-4o", "gpt-4o-mini", "nosuch")[number % 3] if number < BATCH else f"gpt-4.1{'-mini' * (number % 2)}",
            input_tokens=number, output_tokens=number % 7, started_at=START + (number * 7919) % 1_000_000, latency_ms=number / 8,
            team=(None, "search", "<script>")[number % 3], customer=f"=c{number % 50}", tags={"plan": "pro", "n": str(number % 4)},
            status="error" if number % 100 == 0 else "success",
        )  # fmt: skip
    events_of(meter)
    meter.close()
    return taximeter.Ledger(meter.settings.ledger, timezone="UTC")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a ledger of a few events with every kind of value."""
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("small"), keep_provider_usage=True)
    meter.track(
        provider="openai", model="gpt-4o", input_tokens=5, output_tokens=2, usage={"input_audio_seconds": 1.5}, started_at=START + 0.25,
        cost_usd="0.000000000000000000000001", tags={"a": "b\n", "é": "株"}, batch=True, error=ValueError, latency_ms=12.5, ttft_ms=3,
        user="\x1b[2J", session="s", call_id="c", trace_id="0" * 31 + "1",
    )  # fmt: skip
    meter.track(provider="openai", model="gpt-4o", cost_usd="-12345678901.5", started_at=START)
    meter.track(provider="openai", model="nosuch", started_at=START + 1)
    events_of(meter)
    meter.close()
    return taximeter.Ledger(meter.settings.ledger, timezone="UTC")


def test_pyarrow_reads_batches_whose_sums_are_those_of_the_report(ledger):
    reader = pa.RecordBatchReader.from_stream(ledger.scan(TEN))
    batches = list(reader)
    assert [len(batch) for batch in batches] == [BATCH, COUNT - BATCH]
    table = pa.Table.from_batches(batches)
    assert table.schema.field("cost_usd").type == pa.decimal128(38, 24)
    assert table.schema.field("started_at").type == pa.timestamp("ns", "UTC")
    assert table.schema.field("model").type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.field("tags").type == pa.map_(pa.string(), pa.string())
    # Arithmetic of Arrow keeps the scale, and its sums of decimals are exact.
    total = ledger.report(()).total
    assert pa.compute.sum(table["cost_usd"]).as_py() == total.cost_usd
    assert pa.compute.sum(table["input_tokens"]).as_py() == total.input_tokens
    found = Counter(table["model"].to_pylist())
    assert found == {row.key["model"]: row.calls for row in ledger.report("model")}


def test_polars_reads_a_scan_and_a_report(ledger):
    frame = pl.DataFrame(ledger.scan(TEN))
    assert frame.shape == (COUNT, 10)
    report = ledger.report(("model", "team"))
    sums = frame.group_by("model", "team").agg(pl.col("cost_usd").sum(), pl.len(), pl.col("output_tokens").sum())
    found = {(str(model), team): (cost, calls, output) for model, team, cost, calls, output in sums.iter_rows()}
    assert found == {(row.key["model"], row.key["team"]): (row.cost_usd, row.calls, row.output_tokens) for row in report}
    rows = pl.DataFrame(report)
    assert rows.columns[:2] == ["model", "team"]
    assert rows["cost_usd"].sum() == report.total.cost_usd
    assert rows["calls"].to_list() == [row.calls for row in report]
    assert rows.schema["cost_usd"] == pl.Decimal(38, 24)


def test_pandas_reads_a_scan_and_a_report(ledger):
    frame = pd.DataFrame.from_arrow(ledger.scan(["model", "cost_usd", "started_at"]))
    assert len(frame) == COUNT
    assert frame["model"].value_counts().to_dict() == {row.key["model"]: row.calls for row in ledger.report("model")}
    with decimal.localcontext(decimal.Context(prec=60)):
        assert frame["cost_usd"].dropna().sum() == ledger.report(()).total.cost_usd
    report = ledger.report("team")
    rows = pd.DataFrame.from_arrow(report)
    assert rows["calls"].sum() == report.total.calls
    assert list(rows["cost_usd"]) == [row.cost_usd for row in report]


def test_duckdb_reads_a_scan_and_a_report(ledger):
    connection = duckdb.connect()
    scan, report = ledger.scan(["model", "cost_usd"]), ledger.report("model")  # noqa: F841 - DuckDB reads it
    found = connection.execute("SELECT model, sum(cost_usd), count(*) FROM scan GROUP BY model").fetchall()
    assert {model: (cost or 0, calls) for model, cost, calls in found} == {
        row.key["model"]: (row.cost_usd, row.calls) for row in report
    }
    # A second query reads the scan again.
    assert connection.execute("SELECT count(*) FROM scan").fetchone() == (COUNT,)
    assert connection.execute("SELECT sum(cost_usd), sum(calls) FROM report").fetchone() == (report.total.cost_usd, COUNT)


def test_a_scan_is_filtered_and_in_the_order_of_time(ledger):
    until = datetime.fromtimestamp(START + 500_000, timezone.utc)
    chosen = {
        "since": datetime.fromtimestamp(START + 1000, timezone.utc),
        "until": until,
        "where": {"team": "search", "tag:n": ["1", "2"]},
    }
    table = pa.table(ledger.scan(["started_at", "cost_usd", "team"], **chosen))
    total = ledger.report((), **chosen).total
    assert (len(table), pa.compute.sum(table["cost_usd"]).as_py()) == (total.calls, total.cost_usd)
    times = table["started_at"].to_pylist()
    assert times == sorted(times)
    assert times[-1].replace(tzinfo=timezone.utc) < until
    # More than a batch, with many events at one time.
    assert len(pa.table(ledger.scan("id", since=START))) == COUNT
    assert len(set(pa.table(ledger.scan("id", since=START, until=START + 2_000_000))["id"].to_pylist())) == COUNT


def test_every_column_has_the_values_of_the_events(small):
    table = pa.table(small.scan())
    assert table.column_names == list(COLUMNS)
    for row, event in zip(table.to_pylist(), small.events(), strict=True):
        started = datetime.fromisoformat(event["started_at"].replace("Z", "+00:00"))
        assert abs(row.pop("started_at").timestamp() - started.timestamp()) < 1e-5
        assert dict(row.pop("usage") or []) == event.pop("usage", {})
        assert dict(row.pop("tags") or []) == event.pop("tags", {})
        for money in ("cost_usd", "computed_cost_usd"):
            expected = event.pop(money, None)
            assert row.pop(money) == (None if expected is None else Decimal(expected))
        assert row.pop("cost_notes") == (",".join(event.pop("cost_notes", [])) or None)
        report = row.pop("provider_usage")
        assert (None if report is None else json.loads(report)) == event.pop("provider_usage", None)
        del event["started_at"]
        assert {name: value for name, value in row.items() if value is not None} == {
            name: value for name, value in event.items() if name in row
        }
        assert not {name for name in event if name not in row}


def test_a_column_that_an_older_file_lacks_is_absent(meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1, call_id="c")
    events_of(meter)
    meter.close()
    age(meter.settings.ledger, 3)
    assert pa.table(taximeter.Ledger(meter.settings.ledger).scan(["model", "call_id"])).to_pylist() == [
        {"model": "gpt-4o", "call_id": None}
    ]


def test_events_that_arrive_during_a_scan_are_not_read(meter):
    for _ in range(3):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    ledger = taximeter.Ledger(meter.settings.ledger)
    scan = ledger.scan("id")
    stream = pa.RecordBatchReader.from_stream(scan)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    assert len(stream.read_all()) == 3
    assert len(pa.table(scan)) == 4


def test_a_ledger_that_is_replaced_during_a_scan_is_an_error(meter, tmp_path):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    stream = pa.RecordBatchReader.from_stream(taximeter.Ledger(meter.settings.ledger).scan("id"))
    other = taximeter.Meter(state_dir=tmp_path / "other")
    other.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(other)
    other.close()
    meter.close()
    os.replace(other.settings.ledger, meter.settings.ledger)
    with pytest.raises(pa.ArrowException, match="replaced"):
        stream.read_all()


def test_an_empty_ledger_has_columns_and_no_rows(tmp_path):
    ledger = taximeter.Ledger(tmp_path / "none.db", timezone="UTC")
    assert pa.table(ledger.scan(["model", "cost_usd"])).shape == (0, 2)
    assert pl.DataFrame(ledger.report(("day", "model"))).columns[:3] == ["day", "model", "calls"]
    assert len(pl.DataFrame(ledger.report("model"))) == 0
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["cots_usd"], "columns: there is no 'cots_usd'; did you mean 'cost_usd'"),
        ([], "no names"),
        (["id", "id"], "'id' is there twice"),
        ([3], "'3'"),
    ],
)
def test_wrong_columns_are_errors(ledger, columns, message):
    with pytest.raises(ValueError, match=message):
        ledger.scan(columns)


def test_a_wrong_filter_is_an_error_that_names_it(ledger):
    with pytest.raises(ValueError, match="where"):
        pa.table(ledger.scan(where={"nosuch": "1"}))
    with pytest.raises(ValueError, match="since"):
        ledger.scan(since="never")


def test_a_stream_that_nothing_reads_is_released(ledger):
    for _ in range(3):
        ledger.scan("id").__arrow_c_stream__()
        ledger.report("model").__arrow_c_stream__()
    stream = pa.RecordBatchReader.from_stream(ledger.scan("id"))
    assert len(stream.read_next_batch()) == BATCH
    del stream


def test_a_report_with_hostile_values_keeps_them_in_frames(ledger):
    report = ledger.report(("customer", "team"))
    assert set(pl.DataFrame(report)["team"].to_list()) == {None, "search", "<script>"}
    assert set(pl.DataFrame(report)["customer"].to_list()) == {f"=c{number}" for number in range(50)}


def test_frames_need_no_other_package():
    text = "import taximeter, sys; taximeter.Ledger('/nonexistent/ledger.db').report('model').__arrow_c_stream__(); print({'pyarrow', 'numpy'} & set(sys.modules))"
    outcome = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=True)
    assert outcome.stdout.strip() == "set()"
