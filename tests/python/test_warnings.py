"""Trouble with a destination is logged once, with its host and the remedy, and without secrets."""

from __future__ import annotations

import time

import pytest

import taximeter
from collector import Collector
from conftest import wait_for
from taximeter.meter import warnings

CANARY = "canary-5f3a"
CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1}


def warned(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def collector():
    with Collector() as server:
        yield server


@pytest.fixture
def remote(collector, state):
    url = f"{collector.url}/{CANARY}?key={CANARY}"
    meter = taximeter.Meter(destination=taximeter.Destination(url, token=CANARY, headers={"x-key": CANARY}), state_dir=state)
    yield meter
    meter.close(0.1)


def answer(status: int):
    return lambda events: (status, {"X-Request": CANARY}, b"no\nWARNING forged line " + CANARY.encode())


@pytest.mark.parametrize("status", [401, 403, 301])
def test_flush_logs_a_paused_destination(collector, remote, caplog, status):
    collector.rule = answer(status)
    assert remote.track(**CALL)
    began = time.monotonic()
    assert remote.flush(200).pending == 1
    assert time.monotonic() - began < 100, "a flush does not wait for what only an operator can mend"
    (said,) = warned(caplog)
    assert said.startswith("taximeter: 127.0.0.1 answered ")
    assert str(status) in said
    assert "key, address or account" in said
    assert "(destination_paused)" in said
    remote.flush(0.3)
    assert remote.stats()["destinations"]
    assert len(warned(caplog)) == 1
    assert not any(CANARY in text or "\n" in text for text in warned(caplog))


@pytest.mark.parametrize("status", [400, 422])
def test_dead_letters_are_logged(collector, remote, caplog, status):
    collector.rule = answer(status)
    for _ in range(3):
        assert remote.track(**CALL)
    wait_for(lambda: remote.flush(60).pending == 0)
    assert sum(one["dead"] for one in remote.stats()["destinations"].values()) == 3
    (said,) = warned(caplog)
    assert "events: it rejected events permanently" in said
    assert "taximeter dead-letters" in said
    assert CANARY not in said


def test_a_temporary_failure_is_not_logged(collector, remote, caplog):
    collector.rule = answer(500)
    assert remote.track(**CALL)
    wait_for(lambda: remote.flush(0.1) and len(collector.requests) > 1)
    assert warned(caplog) == []
    collector.rule = lambda events: 200
    wait_for(lambda: remote.flush(2).pending == 0)
    assert warned(caplog) == []


def test_track_logs_notices_of_delivery(collector, remote, caplog):
    collector.rule = answer(401)
    assert remote.track(**CALL)
    wait_for(lambda: remote.track(**CALL) and warned(caplog))
    assert "destination_paused" in warned(caplog)[0]


def test_notices_of_two_destinations_are_both_logged(state, caplog):
    with Collector() as first, Collector() as second:
        first.rule, second.rule = answer(401), answer(422)
        meter = taximeter.Meter(destination=[first.url, second.url], state_dir=state)
        meter.track(**CALL)
        meter.flush(10)
        wait_for(lambda: meter.stats() and len(warned(caplog)) == 2)
        assert {said.rpartition("(")[2] for said in warned(caplog)} == {"destination_paused)", "dead_letters)"}
        meter.close(0.1)


@pytest.mark.parametrize("last", ["pass", "taximeter.close(2)"])
def test_a_short_program_logs_notices_at_exit(collector, run, last):
    collector.rule = answer(401)
    outcome = run(
        f"""
        import sys, taximeter
        taximeter.init(destination=sys.argv[1], instrument=False)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
        {last}
        """,
        collector.url,
    )
    (said,) = outcome.stderr.splitlines()
    assert "401" in said
    assert "destination_paused" in said


def test_a_notice_is_logged_once_a_minute_for_each_destination(caplog):
    meter = taximeter.Meter(backend="memory")
    for host in ("a.example", "b.example", "a.example"):
        meter._engine.warnings.warn("destination_failing", host, "no answer")
    assert [said.split(": ")[1] for said in warned(caplog)] == ["a.example", "b.example"]
    assert all("more than a minute" in said for said in warned(caplog))


def test_every_count_has_a_warning_with_its_sender_its_field_and_the_remedy(caplog):
    stats = taximeter.stats()
    # Said at the end of the program.
    for what in {**stats["refused"], **stats["remarks"]}.keys() - {"lost_in_memory"}:
        caplog.clear()
        warnings.Warnings().warn(what, "the field")
        (said,) = warned(caplog)
        rule, remedy = warnings.RULES[what]
        assert said == f"taximeter: the field: {rule}; {remedy} ({what}; further cases are only counted in stats())"
