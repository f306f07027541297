"""Waiting where gevent has patched threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Wait", "in_gevent_thread"]

Wait = Callable[[float], tuple[int, int, int]]


def in_gevent_thread(how: Wait) -> Wait:
    """Moves a wait to one of gevent's real threads where gevent has patched threads: it would stop every greenlet otherwise."""
    monkey: Any = sys.modules.get("gevent.monkey")
    try:
        if monkey is None or not monkey.is_module_patched("threading"):
            return how
        pool = sys.modules["gevent"].get_hub().threadpool
    except Exception:
        return how  # the wait is long rather than none

    def wait(seconds: float) -> tuple[int, int, int]:
        try:
            ended: tuple[int, int, int] = pool.apply(how, (seconds,))
        except Exception:
            return how(seconds)  # in the hub itself, which cannot wait for anybody, such as in a signal's handler
        return ended

    return wait
