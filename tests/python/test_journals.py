"""`taximeter journals`, and the doctor's check of waiting events, which reads journals because short scripts write no status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import taximeter
from collector import Collector
from conftest import leave_behind, rows, wait_for
from taximeter import _core
from taximeter.cli import journals

GONE = "cloudevents+http://127.0.0.1:9/v1"


def leave(run, state, destinations: list[str], count: int) -> list[str]:
    """Leave events of a killed process that no destination accepted, because a directory was in the ledger's place."""
    state.mkdir(mode=0o700, exist_ok=True)
    ledger = state / "ledger.db"
    kept = ledger.with_name("kept")
    if ledger.exists():
        ledger.rename(kept)
    ledger.mkdir()
    ids = leave_behind(run, destinations, count)
    ledger.rmdir()
    if kept.exists():
        kept.rename(ledger)
    assert len(ids) == count
    return ids


@pytest.fixture
def cli(state):
    def call(*arguments: str, code: int = 0, **environment: str):
        outcome = subprocess.run(
            [sys.executable, "-m", "taximeter", *arguments], capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "TAXIMETER_STATE_DIR": str(state), **environment}, cwd=state.parent,
        )  # fmt: skip
        assert outcome.returncode == code, outcome
        return outcome

    return call


def check(cli, name: str, code: int) -> dict:
    checks = {one["check"]: one for one in rows(cli("doctor", "--json", code=code))}
    return checks[name]


def test_the_list_shows_each_journals_owner_and_waiting_events(cli, run, state):
    assert rows(cli("journals", "--json")) == []
    leave(run, state, ["ledger", GONE], 5)
    before = sorted((path, path.stat().st_mtime_ns, path.stat().st_size) for path in state.rglob("*") if path.is_file())
    (journal,) = rows(cli("journals", "list", "--json"))
    assert (journal["owner"], journal["error"]) == ("dead", None)
    assert journal["disk_bytes"] > 0
    waiting = {one["destination"]: (one["records"], one["bytes"] > 0, one["damaged"]) for one in journal["destinations"]}
    assert waiting.pop("ledger") == (5, True, 0)
    assert list(waiting.values()) == [(5, True, 0)]
    assert all(0 <= one["oldest_seconds"] < 300 for one in journal["destinations"])
    lines = cli("journals").stdout.splitlines()
    assert lines[0].split() == ["JOURNAL", "WRITTEN", "BY", "DESTINATION", "EVENTS", "BYTES", "OLDEST", "DAMAGED"]
    assert {line.split()[2]: line.split()[3] for line in lines[1:]}["ledger"] == "5"
    # Listing changes nothing.
    assert before == sorted((path, path.stat().st_mtime_ns, path.stat().st_size) for path in state.rglob("*") if path.is_file())


def test_a_journal_of_a_running_process_is_listed_but_not_dropped(cli, state, meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush(10)
    (journal,) = rows(cli("journals", "--json"))
    assert (journal["owner"], [one["records"] for one in journal["destinations"]]) == ("live", [0])
    (own,) = _core.journals(state)
    assert own["owner"] == "this"
    assert "is running" in cli("journals", "drop", journal["name"], "--yes", code=2).stderr
    with pytest.raises(OSError, match="is alive"):
        _core.drop_journal(state, own["name"], None)
    assert check(cli, "waiting events", 0)["ok"]


def test_drop_deletes_the_waiting_events_of_one_or_all_destinations(cli, run, state):
    leave(run, state, ["ledger", GONE], 5)
    (journal,) = rows(cli("journals", "--json"))
    (gone,) = [one["destination"] for one in journal["destinations"] if one["destination"] != "ledger"]
    assert "5 events" in cli("journals", "drop", journal["name"], code=2).stderr
    assert "--yes" in cli("journals", "drop", journal["name"][:8], "--destination", gone, code=2).stderr
    assert "no events for 'nobody'" in cli("journals", "drop", journal["name"], "--destination", "nobody", code=2).stderr
    assert "no journal" in cli("journals", "drop", "nothing", code=2).stderr
    assert len(rows(cli("journals", "--json"))) == 1
    dropped = rows(cli("journals", "drop", journal["name"][:8], "--destination", gone, "--yes", "--json"))[0]
    assert dropped == {"journal": journal["name"], "destination": gone, "dropped": 5}
    # The ledger's events are still there. The journal is deleted once they are delivered.
    assert rows(cli("drain", "--json"))[0]["delivered"] == 5
    assert rows(cli("journals", "--json")) == []
    leave(run, state, [GONE], 3)
    (journal,) = rows(cli("journals", "--json"))
    assert "3 events" in cli("journals", "drop", journal["name"], "--yes").stdout
    assert list((state / "journal").iterdir()) == []


@pytest.mark.parametrize("name", ["../../outside", "..", ".", "", "a/b", ".draft-x", "/etc"])
def test_drop_only_accepts_journals_of_the_state_directory(state, run, name):
    leave(run, state, ["ledger"], 1)
    (state.parent / "outside").mkdir()
    with pytest.raises(OSError, match="no journal"):
        _core.drop_journal(state, name, None)
    assert (state.parent / "outside").exists()


def test_control_characters_in_destination_names_are_replaced(cli, run, state):
    leave(run, state, ["ledger"], 1)
    (journal,) = (state / "journal").iterdir()
    (journal / "evil\x1b[2J\nledger.cursor").write_bytes(b"")
    shown = cli("journals").stdout + cli("doctor", code=1).stdout
    assert "\x1b" not in shown
    assert r"evil\x1b[2J\nledger" in shown


def test_a_missing_segment_is_counted_as_lost(run, state):
    leave(run, state, ["ledger"], 5)
    (segment,) = (state / "journal").glob("*/*.seg")
    segment.unlink()
    meter = taximeter.Meter(state_dir=state)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    wait_for(lambda: meter.stats()["corrupt_records"])
    stats = meter.stats()
    assert (stats["corrupt_records"], stats["lost_records"]) == (1, 1)
    meter.close(5)


def test_requeued_segments_are_delivered(cli, run, state):
    ids = leave(run, state, ["ledger"], 20)
    (segment,) = (state / "journal").glob("*/*.seg")
    data = bytearray(segment.read_bytes())
    place = data.index(bytes.fromhex(ids[3].replace("-", "")))
    kept = data[place]
    data[place] ^= 1
    segment.write_bytes(data)
    report = rows(cli("drain", "--json", code=1))[0]
    assert (report["delivered"], report["damaged"]) == (19, 1)
    (damaged,) = json.loads(cli("journals", "--json").stdout)["quarantine"]
    assert (damaged["readable"], damaged["damaged"], damaged["destinations"], damaged["requeued"]) == (19, 1, ["ledger"], False)
    assert f"{damaged['name']}: 19 events readable, 1 damaged" in cli("journals").stdout
    assert not check(cli, "journals", 1)["ok"]
    # Repaired by hand, as after the replacement of a bad disk.
    (file,) = (state / "quarantine").glob("*.seg")
    data = bytearray(file.read_bytes())
    data[place] = kept
    file.write_bytes(data)
    requeued = rows(cli("journals", "requeue", "--json"))[0]
    assert requeued == {"requeued": 20, "damaged": 0, "left": 0, "delivered": 1}
    assert {event["id"] for event in taximeter.Ledger(state / "ledger.db").events()} == set(ids)
    assert list((state / "quarantine").glob("*.seg*")) == []
    assert rows(cli("journals", "requeue", "--json"))[0] == {"requeued": 0, "damaged": 0, "left": 0, "delivered": 0}
    assert check(cli, "journals", 0)["ok"]


def test_a_damaged_segment_is_requeued_only_once(cli, run, state):
    ids = leave(run, state, ["ledger"], 5)
    (segment,) = (state / "journal").glob("*/*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(bytes.fromhex(ids[3].replace("-", "")))] ^= 1
    segment.write_bytes(data)
    cli("drain", code=1)
    assert cli("journals", "requeue").stdout == "4 events requeued, 0 delivered, 1 still damaged\n"
    assert cli("journals").stdout.splitlines()[-1].endswith("4 events readable, 1 damaged, requeued")
    found = check(cli, "journals", 0)
    assert found["ok"]
    assert "delete them" in found["detail"]


def test_doctor_reports_events_of_short_scripts_and_drain_delivers_them(cli, run, state):
    for _ in range(3):
        leave(run, state, ["ledger"], 4)
    found = check(cli, "waiting events", 1)
    assert "12 events for ledger in 3 journals of ended processes" in found["detail"]
    assert "taximeter drain" in found["detail"]
    cli("drain")
    assert check(cli, "waiting events", 0) == {"check": "waiting events", "ok": True, "detail": "none"}


def test_doctor_reports_events_for_an_unknown_destination(cli, run, state):
    leave(run, state, [GONE], 2)
    found = check(cli, "waiting events", 1)
    assert "that destination is neither in these settings nor in use by a running process" in found["detail"]
    assert "taximeter journals drop" in found["detail"]
    assert "127.0.0.1" not in found["detail"], "it was killed before it said for which host the events are"
    # With the destination in the settings, it is a normal orphan journal.
    again = cli("doctor", "--json", code=1, TAXIMETER_DESTINATION=GONE).stdout
    assert "run taximeter drain to deliver them" in again


def test_doctor_names_the_host_of_an_unknown_destination(cli, run, state):
    run("import taximeter; taximeter.track(provider='p', model='m')", TAXIMETER_DESTINATION=GONE)
    assert "1 event for http-" in (said := check(cli, "waiting events", 1)["detail"])
    assert "(127.0.0.1" in said


def test_doctor_reports_a_journal_without_its_lock(cli, run, state):
    leave(run, state, ["ledger"], 2)
    (lock,) = (state / "journal").glob("*/owner.lock")
    lock.unlink()
    assert "without a lock file" in check(cli, "waiting events", 1)["detail"]
    (journal,) = rows(cli("journals", "--json"))
    assert journal["owner"] == "unknown"
    assert "2 events" in cli("journals", "drop", journal["name"], "--yes").stdout
    assert check(cli, "waiting events", 0)["ok"]


def test_doctor_reports_a_running_process_without_progress(state, monkeypatch):
    with Collector() as collector:
        collector.rule = lambda events: 500
        meter = taximeter.Meter(destination=collector.url, state_dir=state)
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        meter.flush(0.2)
        assert journals.check_waiting(meter.settings, {}) == (True, "1 event, all of them recent")
        monkeypatch.setattr(journals, "STALLED_SECONDS", 0.0)
        is_well, said = journals.check_waiting(meter.settings, {})
        assert not is_well
        assert "1 event for" in said
        assert "the destination has accepted none for a minute" in said
        collector.rule = lambda events: 200
        wait_for(lambda: meter.flush(1).pending == 0)
        assert journals.check_waiting(meter.settings, {}) == (True, "none")
        meter.close(5)


def test_doctor_reports_events_that_are_only_in_memory(state, meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    (journal,) = (state / "journal").iterdir()
    monkey = {journal.name: {"memory_bytes": 4096, "pid": 7}, "of an ended process": {"memory_bytes": 1, "pid": 8}}
    is_well, said = journals.check_waiting(meter.settings, monkey)
    assert (is_well, said) == (False, "4,096 bytes of events of process 7 are in memory only")
