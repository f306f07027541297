"""Others who hear of what is recorded: the interfaces of SDKs that meter clients, and wrappers around one client.

They see each event once, with the keywords of theirs that the call had. Whoever meters otherwise goes on as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .. import _core, attribution
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

    def wants_ledger(self, own: Mapping[str, Any]) -> bool:
        """Whether a call with these keywords goes to the ledger as well, though nobody else sends it there."""

    def defaults(self) -> Mapping[str, Any]:
        """Whom calls are for that say nothing else, by the names of `taximeter.attribute`."""

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whom a call with these keywords is for."""

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:
        """Takes an event, as `Meter.track` does, the keywords of the call that are not the client's, and the client's family."""


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

    def __init__(self, meter: Meter | None, sinks: Sequence[Sink], family: str) -> None:
        self._meter = meter
        self._sinks = sinks
        self._family = family
        call = current_call()
        self._own: Mapping[str, Any] = {} if call is None else call.others

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
            attempt(sink.record, event, self._own, self._family)
        meters = self._meters()
        if not meters:
            return
        attribution.enter(self, attempt(self._scope) or attribution.current())
        try:
            for meter in meters:
                meter.track(**event)
        finally:
            attribution.leave(self)

    def _meters(self) -> list[Meter]:
        """Those that the event goes to: the call's own, and the ledger's where that does not reach it and a sink wants it there."""
        meters = [] if self._meter is None else [self._meter]
        if any(sink.wants_ledger(self._own) for sink in self._sinks):
            from .._api import ledger_meter  # noqa: PLC0415 - above this package, and needed by those who came from there

            settings = self._meter.settings if self._meter is not None else None
            if self._meter is None or (settings is not None and not settings.uses_ledger):
                meters.append(ledger_meter())
        return meters

    def _scope(self) -> _core.Scope | None:
        """The attribution in force, over what the sinks have by default, and under what the call says in their words."""
        scope = attribution.current()
        for sink in self._sinks:
            if defaults := sink.defaults():
                beneath = _core.Scope(None, **defaults)
                scope = beneath if scope is None else scope.over(beneath)
            if named := sink.attribution(self._own):
                scope = _core.Scope(scope, **named)
        return scope
