"""What a flush and a drain came to."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DrainReport", "FlushReport"]


class FlushReport(NamedTuple):
    """What a flush came to, in events."""

    delivered: int
    """Those that reached every destination while it ran."""
    pending: int
    """Those still in the journal. They are delivered later, by this process or another."""
    dropped: int
    """Those refused by `track` since the meter was made, and those that a destination refused or that were given up while it ran;
    `stats()` has the reasons."""


class DrainReport(NamedTuple):
    """What a drain came to, in events."""

    delivered: int
    """Those that are new at the first destination."""
    left: int
    """Those that some destination has not taken. They are kept."""
    expired: int
    """Those that had waited longer than `max_age` for a destination over HTTP, and were given up."""
    damaged: int
    """Records that were damaged or are missing."""
    reasons: tuple[str, ...]
    """Why some are left."""
