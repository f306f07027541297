"""Others who hear of what is recorded: the interfaces of SDKs that meter clients, and wrappers around one client.

They see each event once, with the keywords of theirs that the call had. Whoever meters otherwise goes on as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ._call import current_call
from ._shims import attempt

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["Fan", "Sink", "hearing", "listen", "sinks_of"]


class Sink(Protocol):
    """Who hears of events."""

    @property
    def is_listening(self) -> bool:
        """Whether there is anybody to hear."""

    @property
    def to_ledger(self) -> bool:
        """Whether they go to the ledger as well, though nobody else sends them there."""

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whom a call with these keywords is for, by the names of `taximeter.attribute`."""

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Takes an event, as `Meter.track` does, and the keywords of the call that are not the client's."""


_by_family: dict[str, tuple[Sink, ...]] = {}
_near: ContextVar[Sink | None] = ContextVar("taximeter_sink", default=None)


def listen(sink: Sink, families: Sequence[str]) -> None:
    """Lets a sink hear of every call of these families from here on; once, however often this is said."""
    for family in families:
        known = _by_family.get(family, ())
        if sink not in known:
            _by_family[family] = (*known, sink)


@contextmanager
def hearing(sink: Sink) -> Iterator[None]:
    """Lets a sink hear of the calls that are made within a block."""
    token = _near.set(sink)
    try:
        yield
    finally:
        _near.reset(token)


def sinks_of(family: str) -> tuple[Sink, ...]:
    """Who hears of a call that is made here."""
    near = _near.get()
    known = _by_family.get(family)
    if known is None:
        return () if near is None else (near,)
    listening = tuple(sink for sink in known if sink.is_listening)
    return listening if near is None else (*listening, near)


class Fan:
    """A meter, if there is one, and the sinks beside it, for the events of one response."""

    enabled = True

    def __init__(self, meter: Meter | None, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        call = current_call()
        self._own: Mapping[str, Any] = {} if call is None else call.others
        if meter is None and any(sink.to_ledger for sink in sinks):
            from .. import _api  # noqa: PLC0415 - which imports this package on demand

            meter = _api.default_meter
        self._meter = meter

    @property
    def keeps_provider_usage(self) -> bool:
        """See `Meter`."""
        return self._meter is not None and self._meter.keeps_provider_usage

    def note(self, what: str, field: str) -> None:
        """See `Meter`."""
        if self._meter is not None:
            self._meter.note(what, field)

    def track(self, **event: Any) -> None:
        """Records an event wherever it goes; none of them keeps it from the others."""
        for sink in self._sinks:
            attempt(sink.record, event, self._own)
        if self._meter is not None:
            for sink in self._sinks:
                event = {**sink.attribution(self._own), **event}
            self._meter.track(**event)
