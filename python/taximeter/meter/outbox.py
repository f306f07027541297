"""Requests to a service with a wire of its own: they are on disk when they are given, and go to the service until it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import _core
    from .meter import Meter

__all__ = ["Outbox"]


class Outbox:
    """The requests to one service; `Meter.outbox` makes it. Its journal and its delivery are apart from those of events.

    Args:
        meter: A meter whose only destination is the service.
        core: The extension's part of it.
    """

    def __init__(self, meter: Meter, core: _core.Meter) -> None:
        self._meter = meter
        self._core = core
        self.post = core.post
        """Records a request; see `_core.Meter.post`."""
        self.flush = meter.flush
        self.close = meter.close
        self.stats = meter.stats
        self.retry_dead_letters = meter.retry_dead_letters
        self.count_remark = meter.count_remark

    def answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """What the service answered since this was asked last; see `_core.Meter.take_answers`."""
        return self._core.take_answers()

    def update(self) -> None:
        """Puts in force what has changed in the service: its accounts."""
        self._meter.apply_settings()

    def drain(self) -> int:
        """Sends now what processes that ended left behind; see `Meter.drain`."""
        return self._meter.drain()
