"""Draws on the whole terminal: for `top` and `--watch`. The terminal is as before afterwards, also after an error or a signal."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .progress import at_exit
from .render import is_full_terminal, on_terminal

__all__ = ["Screen", "screen", "watch"]

_ENTER = "\x1b[?1049h\x1b[?25l"
"""The other screen, without a cursor."""
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """The whole terminal."""

    def draw(self, text: str) -> None:
        """Draw the lines of a text from the top, as many as fit."""
        height = os.get_terminal_size(sys.stdout.fileno()).lines
        lines = text.splitlines()[: max(height - 1, 1)]
        sys.stdout.write(_HOME + "".join(f"{line}{_END_OF_LINE}\n" for line in lines) + _BELOW)
        sys.stdout.flush()

    def key(self, seconds: float) -> str:
        """Return the next key, or an empty text if none is pressed within so many seconds."""
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return ""
        read = os.read(sys.stdin.fileno(), 16)
        return read.decode(errors="replace") if read else "q"


@contextmanager
def screen() -> Iterator[Screen]:
    """Take the whole terminal, with keys that arrive at once, and give it back at the end."""
    restore = _take_keys()

    def leave() -> None:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        restore()

    with at_exit(leave):
        sys.stdout.write(_ENTER)
        sys.stdout.flush()
        yield Screen()


def _take_keys() -> Callable[[], None]:
    """Let keys arrive without Enter. Return the function that undoes this."""
    try:
        import termios  # noqa: PLC0415 - not on Windows
        import tty  # noqa: PLC0415

        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
    except (ImportError, OSError, ValueError, AttributeError):
        return lambda: None  # standard input is not a terminal
    except termios.error:
        return lambda: None
    return lambda: termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def watch(show: Callable[[], int], seconds: float) -> int:
    """Run a command again and again on the whole terminal until `q` or Ctrl-C; once if standard output is not a terminal.

    Args:
        show: Prints the command's output, and returns its exit code.
        seconds: The time between two runs.
    """
    if not is_full_terminal():
        return show()
    with screen() as whole:
        while True:
            text = io.StringIO()
            with on_terminal(), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                show()
            whole.draw(text.getvalue())
            if whole.key(seconds) in {"q", "Q"}:
                return 0
