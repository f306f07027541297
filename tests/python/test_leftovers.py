"""Later programs deliver the events that an outage left, even short ones. Until then the events count as pending."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import taximeter
from collector import Collector
from conftest import leave_behind, rows

SHORT = """
import sys, taximeter
taximeter.init(destination=sys.argv[1], instrument=False)
assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1, feature="new")
"""


def outage(run, collector, count, *more) -> list[str]:
    """Leave events of a killed program while the collector fails."""
    collector.rule = lambda events: 503
    left = leave_behind(run, [collector.url, *more], count)
    collector.wait_until_idle()
    collector.rule = lambda events: 200
    assert not collector.events
    return left


def test_short_programs_deliver_events_left_by_an_outage(run):
    with Collector() as collector:
        left = outage(run, collector, 50)
        for _ in range(3):
            run(SHORT, collector.url)
        assert set(left) <= set(collector.events)
        assert len(collector.events) == 53


def test_a_flush_counts_orphaned_events_as_pending_until_delivered(run):
    with Collector() as collector:
        left = outage(run, collector, 50)
        text = """
        import time
        deadline = time.monotonic() + 40
        while taximeter.flush(20).pending:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        print([one["pending"] for one in taximeter.stats()["destinations"].values()])
        """
        outcome = run(SHORT + textwrap.dedent(text) + "import os; sys.stdout.flush(); os._exit(0)", collector.url)
        assert outcome.stdout == "[0]\n"
        assert set(left) <= set(collector.events)


def test_undelivered_orphaned_events_are_pending(run):
    with Collector() as collector:
        outage(run, collector, 50)
        collector.rule = lambda events: 401
        text = """
        import time
        deadline = time.monotonic() + 40
        while (report := taximeter.flush(20)).pending < 51 and time.monotonic() < deadline:
            time.sleep(0.05)
        (one,) = taximeter.stats()["destinations"].values()
        print(report.pending, one["pending"], one["orphaned"])
        """
        assert run(SHORT + textwrap.dedent(text), collector.url).stdout == "51 51 50\n"


def test_drain_delivers_and_counts_orphaned_events(run, state):
    with Collector() as collector:
        outage(run, collector, 7, "ledger")
        command = [sys.executable, "-m", "taximeter", "drain", "--json"]
        environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state), "TAXIMETER_DESTINATION": f"{collector.url},ledger"}
        collector.rule = lambda events: 401
        outcome = subprocess.run(command, env=environment, cwd=state.parent, capture_output=True, text=True, timeout=300, check=False)
        (report,) = rows(outcome)
        assert (outcome.returncode, report["left"]) == (1, 7)
        assert "401" in report["reasons"][0]
        collector.rule = lambda events: 200
        outcome = subprocess.run(command, env=environment, cwd=state.parent, capture_output=True, text=True, timeout=300, check=False)
        assert (outcome.returncode, rows(outcome)[0]["left"]) == (0, 0)
        assert len(collector.events) == 7
        assert taximeter.Ledger(state / "ledger.db").report().total.calls == 7
