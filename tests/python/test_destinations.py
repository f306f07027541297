"""Destinations over HTTP: protocols, limits, errors and secrets; and requests that a caller waits for."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

import taximeter
from collector import Collector
from conftest import wait_for
from taximeter import _core
from taximeter.compat._outbox import Service

CANARY = "canary-4711"


@pytest.fixture
def lines():
    """Yield a server on loopback that accepts newline-delimited JSON. `status` is its response, `taken` has accepted events."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        status = 200
        delay = 0.0

        def __init__(self) -> None:
            super().__init__(("127.0.0.1", 0), Handler)
            self.requests: list[tuple[dict[str, str], list[dict], int]] = []
            self.running = self.most = 0
            self.lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            headers = {name.lower(): value for name, value in self.headers.items()}
            with self.server.lock:
                self.server.running += 1
                self.server.most = max(self.server.most, self.server.running)
                self.server.requests.append((headers, [json.loads(line) for line in body.splitlines()], len(body)))
            time.sleep(self.server.delay)
            with self.server.lock:
                self.server.running -= 1
            self.send_response(self.server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def make(state, lines):
    made = []

    def meter(**limits) -> taximeter.Meter:
        url = f"jsonl+http://127.0.0.1:{lines.server_port}/in?key={CANARY}"
        made.append(taximeter.Meter(destination=taximeter.Destination(url, token=CANARY, **limits), state_dir=state))
        return made[-1]

    yield meter
    for one in made:
        one.close(0.2)


def track(meter, count: int) -> list[str]:
    return [meter.track(provider="openai", model="gpt-4o", input_tokens=1, customer="acme").id for _ in range(count)]


def of(meter) -> dict:
    return next(iter(meter.stats()["destinations"].values()))


def test_events_are_sent_as_lines_of_json(make, lines):
    meter = make()
    ids = track(meter, 200)
    assert meter.flush(60) == (200, 0, 0)
    events = [event for _, sent, _ in lines.requests for event in sent]
    assert [event["id"] for event in events] == ids
    assert (events[0]["model"], events[0]["customer"], events[0]["usage"]) == ("gpt-4o", "acme", {"input_tokens": 1})
    headers = max(lines.requests, key=lambda request: len(request[1]))[0]
    assert (headers["content-type"], headers["content-encoding"]) == ("application/x-ndjson", "gzip")
    assert headers["authorization"] == f"Bearer {CANARY}"


def test_statuses_have_the_same_meaning_for_every_protocol(make, lines, state):
    lines.status = 400
    meter = make()
    (refused,) = track(meter, 1)
    assert meter.flush(60).pending == 0
    (letters,) = (state / "dead").glob("http-*.jsonl")
    assert json.loads(letters.read_text())["event"]["id"] == refused
    lines.status = 401
    track(meter, 1)
    meter.flush(5)
    found = of(meter)
    assert (found["dead"], found["pending"], found["state"]) == (1, 1, "paused")
    # The message names the host and the remedy, and contains no secret.
    assert found["last_error"] == "127.0.0.1 answered 401; check the token or key of this destination"
    assert CANARY not in json.dumps(meter.stats())


def test_limits_hold_for_every_request(make, lines):
    lines.delay = 0.02
    meter = make(max_events=7, max_bytes=4_000, linger=0, concurrency=2)
    ids = track(meter, 150)
    assert meter.flush(60).pending == 0
    assert sorted(event["id"] for _, sent, _ in lines.requests for event in sent) == sorted(ids)
    assert max(len(sent) for _, sent, _ in lines.requests) <= 7
    assert max(size for _, _, size in lines.requests) <= 4_000
    assert lines.most <= 2


def test_events_linger_for_the_configured_time(make, lines):
    meter = make(linger=3_600)
    track(meter, 3)
    time.sleep(1.5)
    assert lines.requests == []
    assert meter.flush(60).pending == 0
    prompt = make(linger=0, max_events=500)
    track(prompt, 1)
    wait_for(lambda: len(lines.requests) >= 2)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_events": 0}, ["max_events", "0", "1 to 10000", "leave it out"]),
        ({"max_events": 10_001}, ["max_events", "1 to 10000"]),
        ({"max_events": 1.5}, ["max_events", "whole number"]),
        ({"max_events": "many"}, ["max_events", "many", "number"]),
        ({"max_events": True}, ["max_events", "number"]),
        ({"max_events": 10**400}, ["max_events", "number"]),
        ({"max_bytes": 999}, ["max_bytes", "1000 to 20000000"]),
        ({"linger": -1}, ["linger", "0 to 3600"]),
        ({"linger": float("nan")}, ["linger", "0 to 3600"]),
        ({"concurrency": 65}, ["concurrency", "1 to 64"]),
        ({"timeout": 0}, ["timeout", "0.1 to 600"]),
        ({"headers": {"a\nb": "c"}}, ["headers", "line breaks"]),
        ({"headers": ["a"]}, ["headers", "dict"]),
        ({"headers": {"a": 1}}, ["headers", "texts"]),
        ({"token": 7}, ["token", "int"]),
        ({"ca_bundle": "/nowhere.pem"}, ["ca_bundle", "PEM"]),
        ({"ca_bundle": __file__}, ["ca_bundle", "PEM"]),
    ],
)
def test_an_error_names_the_argument_the_rule_and_the_remedy(limits, words):
    with pytest.raises(taximeter.ConfigError) as caught:
        taximeter.Destination("jsonl+https://collector.example/", **limits)
    assert all(word in str(caught.value) for word in ["destination", *words]), caught.value


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (7, ["url", "int", "cloudevents+https://"]),
        (f"https://collector.example/{CANARY}", ["url", "cloudevents+https://", "jsonl+https://"]),
        (f"verbatim+https://collector.example/{CANARY}", ["url", "jsonl+https://"]),
        (f"jsonl+https:///{CANARY}", ["url", "host"]),
        (f"jsonl+http://collector.example/{CANARY}", ["url", "allow_http=True"]),
        (f"jsonl+https://user:{CANARY}@collector.example/", ["url", "header"]),
        (CANARY, ["url", "cloudevents+https://"]),
    ],
)
def test_no_traceback_with_locals_shows_a_key(url, words):
    with pytest.raises(taximeter.ConfigError) as caught:
        taximeter.Destination(url, token=f"token-{CANARY}", headers={"x-key": f"header-{CANARY}"})
    assert all(word in str(caught.value) for word in words), caught.value
    # Without this test's own frame, whose variables hold the keys.
    shown = traceback.TracebackException(caught.type, caught.value, caught.tb.tb_next, capture_locals=True)
    assert CANARY not in "".join(shown.format())


@pytest.mark.parametrize("make_meter", [taximeter.Meter, taximeter.init], ids=["Meter", "init"])
def test_no_traceback_from_a_meter_shows_a_key(make_meter, state):
    url = f"jsonl+http://collector.example/?key={CANARY}"
    for destination in (url, ["ledger", url], f"ledger,{url}"):
        with pytest.raises(taximeter.ConfigError) as caught:
            make_meter(destination=destination, state_dir=state)
        shown = traceback.TracebackException(caught.type, caught.value, caught.tb.tb_next, capture_locals=True)
        text = "".join(shown.format())
        assert CANARY not in text
        assert "allow_http" in text


def test_a_half_initialized_destination_has_a_repr():
    for half in (taximeter.Destination.__new__(taximeter.Destination), Service.__new__(Service)):
        assert half.host == ""
        assert repr(half).endswith("('', headers=[])")
    with contextlib.suppress(taximeter.ConfigError):
        taximeter.Destination("jsonl+https://collector.example/", timeout=-1)


def test_schemes_come_from_the_core():
    schemes = _core.destination_schemes()
    assert {f"{name}+{transport}" for name in ("cloudevents", "jsonl", "otlp") for transport in ("https", "http")} <= set(schemes)
    for scheme in schemes:
        assert taximeter.Destination(f"{scheme.upper()}://127.0.0.1:1/").host == "127.0.0.1"


def test_a_signal_handler_can_make_a_request_during_another(run, lines):
    outcome = run(
        """
        import os, signal, socket, sys, threading
        from taximeter import _core

        silent = socket.socket()
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        client = _core.Exchange(20.0)
        answers = []

        def handler(*_):
            # Like a shutdown hook that reports a last event.
            answers.append(client.request("POST", sys.argv[1], [], b"{}")[0])
            raise SystemExit(3)

        signal.signal(signal.SIGTERM, handler)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        try:
            client.request("POST", f"http://127.0.0.1:{silent.getsockname()[1]}/", [], b"{}")
        except SystemExit as end:
            print(answers, end.code, client.request("POST", sys.argv[1], [], b"{}")[0])
        """,
        f"http://127.0.0.1:{lines.server_port}/",
    )
    assert outcome.stdout.split("\n")[0] == "[200] 3 200"


def test_an_event_rejected_twice_is_one_dead_letter(make, lines, state):
    lines.status = 422
    meter = make()
    ids = track(meter, 3)
    assert meter.flush(60).pending == 0
    (letters,) = (state / "dead").glob("http-*.jsonl")
    kept = letters.read_text()
    # The same events are dead letters again, as after a crash before the cursor was saved, or from another process.
    assert meter.retry_dead_letters() == 3
    wait_for(lambda: letters.exists() and len(letters.read_text().splitlines()) == 3)
    with letters.open("a") as file:
        file.write(kept)
    assert meter.retry_dead_letters() == 3
    wait_for(lambda: letters.exists() and len(letters.read_text().splitlines()) == 3)
    assert sorted(json.loads(line)["event"]["id"] for line in letters.read_text().splitlines()) == sorted(ids)


def test_a_fifo_instead_of_dead_letters_does_not_block(make, lines, state):
    os_mkfifo = pytest.importorskip("os").mkfifo
    lines.status = 400
    meter = make()
    track(meter, 1)
    meter.flush(10)
    (letters,) = (state / "dead").glob("http-*.jsonl")
    letters.unlink()
    os_mkfifo(letters)
    track(meter, 1)
    begun = time.monotonic()
    meter.flush(2)
    wait_for(lambda: "dead letters cannot be written" in (of(meter)["last_error"] or ""))
    assert time.monotonic() - begun < 30
    # Events are kept if their dead letters cannot be written.
    assert of(meter)["pending"] == 1
    letters.unlink()
    assert meter.flush(60).pending == 0
    assert len(letters.read_text().splitlines()) == 1


def test_the_error_for_a_refused_connection_names_the_remedy(state):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meter = taximeter.Meter(destination=f"jsonl+http://127.0.0.1:{port}/", state_dir=state)
    track(meter, 1)
    meter.flush(1)
    wait_for(lambda: "check that the service runs" in (of(meter)["last_error"] or ""))
    meter.close(0.1)


def test_the_error_for_an_untrusted_certificate_names_the_remedy(state):
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with Collector(tls) as collector:
        meter = taximeter.Meter(destination=collector.url, state_dir=state)
        track(meter, 1)
        meter.flush(1)
        wait_for(lambda: "ca_bundle" in (of(meter)["last_error"] or ""))
        meter.close(0.1)
