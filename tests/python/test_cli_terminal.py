"""The command line on a terminal: progress, Ctrl-C, and its screens."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys

import pytest

from conftest import leave_behind
from taximeter.cli.progress import progress


@pytest.fixture
def silent_server():
    """Yield the socket of a server that takes requests and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server


def destination(server: socket.socket) -> str:
    return f"cloudevents+http://127.0.0.1:{server.getsockname()[1]}/v1"


def test_long_work_shows_progress_on_a_terminal_and_ends_on_ctrl_c(run, state, silent_server):
    leave_behind(run, [destination(silent_server)], 1)
    (state.parent / "taximeter.toml").write_text(f'destination = "{destination(silent_server)}"\n')
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "taximeter", "drain"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=state.parent, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    read = b""
    while b"delivering" not in read:
        read += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    with contextlib.suppress(OSError):  # the end of what a closed terminal was sent
        while data := os.read(ours, 65_536):
            read += data
    os.close(ours)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in read
    assert read.endswith(b"\r\x1b[K")


def test_progress_is_not_shown_in_a_pipe(run, state, silent_server):
    leave_behind(run, [destination(silent_server)], 1)
    (state.parent / "taximeter.toml").write_text(f'destination = "{destination(silent_server)}"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "taximeter", "drain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=state.parent
    )
    select.select([silent_server], [], [])
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=300) == (b"", b"")
    assert process.returncode == 130


def test_the_line_of_progress_says_how_far_the_work_is():
    with progress("exporting", total=2_000_000) as one:
        one.done = 12_345
        assert one.text(7.6) == "exporting: 12,345 of 2,000,000 calls (0 %), 8 s"
    with progress("delivering", unit="events") as one:
        assert one.text(1) == "delivering: 1 s"
        one.counter = lambda: 3
        assert one.text(1) == "delivering: 3 events, 1 s"
