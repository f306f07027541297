"""`docs/journal.md` describes the journal's format completely: a reader of 60 lines finds every event."""

import json
import os
import signal
import subprocess
import sys

import pytest

import taximeter
from conftest import EXAMPLES, ROOT

READER = EXAMPLES / "read_journal.py"
sys.path.insert(0, str(EXAMPLES))

import read_journal  # noqa: E402

EVENTS = 10_000
WRITER = """
import json, os, sys, taximeter
meter = taximeter.Meter(destination="cloudevents+http://127.0.0.1:9/", state_dir=sys.argv[1])
ids = []
for n in range(int(sys.argv[2])):
    receipt = meter.track(
        provider="openai", model="gpt-4o", input_tokens=n, output_tokens=n % 7, cache_read_tokens=n // 2,
        customer=f"customer {n}", team="ä" * (n % 30), tags={"plan": "pro", "n": str(n)}, latency_ms=n,
    )
    ids.append(str(receipt.id))
print(json.dumps(ids), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_example_reads_every_event_of_a_killed_process(tmp_path):
    assert len(READER.read_text().splitlines()) <= 60
    assert "import taximeter" not in READER.read_text()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(EVENTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    ids = json.loads(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (journal,) = (path for path in (tmp_path / "journal").iterdir() if path.is_dir())
    read = subprocess.run([sys.executable, str(READER), str(journal)], capture_output=True, text=True, check=True)
    events = {event["id"]: event for event in map(json.loads, read.stdout.splitlines())}
    assert len(read.stdout.splitlines()) == EVENTS
    # In the files, a thread's events change their order where it goes on in another chunk.
    assert set(events) == set(ids)
    for n, event in enumerate(events[id_] for id_ in ids):
        assert (event["provider"], event["model"], event["customer"]) == ("openai", "gpt-4o", f"customer {n}")
        assert event.get("team", "") == "ä" * (n % 30)
        assert event["tags"] == {"plan": "pro", "n": str(n)}
        expected = {"0": n, "1": n % 7, "2": n // 2}
        assert {unit: count for unit, count in event["usage"].items() if count} == {u: c for u, c in expected.items() if c}


def test_the_page_shows_a_real_segment(tmp_path):
    """The bytes on the page are a valid segment with the event that the page states."""
    page = (ROOT / "docs/journal.md").read_text()
    lines = [line.split("  ") for line in page.splitlines() if line[:8].strip("0123456789abcdef") == "" and line[8:10] == "  "]
    segment = bytearray()
    for offset, text, *_ in lines:
        segment.extend(bytes(int(offset, 16) - len(segment)))
        segment.extend(bytes.fromhex(text))
    path = tmp_path / "0000000000000001.seg"
    path.write_bytes(segment)
    (payload,) = read_journal.records(path)
    event = read_journal.event(payload)
    assert (event["model"], event["usage"], event["tags"]) == ("gpt-4o", {0: 12, 1: 34}, {"plan": "pro"})
    assert event["id"] in page
    assert taximeter.__version__


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["one", "two"]])
def test_the_example_prints_its_usage(arguments):
    outcome = subprocess.run([sys.executable, str(READER), *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert (outcome.returncode, outcome.stderr.splitlines()[0]) == (1, "usage: python read_journal.py DIRECTORY")
