"""WebSockets: OpenAI's realtime, live and responses sessions, and Gemini's live session, against a server on loopback."""

from __future__ import annotations

import json
import ssl

import openai
import pytest
import trustme
from google import genai

import taximeter
from conftest import events_of
from fake_endpoints import socket_server

# openai uses an interface that websockets 17 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")

REALTIME = {
    "total_tokens": 60, "input_tokens": 37, "output_tokens": 23,
    "input_token_details": {"text_tokens": 30, "audio_tokens": 7, "cached_tokens": 11},
    "output_token_details": {"text_tokens": 4, "audio_tokens": 19},
}  # fmt: skip
GEMINI = {
    "promptTokenCount": 47, "responseTokenCount": 53, "totalTokenCount": 100,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 43}], "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 53}],
}  # fmt: skip
RESPONSE = {"input_tokens": 41, "output_tokens": 43, "input_tokens_details": {"cached_tokens": 13}, "total_tokens": 84}


def live(socket) -> None:
    """Serve OpenAI's live session: running totals of seconds, and the usage of another model that it called."""

    def send(kind, **more):
        socket.send(json.dumps({"type": kind, "event_id": "e", **more}))

    session = {"id": f"sess-{id(socket)}", "model": "gpt-live-1", "type": "live", "object": "live.session"}
    send("session.started", session=session)
    for seconds in (2.5, 6.0):
        send("session.usage.updated", usage={"seconds": seconds})
    response = {"id": f"resp-{id(socket)}", "object": "response", "model": "gpt-4.1", "status": "completed", "usage": RESPONSE}
    send("response.event", event={"type": "response.completed", "sequence_number": 1, "response": response})
    for _ in socket:
        send("session.closed", reason="close_requested", session=session, usage={"seconds": 7.5})


def gemini(socket) -> None:
    """Serve Gemini's live session: partial usage during a turn, and its total with the last message."""
    next(iter(socket))
    socket.send(json.dumps({"setupComplete": {}}))
    for _ in socket:
        grounding = {"webSearchQueries": ["price a", "price b"]}
        part = {**GEMINI, "responseTokenCount": 1, "totalTokenCount": 48}
        socket.send(json.dumps({"serverContent": {"groundingMetadata": grounding}, "usageMetadata": part}))
        socket.send(json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": GEMINI}))


def answer(socket) -> None:
    path = socket.request.path
    assert not [name for name in socket.request.headers if "taximeter" in name.lower()]
    if "BidiGenerateContent" in path:
        return gemini(socket)
    if "/live" in path:
        return live(socket)
    if "realtime" in path:
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        session = {"type": "realtime", "model": "gpt-realtime", "audio": audio}
        socket.send(json.dumps({"type": "session.created", "event_id": "e", "session": session}))
        heard = {"type": "tokens", "input_tokens": 59, "output_tokens": 61, "total_tokens": 120}
        kind = "conversation.item.input_audio_transcription.completed"
        socket.send(
            json.dumps({"type": kind, "event_id": "e", "item_id": "i", "content_index": 0, "transcript": "x", "usage": heard})
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
    with socket_server(answer) as url:
        yield url


def ask(connection, end):
    for _ in range(2):
        connection.response.create()
        for event in connection:
            if event.type == end:
                break


@pytest.mark.way("openai", "realtime socket")
def test_every_response_over_a_realtime_socket_is_one_event(metered, url):
    own = {"x-taximeter-user": "of the client"}
    with openai.OpenAI(api_key="k", websocket_base_url=url, default_headers=own) as client, taximeter.attribute(team="t"):
        # The server's handler fails if it gets one of taximeter's headers.
        headers = {"x-taximeter-team": "of the connection"}
        with client.realtime.connect(model="gpt-realtime", extra_headers=headers, taximeter_feature="f") as connection:
            ask(connection, "response.done")
    heard, *events = events_of(metered)
    assert (heard["model"], heard["operation"], heard["usage"]["input_tokens"]) == ("gpt-4o-transcribe", "transcription", 59)
    told = [(event["model"], event["team"], event["feature"], event["usage_status"]) for event in events]
    assert told == [("gpt-realtime", "of the connection", "f", "complete")] * 2
    counts = {unit: count for unit, count in events[0]["usage"].items() if count}
    assert counts == {
        "input_tokens": 37, "output_tokens": 23, "cache_read_tokens": 11, "input_audio_tokens": 7, "output_audio_tokens": 19,
    }  # fmt: skip


@pytest.mark.way("openai", "responses socket")
async def test_every_response_over_a_responses_socket_is_one_event(metered, url):
    async with openai.AsyncOpenAI(api_key="k", websocket_base_url=url) as client, client.responses.connect() as connection:
        await connection.response.create(model="gpt-4.1", input="q")
        async for event in connection:
            if event.type == "response.completed":
                break
    (event,) = events_of(metered)
    assert (event["model"], event["usage"]["input_tokens"], event["usage"]["cache_read_tokens"]) == ("gpt-4.1", 41, 13)


def test_keywords_of_connect_count_for_what_its_socket_answers(metered, url):
    with openai.OpenAI(api_key="k", websocket_base_url=url) as client, taximeter.attribute(feature="outer"):
        with client.responses.connect(taximeter_team="own") as connection:
            connection.response.create(model="gpt-4.1", input="q")
            next(event for event in connection if event.type == "response.completed")
    (event,) = events_of(metered)
    assert (event["team"], event["feature"]) == ("own", "outer")


@pytest.mark.way("openai", "live session")
@pytest.mark.parametrize("ends", ["closed", "left"])
def test_a_live_session_is_one_event_and_its_delegated_call_another(metered, url, ends):
    with openai.OpenAI(api_key="k", websocket_base_url=url) as client, taximeter.attribute(team="t"):
        with client.live.connect() as connection:
            for event in connection:
                if event.type == "response.event" and ends == "closed":
                    connection.session.close()
                elif event.type in ("response.event", "session.closed"):
                    break
    asked, session = events_of(metered)
    assert (asked["model"], asked["usage"]["input_tokens"], asked["team"]) == ("gpt-4.1", 41, "t")
    assert (session["model"], session["team"]) == ("gpt-live-1", "t")
    # Each report is a total of the session so far, so reports are not summed.
    assert session["usage"]["audio_seconds"] == {"closed": 7.5, "left": 6.0}[ends]
    assert session["usage_status"] == {"closed": "complete", "left": "partial"}[ends]


@pytest.fixture
def secure(tmp_path):
    """Return the server's URL over TLS, which Gemini's client requires, and a context that trusts it."""
    authority = trustme.CA()
    own, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(own)
    authority.configure_trust(theirs)
    with socket_server(answer, "https", ssl=own) as url:
        yield url, theirs


@pytest.mark.way("google.genai", "live session")
async def test_every_turn_of_a_gemini_live_session_is_one_event(metered, secure):
    url, context = secure
    client = genai.Client(api_key="k", http_options={"base_url": url, "async_client_args": {"ssl": context}})
    with taximeter.attribute(team="t"):
        async with client.aio.live.connect(model="gemini-live-2.5") as session:
            for _ in range(2):
                await session.send_client_content(turns={"role": "user", "parts": [{"text": "q"}]})
                assert [message async for message in session.receive()]
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "q"}]})
            async for _ in session.receive():
                break
    events = events_of(metered)
    counts = {unit: count for unit, count in events[0]["usage"].items() if count}
    # Searches of a live session left no trace.
    searched = {"web_searches": 2}
    assert counts == {"input_tokens": 47, "output_tokens": 53, "input_audio_tokens": 43, "output_audio_tokens": 53, **searched}
    assert [(event["model"], event["team"]) for event in events] == [("gemini-live-2.5", "t")] * 3
    assert [event["usage_status"] for event in events] == ["complete", "complete", "partial"]
