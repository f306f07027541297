"""Root works in the state directory of a service user, whose files stay that user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from taximeter.cli import main

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a directory away")
USER, GROUP = 1, 2
TRACK = """
import os, sys, taximeter
meter = taximeter.Meter(state_dir=sys.argv[1], linger_ms=60_000)
for _ in range(20):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
os.kill(os.getpid(), 9)
"""


def owners(state):
    return {path: (path.lstat().st_uid, path.lstat().st_gid) for path in (state, *state.rglob("*"))}


@pytest.fixture
def state(tmp_path):
    """Return a state directory of another user with the journal of a killed process."""
    state = tmp_path / "state"
    done = subprocess.run([sys.executable, "-c", TRACK, state])
    assert done.returncode == -signal.SIGKILL
    for path in owners(state):
        os.chown(path, USER, GROUP, follow_symlinks=False)
    return state


def command(state, *arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "taximeter", *arguments, "--state-dir", state], capture_output=True, text=True)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def test_what_root_creates_belongs_to_the_owner(state, tmp_path):
    command(state, "doctor", code=1)
    assert set(owners(state).values()) == {(USER, GROUP)}
    command(state, "drain")
    assert (state / "ledger.db") in owners(state)
    assert set(owners(state).values()) == {(USER, GROUP)}
    assert "20" in command(state, "report")
    tail = subprocess.Popen([sys.executable, "-m", "taximeter", "tail", "--state-dir", state], stdout=subprocess.PIPE)
    tail.stdout.readline()
    found = owners(state)
    tail.kill()
    tail.communicate()
    assert set(found.values()) == {(USER, GROUP)}
    backup = tmp_path / "backup.db"
    command(state, "backup", backup)
    command(state, "restore", backup)
    command(state, "ledger", "compact")
    assert set(owners(state).values()) == {(USER, GROUP)}
    assert backup.stat().st_uid == 0, "root's own file in root's own directory"


def test_root_uses_no_file_of_another_user_there(state, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("root's")
    journal = next((state / "journal").iterdir())
    lock = journal / "owner.lock"
    lock.unlink()
    os.link(victim, lock)
    command(state, "drain", code=1)
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)
    (state / "ledger.db").symlink_to(victim)
    for arguments in (["report"], ["drain"]):
        done = subprocess.run([sys.executable, "-m", "taximeter", *arguments, "--state-dir", state], capture_output=True, text=True)
        assert done.returncode == 2
        assert "is not a regular file of" in done.stderr
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)


def test_other_users_are_told_to_become_the_owner(state, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: USER + 1)
    before = owners(state)
    for name in ("report", "drain", "tail", "journals"):
        assert main([name, "--state-dir", str(state)]) == 2
        assert "Run this as that user, for example `sudo -u " in capsys.readouterr().err
    assert owners(state) == before
