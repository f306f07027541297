from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taximeter
from conftest import events_of, wait_for

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1200, "output_tokens": 350}


def test_a_receipt_has_a_version_7_id_and_the_exact_cost(meter):
    receipt = meter.track(**CALL, cache_read_tokens=800)
    assert uuid.UUID(receipt.id).version == 7
    assert receipt.cost_usd == Decimal("0.0055")
    assert receipt
    assert receipt.refused is None


def test_every_field_reaches_the_ledger(meter):
    started = datetime(2026, 11, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
    receipt = meter.track(
        **CALL, cache_read_tokens=100, cache_write_tokens=50, reasoning_tokens=25, usage={"web_searches": 2, "audio_seconds": 1.5},
        agent="a", feature="f", team="t", customer="c", user="u", session="s", tags={"plan": "pro", "n": 3, "id": uuid.UUID(int=1)},
        operation="chat", latency_ms=12.5, ttft_ms=3, status="error", error=ValueError("secret prompt"), finish_reason="stop",
        service_tier="default", region="eu", batch=False, started_at=started, trace_id="ab", span_id="cd", parent_span_id="ef", call_id="0a",
    )  # fmt: skip
    (event,) = events_of(meter)
    assert event["id"] == receipt.id
    assert event["started_at"] == "2026-11-01T10:30:00.000000000Z"
    assert event["error"] == "ValueError"
    assert "secret" not in str(event)
    assert event["usage"] == {
        "input_tokens": 1200, "output_tokens": 350, "cache_read_tokens": 100, "cache_write_tokens": 50, "output_reasoning_tokens": 25,
        "audio_seconds": 1.5, "web_searches": 2,
    }  # fmt: skip
    assert event["tags"] == {"plan": "pro", "n": "3", "id": str(uuid.UUID(int=1))}
    expected = {
        "provider": "openai", "model": "gpt-4o", "agent": "a", "feature": "f", "team": "t", "customer": "c", "user": "u",
        "session": "s", "latency_ms": 12.5, "ttft_ms": 3.0, "status": "error", "finish_reason": "stop", "region": "eu",
        "service_tier": "default", "trace_id": "ab", "span_id": "cd", "parent_span_id": "ef", "call_id": "0a", "priced_as": "openai/gpt-4o",
        "reasoning_tokens": 25, "cost_status": "priced",
    }  # fmt: skip
    assert {name: event[name] for name in expected} == expected


def test_an_unknown_model_has_no_cost_and_is_marked_unpriced(meter):
    assert meter.track(provider="openai", model="no-such-model", input_tokens=1).cost_usd is None
    (event,) = events_of(meter)
    assert event["cost_usd"] is None
    assert event["cost_status"] == "unpriced"


def test_a_reported_cost_takes_precedence_and_the_computed_one_is_kept(meter):
    assert meter.track(**CALL, cost_usd="0.0123").cost_usd == Decimal("0.0123")
    assert meter.track(**CALL, cost_usd=1e-7).cost_usd == Decimal("0.0000001")
    for nonsense in ("1e999999999", "1e-999999999", "-1", float("nan"), 10**40, "1" * 1000, "much"):
        assert meter.track(**CALL, cost_usd=nonsense).cost_usd == Decimal("0.0065")
    assert meter.stats()["remarks"]["invalid_cost"] == 7
    event, *_ = events_of(meter)
    assert (event["cost_usd"], event["cost_status"], event["computed_cost_usd"]) == ("0.0123", "reported", "0.0065")


@pytest.mark.parametrize("tokens", [-1, 1.5, float("nan"), float("inf"), 10**13, 10**40, "7", True, [], object()])
def test_invalid_counts_are_rejected_and_counted(meter, tokens):
    receipt = meter.track(provider="openai", model="gpt-4o", input_tokens=tokens)
    assert not receipt
    assert (receipt.refused, receipt.id, receipt.cost_usd) == ("invalid_usage", "", None)
    assert meter.stats()["refused"]["invalid_usage"] == 1
    assert events_of(meter) == []


@pytest.mark.parametrize("name", ["provider", "model"])
def test_a_name_of_many_megabytes_takes_no_longer_than_a_long_one(meter, name):
    assert meter.track(**CALL)
    huge = "y" * 30_000_000
    took = []
    for _ in range(5):  # the least, because a busy machine slows some of them down
        began = time.thread_time()
        assert meter.track(**{**CALL, name: huge})
        took.append(time.thread_time() - began)
    # Converting and comparing the whole name took 0.2 s.
    assert min(took) < 0.05
    events = events_of(meter)
    assert (events[-1][name], meter.stats()["remarks"]["truncated"]) == ("y" * 509 + "…", 5)


@pytest.mark.parametrize("name", ["provider", "model"])
@pytest.mark.parametrize("value", [None, "", "  ", [], b"", object()])
def test_an_event_without_provider_or_model_is_rejected(meter, name, value):
    assert meter.track(**{**CALL, name: value}).refused == f"missing_{name}"
    assert meter.stats()["refused"][f"missing_{name}"] == 1


def test_whole_floats_are_counts_and_none_means_absent(meter):
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1200.0, output_tokens=None)
    (event,) = events_of(meter)
    assert event["usage"] == {"input_tokens": 1200}


def test_a_panic_in_the_extension_is_counted_and_does_not_raise(run):
    # The extension re-raises an exception of this class as a panic. Other extensions have classes with the same name, so this test
    # runs in its own process.
    outcome = run(
        """
        import logging, taximeter
        logging.basicConfig(format="%(message)s")
        meter = taximeter.Meter()
        call = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}
        assert meter.track(**call)
        (panic,) = (error for error in BaseException.__subclasses__() if error.__name__ == "PanicException")
        class Panicking(dict):
            def items(self):
                raise panic("a fault of the extension")
        class Tag(int):
            def __str__(self):
                raise panic("a fault of the extension")
        receipt = meter.track(**call, tags={"key": Tag(1)})
        assert (receipt.refused, bool(receipt)) == ("internal_error", False)
        assert meter.stats()["refused"]["internal_error"] == 1
        # A subclass of dict, whose JSON Python writes.
        assert meter._engine.core.post("/v1", {"a": Panicking(b=1)}).refused == "internal_error"
        assert meter.stats()["refused"]["internal_error"] == 2
        assert meter.track(**call)
        assert meter.flush(60).dropped == 2
        print(sum(1 for _ in taximeter.Ledger(meter.settings.ledger).events()))
        """
    )
    assert outcome.stdout == "2\n"
    assert outcome.stderr.count("(internal_error; ") == 1


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 1, 1), datetime(2199, 1, 1, tzinfo=timezone.utc), 1e18, -1, "yesterday", float("nan"), object()],
)
def test_an_invalid_time_is_replaced_by_now(meter, moment):
    before = datetime.now(timezone.utc)
    assert meter.track(**CALL, started_at=moment)
    (event,) = events_of(meter)
    assert datetime.fromisoformat(event["started_at"][:26] + "+00:00") >= before - timedelta(milliseconds=1)
    assert meter.stats()["remarks"]["invalid_time"] == 1


def test_lone_surrogates_are_replaced(meter):
    assert meter.track(**CALL, team="a\ud800b", tags={"k\udfff": "v"})
    (event,) = events_of(meter)
    assert "a" in event["team"]
    assert "\ud800" not in event["team"]
    assert meter.stats()["remarks"]["invalid_text"] == 2


def test_ten_thousand_tags_and_a_megabyte_of_text_are_cut_and_counted(meter):
    assert meter.track(**CALL, tags={f"key-{n}": "v" for n in range(10_000)})
    assert meter.track(**CALL, tags={"big": "é" * 1_000_000}, team="t" * 1_000_000)
    many, big = events_of(meter)
    assert set(many["tags"]) == {f"key-{n}" for n in range(64)}
    assert len(big["tags"]["big"].encode()) <= 512
    assert big["tags"]["big"].endswith("…")
    assert len(big["team"].encode()) <= 512
    assert meter.stats()["remarks"]["truncated"] == 10_000 - 64 + 2


def test_cyclic_and_foreign_values_are_left_out(meter):
    cycle: dict = {}
    cycle["self"] = cycle
    assert meter.track(**CALL, tags={"cycle": cycle, "list": [1], "ok": "yes"}, user=cycle)
    assert meter.track(**CALL, tags=cycle["self"])
    assert meter.track(**CALL, tags=7)
    first, *_ = events_of(meter)
    assert first["tags"] == {"ok": "yes"}
    assert "user" not in first


def test_values_that_raise_do_not_make_track_raise(meter):
    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

        __str__ = __index__ = __float__ = __bool__ = __iter__ = __getattr__

    hostile = Hostile()
    for name in (
        "provider",
        "model",
        "input_tokens",
        "usage",
        "tags",
        "team",
        "latency_ms",
        "error",
        "batch",
        "cost_usd",
        "started_at",
    ):
        meter.track(**{**CALL, name: hostile})


def test_tags_can_be_any_mapping(meter):
    meter.track(**CALL, tags=MappingProxyType({"a": "b"}))
    assert events_of(meter)[0]["tags"] == {"a": "b"}


def test_parts_that_exceed_their_total_leave_the_event_without_a_cost(meter):
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=5, cache_read_tokens=6).cost_usd is None
    assert meter.stats()["remarks"]["contradictory_usage"] == 1
    assert len(events_of(meter)) == 1


def test_an_unknown_unit_is_left_out_and_counted(meter):
    meter.track(**CALL, usage={"bananas": 3})
    assert meter.stats()["remarks"]["unknown_unit"] == 1
    assert len(events_of(meter)) == 1


def test_one_warning_names_the_field_and_further_ones_are_only_counted(meter, caplog):
    with caplog.at_level(logging.WARNING, "taximeter"):
        for _ in range(100):
            meter.track(provider="openai", model="gpt-4o", output_tokens=-1)
    assert len(caplog.records) == 1
    assert "output_tokens" in caplog.text
    assert meter.stats()["refused"]["invalid_usage"] == 100


def in_containers(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return values | st.lists(values, max_size=3) | st.dictionaries(st.text() | st.integers(), values, max_size=3)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()) | st.decimals()
# Not `st.recursive()`, which at times warns that it cannot recurse.
ANYTHING = in_containers(in_containers(SCALARS))
FIELDS = [
    "provider", "model", "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens", "usage", "agent", "tags", "operation",
    "latency_ms", "status", "error", "service_tier", "batch", "cost_usd", "started_at", "trace_id", "usage_status",
]  # fmt: skip


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_value_of_any_argument_raises(meter, arguments):
    meter.track(**{**CALL, **arguments})
    meter.track(**arguments)


def test_eight_threads_lose_nothing_and_repeat_nothing(meter):
    def work(number):
        for n in range(2_000):
            meter.track(**CALL, user=f"{number}-{n}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = [event["user"] for event in events_of(meter)]
    assert len(users) == 16_000
    assert len(set(users)) == 16_000


def test_a_disabled_meter_does_nothing(state):
    meter = taximeter.Meter(state_dir=state, enabled=False)
    assert meter.track(**CALL).refused == "disabled"
    assert not state.exists()


def test_stats_show_where_events_are(meter):
    assert meter.stats()["tier"] is None
    meter.track(**CALL)
    assert meter.stats()["tier"] == ("mapped" if sys.platform == "linux" else "written")
    meter.flush()
    stats = meter.stats()
    assert stats["tracked"] == 1
    assert stats["destinations"]["ledger"]["delivered"] == 1
    assert stats["destinations"]["ledger"]["pending"] == 0


def test_flushing_a_meter_without_events_returns_zeros(meter):
    assert meter.flush() == (0, 0, 0)
    for timeout in (float("nan"), float("inf"), 1e300, None, -1):
        assert meter.flush(timeout) == (0, 0, 0)
    assert meter.close() == (0, 0, 0)


def test_flush_accepts_an_infinite_timeout(meter):
    meter.track(**CALL)
    assert meter.flush(float("inf")) == (1, 0, 0)


def test_closing_under_load_loses_nothing(state):
    meter = taximeter.Meter(state_dir=state)
    counts, go = [0, 0], True

    def work(n):
        while go:
            counts[n] += bool(meter.track(**CALL))
            time.sleep(0.0001)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        time.sleep(0.01)
        meter.close(5)
    go = False
    for thread in threads:
        thread.join()
    meter.close(30)
    # Events that were not delivered at the close are adopted by the next drain, also in this process.
    ledger = taximeter.Ledger(state / "ledger.db")

    def is_complete():
        meter.drain()
        return not list((state / "journal").iterdir())

    wait_for(is_complete)
    assert ledger.report(()).total.calls == sum(counts)


def test_a_collected_meter_delivers_and_ends(state):
    meter = taximeter.Meter(state_dir=state)
    meter.track(**CALL)
    del meter
    gc.collect()
    wait_for(lambda: taximeter.Ledger(state / "ledger.db").report(()).total.calls == 1)
    wait_for(lambda: not list((state / "journal").iterdir()))


def test_a_closed_meter_can_track_again(meter):
    meter.track(**CALL)
    meter.close(5)
    meter.track(**CALL)
    assert len(events_of(meter)) == 2
