"""Closes meters at exit: what is delivered then, and how long an exiting program waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..log import log

if TYPE_CHECKING:
    import weakref

    from .engine import Engine

__all__ = ["EXIT_SECONDS", "EXIT_SECONDS_IN_MEMORY", "close_at_exit"]

# In seconds. Events on disk survive the exit, so the program waits only this long for their delivery. With the end of the
# threads and of the interpreter, for which 0.05 s are left, it is half a second.
EXIT_SECONDS: Final = 0.45
EXIT_SECONDS_IN_MEMORY: Final = 2.0
_exit_began = 0.0
"""When shutdown closed the first meter with `exit_seconds`; 0 before that."""
_is_interrupted = False
"""Whether a signal has ended the wait for a meter. Then nothing waits for the other meters."""


def close_at_exit(reference: weakref.ref[Engine]) -> None:
    """Close a meter at the end of the program, and warn about lost events.

    Ctrl-C ends the wait. It is not raised: the program has ended already, and undelivered events are on disk.
    """
    global _exit_began, _is_interrupted  # noqa: PLW0603 - all meters of the process share them
    engine = reference()
    if engine is not None:
        tier = engine.stats().get("tier")
        if tier is not None:
            seconds = EXIT_SECONDS_IN_MEMORY if tier == "memory" else EXIT_SECONDS
            if engine.exit_seconds:
                _exit_began = _exit_began or time.monotonic()
                seconds = engine.exit_seconds - (time.monotonic() - _exit_began)
            try:
                engine.close(0.0 if _is_interrupted else seconds)
            except KeyboardInterrupt:
                _is_interrupted = True
            except BaseException:  # a signal handler's own
                _is_interrupted = True
                raise
        if lost := engine.stats()["remarks"].get("lost_in_memory", 0):
            log().warning("taximeter: %s events were in memory only and are lost", f"{lost:,}")
