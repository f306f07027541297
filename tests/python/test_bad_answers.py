"""Invalid responses: users get what the client alone returns, the event's usage is missing, and `stats()` counts the reason."""

from __future__ import annotations

import gzip
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import boto3
import openai
import pytest

from conftest import events_of
from fake_families import _aws, _base64
from taximeter import instrument
from test_families import seen

QUESTION = [{"role": "user", "content": "a secret question"}]
JSON, EVENTS, FRAMES = "application/json", "text/event-stream", "application/vnd.amazon.eventstream"


def completion(usage, **more) -> bytes:
    message = {"role": "assistant", "content": "hello", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    base = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
    return json.dumps({**base, "usage": usage, **more}).encode()


def chunks(*parts: str) -> bytes:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    texts = ({**base, "choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]} for part in parts)
    return b"".join(f"data: {json.dumps(text)}\n\n".encode() for text in texts)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = b"data: [DONE]\n\n"
LAST = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":' + (
    json.dumps(USAGE).encode() + b"}\n\n"
)
FRAME = _aws(
    "chunk", {"bytes": _base64(json.dumps({"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 7}}}))}
)


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


# The response's type, encoding and body; the event's usage status; and the remark that is counted. Data that the client does not accept as
# a response is a failed call: an event without usage.
ANSWERS = {
    "a web page": (JSON, "", b"<html>busy</html>", "missing", "usage_malformed"),
    "a web page as HTML": ("text/html", "", b"<html>busy</html>", "missing", "usage_not_json"),
    "an empty response": (JSON, "", b"", "missing", "usage_interrupted"),
    "half of a response": (JSON, "", completion(USAGE)[:-30], "missing", "usage_interrupted"),
    "a list": (JSON, "", b"[1, 2]", "missing", "usage_malformed"),
    "no usage": (JSON, "", completion(None), "missing", "usage_unreported"),
    "usage as a text": (JSON, "", completion("many"), "missing", "usage_unreported"),
    "a negative count": (JSON, "", completion({**USAGE, "prompt_tokens": -1}), "missing", "unreadable_usage"),
    "a count as a text": (JSON, "", completion({**USAGE, "prompt_tokens": "many"}), "missing", "unreadable_usage"),
    "an enormous count": (JSON, "", completion({**USAGE, "prompt_tokens": 10**30}), "missing", "unreadable_usage"),
    "a part as a list": (JSON, "", completion({**USAGE, "prompt_tokens_details": [1]}), "missing", "unreadable_usage"),
    "unknown fields": (JSON, "", completion({**USAGE, "new_tokens": {"a": [1]}}, new={"x": 1}), "complete", None),
    "null choices": (JSON, "", completion(USAGE, choices=None), "complete", None),
    "invalid gzip": (JSON, "gzip", completion(USAGE), "missing", None),
    "half of a gzip body": (JSON, "gzip", zipped(completion(USAGE))[:-40], "missing", "usage_interrupted"),
    "a gzip body with a broken end": (JSON, "gzip", zipped(completion(USAGE))[:-8] + bytes(8), "missing", None),
    "two gzip members": (JSON, "gzip", zipped(completion(USAGE)) + zipped(b" "), "complete", None),
    "a stream without usage": (EVENTS, "", chunks("a", "b") + DONE, "missing", "usage_unreported"),
    "a stream cut between events": (EVENTS, "", chunks("a", "b"), "missing", "usage_interrupted"),
    "a stream cut in an event": (EVENTS, "", chunks("a") + LAST[:-20], "missing", "usage_malformed"),
    "an event that is not JSON": (EVENTS, "", b"data: {\n\n" + chunks("a") + LAST + DONE, "missing", "usage_malformed"),
    "a later event that is not JSON": (
        EVENTS,
        "",
        chunks("a") + b"data: {\n\n" + LAST + DONE,
        "missing",
        "usage_interrupted usage_malformed",
    ),
    "a deflate stream": (EVENTS, "deflate", zlib.compress(chunks("a") + LAST + DONE), "complete", None),
    "an unknown compression": (EVENTS, "x-new", chunks("a") + LAST + DONE, "missing", "usage_not_json"),
    "an error in a stream": (EVENTS, "", chunks("a") + b'data: {"error":{"message":"no"}}\n\n', "missing", "usage_interrupted"),
    "usage after an empty event": (EVENTS, "", b": ping\n\n\n\n" + chunks("a") + LAST + DONE, "complete", None),
    # The client may give up before enough has arrived to tell the reason.
    "a stream with invalid gzip": (EVENTS, "gzip", chunks("a") + LAST + DONE, "missing", "usage_malformed usage_interrupted"),
    "half of a gzip stream": (EVENTS, "gzip", zipped(chunks(*"abcdef") + LAST + DONE)[:60], "missing", "usage_interrupted"),
}
FRAMED = {
    "whole": (FRAME, "partial"),
    "truncated": (FRAME + FRAME[:-9], "partial"),
    "a wrong checksum": (FRAME[:-1] + b"\0", None),
    "a wrong length": (struct.pack("!I", 7) + FRAME[4:], "missing"),
    # How much the client accepts before it gives up depends on how the network splits the data.
    "an enormous length": (struct.pack("!I", 2**31) + FRAME[4:], None),
    "invalid base64": (_aws("chunk", {"bytes": "*"}), "missing"),
}


class Answers(BaseHTTPRequestHandler):
    content: tuple[str, str, bytes]

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content_type, encoding, body = self.content
        self.send_response(200)
        self.send_header("content-type", content_type)
        if encoding:
            self.send_header("content-encoding", encoding)
        self.end_headers()
        for start in range(0, len(body), 7):
            self.wfile.write(body[start : start + 7])


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def outcome(call):
    """Return what a user sees: the results in order, and the error, if any."""
    parts = []
    try:
        result = call()
        if not hasattr(result, "__next__"):
            return seen(result)
        parts.extend(seen(part) for part in result)
    except Exception as error:
        return parts, type(error), str(error)
    return parts


def compared(meter, call):
    """Check that a user sees the same with and without the meter. Return the meter's events."""
    instrument.deactivate()
    bare = outcome(call)
    meter.instrument()
    try:
        assert outcome(call) == bare
    finally:
        instrument.deactivate()
    return events_of(meter)


@pytest.mark.parametrize("case", ANSWERS)
def test_the_client_handles_a_bad_response_and_the_reason_is_counted(case, meter, url):
    content_type, encoding, body, status, reason = ANSWERS[case]
    Answers.content = content_type, encoding, body

    def call():
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as client:
            answer = client.chat.completions.create(model="gpt-asked", messages=QUESTION, stream=content_type == EVENTS)
            return iter(list(answer)) if content_type == EVENTS else answer

    events = compared(meter, call)
    remarks = {name: count for name, count in meter.stats()["remarks"].items() if count}
    if case in ("an event that is not JSON", "a later event that is not JSON") and events[0]["usage_status"] == "complete":
        # The client stops there. The scanner may have seen the rest, or a part of it, if it arrived in the same network packet.
        assert remarks == {}
        return
    assert [event["usage_status"] for event in events] == [status]
    assert all((event["cost_usd"] is None) == (status == "missing") for event in events)
    assert remarks in ([{name: 1} for name in reason.split()] if reason else [{}])


@pytest.mark.parametrize("client", ["boto3", "anthropic"])
@pytest.mark.parametrize("case", FRAMED)
def test_the_client_handles_broken_frames(case, client, meter, url):
    body, status = FRAMED[case]
    Answers.content = FRAMES, "", body
    model, keys = "anthropic.claude-sonnet-4-5-20250929-v1:0", {"aws_access_key_id": "k", "aws_secret_access_key": "k"}

    def call():
        if client == "boto3":
            amazon = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys)
            return iter(list(amazon.invoke_model_with_response_stream(modelId=model, body="{}")["body"]))
        keyed = {"aws_access_key": "k", "aws_secret_key": "k", "aws_region": "us-east-1"}
        with anthropic.AnthropicBedrock(**keyed, base_url=url, max_retries=0) as claude:
            return iter(list(claude.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=True)))

    (event,) = compared(meter, call)
    assert event["usage_status"] in ({"partial", "missing"} if status is None else {status})
    assert zlib.crc32(FRAME[:8]) == struct.unpack("!I", FRAME[8:12])[0]
