"""The clients of OpenAI and Anthropic against a fake provider: what users see, and what the meter records."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

import taximeter
from conftest import events_of
from fake_provider import OPENAI_USAGE
from taximeter import instrument

QUESTION = [{"role": "user", "content": "a secret question"}]
OPENAI = {"input_tokens": 1009, "output_tokens": 307, "cache_read_tokens": 503, "output_reasoning_tokens": 101}
RESPONSES = {"input_tokens": 1013, "output_tokens": 311, "cache_read_tokens": 509, "output_reasoning_tokens": 103}
ANTHROPIC = {
    "input_tokens": 1021, "output_tokens": 53, "cache_read_tokens": 709, "cache_write_tokens": 101, "cache_write_5m_tokens": 101,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:The model .* is deprecated")


@pytest.fixture
def gpt(provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-secret", base_url=f"{provider.url}/v1", max_retries=2) as client:
        yield client


@pytest.fixture
def claude(provider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-secret", base_url=provider.url, max_retries=2) as client:
        yield client


def run_async(work):
    return asyncio.run(work())


def seen(value):
    """Return what a user sees of a result, in a comparable form."""
    if isinstance(value, BaseModel):
        return type(value).__name__, value.model_dump()
    if isinstance(value, list):
        return [seen(item) for item in value]
    return type(value).__name__, value


class Reply(BaseModel):
    pass


def chat(client, **more):
    return client.chat.completions.create(model="gpt-4o", messages=QUESTION, **more)


def consume_raw(raw):
    with raw as response:
        return [bytes(b"".join(response.iter_bytes()))]


OPENAI_CALLS = {
    "create": lambda c: chat(c),
    "stream": lambda c: list(chat(c, stream=True, stream_options={"include_usage": True})),
    "stream as context": lambda c: (lambda s: [list(s.__enter__()), s.__exit__(None, None, None)][0])(
        chat(c, stream=True, stream_options={"include_usage": True})
    ),
    "raw": lambda c: c.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION).parse(),
    "raw stream": lambda c: list(
        c.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        ).parse()
    ),
    "streaming response, body": lambda c: consume_raw(
        c.chat.completions.with_streaming_response.create(model="gpt-4o", messages=QUESTION)
    ),
    "streaming response, events": lambda c: consume_raw(
        c.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    ),
    "gzip": lambda c: c.chat.completions.create(model="gpt-4o-gzip", messages=QUESTION),
    "gzip stream": lambda c: list(
        c.chat.completions.create(model="gpt-4o-gzip", messages=QUESTION, stream=True, stream_options={"include_usage": True})
    ),
    "usage in every chunk": lambda c: list(c.chat.completions.create(model="gpt-4o-everychunk", messages=QUESTION, stream=True)),
    "retried": lambda c: c.chat.completions.create(model="gpt-4o-flaky", messages=QUESTION),
}
RESPONSE_CALLS = {
    "create": lambda c: c.responses.create(model="gpt-4.1", input="q"),
    "incomplete": lambda c: c.responses.create(model="gpt-4.1-incomplete", input="q"),
    "stream": lambda c: list(c.responses.create(model="gpt-4.1", input="q", stream=True)),
    "incomplete stream": lambda c: list(c.responses.create(model="gpt-4.1-incomplete", input="q", stream=True)),
    "raw": lambda c: c.responses.with_raw_response.create(model="gpt-4.1", input="q").parse(),
}


def helper_stream(client):
    with client.responses.stream(model="gpt-4.1", input="q") as stream:
        events = [event.type for event in stream]
        return [events, stream.get_final_response().output_text]


def chat_helper(client):
    with client.chat.completions.stream(model="gpt-4o", messages=QUESTION, stream_options={"include_usage": True}) as stream:
        return [[event.type for event in stream], stream.get_final_completion().choices[0].message.content]


def message(client, **more):
    return client.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION, **more)


def message_helper(client):
    with client.messages.stream(model="claude-sonnet-5", max_tokens=10, messages=QUESTION) as stream:
        return [list(stream.text_stream), seen(stream.get_final_message())]


ANTHROPIC_CALLS = {
    "create": lambda c: message(c),
    "stream": lambda c: list(message(c, stream=True)),
    "helper": message_helper,
    "raw": lambda c: c.messages.with_raw_response.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION).parse(),
    "streaming response": lambda c: consume_raw(
        c.messages.with_streaming_response.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION)
    ),
    "beta": lambda c: c.beta.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION),
    "retried": lambda c: c.messages.create(model="claude-sonnet-5-flaky", max_tokens=10, messages=QUESTION),
}

CASES = [
    *[("gpt", name, call, OPENAI) for name, call in OPENAI_CALLS.items()],
    ("gpt", "chat helper", chat_helper, OPENAI),
    *[("gpt", f"responses {name}", call, RESPONSES) for name, call in RESPONSE_CALLS.items()],
    ("gpt", "responses helper", helper_stream, RESPONSES),
    *[("claude", name, call, ANTHROPIC) for name, call in ANTHROPIC_CALLS.items()],
]


@pytest.mark.parametrize(("client", "name", "call", "usage"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_a_call_is_one_event_with_the_providers_usage_and_is_otherwise_unchanged(client, name, call, usage, meter, provider, request):
    client = request.getfixturevalue(client)
    instrument.deactivate()
    bare = seen(call(client))
    provider.billed.clear()
    provider.failures.clear()
    sent_bare = provider.requests[-1]
    meter.instrument()
    try:
        assert seen(call(client)) == bare
    finally:
        instrument.deactivate()
    sent = provider.requests[-1]
    volatile = {"x-stainless-retry-count", "idempotency-key"}
    assert sent[0] == sent_bare[0]
    assert sent[2] == sent_bare[2]
    assert {k: v for k, v in sent[1].items() if k not in volatile} == {k: v for k, v in sent_bare[1].items() if k not in volatile}
    (event,) = events_of(meter)
    assert event["usage"] == usage
    assert event["usage_status"] == "complete"
    assert event["model"] == provider.billed[0]["model"]
    assert len(provider.billed) == 1
    assert event["status"] == "success"
    assert event["latency_ms"] > 0
    assert "secret" not in json.dumps(event)


def test_async_clients_are_metered(metered, provider):
    async def work():
        async with (
            openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as gpt,
            anthropic.AsyncAnthropic(api_key="k", base_url=provider.url) as claude,
        ):
            await gpt.chat.completions.create(model="gpt-4o", messages=QUESTION)
            stream = await gpt.chat.completions.create(
                model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            assert isinstance(stream, openai.AsyncStream)
            assert [chunk async for chunk in stream]
            await gpt.responses.create(model="gpt-4.1", input="q")
            assert [event async for event in await gpt.responses.create(model="gpt-4.1", input="q", stream=True)]
            raw = await gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION)
            assert raw.parse().choices
            async with gpt.chat.completions.with_streaming_response.create(model="gpt-4o", messages=QUESTION) as response:
                assert await response.read()
            await claude.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION)
            stream = await claude.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION, stream=True)
            assert [event async for event in stream]
            async with claude.messages.stream(model="claude-sonnet-5", max_tokens=10, messages=QUESTION) as helper:
                assert await helper.get_final_text()

    run_async(work)
    usages = [event["usage"] for event in events_of(metered)]
    assert usages == [OPENAI, OPENAI, RESPONSES, RESPONSES, OPENAI, OPENAI, ANTHROPIC, ANTHROPIC, ANTHROPIC]


@pytest.mark.way("anthropic", "tool runner")
def test_turns_of_a_tool_runner_are_one_call(metered, claude):
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    asked = {"model": "claude-sonnet-5-tools", "max_tokens": 10, "messages": QUESTION, "tools": [weather]}
    with taximeter.attribute(team="t"):
        runner = claude.beta.messages.tool_runner(**asked, taximeter_feature="f")
    assert runner.until_done().stop_reason == "end_turn"
    first, second = events_of(metered)
    assert [(event["team"], event["feature"]) for event in (first, second)] == [("t", "f")] * 2
    assert first["call_id"] == second["call_id"]


def test_turns_of_an_async_tool_runner_are_one_call(metered, provider):
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    async def work():
        async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url) as claude:
            asked = {"model": "claude-sonnet-5-tools", "max_tokens": 10, "messages": QUESTION, "tools": [weather]}
            runner = claude.beta.messages.tool_runner(**asked, taximeter_team="t")
            assert (await runner.until_done()).stop_reason == "end_turn"

    run_async(work)
    events = events_of(metered)
    assert [event["team"] for event in events] == ["t"] * 2
    assert len({event["call_id"] for event in events}) == 1


def test_a_wrapped_client_can_be_collected(state, provider):
    instrument.deactivate()
    taximeter.init(instrument=False, state_dir=state)
    client = taximeter.wrap(openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1"))
    copy = client.with_options(timeout=9).copy()
    gone = weakref.ref(client)
    gc.collect()
    gc.disable()
    try:
        del client
        assert gone() is None
    finally:
        gc.enable()
    chat(copy)
    taximeter.flush()
    assert taximeter.Ledger(state / "ledger.db").report("provider").total.calls == 1
    taximeter.close()


@pytest.mark.way("openai", "embeddings")
def test_embeddings_are_metered(metered, gpt):
    gpt.embeddings.create(model="text-embedding-3-small", input="x")
    (event,) = events_of(metered)
    assert (event["operation"], event["usage"]) == ("embeddings", {"input_tokens": 17})
    assert event["cost_usd"] is not None


def test_the_providers_usage_report_is_kept_on_request(metered, gpt):
    chat(gpt)
    metered._engine.configure({"keep_provider_usage": True})
    chat(gpt)
    without, kept = events_of(metered)
    assert kept["provider_usage"] == OPENAI_USAGE
    assert "provider_usage" not in without
    assert without["usage"] == kept["usage"] == OPENAI


class ThroughOpenAi(httpx2.BaseTransport):
    """Sends requests for api.openai.com to the fake provider."""

    def __init__(self, url: str) -> None:
        self.inner = httpx2.HTTPTransport()
        self.target = httpx2.URL(url)

    def handle_request(self, request):
        request.url = request.url.copy_with(scheme="http", host=self.target.host, port=self.target.port)
        return self.inner.handle_request(request)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-gzip"])
def test_stream_usage_is_requested_where_safe_and_the_extra_chunk_is_removed(meter, provider, model):
    def run(**more):
        transport = httpx2.Client(transport=ThroughOpenAi(provider.url))
        client = openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=transport)
        options = {"model": model, "messages": QUESTION, "stream": True}
        chunks = [chunk.to_dict() for chunk in client.chat.completions.create(**options, **more)]
        assert options == {"model": model, "messages": QUESTION, "stream": True}
        client.close()
        return chunks

    bare = run()
    meter.instrument()
    try:
        assert run() == bare
        assert run(stream_options={"include_usage": False}) == bare
        assert run(stream_options={"include_obfuscation": False}) == bare
        transport = httpx2.Client(transport=ThroughOpenAi(provider.url))
        with openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=transport) as client:
            with client.chat.completions.stream(model=model, messages=QUESTION, taximeter_team="helper") as stream:
                list(stream)
    finally:
        instrument.deactivate()
    asked, declined, extended, helper = events_of(meter)
    for event in (asked, extended, helper):
        assert (event["usage"], event["usage_status"]) == (OPENAI, "complete")
    assert declined["usage_status"] == "missing"
    assert helper["team"] == "helper"
    assert asked["provider"] == "openai"


@pytest.mark.parametrize("encoding", ["deflate", "br"])
def test_stream_usage_is_not_requested_if_its_chunk_could_not_be_removed(metered, provider, encoding):
    transport = httpx2.Client(transport=ThroughOpenAi(provider.url))
    with openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=transport) as client:
        list(chat(client, stream=True, extra_headers={"Accept-Encoding": encoding}))
        client = client.with_options(default_headers={"accept-encoding": encoding})
        list(chat(client, stream=True))
    assert all(b"stream_options" not in body for _, _, body in provider.requests)
    assert [headers["accept-encoding"] for _, headers, _ in provider.requests] == [encoding] * 2


def test_the_extra_chunk_is_removed_from_a_response_that_was_already_read(metered):
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, "delta": {}}]}
    usage = {**chunk, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}
    body = "".join(f"data: {json.dumps(part)}\n\n" for part in (chunk, usage)) + "data: [DONE]\n\n"

    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body.encode())

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=transport) as client:
        assert [len(part.choices) for part in chat(client, stream=True)] == [1]
    (event,) = events_of(metered)
    assert (event["usage"]["input_tokens"], event["usage_status"]) == (3, "complete")


def test_keywords_in_a_body_are_not_sent(metered, gpt, provider):
    gpt.chat.completions.create(model="gpt-4o", messages=QUESTION, extra_body={"taximeter_team": "t", "kept": 1})
    body = json.loads(provider.requests[-1][2])
    assert "taximeter_team" not in body
    assert body["kept"] == 1


def test_stream_usage_is_not_requested_from_other_hosts(metered, gpt, provider):
    assert list(gpt.chat.completions.create(model="gpt-4o-strict", messages=QUESTION, stream=True))
    assert b"stream_options" not in provider.requests[-1][2]
    (event,) = events_of(metered)
    assert (event["usage_status"], event["usage"], event["cost_usd"]) == ("missing", {}, None)


def test_an_abandoned_stream_is_one_partial_event(metered, claude, gpt):
    with claude.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION, stream=True) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                break
    stream = gpt.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True})
    next(iter(stream))
    stream.close()
    first, second = events_of(metered)
    assert (first["usage_status"], first["usage"]["input_tokens"], first["status"]) == ("partial", 1021, "success")
    assert second["usage_status"] == "missing"


def test_an_unread_stream_is_one_event(metered, gpt):
    stream = gpt.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
    stream.response.close()
    del stream
    gc.collect()
    assert [event["usage_status"] for event in events_of(metered)] == ["missing"]


def test_a_broken_stream_records_the_class_of_the_users_error(meter, provider, claude):
    def run():
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the client raises
            list(claude.messages.create(model="claude-sonnet-5-cut", max_tokens=10, messages=QUESTION, stream=True))
        return type(caught.value)

    bare = run()
    meter.instrument()
    try:
        assert run() is bare
    finally:
        instrument.deactivate()
    (event,) = events_of(meter)
    assert (event["status"], event["usage_status"]) == ("error", "partial")
    assert event["error"]


def test_a_cancelled_task_is_one_event(metered, provider):
    async def work():
        async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url) as claude:
            stream = await claude.messages.create(model="claude-sonnet-5", max_tokens=10, messages=QUESTION, stream=True)

            async def read():
                async for _ in stream:
                    await asyncio.sleep(60)

            task = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stream.close()

    run_async(work)
    (event,) = events_of(metered)
    assert event["usage_status"] in ("partial", "complete")


def test_errors_of_the_provider_are_the_clients_own_and_cost_nothing(metered, gpt, claude):
    with pytest.raises(openai.BadRequestError):
        gpt.chat.completions.create(model="error", messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model="error", max_tokens=1, messages=QUESTION)
    failures = [(event["error"], event["usage_status"], event["cost_usd"]) for event in events_of(metered)]
    assert failures == [("BadRequestError", "missing", None)] * 2


@pytest.mark.parametrize("model", ["html", "nousage"])
def test_a_response_without_usage_is_recorded_as_missing_and_otherwise_unchanged(meter, gpt, model):
    def run():
        try:
            return seen(gpt.chat.completions.create(model=model, messages=QUESTION))
        except Exception as error:
            return type(error)

    bare = run()
    meter.instrument()
    try:
        assert run() == bare
    finally:
        instrument.deactivate()
    (event,) = events_of(meter)
    assert (event["model"], event["usage_status"], event["cost_usd"]) == (model, "missing", None)


def test_attribution_comes_from_scopes_keywords_and_headers_and_is_not_sent_to_the_provider(metered, gpt, claude, provider):
    with taximeter.attribute(team="outer", agent="outer"):
        gpt.chat.completions.create(
            model="gpt-4o",
            messages=QUESTION,
            taximeter_agent="keyword",
            taximeter_tags={"plan": "pro"},
            taximeter_nonsense=1,
        )
    headers = {"x-taximeter-customer": "header", "X-Taximeter-Tag-Env": "prod", "x-own": "kept"}
    given = dict(headers)
    claude.messages.create(model="claude-sonnet-5", max_tokens=1, messages=QUESTION, extra_headers=headers)
    assert headers == given
    assert provider.requests[-1][1]["x-own"] == "kept"
    with claude.messages.stream(model="claude-sonnet-5", max_tokens=1, messages=QUESTION, taximeter_feature="helper") as stream:
        stream.get_final_message()
    for path, sent_headers, body in provider.requests:
        assert "taximeter" not in (path + json.dumps(sent_headers) + body.decode()).lower()
    first, second, third = events_of(metered)
    assert (first["team"], first["agent"], first["tags"]) == ("outer", "keyword", {"plan": "pro"})
    assert (second["customer"], second["tags"]) == ("header", {"env": "prod"})
    assert third["feature"] == "helper"


def test_keywords_are_removed_even_if_nothing_is_recorded(meter, gpt):
    meter.instrument()
    instrument.deactivate()
    assert chat(gpt, taximeter_agent="a")
    assert events_of(meter) == []
    disabled = taximeter.Meter(enabled=False)
    disabled.instrument()
    assert chat(gpt, taximeter_agent="a", extra_headers={"x-taximeter-team": "t"})
    instrument.deactivate()


def test_attribution_of_the_wrong_type_does_not_fail_the_call(metered, gpt):
    assert chat(gpt, taximeter_team=object())
    assert chat(gpt, taximeter_tags="plan=pro", extra_headers={"x-taximeter-tag-env": "prod"})
    assert [event.get("tags") for event in events_of(metered)] == [None, {"env": "prod"}]


def test_headers_and_keywords_are_never_sent_to_a_provider(metered, provider):
    with anthropic.Anthropic(api_key="k", base_url=provider.url, default_headers={"x-taximeter-team": "t"}) as claude:
        message(claude)
        headers = {"x-taximeter-customer": "c"}
        claude.messages.count_tokens(model="claude-sonnet-5", messages=QUESTION, extra_headers=headers, taximeter_user="u")
        claude.post("/v1/messages", body={"model": "m"}, cast_to=object, options={"headers": headers})
    assert all("taximeter" not in json.dumps(sent).lower() for _, sent, _ in provider.requests)
    assert all(b"taximeter" not in body for _, _, body in provider.requests)


def test_closing_a_call_in_another_context_does_not_raise(metered):
    import contextvars

    # Connecting would ignore the end of the coroutine, in anyio on Python 3.14.
    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await asyncio.get_running_loop().create_future()

    async def work():
        async with openai.AsyncOpenAI(api_key="k", http_client=httpx2.AsyncClient(transport=Silent())) as gpt:
            pending = gpt.chat.completions.create(model="gpt-4o", messages=QUESTION, taximeter_team="t")
            contextvars.copy_context().run(pending.send, None)
            pending.close()
        assert metered.track(provider="openai", model="gpt-4o", input_tokens=1)

    run_async(work)
    assert [event.get("team") for event in events_of(metered)] == [None]


def test_families_that_are_no_longer_instrumented_are_not_recorded(meter, gpt, claude):
    meter.instrument()
    meter.instrument(("anthropic",))
    chat(gpt)
    message(claude)
    instrument.deactivate()
    message(claude)
    assert [event["provider"] for event in events_of(meter)] == ["anthropic"]


def test_a_stream_that_outlives_the_instrumentation_is_recorded(meter, gpt):
    meter.instrument()
    stream = chat(gpt, stream=True, stream_options={"include_usage": True})
    instrument.deactivate()
    list(stream)
    assert len(events_of(meter)) == 1


def test_a_stream_has_the_attribution_of_its_call(metered, gpt):
    with taximeter.attribute(team="caller"):
        stream = chat(gpt, stream=True, stream_options={"include_usage": True})
    with taximeter.attribute(team="reader"):
        list(stream)
    assert [event["team"] for event in events_of(metered)] == ["caller"]


def test_executor_threads_have_the_bound_attribution(metered, gpt):
    with ThreadPoolExecutor(2) as pool, taximeter.attribute(team="bound"):
        pool.submit(taximeter.bind(chat), gpt).result()
        pool.submit(chat, gpt).result()
    assert [event.get("team") for event in events_of(metered)] == ["bound", None]


def test_a_wrapped_client_is_metered_and_others_are_not(meter, provider):
    instrument.deactivate()
    text = f"""
import openai, taximeter
meter = taximeter.init(instrument=False)
wrapped, other = (openai.OpenAI(api_key="k", base_url="{provider.url}/v1") for _ in range(2))
assert taximeter.wrap(wrapped) is wrapped
for client in (wrapped, other, wrapped.with_options(timeout=9)):
    client.chat.completions.create(model="gpt-4o", messages=[], taximeter_team="t")
taximeter.flush()
report = taximeter.Ledger().report("team")
print(report.total.calls, report.rows[0].key["team"])
"""
    import subprocess

    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=300, check=False)
    assert answer.stdout.strip() == "2 t", answer.stderr
    with pytest.raises(TypeError, match="client"):
        taximeter.wrap(object())


@pytest.mark.parametrize("order", ["init first", "client first", "method bound first"])
def test_init_works_before_and_after_the_import_and_for_existing_clients(provider, run, order):
    outcome = run(
        f"""
        import sys
        make = lambda: __import__("openai").OpenAI(api_key="k", base_url="{provider.url}/v1")
        import taximeter
        create = None
        if "{order}" == "client first":
            client = make()
        if "{order}" == "method bound first":
            client = make()
            create = client.chat.completions.create
        taximeter.init()
        assert ("openai" in sys.modules) == ("{order}" != "init first")
        if "{order}" == "init first":
            assert taximeter.status()["openai"].state == "absent"
            client = make()
        (create or client.chat.completions.create)(model="gpt-4o", messages=[])
        status = taximeter.status()
        assert status["openai"].state == "bound", status
        assert status["openai"].version == __import__("openai").__version__
        assert status["anthropic"].state == "absent"
        taximeter.flush()
        print(taximeter.Ledger().report().total.calls)
        """
    )
    assert outcome.stdout.strip() == "1"


def test_instrumenting_twice_counts_once(meter, gpt):
    meter.instrument()
    meter.instrument()
    chat(gpt)
    instrument.deactivate()
    assert len(events_of(meter)) == 1


def test_an_unknown_family_names_the_nearest_one(meter):
    with pytest.raises(taximeter.ConfigError, match=r"^instrument: there is no 'google-genai'; did you mean 'google.genai'\?$"):
        meter.instrument(["google-genai"])


@pytest.mark.slow
def test_only_named_families_are_bound(run):
    run(
        """
        import anthropic, openai, taximeter
        taximeter.init(instrument=("anthropic",))
        status = taximeter.status()
        assert status["anthropic"].state == "bound"
        assert status["openai"].state == "absent", status
        try:
            taximeter.init(instrument=("nobody",))
        except taximeter.ConfigError as error:
            assert "nobody" in str(error)
        else:
            raise SystemExit("an unknown family was accepted")
        """
    )


def test_a_client_with_an_unknown_structure_is_reported_and_not_changed(tmp_path, run):
    (tmp_path / "fakes").mkdir()
    package = tmp_path / "fakes" / "openai"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '99'\nfrom . import _base_client\n")
    (package / "_base_client.py").write_text("class SomethingElse: pass\n")
    run(
        """
        import sys
        sys.path.insert(0, "fakes")
        import taximeter
        taximeter.init()
        import openai
        status = taximeter.status()["openai"]
        assert (status.state, status.version) == ("failed", "99"), status
        assert "SyncAPIClient" in status.reason
        """
    )


def test_responses_can_still_be_pickled(metered, gpt):
    response = gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION)
    assert pickle.loads(pickle.dumps(response.http_response)).status_code == 200
    assert pickle.loads(pickle.dumps(chat(gpt))).model == "gpt-4o"


def test_many_threads_share_a_client(metered, gpt):
    threads = [threading.Thread(target=lambda: [chat(gpt) for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events_of(metered)) == 40


def test_failures_of_the_meter_do_not_reach_the_caller(metered, gpt, monkeypatch):
    from taximeter.instrument import http, recorder

    def fail(*_, **__):
        raise RuntimeError("broken meter")

    monkeypatch.setattr(recorder.Recorder, "_outcome", fail)
    assert chat(gpt).choices
    monkeypatch.setattr(http, "current_call", fail)
    assert chat(gpt).choices
