"""The metrics of a ledger for scrapers, which ask every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ..exposition import Family

__all__ = ["Paced"]

_PAUSE: Final = 20
"""How much longer an answer is kept than it took. So scrapers take at most a twentieth of one core, however large the ledger is."""


class Paced:
    """Keeps an answer for 20 times as long as it took. Counters then fall behind by seconds at most, and never fall.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, list[Family]] | None = None

    def families(self, make: Callable[[], Sequence[Family]]) -> list[Family]:
        """Return the kept answer, or a new one. Scrapers that ask meanwhile wait for it.

        Args:
            make: Returns a new answer. What it raises is not kept.
        """
        with self._lock:
            begin = self._clock()
            if self._kept is not None and begin < self._kept[0]:
                return self._kept[1]
            found = list(make())
            end = self._clock()
            self._kept = (end + _PAUSE * (end - begin), found)
            return found
