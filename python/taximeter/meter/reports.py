"""The results of a flush and of a drain."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DrainReport", "FlushReport"]


class FlushReport(NamedTuple):
    """The result of a flush: numbers of events."""

    delivered: int
    """Events that reached every destination while it ran."""
    pending: int
    """Events still in a journal. This process or another delivers them later."""
    dropped: int
    """Events that `track` refused since the meter was made, and those that a destination refused or that were given up while it ran;
    `stats()` has the reasons."""


class DrainReport(NamedTuple):
    """The result of a drain: numbers of events."""

    delivered: int
    """Events that the first destination accepted and did not have."""
    left: int
    """Events that some destination has not accepted. They are kept."""
    expired: int
    """Events that had waited longer than `max_age` for a destination over HTTP, and were given up."""
    damaged: int
    """Events that were damaged or are missing."""
    reasons: tuple[str, ...]
    """Why events are left."""
