"""Ctrl-C and SIGTERM end waits: real signals, real processes, and a destination that never responds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from conftest import leave_behind

PROMPT = 25.0
"""The longest time in seconds that a process may take to end after a signal: some milliseconds, and more on a busy machine. Without a
reaction to signals, each wait here takes 30 seconds."""

BEGIN = """
import atexit, signal, sys, time, taximeter
taximeter.init(destination=sys.argv[1], instrument=False)
"""
EVENT = 'assert taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)'
WAITS = {
    "flush": f"{EVENT}; taximeter.flush(30)",
    "close": f"{EVENT}; taximeter.close(30)",
    "drain": "taximeter.drain()",
    "exit": f"{EVENT}; atexit.register(taximeter.default_meter.flush, 30)",
}


class Silent:
    """A server that accepts connections and never responds."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._connections: list[socket.socket] = []
        self.url = f"cloudevents+http://127.0.0.1:{server.getsockname()[1]}/v1"

    def wait(self) -> None:
        """Wait for the next connection."""
        self._server.settimeout(60)
        self._connections.append(self._server.accept()[0])

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def forget(self) -> None:
        """Accept the connections of programs that have ended."""
        self._server.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._server.accept()[0].close()


@pytest.fixture
def silent():
    """Yield the server."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server, contextlib.closing(Silent(server)) as silent:
        yield silent


def signalled(text: str, number: signal.Signals, silent: Silent, state) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run a program until it waits, and send it a signal. Return how long it took to end."""
    silent.forget()
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(text), silent.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TAXIMETER_STATE_DIR": str(state)}, cwd=state.parent,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "waits\n", process.stderr.read()
        silent.wait()
        time.sleep(0.2)  # from the first request until the program waits
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return time.monotonic() - began, subprocess.CompletedProcess([], process.returncode, output, errors)


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(run, state, silent, wait):
    if wait == "drain":
        leave_behind(run, [silent.url], 1)
    text = f"{BEGIN}\nprint('waits')\n{WAITS[wait]}\n"
    took, outcome = signalled(text, signal.SIGINT, silent, state)
    assert took < PROMPT
    assert "KeyboardInterrupt" in outcome.stderr


def test_ctrl_c_ends_the_wait_at_exit_without_a_traceback(state, silent):
    """Of several meters: after the signal, nothing waits for the others either."""
    text = f"""{BEGIN}
import contextlib, io
from taximeter.compat import _outbox, teer, tokenr
from taximeter.meter import shutdown
shutdown.EXIT_SECONDS = _outbox._EXIT_SECONDS = 30.0
url = sys.argv[1].partition("+")[2]
with contextlib.redirect_stdout(io.StringIO()):
    tokenr.init(token="k", url=url, debug=True)
tokenr.track("openai", "gpt-4o", 1, 2)
teer.TeerClient("k", track_url=url, background=True).ingest.send({{"provider": "openai", "model": "m", "function_id": "f", "usage": {{}}}})
{EVENT}
# The function that is registered last runs first.
atexit.register(print, "waits")
"""
    took, outcome = signalled(text, signal.SIGINT, silent, state)
    assert took < PROMPT
    assert (outcome.stderr, outcome.returncode) == ("", 0)


@pytest.mark.parametrize("wait", ["flush", "close", "drain"])
def test_an_exception_of_a_sigterm_handler_ends_a_wait(run, state, silent, wait):
    if wait == "drain":
        leave_behind(run, [silent.url], 1)
    text = f"""{BEGIN}
def handler(number, frame):
    print("handled", flush=True)
    raise SystemExit(7)
signal.signal(signal.SIGTERM, handler)
print("waits")
{WAITS[wait]}
"""
    took, outcome = signalled(text, signal.SIGTERM, silent, state)
    assert took < PROMPT
    assert (outcome.stdout, outcome.returncode) == ("handled\n", 7)


def test_a_signal_handler_runs_at_once_and_the_wait_continues(state, silent):
    text = f"""{BEGIN}
began = time.monotonic()
handled = []
signal.signal(signal.SIGTERM, lambda number, frame: handled.append(time.monotonic()))
print("waits")
{EVENT}
report = taximeter.flush(6)
print(len(handled), time.monotonic() - began >= 6, time.monotonic() - handled[0] > 1, report.pending)
"""
    took, outcome = signalled(text, signal.SIGTERM, silent, state)
    assert outcome.stdout == "1 True True 1\n", outcome.stderr
    assert took > 1


def test_an_interrupted_command_has_its_own_exit_code(run, state, silent):
    leave_behind(run, [silent.url], 3)
    silent.forget()
    process = subprocess.Popen(
        [sys.executable, "-m", "taximeter", "drain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TAXIMETER_STATE_DIR": str(state), "TAXIMETER_DESTINATION": silent.url}, cwd=state.parent,
    )  # fmt: skip
    try:
        silent.wait()
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    finally:
        process.kill()
    assert time.monotonic() - began < PROMPT
    assert process.returncode == 130
