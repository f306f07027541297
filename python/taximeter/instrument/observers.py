"""Observers of metered calls: the interfaces of SDKs that meter clients (`taximeter.compat`), and wrappers around one client.

An observer sees each event once, with the keywords of its own that the call had. Other observers and the meter are not affected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .. import _core, attribution
from .call import current_call
from .shims import run_guarded

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["EventFanout", "Observer", "observe", "observers_of", "register"]


class Observer(Protocol):
    """Receives the events of calls."""

    @property
    def is_active(self) -> bool:
        """False while it wants no events."""

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:
        """The meter that brings a call with these keywords to the ledger, where no other does; `None` for no such wish."""

    def defaults(self) -> Mapping[str, Any]:
        """Attribution of calls that have no other, by the names of `taximeter.attribute`."""

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attribution that a call states by these keywords."""

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:
        """Takes one event.

        Args:
            event: The arguments of `Meter.track`.
            own: The keywords of the call that are not the client's.
            family: The client's family.
        """


_by_family: dict[str, tuple[Observer, ...]] = {}
_of_block: ContextVar[Observer | None] = ContextVar("taximeter_observer", default=None)


def register(observer: Observer, families: Sequence[str]) -> None:
    """Shows an observer every call of these families from here on; once, however often it is registered."""
    for family in families:
        known = _by_family.get(family, ())
        if observer not in known:
            _by_family[family] = (*known, observer)


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Shows an observer the calls that are made within a block."""
    token = _of_block.set(observer)
    try:
        yield
    finally:
        _of_block.reset(token)


def observers_of(family: str) -> tuple[Observer, ...]:
    """The observers of a call of this family that is made here."""
    of_block = _of_block.get()
    known = _by_family.get(family)
    if known is None:
        return () if of_block is None else (of_block,)
    active = tuple(observer for observer in known if observer.is_active)
    return active if of_block is None else (*active, of_block)


class EventFanout:
    """A meter, if there is one, and the observers beside it, for the events of one response."""

    enabled = True

    def __init__(self, meter: Meter | None, observers: Sequence[Observer], family: str) -> None:
        self._meter = meter
        self._observers = observers
        self._family = family
        call = current_call()
        self._own: Mapping[str, Any] = {} if call is None else call.others

    @property
    def keeps_provider_usage(self) -> bool:
        """See `Meter`."""
        return self._meter is not None and self._meter.keeps_provider_usage

    def count_remark(self, what: str, field: str) -> None:
        """See `Meter`."""
        if self._meter is not None:
            self._meter.count_remark(what, field)

    def track(self, **event: Any) -> None:
        """Records an event at every observer and meter; a failure of one does not affect the others."""
        # A failed call has no usage, which is all that observers are for.
        for observer in self._observers if event.get("usage") or event.get("status") != "error" else ():
            run_guarded(observer.record, event, self._own, self._family)
        meters = self._meters()
        if not meters:
            return
        attribution.enter(self, run_guarded(self._scope) or attribution.current())
        try:
            for meter in meters:
                meter.track(**event)
        finally:
            attribution.leave(self)

    def _meters(self) -> list[Meter]:
        """The call's own meter, and the ledger's where the own one does not reach the ledger and an observer wants it there."""
        meters = [] if self._meter is None else [self._meter]
        settings = self._meter.settings if self._meter is not None else None
        if self._meter is not None and (settings is None or settings.uses_ledger):
            return meters
        wanted = (observer.ledger_meter(self._own) for observer in self._observers)
        meters.extend(meter for meter in [next(filter(None, wanted), None)] if meter is not None)
        return meters

    def _scope(self) -> _core.Scope | None:
        """The attribution in force, over what the observers have by default, and under what the call says in their words."""
        scope = attribution.current()
        for observer in self._observers:
            if defaults := observer.defaults():
                beneath = _core.Scope(None, **defaults)
                scope = beneath if scope is None else scope.over(beneath)
            if named := observer.attribution(self._own):
                scope = _core.Scope(scope, **named)
        return scope
