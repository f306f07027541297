"""Shows on standard error how far long work is, and lets Ctrl-C end every command at once."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ..sanitize import printable
from ..table import cut

__all__ = ["INTERRUPTED", "Progress", "at_exit", "progress", "run"]

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""
_QUIET_SECONDS: Final = 0.5
"""Work that ends sooner shows nothing."""
_EVERY_SECONDS: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class Progress:
    """How far a piece of work is. The thread that does the work sets `done`; the main thread reads it.

    Args:
        what: What is being done, such as `repricing`.
        total: How many things there are to do, if that is known.
        unit: The plural of the name of these things.
        streams: Whether the work writes to standard output meanwhile. Then nothing is shown if that is a terminal, too.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "calls", *, streams: bool = False) -> None:
        self.what = what
        self.total = total
        self.unit = unit
        self.streams = streams
        self.done = 0
        self.counter: Callable[[], int] | None = None
        """Asked for `done` whenever it is shown, for work inside the core."""

    def text(self, seconds: float) -> str:
        """Return the line that says how far the work is.

        Args:
            seconds: How long the command has been running.
        """
        done = self.done if self.counter is None else self.counter()
        parts = [f"{self.what}:"]
        if self.total:
            parts.append(f"{done:,} of {self.total:,} {self.unit} ({min(100 * done // self.total, 100)} %),")
        elif done:
            parts.append(f"{done:,} {self.unit},")
        return printable(" ".join([*parts, f"{seconds:.0f} s"]))


_shown: list[Progress] = []
"""The work in progress; the innermost is last."""


@contextmanager
def progress(what: str, total: int | None = None, unit: str = "calls", *, streams: bool = False) -> Iterator[Progress]:
    """Say how far the work in this block is; see `Progress`. Outside of a command, this shows nothing."""
    one = Progress(what, total, unit, streams=streams)
    _shown.append(one)
    try:
        yield one
    finally:
        _shown.remove(one)


_at_exit: list[Callable[[], None]] = []
"""What to do before the process ends."""


@contextmanager
def at_exit(restore: Callable[[], None]) -> Iterator[None]:
    """Call a function at the end of this block, also if Ctrl-C or SIGTERM ends the process in it."""
    _at_exit.append(restore)
    try:
        yield
    finally:
        _restore()


def _restore() -> None:
    while _at_exit:
        with suppress(Exception):
            _at_exit.pop()()


def _terminated(number: int, _frame: object) -> None:
    _restore()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def run(work: Callable[[], int], *, is_quiet: bool = False) -> int:
    """Run a command in a thread, and show its progress in this one.

    Python handles Ctrl-C in the main thread between two of its own instructions. A command would end only after its call into the
    core, which can take seconds; the waiting main thread ends the process at once. Files survive that, as they survive `kill -9`.

    Args:
        work: The command. Its exit code is returned, and its exceptions are raised.
        is_quiet: Whether to show nothing.
    """
    outcome: list[int] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="taximeter-command", daemon=True)
    begun = time.monotonic()
    shows = not is_quiet and _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
    is_drawn = False
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminated)
    try:
        thread.start()
        thread.join(_QUIET_SECONDS)
        while thread.is_alive():
            if shows and (line := _line(time.monotonic() - begun)):
                is_drawn = True  # before it is written, so that Ctrl-C in between erases it
                _write(line)
            thread.join(_EVERY_SECONDS)
    except KeyboardInterrupt:
        # Neither the thread nor what Python runs at exit may hold the process up.
        _restore()
        if is_drawn:
            _write(_ERASE)
        os._exit(INTERRUPTED)
    if is_drawn:
        _write(_ERASE)
    if failure:
        raise failure[0]
    return outcome[0]


def _line(seconds: float) -> str:
    """Return the line of the innermost work, which replaces the one before; nothing without work."""
    try:
        one = _shown[-1]
    except IndexError:
        return ""
    if one.streams and _is_terminal(sys.stdout):
        return ""
    width = shutil.get_terminal_size().columns
    return _ERASE + cut(one.text(seconds), width - 1)


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # the terminal is closed


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
