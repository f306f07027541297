"""Calls that failed, and responses that are fetched again: each is one event. Each test is named by what went wrong."""

from __future__ import annotations

import copy
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from google import genai
from openai import OpenAI

import taximeter
from conftest import events_of
from fake_endpoints import socket_server
from test_field_fees import QUESTION, events, response
from test_field_kinds import chat, message
from test_field_reports import chunk, grounded, only, stream, web

pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning", "ignore::ResourceWarning")


def answering(answer: Callable[[httpx2.Request], httpx2.Response]) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(answer))


def in_turn(*bodies: dict[str, Any]) -> httpx2.Client:
    """Return a transport with one body after the other; the last one again and again."""
    left = list(bodies)
    return answering(lambda _: httpx2.Response(200, json=left.pop(0) if len(left) > 1 else left[0]))


# Failures


USAGE = {
    "total_tokens": 60, "input_tokens": 37, "output_tokens": 23,
    "input_token_details": {"text_tokens": 37, "audio_tokens": 0}, "output_token_details": {"text_tokens": 23, "audio_tokens": 0},
}  # fmt: skip
FAILED = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
ENDS = {
    "failed": (FAILED, "error", "server_error"),
    "incomplete": ({"type": "incomplete", "reason": "max_output_tokens"}, "success", None),
    "cancelled": ({"type": "cancelled", "reason": "turn_detected"}, "success", None),
}


@pytest.fixture
def realtime() -> Iterator[str]:
    """Yield the URL of a server whose responses have the status that they are asked for."""

    def answer(socket: Any) -> None:
        for asked in socket:
            name = json.loads(asked)["response"]["instructions"]
            said = {"id": name, "object": "realtime.response", "status": name, "status_details": ENDS[name][0], "output": []}
            socket.send(json.dumps({"type": "response.done", "event_id": "e", "response": {**said, "usage": USAGE}}))

    with socket_server(answer) as url:
        yield url


def test_a_realtime_response_that_failed_was_a_success(metered, realtime):
    with OpenAI(api_key="k", websocket_base_url=realtime) as client, client.realtime.connect(model="gpt-realtime") as connection:
        for name in ENDS:
            connection.response.create(response={"instructions": name})
            connection.recv()
    found = events_of(metered)
    ends = [(event["finish_reason"], event["status"], event.get("error")) for event in found]
    assert ends == [(name, status, error) for name, (_, status, error) in ENDS.items()]
    assert {(event["usage"]["input_tokens"], event["usage"]["output_tokens"], event["usage_status"]) for event in found} == {
        (37, 23, "complete")
    }


@pytest.mark.parametrize(
    ("ending", "others", "found"),
    [
        ("failed", {"error": {"code": "server_error", "message": "x"}}, ("error", "server_error")),
        ("failed", {"error": None}, ("error", None)),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, ("success", None)),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_a_response_that_failed_with_usage_was_a_success(metered, ending, others, found, streams):
    whole = response(**{"status": ending, **others})
    body = events({"type": f"response.{ending}", "sequence_number": 0, "response": whole}) if streams else whole
    answer = OpenAI(api_key="x", http_client=web(body)).responses.create(model="gpt-5", input="x", stream=streams)
    if streams:
        list(answer)
    event = only(metered)
    assert ((event["status"], event.get("error")), event["cost_usd"]) == (found, "0.00225")


def test_a_run_of_an_assistant_that_failed_was_a_success(metered):
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    run = {"id": "run_f", "object": "thread.run", "thread_id": "t", "assistant_id": "a", "model": "gpt-4o", "status": "failed"}
    run["last_error"] = {"code": "rate_limit_exceeded", "message": "x"}
    client = OpenAI(api_key="x", http_client=in_turn({**run, "status": "queued", "last_error": None}, {**run, "usage": usage}))
    with pytest.warns(DeprecationWarning):
        client.beta.threads.runs.create_and_poll(thread_id="t", assistant_id="a", poll_interval_ms=1)
    event = only(metered)
    assert (event["status"], event["error"], event["usage"]) == (
        "error",
        "rate_limit_exceeded",
        {"input_tokens": 10, "output_tokens": 1},
    )


def test_a_stream_of_gemini_that_breaks_off_with_an_error_was_a_success(metered):
    part = grounded("gemini-2.5-flash", [])
    del part["candidates"][0]["finishReason"]
    body = stream(part, {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}})[: -len(b"data: [DONE]\n\n")]
    client = genai.Client(api_key="x", http_options={"httpx_client": web(body)})
    with pytest.raises(genai.errors.ServerError):
        list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="x"))
    event = only(metered)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "ServerError", "partial")


@pytest.mark.parametrize("kind", ["embeddings", "image", "speech", "transcription"])
def test_other_failed_calls_left_no_trace(metered, kind):
    client = OpenAI(
        api_key="x", max_retries=1, http_client=answering(lambda _: httpx2.Response(400, json={"error": {"message": "x"}}))
    )
    calls: dict[str, Callable[[], Any]] = {
        "embeddings": lambda: client.embeddings.create(model="m", input="x"),
        "image": lambda: client.images.generate(model="m", prompt="x"),
        "speech": lambda: client.audio.speech.create(model="m", voice="alloy", input="x"),
        "transcription": lambda: client.audio.transcriptions.create(model="m", file=("a.wav", b"x")),
    }
    with pytest.raises(Exception, match="400"):
        calls[kind]()
    event = only(metered)
    assert (event["model"], event["status"], event["error"], event["usage"]) == ("m", "error", "BadRequestError", {})


# Once


def test_a_background_response_that_is_resumed_as_a_stream_was_counted_twice(metered):
    begun = response(id="resp_resumed", background=True, status="in_progress", usage=None)
    ended = response(id="resp_resumed", background=True)

    def answer(request: httpx2.Request) -> httpx2.Response:
        part = (
            {"type": "response.created", "response": begun}
            if request.method == "POST"
            else {"type": "response.completed", "response": ended}
        )
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events({"sequence_number": 0, **part}))

    client = OpenAI(api_key="x", http_client=answering(answer))
    list(client.responses.create(model="gpt-5", input="x", background=True, stream=True))
    for _ in range(2):
        list(client.responses.retrieve("resp_resumed", stream=True))
    assert only(metered)["usage"]["output_tokens"] == 100


def test_a_stored_response_was_counted_again_when_it_was_read(metered):
    client = OpenAI(api_key="x", http_client=in_turn(response(id="resp_stored"), response(id="resp_stored"), chat("gpt-4o")))
    client.responses.create(model="gpt-5", input="x", store=True)
    client.responses.retrieve("resp_stored")
    client.chat.completions.create(model="gpt-4o", messages=QUESTION, store=True)
    client.chat.completions.retrieve("c")
    assert [event["model"] for event in events_of(metered)] == ["gpt-5", "gpt-4o"]


def test_a_stream_that_two_threads_read_was_counted_twice(metered):
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    body = stream(*(chunk({"content": "a"}) for _ in range(50)), {**chunk({}), "choices": [], "usage": usage})
    asked = {"model": "gpt-4o", "messages": QUESTION, "stream_options": {"include_usage": True}}
    answer = OpenAI(api_key="x", http_client=web(body)).chat.completions.create(**asked, stream=True)
    readers = [copy.copy(answer), answer]

    def read(each: Any) -> None:
        try:
            for _ in each:
                pass
        except ValueError:
            pass  # a generator that the other thread runs

    threads = [threading.Thread(target=read, args=(each,)) for each in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del readers, threads, answer
    gc.collect()
    assert only(metered)["usage_status"] == "complete"


FETCH = """
import taximeter
from test_field_ends import fetch
taximeter.init()
fetch()
taximeter.close()
"""
BATCH = {
    "id": "batch_again", "object": "batch", "status": "completed", "model": "gpt-4o", "endpoint": "/v1/responses", "input_file_id": "f",
    "completion_window": "24h", "created_at": 1, "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
}  # fmt: skip
MESSAGES = {
    "id": "msgbatch_again", "type": "message_batch", "processing_status": "ended", "ended_at": None, "archived_at": None,
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_again/results", "created_at": "2026-11-22T00:00:00Z",
    "expires_at": "2026-11-23T00:00:00Z", "cancel_initiated_at": None,
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 1},
}  # fmt: skip
ROWS = "".join(
    json.dumps(row) + "\n"
    for row in (
        {"custom_id": "a" * 300, "result": {"type": "succeeded", "message": message("claude-sonnet-5")}},
        {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "x"}}}},
        {"custom_id": "c", "result": {"type": "expired"}},
    )
)


def fetch() -> None:
    """Fetch a batch of OpenAI, and the results of one of Anthropic."""

    def results(request: httpx2.Request) -> httpx2.Response:
        is_result = request.url.path.endswith("results")
        return httpx2.Response(200, content=ROWS) if is_result else httpx2.Response(200, json=MESSAGES)

    OpenAI(api_key="k", http_client=in_turn(BATCH)).batches.retrieve("batch_again")
    list(anthropic.Anthropic(api_key="k", http_client=answering(results)).messages.batches.results("msgbatch_again"))


@pytest.mark.slow
def test_a_batch_was_counted_by_every_process_that_fetched_it(metered, state):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FETCH], cwd=state.parent, env=environment, timeout=300, check=True)
    fetch()
    metered.flush(10)
    found = list(taximeter.Ledger(state / "ledger.db").events())
    assert [(event["model"], event["batch"]) for event in found] == [("gpt-4o", True), ("claude-sonnet-5", True)]
    # A tag is at most 256 bytes long.
    assert found[1]["tags"]["custom_id"].startswith("aaa")


def test_a_batch_that_was_read_partly_was_counted_twice(metered):
    def answer(request: httpx2.Request) -> httpx2.Response:
        is_result = request.url.path.endswith("results")
        return httpx2.Response(200, content=ROWS.replace("again", "partly")) if is_result else httpx2.Response(200, json=MESSAGES)

    client = anthropic.Anthropic(api_key="k", http_client=answering(answer))
    next(iter(client.messages.batches.results("msgbatch_partly")))
    list(client.messages.batches.results("msgbatch_partly"))
    list(client.beta.messages.batches.results("msgbatch_partly"))
    assert only(metered)["batch"]


# The user's calls


@pytest.mark.parametrize(
    ("options", "chunks", "status"),
    [
        ({"stream_options": None}, 1, "complete"),
        ({"stream_options": {"include_usage": False}}, 1, "missing"),
        ({"stream_options": {"include_obfuscation": False}}, 1, "complete"),
        ({"extra_body": {"stream_options": {"include_usage": True}}}, 2, "complete"),
        ({"extra_body": {"stream_options": None}}, 1, "complete"),
        ({"extra_headers": {"Accept-Encoding": "br"}}, 1, "missing"),
    ],
)
def test_the_chunks_of_a_stream_were_others_than_the_caller_asked_for(metered, options, chunks, status):
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = json.loads(request.content).get("stream_options") or {}
        last = {**chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}
        parts = [chunk({"content": "a"}), *([last] if asked.get("include_usage") else [])]
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream(*parts))

    client = OpenAI(api_key="x", http_client=answering(answer))
    assert len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True, **options))) == chunks
    assert only(metered)["usage_status"] == status


@pytest.mark.parametrize(
    "options",
    [
        {"extra_query": {"taximeter_team": "t"}},
        {"extra_body": {"taximeter_team": "t"}},
        {"taximeter_teem": "a misspelt field"},
        {"taximeter_team": object()},
        {"taximeter_team": None},
        {"extra_headers": {"X-Taximeter-Team": "t"}},
    ],
)
def test_a_keyword_reached_the_provider(metered, options):
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(f"{request.url} {dict(request.headers)} {request.content!r}")
        return httpx2.Response(200, json=chat("gpt-4o"))

    seen: list[str] = []
    client = OpenAI(api_key="x", http_client=answering(answer), default_headers={"x-taximeter-feature": "f"})
    calls = client.with_options(timeout=9).chat.completions
    calls.create(model="gpt-4o", messages=QUESTION, **options)
    type(calls).create(calls, model="gpt-4o", messages=QUESTION, **options)
    assert "taximeter" not in str(seen).lower()
    assert len(events_of(metered)) == 2
