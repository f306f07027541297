"""Requests to a service with its own wire format: they are on disk when they are made, and sent until the service accepts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import _core
    from .meter import Meter

__all__ = ["Outbox"]


class Outbox:
    """The requests to one service; `Meter.outbox` makes it. Its journal and delivery are separate from those of events.

    Args:
        meter: A meter whose only destination is the service.
        core: The meter's part in the extension.
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
        """Returns the service's responses since the last call; see `_core.Meter.take_answers`."""
        return self._core.take_answers()

    def update(self) -> None:
        """Applies changes of the service's accounts."""
        self._meter.apply_settings()

    def drain(self) -> int:
        """Sends the requests of ended processes now; see `Meter.drain`."""
        return self._meter.drain()
