"""Other endpoints, hosts and flavours of clients: images, audio, deferred responses, batches and interactions."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator

import anthropic
import httpx2
import openai
import pytest
from google import genai

import taximeter
from conftest import events_of
from fake_endpoints import ROWS, FakeEndpoints
from taximeter import instrument
from test_families import seen

QUESTION = [{"role": "user", "content": "a secret question"}]
RESPONSE = {"input_tokens": 557, "output_tokens": 563, "cache_read_tokens": 113, "output_reasoning_tokens": 127}
IMAGES = {"input_tokens": 503, "output_tokens": 509, "input_image_tokens": 11, "output_image_tokens": 509}
TRANSCRIPT = {"input_tokens": 521, "output_tokens": 523, "input_audio_tokens": 513}
COMPLETION = {"input_tokens": 541, "output_tokens": 547}
INTERACTION = {"input_tokens": 593, "output_tokens": 599 + 601, "cache_read_tokens": 131, "output_reasoning_tokens": 601}
CHAT = {"input_tokens": 1009, "output_tokens": 307, "cache_read_tokens": 503, "output_reasoning_tokens": 101}
CLAUDE = {
    "input_tokens": 1021, "output_tokens": 53, "cache_read_tokens": 709, "cache_write_tokens": 101, "cache_write_5m_tokens": 101,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def endpoints() -> Iterator[FakeEndpoints]:
    with FakeEndpoints() as server:
        yield server
        gc.collect()


def gpt(url):
    return openai.OpenAI(api_key="k", base_url=f"{url}/v1")


def azure(url):
    return openai.AzureOpenAI(api_key="k", azure_endpoint=url, api_version="2024-10-21")


def vertex(url):
    return anthropic.AnthropicVertex(region="europe-west4", project_id="p", access_token="k", base_url=f"{url}/v1")


def gemini(url):
    return genai.Client(api_key="k", http_options={"base_url": url})


def sound():
    file = io.BytesIO(b"RIFF")
    file.name = "a.wav"
    return file


def transcribe(client, model, **more):
    return client.audio.transcriptions.create(model=model, file=sound(), **more)


CASES = {
    "openai: images": (gpt, lambda c: c.images.generate(model="gpt-image-1", prompt="q"), IMAGES),
    "openai: image stream": (gpt, lambda c: list(c.images.generate(model="gpt-image-1", prompt="q", stream=True)), IMAGES),
    "openai: transcription": (gpt, lambda c: transcribe(c, "gpt-4o-transcribe"), TRANSCRIPT),
    "openai: transcription stream": (gpt, lambda c: list(transcribe(c, "gpt-4o-transcribe", stream=True)), TRANSCRIPT),
    "openai: transcription by time": (gpt, lambda c: transcribe(c, "whisper-1"), {"audio_seconds": 7.5, "input_audio_seconds": 7.5}),
    "openai: speech": (gpt, lambda c: c.audio.speech.create(model="tts-1", input="q", voice="alloy").read(), {"input_characters": 1}),
    "openai: legacy completions": (gpt, lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="q"), COMPLETION),
    "openai: legacy completions stream": (
        gpt,
        lambda c: list(
            c.completions.create(
                model="gpt-3.5-turbo-instruct", prompt="q", stream=True, stream_options={"include_usage": True}
            )
        ),
        COMPLETION,
    ),
    "openai: decisions": (gpt, lambda c: c.decisions.create(model="gpt-4.1", input="q", questions=[]), RESPONSE),
    "openai: beta responses": (
        gpt,
        lambda c: c.beta.responses.create(model="gpt-4.1", input="q"),
        {"input_tokens": 1013, "output_tokens": 311, "cache_read_tokens": 509, "output_reasoning_tokens": 103},
    ),
    "openai: parse": (gpt, lambda c: c.chat.completions.parse(model="gpt-4o", messages=QUESTION), CHAT),
    "openai: azure": (azure, lambda c: c.chat.completions.create(model="gpt-4o", messages=QUESTION), CHAT),
    "openai: azure stream": (
        azure,
        lambda c: list(
            c.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True})
        ),
        CHAT,
    ),
    "gemini: interaction": (gemini, lambda c: c.interactions.create(model="gemini-2.5-flash", input="q"), INTERACTION),
    "gemini: interaction stream": (
        gemini,
        lambda c: list(c.interactions.create(model="gemini-2.5-flash", input="q", stream=True)),
        INTERACTION,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_call_is_one_event_with_the_providers_usage_and_is_otherwise_unchanged(case, meter, endpoints):
    make, call, usage = CASES[case]
    instrument.deactivate()
    bare = seen(call(make(endpoints.url)))
    sent_bare = endpoints.requests[-1]
    endpoints.billed.clear()
    meter.instrument()
    try:
        assert seen(call(make(endpoints.url))) == bare
    finally:
        instrument.deactivate()
    path, headers, body = endpoints.requests[-1]
    assert (path, headers.keys()) == (sent_bare[0], sent_bare[1].keys())
    if "transcription" not in case:  # the boundary of a form is random
        assert body == sent_bare[2]
    (event,) = events_of(meter)
    assert len(endpoints.billed) == 1
    assert {unit: count for unit, count in event["usage"].items() if count} == usage
    assert event["usage_status"] == ("complete" if usage else "missing")
    assert event["provider"] == {"azure": "azure.ai.openai", "gemini": "gcp.gemini"}.get(make.__name__, "openai")
    assert event["model"] == ("whisper-1" if "time" in case else endpoints.billed[0]["model"])
    assert "secret" not in json.dumps(event)
    if not usage:
        assert meter.stats()["remarks"]["usage_not_json"] == 1


def test_usage_of_server_side_tools_is_a_separate_event(metered, endpoints):
    gpt(endpoints.url).responses.create(model="gpt-4.1-tools", input="q")
    own, images = sorted(events_of(metered), key=lambda event: event["model"] != "gpt-4.1-tools")
    assert (own["usage"]["input_tokens"], own["usage"]["web_searches"]) == (557, 3)
    assert (images["model"], images["usage"]["output_image_tokens"]) == ("gpt-image-1", 613)
    assert images["call_id"] == own["call_id"]


@pytest.mark.way("openai", "background response")
def test_a_background_response_is_one_event_when_it_is_fetched(metered, endpoints):
    client = gpt(endpoints.url)
    begun = client.responses.create(model="gpt-4.1", input="q", background=True)
    states = [client.responses.retrieve(begun.id).status for _ in range(4)]
    assert states == ["in_progress", *["completed"] * 3]
    # This response was already counted when it was created.
    client.responses.retrieve("resp_stored")
    (event,) = events_of(metered)
    assert {unit: count for unit, count in event["usage"].items() if count} == RESPONSE
    assert (event["model"], event["usage_status"]) == ("gpt-4.1", "complete")


@pytest.mark.way("google.genai", "background interaction")
def test_an_interaction_in_the_background_is_one_event_when_it_is_fetched(metered, endpoints):
    client = gemini(endpoints.url)
    begun = client.interactions.create(model="deep", input="q", background=True)
    for _ in range(3):
        client.interactions.get(begun.id)
    client.interactions.get("another")
    (event,) = events_of(metered)
    assert {unit: count for unit, count in event["usage"].items() if count} == INTERACTION


@pytest.mark.way("openai", "batch")
def test_a_batch_is_one_event_when_it_is_done(metered, endpoints):
    client = gpt(endpoints.url)
    for name in ("batch_1", "batch_done", "batch_done"):
        client.batches.retrieve(name)
    (event,) = events_of(metered)
    assert (event["usage"]["input_tokens"], event["usage"]["output_tokens"], event["batch"]) == (569, 571, True)
    assert event["cost_usd"] is not None


@pytest.mark.way("anthropic", "batch results")
@pytest.mark.parametrize("name", ["msgbatch_plain", "msgbatch_zipped"])
def test_each_result_of_a_batch_is_one_event(metered, endpoints, name):
    def answer(request):
        return httpx2.Response(200, json={"id": name, "results_url": f"{endpoints.url}/v1/messages/batches/{name}/results"})

    # The batch names the URL of its results at the provider. Here it names the fake provider's.
    class Batches(httpx2.BaseTransport):
        def __init__(self):
            self.inner = httpx2.HTTPTransport()

        def handle_request(self, request):
            return self.inner.handle_request(request) if request.url.path.endswith("/results") else answer(request)

    client = anthropic.Anthropic(api_key="k", base_url=endpoints.url, http_client=httpx2.Client(transport=Batches()))
    for _ in range(2):
        assert len(list(client.messages.batches.results(name))) == ROWS + 1
    events = events_of(metered)
    assert len(events) == ROWS
    assert {(event["model"], event["usage"]["input_tokens"], event["batch"]) for event in events} == {("claude-sonnet-5", 577, True)}


def test_batch_results_have_the_attribution_of_the_fetching_call(metered, endpoints):
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, json={"id": "b", "results_url": f"{endpoints.url}/v1/messages/batches/x"})
    )
    client = anthropic.Anthropic(api_key="k", base_url=endpoints.url)
    with anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as _, taximeter.attribute(team="acme"):
        raw = client.messages.batches.with_raw_response
        # The client asks for the URL of the results, and gets the fake provider's.
        client.messages.batches.retrieve = lambda *_, **__: type("Batch", (), {"results_url": "/v1/messages/batches/own/results"})()
        rows = client.messages.batches.results("own")
    assert raw
    assert len(list(rows)) == ROWS + 1
    assert {event["team"] for event in events_of(metered)} == {"acme"}


def test_counting_tokens_is_not_recorded(metered, endpoints):
    vertex(endpoints.url).messages.count_tokens(model="claude-sonnet-5", messages=QUESTION)
    assert events_of(metered) == []


class Through(httpx2.BaseTransport):
    """Sends requests for other hosts to the fake provider."""

    def __init__(self, url: str) -> None:
        self.inner = httpx2.HTTPTransport()
        self.target = httpx2.URL(url)

    def handle_request(self, request):
        url = request.url.copy_with(scheme="http", host=self.target.host, port=self.target.port)
        return self.inner.handle_request(httpx2.Request(request.method, url, headers=request.headers, content=request.read()))


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.x.ai/v1", "x_ai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://name.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "aws.bedrock"),
        ("https://europe-west4-aiplatform.googleapis.com/v1/openapi", "gcp.vertex_ai"),
        # A part of the host's name does not count: these are other providers.
        ("https://api.openai.com.example.org/v1", "openai"),
        ("https://my-deepseek.example.org/v1", "openai"),
        ("http://vllm.internal:8000/v1", "openai"),
    ],
)
def test_the_provider_is_recognised_by_the_host(metered, endpoints, base_url, provider):
    transport = httpx2.Client(transport=Through(endpoints.url))
    with openai.OpenAI(api_key="k", base_url=base_url, http_client=transport) as client:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
        assert list(client.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True))
    first, second = events_of(metered)
    assert first["provider"] == second["provider"] == provider
    asks = [b"stream_options" in body for _, _, body in endpoints.requests]
    assert asks == [
        False,
        base_url.startswith(("https://api.openai.com/", "https://eu.api", "https://name.openai.azure.com/openai/v1")),
    ]


def anthropic_call(client, *, stream=False):
    result = client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=QUESTION, stream=stream)
    return list(result) if stream else result


@pytest.mark.way("anthropic", "Bedrock", "Bedrock stream", "Vertex", "Vertex stream")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("flavour", ["vertex", "bedrock"])
def test_anthropic_on_other_clouds_is_metered(flavour, stream, meter, endpoints):
    def client():
        if flavour == "vertex":
            return vertex(endpoints.url)
        keys = {"aws_access_key": "k", "aws_secret_key": "k", "aws_region": "us-east-1"}
        return anthropic.AnthropicBedrock(**keys, base_url=endpoints.url)

    instrument.deactivate()
    bare = seen(anthropic_call(client(), stream=stream))
    meter.instrument()
    try:
        assert seen(anthropic_call(client(), stream=stream)) == bare
    finally:
        instrument.deactivate()
    (event,) = events_of(meter)
    assert {unit: count for unit, count in event["usage"].items() if count} == CLAUDE
    assert event["provider"] == {"vertex": "gcp.vertex_ai", "bedrock": "aws.bedrock"}[flavour]
    assert event["usage_status"] == "complete"
