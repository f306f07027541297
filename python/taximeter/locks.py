"""Locks that are free in a forked child.

Only the forking thread continues in the child. A lock that another thread held during the fork would stay locked forever.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Final

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A reentrant lock that is free in a forked child. The protected data must be valid at every moment of the `with` block."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # the block began before a fork, and the child's lock is new

    def renew(self) -> None:
        """Replaces the lock by a new one."""
        self._lock = threading.RLock()


_all: Final[weakref.WeakSet[ForkSafeLock]] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in _all:
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
