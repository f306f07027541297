"""New calls over HTTP as they arrive, and requests that take long."""

from __future__ import annotations

import http.client
import json
import threading
from datetime import timezone

import pytest

import taximeter
from conftest import events_of, wait_for
from dashboard_server import TOKEN, Events, ask, call_app, refused, serving
from taximeter import dashboard


@pytest.fixture(scope="module")
def path(dashboard_calls):
    return dashboard_calls


@pytest.fixture
def live(meter):
    """Serve the ledger of a meter that still runs, with quick heartbeats."""
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    events_of(meter)
    with serving(meter.settings.ledger) as running:
        one = running._dashboard._live
        one.every, one.heartbeat = 0.01, 0.05
        yield running


def test_live_calls_arrive_once_and_in_order_across_a_reconnect(live, meter):
    stream, found, sent = Events(live), [], []
    assert stream.message() is None  # where it begins
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    for part in range(4):
        for number in range(part * 25, part * 25 + 25):
            meter.track(provider="openai", model="gpt-4o", input_tokens=number, team=f"t{number % 2}")
            sent.append(number)
        events_of(meter)
        while len(found) < len(sent):
            if (call := stream.message()) is not None:
                found.append(call["input_tokens"])
            # In the middle of a page, and at its end.
            if len(found) in {60, 75}:
                stream.close()
                stream = Events(live, last=stream.last)
    stream.close()
    assert found == sent
    filtered = Events(live, "where=team%3Dt1", last="1")
    assert [filtered.message()["team"] for _ in range(50)] == ["t1"] * 50
    filtered.close()


def test_a_live_stream_that_is_far_behind_goes_on_with_the_newest_calls(live, meter, monkeypatch):
    monkeypatch.setattr("taximeter.dashboard.live._MOST_BEHIND", 50)
    monkeypatch.setattr("taximeter.dashboard.live._NEWEST", 20)
    for number in range(100):
        meter.track(provider="openai", model="gpt-4o", input_tokens=number)
    events_of(meter)
    stream = Events(live, last="1")
    assert stream.message() == 80
    assert [stream.message()["input_tokens"] for _ in range(20)] == list(range(80, 100))
    stream.close()


def test_live_streams_are_limited_and_make_place_again(live):
    live._dashboard._live.places = threading.BoundedSemaphore(3)
    streams = [Events(live) for _ in range(3)]
    assert [stream.message() for stream in streams] == [None, None, None]
    assert refused(live, "/api/v1/live")[0] == 503
    streams.pop().close()
    # The place is free as soon as the next look finds the reader gone.
    statuses = iter(lambda: refused_stream(live), 200)
    assert all(status == 503 for status in statuses)
    for stream in streams:
        stream.close()


def refused_stream(live) -> int:
    stream = Events(live)
    status = stream.answer.status
    stream.close()
    return status


def test_wrong_live_requests_are_answered(live):
    assert refused(live, "/api/v1/live", Last_Event_ID="x")[0] == 400
    assert refused(live, "/api/v1/live?where=nosuch%3D1")[0] == 400
    assert ask(live, "/api/v1/live", "HEAD")[0] == 200
    # A number of another file begins anew.
    stream = Events(live, last="999999")
    assert stream.message() is None
    assert stream.last == "1"
    stream.close()


def test_an_answer_that_takes_too_long_ends(meter):
    # SQLite looks at the time after some thousands of its instructions.
    for number in range(2_000):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, user=f"u{number % 5}", latency_ms=number)
    events_of(meter)
    path = meter.settings.ledger
    ledger = taximeter.Ledger(path)
    ledger.timeout = 1e-9
    for ask_it in (
        lambda: ledger.report("model", where={"user": "u1"}),
        lambda: ledger.percentiles(by="user"),
        lambda: ledger.newest(400),
        lambda: ledger.highest("cost_usd", 400),
        lambda: list(ledger.export()),
    ):
        with pytest.raises(taximeter.LedgerTimeoutError, match="longer than allowed"):
            ask_it()
    ledger.timeout = None
    assert ledger.report(()).total.calls == 2_000
    with pytest.raises(ValueError, match="timeout"):
        ledger.timeout = 0
    app = dashboard.Dashboard(lambda: taximeter.Ledger(path))
    app._readers.longest = 1e-9
    for panel in ("summary", "series", "top", "latency", "calls"):
        status, _, body = call_app(app, f"/api/v1/{panel}?where=user%3Du1")
        assert status == 503 and "choose a shorter period" in json.loads(body)["error"]
    # A download may take as long as it likes.
    assert len(call_app(app, "/api/v1/export.jsonl?since=all")[2].splitlines()) == 2_000


def test_what_a_client_no_longer_waits_for_ends(path):
    asked, ended = threading.Event(), []

    class Endless(taximeter.Ledger):
        def report(self, *arguments, **options):
            asked.set()
            try:
                while True:
                    super().report(*arguments, **options)
            except taximeter.LedgerError as error:
                ended.append(str(error))
                raise

    with serving(path, Endless) as running:
        running._dashboard._readers.longest = None
        connection = http.client.HTTPConnection("127.0.0.1", running.server_port)
        connection.request("GET", "/api/v1/summary", headers={"Authorization": f"Bearer {TOKEN}"})
        assert asked.wait(30)
        assert not ended
        connection.sock.close()
        connection.close()
        wait_for(lambda: ended)
    assert ended == ["stopped before the end"]


class Slow:
    """A source whose reports wait until they may answer."""

    timezone = timezone.utc
    path = None
    is_file = True
    timeout = None

    def __init__(self, state):
        self.state = state

    def report(self, *_, **__):
        with self.state["lock"]:
            self.state["now"] += 1
            self.state["most"] = max(self.state["most"], self.state["now"])
        self.state["entered"].release()
        assert self.state["may"].wait(30)
        with self.state["lock"]:
            self.state["now"] -= 1
        raise taximeter.LedgerError("too slow")


def test_no_more_than_four_requests_read_at_once_and_the_others_wait(monkeypatch):
    from taximeter.dashboard import source

    state = {"lock": threading.Lock(), "now": 0, "most": 0, "entered": threading.Semaphore(0), "may": threading.Event()}
    app, statuses, opened = None, [], []

    def make():
        opened.append(1)
        return Slow(state)

    app = dashboard.Dashboard(make)
    threads = [threading.Thread(target=lambda: statuses.append(call_app(app, "/api/v1/summary")[0])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert state["entered"].acquire(timeout=30)
    # One that comes too late for its wait is told so.
    monkeypatch.setattr(source, "_WAIT", 0)
    status, headers, body = call_app(app, "/api/v1/summary")
    assert (status, headers["Retry-After"]) == (503, "10")
    assert "busy" in json.loads(body)["error"]
    state["may"].set()
    for thread in threads:
        thread.join()
    assert (state["most"], statuses) == (4, [503] * 12)
    assert len(opened) == 4
