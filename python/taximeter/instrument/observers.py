"""Observers of metered calls: the SDKs' interfaces that meter clients (`taximeter.compat`), and wrappers around one client.

An observer gets each event once, with its own keywords of the call. It does not affect other observers or the meter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .. import _core, attribution
from ..meter import engine_of
from .call import current_call
from .guard import run_guarded

if TYPE_CHECKING:
    from ..meter import Engine, Meter
    from ..settings import Settings

__all__ = ["EventFanout", "Observer", "begin_observing", "end_observing", "observe", "observers_of", "register"]


class Observer(Protocol):
    """Receives the events of calls."""

    @property
    def is_active(self) -> bool:
        """Whether it wants events now."""

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:
        """Return a meter that records this call in the ledger if the call's own meter does not; `None` if that is not wanted."""

    def budgets_meter(self) -> Meter:
        """Return the meter whose budgets limit a call that has no meter of its own."""

    def defaults(self) -> Mapping[str, Any]:
        """Return the default attribution of calls, by the names of `taximeter.attribute`."""

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the attribution in these keywords of a call."""

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:
        """Receive one event.

        Args:
            event: The arguments of `Meter.track`.
            own: The keywords of the call that are not the client's.
            family: The client's family.
        """


_by_family: dict[str, tuple[Observer, ...]] = {}
_of_blocks: ContextVar[tuple[Observer, ...]] = ContextVar("taximeter_observers", default=())
"""The observers of the blocks that are active in this context, the outermost first. The innermost one observes."""


def register(observer: Observer, families: Sequence[str]) -> None:
    """Make an observer receive every call of these families from now on. A second registration has no effect."""
    for family in families:
        known = _by_family.get(family, ())
        if observer not in known:
            _by_family[family] = (*known, observer)


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Make an observer receive the calls in a block."""
    begin_observing(observer)
    try:
        yield
    finally:
        end_observing(observer)


def begin_observing(observer: Observer) -> None:
    """Make an observer receive the calls of this context until `end_observing`."""
    _of_blocks.set((*_of_blocks.get(), observer))


def end_observing(observer: Observer) -> None:
    """End what `begin_observing` began. Observers may end in any order, and an ended one may end again."""
    _of_blocks.set(tuple(one for one in _of_blocks.get() if one is not observer))


def observers_of(family: str) -> tuple[Observer, ...]:
    """Return the observers of a call of this family in this context."""
    of_block = _of_blocks.get()[-1:]
    known = _by_family.get(family)
    if known is None:
        return of_block
    return (*(observer for observer in known if observer.is_active), *of_block)


class EventFanout:
    """Passes the events of one response to a meter, if there is one, and to observers."""

    core: _core.Meter | None = None
    """No event passes the observers by."""
    enabled = True

    def __init__(self, meter: Engine | None, observers: Sequence[Observer], family: str) -> None:
        self._meter = meter
        self._observers = observers
        self._family = family
        call = current_call()
        self._own: Mapping[str, Any] = {} if call is None else call.others

    @property
    def settings(self) -> Settings | None:
        """Those of the meter; see `Engine`."""
        return None if self._meter is None else self._meter.settings

    @property
    def keeps_provider_usage(self) -> bool:
        """Whether the meter keeps usage reports; see `Engine`."""
        return self._meter is not None and self._meter.keeps_provider_usage

    def count_remark(self, what: str, field: str) -> None:
        """Count a remark in the meter; see `Engine`."""
        if self._meter is not None:
            self._meter.count_remark(what, field)
        elif what == "instrument_failed":
            # The others are about usage, which observers count themselves.
            attribution.count_remark(what, field)

    def track(self, **event: Any) -> None:
        """Pass an event to every observer and meter. A failure of one does not affect the others."""
        self.settle(None, event)

    def settle(self, ticket: _core.Ticket | None, event: Mapping[str, Any]) -> None:
        """Do the same, and settle the call's ticket."""
        # Observers only want usage, which a failed call does not have.
        for observer in self._observers if event.get("usage") or event.get("status") != "error" else ():
            run_guarded(observer.record, event, self._own, self._family, meter=self)
        meters = self._meters()
        if not meters:
            if ticket is not None:
                # Only the observers record the call.
                self.limiter.budgets.charge(ticket, **event)
            return
        attribution.enter(self, run_guarded(self.scope, meter=self) or attribution.current())
        try:
            for meter in meters:
                if ticket is None:
                    meter.track(**event)
                else:
                    meter.budgets.track(ticket, **event)
        finally:
            attribution.leave(self)

    @property
    def limiter(self) -> Engine:
        """The meter whose budgets limit the call."""
        return engine_of(self._observers[0].budgets_meter()) if self._meter is None else self._meter

    def _meters(self) -> list[Engine]:
        """Return the call's own meter, and one for the ledger if an observer wants it and the own meter has none."""
        own = [] if self._meter is None else [self._meter]
        settings = self.settings
        if self._meter is not None and (settings is None or settings.uses_ledger):
            return own
        wanted = (observer.ledger_meter(self._own) for observer in self._observers)
        return own + [engine_of(meter) for meter in [next(filter(None, wanted), None)] if meter is not None]

    def scope(self) -> _core.Scope | None:
        """Return the current attribution, over the observers' defaults, and under the attribution in the call's keywords."""
        scope = attribution.current()
        for observer in self._observers:
            if defaults := observer.defaults():
                beneath = _core.Scope(None, **defaults)
                scope = beneath if scope is None else scope.over(beneath)
            if named := observer.attribution(self._own):
                scope = _core.Scope(scope, **named)
        return scope
