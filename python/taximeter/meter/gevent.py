"""Waits in a real thread if gevent has patched threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Wait", "in_gevent_thread"]

Wait = Callable[[float], tuple[int, int, int]]


def in_gevent_thread(how: Wait) -> Wait:
    """Move a wait to a real thread of gevent if gevent has patched threads. Otherwise it would block every greenlet."""
    monkey: Any = sys.modules.get("gevent.monkey")
    try:
        if monkey is None or not monkey.is_module_patched("threading"):
            return how
        pool = sys.modules["gevent"].get_hub().threadpool
    except Exception:
        return how  # a blocking wait is better than no wait

    def wait(seconds: float) -> tuple[int, int, int]:
        try:
            ended: tuple[int, int, int] = pool.apply(how, (seconds,))
        except Exception:
            return how(seconds)  # in the hub itself, for example in a signal handler, where waiting is impossible
        return ended

    return wait
