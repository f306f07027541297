"""Fees, dialects and conditions of a price that were shown in ways nobody read. Each test is named by what went wrong."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest
from cohere import ClientV2
from groq import Groq
from mistralai.client import Mistral
from openai import OpenAI

from conftest import events_of
from fake_families import FakeFamilies, Families, _aws
from test_field_calls import bedrock
from test_field_kinds import chat, message
from test_field_reports import Bedrock, ask, gemini, grounded, only, web

QUESTION = [{"role": "user", "content": "x"}]
CLAUDE = "claude-sonnet-5"


def events(*parts: dict[str, Any]) -> bytes:
    return b"".join(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n".encode() for part in parts)


def response(*output: dict[str, Any], **others: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    return {
        "id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed", "tools": [], "output": output,
        "usage": usage, **others,
    }  # fmt: skip


def tool(kind: str, name: str, **others: Any) -> dict[str, Any]:
    return {"type": kind, "id": name, "status": "completed", **others}


def fees(event: dict[str, Any]) -> dict[str, int]:
    return {unit: count for unit, count in event["usage"].items() if not unit.endswith("_tokens")}


def used(name: str, at: str) -> dict[str, Any]:
    return {"type": "server_tool_use", "id": at, "name": name, "input": {}}


def ask_claude(body: Any, client: Any = None, **options: Any) -> None:
    client = client or anthropic.Anthropic(api_key="x", http_client=web(body))
    answer = client.messages.create(model=CLAUDE, max_tokens=9, messages=QUESTION, **options)
    if options.get("stream"):
        list(answer)


@pytest.mark.parametrize(
    ("blocks", "usage", "found", "notes"),
    [
        ([used("bash_code_execution", "a"), used("code_execution", "b")], {}, {"code_executions": 2}, ["unit_without_rate"]),
        ([used("web_search", "a"), used("web_search", "b")], {}, {"web_searches": 2}, []),
        # The provider's own count decides: a search that failed is not billed.
        ([used("web_search", "a")], {"server_tool_use": {"web_search_requests": 0}}, {"web_searches": 0}, []),
        ([{"type": "tool_use", "id": "a", "name": "web_search", "input": {}}], {}, {}, []),
    ],
)
def test_tools_in_the_blocks_of_a_message_were_not_counted(metered, blocks, usage, found, notes):
    ask_claude({**message(CLAUDE, **usage), "content": blocks})
    event = only(metered)
    assert (fees(event), event.get("cost_notes", [])) == (found, notes)


def test_a_tool_that_a_stream_begins_was_skipped_like_text(metered):
    start = {**message(CLAUDE), "usage": {"input_tokens": 1000, "output_tokens": 1}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    block = {"type": "content_block_start", "index": 1, "content_block": used("bash_code_execution", "a")}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}}
    ask_claude(events({"type": "message_start", "message": start}, text, block, end, {"type": "message_stop"}), stream=True)
    assert fees(only(metered)) == {"code_executions": 1}


@pytest.mark.parametrize("repeats", [False, True])
def test_searches_that_only_the_events_of_a_stream_list_were_free(metered, repeats):
    items = [tool("web_search_call", name, action={"type": "search", "query": "x"}) for name in ("a", "b")]
    whole = response(*(items if repeats else ()))
    parts = [{"type": "response.created", "response": {**response(), "status": "in_progress", "usage": None}}]
    parts += [{"type": "response.output_text.delta", "item_id": "m", "delta": "x", "output_index": 0, "content_index": 0}]
    for item in items:
        parts += [{"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}}]
        parts += [{"type": "response.output_item.done", "output_index": 0, "item": item}]
    body = events(
        *({"sequence_number": at, **part} for at, part in enumerate([*parts, {"type": "response.completed", "response": whole}]))
    )
    list(OpenAI(api_key="x", http_client=web(body)).responses.create(model="gpt-5", input="x", stream=True))
    event = only(metered)
    assert (fees(event), event["cost_usd"]) == ({"web_searches": 2}, "0.02225")


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([tool("shell_call", "a", environment={"type": "container_reference", "container_id": "c"})] * 2, {"code_executions": 1}),
        ([tool("shell_call", "a", environment={"type": "local"})], {}),
        ([tool("image_generation_call", "a", result="AAAA")], {"output_images": 1}),
        ([tool("x_search_call", "a"), tool("x_search_call", "b")], {"social_searches": 2}),
        ([tool("web_search_call", "a", action={"type": "open_page"}), {**tool("web_search_call", "b"), "status": "failed"}], {}),
    ],
)
def test_further_hosted_tools_of_a_response_left_no_trace(metered, items, found):
    OpenAI(api_key="x", http_client=web(response(*items))).responses.create(model="gpt-5", input="x")
    event = only(metered)
    assert (fees(event), event.get("cost_notes", [])) == (found, ["unit_without_rate"] if found else [])


def test_images_of_a_response_were_counted_beside_their_tokens(metered):
    images = {"input_tokens": 10, "output_tokens": 1056, "output_tokens_details": {"image_tokens": 1056}}
    item, tools = tool("image_generation_call", "a", result="AAAA"), [{"type": "image_generation", "model": "gpt-image-1"}]
    body = response(item, tools=tools, tool_usage={"image_gen": images})
    OpenAI(api_key="x", http_client=web(body)).responses.create(model="gpt-5", input="x")
    assert [(event["model"], fees(event)) for event in events_of(metered)] == [("gpt-5", {}), ("gpt-image-1", {})]


def test_the_search_of_groqs_hosted_browser_was_free(metered):
    tools = [{"index": at, "type": kind, "arguments": "{}"} for at, kind in enumerate(("browser_search", "browser_search", "visit"))]
    body = chat("openai/gpt-oss-120b")
    body["choices"] = [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x", "executed_tools": tools}}
    ]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    Groq(api_key="x", http_client=httpx.Client(transport=transport)).chat.completions.create(model="m", messages=QUESTION)
    assert fees(only(metered)) == {"web_searches": 2}


# Of jsonpath, which mistralai imports, on Python 3.12 and 3.13.
@pytest.mark.filterwarnings("ignore:ast\\.:DeprecationWarning")
@pytest.mark.parametrize("counts", [{}, {"connectors": {"web_search": 1}}])
def test_a_connector_that_a_conversation_ran_was_not_counted(metered, counts):
    ran = {"object": "entry", "type": "tool.execution", "name": "web_search", "id": "t", "arguments": "{}"}
    said = {"object": "entry", "type": "message.output", "role": "assistant", "content": "x", "id": "m"}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, **counts}
    body = {"object": "conversation.response", "conversation_id": "c", "outputs": [ran, said], "usage": usage}
    Mistral(api_key="x", client=web(body)).beta.conversations.start(model="mistral-medium-latest", inputs="x")
    assert fees(only(metered)) == {"web_searches": 1}


GROUNDING = {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}


def test_the_search_of_nova_was_free(metered):
    own = {"toolUseId": "u", "name": "web_search", "input": {}}
    blocks = [{"toolUse": {**GROUNDING, "input": {}}}, {"toolUse": own}, {"text": "ok"}]
    answer = {
        "output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": "end_turn", "metrics": {"latencyMs": 1},
        "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100},
    }  # fmt: skip
    with Bedrock(answer) as client:
        client.converse(modelId="us.amazon.nova-premier-v1:0", messages=[{"role": "user", "content": [{"text": "x"}]}])
    event = only(metered)
    assert (fees(event), event["cost_notes"]) == ({"web_searches": 1}, ["unit_without_rate"])


class Grounding(Families):
    def _bedrock(self, path: str, body: dict[str, Any]) -> None:
        parts = [
            ("messageStart", {"role": "assistant"}), ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": GROUNDING}}),
            ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "x"}}), ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100}, "metrics": {"latencyMs": 1}}),
        ]  # fmt: skip
        self._stream((_aws(*part) for part in parts), "nova", {}, "application/vnd.amazon.eventstream")


class FakeGrounding(FakeFamilies):
    handler = Grounding


def test_the_search_in_a_stream_of_nova_was_free(metered):
    with FakeGrounding() as server:
        asked = {"modelId": "us.amazon.nova-premier-v1:0", "messages": [{"role": "user", "content": [{"text": "x"}]}]}
        list(bedrock(server.url).converse_stream(**asked)["stream"])
    event = only(metered)
    assert (fees(event), event["usage_status"]) == ({"web_searches": 1}, "complete")


# Dialects


# Of cohere, on Python 3.14.
@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction':DeprecationWarning")
def test_cohere_without_billed_units_had_no_usage(metered):
    said = {"role": "assistant", "content": [{"type": "text", "text": "x"}]}
    body = {"id": "x", "finish_reason": "COMPLETE", "message": said, "usage": {"tokens": {"input_tokens": 5, "output_tokens": 6}}}
    transport = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=body)))
    ClientV2(api_key="x", httpx_client=transport).chat(model="command-a-03-2025", messages=QUESTION)
    assert only(metered)["usage"] == {"input_tokens": 5, "output_tokens": 6}


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        ({"prompt_tokens_details": {"video_tokens": 30, "audio_tokens": 20}}, {"input_video_tokens": 30, "input_audio_tokens": 20}),
        ({"promptTokens": 3, "completionTokens": 5, "totalTokens": 8}, {"input_tokens": 3, "output_tokens": 5}),
        ({"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}, {"input_tokens": 3, "output_tokens": 5}),
        (
            {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 4},
            {"input_tokens": 27, "output_tokens": 5, "cache_read_tokens": 20, "cache_write_tokens": 4},
        ),
        (
            {"input_tokens": 27, "output_tokens": 5, "total_tokens": 32, "cache_read_input_tokens": 20},
            {"input_tokens": 27, "output_tokens": 5, "cache_read_tokens": 20},
        ),
    ],
)
def test_usage_in_another_format_than_the_response_was_lost(metered, usage, units):
    body = chat("m-1", **usage)
    if not any(name.startswith("prompt_tokens") for name in usage):
        body["usage"] = usage
    ask(OpenAI(api_key="x", base_url="https://gateway.example/v1", http_client=web(body)))
    event = only(metered)
    assert event["usage"] | units == event["usage"]
    assert event["usage_status"] == "complete"


# Conditions


@pytest.mark.parametrize(("profile", "region", "cost"), [("global", "global", "0.0045"), ("eu", "eu-west-1", "0.00495")])
def test_a_global_profile_cost_as_much_as_a_regional_one(metered, profile, region, cost):
    keys = {"aws_access_key": "a", "aws_secret_key": "b", "aws_region": "eu-west-1"}
    client = anthropic.AnthropicBedrock(**keys, http_client=web(message("claude-sonnet-4-5-20250929")))
    client.messages.create(model=f"{profile}.anthropic.claude-sonnet-4-5-20250929-v1:0", max_tokens=9, messages=QUESTION)
    event = only(metered)
    assert (event["region"], event["cost_usd"]) == (region, cost)


@pytest.mark.parametrize(("answered", "cost"), [({}, "0.00495"), ({"inference_geo": "global"}, "0.0045")])
def test_the_geography_of_a_request_was_not_used(metered, answered, cost):
    client = anthropic.Anthropic(api_key="x", http_client=web(message("claude-sonnet-4-6", **answered)))
    client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=QUESTION, inference_geo="us")
    assert only(metered)["cost_usd"] == cost


@pytest.mark.parametrize(
    ("traffic", "tier", "cost", "notes"),
    [
        ("ON_DEMAND_PRIORITY", "priority", "0.0027", None),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput", "0.0015", ["tier_without_rates"]),
        ("TRAFFIC_TYPE_UNSPECIFIED", None, "0.0015", None),
    ],
)
def test_a_traffic_type_had_the_standard_price(metered, traffic, tier, cost, notes):
    counts = {"promptTokenCount": 1000, "candidatesTokenCount": 0, "totalTokenCount": 1000, "trafficType": traffic}
    gemini(grounded("gemini-3.5-flash", [], **counts), "gemini-3.5-flash", vertexai=True)
    event = only(metered)
    assert (event.get("service_tier"), event["cost_usd"], event.get("cost_notes")) == (tier, cost, notes)


@pytest.mark.parametrize(
    ("asked", "served", "cost"),
    [("priority", "default", "0.0035"), ("flex", None, "0.0035"), ("auto", "priority", "0.005950"), ("default", "scale", "0.0035")],
)
def test_the_tier_that_was_asked_for_decided_over_the_one_that_served(metered, asked, served, cost):
    body = chat("gpt-4o") | ({"service_tier": served} if served else {})
    ask(OpenAI(api_key="x", http_client=web(body)), model="gpt-4o", service_tier=asked)
    event = only(metered)
    noted = ["tier_without_rates"] if served == "scale" or (asked == "flex" and not served) else []
    assert (float(event["cost_usd"]), event.get("cost_notes", [])) == (float(cost), noted)


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.minimax.chat/v1", "minimax"),
        ("https://cn-hongkong.dashscope.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://api.studio.nebius.com/v1", "nebius"),
        ("https://acct.snowflakecomputing.com/api/v2/cortex/v1", "snowflake"),
        ("https://bedrock-mantle.eu-west-1.api.aws/v1", "aws.bedrock"),
    ],
)
def test_hosts_that_a_price_table_has_were_unknown(metered, url, provider):
    ask(OpenAI(api_key="x", base_url=url, http_client=web(chat("openai.gpt-oss-120b"))))
    event = only(metered)
    assert (event["provider"], "host_unknown" in event.get("cost_notes", [])) == (provider, False)
    # The names at Bedrock's address for OpenAI's models have no version.
    assert provider != "aws.bedrock" or event["cost_status"] == "priced"
