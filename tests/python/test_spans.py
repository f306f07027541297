"""Events name the OpenTelemetry span in which their call was made, and the call that they share."""

from __future__ import annotations

import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import taximeter
from conftest import events_of

QUESTION = [{"role": "user", "content": "a secret question"}]


@pytest.fixture
def tracer():
    provider = TracerProvider()
    yield provider.get_tracer("tests")
    provider.shutdown()


@pytest.fixture
def gpt(provider):
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
        yield client


def ids_of(span) -> dict[str, str]:
    context = span.get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def ids_in(event) -> dict[str, str]:
    return {name: event[name] for name in ("trace_id", "span_id", "parent_span_id") if name in event}


def test_a_call_has_the_span_that_it_was_made_in(metered, gpt, tracer):
    with tracer.start_as_current_span("answer") as span:
        gpt.chat.completions.create(model="gpt-4o", messages=QUESTION)
        stream = gpt.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIStatusError):
            gpt.chat.completions.create(model="gpt-4o-error", messages=QUESTION)
    # The stream ends outside the span.
    for _ in stream:
        pass
    gpt.chat.completions.create(model="gpt-4o", messages=QUESTION)
    *within, outside = sorted(events_of(metered), key=lambda event: event["started_at"])
    assert [ids_in(event) for event in within] == [ids_of(span)] * 3
    assert {event["status"] for event in within} == {"success", "error"}
    assert ids_in(outside) == {}
    assert len({event["call_id"] for event in [*within, outside]}) == 4


def test_a_measured_block_has_the_span_that_it_ran_in(meter, tracer):
    with tracer.start_as_current_span("answer") as span:
        with meter.measure(provider="openai", model="gpt-4o") as call:
            call.set_usage({"input_tokens": 1})
        with meter.measure(provider="openai", model="gpt-4o", trace_id="ab", parent_span_id="cd") as call:
            call.set_usage({"input_tokens": 1})
    found, given = events_of(meter)
    assert ids_in(found) == ids_of(span)
    assert ids_in(given) == {"trace_id": "ab", "parent_span_id": "cd"}


def test_requests_of_one_call_are_reported_together(meter):
    for call in ("00000000000000aa", "00000000000000aa", "00000000000000bb"):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, call_id=call)
    meter.flush()
    report = taximeter.Ledger(meter.ledger_path).report("call_id")
    assert {row.key["call_id"]: row.calls for row in report.rows} == {"00000000000000aa": 2, "00000000000000bb": 1}
