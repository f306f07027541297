"""OpenAI's realtime and responses sockets against a server on loopback."""

from __future__ import annotations

import json
import threading

import openai
import pytest
from websockets.sync.server import serve

import taximeter
from conftest import events_of
from taximeter import instrument

# openai opens its sockets in a way that websockets 17 has another for.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")

REALTIME = {
    "total_tokens": 60, "input_tokens": 37, "output_tokens": 23,
    "input_token_details": {"text_tokens": 30, "audio_tokens": 7, "cached_tokens": 11},
    "output_token_details": {"text_tokens": 4, "audio_tokens": 19},
}  # fmt: skip
RESPONSE = {"input_tokens": 41, "output_tokens": 43, "input_tokens_details": {"cached_tokens": 13}, "total_tokens": 84}


def answer(socket) -> None:
    path = socket.request.path
    if "realtime" in path:
        socket.send(
            json.dumps({"type": "session.created", "event_id": "e", "session": {"type": "realtime", "model": "gpt-realtime"}})
        )
    for message in socket:
        if json.loads(message)["type"] != "response.create":
            continue
        if "realtime" in path:
            socket.send(json.dumps({"type": "response.created", "event_id": "e", "response": {"id": "r", "usage": None}}))
            response = {"id": "r", "object": "realtime.response", "status": "completed", "output": [], "usage": REALTIME}
            socket.send(json.dumps({"type": "response.done", "event_id": "e", "response": response}))
        else:
            response = {"id": "r", "object": "response", "model": "gpt-4.1", "status": "completed", "output": [], "usage": RESPONSE}
            socket.send(json.dumps({"type": "response.completed", "sequence_number": 1, "response": response}))


@pytest.fixture
def url():
    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def metered(meter):
    instrument.activate(meter)
    yield meter
    instrument.deactivate()


def ask(connection, end):
    for _ in range(2):
        connection.response.create()
        for event in connection:
            if event.type == end:
                break


def test_every_response_over_a_realtime_socket_is_one_event(metered, url):
    with openai.OpenAI(api_key="k", websocket_base_url=url) as client, taximeter.attribute(team="t"):
        with client.realtime.connect(model="gpt-realtime") as connection:
            ask(connection, "response.done")
    events = events_of(metered)
    assert [(event["model"], event["team"], event["usage_status"]) for event in events] == [("gpt-realtime", "t", "complete")] * 2
    counts = {unit: count for unit, count in events[0]["usage"].items() if count}
    assert counts == {
        "input_tokens": 37, "output_tokens": 23, "cache_read_tokens": 11, "input_audio_tokens": 7, "output_audio_tokens": 19,
    }  # fmt: skip


async def test_responses_over_a_socket_are_events_too(metered, url):
    async with openai.AsyncOpenAI(api_key="k", websocket_base_url=url) as client, client.responses.connect() as connection:
        await connection.response.create(model="gpt-4.1", input="q")
        async for event in connection:
            if event.type == "response.completed":
                break
    (event,) = events_of(metered)
    assert (event["model"], event["usage"]["input_tokens"], event["usage"]["cache_read_tokens"]) == ("gpt-4.1", 41, 13)
