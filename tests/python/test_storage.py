"""A state directory that cannot be used: events are in memory, and that is said when metering begins and when they are lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import taximeter

INIT = "import taximeter; taximeter.init(instrument=False)"
EVENTS = """
for _ in range(7):
    assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
"""
NOBODY = 54_321
# With everything imported that is imported later: the interpreter's own files may be closed to other users.
BECOME_NOBODY = f"""
import locale, os, shutil, sys, taximeter.cli, taximeter.instrument
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python text as a user who owns nothing: root may write everywhere."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def start(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", BECOME_NOBODY + text], env={"PATH": os.environ["PATH"], **environment},
            cwd="/", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return start


def lines(outcome: subprocess.CompletedProcess[str]) -> list[str]:
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stderr.splitlines()


@pytest.mark.parametrize("begin", [INIT, "import taximeter"])
@pytest.mark.parametrize("place", ["/", "/home/nobody-here", "closed"])
def test_a_home_that_cannot_be_written_is_said_once_and_what_is_lost_at_the_end(as_nobody, place, begin):
    if place == "closed":
        place = tempfile.mkdtemp(dir="/tmp")
        Path(place).chmod(0o555)
    first, last = lines(as_nobody(begin + EVENTS, HOME=place))
    assert "in memory only" in first
    assert f"{place.rstrip('/')}/.local/state/taximeter: Permission denied" in first
    assert "state_dir=" in first
    assert "TAXIMETER_STATE_DIR" in first
    assert last == "taximeter: 7 events were in memory only and are lost"


@pytest.mark.parametrize("begin", [INIT, "import taximeter"])
def test_a_user_without_a_home_is_told_and_the_host_goes_on(as_nobody, begin):
    first, last = lines(as_nobody(begin + EVENTS))
    assert "no home directory" in first
    assert "TAXIMETER_STATE_DIR" in first
    assert last == "taximeter: 7 events were in memory only and are lost"


def test_init_says_it_before_any_event(as_nobody):
    (only,) = lines(as_nobody(INIT + "; taximeter.init(team='again')", HOME="/"))
    assert "in memory only" in only


def test_commands_of_a_user_without_a_home_say_what_to_set(as_nobody):
    outcome = as_nobody("sys.exit(taximeter.cli.main(['report']))")
    assert outcome.returncode == 2
    assert "TAXIMETER_STATE_DIR" in outcome.stderr


def test_a_read_only_file_system_is_said(tmp_path, run):
    place = tmp_path / "media"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs privileges that this machine does not give")
    try:
        first, last = lines(run(INIT + EVENTS, TAXIMETER_STATE_DIR=str(place / "state")))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
    assert f"{place}/state: Read-only file system" in first
    assert "7 events" in last


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_directory_that_others_can_write_is_said_without_init_and_refused_by_it(state, run, mode):
    state.mkdir()
    state.chmod(mode)
    first, last = lines(run("import taximeter" + EVENTS))
    assert f"{state} can be written by" in first
    assert "7 events" in last
    assert "ConfigError" in run(INIT, check=False).stderr
    assert list(state.iterdir()) == []


def test_memory_that_was_asked_for_is_not_warned_about_but_its_losses_are(state, run):
    text = INIT.replace("instrument=False", "instrument=False, backend='memory', destination='cloudevents+http://127.0.0.1:9/'")
    (only,) = lines(run(text + EVENTS))
    assert only == "taximeter: 7 events were in memory only and are lost"
    assert lines(run(INIT.replace("instrument=False", "instrument=False, backend='memory'") + EVENTS)) == []


def test_a_directory_that_can_be_used_is_left_without_a_trace_of_the_check(state, run):
    assert lines(run(INIT)) == []
    assert list((state / "journal").iterdir()) == []
    assert lines(run(INIT + EVENTS)) == []


def test_what_close_loses_is_counted_and_said(tmp_path, state, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    meter = taximeter.Meter(state_dir=blocked / "state")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "Not a directory" in said
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.close(0).dropped == 1
    assert meter.stats()["remarks"]["lost_in_memory"] == 1


def test_asking_for_a_price_makes_no_directory(state, run):
    assert lines(run("import taximeter; taximeter.price('gpt-4o', {'input_tokens': 1})")) == []
    assert not state.exists()
