"""Costs that users of other trackers reported as wrong. Each test uses the real client whose response was misread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest
from anthropic import Anthropic, AnthropicVertex
from google import genai
from openai import OpenAI

import taximeter
from conftest import events_of
from taximeter import _default

Answer = Callable[[httpx2.Request], httpx2.Response]


def web(answer: Any, **headers: str) -> httpx2.Client:
    """Return a transport with the same response for each request: JSON, or the bytes of a stream."""
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    headers.setdefault("content-type", "text/event-stream" if isinstance(answer, bytes) else "application/json")
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=content)))


def stream(*parts: object) -> bytes:
    return "".join(f"data: {json.dumps(part)}\n\n" for part in parts).encode() + b"data: [DONE]\n\n"


def chunk(delta: object, **choice: object) -> dict[str, Any]:
    answer = {"index": 0, "delta": delta, "finish_reason": None, **choice}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [answer]}


@pytest.fixture
def metered(state: Path) -> Iterator[taximeter.Meter]:
    """Yield the default meter, with all clients metered."""
    # The default meter keeps what an earlier test of this process has set.
    taximeter.init(state_dir=state, instrument=True)
    yield _default.default_meter
    taximeter.uninstrument()
    taximeter.close()


def only(meter: taximeter.Meter) -> dict[str, Any]:
    """Return the only event of a meter."""
    (event,) = events_of(meter)
    return event


def ask(client: OpenAI, **options: Any) -> None:
    options = {"model": "m-1", "messages": [{"role": "user", "content": "x"}]} | options
    answer = client.chat.completions.create(**options)
    if options.get("stream"):
        list(answer)


def gemini(answer: dict[str, Any], model: str, *, vertexai: bool | None = None, **headers: str) -> None:
    options = {"httpx_client": web(answer, **headers)}
    genai.Client(api_key="x", vertexai=vertexai, http_options=options).models.generate_content(model=model, contents="x")


def grounded(model: str, queries: list[str], **usage: Any) -> dict[str, Any]:
    candidate = {
        "content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP",
        "groundingMetadata": {"webSearchQueries": queries},
    }  # fmt: skip
    counts = {"promptTokenCount": 100, "candidatesTokenCount": 50, "totalTokenCount": 150, **usage}
    return {"candidates": [candidate], "modelVersion": model, "usageMetadata": counts}


@pytest.mark.parametrize(
    ("model", "cost"), [("gemini-3-flash-preview", "0.0282"), ("gemini-2.5-flash", "0.035155")]
)  # fmt: skip
def test_grounding_of_a_gemini_response_is_billed(metered, model, cost):
    gemini(grounded(model, ["price a", "price b", "price a"]), model)
    assert only(metered)["cost_usd"] == cost


@pytest.mark.parametrize(
    ("kind", "times", "unit", "cost"),
    [
        ("web_search_call", 2, "web_searches", "0.02225"),
        ("file_search_call", 2, "storage_searches", "0.00725"),
        ("code_interpreter_call", 2, "code_executions", "0.00225"),
    ],
)
def test_hosted_tools_of_a_response_are_billed(metered, kind, times, unit, cost):
    items = [{"type": kind, "id": f"i{n}", "status": "completed", "container_id": f"c{n}", "queries": ["x"]} for n in range(times)]
    usage = {
        "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    body = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed", "tools": [], "output": items}
    OpenAI(api_key="x", http_client=web({**body, "usage": usage})).responses.create(model="gpt-5", input="x")
    event = only(metered)
    assert (event["usage"][unit], event["cost_usd"]) == (times, cost)
    assert event.get("cost_notes", []) == (["unit_without_rate"] if unit == "code_executions" else [])


def test_gemini_thinking_tokens_in_openais_format_are_billed(metered):
    usage = {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "gemini-2.5-flash", "choices": [], "usage": usage}
    url = "https://generativelanguage.googleapis.com/v1beta/openai/"
    ask(OpenAI(api_key="x", base_url=url, http_client=web(body)), model="gemini-2.5-flash")
    event = only(metered)
    assert (event["provider"], event["usage"]["output_tokens"]) == ("gcp.gemini", 996)


def test_a_total_above_its_parts_is_noted(metered):
    usage = {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [], "usage": usage}
    ask(OpenAI(api_key="x", http_client=web(body)), model="gpt-4o")
    event = only(metered)
    assert (event["usage"]["output_tokens"], event["cost_notes"]) == (424, ["unaccounted_tokens"])
    metered.reprice()
    assert only(metered)["cost_notes"] == ["unaccounted_tokens"]


def test_images_without_a_breakdown_are_billed_as_images(metered):
    usage = {"input_tokens": 23, "output_tokens": 1056, "total_tokens": 1079, "input_tokens_details": {"text_tokens": 23}}
    body = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage}
    OpenAI(api_key="x", http_client=web(body)).images.generate(model="gpt-image-1.5", prompt="x")
    assert only(metered)["cost_usd"] == "0.033907"


def test_usage_in_the_last_choice_of_a_stream_is_read(metered):
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32}
    parts = stream(chunk({"content": "ok"}), chunk({}, finish_reason="stop", usage=usage))
    ask(OpenAI(api_key="x", base_url="https://api.moonshot.ai/v1", http_client=web(parts)), model="moonshot-v1-8k", stream=True)
    event = only(metered)
    assert (event["usage"], event["usage_status"]) == ({"input_tokens": 19, "output_tokens": 13}, "complete")


def test_an_empty_model_name_does_not_replace_the_real_one(metered):
    first = {**chunk({"role": "assistant"}), "model": ""}
    last = {**chunk({}), "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}
    parts = stream(first, {**chunk({"content": "a"}), "model": "gpt-4o"}, last)
    ask(OpenAI(api_key="x", http_client=web(parts)), model="deployment", stream=True, stream_options={"include_usage": True})
    assert only(metered)["model"] == "gpt-4o"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8", ""])
def test_a_stream_with_another_content_type_is_read(metered, content_type):
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    parts = stream(chunk({"content": "a"}), {**chunk({}), "choices": [], "usage": usage})
    transport = web(parts, **{"content-type": content_type})
    ask(OpenAI(api_key="x", base_url="https://api.groq.com/openai/v1", http_client=transport), stream=True)
    event = only(metered)
    assert (event["usage"]["output_tokens"], event["usage_status"]) == (5, "complete")


def test_an_error_in_a_response_with_status_200_is_an_error(metered):
    body = {"error": {"message": "the prompt of Ann is bad", "type": "server_error"}}
    ask(OpenAI(api_key="x", http_client=web(body)))
    event = only(metered)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "server_error", "missing")


def test_inference_in_the_united_states_has_its_own_price(metered):
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "standard", "inference_geo": "us"}
    body = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    messages = [{"role": "user", "content": "x"}]
    Anthropic(api_key="x", http_client=web(body)).messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=messages)
    event = only(metered)
    assert (event["cost_usd"], event["region"]) == ("0.00495", "us")


@pytest.mark.parametrize(("region", "cost"), [("us-east5", "0.0033"), ("global", "0.003")])
def test_a_regional_endpoint_of_vertex_has_its_own_price(metered, region, cost):
    usage = {"input_tokens": 1000, "output_tokens": 0}
    body = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    client = AnthropicVertex(region=region, project_id="p", access_token="x", http_client=web(body))
    client.messages.create(model="claude-sonnet-4-5@20250929", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    event = only(metered)
    assert (event["region"], event["cost_usd"]) == (region, cost)


@pytest.mark.parametrize(
    ("host", "model", "cost", "notes"),
    [
        ("api.openai.com", "gpt-4o", "0.0025", []),
        ("eu.api.openai.com", "gpt-4o", "0.0025", ["region_without_rates"]),
        ("eu.api.openai.com", "gpt-5.4", "0.00275", []),
    ],
)
def test_a_regional_host_of_openai_has_its_own_price(metered, host, model, cost, notes):
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [], "usage": usage}
    ask(OpenAI(api_key="x", base_url=f"https://{host}/v1", http_client=web(body)), model=model)
    event = only(metered)
    assert (event["cost_usd"], event.get("cost_notes", [])) == (cost, notes)


def test_flex_at_vertex_has_its_own_price(metered):
    counts = {"promptTokenCount": 4061, "candidatesTokenCount": 25, "totalTokenCount": 4086, "trafficType": "ON_DEMAND_FLEX"}
    gemini(grounded("gemini-3.5-flash-lite", [], **counts), "gemini-3.5-flash-lite", vertexai=True)
    event = only(metered)
    assert (event["service_tier"], event["cost_usd"], event.get("cost_notes")) == ("flex", "0.0006404", None)


def test_the_tier_in_a_header_of_gemini_is_read(metered):
    answer = grounded("gemini-2.5-flash", [], promptTokenCount=1000, candidatesTokenCount=0, totalTokenCount=1000)
    gemini(answer, "gemini-2.5-flash", **{"x-gemini-service-tier": "PRIORITY"})
    event = only(metered)
    assert (event["service_tier"], event["cost_usd"]) == ("priority", "0.00054")


class Bedrock:
    """A server with the same body for every request."""

    def __init__(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}"
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_the_model_that_a_bedrock_prompt_router_invoked_is_priced(metered):
    invoked = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-5-sonnet-20240620-v1:0"
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}}, "stopReason": "end_turn",
        "metrics": {"latencyMs": 1}, "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100},
        "trace": {"promptRouter": {"invokedModelId": invoked}},
    }  # fmt: skip
    router = "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/anthropic.claude:1"
    with Bedrock(answer) as client:
        client.converse(modelId=router, messages=[{"role": "user", "content": [{"text": "x"}]}])
    event = only(metered)
    assert (event["model"], event["cost_usd"]) == (invoked, "0.0045")


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("amazon.titan-text-express-v1", {"inputTextTokenCount": 7, "results": [{"tokenCount": 3, "outputText": "a"}]}),
        ("meta.llama3-8b-instruct-v1:0", {"generation": "a", "prompt_token_count": 7, "generation_token_count": 3}),
        ("amazon.nova-pro-v1:0", {"usage": {"inputTokens": 7, "outputTokens": 3}, "stopReason": "end_turn"}),
        ("ai21.jamba-1-5-mini-v1:0", {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}),
    ],
)
def test_usage_in_bedrock_bodies_without_counts_in_headers_is_read(metered, model, answer):
    with Bedrock(answer) as client:
        client.invoke_model(modelId=model, body=b"{}")["body"].read()
    event = only(metered)
    assert (event["usage"], event["usage_status"]) == ({"input_tokens": 7, "output_tokens": 3}, "complete")


@pytest.mark.parametrize(("model", "characters", "cost"), [("tts-1", 1000, "0.015"), ("tts-1-hd", 10, "0.0003")])
def test_speech_billed_by_the_character_has_a_cost(metered, model, characters, cost):
    before = metered.stats()["remarks"]["usage_not_json"]
    transport = web(b"ID3\x04\x00" * 50, **{"content-type": "audio/mpeg"})
    OpenAI(api_key="x", http_client=transport).audio.speech.create(model=model, voice="alloy", input="é" * characters)
    event = only(metered)
    assert (event["usage"], event["cost_usd"]) == ({"input_characters": characters}, cost)
    assert metered.stats()["remarks"]["usage_not_json"] == before


def test_a_rate_for_input_only_leaves_output_unpriced(state):
    rates = {"openai/gpt-4o": {"input_tokens": {"per_1m": 2}}}
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    meter = taximeter.Meter(state_dir=state, prices={"rates": rates})
    assert (cost := meter.price("gpt-4o", usage, "openai")).usd is None
    assert (cost.status, cost.notes) == ("unpriced", ("unit_without_rate",))
    based = taximeter.Meter(state_dir=state, prices={"rates": {"openai/gpt-4o": {"base": "catalog", **rates["openai/gpt-4o"]}}})
    assert based.price("gpt-4o", usage, "openai").usd == Decimal(12)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"rates": {"gpt-4o": {"input_tokens": 2.5}}}, "rates.gpt-4o.input_tokens: 2.5 has no denominator; write { per_1m = 2.5 }"),
        ({"rates": {"openai/gpt-4.1": {"tokens": {"per_1m": 1}}}}, 'rates."openai/gpt-4.1": "tokens" is not a unit of usage'),
        ({"rates": {"gpt-4o": 2.5}}, "rates.gpt-4o: "),
        ({"free": "ollama/*"}, "free: 'ollama/*' is not a list"),
    ],
)
def test_an_error_in_prices_names_the_place_and_the_remedy(state, prices, message):
    with pytest.raises(taximeter.ConfigError) as refusal:
        taximeter.Meter(state_dir=state, prices=prices).price("x", {"input_tokens": 1})
    assert message in str(refusal.value)


def test_rules_without_a_match_are_logged(state, caplog):
    taximeter.Meter(state_dir=state, prices={"multipliers": {"opnai/*": 0.9, "openai/*": 1}, "aliases": {"azure/x": "openai/gtp-4o"}})
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and 'multipliers."opnai/*" matches no priced model' in told[0] + told[1]


def test_models_of_the_users_own_server_can_be_free(state):
    meter = taximeter.Meter(state_dir=state, prices={"free": ["ollama/*"]})
    meter.track(provider="ollama", model="llama3.2:1b", input_tokens=3, output_tokens=5)
    meter.track(provider="ollama", model="llama3.2:1b", usage_status="missing")
    events = events_of(meter)
    assert [(event["cost_usd"], event["cost_status"]) for event in events] == [("0", "free")] * 2
    meter.close(5)


def test_the_cost_of_an_unknown_name_has_suggestions():
    cost = taximeter.price("gpt-4o-mni", {"input_tokens": 1}, "openai")
    assert cost.usd is None and "gpt-4o-mini" in cost.suggestions
    assert "gpt-4o-mini" in cost.explain()
    assert taximeter.price("gpt-4o", {"input_tokens": 1}).suggestions == ()


def test_settings_files_may_have_a_byte_order_mark_and_errors_name_them(state, tmp_path):
    toml, rates = tmp_path / "mine.toml", tmp_path / "prices.json"
    toml.write_bytes(b'\xef\xbb\xbf[prices.rates."mine/model"]\ninput_tokens = { per_1m = 2.0 }\n')
    rates.write_bytes(b'\xef\xbb\xbf{"rates": {"mine/model": {"input_tokens": {"per_1m": 2.0}}}}')
    for path in (toml, rates):
        meter = taximeter.Meter(state_dir=state, prices=path)
        assert meter.price("model", {"input_tokens": 1_000_000}, "mine").usd == Decimal(2)
    for path, text in ((toml, b"[prices"), (rates, b'{"rates": ')):
        path.write_bytes(text)
        with pytest.raises(taximeter.ConfigError, match=str(path)):
            taximeter.Meter(state_dir=state, prices=path).price("x", {"input_tokens": 1})
