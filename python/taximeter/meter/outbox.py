"""Requests to a service with its own wire format: they are on disk when they are made, and sent until the service accepts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .meter import Meter, engine_of

if TYPE_CHECKING:
    from ..settings.destination import Destination

__all__ = ["Outbox"]


class Outbox:
    """The requests to one service. They are delivered with a meter's current settings, but separately from its events.

    Args:
        meter: The meter.
        service: The service.
        exit_seconds: How long an exiting program waits for their delivery, in seconds; 0 for the same time as for events.

    Raises:
        ConfigError: The service is invalid, or the state directory is not safe to use. The message says why.
    """

    def __init__(self, meter: Meter, service: Destination, *, exit_seconds: float = 0.0) -> None:
        engine = engine_of(meter).with_destination(service)
        engine.exit_seconds = exit_seconds
        self._engine = engine
        self.post = engine.core.post
        """Records a request; see `_core.Meter.post`."""
        self.flush = engine.flush
        self.close = engine.close
        self.stats = engine.stats
        self.retry_dead_letters = engine.retry_dead_letters
        self.count_remark = engine.count_remark

    def drain(self) -> int:
        """Send the requests of processes that have ended; see `Meter.drain`. Events for other destinations may stay."""
        return self._engine.drain(others=False)

    def answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """Return the service's responses since the last call; see `_core.Meter.take_answers`."""
        return self._engine.core.take_answers()

    def update(self) -> None:
        """Apply changes of the service's accounts."""
        self._engine.apply_again()
