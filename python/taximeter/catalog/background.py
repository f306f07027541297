"""Updates a meter's price catalog regularly, in a thread."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from pathlib import Path
from typing import NamedTuple, Protocol

from .merge import Merged

__all__ = ["Refreshed", "Refresher", "Schedule"]

log = logging.getLogger("taximeter")


class Schedule(NamedTuple):
    """How often a catalog is updated."""

    path: Path
    """The catalog's file in the state directory."""
    every: float
    """Seconds between updates."""


class Refreshed(Protocol):
    """A meter, as far as the refresher uses it."""

    def refresh_schedule(self) -> Schedule | None:
        """Return how often to update the catalog; `None` for never."""

    def update_catalog(self) -> Merged | None:
        """Update the catalog. Return what changed; `None` if the source has nothing new."""


class Refresher:
    """Updates a meter's catalog in a thread. The thread ends when the meter is closed, is collected or has no schedule any more.

    A forked child has no such thread. It keeps its parent's catalog until it calls `init()`.
    """

    def __init__(self, meter: Refreshed) -> None:
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._has_ended = False
        self._process = os.getpid()
        self._last: float | None = None
        self._meter = weakref.ref(meter)
        weakref.finalize(meter, self.stop)
        threading.Thread(target=self._run, name="taximeter-prices", daemon=True).start()

    def wake(self) -> bool:
        """Make the thread read the schedule again. Return whether the thread still runs."""
        if self._process != os.getpid():
            return False
        with self._lock:
            self._wake.set()
            return not self._has_ended

    def stop(self) -> None:
        """End the thread. A download in progress is discarded."""
        self._has_ended = True
        self._wake.set()

    def _run(self) -> None:
        failure = ""
        while True:
            with self._lock:
                # Cleared before the schedule is read, so that a change after the read wakes the wait below.
                self._wake.clear()
                wait = self._wait()
                if wait is None:
                    self._has_ended = True
                    return
            if wait and not self._wake.wait(wait):
                continue
            meter = self._meter()
            if meter is None or self._wait() != 0:
                continue
            try:
                merged = meter.update_catalog()
                failure = ""
                if merged is not None:
                    log.info("taximeter: prices updated, %d changes, %d held back", len(merged.changes), len(merged.held))
            except Exception as error:
                if str(error) != failure:
                    log.warning("taximeter: prices could not be updated: %s", error)
                failure = str(error)
            del meter
            self._last = time.monotonic()

    def _wait(self) -> float | None:
        """Return the seconds until the next update; `None` for never."""
        meter = self._meter()
        schedule = None if meter is None else meter.refresh_schedule()
        if self._has_ended or schedule is None:
            return None
        # Random, so that hosts that were started together do not all download at the same time.
        every = schedule.every * random.uniform(0.9, 1.0)  # noqa: S311 - no secret
        if self._last is not None:
            return max(0.0, self._last + every - time.monotonic())
        try:
            # Another process, or an earlier one, may have updated the file.
            age = time.time() - schedule.path.stat().st_mtime
        except OSError:
            return 0.0
        return max(0.0, every - age)
