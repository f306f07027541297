"""Background requests to Teer, TokenTally, Paygent and Tokenr: stored on disk when made, and sent until accepted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import taximeter
from conftest import wait_for
from taximeter import compat
from taximeter.compat import paygent_sdk, teer, token_trackr, tokenr, tokentally
from taximeter.compat._outbox import Service, outbox_for
from vendor import VendorServer

PAYLOAD = {
    "provider": "openai",
    "model": "gpt-4o",
    "function_id": "f",
    "usage": {"input": 1000, "output": 200},
    "new": [None, 1.5, "é\ud83d"],
}


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server


def client(server, **more):
    return teer.TeerClient("canary-key", track_url=server.url, background=True, **more)


def test_a_background_call_returns_at_once_and_sends_the_same_request(outboxes, server):
    server.answers = [(200, {"id": "theirs"})]
    assert teer.TeerClient("canary-key", track_url=server.url).ingest.send(PAYLOAD) == {"id": "theirs"}
    answer = client(server).ingest.send(PAYLOAD)
    assert (len(answer["id"]), str(answer["cost_usd"])) == (36, "0.0045")
    assert compat.flush(60).pending == 0
    waited, later = server.requests
    assert later.wire == waited.wire


def test_background_responses_have_a_locally_computed_cost(outboxes, server):
    tally = tokentally.TokenTally("tt_k", base_url=server.url, background=True)
    answer = tally.track(1000, 200, "gpt-4o", "openai")
    assert (answer.success, len(answer.record_id), answer.cost_usd) == (True, 36, pytest.approx(0.0045))
    assert tally.track(1, 2, "m", cost_usd=0.5).cost_usd == 0.5
    assert tally.track(1, 2, "an unknown model").cost_usd == 0
    event = {"provider": "stripe", "fields": {"event_name": "e", "payload": {"value": "1"}}}
    meter = client(server).billing.meter_events.create(event)
    assert meter["event_name"] == "e"
    assert tally.flush(60)
    assert client(server).flush(60)
    (sent,) = [request.json["fields"] for request in server.requests if "meter-events" in request.path]
    assert sent["identifier"] == meter["identifier"]


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1, "b": -1, "c": 0.1, "d": 1e300, "e": True, "f": None, "g": [], "h": {}, "i": (1, "x"), "j": 'q"\\\n\x00\x7f'},
        {"big": 2**70, "deep": [[[[{"a": [{}]}]]]], "surrogate": "\ud83d", "é": "ü", 1: "key", "inf": 1e308},
        {"very": json.loads("[" * 60 + "]" * 60)},
        [1, {"class": type("Text", (str,), {})("t"), "number": type("Number", (int,), {})(7)}],
    ],
)
def test_bodies_are_sent_as_json_dumps_writes_them(outboxes, server, body):
    outbox = outbox_for(Service("teer", server.url, "", {}))
    assert outbox.post("/x", body)
    assert outbox.flush(60).pending == 0
    assert server.requests[0].json == json.loads(json.dumps(body))


def test_a_body_that_is_not_json_is_rejected_alone(outboxes, server):
    teers = client(server)
    for value, kind in ((float("nan"), ValueError), (object(), TypeError), (b"bytes", TypeError)):
        with pytest.raises(kind):
            teers.ingest.send({**PAYLOAD, "new": value})
    with pytest.raises(ValueError, match="headers"):
        teers.ingest.send(PAYLOAD, headers={"x": "y"})
    with pytest.raises(requests.ConnectionError, match="too_large"):
        teers.ingest.send({**PAYLOAD, "new": "x" * (48 << 10)})
    with pytest.raises(tokentally.TokenTallyError, match="too_large"):
        tokentally.TokenTally("tt_k", base_url=server.url, background=True).track(1, 2, "m", metadata={"x": "x" * (48 << 10)})
    with pytest.raises(requests.ConnectionError, match="too_large"):
        paygent_sdk.Client("k", server.url, background=True).send_usage(
            "a", "c", "x" * (48 << 10), paygent_sdk.UsageData("", "m", 0, 0)
        )
    teers.ingest.send({**PAYLOAD, "new": "x" * (47 << 10)})
    assert teers.flush(60)
    assert len(server.requests) == 1
    assert sum(one["refused"]["too_large"] for one in compat.stats() if one.get("refused")) == 3


@pytest.mark.parametrize("answers", [[(503, ""), (429, ""), "drop", (200, {})], ["drop", "drop", (500, ""), (200, {})]])
def test_a_failing_service_gets_every_event_eventually(outboxes, server, answers):
    server.answers = answers
    teers = client(server)
    for number in range(30):
        teers.ingest.send({**PAYLOAD, "function_id": str(number)})
    wait_for(lambda: teers.flush(1))
    assert {request.json["function_id"] for request in server.requests} == {*map(str, range(30))}
    (stats,) = [one for one in compat.stats() if one.get("destinations")]
    (counts,) = stats["destinations"].values()
    assert (counts["delivered"], counts["dead"], counts["pending"]) == (30, 0, 0)


def test_a_rejected_event_does_not_block_others(outboxes, server):
    server.answers = [(200, {}), (422, {"error": "no such thing as canary-key"}), (200, {})]
    teers = client(server)
    teers.ingest.send({**PAYLOAD, "function_id": "good"})
    assert teers.flush(60)
    teers.ingest.send({**PAYLOAD, "function_id": "bad"})
    assert teers.flush(60)
    teers.ingest.send({**PAYLOAD, "function_id": "better"})
    assert teers.flush(60)
    assert [request.json["function_id"] for request in server.requests] == ["good", "bad", "better"]
    (letters,) = (outboxes / "dead").iterdir()
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert (letter["status"], json.loads(letter["body"])["function_id"]) == (422, "bad")
    assert "canary-key" not in letters.read_text()


def test_orphaned_events_are_sent_only_with_their_key(outboxes, server, run):
    leave = """
        import os, sys
        from taximeter.compat.teer import TeerClient
        teer = TeerClient(sys.argv[2], track_url=sys.argv[1], background=True)
        for number in range(20):
            teer.ingest.send({"provider": "openai", "model": "m", "usage": {"input": number, "output": 0}})
        os.kill(os.getpid(), 9)
    """
    server.answers = [(503, "")]
    for key in ("first", "second"):
        assert run(leave, server.url, key, check=False).returncode == -9
    server.answers = [(200, {})]
    server.requests.clear()
    teers = teer.TeerClient("second", track_url=server.url, background=True)
    teers.ingest.send({"provider": "openai", "model": "m", "usage": {"input": 99, "output": 0}})
    wait_for(lambda: len({request.json["usage"]["input"] for request in server.requests}) == 21)
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer second"}


def test_keys_are_in_no_file_and_in_no_repr(outboxes, server):
    server.answers = [(503, "canary-key")]
    teers = client(server)
    teers.ingest.send(PAYLOAD)
    teers.flush(0.5)
    found = [path for path in outboxes.rglob("*") if path.is_file() and b"canary-key" in path.read_bytes()]
    assert not found
    assert "canary-key" not in repr(vars(teers)) + repr(compat.stats())


def test_a_forked_child_that_exits_at_once_loses_nothing(outboxes, server):
    teers = client(server)
    teers.ingest.send({**PAYLOAD, "function_id": "parent"})
    assert teers.flush(60)
    child = os.fork()
    if child == 0:
        teers.ingest.send({**PAYLOAD, "function_id": "child"})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    wait_for(lambda: {request.json["function_id"] for request in server.requests} == {"parent", "child"})
    assert len(server.requests) == 2


@pytest.mark.parametrize("which", ["teer", "tokenr", "paygent", "tokentally", "token_trackr"])
def test_a_script_of_one_event_delivers_it_before_it_ends(which, server, run, tmp_path):
    texts = {
        "teer": "from taximeter.compat.teer import TeerClient; TeerClient('k', track_url=url, background=True).ingest.send({})",
        "tokenr": "from taximeter.compat import tokenr; tokenr.init(token='k', url=url); tokenr.track('p', 'm', 1, 2)",
        "paygent": "from taximeter.compat.paygent_sdk import Client; Client('k', url).send_indicator('a', 'c', 'i')",
        "tokentally": "from taximeter.compat.tokentally import TokenTally; TokenTally('tt_k', url, background=True).track(1, 2, 'm')",
        "token_trackr": (
            "from taximeter.compat.token_trackr import *; "
            "TokenTrackrClient(TokenTrackrConfig(backend_url=url)).record('gemini', 'm', 1, 2)"
        ),
    }
    run(f"import sys; url = sys.argv[1]; {texts[which]}", server.url, HOME=str(tmp_path))
    assert len(server.requests) == (2 if which == "paygent" else 1)


def test_a_program_exits_soon_if_the_service_does_not_respond(run):
    outcome = run(
        """
        import time
        from taximeter.compat import _outbox, paygent_sdk, teer, tokenr
        import atexit
        _outbox._EXIT_SECONDS = 6.0
        began = []
        atexit.register(lambda: print(time.monotonic() - began[0]))
        tokenr.init(token="k", url="http://127.0.0.1:1/")
        tokenr.track("p", "m", 1, 2)
        teer.TeerClient("k", track_url="http://127.0.0.1:1", background=True).ingest.send({})
        paygent_sdk.Client("k", "http://127.0.0.1:1").send_indicator("a", "c", "i")
        atexit.register(lambda: began.append(time.monotonic()))
        """
    )
    # Three services, each of which would be waited for as long as for one.
    assert float(outcome.stdout) < 16


def test_disabled_sends_nothing_and_breaks_no_call(server, run):
    outcome = run(
        """
        import sys, openai
        from taximeter.compat import paygent_sdk, teer, tokenr
        url = sys.argv[1]
        tokenr.init(token="k", url=url)
        tokenr.track("p", "m", 1, 2)
        print(teer.TeerClient("k", track_url=url, background=True).ingest.send({}))
        print(paygent_sdk.Client("k", url, background=True).send_usage("a", "c", "i", paygent_sdk.UsageData("", "m", 0, 0)))
        """,
        server.url, TAXIMETER_DISABLED="1",
    )  # fmt: skip
    assert outcome.stdout.splitlines() == ["{'id': None, 'cost_usd': None}", "None"]
    assert server.requests == []


def test_unreadable_settings_lose_no_event(server, run):
    outcome = run(
        """
        import sys
        from taximeter.compat import teer
        client = teer.TeerClient("k", track_url=sys.argv[1], background=True)
        client.ingest.send({})
        print(client.flush(10))
        """,
        server.url, TAXIMETER_BACKEND="nonsense",
    )  # fmt: skip
    assert (outcome.stdout, len(server.requests)) == ("True\n", 1)
    assert "settings cannot be read" in outcome.stderr


def test_one_report_covers_all_five(outboxes, server):
    """Report the same call through each interface. The ledger has one schema for all."""
    both = {"destination": ("ledger",)}
    payload = {
        "provider": "openai",
        "model": "gpt-4o",
        "usage": {"input": 1000, "output": 200},
        "metadata": {"organization_id": "acme"},
    }
    teer.TeerClient(**both).ingest.send(payload)
    tokentally.TokenTally("tt_k", **both).track(1000, 200, "gpt-4o", "openai", metadata={"feature": "chat"})
    trackr = token_trackr.TokenTrackrClient(token_trackr.TokenTrackrConfig(tenant_id="acme"), **both)
    trackr.record("azure_openai", "gpt-4o", 1000, 200)
    paygent_sdk.Client("k", **both).send_usage("agent", "acme", "chat", paygent_sdk.UsageData("OpenAI", "gpt-4o", 1000, 200))
    paygent_sdk.Client("k", **both).send_usage_v2("agent", "acme", "chat", paygent_sdk.RawUsageData("OpenAI", "gpt-4o", 1000, 200))
    tokenr.init(destination="ledger", agent_id="agent")
    tokenr.track("openai", "gpt-4o", 1000, 200, feature_name="chat")
    assert trackr.flush() == []
    taximeter.flush(10)
    assert server.requests == []
    ledger = taximeter.Ledger(outboxes / "ledger.db")
    (row,) = ledger.report(by=("model",)).rows
    assert (row.calls, row.input_tokens, row.output_tokens, str(row.cost_usd)) == (6, 6000, 1200, "0.027")
    events = list(ledger.events())
    assert {event["cost_usd"] for event in events} == {"0.0045"}
    assert {event["provider"] for event in events} == {"openai", "azure.ai.openai"}
    assert sum(event.get("customer") == "acme" for event in events) == 4
    assert sum(event.get("feature") == "chat" for event in events) == 4


def test_events_with_a_mistyped_or_replaced_key_can_be_taken_over(outboxes, server, run):
    server.answers = [(401, "")]
    leave = """
        import os, sys
        from taximeter.compat.teer import TeerClient
        client = TeerClient("mistyped", track_url=sys.argv[1], background=True)
        client.ingest.send({"function_id": "of another process"})
        client.flush(5)
        os.kill(os.getpid(), 9)
    """
    assert run(leave, server.url, check=False).returncode == -9
    teers = teer.TeerClient("mistyped", track_url=server.url, background=True)
    teers.ingest.send({"function_id": "of this one"})
    # A flush does not wait for a failure that needs a configuration fix.
    began = time.monotonic()
    assert not teers.flush(300)
    assert time.monotonic() - began < 200
    server.answers = [(200, {})]
    server.requests.clear()
    teers.api_key = "right"
    teers.ingest.send({"function_id": "new"})
    assert teers.flush(60)
    assert [request.json["function_id"] for request in server.requests] == ["new"]
    assert compat.take_over("tokenr", "mistyped") == 0
    assert compat.take_over("teer", "mistyped") == 2
    assert {request.json["function_id"] for request in server.requests} == {"new", "of this one", "of another process"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer right"}
    assert len(server.requests) == 3


def test_a_killed_program_repeats_only_requests_in_flight(outboxes, server, run):
    server.delay = 0.1
    text = """
        import sys
        from taximeter.compat import tokenr
        tokenr.init(token="t", url=sys.argv[1])
        for number in range(int(sys.argv[2])):
            tokenr.track("p", "m", number, 0)
    """
    run(text, server.url, "300")
    taken = len(server.requests)
    assert 0 < taken < 300
    server.delay = 0
    tokenr.init(token="t", url=server.url)
    tokenr.track("p", "m", 999, 0)
    wait_for(lambda: {request.json["input_tokens"] for request in server.requests} == {*range(300), 999})
    assert len(server.requests) - 301 <= 32


def test_orphaned_poison_requests_do_not_block_other_journals(outboxes, server, run):
    leave = """
        import os, sys
        from taximeter.compat.teer import TeerClient
        client = TeerClient("k", track_url=sys.argv[1], background=True)
        for number in range(5):
            client.ingest.send({"function_id": sys.argv[2] * (number + 1)})
        client.ingest.send({"function_id": f"bad {sys.argv[2]}"})
        os.kill(os.getpid(), 9)
    """
    server.answers = [(503, "")]
    for name in "AB":
        run(leave, server.url, name, check=False)
    server.requests.clear()

    class Failing(list):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, _index):
            return (500, "") if b"bad" in server.requests[-1].body else (200, {})

    server.answers = Failing()
    teers = teer.TeerClient("k", track_url=server.url, background=True)
    teers.ingest.send({"function_id": "new"})
    wanted = {name * count for name in "AB" for count in range(1, 6)} | {"new"}
    wait_for(lambda: wanted <= {request.json["function_id"] for request in server.requests})
    taken = [request.json["function_id"] for request in server.requests if b"bad" not in request.body]
    assert sorted(taken) == sorted(wanted)

    def both_are_dead() -> bool:
        # Other accepted requests show that the service works.
        teers.ingest.send({"function_id": "more"})
        time.sleep(0.3)
        return "bad A" in dead_letters(outboxes) and "bad B" in dead_letters(outboxes)

    wait_for(both_are_dead)
    taken = [request.json["function_id"] for request in server.requests if b"bad" not in request.body]
    assert sorted(one for one in taken if one != "more") == sorted(wanted)


def dead_letters(state: Path) -> str:
    return "".join(path.read_text() for path in (state / "dead").glob("*"))


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_the_same_host_is_followed_with_the_body(outboxes, server, status):
    server.answers = [(status, ""), (200, {})]
    server.headers = {"location": "/moved"}
    client(server).ingest.send(PAYLOAD)
    assert client(server).flush(60)
    first, second = server.requests
    assert (first.path, second.path) == ("/v1/ingest", "/moved")
    assert (first.body, first.headers["authorization"]) == (second.body, second.headers["authorization"])


def test_a_redirect_that_would_lose_the_body_pauses_with_a_warning(outboxes, server, caplog):
    server.answers = [(302, "")]
    server.headers = {"location": "/moved"}
    client(server).ingest.send(PAYLOAD)
    assert not client(server).flush(10)
    compat.stats()
    assert "answered 302; set the URL that it redirects to" in caplog.text
    assert "canary-key" not in caplog.text
    assert [request.path for request in server.requests] == ["/v1/ingest"]


def test_no_event_is_delivered_and_pending_at_once(outboxes, server):
    server.delay = 0.02
    server.answers = [(200, {})]
    background = client(server)
    for _ in range(200):
        background.ingest.send(PAYLOAD)
    while (counts := next(iter(background._outbox.stats()["destinations"].values())))["pending"]:
        assert counts["delivered"] + counts["pending"] <= 200
    assert counts["delivered"] == 200


def test_an_unused_account_has_no_counts(outboxes, server):
    unused = client(server)
    assert compat.stats() == []
    assert compat.flush(1) == (0, 0, 0)
    unused.ingest.send(PAYLOAD)
    assert [one["service"] for one in compat.stats()] == ["teer"]


def test_events_can_be_taken_over_before_the_first_event(outboxes, server, run):
    """As in a program that is started after a key was replaced, and that has not reported anything yet."""
    begin = """
        import sys
        from taximeter import compat
        from taximeter.compat import paygent_sdk, teer, token_trackr, tokenr, tokentally
        url, key = sys.argv[1:]
        teers = teer.TeerClient(key, track_url=url, background=True)
        tally = tokentally.TokenTally("tt_" + key, base_url=url, background=True)
        trackr = token_trackr.TokenTrackrClient(token_trackr.TokenTrackrConfig(url, key))
        paygent = paygent_sdk.Client(key, url)
        tokenr.init(key, url)
    """
    report = """
        teers.ingest.send({})
        tally.track(1, 2, "m")
        trackr.record("bedrock", "m", 1, 2)
        paygent.create_or_get_customer(paygent_sdk.CustomerCreateOrGetRequest("c", "c"))
        tokenr.track("p", "m", 1, 2)
    """
    take = """
        keys = {"teer": "old", "tokentally": "tt_old", "token_trackr": "old", "paygent": "old", "tokenr": "old"}
        print([compat.take_over(*account) for account in keys.items()])
    """
    server.answers = [(401, "")]
    run(begin + report, server.url, "old", TOKEN_TRACKR_METADATA_URL="")
    stored = {
        "id": "1",
        "tenant_id": "t",
        "provider": "p",
        "model": "m",
        "total_tokens": 3,
        "calculated_cost": 1,
        "timestamp": "2026-01-01",
    }
    server.answers = [(201, stored)]
    assert run(begin + take, server.url, "new", TOKEN_TRACKR_METADATA_URL="").stdout.strip() == "[1, 1, 1, 1, 1]"
