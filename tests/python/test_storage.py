"""An unusable state directory: events are kept in memory, with a warning when metering begins and when events are lost."""

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
# Imports everything beforehand, because the other user may not read the interpreter's files.
BECOME_NOBODY = f"""
import locale, logging, os, shutil, sys, taximeter.cli.report, taximeter.instrument, taximeter.meter.warnings
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python text as a user who owns nothing, because root may write everywhere."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def start(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", BECOME_NOBODY + text], env={"PATH": os.environ["PATH"], **environment},
            cwd="/", capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return start


def lines(outcome: subprocess.CompletedProcess[str]) -> list[str]:
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stderr.splitlines()


@pytest.mark.parametrize("begin", [INIT, "import taximeter"])
@pytest.mark.parametrize("place", ["/", "/home/nobody-here", "closed"])
def test_an_unwritable_home_is_logged_once_and_losses_at_exit(as_nobody, place, begin):
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
def test_a_missing_home_is_logged_and_the_program_continues(as_nobody, begin):
    first, last = lines(as_nobody(begin + EVENTS))
    assert "no home directory" in first
    assert "TAXIMETER_STATE_DIR" in first
    assert last == "taximeter: 7 events were in memory only and are lost"


def test_init_warns_before_the_first_event(as_nobody):
    (only,) = lines(as_nobody(INIT + "; taximeter.init(team='again')", HOME="/"))
    assert "in memory only" in only


def test_commands_without_a_home_directory_name_the_remedy(as_nobody):
    outcome = as_nobody("sys.exit(taximeter.cli.main(['report']))")
    assert outcome.returncode == 2
    assert "TAXIMETER_STATE_DIR" in outcome.stderr


def test_a_read_only_file_system_is_logged(tmp_path, run):
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
def test_a_directory_that_others_can_write_is_logged_without_init_and_rejected_by_init(state, run, mode):
    state.mkdir()
    state.chmod(mode)
    first, last = lines(run("import taximeter" + EVENTS))
    assert f"{state} can be written by" in first
    assert "7 events" in last
    assert "ConfigError" in run(INIT, check=False).stderr
    assert list(state.iterdir()) == []


def test_a_requested_memory_backend_only_warns_about_losses(state, run):
    text = INIT.replace("instrument=False", "instrument=False, backend='memory', destination='cloudevents+http://127.0.0.1:9/'")
    (only,) = lines(run(text + EVENTS))
    assert only == "taximeter: 7 events were in memory only and are lost"
    assert lines(run(INIT.replace("instrument=False", "instrument=False, backend='memory'") + EVENTS)) == []


def test_events_in_memory_because_the_budget_is_used_up_are_logged_once(state, run):
    other = state / "journal" / "other"
    for path in (state, other.parent, other):
        path.mkdir(mode=0o700)
    # Without a lock file the directory is no journal, so nothing frees its space.
    (other / f"{1:016x}.seg").write_bytes(b"x" * (24 << 20))
    (only,) = lines(run(INIT + EVENTS + "assert taximeter.stats()['tier'] == 'memory'", TAXIMETER_BUDGET_MB="16"))
    assert "in memory only" in only
    assert "budget_mb" in only
    assert only.endswith("(kept_in_memory)")


def test_the_check_of_the_state_directory_leaves_no_files(state, run):
    assert lines(run(INIT)) == []
    assert list((state / "journal").iterdir()) == []
    assert lines(run(INIT + EVENTS)) == []


def test_events_lost_at_close_are_counted_and_logged(tmp_path, state, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    meter = taximeter.Meter(state_dir=blocked / "state")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "Not a directory" in said
    assert meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    assert meter.close(0).dropped == 1
    assert meter.stats()["remarks"]["lost_in_memory"] == 1


def test_price_creates_no_directory(state, run):
    assert lines(run("import taximeter; taximeter.price('gpt-4o', {'input_tokens': 1})")) == []
    assert not state.exists()
