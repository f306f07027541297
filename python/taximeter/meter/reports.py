"""The results of a flush and of a drain."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DrainReport", "FlushReport"]


class FlushReport(NamedTuple):
    """The result of a flush: numbers of events."""

    delivered: int
    """Events that reached every destination during the flush."""
    pending: int
    """Events that are still in a journal. This process or another delivers them later."""
    dropped: int
    """Events that `track` has rejected since the meter was made, and events that were rejected or dropped during the flush. `stats()`
    has the reasons."""


class DrainReport(NamedTuple):
    """The result of a drain: numbers of events."""

    delivered: int
    """Events that the first destination accepted as new."""
    left: int
    """Events that some destination has not accepted. They are kept."""
    expired: int
    """Events that waited for an HTTP destination longer than `max_age`, and were dropped."""
    damaged: int
    """Events that were damaged or are missing."""
    reasons: tuple[str, ...]
    """The reasons why events are left."""
    failures: tuple[str, ...]
    """Those of them that concern destinations in the settings."""
