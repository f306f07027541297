"""Long outages of a collector: what is kept and for how long, what is dropped, and how delivery resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import taximeter
from conftest import leave_behind, rows, wait_for

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 100, "output_tokens": 10}


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "taximeter", *arguments], capture_output=True, text=True, timeout=300, check=False)


def of(meter: taximeter.Meter) -> dict:
    return next(iter(meter.stats()["destinations"].values()))


def test_over_budget_the_oldest_events_are_dropped_and_counted_exactly(state, collector, caplog):
    collector.rule = lambda events: 503
    meter = taximeter.Meter(destination=collector.url, state_dir=state, budget_mb=12)
    padding = {f"tag{number}": "x" * 500 for number in range(8)}
    ids = [meter.track(**CALL, tags=padding).id]
    wait_for(lambda: collector.requests)
    # Five times the budget. If the sender cannot make room in time, `track()` refuses events.
    for _ in range(150):
        ids += [meter.track(**CALL, tags=padding).id for _ in range(100)]
        time.sleep(0.02)
    refused = ids.count("")
    ids = [one for one in ids if one]
    assert refused == meter.stats()["refused"]["no_space"] < 9000
    wait_for(lambda: of(meter)["evicted"])
    assert meter.stats()["journal_bytes"] <= 12 << 20
    wait_for(lambda: meter.stats()["remarks"]["given_up"] == of(meter)["evicted"])
    assert [record.getMessage() for record in caplog.records if "given_up" in record.getMessage()]
    collector.rule = lambda events: 200
    wait_for(lambda: meter.flush(1).pending == 0)
    delivered = set(collector.events)
    evicted = of(meter)["evicted"]
    assert delivered <= set(ids)
    assert len(ids) - len(delivered) == evicted > 0
    assert evicted + refused > 5000
    # The oldest events were dropped, except for the batch in flight. All new ones are there.
    assert delivered >= set(ids[-2000:])
    meter.close()


def test_expired_events_are_not_sent_but_counted(state, collector, monkeypatch):
    monkeypatch.setattr("taximeter.settings.load.max_age", float)
    collector.rule = lambda events: (429, {"Retry-After": "2"}, b"")
    meter = taximeter.Meter(destination=collector.url, state_dir=state, max_age=4.0)
    first = meter.track(**CALL).id
    wait_for(lambda: collector.requests)
    old = [meter.track(**CALL).id for _ in range(10)]
    time.sleep(4.2)
    collector.rule = lambda events: 200
    new: list[str] = []

    def a_new_one_arrives() -> bool:
        # On a busy machine, new events can expire as well.
        new.extend(meter.track(**CALL).id for _ in range(5))
        meter.flush(5)
        return bool(set(new) & set(collector.events))

    wait_for(a_new_one_arrives)
    wait_for(lambda: meter.flush(1).pending == 0)
    # The first event was already in a request, whose bytes do not change.
    arrived = set(collector.events)
    assert first in arrived <= {first, *new}
    expired = len(old) + len(set(new) - arrived)
    assert of(meter)["expired"] == expired
    # The delivery thread counts them after it has answered the flush.
    wait_for(lambda: meter.stats()["remarks"]["given_up"] == expired)
    report = meter.close(60)
    assert report.pending == 0


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 604_800.0), (False, None), ("never", 0), ("", 0), ("12h", 43_200.0), ("7d", 604_800.0), (90, 90.0), (5, 0), (True, 0)],
)
def test_max_age_is_a_duration(state, given, seconds):
    if seconds == 0:
        with pytest.raises(taximeter.ConfigError, match="max_age"):
            taximeter.Meter(state_dir=state, max_age=given)
    else:
        assert taximeter.Meter(state_dir=state, max_age=given).settings.max_age == seconds


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43_200.0), ("false", None), ("", 604_800.0)])
def test_max_age_comes_from_the_environment_and_from_a_file(state, tmp_path, monkeypatch, text, seconds):
    monkeypatch.setenv("TAXIMETER_MAX_AGE", text)
    assert taximeter.Meter(state_dir=state).settings.max_age == seconds
    monkeypatch.delenv("TAXIMETER_MAX_AGE")
    (tmp_path / "taximeter.toml").write_text("max_age = false" if seconds is None else f"max_age = {seconds}")
    assert taximeter.Meter(state_dir=state).settings.max_age == seconds


def test_stats_have_the_age_of_the_oldest_event_and_the_time_to_full(state, collector):
    collector.rule = lambda events: 503
    meter = taximeter.Meter(destination=collector.url, state_dir=state, budget_mb=64)
    assert meter.stats()["seconds_to_full"] is None
    before = time.monotonic()
    meter.track(**CALL)
    begun = time.monotonic()
    for _ in range(24):
        for _ in range(1000):
            meter.track(**CALL)
        time.sleep(0.1)
    meter.flush(0.3)
    waited = time.monotonic() - begun
    stats = meter.stats()
    oldest = of(meter)["oldest_seconds"]
    assert waited - 0.1 < oldest <= time.monotonic() - before + 0.1
    # Some 10,000 events of 200 bytes per second fill the budget in half a minute. A busy machine tracks fewer.
    to_full = waited * (64 << 20) / stats["journal_bytes"]
    assert to_full / 8 < stats["seconds_to_full"] < to_full * 8
    collector.rule = lambda events: 200
    wait_for(lambda: meter.flush(1).pending == 0)
    wait_for(lambda: of(meter)["oldest_seconds"] is None)
    wait_for(lambda: meter.stats()["seconds_to_full"] is None or meter.stats()["seconds_to_full"] > 10 * to_full)
    meter.close()


def test_after_an_outage_new_events_do_not_wait_for_the_backlog(state, collector):
    collector.rule = lambda events: 503
    meter = taximeter.Meter(destination=collector.url, state_dir=state, budget_mb=64)
    old = [meter.track(**CALL).id for _ in range(60_000)]
    wait_for(lambda: collector.requests)
    arrived: list[str] = []

    def slowly(events):
        time.sleep(0.05)
        arrived.extend(event["id"] for event in events)
        return 200

    collector.rule = slowly
    new = []
    while len(arrived) < 50_000:
        new.append(meter.track(**CALL, feature="new").id)
        meter.flush(0.05)
    wait_for(lambda: meter.flush(1).pending == 0)
    assert set(arrived) == {*old, *new}
    place = {one: index for index, one in enumerate(arrived)}
    ahead = sum(place[one] < len(arrived) * 0.9 for one in new)
    assert ahead > len(new) / 2, (ahead, len(new))
    meter.close()


def test_orphaned_events_are_delivered_beside_a_busy_process(run, state, collector):
    collector.rule = lambda events: 503
    left = set(leave_behind(run, [collector.url], 3000))
    collector.rule = lambda events: 200
    meter = taximeter.Meter(destination=collector.url, state_dir=state)
    deadline = time.monotonic() + 120
    while not left <= set(collector.events):
        assert time.monotonic() < deadline, len(left - set(collector.events))
        # Some events are always waiting for their batch.
        meter.track(**CALL)
        time.sleep(0.001)
    meter.close()


def test_requests_stay_under_a_megabyte(state, collector):
    sizes = []
    collector.rule = lambda events: sizes.append(len(json.dumps(events))) or 200
    meter = taximeter.Meter(destination=collector.url, state_dir=state)
    padding = {f"tag{number}": "x" * 500 for number in range(20)}
    ids = [meter.track(**CALL, tags=padding).id for _ in range(500)]
    assert meter.flush(60).pending == 0
    assert set(collector.events) == set(ids)
    assert max(sizes) < 1_100_000
    assert len(sizes) < 20
    meter.close()


def test_dead_letters_can_be_sent_again(state, collector, monkeypatch):
    monkeypatch.setenv("TAXIMETER_DESTINATION", collector.url)
    collector.rule = lambda events: 410
    meter = taximeter.Meter()
    ids = [meter.track(**CALL, customer="acme").id for _ in range(25)]
    assert meter.flush(60).pending == 0
    meter.close()
    refused = cli("dead-letters", "retry")
    # They were rejected again, and are dead letters again.
    assert (refused.returncode, refused.stdout) == (1, "25 events sent again, 25 dead letters left\n"), refused.stderr
    assert len(cli("dead-letters").stdout.splitlines()) == 25
    collector.rule = lambda events: 200
    # Without their destination in the settings, they stay dead letters.
    monkeypatch.delenv("TAXIMETER_DESTINATION")
    elsewhere = cli("dead-letters", "retry", "--json")
    assert (elsewhere.returncode, rows(elsewhere)) == (1, [{"retried": 0, "left": 25}])
    monkeypatch.setenv("TAXIMETER_DESTINATION", collector.url)
    assert rows(cli("dead-letters", "retry", "--json"))[0] == {"retried": 25, "left": 0}
    assert set(collector.events) == set(ids)
    assert {event["data"]["customer"] for event in collector.events.values()} == {"acme"}
    assert not list((state / "dead").iterdir())
    assert not list((state / "journal").iterdir())
    assert cli("dead-letters", "retry").stdout == "0 events sent again, 0 dead letters left\n"


def test_a_truncated_dead_letter_does_not_break_commands(state, collector, monkeypatch):
    monkeypatch.setenv("TAXIMETER_DESTINATION", collector.url)
    collector.rule = lambda events: (410, {}, b"line\n\x1b[31mtwo")
    meter = taximeter.Meter()
    meter.track(**CALL)
    assert meter.flush(60).pending == 0
    meter.close()
    (path,) = (state / "dead").iterdir()
    with path.open("ab") as file:
        file.write('{"at": "ë'.encode()[:-1])
    shown = cli("dead-letters")
    (line,) = shown.stdout.splitlines()
    assert line.endswith(r"line\n\x1b[31mtwo")
    assert "1 line is damaged" in shown.stderr
    assert [letter["status"] for letter in rows(cli("dead-letters", "--json"))] == [410]
    assert rows(cli("dead-letters", "retry", "--json"))[0] == {"retried": 1, "left": 2}
    assert cli("dead-letters", "drop").stdout == "2 events dropped\n"
    assert cli("doctor").returncode == 0


def test_retried_dead_letters_are_kept_in_the_journal_until_delivered(state, collector, monkeypatch):
    monkeypatch.setenv("TAXIMETER_DESTINATION", collector.url)
    collector.rule = lambda events: 410
    meter = taximeter.Meter()
    ids = {meter.track(**CALL).id for _ in range(5)}
    assert meter.flush(60).pending == 0
    collector.rule = lambda events: 401
    outcome = cli("dead-letters", "retry")
    assert (outcome.returncode, "answered 401" in outcome.stderr) == (2, True)
    meter.close()
    collector.rule = lambda events: 200
    assert taximeter.Meter().drain() == 5
    assert set(collector.events) == ids


def test_the_reference_parser_reads_the_prometheus_text(state, collector):
    collector.rule = lambda events: 401
    meter = taximeter.Meter(destination=["ledger", collector.url], state_dir=state)
    meter.track(**CALL)
    meter.track(provider="openai", model="")
    meter.flush(1)
    families = {family.name: family for family in text_string_to_metric_families(meter.prometheus())}

    def value(metric: str, **labels: str) -> float:
        (found,) = [
            sample.value
            for family in families.values()
            for sample in family.samples
            if sample.name == metric and labels.items() <= sample.labels.items()
        ]
        return found

    name = next(name for name in meter.stats()["destinations"] if name != "ledger")
    there = {"destination": name, "host": "127.0.0.1"}
    assert value("taximeter_tracked_total") == 1
    assert value("taximeter_refused_total", reason="missing_model") == 1
    assert value("taximeter_destination_pending", **there) == 1
    assert value("taximeter_destination_state", **there, state="paused") == 1
    assert value("taximeter_destination_delivered_total", destination="ledger", host="") == 1
    assert value("taximeter_destination_lost_total", **there, reason="evicted") == 0
    assert families["taximeter_tracked"].type == "counter"
    assert families["taximeter_destination_oldest_seconds"].type == "gauge"
    assert "canary" not in meter.prometheus()
    meter.close()


def test_doctor_reports_delivery_in_running_processes(state, collector):
    meter = taximeter.Meter(destination=["ledger", collector.url], state_dir=state)
    ids = [meter.track(**CALL).id for _ in range(3)]
    assert meter.flush(60).pending == 0
    wait_for(lambda: list((state / "journal").glob("*/status.json")))
    well = cli("doctor")
    assert "destination http-" in well.stdout
    assert "(127.0.0.1): 3 delivered and 0 waiting in 1 processes" in well.stdout
    assert well.returncode == 0, well.stdout
    collector.rule = lambda events: 401
    meter.track(**CALL)
    meter.flush(0.5)
    wait_for(lambda: "paused" in cli("doctor").stdout)
    checks = {check["check"]: check for check in rows(cli("doctor", "--json"))}
    found = next(check for name, check in checks.items() if name.startswith("destination http-"))
    assert not found["ok"]
    assert "1 waiting" in found["detail"]
    assert "127.0.0.1 answered 401" in found["detail"]
    for _ in range(100):
        meter.track(**CALL)
    wait_for(lambda: "101 waiting" in cli("doctor").stdout)
    second = taximeter.Meter(destination=collector.url, state_dir=state)
    second.track(**CALL)
    wait_for(lambda: len(list((state / "journal").glob("*/status.json"))) == 2)
    (state / "journal" / "of-another-version").mkdir(mode=0o700)
    (state / "journal" / "of-another-version" / "status.json").write_text('{"destinations": ["x"]}')
    samples = [sample for family in text_string_to_metric_families(cli("doctor", "--prometheus").stdout) for sample in family.samples]
    assert {sample.labels["pid"] for sample in samples if "pid" in sample.labels} == {str(os.getpid())}
    series = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
    assert len(series) == len(set(series))
    second.close()
    statuses = [path.read_text() for path in (state / "journal").glob("*/status.json")]
    assert statuses
    assert not any(one in status for one in [*ids, "canary"] for status in statuses)
    meter.close()


@pytest.mark.parametrize("what", ["link", "foreign", "open"])
def test_a_state_directory_that_other_users_control_is_rejected(tmp_path, run, what):
    directory = tmp_path / "given"
    directory.mkdir()
    if what == "link":
        (tmp_path / "link").symlink_to(directory)
        directory = tmp_path / "link"
    elif what == "open":
        directory.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(directory, 12345, 12345)
    else:
        directory = Path("/usr")
    rule = {"link": "symbolic link", "foreign": "another user", "open": "written by everyone"}[what]
    with pytest.raises(taximeter.ConfigError, match=f"state_dir: .* {rule}"):
        taximeter.Meter(state_dir=directory)
    if what != "foreign" or os.geteuid() != 0:  # root's commands may use it: see test_other_owner.py
        (check,) = rows(cli("--state-dir", str(directory), "doctor", "--json"))
        assert (check["check"], check["ok"], rule in check["detail"]) == ("settings", False, True)
    # Without init(), nothing raises, and nothing is written to the directory.
    outcome = run(
        "import taximeter; assert taximeter.track(provider='a', model='b', input_tokens=1); print(taximeter.stats()['tier'])",
        TAXIMETER_STATE_DIR=str(directory),
    )
    assert outcome.stdout.strip() == "memory"
    assert rule in outcome.stderr
    assert what == "foreign" or not list(directory.iterdir())


def test_all_files_are_private_to_their_owner(state, collector):
    collector.rule = lambda events: 410
    meter = taximeter.Meter(destination=["ledger", collector.url], state_dir=state)
    meter.track(**CALL)
    assert meter.flush(60).pending == 0
    wait_for(lambda: list((state / "journal").glob("*/status.json")))
    found = [state, *state.rglob("*")]
    assert {path.name for path in found} >= {"ledger.db", "status.json", "owner.lock"}
    for path in found:
        assert path.stat().st_mode & 0o077 == 0, path
    meter.close()


def test_a_directory_that_becomes_a_link_is_not_written_through(state, tmp_path, collector):
    collector.rule = lambda events: 410
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    state.mkdir(mode=0o700)
    (state / "dead").symlink_to(elsewhere)
    meter = taximeter.Meter(destination=collector.url, state_dir=state)
    meter.track(**CALL)
    wait_for(lambda: meter.flush(0.1) and "symbolic link" in (of(meter)["last_error"] or ""))
    assert not list(elsewhere.iterdir())
    (state / "dead").unlink()
    wait_for(lambda: meter.flush(1).pending == 0)
    assert of(meter)["dead"] == 1
    meter.close()
