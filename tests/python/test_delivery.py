"""Delivery over HTTP to a real server on loopback that can misbehave."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat

import taximeter
from collector import Collector
from conftest import leave_behind, rows, wait_for

CANARY = "canary-in-header"


@pytest.fixture
def make(state, collector):
    made = []

    def meter(*more, **settings) -> taximeter.Meter:
        destination = taximeter.Destination(collector.url, token=CANARY)
        made.append(taximeter.Meter(destination=[destination, *more], state_dir=state, **settings))
        return made[-1]

    yield meter
    for one in made:
        one.close(0.2)


def track(meter, count: int = 1, **fields) -> list[str]:
    given = {"provider": "openai", "model": "gpt-4o", "input_tokens": 100, "output_tokens": 10, "customer": "acme", **fields}
    return [meter.track(**given).id for _ in range(count)]


def of(meter) -> dict:
    """Return the counts of the meter's HTTP destination."""
    return next(one for name, one in meter.stats()["destinations"].items() if name.startswith("http-"))


def test_events_arrive_as_cloudevents_that_the_reference_library_reads(make, collector):
    meter = make()
    ids = track(meter, 1500)
    assert meter.flush(60) == (1500, 0, 0)
    assert list(collector.events) == ids
    assert collector.received == 1500
    request = collector.requests[0]
    assert request["headers"]["content-type"] == "application/cloudevents-batch+json"
    assert request["headers"]["content-encoding"] == "gzip"
    assert request["headers"]["authorization"] == f"Bearer {CANARY}"
    assert request["path"] == "/v1/events?key=canary-in-url"
    envelope = collector.events[ids[0]]
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=json.dumps(envelope).encode())
    event = from_http_event(message)
    assert event.get_id() == ids[0]
    assert (event.get_type(), event.get_source(), event.get_subject()) == ("taximeter.usage.v1", "urn:taximeter", "acme")
    assert event.get_time().timestamp() == pytest.approx(time.time(), abs=30)
    assert event.get_data()["cost_usd"] == "0.00035"
    assert JSONFormat().write(event)


def test_the_ledger_and_a_collector_both_have_everything(make, collector):
    meter = make("ledger")
    ids = track(meter, 50)
    assert meter.flush(60).pending == 0
    assert list(collector.events) == ids
    assert [event["id"] for event in taximeter.Ledger(meter.settings.ledger).events()] == ids


def test_a_collector_that_is_down_blocks_no_other_and_gets_everything_later(make, collector):
    collector.rule = lambda events: 503
    meter = make("ledger")
    ids = track(meter, 50)
    wait_for(lambda: len(list(taximeter.Ledger(meter.settings.ledger).events())) == 50)
    wait_for(lambda: meter.flush(0.1).pending == 50 and of(meter)["retries"] >= 1)
    assert of(meter)["last_error"] == "127.0.0.1 answered 503"
    collector.rule = lambda events: 200
    wait_for(lambda: meter.flush(1).pending == 0)
    assert list(collector.events) == ids


def test_a_retry_sends_the_same_bytes(make, collector):
    answers = iter([503, 503, 503])
    collector.rule = lambda events: next(answers, 200)
    meter = make()
    track(meter, 20)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert len(collector.requests) == 4
    assert len({request["raw"] for request in collector.requests}) == 1


def test_a_destination_gets_no_request_before_its_retry_after(make, collector):
    answers = iter([(429, {"Retry-After": "2"}, b"")])
    collector.rule = lambda events: next(answers, 200)
    meter = make()
    track(meter, 3)
    wait_for(lambda: collector.requests)
    for _ in range(5):
        meter.flush(0.1)
    wait_for(lambda: meter.flush(1).pending == 0)
    first, second = (request["at"] for request in collector.requests)
    assert second - first >= 2


def test_only_rejected_events_become_dead_letters(make, collector, state):
    poison = set()

    def rule(events):
        return (400, {}, b"bad event") if any(event["id"] in poison for event in events) else 200

    collector.rule = rule
    meter = make()
    ids = [*track(meter, 499), *track(meter, 1, feature="poison"), *track(meter, 500)]
    poison.add(ids[499])
    meter.flush(20)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids) - poison
    # Isolating one bad event takes 2·log2(n) + 1 requests, after one request with the whole batch.
    assert len(collector.requests) <= 22
    assert (of(meter)["dead"], of(meter)["delivered"]) == (1, 999)
    (path,) = (state / "dead").iterdir()
    (letter,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (letter["event"]["id"], letter["status"], letter["reason"]) == (ids[499], 400, "bad event")
    assert path.stat().st_mode & 0o077 == 0


def test_a_batch_that_is_too_large_is_split_and_the_size_is_remembered(make, collector):
    collector.rule = lambda events: 413 if len(events) > 100 else 200
    meter = make()
    ids = track(meter, 1000)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids)
    refused = sum(request["status"] == 413 for request in collector.requests)
    ids += track(meter, 300)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids)
    assert sum(request["status"] == 413 for request in collector.requests) <= refused + 1


def test_a_wrong_key_pauses_delivery_and_keeps_events(make, collector):
    collector.rule = lambda events: 401
    meter = make()
    track(meter, 10)
    wait_for(lambda: meter.flush(1).pending == 10 and of(meter)["state"] == "paused")
    asked = len(collector.requests)
    meter.flush(1)
    assert len(collector.requests) == asked == 1


def test_a_redirect_is_not_followed(make, collector):
    with Collector() as other:
        collector.rule = lambda events: (307, {"Location": f"http://127.0.0.1:{other.port}/"}, b"")
        meter = make()
        track(meter, 3)
        assert meter.flush(1).pending == 3
        assert not other.requests


def test_a_collector_without_gzip_gets_uncompressed_requests(make, collector):
    answers = iter([415])
    collector.rule = lambda events: next(answers, 200)
    meter = make()
    ids = track(meter, 100)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids)
    assert [request["headers"].get("content-encoding") for request in collector.requests] == ["gzip", None]


def test_events_sent_again_after_a_reset_have_the_same_id(make, collector):
    turns = iter(range(1000))
    collector.rule = lambda events: "reset" if next(turns) % 3 == 0 else 200
    meter = make()
    ids = []
    for _ in range(10):
        ids += track(meter, 50)
        meter.flush(1)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids)
    assert collector.received > len(ids)


@pytest.mark.parametrize(("backend", "most"), [("mapped", 0.5), ("memory", 2.0)])
def test_a_silent_collector_delays_neither_track_nor_exit(run, backend, most):
    listener = socket.create_server(("127.0.0.1", 0))
    outcome = run(
        """
        import sys, time, taximeter
        meter = taximeter.init(destination=sys.argv[1], instrument=False)
        begun = time.perf_counter()
        for _ in range(1000):
            assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert time.perf_counter() - begun < 25
        print(time.time())
        """,
        f"cloudevents+http://127.0.0.1:{listener.getsockname()[1]}/",
        TAXIMETER_BACKEND=backend,
    )
    # This includes the interpreter's own shutdown. A request to this collector would time out after 30 seconds.
    assert most - 0.1 < time.time() - float(outcome.stdout) < most + 25
    listener.close()


def test_events_of_a_killed_process_are_delivered_by_the_next(run, collector, make):
    left = leave_behind(run, [collector.url], 100)
    assert len(left) == 100
    meter = make()
    own = track(meter, 5)
    wait_for(lambda: set(collector.events) == {*left, *own})


def test_keys_show_nowhere(make, collector, state, caplog):
    collector.rule = lambda events: (400, {}, b"no")
    meter = make(debug=True)
    track(meter, 3)
    meter.flush(2)
    shown = [repr(meter.settings), repr(meter.stats()), caplog.text, repr(taximeter.Destination(collector.url, token=CANARY))]
    shown += [path.read_bytes().decode(errors="replace") for path in state.rglob("*") if path.is_file()]
    for text in shown:
        assert "canary" not in text
    for wrong in (
        "https://user:canary@h/",
        "cloudevents+ftp://canary/",
        "cloudevents+https://user:canary@h/",
        "cloudevents+http://canary.example/",
    ):
        with pytest.raises(taximeter.ConfigError) as caught:
            taximeter.Meter(destination=wrong, state_dir=state)
        assert "canary" not in str(caught.value)


def test_events_are_batched_and_sent_without_a_flush(make, collector):
    meter = make()
    begun = time.monotonic()
    for _ in range(20):
        track(meter, 5)
        time.sleep(0.02)
    wait_for(lambda: len(collector.events) == 100)
    # A request every quarter of a second, and one more for each end.
    assert len(collector.requests) <= 2 + 4 * (time.monotonic() - begun)


def test_a_forked_child_delivers_its_own(run, collector):
    outcome = run(
        """
        import os, sys, taximeter
        taximeter.init(destination=sys.argv[1], instrument=False)
        def one():
            os.write(1, taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).id.encode() + b"\\n")
        one()
        taximeter.flush()
        for _ in range(3):
            if (pid := os.fork()) == 0:
                one()
                assert taximeter.flush(60).pending == 0
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        one()
        """,
        collector.url,
    )
    ids = outcome.stdout.split()
    assert len(ids) == 5
    wait_for(lambda: set(collector.events) == set(ids))
    assert collector.received == 5


def test_many_threads_lose_nothing_while_the_collector_fails(make, collector):
    turns = iter(range(10**6))
    lock = threading.Lock()

    def rule(events):
        with lock:
            turn = next(turns)
        return {0: 500, 1: "reset", 2: (429, {"Retry-After": "0"}, b"")}.get(turn % 10, 200)

    collector.rule = rule
    meter = make("ledger")
    ids: list[str] = []

    def work():
        mine = [one for _ in range(40) for one in track(meter, 50)]
        with lock:
            ids.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids)
    assert len(ids) == 8000


def test_failing_flushes_do_not_shorten_the_backoff(make, collector):
    collector.rule = lambda events: 503
    meter = make()
    track(meter, 3)
    meter.flush(0.2)
    time.sleep(3)
    # The longest pauses are 0, 0.5, 1.5 and 3.5 s. With jitter they can be nearly 0.
    assert len(collector.requests) <= 12


@pytest.mark.parametrize("status", [402, 405, 407, 521, 529, 599])
def test_events_are_kept_if_the_failure_can_be_repaired(make, collector, state, status):
    collector.rule = lambda events: status
    meter = make()
    track(meter, 3)
    assert meter.flush(0.5).pending == 3
    assert not (state / "dead").exists()


def test_a_poison_event_is_isolated_and_blocks_no_other(make, collector):
    poison, is_chosen = set(), threading.Event()

    def answer(events: list[dict]) -> int:
        assert is_chosen.wait(60)
        return 500 if any(event["id"] in poison for event in events) else 200

    collector.rule = answer
    meter = make()
    ids = track(meter, 2500)
    poison.add(ids[700])
    is_chosen.set()
    wait_for(lambda: meter.flush(0.2) and of(meter)["dead"])
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids) - poison


def test_events_are_kept_if_dead_letters_cannot_be_written(make, collector, state):
    collector.rule = lambda events: 410
    meter = make()
    state.mkdir(exist_ok=True)
    (state / "dead").write_text("a file in its place")
    track(meter, 3)
    wait_for(lambda: meter.flush(0.1).pending == 3 and "dead letters cannot be written" in (of(meter)["last_error"] or ""))
    (state / "dead").unlink()
    wait_for(lambda: meter.flush(1).pending == 0)
    assert of(meter)["dead"] == 3


def test_keys_are_removed_from_stored_error_messages(make, collector, state):
    echo = f"no route /v1/events?key=canary-in-url for Bearer {CANARY}".encode()
    collector.rule = lambda events: (410, {}, echo)
    meter = make()
    track(meter, 1)
    assert meter.flush(60).pending == 0
    (letters,) = (state / "dead").iterdir()
    assert "no route" in letters.read_text()
    assert "canary" not in letters.read_text()


def test_one_oversized_event_does_not_shrink_all_requests(make, collector):
    huge = set()
    collector.rule = lambda events: 413 if any(event["id"] in huge for event in events) else 200
    meter = make()
    ids = track(meter, 64)
    huge.add(ids[10])
    wait_for(lambda: meter.flush(1).pending == 0)
    before = len(collector.requests)
    ids += track(meter, 3000)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(collector.events) == set(ids) - huge
    assert len(collector.requests) - before < 120


def test_two_destinations_with_the_same_address_are_rejected(state, collector):
    again = [taximeter.Destination(collector.url, token=token) for token in ("a", "b")]
    with pytest.raises(taximeter.ConfigError, match="same address"):
        taximeter.Meter(destination=again, state_dir=state)


def test_drain_isolates_a_poison_event_and_delivers_the_rest(run, collector, make, state):
    poison: set[str] = set()
    collector.rule = lambda events: 503
    left = leave_behind(run, [collector.url], 2000)
    poison.add(left[1234])
    collector.wait_until_idle()
    collector.rule = lambda events: 400 if any(event["id"] in poison for event in events) else 200
    collector.events.clear()
    collector.received = 0
    meter = make()
    assert meter.drain() == 1999
    assert set(collector.events) == set(left) - poison
    assert collector.received == 1999
    assert len((next((state / "dead").iterdir())).read_text().splitlines()) == 1
    assert not list((state / "journal").iterdir())


def test_a_destination_that_is_down_does_not_block_orphans_for_another(run, collector, state):
    with Collector() as healthy:
        collector.rule = lambda events: 503
        left = leave_behind(run, [collector.url, healthy.url], 50)
        meter = taximeter.Meter(destination=[collector.url, healthy.url], state_dir=state)
        with pytest.raises(taximeter.DeliveryError, match="answered 503"):
            meter.drain()
        assert set(healthy.events) == set(left)
        collector.rule = lambda events: 200
        meter.drain()
        assert set(collector.events) == set(left)
        meter.close()


def test_orphaned_events_block_neither_the_ledger_nor_a_flush(run, collector, make, state):
    asked, hold = threading.Event(), threading.Event()
    collector.rule = lambda events: 503
    left = leave_behind(run, [collector.url], 100)
    collector.rule = lambda events: 200 if asked.set() or hold.wait(60) else 503
    meter = make("ledger")
    track(meter, 1)
    assert asked.wait(60)
    track(meter, 4)
    wait_for(lambda: len(list(taximeter.Ledger(meter.settings.ledger).events())) >= 5)
    hold.set()
    wait_for(lambda: set(left) <= set(collector.events))


def test_a_clean_end_leaves_no_journal_behind(make, collector, state):
    meter = make()
    track(meter, 10)
    assert meter.close(5).pending == 0
    assert not list((state / "journal").iterdir())


def test_a_collected_meter_delivers_its_events(state, collector):
    meter = taximeter.Meter(destination=collector.url, state_dir=state)
    ids = track(meter, 10)
    del meter
    wait_for(lambda: set(collector.events) == set(ids))


def test_requests_to_localhost_bypass_the_proxy(run, collector):
    with Collector() as proxy:
        run(
            """
            import sys, taximeter
            taximeter.init(destination=taximeter.Destination(sys.argv[1], token="canary"), instrument=False)
            taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
            assert taximeter.flush(60).pending == 0
            """,
            collector.url,
            HTTP_PROXY=f"http://127.0.0.1:{proxy.port}",
            http_proxy=f"http://127.0.0.1:{proxy.port}",
        )
        assert len(collector.events) == 1
        assert not proxy.requests


def test_certificates_are_not_loaded_for_unencrypted_destinations(run, collector):
    run(
        """
        import sys, taximeter
        taximeter.init(destination=sys.argv[1], instrument=False)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert taximeter.flush(60).pending == 0, taximeter.stats()
        """,
        collector.url,
        SSL_CERT_FILE="/nonexistent",
        SSL_CERT_DIR="/nonexistent",
    )
    assert len(collector.events) == 1


def test_dead_letters_are_listed_reported_by_doctor_and_dropped(make, collector, state):
    collector.rule = lambda events: (410, {}, b"gone")
    meter = make()
    (one,) = track(meter, 1)
    assert meter.flush(60).pending == 0
    meter.close()

    def cli(*arguments):
        command = [sys.executable, "-m", "taximeter", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    shown = cli("dead-letters").stdout
    assert f"410  {one}  gone" in shown
    assert rows(cli("dead-letters", "list", "--json"))[0]["event"]["id"] == one
    doctor = cli("doctor")
    assert (doctor.returncode, "1 event rejected" in doctor.stdout) == (1, True)
    assert cli("dead-letters", "drop").stdout == "1 event dropped\n"
    assert cli("dead-letters").stdout == ""
    assert cli("doctor").returncode == 0


def test_a_single_poison_event_blocks_no_other(make, collector):
    poison: set[str] = set()
    collector.rule = lambda events: 500 if any(event["id"] in poison for event in events) else 200
    meter = make()
    poison.update(track(meter, 1))
    for _ in range(8):
        meter.flush(0.1)
    ids = track(meter, 10)
    wait_for(lambda: meter.flush(0.1).pending == 0)
    assert set(collector.events) == set(ids)
    assert of(meter)["dead"] == 1


def test_a_flush_does_not_count_rejected_events_as_delivered(make, collector):
    collector.rule = lambda events: 410
    meter = make()
    track(meter, 30)
    assert meter.flush(60) == (0, 0, 30)
    collector.rule = lambda events: 200
    track(meter, 7)
    assert meter.flush(60) == (7, 0, 0)


def test_poison_events_do_not_block_a_destination_forever(make, collector):
    poison: set[str] = set()
    collector.rule = lambda events: 500 if any(event["id"] in poison for event in events) else 200
    meter = make()
    poison.update(track(meter, 2))
    for _ in range(12):
        meter.flush(0.1)
    ids = track(meter, 350)
    wait_for(lambda: meter.flush(0.1).pending == 0)
    assert set(collector.events) == set(ids)
    assert of(meter)["dead"] == 2


def test_a_dead_collector_does_not_block_orphans_for_another(run, make, collector, state):
    with Collector() as dead:
        dead.rule = lambda events: 503
        destinations = ["ledger", dead.url, collector.url]
        leave_behind(run, destinations, 10)
        meter = taximeter.Meter(destination=destinations, state_dir=state)
        deadline = time.monotonic() + 60
        left: set[str] = set()
        for _ in range(2):
            left |= set(leave_behind(run, destinations, 10))
            while not left <= set(collector.events):
                assert time.monotonic() < deadline
                track(meter)
                time.sleep(0.02)
        wait_for(lambda: left <= {event["id"] for event in taximeter.Ledger(meter.settings.ledger).events()})
        meter.close(0.2)


def test_a_burst_that_fits_in_memory_is_kept(run, collector):
    collector.rule = lambda events: time.sleep(0.05) or 200
    outcome = run(
        """
        import sys, taximeter
        meter = taximeter.Meter(destination=sys.argv[1], backend="memory")
        padding = {f"tag{n}": "x" * 500 for n in range(8)}
        for _ in range(1400):
            assert meter.track(provider="openai", model="gpt-4o", input_tokens=1, tags=padding)
        reports = [meter.flush(30)]
        while reports[-1].pending and len(reports) < 8:  # on a busy machine
            reports.append(meter.flush(30))
        print(reports[-1].pending, sum(report.dropped for report in reports))
        """,
        collector.url,
        timeout=300,
    )
    assert outcome.stdout.split() == ["0", "0"]
    assert len(collector.events) == 1400


def test_a_rejected_compression_counts_nothing_twice(make, collector, monkeypatch):
    monkeypatch.setattr("taximeter.settings.load.max_age", float)
    answers = iter([(429, {"Retry-After": "5"}, b"")])
    collector.rule = lambda events: next(answers, 200)
    meter = make(max_age=4.0)
    first = track(meter)
    wait_for(lambda: collector.requests)
    old = track(meter, 50)
    time.sleep(4.1)
    refusals = iter([200, 415])
    collector.rule = lambda events: next(refusals, 200)
    new: list[str] = []

    def a_new_one_arrives() -> bool:
        # On a busy machine, new events can expire as well.
        new.extend(track(meter, 20))
        meter.flush(5)
        return bool(set(new) & set(collector.events))

    wait_for(a_new_one_arrives)
    wait_for(lambda: meter.flush(1).pending == 0)
    arrived = set(collector.events)
    assert set(first) <= arrived <= {*first, *new}
    assert next(refusals, None) is None
    found = of(meter)
    expired = len(old) + len(set(new) - arrived)
    assert (found["expired"], found["unreadable"], found["delivered"]) == (expired, 0, len(arrived))
