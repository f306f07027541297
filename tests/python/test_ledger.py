from __future__ import annotations

import itertools
import json
import random
import sqlite3
import threading
import time
from collections import defaultdict
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

import taximeter
from conftest import events_of, wait_for
from taximeter import _core
from taximeter.ledger import Above, Below, Like, Not
from taximeter.moments import unix_ns

MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-5"),
    ("openai", "no-such-model"),
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a ledger of 3,000 random events over five days, and the events. Two thirds are in two blocks of packed calls."""
    state = tmp_path_factory.mktemp("filled")
    meter = taximeter.Meter(state_dir=state)
    random.seed(1)
    now = time.time() - 3600
    for number in range(3_000):
        provider, model = random.choice(MODELS)
        meter.track(
            provider=provider, model=model, input_tokens=random.randrange(10_000), output_tokens=random.randrange(1_000),
            team=random.choice(["a", "b", None]), feature=random.choice(["x", "y", None]), customer=random.choice(["c1", "c2"]),
            user=f"u{random.randrange(20)}", tags={"plan": random.choice(["pro", "free"])} if random.random() < 0.7 else None,
            status=random.choice(["success", "success", "error"]), started_at=now - random.random() * 5 * 86_400,
            latency_ms=random.choice([None, random.lognormvariate(6, 1)]),
        )  # fmt: skip
        if number in {999, 1_999}:
            assert meter.flush(60).pending == 0
            _core.ledger_pack(state / "ledger.db", None)
    events = events_of(meter)
    meter.close()
    return taximeter.Ledger(state / "ledger.db"), events


def value_of(event: dict, name: str):
    if name == "day":
        return event["started_at"][:10]
    if name == "hour":
        return event["started_at"][:13] + ":00Z"
    if name.startswith("tag:"):
        return event.get("tags", {}).get(name[4:])
    return event.get(name)


def summed(events, by):
    groups = defaultdict(lambda: [0, 0, 0, 0, Decimal(0)])
    for event in events:
        group = groups[tuple(value_of(event, name) for name in by)]
        group[0] += 1
        group[1] += event["cost_usd"] is None
        group[2] += event["input_tokens"]
        group[3] += event["status"] == "error"
        group[4] += Decimal(event["cost_usd"] or 0)
    return {key: tuple(group) for key, group in groups.items()}


def reported(report):
    return {tuple(row.key.values()): (row.calls, row.unpriced, row.input_tokens, row.errors, row.cost_usd) for row in report.rows}


@pytest.mark.parametrize(
    "by",
    [
        (), ("model",), ("provider", "model"), ("team",), ("feature", "day"), ("hour",), ("team", "feature"), ("user",), ("tag:plan",),
        ("customer", "status"), ("cost_status",), ("tag:plan", "model", "day"), ("tag:none",),
    ],
)  # fmt: skip
def test_sums_are_exact_by_any_field(filled, by):
    ledger, events = filled
    assert reported(ledger.report(by)) == summed(events, by)


@pytest.mark.slow
@pytest.mark.parametrize("by", [("model",), ("team", "day"), ("user",)])
def test_sums_over_any_period_are_exact(filled, by):
    ledger, events = filled
    random.seed(2)
    times = sorted(event["started_at"] for event in events)
    moments = [datetime.fromisoformat(random.choice(times)[:26] + "+00:00") for _ in range(12)]
    moments += [moments[0].replace(minute=0, second=0, microsecond=0), moments[0] + timedelta(minutes=7)]
    for since in [None, *moments]:
        for until in [None, *moments]:
            low = since and since.isoformat(timespec="microseconds")[:26]
            high = until and until.isoformat(timespec="microseconds")[:26]
            chosen = [e for e in events if (not low or e["started_at"][:26] >= low) and (not high or e["started_at"][:26] < high)]
            assert reported(ledger.report(by, since=since, until=until)) == summed(chosen, by), (since, until)


@pytest.mark.parametrize(
    "where",
    [
        {"team": "a"},
        {"day": "DAY"},
        {"hour": "HOUR", "team": "b"},
        {"day": "DAY", "user": "u3"},
        {"team": None},
        {"model": "gpt-4o", "status": "error"},
        {"tag:plan": "pro"},
        {"user": "u3", "feature": "x"},
        {"team": "'; DROP TABLE events"},
    ],
)
def test_filters_select_by_any_field(filled, where):
    ledger, events = filled
    moments = {"DAY": events[0]["started_at"][:10], "HOUR": events[0]["started_at"][:13] + ":00Z"}
    where = {name: moments.get(value, value) for name, value in where.items()}
    chosen = [event for event in events if all(value_of(event, name) == value for name, value in where.items())]
    assert reported(ledger.report("model", where=where)) == summed(chosen, ("model",))
    assert [event["id"] for event in ledger.events(where=where)] == [event["id"] for event in chosen]


@pytest.mark.parametrize(
    ("where", "meets"),
    [
        ({"team": ["a", None]}, lambda e: e.get("team") in {"a", None}),
        ({"team": Not("a")}, lambda e: e.get("team") != "a"),
        ({"team": Not(["a", None])}, lambda e: e.get("team") == "b"),
        ({"model": Like("GPT-4O-m")}, lambda e: "gpt-4o-m" in e["model"]),
        ({"user": Like(["U1", "7"])}, lambda e: "u1" in e["user"] or "7" in e["user"]),
        ({"input_tokens": Above(5000)}, lambda e: e["input_tokens"] > 5000),
        ([("input_tokens", Above(2000)), ("input_tokens", Below("2500.5"))], lambda e: 2000 < e["input_tokens"] < 2500.5),
        ({"cost_usd": Above("0.01"), "team": "b"}, lambda e: e["team"] == "b" and e["cost_usd"] and Decimal(e["cost_usd"]) > Decimal("0.01")),
        ({"cost_usd": Below(Decimal("0.0000001"))}, lambda e: e["cost_usd"] and Decimal(e["cost_usd"]) < Decimal("0.0000001")),
        ({"cost_usd": None}, lambda e: e["cost_usd"] is None),
        ([("latency_ms", Above(403.4)), ("latency_ms", Below(600))], lambda e: 403.4 < (e.get("latency_ms") or 0) < 600),
        ({"latency_ms": Not(None)}, lambda e: e.get("latency_ms") is not None),
        ([("model", Like("gpt")), ("model", Not("gpt-4o")), ("status", ["error"])], lambda e: e["model"] == "gpt-4o-mini" and e["status"] == "error"),
        ({"tag:plan": ["pro", "free"]}, lambda e: "plan" in e.get("tags", {})),
        ({"tag:plan": Not("pro"), "customer": Not(["c1", "c9"])}, lambda e: e.get("tags", {}).get("plan") != "pro" and e["customer"] == "c2"),
    ],
)  # fmt: skip
def test_comparisons_select_by_any_field(filled, where, meets):
    ledger, events = filled
    chosen = [event for event in events if meets({"team": None, **event})]
    for by in (("model",), ("team",), ("team", "user")):
        assert reported(ledger.report(by, where=where)) == summed(chosen, by)
    assert [event["id"] for event in ledger.events(where=where)] == [event["id"] for event in chosen]


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ({"team": Above("a")}, "team: is a text"), ({"latency_ms": Like("1")}, "latency_ms: is a number"),
        ({"latency_ms": Above("fast")}, "'fast' is not"), ({"cost_usd": Below(float("nan"))}, "not a decimal"),
        ({"latency_ms": Above(None)}, "absent"), ({"team": []}, "no value"), ({"team": {"a": 1}}, "team: "),
        ({"day": Not("2026-11-01")}, "day: give one day"), ({"day": ["2026-11-01", "2026-11-02"]}, "day: give one day"),
        ([("team",)], "pairs"), ({"nosuch": "1"}, "where: \\S*nosuch"),
    ],
)  # fmt: skip
def test_a_comparison_that_cannot_be_made_names_its_field(filled, where, named):
    with pytest.raises(ValueError, match=named.replace("'fast'", ".fast.")):
        filled[0].report("model", where=where)


def test_the_total_equals_the_sum_and_shows_unpriced_calls(filled):
    ledger, events = filled
    report = ledger.report("model")
    assert report.total.calls == len(events)
    assert report.total.unpriced == sum(event["cost_usd"] is None for event in events) > 0
    assert report.total.cost_usd == sum(Decimal(event["cost_usd"] or 0) for event in events)
    text = str(report)
    assert "unpriced" in text
    assert "unknown" in text
    assert json.loads(report.to_json())["total"]["cost_usd"] == str(report.total.cost_usd)
    assert "<table" in report._repr_html_()
    assert [row.cost_usd for row in report] == sorted((row.cost_usd for row in report), reverse=True)


def test_a_bad_field_or_moment_is_a_value_error_that_names_it(filled):
    ledger, _ = filled
    with pytest.raises(ValueError, match="colour"):
        ledger.report("colour")
    with pytest.raises(ValueError, match="colour"):
        ledger.report("model", where={"colour": "red"})
    for where in ({"day": "today"}, {"hour": "2026-11-22"}, {"day": ""}):
        with pytest.raises(ValueError, match="where"):
            ledger.report("model", where=where)
        with pytest.raises(ValueError, match="where"):
            list(ledger.events(where=where))
    for by in (None, [1], b"model", 7):
        with pytest.raises(ValueError, match="by"):
            ledger.report(by)
    for where in ({1: 2}, ["team"], "team"):
        with pytest.raises(ValueError, match="where"):
            ledger.report("model", where=where)
    for moment in ("soon", datetime(2026, 1, 1), -5, True, "7y", 1e12, "999999w", timedelta.max):
        with pytest.raises(ValueError, match="since"):
            ledger.report("model", since=moment)
    with pytest.raises(ValueError, match="until"):
        ledger.report("model", until="whenever")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda own: own.newest(-1), "count: -1 is negative"),
        (lambda own: own.last(10**30), "count: 10+ is not a number of rows"),
        (lambda own: own.highest("cost_usd", 1, offset=1.5), "offset: 1.5 is not a number of rows"),
        (lambda own: own.report(limit=10**30), "limit: 10+ is not a number of rows"),
        (lambda own: own.report(sort=5), "sort: 5 is not the name of a field"),
        (lambda own: own.report(where={"team": ["a"] * 40_000}), "where: team: there are 40,000 values"),
        (lambda own: own.report(where={"team": "\udcff"}), "where: team: .* is not a valid Unicode text"),
    ],
)
def test_arguments_that_sqlite_cannot_take_are_named(filled, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(filled[0])


def test_moments_have_several_forms():
    day = 1_793_491_200_000_000_000
    utc = datetime(2026, 11, 1, tzinfo=timezone.utc)
    for moment in (
        utc,
        date(2026, 11, 1),
        "2026-11-01",
        "2026-11-01T00:00:00Z",
        "2026-11-01T02:00:00+02:00",
        day // 10**9,
    ):
        assert unix_ns("since", moment) == day
    week = time.time_ns() - 7 * 86_400 * 10**9
    assert abs(unix_ns("since", "7d") - week) < 10**10
    assert abs(unix_ns("since", timedelta(days=7)) - week) < 10**10


def test_a_ledger_that_does_not_exist_is_empty(state):
    ledger = taximeter.Ledger(state / "ledger.db")
    assert len(ledger.report()) == 0
    assert ledger.report().total.calls == 0
    assert list(ledger.events()) == []
    assert not state.exists()
    meter = taximeter.Meter(state_dir=state)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.close()
    assert ledger.report().total.calls == 1, "it was opened before it existed"


def test_a_file_that_is_not_a_ledger_or_newer_is_a_clear_error(tmp_path, meter):
    nonsense = tmp_path / "nonsense.db"
    nonsense.write_bytes(b"nonsense" * 1000)
    with pytest.raises(taximeter.LedgerError, match="not a database"):
        taximeter.Ledger(nonsense)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush()
    with closing(sqlite3.connect(meter.settings.ledger)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(taximeter.LedgerError, match="schema 99"):
        taximeter.Ledger(meter.settings.ledger)

    pauses = itertools.count(0.7, 0.7)

    # A ledger of a newer version is not written to. Its events wait.
    def is_refused() -> bool:
        # The writer closes the file half a second after the last event. Until then its transactions succeed.
        time.sleep(next(pauses))
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        return meter.flush(0.5).pending > 0 and "schema 99" in (meter.stats()["destinations"]["ledger"]["last_error"] or "")

    wait_for(is_refused)


def test_sql_tools_read_the_documented_schema(filled):
    ledger, events = filled
    connection = sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (len(events),)
    assert connection.execute("SELECT typeof(id), typeof(cost_usd) FROM events WHERE cost_usd NOTNULL").fetchone() == (
        "text",
        "text",
    )
    by_day = connection.execute("SELECT sum(calls), sum(unpriced) FROM spend_by_day").fetchone()
    assert by_day == (len(events), sum(event["cost_usd"] is None for event in events))
    (cost,) = connection.execute("SELECT sum(cost_usd) FROM spend_by_attribution WHERE dimension = 'team'").fetchone()
    assert cost == pytest.approx(float(ledger.report(()).total.cost_usd))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_last_and_follow_return_events(meter):
    for number in range(5):
        meter.track(provider="openai", model="gpt-4o", input_tokens=number)
    meter.flush()
    ledger = taximeter.Ledger(meter.settings.ledger)
    assert [event["input_tokens"] for event in ledger.last(2)] == [3, 4]
    following = ledger.follow(last=1, every=0.01)
    assert next(following)["input_tokens"] == 4
    meter.track(provider="openai", model="gpt-4o", input_tokens=9)
    assert next(following)["input_tokens"] == 9


def test_readers_end_the_wait_for_a_transaction(state):
    """The wait is twice as long as this test is ready to wait for it."""
    taximeter.init(instrument=False, state_dir=state, linger_ms=60_000)
    try:
        ledger = taximeter.Ledger()
        following = ledger.follow(every=0.01)
        readers = (lambda: next(following)["input_tokens"], lambda: ledger.report().total.input_tokens, lambda: len(ledger.last(9)))
        for number, (read, expected) in enumerate(zip(readers, (1, 3, 3), strict=True), 1):
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=number)
            found = []
            reader = threading.Thread(target=lambda read=read: found.append(read()), daemon=True)
            reader.start()
            reader.join(120)
            assert found == [expected]
    finally:
        taximeter.close()
