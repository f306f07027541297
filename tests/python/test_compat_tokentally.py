"""The interface of `tokentally`: requests, return values and errors, compared with the original."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
import tokentally as original

import taximeter
from taximeter.compat import tokentally
from vendor import VendorServer

RECORDED = {"success": True, "record_id": "rec_1", "cost_usd": 0.25}
AT = datetime(2026, 11, 22, 4, 43, 18, 126777, tzinfo=timezone.utc)
ALL = {
    "tokens_in": 1, "tokens_out": 2, "model": "m", "provider": "anthropic", "cost_usd": 0.5, "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 7, "credits": 3, "resolution": "1x1", "quality": "hd", "runtime_ms": 12, "stop_reason": "end_turn",
    "error_message": "e", "metadata": {"a": 1},
}  # fmt: skip
CALLS = {
    "a few fields": {"tokens_in": 150, "tokens_out": 300, "model": "claude", "metadata": {"feature": "chat"}},
    "all": ALL,
    "zeros and empty texts": {**dict.fromkeys(ALL, 0), "model": "", "provider": "", "metadata": {}, "stop_reason": "", "quality": ""},
    "required fields": {"tokens_in": 0, "tokens_out": 0, "model": "m"},
}


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        server.answers = [(200, RECORDED)]
        yield server


def make(module, url, *, timeout=30.0, **more):
    return module.TokenTally("tt_key", base_url=url, timeout=timeout, **more)


@pytest.mark.parametrize("name", CALLS)
def test_requests_equal_the_originals(server, name):
    for module in (original, tokentally):
        usage = module.UsageData(**CALLS[name], timestamp=AT)
        assert make(module, server.url).track_usage_data(usage).__dict__ == RECORDED
    theirs, ours = server.requests
    assert theirs.wire == ours.wire
    assert ours.headers["user-agent"] == theirs.headers["user-agent"]


def test_track_has_the_argument_order_of_the_readme_and_sets_the_time(server):
    make(tokentally, server.url).track(1, 2, "m", "openai", 30, "stop", None, {"a": 1}, credits=3)
    body = server.requests[0].json
    assert (body["runtime_ms"], body["stop_reason"], body["credits"], body["metadata"]) == (30, "stop", 3, {"a": 1})
    assert abs((datetime.now(timezone.utc) - datetime.fromisoformat(body["timestamp"])).total_seconds()) < 300
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((401, {}), "AuthenticationError", "Invalid API key"),
        ((429, {"error": "slow"}), "RateLimitError", "slow"),
        ((429, "no JSON"), "RateLimitError", "Rate limit exceeded"),
        ((403, {}), "TokenTallyError", "Request failed: Client error '403 Forbidden' for url"),
        ((302, {}), "TokenTallyError", "Request failed: Redirect response '302 Found' for url"),
        ((200, "no JSON"), "TokenTallyError", "not a JSON object"),
        ((200, [1]), "TokenTallyError", "not a JSON object"),
        ("drop", "TokenTallyError", "Request failed: "),
        ("silence", "TokenTallyError", "timed out"),
    ],
)
def test_every_failure_raises_an_exception_of_the_sdk(server, answer, kind, message):
    server.answers = [answer]
    with pytest.raises(tokentally.TokenTallyError, match=message) as caught:
        make(tokentally, server.url, timeout=0.4 if answer == "silence" else 30.0).track(1, 2, "m")
    assert type(caught.value).__name__ == kind
    assert "tt_key" not in str(caught.value)
    assert caught.value.status == (None if isinstance(answer, str) else answer[0])


@pytest.mark.parametrize("answer", [(403, {"error": "no"}), (302, {}), (500, "down"), "drop", "silence"])
def test_the_cause_of_a_failure_is_the_originals(server, answer):
    server.answers = [answer]
    causes = []
    for module in (original, tokentally):
        with pytest.raises(module.TokenTallyError) as caught:
            make(module, server.url).track(1, 2, "m")
        causes.append(caught.value.__cause__)
    theirs, ours = causes
    assert type(ours) is type(theirs)
    assert ours.request.url == theirs.request.url
    assert "tt_key" not in str(ours.request.headers)
    if not isinstance(answer, str):
        assert (ours.response.status_code, ours.response.text) == (theirs.response.status_code, theirs.response.text)
        assert str(ours) == str(theirs).partition("\n")[0]


def test_invalid_arguments_are_rejected_locally():
    for key in ("", None, "key"):
        with pytest.raises(ValueError, match="Must start with 'tt_'"):
            tokentally.TokenTally(key)
    client = make(tokentally, "http://127.0.0.1:1")
    with pytest.raises(ValueError, match="tokens_in must be a number of at least 0"):
        client.track(-1, 0, "m")
    for metadata in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(tokentally.TokenTallyError, match="not JSON"):
            client.track(1, 0, "m", metadata=metadata)
    with pytest.raises(tokentally.TokenTallyError, match="Request failed"):
        client.track(1, 0, "m")


@pytest.mark.parametrize("cost", [None, "0.5", "many", True])
def test_a_cost_is_always_a_number(server, cost):
    server.answers = [(200, {"success": True, "cost_usd": cost})]
    response = make(tokentally, server.url).track(1, 2, "m")
    assert f"{response.cost_usd:.6f}"
    assert isinstance(response.record_id, str)


def test_a_block_is_timed_and_reported_when_it_ends(server):
    client = make(tokentally, server.url)
    with client.track_usage("m", metadata={"f": "x"}) as block:
        block.set_usage(5, 7, "end_turn")
    assert block.response.record_id == "rec_1"
    body = server.requests[0].json
    assert (body["tokens_in"], body["tokens_out"], body["stop_reason"], body["metadata"]) == (5, 7, "end_turn", {"f": "x"})
    assert isinstance(body["runtime_ms"], int)
    with client.track_usage("m") as unused:
        pass
    assert (unused.response, len(server.requests)) == (None, 1)


def test_a_failed_block_is_reported_and_its_error_is_unchanged(server):
    client = make(tokentally, server.url)
    with pytest.raises(RuntimeError, match="secret"), client.track_usage("m"):
        raise RuntimeError("secret prompt")
    body = server.requests[0].json
    assert (body["error_message"], body["tokens_in"]) == ("RuntimeError", 0)
    assert b"secret" not in server.requests[0].body
    server.answers = [(500, {})]
    with pytest.raises(RuntimeError, match="own"), client.track_usage("m") as block:
        block.set_usage(1, 2)
        raise RuntimeError("own")
    with client.track_usage("m") as block:
        block.set_usage(1, 2, cache_read_input_tokens=None)
    assert (block.response.success, block.response.cost_usd) == (False, 0.0)


def test_events_for_the_ledger_are_in_it(state, server):
    taximeter.init(instrument=False, state_dir=state)
    call = {
        "tokens_in": 100,
        "tokens_out": 50,
        "model": "claude-3-haiku-20240307",
        "metadata": {"feature_name": "f", "user_id": "u", "e": 1},
    }
    alone = make(tokentally, server.url, destination="ledger").track(**call, cache_read_input_tokens=10, runtime_ms=7)
    assert alone.success and alone.cost_usd > 0
    assert server.requests == []
    both = make(tokentally, server.url, destination=("tokentally", "ledger")).track(**call)
    assert both.cost_usd == 0.25
    taximeter.flush()
    first, second = taximeter.Ledger(state / "ledger.db").events()
    assert first["started_at"] < second["started_at"]
    assert (first["usage"]["input_tokens"], first["usage"]["cache_read_tokens"], first["latency_ms"]) == (110, 10, 7.0)
    assert (second["feature"], second["user"], second["tags"]) == ("f", "u", {"e": "1"})
    taximeter.close()


def test_positional_fields_have_the_order_of_the_readme(server):
    usage = tokentally.UsageData(1, 2, "m", "openai", 12, "stop", "E", {"a": 1}, AT)
    make(tokentally, server.url).track_usage_data(usage)
    sent = server.requests[0].json
    assert (sent["runtime_ms"], sent["stop_reason"], sent["error_message"], sent["metadata"]) == (12, "stop", "E", {"a": 1})
    with pytest.raises(TypeError):
        tokentally.UsageData(*range(10))
