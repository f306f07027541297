"""Responses in forms that clients read and that were misread, or not read at all. Each test is named by what went wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import pytest
from openai import OpenAI

from conftest import events_of
from fake_families import FakeFamilies, Families, _aws
from test_field_calls import bedrock
from test_field_fees import QUESTION, events
from test_field_kinds import chat, message
from test_field_reports import Bedrock, ask, chunk, only, stream, web

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
COUNTS = {"input_tokens": 3, "output_tokens": 5}
LAST = {**chunk({}), "choices": [], "usage": USAGE}
PARTS = stream(chunk({"content": "a"}), LAST)


def ask_at(body: bytes, content_type: str, **options: Any) -> None:
    transport = web(body, **{"content-type": content_type})
    ask(OpenAI(api_key="x", base_url="https://api.groq.com/openai/v1", http_client=transport), **options)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + PARTS.replace(b"\n", b"\r\n"),
        PARTS.replace(b"\n", b"\r"),
        b": OPENROUTER PROCESSING\n\n\n\n" + PARTS,
        b"".join(b"data: " + line + b"\n" for line in json.dumps(LAST, indent=1).encode().split(b"\n")) + b"\ndata: [DONE]\n\n",
        stream(chunk({"content": "a"}) | {"usage": {**USAGE, "completion_tokens": 1}}, LAST, {**LAST, "usage": None}),
        stream(
            {**chunk({}), "model": "", "choices": [], "prompt_filter_results": []}, chunk({"content": "a"}), {**LAST, "model": ""}
        ),
    ],
    ids=["byte order mark", "carriage returns", "comments", "data on several lines", "running totals", "no choices at first"],
)
def test_an_event_stream_in_an_unusual_form_was_not_read(metered, body):
    ask_at(body, "text/event-stream", stream=True)
    event = only(metered)
    assert (event["usage"], event["usage_status"], event["model"]) == (COUNTS, "complete", "m-1")


@pytest.mark.parametrize("start", [b"\n\n\n   \n", b"\xef\xbb\xbf"], ids=["blanks that keep it alive", "byte order mark"])
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", "text/event-stream"])
def test_a_body_behind_other_bytes_was_not_read(metered, start, content_type):
    transport = web(start + json.dumps(chat("m-1")).encode(), **{"content-type": content_type})
    client = OpenAI(api_key="x", base_url="https://api.groq.com/openai/v1", http_client=transport)
    client.chat.completions.with_raw_response.create(model="m-1", messages=QUESTION)
    event = only(metered)
    assert (event["usage"]["output_tokens"], event["usage_status"]) == (100, "complete")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"object": "error", "message": "Ann's prompt", "type": "BadRequestError", "param": None, "code": 400}, "BadRequestError"),
        ({"code": "InvalidApiKey", "message": "Ann's prompt", "request_id": "x"}, "InvalidApiKey"),
        ({"code": 20012, "message": "Ann's prompt", "data": None}, None),
        ({"base_resp": {"status_code": 1004, "status_msg": "Ann's prompt"}}, None),
        ({"error": "Ann's prompt"}, None),
    ],
)
def test_a_failure_in_a_response_with_status_200_was_a_success(metered, body, error):
    before = metered.stats()["remarks"]["usage_unreported"]
    ask_at(json.dumps(body).encode(), "application/json")
    event = only(metered)
    assert (event["status"], event.get("error"), event["cost_status"]) == ("error", error, "not_charged")
    assert "Ann" not in str(event)
    assert metered.stats()["remarks"]["usage_unreported"] == before


def test_a_failure_in_a_stream_of_an_older_server_was_a_success(metered):
    failure = {"object": "error", "message": "Ann's prompt", "type": "InternalServerError", "param": None, "code": 500}
    ask_at(stream(chunk({"content": "a"}), failure), "text/event-stream", stream=True)
    assert (only(metered)["status"], only(metered)["error"]) == ("error", "InternalServerError")


@pytest.mark.parametrize("others", [{"code": 200, "message": "ok"}, {"code": 0, "message": ""}, {"code": None}, {"object": "chat"}])
def test_a_success_with_a_code_is_no_failure(metered, others):
    ask_at(json.dumps({**chat("m-1"), **others}).encode(), "application/json")
    assert only(metered)["status"] == "success"


def test_a_stream_of_anthropic_that_is_overloaded_was_a_success(metered):
    start = {**message("claude-sonnet-5"), "usage": {"input_tokens": 1000, "output_tokens": 1}}
    body = events(
        {"type": "message_start", "message": start}, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    )
    client = anthropic.Anthropic(api_key="x", max_retries=0, http_client=web(body))
    with pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=QUESTION, stream=True))
    event = only(metered)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "overloaded_error", "partial")


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 5}}


@pytest.mark.parametrize(
    ("model", "answer", "units"),
    [
        ("amazon.titan-embed-text-v2:0", {"embedding": [0.1], "inputTextTokenCount": 3}, {"input_tokens": 3}),
        (
            "cohere.command-r-v1:0",
            {"text": "x", "meta": {"billed_units": {"input_tokens": 3, "output_tokens": 5}}, "finish_reason": "COMPLETE"},
            COUNTS,
        ),
        ("mistral.pixtral-large-2502-v1:0", {"choices": [], "usage": USAGE}, COUNTS),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"completion": "x", "stop_reason": "stop", **METRICS}, COUNTS),
        (
            "amazon.nova-lite-v1:0",
            {"usage": {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokenCount": 20, "cacheWriteInputTokenCount": 4}},
            {"input_tokens": 27, "output_tokens": 5, "cache_read_tokens": 20, "cache_write_tokens": 4},
        ),
    ],
)
def test_a_body_of_bedrock_had_no_usage(metered, model, answer, units):
    with Bedrock(answer) as client:
        client.invoke_model(modelId=model, body=b"{}")["body"].read()
    event = only(metered)
    assert (event["usage"], event["usage_status"]) == (units, "complete")


STREAMS = {
    "meta.llama3-8b-instruct-v1:0": [
        {"generation": "a", "prompt_token_count": 3, "generation_token_count": 1, "stop_reason": None},
        {"generation": "", "prompt_token_count": None, "generation_token_count": 5, "stop_reason": "stop"},
    ],
    "amazon.nova-pro-v1:0": [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "x"}}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 5}, "metrics": {}}},
    ],
    "amazon.titan-text-express-v1": [
        {"outputText": "x", "totalOutputTextTokenCount": None, "completionReason": None, "inputTextTokenCount": 3},
        {"outputText": "y", "totalOutputTextTokenCount": 5, "completionReason": "FINISH", "inputTextTokenCount": None},
    ],
    "mistral.mistral-large-2402-v1:0": [
        {"outputs": [{"text": "x", "stop_reason": None}]},
        {"outputs": [{"text": "", "stop_reason": "stop"}], **METRICS},
    ],
    "openai.gpt-oss-20b-1:0": [
        {"choices": [{"index": 0, "delta": {"content": "x"}}], "model": "m"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE},
    ],
}


class Streaming(Families):
    def _bedrock(self, path: str, body: dict[str, Any]) -> None:
        model = next(model for model in STREAMS if model.partition(":")[0] in path)
        chunks = ({"bytes": base64.b64encode(json.dumps(part).encode()).decode()} for part in STREAMS[model])
        self._stream((_aws("chunk", part) for part in chunks), model, {}, "application/vnd.amazon.eventstream")


class FakeStreaming(FakeFamilies):
    handler = Streaming


def test_streams_of_bedrocks_models_had_no_usage_or_no_end(metered):
    with FakeStreaming() as server:
        client = bedrock(server.url)
        for model in STREAMS:
            list(client.invoke_model_with_response_stream(modelId=model, body=b"{}")["body"])
    found = {event["model"]: (event["usage"], event["usage_status"]) for event in events_of(metered)}
    assert found == dict.fromkeys(STREAMS, (COUNTS, "complete"))
