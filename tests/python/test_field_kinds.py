"""Further cases of the kinds of faults in `test_field_reports.py` and `test_field_calls.py`. Each is named by what went wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from decimal import Decimal
from typing import Any

import anthropic
import boto3
import genai_prices
import httpx2
import pytest
from openai import OpenAI

import taximeter
from conftest import events_of
from fake_families import FakeFamilies, Families
from taximeter import instrument
from taximeter.meter import engine_of
from test_field_reports import Bedrock, ask, chunk, gemini, only, stream, web

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


def chat(model: str, **usage: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [], "usage": {**USAGE, **usage}}


def test_embeddings_that_report_a_total_only_had_no_usage(metered):
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "voyage-3.5"}
    client = OpenAI(api_key="x", base_url="https://api.voyageai.com/v1", http_client=web({**body, "usage": {"total_tokens": 1000}}))
    client.embeddings.create(model="voyage-3.5", input="x", encoding_format="float")
    event = only(metered)
    assert (event["provider"], event["usage"]["input_tokens"], event["cost_status"]) == ("voyageai", 1000, "priced")


@pytest.mark.parametrize(
    ("host", "provider", "region"),
    [
        ("us-api.together.ai", "together", "us"),
        ("eu-west-1.api.x.ai", "x_ai", "eu-west-1"),
        ("mine.openai.azure.us", "azure.ai.openai", "us-gov"),
    ],
)
def test_regional_hosts_were_unknown(metered, host, provider, region):
    ask(OpenAI(api_key="x", base_url=f"https://{host}/v1", http_client=web(chat("m-1"))))
    event = only(metered)
    assert (event["provider"], event["region"], event.get("cost_notes")) == (provider, region, None)


def test_a_geography_of_together_had_the_price_of_any(metered):
    body = chat("meta-llama/Llama-3.3-70B-Instruct-Turbo")
    for host in ("api", "us-api"):
        ask(OpenAI(api_key="x", base_url=f"https://{host}.together.ai/v1", http_client=web(body)), model=body["model"])
    anywhere, here = (Decimal(event["cost_usd"]) for event in events_of(metered))
    assert here == anywhere * Decimal("1.25")


def message(model: str, **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 1000, "output_tokens": 100, **usage}
    return {
        "id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": counts,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.z.ai/api/anthropic", "zai"),
        ("https://api.moonshot.ai/anthropic", "moonshot_ai"),
        ("https://aws-external-anthropic.us-west-2.api.aws", "anthropic"),
    ],
)
def test_other_providers_in_anthropics_format_were_priced_as_anthropic(metered, url, provider):
    client = anthropic.Anthropic(api_key="x", base_url=url, http_client=web(message("m-1")))
    client.messages.create(model="m-1", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    event = only(metered)
    assert (event["provider"], event.get("cost_notes")) == (provider, None)


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("gateway.corp:443", "https://gateway.corp/v1"),
        ("gateway.corp", "https://gateway.corp:8443/v1"),
        ("[::1]:8000", "http://[::1]:8000/v1"),
        ("https://user:secret@gateway.corp/v1", "https://gateway.corp/v1"),
    ],
)
def test_a_host_in_the_settings_was_not_found_under_another_spelling(state, told, url):
    meter = taximeter.Meter(state_dir=state, hosts={told: "vllm"})
    meter.instrument()
    ask(OpenAI(api_key="x", base_url=url, http_client=web(chat("m-1"))))
    instrument.deactivate()
    assert only(meter)["provider"] == "vllm"
    assert "secret" not in repr(engine_of(meter).settings)
    meter.close(5)


def test_text_and_images_of_gemini_without_a_breakdown_were_all_text(metered):
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 1300, "totalTokenCount": 1310}
    for model in ("gemini-2.5-flash-image", "gemini-3-pro-image-preview"):
        candidate = {"content": {"role": "model", "parts": [{"text": "a"}, image]}, "finishReason": "STOP"}
        gemini({"candidates": [candidate], "modelVersion": model, "usageMetadata": counts}, model)
    known, unknown = events_of(metered)
    assert (known["usage"]["output_image_tokens"], known.get("cost_notes")) == (1290, None)
    assert ("output_image_tokens" in unknown["usage"], unknown["cost_notes"]) == (False, ["unsplit_output"])


def test_litellm_names_are_resolved_like_by_genai_prices():
    data = genai_prices.data_snapshot.get_snapshot()
    usage, counts = genai_prices.Usage(input_tokens=1000, output_tokens=100), {"input_tokens": 1000, "output_tokens": 100}
    cases, other = 0, {}
    for provider in data.providers:
        for model in provider.models:
            name = f"{provider.id}/{model.id}"
            try:
                theirs = genai_prices.calc_price(usage, name, provider_id="litellm")
            except LookupError:
                continue
            cases += 1
            for ours in (taximeter.price(text, counts, "litellm") for text in (name, f"litellm_proxy/{name}")):
                assert (ours.provider, ours.model) == (theirs.provider.id, theirs.model.id), name
                if ours.usd != theirs.total_price:
                    other[name] = ours.usd, theirs.total_price
    # Where genai-prices has no rate for tokens, it says 0. Our cost is unknown: speech, transcription, and models without a price.
    assert set(other.values()) == {(None, 0)}
    assert (cases > 2000, len(other) < 60) == (True, True)


@pytest.mark.slow
def test_a_batch_was_charged_to_the_fetching_process(metered, state):
    batch = {"id": "batch_own", "object": "batch", "status": "validating", "endpoint": "/v1/chat/completions", "input_file_id": "f"}
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=batch)))
    client = OpenAI(api_key="k", http_client=http)
    options = {"input_file_id": "f", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    client.batches.create(**options, extra_headers={"x-taximeter-team": "maker", "x-taximeter-tag-plan": "pro"})
    text = """
import httpx2, openai, taximeter
taximeter.init()
usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
batch = {"id": "batch_own", "object": "batch", "status": "completed", "model": "gpt-4o", "usage": usage}
http = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=batch)))
with taximeter.attribute(team="fetcher", feature="cron"):
    openai.OpenAI(api_key="k", http_client=http).batches.retrieve("batch_own")
taximeter.close()
"""
    subprocess.run([sys.executable, "-c", text], cwd=state.parent, timeout=120, check=True)
    (event,) = taximeter.Ledger(state / "ledger.db").events()
    assert (event["team"], event["feature"], event["tags"]) == ("maker", "cron", {"plan": "pro"})


def test_failed_calls_counted_as_unpriced(metered):
    metered.track(provider="openai", model="no-such-model", status="error", usage_status="missing")
    metered.track(provider="openai", model="no-such-model", status="error", input_tokens=1)
    metered.track(provider="openai", model="no-such-model", usage_status="missing")
    events = events_of(metered)
    assert [event["cost_status"] for event in events] == ["not_charged", "unpriced", "unpriced"]
    totals = taximeter.Ledger(engine_of(metered).settings.ledger).report(by=()).total
    assert (totals.calls, totals.errors, totals.unpriced) == (3, 2, 2)


async def test_a_call_that_is_cancelled_left_no_trace(metered):
    async def never(_request: httpx2.Request) -> httpx2.Response:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    waiting = asyncio.Event()
    client = anthropic.AsyncAnthropic(api_key="x", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(never)))
    asked = client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    call = asyncio.create_task(asked)
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    event = only(metered)
    assert (event["status"], event["error"], event["model"]) == ("error", "CancelledError", "claude-sonnet-5")


class Tiered(Families):
    def _bedrock(self, path: str, body: dict[str, Any]) -> None:
        self.send_response(200)
        headers = {"x-amzn-bedrock-service-tier": "flex", "x-amzn-bedrock-input-token-count": "1000"}
        for name, value in (headers | {"x-amzn-bedrock-output-token-count": "100", "content-length": "2"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")


class FakeTiered(FakeFamilies):
    handler = Tiered


def test_an_invocation_with_a_tier_in_a_header_left_no_trace(metered):
    with FakeTiered() as server:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        client = boto3.client("bedrock-runtime", endpoint_url=server.url, **keys)
        client.invoke_model(modelId="amazon.nova-pro-v1:0", body=b"{}")["body"].read()
    event = only(metered)
    assert (event["service_tier"], event["cost_usd"]) == ("flex", "0.00056")


def test_optimized_latency_of_bedrock_had_the_standard_price(metered):
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}}, "stopReason": "end_turn",
        "metrics": {"latencyMs": 1}, "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100},
        "performanceConfig": {"latency": "optimized"},
    }  # fmt: skip
    question = [{"role": "user", "content": [{"text": "x"}]}]
    with Bedrock(answer) as client:
        client.converse(modelId="amazon.nova-pro-v1:0", messages=question, performanceConfig={"latency": "optimized"})
    event = only(metered)
    assert (event["service_tier"], event["cost_notes"]) == ("optimized", ["tier_without_rates"])


def test_searches_of_a_stream_were_counted_without_the_last_part(metered):
    first = {**message("claude-sonnet-5"), "usage": {"input_tokens": 1000, "output_tokens": 1}}
    last = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 100, "server_tool_use": {"web_search_requests": 3}},
    }
    parts = [{"type": "message_start", "message": first}, last, {"type": "message_stop"}]
    body = b"".join(f"event: {part['type']}\n".encode() + stream(part)[:-14] for part in parts)
    client = anthropic.Anthropic(api_key="x", http_client=web(body))
    list(client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "x"}], stream=True))
    event = only(metered)
    assert (event["usage"]["web_searches"], event["usage"]["output_tokens"]) == (3, 100)


def test_a_chunk_of_a_gateway_with_the_usage_beside_a_choice_was_kept_twice(metered):
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32}
    parts = stream(chunk({"content": "ok"}), {**chunk({}, finish_reason="stop", usage=usage), "usage": usage})
    ask(OpenAI(api_key="x", base_url="https://api.moonshot.cn/v1", http_client=web(parts)), model="moonshot-v1-8k", stream=True)
    assert only(metered)["usage"] == {"input_tokens": 19, "output_tokens": 13}
