"""The extension records the usual response itself. It makes the same event as the recorder in Python, which keeps everything unusual."""

from __future__ import annotations

import functools
import json
import logging
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taximeter
from conftest import events_of
from taximeter import _core, attribution
from taximeter.instrument import deferred, guard
from taximeter.instrument.call import Call
from taximeter.instrument.recorder import Recorder, scanner_for
from taximeter.meter import engine_of

NAMES = st.sampled_from([None, "", " ", "gpt-4o", "GPT-4o ", "no-such-model", "é" * 600, "\ud800", 7])
COUNTS = st.sampled_from([None, 0, 1, 1009, 10**12, 10**12 + 1, -1, 1.5, "7"])
TEXTS = st.sampled_from([None, "", "stop", "length", "queued", "in_progress", "default", "priority", "flex", "x" * 500])
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "cost": st.sampled_from([None, 0.25, "0.1", -1]),
        "prompt_tokens_details": st.fixed_dictionaries({}, optional={"cached_tokens": COUNTS, "audio_tokens": COUNTS}),
        "completion_tokens_details": st.fixed_dictionaries({}, optional={"reasoning_tokens": COUNTS}),
    },
)
BODIES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"index": st.just(0), "finish_reason": TEXTS}), max_size=2)},
    optional={
        "id": st.sampled_from(["c", "", None]),
        "model": NAMES,
        "usage": st.one_of(USAGES, st.sampled_from([None, 7, "x"])),
        "service_tier": TEXTS,
        "status": TEXTS,
        "background": st.booleans(),
        "error": st.sampled_from([None, {"type": "overloaded", "message": "secret"}]),
    },
)
FIELDS = st.fixed_dictionaries(
    {"provider": st.sampled_from(["openai", "Azure", "x_ai", "no such"]), "model": NAMES, "operation": TEXTS},
    optional={
        "service_tier": TEXTS,
        "region": TEXTS,
        "cost_notes": st.sampled_from([None, "", "host_unknown", "nonsense,unaccounted_tokens"]),
        "batch": st.booleans(),
        "usage": st.sampled_from([None, {"input_characters": 7}]),
    },
)
CALLS = st.fixed_dictionaries(
    {"has_call": st.booleans(), "team": st.sampled_from([None, "acme"]), "is_stream": st.booleans(), "span": st.booleans()}
)


class InPython:
    """A meter whose events are all made in Python."""

    core = None

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)


def record(engine, fields, body, how) -> None:
    call = None
    if how["has_call"]:
        call = Call({"x_taximeter_team": how["team"]} if how["team"] else {})
        call.ids = {"call_id": "0" * 16, **({"trace_id": "1" * 32, "span_id": "2" * 16} if how["span"] else {})}
        call.started, call.started_at = time.perf_counter(), time.time()
    kind = "text/event-stream" if how["is_stream"] else "application/json"
    scanner = scanner_for(engine, "openai", fields["provider"], kind)
    recorder = Recorder(engine, scanner, dict(fields), call, admit=functools.partial(deferred.billed, engine), settles=True)
    text = json.dumps(body)
    recorder.feed(f"data: {text}\n\ndata: [DONE]\n\n".encode() if how["is_stream"] else text.encode())
    recorder.finish()


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [False, True])
def test_the_extension_records_the_same_events_as_the_recorder(state, monkeypatch, keeps):
    meter = taximeter.Meter(state_dir=state, keep_provider_usage=keeps)
    engine = engine_of(meter)
    seen = set()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(FIELDS, BODIES, CALLS), min_size=10, max_size=20))
    def compare(examples):
        before = meter.stats()["remarks"]
        counted = []
        for way in (engine, InPython(engine)):
            # Each way begins without what the other one has counted.
            monkeypatch.setattr(deferred, "_counted", deferred.Seen())
            (state / "counted.jsonl").unlink(missing_ok=True)
            for number, (fields, body, how) in enumerate(examples):
                with attribution.attribute(session=f"{type(way).__name__} {number}"):
                    record(way, fields, body, how)
            after = meter.stats()["remarks"]
            counted.append({name: count - before[name] for name, count in after.items()})
            before = after
        assert counted[0] == counted[1]
        assert counted[0]["instrument_failed"] == 0
        events = {}
        for event in [event for event in events_of(meter) if event["id"] not in seen]:
            seen.add(event["id"])
            way, number = event.pop("session").split()
            for name in ("id", "started_at", "latency_ms", "ttft_ms"):
                event[name] = event.get(name) is not None
            events.setdefault(way, {})[number] = event
        assert events.get("Engine") == events.get("InPython")

    compare()
    meter.close(5)


def test_the_usual_response_is_recorded_without_python(meter, monkeypatch):
    engine = engine_of(meter)
    monkeypatch.setattr(Recorder, "_outcomes", lambda *_: 1 / 0)
    usage = {"prompt_tokens": 1009, "completion_tokens": 307, "prompt_tokens_details": {"cached_tokens": 503}}
    body = {"id": "c", "model": "gpt-4o-2024-08-06", "usage": usage, "choices": [{"index": 0, "finish_reason": "stop"}]}
    with attribution.attribute(team="acme"):
        record(
            engine,
            {"provider": "openai", "model": "gpt-4o", "operation": "chat"},
            body,
            dict.fromkeys(("has_call", "team", "is_stream", "span"), False),
        )
    (event,) = events_of(meter)
    assert (event["model"], event["team"], event["finish_reason"]) == ("gpt-4o-2024-08-06", "acme", "stop")
    assert event["usage"] == {"input_tokens": 1009, "output_tokens": 307, "cache_read_tokens": 503}


def test_a_scan_that_has_ended_records_nothing(meter):
    scanner = _core.Scanner("openai", provider="openai", content_type="application/json")
    assert scanner.finish()["usage_status"] == "missing"
    assert scanner.record(engine_of(meter).core, {"provider": "openai"}, {}, None, None, None, None) is None
    assert events_of(meter) == []


def test_a_name_of_invalid_unicode_is_recorded_and_logged(meter, caplog):
    """A model with half of a surrogate pair, in an answer without usage, which is counted and warned about by the model's name."""
    caplog.set_level(logging.DEBUG, "taximeter")
    how = dict.fromkeys(("has_call", "team", "is_stream", "span"), False)
    record(engine_of(meter), {"provider": "openai", "model": "gpt\ud800", "operation": "chat"}, {"choices": []}, how)
    guard.report("a step for gpt\ud800", ValueError(), meter=engine_of(meter))
    (event,) = events_of(meter)
    assert (event["model"].rstrip("\ufffd"), event["usage_status"]) == ("gpt", "missing")
    assert meter.stats()["remarks"]["usage_unreported"] == 1
    # A handler that writes UTF-8 raises on a lone surrogate.
    texts = [logged.getMessage().encode() for logged in caplog.records]
    assert any(rb"a step for gpt\ud800" in text for text in texts)
