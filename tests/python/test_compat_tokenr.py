"""The interface of `tokenr`: requests, compared with the original, with real clients."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest
import tokenr as original

import taximeter
from conftest import wait_for
from taximeter import compat
from taximeter.compat import tokenr
from vendor import VendorServer

QUESTION = [{"role": "user", "content": "a secret question"}]
OWN = {"tokenr_agent_id": "ag", "tokenr_feature": "ft", "tokenr_team_id": "tm", "tokenr_tags": {"x": "y"}}
CALLS = {
    "readme": (("custom-provider", "custom-model-v1", 1000, 500), {"agent_id": "my-agent", "feature_name": "translation", "tags": {"language": "es"}}),
    "least": (("openai", "gpt-4", 100, 50), {}),
    "all": (
        ("openai", "gpt-4", 0, 0),
        {"agent_id": "a", "feature_name": "f", "team_id": "t", "status": "error", "latency_ms": 0, "tags": {"k": "v", "n": 1, "d": {"e": []}},
         "requested_at": "2025-01-01T00:00:00Z", "cache_read_tokens": 7, "cache_write_tokens": 0},
    ),
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        server.answers = [(200, {"success": True, "cost": 0.0012})]
        yield server


@pytest.fixture
def script(run, provider, server) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python text with our or the original `tokenr`, real clients and a fake service."""

    def start(text: str, *, ours: bool = True, url: str | None = None, **environment: str):
        begin = f"""
            import sys, threading, time
            if {ours}:
                from taximeter import compat
                compat.install("tokenr")
            import tokenr
            URL, QUESTION, OWN = {url or server.url + "/api/v1/track"!r}, {QUESTION!r}, {OWN!r}
        """
        clients = f"""
            import openai, anthropic
            gpt = openai.OpenAI(api_key="k", base_url={provider.url + "/v1"!r}, max_retries=0)
            claude = anthropic.Anthropic(api_key="k", base_url={provider.url!r}, max_retries=0)
            CHAT = {{"model": "gpt-4o", "messages": QUESTION}}
            MESSAGE = {{"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": QUESTION}}
        """
        # Importing the clients takes two seconds.
        wanted = clients if re.search(r"""\b(gpt|claude|openai|anthropic)\b(?!['"-])""", text) else ""
        return run(textwrap.dedent(begin) + textwrap.dedent(wanted) + textwrap.dedent(text), **environment)

    return start


def bodies(server) -> list[dict]:
    return [request.json for request in server.requests]


@pytest.mark.parametrize("name", CALLS)
def test_requests_equal_the_originals(outboxes, server, name):
    args, kwargs = CALLS[name]
    for module in (original, tokenr):
        module.init(token="your-tokenr-token", url=f"{server.url}/api/v1/track", agent_id="default", tags={"environment": "prod"})
        module.track(*args, **kwargs)
        wait_for(lambda: not [thread for thread in threading.enumerate() if "_send" in thread.name])
        assert compat.flush(60).pending == 0
    theirs, ours = server.requests
    (method, path, headers, _), body = ours.wire, ours.json
    if "requested_at" not in kwargs:
        # The original does not send a time. The service then uses the time of the request.
        assert body.pop("requested_at").endswith("+00:00")
    assert (method, path, headers) == theirs.wire[:3]
    assert json.dumps(body) == json.dumps(theirs.json)


def test_positional_arguments_have_the_order_of_the_readme(outboxes, server):
    tokenr.init(token="t", url=server.url)
    tokenr.track("p", "m", 1, 2, "agent", "feature", "team", "error", 12, {"k": "v"}, "2025-01-01T00:00:00Z")
    wait_for(lambda: server.requests)
    assert bodies(server)[0] == {
        "provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 2, "agent_id": "agent", "feature_name": "feature",
        "team_id": "team", "status": "error", "latency_ms": 12, "tags": {"k": "v"}, "requested_at": "2025-01-01T00:00:00Z",
    }  # fmt: skip


def test_clients_calls_are_tracked_like_by_the_original(script, server):
    text = """
        tokenr.init(token="t", url=URL, agent_id="default", tags={"env": "prod"})
        gpt.chat.completions.create(**CHAT)
        gpt.chat.completions.create(**CHAT, **OWN)
        claude.messages.create(**MESSAGE, **OWN)
        # The original sends in threads that end with the program.
        [thread.join(60) for thread in threading.enumerate() if thread is not threading.main_thread()]
    """
    script(text, ours=False)
    theirs, server.requests[:] = bodies(server), []
    script(text)
    ours = bodies(server)
    assert len(ours) == 3
    for body in (*ours, *theirs):
        body.pop("requested_at", None)
        assert 0 <= body.pop("latency_ms") < 300_000
    assert sorted(map(json.dumps, ours)) == sorted(map(json.dumps, theirs))


def test_every_kind_of_call_is_one_event_with_its_keywords(script, server):
    outcome = script(
        """
        import asyncio
        from pydantic import BaseModel
        for _ in range(3):
            tokenr.init(token="t", url=URL)
        class Answer(BaseModel):
            a: int = 0
        async def asked():
            async with openai.AsyncOpenAI(api_key="k", base_url=gpt.base_url) as client:
                await client.chat.completions.create(**CHAT, **OWN)
                [_ async for _ in await client.chat.completions.create(**CHAT, stream=True, stream_options=USAGE, **OWN)]
            async with anthropic.AsyncAnthropic(api_key="k", base_url=claude.base_url) as client:
                await client.messages.create(**MESSAGE, **OWN)
                async with client.messages.stream(**MESSAGE, **OWN) as stream:
                    await stream.get_final_message()
        USAGE = {"include_usage": True}
        gpt.chat.completions.create(**CHAT, **OWN)
        list(gpt.chat.completions.create(**CHAT, stream=True, stream_options=USAGE, **OWN))
        gpt.chat.completions.with_raw_response.create(**CHAT, **OWN).parse()
        gpt.responses.create(model="gpt-4o", input="a secret question", **OWN)
        gpt.embeddings.create(model="text-embedding-3-small", input="a secret question", **OWN)
        claude.messages.create(**MESSAGE, **OWN)
        list(claude.messages.create(**MESSAGE, stream=True, **OWN))
        with claude.messages.stream(**MESSAGE, **OWN) as stream:
            stream.get_final_message()
        asyncio.run(asked())
        print(compat.flush(10))
        """
    )
    assert "pending=0" in outcome.stdout
    assert len(server.requests) == 12
    for body in bodies(server):
        assert (body["agent_id"], body["feature_name"], body["team_id"], body["tags"]) == ("ag", "ft", "tm", {"x": "y"})
        assert body["input_tokens"] > 0 and "secret" not in json.dumps(body)


@pytest.mark.parametrize("how", ["enabled=False", "", "token='t', destination='nowhere'"])
def test_keywords_never_reach_a_client_even_if_tracking_is_off(script, server, provider, how):
    script(
        f"""
        tokenr.init({how})
        gpt.chat.completions.create(**CHAT, **OWN)
        list(gpt.chat.completions.create(**CHAT, stream=True, **OWN))
        gpt.embeddings.create(model="text-embedding-3-small", input="x", **OWN)
        claude.messages.create(**MESSAGE, **OWN)
        tokenr.track("p", "m", 1, 2)
        """
    )
    assert server.requests == []
    assert len(provider.requests) == 4 and "tokenr" not in str(provider.requests)


def test_errors_of_a_provider_are_unchanged(script, server):
    outcome = script(
        """
        tokenr.init(token="t", url=URL)
        try:
            gpt.chat.completions.create(model="gpt-error", messages=QUESTION, **OWN)
        except openai.APIStatusError as error:
            print(type(error).__name__, error.status_code)
        """
    )
    assert outcome.stdout.startswith(("BadRequestError", "InternalServerError", "RateLimitError"))
    assert server.requests == []


def test_nothing_raises_and_invalid_events_are_counted(outboxes, server, caplog):
    tokenr.init(token="t", url=server.url, tags=["no", "mapping"])
    for args, kwargs in (
        ((None, "m", 1, 2), {}), (("p", "", 1, 2), {}), (("p", "m", -1, 2), {}), (("p", "m", 1, None), {}), (("p", "m", 1.5, 2), {}),
        (("p", "m", True, 2), {}), (("p", "m", 1, 10**13), {}), (("p", "m", 1, 2), {"cache_read_tokens": "7"}),
    ):  # fmt: skip
        assert tokenr.track(*args, **kwargs) is None
    tokenr.track("p", "m", 1, 2, tags=["a"])
    tokenr.track("p", "m", 1, 2, tags={"set": {1}, "a": 1})
    tokenr.track("p", "m", 1, 2, tags={"nan": float("nan")})
    assert compat.flush(60).pending == 0
    assert [body.get("tags", {}) for body in bodies(server)] == [{}, {"a": 1}, {}]
    (stats,) = [one for one in compat.stats() if one.get("destinations")]
    assert (stats["remarks"]["invalid_usage"] if "invalid_usage" in stats["remarks"] else stats["refused"]["invalid_usage"]) == 6
    assert stats["refused"]["missing_provider"] == stats["refused"]["missing_model"] == 1
    assert any("input_tokens" in record.getMessage() for record in caplog.records)


def test_changed_settings_apply_to_later_events(outboxes, server):
    tokenr.init(token="first", url=server.url)
    tokenr.track("p", "m", 1, 2)
    tokenr.configure(token="second", agent_id="later", tags={"k": "v"}, nonsense=1)
    tokenr.track("p", "m", 1, 2)
    tokenr.configure(enabled=False)
    tokenr.track("p", "m", 1, 2)
    assert compat.flush(60).pending == 0
    seen = {request.headers["authorization"]: request.json.get("agent_id") for request in server.requests}
    assert seen == {"Bearer first": None, "Bearer second": "later"}


def test_events_are_retried_until_the_service_accepts_them(script, server):
    server.answers = ["drop", (500, ""), (429, ""), (200, {})]
    script("tokenr.init(token='t', url=URL)\nfor n in range(5): tokenr.track('p', 'm', n, 0)\ncompat.flush(30)")
    assert {body["input_tokens"] for body in bodies(server)} == {*range(5)}


def test_debug_prints_results_but_no_part_of_the_token(script, server):
    text = "tokenr.init(token='secrettoken', url=URL, debug=True)\ntokenr.track('openai', 'gpt-4', 100, 50)\ntime.sleep(0.5)"
    assert script(text).stdout.splitlines() == ["[Tokenr] Initialized with token: ***", "[Tokenr] Tracked: gpt-4 - $0.0012"]
    server.answers = [(401, '{"error": "no"}')]
    assert script(text).stdout.splitlines()[1:] == ['[Tokenr] Error: 401 - {"error": "no"}']
    refused = script(text, url="http://127.0.0.1:1/").stdout.splitlines()
    assert refused[1].startswith("[Tokenr] Failed to track: ") and "refused" in refused[1]
    # The response to this event arrives while the program exits.
    server.answers = [(200, {"cost": 7})]
    assert script(text.replace("time.sleep(0.5)", "")).stdout.splitlines()[-1] == "[Tokenr] Tracked: gpt-4 - $7"
    assert script("tokenr.init(debug=True)").stdout.startswith("[Tokenr] Warning: No API token provided")
    tokenr.configure(token="secrettoken")
    assert "secrettoken" not in repr(tokenr._config) and tokenr._config["token"] == "secrettoken"


def test_token_and_url_come_from_the_environment(script, server):
    script("tokenr.init()\ntokenr.track('p', 'm', 1, 2)", TOKENR_TOKEN="from-outside", TOKENR_URL=f"{server.url}/elsewhere")
    (request,) = server.requests
    assert (request.path, request.headers["authorization"]) == ("/elsewhere", "Bearer from-outside")


@pytest.mark.parametrize("metered", [True, False])
def test_tokenr_and_the_ledger_each_have_a_call_once_with_its_attribution(script, server, state, metered):
    """Run with and without taximeter metering the same client."""
    script(
        f"""
        import taximeter
        tokenr.init(token="t", url=URL, agent_id="default", destination=("tokenr", "ledger"))
        if {metered}:
            taximeter.init()
        gpt.chat.completions.create(**CHAT, **OWN)
        claude.messages.create(**MESSAGE)
        tokenr.track("openai", "gpt-4o", 900, 50, cache_read_tokens=100, requested_at="2026-11-01T00:00:00Z")
        """
    )
    assert len(server.requests) == 3
    events = list(taximeter.Ledger(state / "ledger.db").events())
    assert len(events) == 3
    (chat,) = [event for event in events if event.get("feature") == "ft"]
    (message,) = [event for event in events if event["provider"] == "anthropic"]
    (told,) = [event for event in events if event["usage"]["input_tokens"] == 1000]
    assert (chat["agent"], chat["team"], chat["tags"]) == ("ag", "tm", {"x": "y"})
    assert (message["agent"], told["usage"]["cache_read_tokens"]) == ("default", 100)


def test_public_names_equal_the_originals():
    assert tokenr.__all__ == sorted(original.__all__)
    assert tokenr.__version__ == original.__version__
    assert {*original._config} == {*tokenr._config}
    assert sys.modules["taximeter.compat.tokenr"]._original_methods == {}
    assert openai.__version__ and anthropic.__version__


LATER = ("openai", "gpt-4", 100, 50, 80, 7, "agent", "feature", "team", "error", 5, {"k": "v"}, "2025-01-01T00:00:00Z")


@pytest.mark.parametrize("number", [5, 6, 7, 10, 13])
def test_positional_arguments_of_both_versions_are_understood(outboxes, server, number):
    """`original` has the order of 0.1.2 and later, this package that of the README."""
    for module in (original, tokenr):
        module.init(token="t", url=server.url)
        module.track(*LATER[:number])
        wait_for(lambda module=module: len(server.requests) == 1 + (module is tokenr))
    theirs, ours = (request.json for request in server.requests)
    ours.pop("requested_at")
    theirs.pop("requested_at", None)
    assert ours == theirs
    tokenr.track("openai", "gpt-4", 1, 2, 3, agent_id="by name")
    tokenr.track("openai", "gpt-4", 1, 2, "agent", "feature")
    with pytest.raises(TypeError):
        tokenr.track("openai", "gpt-4", 1, 2, 3, cache_read_tokens=4)
    wait_for(lambda: len(server.requests) == 4)
    assert {(request.json.get("agent_id"), request.json.get("cache_read_tokens")) for request in server.requests[2:]} == {
        ("by name", 3), ("agent", None),
    }  # fmt: skip


def test_a_bad_tag_is_left_out_alone(outboxes, server):
    tokenr.init(token="t", url=server.url, tags={"env": "prod"})
    tokenr.track("p", "m", 1, 2, tags={"bad": object(), "nan": float("nan"), 5: "key", "good": "v", "list": [1]})
    tokenr.track("p", "m", 1, 2, tags=["no mapping"])
    assert compat.flush(60).pending == 0
    assert sorted(server.requests, key=lambda one: len(one.body))[1].json["tags"] == {"env": "prod", "good": "v", "list": [1]}
    (stats,) = compat.stats()
    assert stats["remarks"]["invalid_text"] == 1
