"""The clients of the other families against a fake provider: what users see, and what the meter records."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Iterator

import boto3
import cohere
import groq
import ollama
import pytest
import together
from google import genai
from google.genai import types
from mistralai.client import Mistral
from pydantic import BaseModel

import taximeter
from conftest import events_of
from fake_families import FakeFamilies
from taximeter import instrument

QUESTION = [{"role": "user", "content": "a secret question"}]
CHAT = {"input_tokens": 401, "output_tokens": 409}
GEMINI = {
    "input_tokens": 419 + 23, "output_tokens": 421 + 431, "cache_read_tokens": 211, "output_reasoning_tokens": 431,
    "input_tool_tokens": 23,
}  # fmt: skip
COHERE = {"input_tokens": 433, "output_tokens": 439}
OLLAMA = {"input_tokens": 443, "output_tokens": 449}

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    # Clients are not closed here but collected, as in users' code.
    "ignore::ResourceWarning",
    "ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def families() -> Iterator[FakeFamilies]:
    with FakeFamilies() as server:
        yield server
        gc.collect()


def seen(value):
    """Return what a user sees of a result, in a comparable form."""
    if isinstance(value, BaseModel):
        # The headers that Gemini's client keeps contain the time.
        return type(value).__name__, {name: inner for name, inner in value.model_dump().items() if name != "sdk_http_response"}
    if isinstance(value, list):
        return [seen(item) for item in value]
    return type(value).__name__, value


CONVERSE = {
    "input_tokens": 457 + 463 + 467, "output_tokens": 461, "cache_read_tokens": 463, "cache_write_tokens": 467,
    "cache_write_1h_tokens": 467,
}  # fmt: skip
INVOKE = {
    "input_tokens": 479 + 491 + 499, "output_tokens": 487, "cache_read_tokens": 491, "cache_write_tokens": 499,
    "cache_write_1h_tokens": 499,
}  # fmt: skip
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ASKED = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": "a secret question"}]}]}


def bedrock(url):
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "k"}
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys)


def told(answer):
    """Return a response without fields that differ between calls."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def mistral(url):
    return Mistral(api_key="k", server_url=url)


def gemini(url):
    return genai.Client(api_key="k", http_options={"base_url": url})


def cohere_first(url):
    return cohere.Client(api_key="k", base_url=url)


def cohere_second(url):
    return cohere.ClientV2(api_key="k", base_url=url)


def consumed(stream):
    with stream as events:
        return list(events)


CASES = {
    "mistralai: complete": (mistral, lambda c: c.chat.complete(model="mistral-large", messages=QUESTION), CHAT),
    "mistralai: stream": (mistral, lambda c: consumed(c.chat.stream(model="mistral-large", messages=QUESTION)), CHAT),
    "mistralai: fim": (mistral, lambda c: c.fim.complete(model="codestral", prompt="x"), CHAT),
    "mistralai: agents": (mistral, lambda c: c.agents.complete(agent_id="a", messages=QUESTION), CHAT),
    "mistralai: embeddings": (mistral, lambda c: c.embeddings.create(model="mistral-embed", inputs=["x"]), {"input_tokens": 17}),
    "groq: create": (
        lambda url: groq.Groq(api_key="k", base_url=url),
        lambda c: c.chat.completions.create(model="groq-m", messages=QUESTION),
        CHAT,
    ),
    "groq: stream": (
        lambda url: groq.Groq(api_key="k", base_url=url),
        lambda c: list(c.chat.completions.create(model="groq-m", messages=QUESTION, stream=True)),
        CHAT,
    ),
    "groq: raw": (
        lambda url: groq.Groq(api_key="k", base_url=url),
        lambda c: c.chat.completions.with_raw_response.create(model="groq-m", messages=QUESTION).parse(),
        CHAT,
    ),
    "together: create": (
        lambda url: together.Together(api_key="k", base_url=f"{url}/v1"),
        lambda c: c.chat.completions.create(model="m", messages=QUESTION),
        CHAT,
    ),
    "together: stream": (
        lambda url: together.Together(api_key="k", base_url=f"{url}/v1"),
        lambda c: list(c.chat.completions.create(model="m", messages=QUESTION, stream=True)),
        CHAT,
    ),
    "together: embeddings": (
        lambda url: together.Together(api_key="k", base_url=f"{url}/v1"),
        lambda c: c.embeddings.create(model="m", input="x"),
        {"input_tokens": 17},
    ),
    "cohere v1: chat": (cohere_first, lambda c: c.chat(model="command", message="q"), COHERE),
    "cohere v1: stream": (cohere_first, lambda c: list(c.chat_stream(model="command", message="q")), COHERE),
    "cohere v2: chat": (cohere_second, lambda c: c.chat(model="command", messages=QUESTION), COHERE),
    "cohere v2: stream": (cohere_second, lambda c: list(c.chat_stream(model="command", messages=QUESTION)), COHERE),
    "cohere v2: embed": (
        cohere_second,
        lambda c: c.embed(model="embed", texts=["x"], input_type="search_query", embedding_types=["float"]),
        {"input_tokens": 29},
    ),
    "cohere v2: rerank": (cohere_second, lambda c: c.rerank(model="rerank", query="q", documents=["d"]), {"rerank_searches": 2}),
    "ollama: chat": (lambda url: ollama.Client(host=url), lambda c: c.chat(model="llama3", messages=QUESTION), OLLAMA),
    "ollama: stream": (
        lambda url: ollama.Client(host=url),
        lambda c: list(c.chat(model="llama3", messages=QUESTION, stream=True)),
        OLLAMA,
    ),
    "ollama: generate": (lambda url: ollama.Client(host=url), lambda c: c.generate(model="llama3", prompt="q"), OLLAMA),
    "ollama: embed": (lambda url: ollama.Client(host=url), lambda c: c.embed(model="llama3", input="x"), {"input_tokens": 31}),
    "gemini: generate": (gemini, lambda c: c.models.generate_content(model="gemini-2.5-flash", contents="q"), GEMINI),
    "gemini: stream": (gemini, lambda c: list(c.models.generate_content_stream(model="gemini-2.5-flash", contents="q")), GEMINI),
    "gemini: chat": (gemini, lambda c: c.chats.create(model="gemini-2.5-flash").send_message("q"), GEMINI),
    "gemini: chat stream": (gemini, lambda c: list(c.chats.create(model="gemini-2.5-flash").send_message_stream("q")), GEMINI),
    "gemini: embed": (gemini, lambda c: c.models.embed_content(model="gemini-embedding-001", contents="q"), {"input_tokens": 19}),
    "bedrock: converse": (bedrock, lambda c: told(c.converse(**ASKED)), CONVERSE),
    "bedrock: converse stream": (bedrock, lambda c: list(c.converse_stream(**ASKED)["stream"]), CONVERSE),
    "bedrock: invoke": (bedrock, lambda c: c.invoke_model(modelId=CLAUDE, body="{}")["body"].read(), INVOKE),
    "bedrock: invoke, in pieces": (
        bedrock,
        lambda c: list(c.invoke_model(modelId=CLAUDE, body="{}")["body"].iter_chunks(16)),
        INVOKE,
    ),
    "bedrock: invoke, of another": (
        bedrock,
        lambda c: c.invoke_model(modelId="meta.llama3-8b-instruct-v1:0", body="{}")["body"].read(),
        INVOKE,
    ),
    "bedrock: invoke stream": (
        bedrock,
        lambda c: list(c.invoke_model_with_response_stream(modelId=CLAUDE, body="{}")["body"]),
        INVOKE,
    ),
}
PROVIDERS = {"bedrock": "aws.bedrock", "mistralai": "mistral_ai", "gemini": "gcp.gemini"}


@pytest.mark.parametrize("case", CASES)
def test_a_call_is_one_event_with_the_providers_usage_and_is_otherwise_unchanged(case, meter, families):
    make, call, usage = CASES[case]
    name = case.partition(":")[0].partition(" ")[0]
    instrument.deactivate()
    bare = seen(call(make(families.url)))
    sent_bare = families.requests[-1]
    families.billed.clear()
    meter.instrument()
    try:
        assert seen(call(make(families.url))) == bare
    finally:
        instrument.deactivate()
    path, headers, body = families.requests[-1]
    assert (path, body) == (sent_bare[0], sent_bare[2])
    assert headers.keys() == sent_bare[1].keys()
    (event,) = events_of(meter)
    assert len(families.billed) == 1
    assert {unit: count for unit, count in event["usage"].items() if count} == usage
    assert (event["usage_status"], event["status"], event["model"]) == ("complete", "success", families.billed[0]["model"])
    assert event["provider"] == PROVIDERS.get(name, name)
    assert event["latency_ms"] > 0
    assert len(event["call_id"]) == 16
    assert "secret" not in json.dumps(event)
    if "stream" in case:
        assert event["ttft_ms"] > 0


ASYNC = {
    "mistralai": lambda url: [
        mistral(url).chat.complete_async(model="mistral-large", messages=QUESTION),
        all_in(mistral(url).chat.stream_async(model="mistral-large", messages=QUESTION)),
    ],
    "groq": lambda url: [
        groq.AsyncGroq(api_key="k", base_url=url).chat.completions.create(model="groq-m", messages=QUESTION),
        all_of(groq.AsyncGroq(api_key="k", base_url=url).chat.completions.create(model="groq-m", messages=QUESTION, stream=True)),
    ],
    "together": lambda url: [
        together.AsyncTogether(api_key="k", base_url=f"{url}/v1").chat.completions.create(model="m", messages=QUESTION),
        all_of(
            together.AsyncTogether(api_key="k", base_url=f"{url}/v1").chat.completions.create(
                model="m", messages=QUESTION, stream=True
            )
        ),
    ],
    "cohere": lambda url: [
        cohere.AsyncClientV2(api_key="k", base_url=url).chat(model="command", messages=QUESTION),
        all_of(cohere.AsyncClientV2(api_key="k", base_url=url).chat_stream(model="command", messages=QUESTION)),
    ],
    "ollama": lambda url: [
        ollama.AsyncClient(host=url).chat(model="llama3", messages=QUESTION),
        all_of(ollama.AsyncClient(host=url).chat(model="llama3", messages=QUESTION, stream=True)),
    ],
    "gemini": lambda url: [
        kept(gemini(url)).aio.models.generate_content(model="gemini-2.5-flash", contents="q"),
        all_of(kept(gemini(url)).aio.models.generate_content_stream(model="gemini-2.5-flash", contents="q")),
    ],
}
"""By family: a call, and one that streams."""
USAGES = {"cohere": COHERE, "ollama": OLLAMA, "gemini": GEMINI}


_clients: list[object] = []


def kept(client):
    """Keep a client, which closes its connections when it is collected."""
    _clients.append(client)
    return client


async def all_of(stream):
    stream = await stream if hasattr(stream, "__await__") else stream
    return [item async for item in stream]


async def all_in(stream):
    async with await stream as events:
        return [item async for item in events]


@pytest.mark.parametrize("name", ASYNC)
def test_async_clients_are_metered(name, metered, families):
    async def work():
        for call in ASYNC[name](families.url):
            assert await call

    asyncio.run(work())
    usages = [{unit: count for unit, count in event["usage"].items() if count} for event in events_of(metered)]
    assert usages == [USAGES.get(name, CHAT)] * 2


def test_a_retried_call_is_one_event(metered, families):
    assert cohere_second(families.url).chat(model="command-flaky", messages=QUESTION)
    assert groq.Groq(api_key="k", base_url=families.url).chat.completions.create(model="groq-flaky", messages=QUESTION)
    assert [event["provider"] for event in events_of(metered)] == ["cohere", "groq"]
    assert len(families.billed) == 2


def test_a_bedrock_body_can_be_read_by_lines_and_copied(metered, families):
    import copy

    body = bedrock(families.url).invoke_model(modelId=CLAUDE, body="{}")["body"]
    copy.copy(body._raw_stream)
    with body as raw:
        assert b"".join(raw).startswith(b"{")
    (event,) = events_of(metered)
    assert event["usage"]["cache_write_1h_tokens"] == 499


def test_an_abandoned_stream_is_one_event(metered, families):
    google, command = gemini(families.url), cohere_second(families.url)
    next(iter(ollama.Client(host=families.url).chat(model="llama3", messages=QUESTION, stream=True)))
    next(iter(google.models.generate_content_stream(model="gemini-2.5-flash", contents="q")))
    next(iter(command.chat_stream(model="command", messages=QUESTION)))
    with mistral(families.url).chat.stream(model="mistral-large", messages=QUESTION) as stream:
        next(iter(stream))
    gc.collect()
    events = events_of(metered)
    assert sorted((event["provider"], event["usage_status"]) for event in events) == [
        ("cohere", "missing"),
        ("gcp.gemini", "partial"),
        ("mistral_ai", "missing"),
        ("ollama", "missing"),
    ]
    assert len(families.billed) == 4


@pytest.mark.parametrize("model", ["error", "never"])
def test_a_rejected_stream_is_an_error_and_an_unread_one_is_no_event(model, metered, families):
    google = gemini(families.url)
    for stream in (
        ollama.Client(host=families.url).chat(model=model, messages=QUESTION, stream=True),
        google.models.generate_content_stream(model=model, contents="q"),
    ):
        if model == "error":
            with pytest.raises(Exception, match="no"):
                list(stream)
        else:
            stream.close()
    gc.collect()
    # An unread stream has made no request. A rejection is a failed call without usage.
    found = {(event["status"], event["usage_status"]) for event in events_of(metered)}
    assert found == ({("error", "missing")} if model == "error" else set())


def test_a_stream_has_the_attribution_of_its_call(metered, families):
    google = gemini(families.url)
    with taximeter.attribute(team="caller"):
        streams = [
            ollama.Client(host=families.url).chat(model="llama3", messages=QUESTION, stream=True),
            google.models.generate_content_stream(model="gemini-2.5-flash", contents="q"),
            cohere_second(families.url).chat_stream(model="command", messages=QUESTION),
        ]
    with taximeter.attribute(team="reader"):
        for stream in streams:
            list(stream)
    assert [event["team"] for event in events_of(metered)] == ["caller"] * 3


def test_keywords_are_not_sent_to_providers(metered, families):
    url = families.url
    google = gemini(url)
    mistral(url).chat.complete(model="mistral-large", messages=QUESTION, taximeter_team="t")
    google.models.generate_content(model="gemini-2.5-flash", contents="q", taximeter_team="t")
    list(google.models.generate_content_stream(model="gemini-2.5-flash", contents="q", taximeter_team="t"))
    cohere_second(url).chat(model="command", messages=QUESTION, taximeter_team="t")
    list(cohere_first(url).chat_stream(model="command", message="q", taximeter_team="t"))
    ollama.Client(host=url).chat(model="llama3", messages=QUESTION, taximeter_team="t")
    groq.Groq(api_key="k", base_url=url).chat.completions.create(model="groq-m", messages=QUESTION, taximeter_team="t")
    together.Together(api_key="k", base_url=url).chat.completions.create(model="m", messages=QUESTION, taximeter_team="t")
    assert [event["team"] for event in events_of(metered)] == ["t"] * 8
    for path, headers, body in families.requests:
        assert "taximeter" not in (path + json.dumps(headers) + body.decode()).lower()


def test_headers_of_a_call_are_not_sent_to_providers(metered, families):
    url, headers = families.url, {"X-Taximeter-Team": "t", "x-taximeter-tag-plan": "pro", "x-kept": "1"}
    mistral(url).chat.complete(model="mistral-large", messages=QUESTION, http_headers=headers)
    google = gemini(url)
    for options in ({"headers": headers}, types.HttpOptions(headers=headers)):
        config = {"http_options": options}
        google.models.generate_content(model="gemini-2.5-flash", contents="q", config=config)
        google.models.generate_content(model="gemini-2.5-flash", contents="q", config=types.GenerateContentConfig(**config))
    cohere_second(url).chat(model="command", messages=QUESTION, request_options={"additional_headers": headers})
    groq.Groq(api_key="k", base_url=url).chat.completions.create(model="groq-m", messages=QUESTION, extra_headers=headers)
    assert [(event["team"], event["tags"]) for event in events_of(metered)] == [("t", {"plan": "pro"})] * 7
    assert headers.keys() == {"X-Taximeter-Team", "x-taximeter-tag-plan", "x-kept"}
    for _, sent, _ in families.requests:
        assert sent["x-kept"] == "1"
        assert not [name for name in sent if "taximeter" in name]


def test_headers_of_clients_and_of_unmetered_methods_are_not_sent_to_providers(metered, families):
    url, headers = families.url, {"x-taximeter-team": "t", "x-kept": "1"}
    google = genai.Client(api_key="k", http_options={"base_url": url, "headers": dict(headers)})
    google.models.generate_content(model="gemini-2.5-flash", contents="q")
    ollama.Client(host=url, headers=dict(headers)).chat(model="llama3", messages=QUESTION)

    with contextlib.suppress(Exception):  # the fake provider's response does not matter
        cohere_second(url).tokenize(text="x", model="command", offline=False, request_options={"additional_headers": headers})
    with contextlib.suppress(Exception):
        mistral(url).audio.transcriptions.complete(model="voxtral", file_url="https://x/y.mp3", http_headers=headers)
    assert len(families.requests) == 4
    for _, sent, _ in families.requests:
        assert sent["x-kept"] == "1"
        assert not [name for name in sent if "taximeter" in name]


def test_an_invalid_attribution_keeps_the_other_fields(metered, families):
    groq.Groq(api_key="k", base_url=families.url).chat.completions.create(
        model="groq-m", messages=QUESTION, taximeter_team="t", taximeter_agent=object(), taximeter_tags={"a": "b"}
    )
    (event,) = events_of(metered)
    assert (event["team"], event["tags"], "agent" in event) == ("t", {"a": "b"}, False)


def test_threads_of_cohere_v1_have_the_callers_attribution(metered, families):
    client = cohere_first(families.url)
    texts = [f"text {number}" for number in range(300)]
    for _ in range(2):
        answer = client.embed(texts=texts, model="embed", input_type="search_query", taximeter_team="t")
    assert answer.embeddings
    events = events_of(metered)
    assert [event["team"] for event in events] == ["t"] * 8
    assert len({event["call_id"] for event in events}) == 2


def test_a_stream_without_parts_has_the_requested_model(metered, families):
    with mistral(families.url).chat.stream(model="mistral-cut-0", messages=QUESTION):
        pass
    (event,) = events_of(metered)
    assert (event["model"], event["usage_status"]) == ("mistral-cut-0", "missing")


def test_requests_of_geminis_function_calling_are_one_call(metered, families):
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    google = gemini(families.url)
    answer = google.models.generate_content(model="gemini-2.5-flash", contents="q", config={"tools": [weather]})
    assert answer.text
    first, second = events_of(metered)
    assert len(families.billed) == 2
    assert first["call_id"] == second["call_id"]


@pytest.mark.parametrize("model", ["error", "html"])
def test_clients_handle_wrong_responses_themselves(model, meter, families):
    calls = {
        "mistral": lambda: mistral(families.url).chat.complete(model=model, messages=QUESTION),
        "gemini": lambda: gemini(families.url).models.generate_content(model=model, contents="q"),
        "cohere": lambda: cohere_second(families.url).chat(model=model, messages=QUESTION),
        "ollama": lambda: ollama.Client(host=families.url).chat(model=model, messages=QUESTION),
    }

    def outcome(call):
        try:
            return seen(call())
        except Exception as error:
            return type(error)

    bare = {name: outcome(call) for name, call in calls.items()}
    meter.instrument()
    try:
        assert {name: outcome(call) for name, call in calls.items()} == bare
    finally:
        instrument.deactivate()
    events = events_of(meter)
    assert {event["usage_status"] for event in events} <= {"missing"}
    if model == "error":
        assert [event["status"] for event in events] == ["error"] * len(calls)


def test_a_wrapped_client_is_metered_and_others_are_not(state, families):
    instrument.deactivate()
    taximeter.init(instrument=False, state_dir=state)
    for make, call, _ in (CASES[name] for name in ("mistralai: complete", "cohere v2: chat", "ollama: chat", "gemini: generate")):
        wrapped = make(families.url)
        assert taximeter.wrap(wrapped) is wrapped
        call(wrapped)
        call(make(families.url))
    taximeter.flush()
    assert taximeter.Ledger(state / "ledger.db").report("provider").total.calls == 4
    taximeter.close()
