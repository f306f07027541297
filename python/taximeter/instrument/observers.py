"""Observers of metered calls: the SDKs' interfaces that meter clients (`taximeter.compat`), and wrappers around one client.

An observer gets each event once, with its own keywords of the call. It does not affect other observers or the meter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .. import _core, attribution
from .call import current_call
from .guard import run_guarded

if TYPE_CHECKING:
    from ..meter import Engine, Meter
    from ..settings import Settings

__all__ = ["EventFanout", "Observer", "observe", "observers_of", "register"]


class Observer(Protocol):
    """Receives the events of calls."""

    @property
    def is_active(self) -> bool:
        """Whether it wants events now."""

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:
        """Return a meter that records this call in the ledger if the call's own meter does not; `None` if that is not wanted."""

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
_of_block: ContextVar[Observer | None] = ContextVar("taximeter_observer", default=None)


def register(observer: Observer, families: Sequence[str]) -> None:
    """Make an observer receive every call of these families from now on. A second registration has no effect."""
    for family in families:
        known = _by_family.get(family, ())
        if observer not in known:
            _by_family[family] = (*known, observer)


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Make an observer receive the calls in a block."""
    token = _of_block.set(observer)
    try:
        yield
    finally:
        _of_block.reset(token)


def observers_of(family: str) -> tuple[Observer, ...]:
    """Return the observers of a call of this family in this context."""
    of_block = _of_block.get()
    known = _by_family.get(family)
    if known is None:
        return () if of_block is None else (of_block,)
    active = tuple(observer for observer in known if observer.is_active)
    return active if of_block is None else (*active, of_block)


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
        # Observers only want usage, which a failed call does not have.
        for observer in self._observers if event.get("usage") or event.get("status") != "error" else ():
            run_guarded(observer.record, event, self._own, self._family, meter=self)
        tracks = self._tracks()
        if not tracks:
            return
        attribution.enter(self, run_guarded(self._scope, meter=self) or attribution.current())
        try:
            for track in tracks:
                track(**event)
        finally:
            attribution.leave(self)

    def _tracks(self) -> list[Callable[..., _core.Receipt]]:
        """Return `track` of the call's own meter, and of one for the ledger if an observer wants it and the own meter has none."""
        own = [] if self._meter is None else [self._meter.track]
        settings = self.settings
        if self._meter is not None and (settings is None or settings.uses_ledger):
            return own
        wanted = (observer.ledger_meter(self._own) for observer in self._observers)
        return own + [meter.track for meter in [next(filter(None, wanted), None)] if meter is not None]

    def _scope(self) -> _core.Scope | None:
        """Return the current attribution, over the observers' defaults, and under the attribution in the call's keywords."""
        scope = attribution.current()
        for observer in self._observers:
            if defaults := observer.defaults():
                beneath = _core.Scope(None, **defaults)
                scope = beneath if scope is None else scope.over(beneath)
            if named := observer.attribution(self._own):
                scope = _core.Scope(scope, **named)
        return scope
