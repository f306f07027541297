"""Locks that a forked child finds free.

Only the thread that forks goes on in the child. A lock that another thread held at that moment stays locked there for ever. So each
process has a lock of its own. No fork handler makes it: under gevent, a lock that is made between the fork and gevent's own handler
belongs to the parent's hub.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A reentrant lock, which is free in a forked child. What it protects has to be valid at every moment of the `with` block."""

    __slots__ = ("_by_process",)

    def __init__(self) -> None:
        self._by_process = {os.getpid(): threading.RLock()}

    def __enter__(self) -> None:
        process = os.getpid()
        lock = self._by_process.get(process)
        if lock is None:
            # One of the threads that come here at the same time puts its lock there; all take that one.
            lock = self._by_process.setdefault(process, threading.RLock())
        lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lock = self._by_process.get(os.getpid())
        if lock is None:
            return  # the block began before a fork
        try:
            lock.release()
        except RuntimeError:
            pass  # it began before a fork, and another block in the child has made the child's lock
