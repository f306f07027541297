"""Counts of delivery that survive their process."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

TRACK = """
import sys, taximeter
meter = taximeter.Meter(state_dir=sys.argv[1])
for _ in range(int(sys.argv[2])):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
meter.flush()
meter.close()
"""


def delivered(text: str) -> int:
    return sum(
        int(count)
        for count in re.findall(r'^taximeter_destination_delivered_total\{.*destination="ledger".*\} (\d+)$', text, re.MULTILINE)
    )


@pytest.mark.slow
def test_counts_of_ended_processes_are_added_up(cli, state):
    for count in (3, 2):
        subprocess.run([sys.executable, "-c", TRACK, state, str(count)], check=True)
    assert not list((state / "journal").iterdir())
    for _ in range(2):
        text = cli("doctor", "--prometheus").stdout
        assert delivered(text) == 5
        assert "taximeter_tracked_total 5\n" in text
    assert "ended processes: 2 journals since" in cli("doctor").stdout
    counters = state / "counters.json"
    assert counters.stat().st_mode & 0o777 == 0o600
    damaged = json.loads(counters.read_text())
    damaged["destinations"]["ledger"]["delivered"] = "\x1b[2J"
    counters.write_text(json.dumps(damaged))
    assert "ended processes" not in cli("doctor").stdout
    counters.write_text("[")
    assert delivered(cli("doctor", "--prometheus").stdout) == 0
    subprocess.run([sys.executable, "-c", TRACK, state, "4"], check=True)
    assert delivered(cli("doctor", "--prometheus").stdout) == 4


def test_lost_events_stay_known(cli, state):
    state.mkdir(mode=0o700)
    totals = {"processes": 1, "tracked": 9, "since": "2026-11-01T00:00:00Z", "destinations": {}}
    names = ("delivered", "rejected", "dead", "dropped", "expired", "evicted", "unreadable")
    totals["destinations"]["http-1"] = {**dict.fromkeys(names, 0), "delivered": 5, "expired": 4, "host": "collector\x1b"}
    (state / "counters.json").write_text(json.dumps(totals))
    (state / "counters.json").chmod(0o600)
    said = cli("doctor").stdout
    assert "note  ended processes: 1 journal since 2026-11-01; http-1 (collector\\x1b): 5 delivered, 4 expired" in said
