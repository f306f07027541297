"""The interface of `teer`: requests, return values and errors, compared with the original."""

from __future__ import annotations

import copy
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
import requests
import teer as original
import trustme

import taximeter
from collector import Collector
from taximeter.compat import teer
from vendor import VendorServer

PAYLOADS = {
    "basic": {"provider": "anthropic", "model": "claude-3-haiku-20240307", "usage": {"input": 1000, "output": 2000}},
    "nulls and unknown fields": {"provider": "openai", "model": "é", "usage": None, "function_id": None, "new": {"a": [1, 2.5]}},
    "empty": {},
    "nothing": None,
}
METER = {
    "provider": "stripe",
    "fields": {"identifier": "idmp_1", "event_name": "search", "payload": {"stripe_customer_id": "cus_1", "value": "25"}},
}


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server


@pytest.fixture
def default(state) -> Iterator[taximeter.Meter]:
    taximeter.init(instrument=False, state_dir=state)
    yield taximeter.init(instrument=False, state_dir=state)
    taximeter.close()


def make(module, url, **more):
    return module.TeerClient("KEY", track_url=url, **more)


@pytest.mark.parametrize("name", PAYLOADS)
def test_requests_equal_the_originals(server, name):
    sent = []
    for module in (original, teer):
        make(module, server.url).ingest.send(PAYLOADS[name], headers={"X-More": "1"})
        sent.append(server.requests.pop())
    assert sent[0].wire == sent[1].wire
    assert sent[0].body == sent[1].body


def test_meter_events_equal_the_originals_and_have_an_identifier(server):
    for module in (original, teer):
        make(module, server.url).billing.meter_events.create(METER)
    first, second = (request.wire for request in server.requests)
    assert first == second
    without = {"provider": "stripe", "fields": {"event_name": "search", "payload": {}}}
    client = make(teer, server.url)
    client.billing.meter_events.create(without)
    client.billing.meter_events.create(without)
    made = [request.json["fields"]["identifier"] for request in server.requests[2:]]
    assert len({*made}) == 2
    assert "identifier" not in without["fields"]
    # A failed event keeps its identifier when it is sent again.
    server.answers = [(500, ""), (200, {})]
    with pytest.raises(requests.HTTPError):
        client.billing.meter_events.create(without)
    client.billing.meter_events.create(without)
    failed, again = (request.json["fields"]["identifier"] for request in server.requests[4:])
    assert failed == again == without["fields"]["identifier"]


@pytest.mark.parametrize("answer", [{"id": 1}, [1], "text", "", "null"])
def test_return_values_equal_the_originals(server, answer):
    server.answers = [(200, answer)]
    assert make(teer, server.url).ingest.send({}) == make(original, server.url).ingest.send({})


@pytest.mark.parametrize("answer", [(401, {"error": "no"}), (404, ""), (429, ""), (500, "<html>"), "drop", "silence"])
def test_failures_raise_the_originals_exceptions(server, answer):
    server.answers = [answer]
    caught = []
    for module in (original, teer):
        with pytest.raises(requests.RequestException) as failure:
            make(module, server.url).ingest.send({}, timeout=0.3 if answer == "silence" else 30)
        caught.append(failure.value)
    theirs, ours = caught
    assert type(ours) is type(theirs)
    if theirs.response is not None:
        assert (ours.response.status_code, ours.response.text) == (theirs.response.status_code, theirs.response.text)
        assert str(ours) == str(theirs)


def test_connection_failures_raise_the_originals_exceptions():
    for url, kind in (("http://127.0.0.1:1", requests.ConnectionError), ("nowhere", requests.exceptions.MissingSchema)):
        for module in (original, teer):
            with pytest.raises(kind):
                make(module, url).ingest.send({})
    for module in (original, teer):
        with pytest.raises(requests.exceptions.InvalidJSONError):
            make(module, "http://127.0.0.1:1").ingest.send({"a": float("nan")})
        with pytest.raises(TypeError):
            make(module, "http://127.0.0.1:1").ingest.send({"a": object()})
        with pytest.raises(ValueError, match="No API key provided"):
            module.TeerClient("")


def test_without_requests_the_classes_have_the_same_names(server, tmp_path):
    text = f"""
import sys
sys.modules["requests"] = None
from taximeter.compat.teer import TeerClient
try:
    TeerClient("canary", track_url="{server.url}").ingest.send({{}})
except OSError as error:
    assert (type(error).__name__, error.response.status_code, error.response.json()) == ("HTTPError", 403, {{"error": "no"}}), error
    assert "canary" not in repr(error)
else:
    raise SystemExit("no error")
"""
    server.answers = [(403, {"error": "no"})]
    subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path, timeout=300)


def test_the_clients_urls_are_used(server):
    assert teer.TeerClient("k", base_url="https://dev.example").track_base == "https://dev.example/v1"
    assert teer.TeerClient("k", base_url="https://a", track_url="https://b/").track_base == "https://b/v1"
    assert teer.TeerClient("k").track_base == "https://track.teer.ai/v1"
    server.answers, server.headers = [(302, "")], {"location": "/elsewhere"}
    with pytest.raises(requests.HTTPError, match="Redirect not followed"):
        make(teer, server.url).ingest.send({"provider": "openai"})
    assert len(server.requests) == 1


def test_connections_are_kept_alive_and_netrc_is_ignored(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = make(teer, server.url)
    for _ in range(20):
        client.ingest.send({})
    assert server.connections == 1
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer KEY"}


def test_a_slow_service_does_not_stop_other_threads(server):
    server.answers = ["silence", (200, {})]
    threads = [threading.Thread(target=lambda: _quietly(make(teer, server.url)), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(server.requests) == 4


def _quietly(client):
    try:
        client.ingest.send({}, timeout=2)
    except requests.RequestException:
        pass


def test_a_forked_child_opens_its_own_connection(server):
    text = f"""
import os
from taximeter.compat.teer import TeerClient
client = TeerClient("k", track_url="{server.url}")
client.ingest.send({{}})
child = os.fork()
if child == 0:
    client.ingest.send({{}})
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.ingest.send({{}})
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=300)
    assert (len(server.requests), server.connections) == (3, 2)


def test_an_exiting_child_does_not_block_its_parent(server):
    text = f"""
import os, sys
from taximeter.compat.teer import TeerClient
client = TeerClient("k", track_url="{server.url}")
client.ingest.send({{}})
child = os.fork()
if child == 0:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
client.ingest.send({{}}, timeout=5)
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=300)
    assert len(server.requests) == 2


def test_a_signal_handler_can_end_a_request(server):
    server.answers = ["silence"]
    text = f"""
import signal
from taximeter.compat.teer import TeerClient
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
client = TeerClient("k", track_url="{server.url}")
try:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    client.ingest.send({{}}, timeout=100)
except KeyboardInterrupt:
    pass
else:
    raise SystemExit("no interrupt")
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=300)


def test_events_for_the_ledger_are_in_it(default, server):
    payload = {
        "provider": "anthropic", "model": "claude-3-haiku-20240307", "function_id": "f", "batch": False,
        "usage": {
            "input": 2000, "output": 3000, "cache": {"anthropic": {"cache_creation_input_tokens": 1500, "cache_read_input_tokens": 500}}
        },
        "metadata": {"user_id": "u", "organization_id": "o", "session_id": "s", "request_id": "r"},
    }  # fmt: skip
    alone = make(teer, server.url, destination="ledger").ingest.send(payload)
    assert isinstance(alone["cost_usd"], Decimal)
    assert server.requests == []
    make(teer, server.url, destination=("teer", "ledger")).ingest.send(payload)
    make(teer, server.url, destination=("teer", "ledger")).ingest.send({"provider": "openai"})
    assert len(server.requests) == 2
    taximeter.flush()
    events = list(taximeter.Ledger(default.settings.ledger).events())
    assert len(events) == 2
    counts = {unit: count for unit, count in events[0]["usage"].items() if count}
    assert counts == {"input_tokens": 4000, "output_tokens": 3000, "cache_read_tokens": 500, "cache_write_tokens": 1500}
    assert [events[0][name] for name in ("feature", "user", "customer", "session", "tags")] == [
        "f",
        "u",
        "o",
        "s",
        {"request_id": "r"},
    ]
    with pytest.raises(taximeter.ConfigError, match="destination"):
        make(teer, server.url, destination="nowhere")


def test_public_names_equal_the_originals():
    assert {*original.__all__} == {*teer.__all__}
    for name in original.__all__:
        assert hasattr(teer, name), name
    for attribute in (
        "api_key",
        "base_url",
        "track_url",
        "api_version",
        "api_base",
        "track_base",
        "http_client",
        "ingest",
        "billing",
    ):
        assert hasattr(make(teer, "https://x"), attribute) and hasattr(make(original, "https://x"), attribute), attribute
    assert "KEY" not in repr(vars(make(teer, "https://x")))


@pytest.mark.parametrize("timeout", [None, (20, 30.5), (None, 30.5), 30])
def test_timeouts_have_the_forms_of_requests(server, timeout):
    server.answers = [(200, {"ok": True})]
    assert make(teer, server.url).ingest.send({}, timeout=timeout) == {"ok": True}


def test_the_read_timeout_is_separate(server):
    server.answers = ["silence"]
    with pytest.raises(requests.ReadTimeout):
        make(teer, server.url).ingest.send({}, timeout=(5, 0.1))


def test_a_client_can_be_copied(server):
    server.answers = [(200, {"ok": True})]
    client = make(teer, server.url)
    for copied in (copy.copy(client), copy.deepcopy(client)):
        assert copied.api_key == client.api_key
        assert copied.ingest.send({}) == {"ok": True}


def test_connection_errors_name_the_host_and_certificates_have_their_own_class():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Collector(context) as untrusted:
        for module in (original, teer):
            with pytest.raises(requests.exceptions.SSLError, match="localhost"):
                make(module, f"https://localhost:{untrusted.port}").ingest.send({})
    for module in (original, teer):
        with pytest.raises(requests.ConnectionError, match=r"127\.0\.0\.1"):
            make(module, "http://127.0.0.1:1").ingest.send({})
