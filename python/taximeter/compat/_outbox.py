"""Requests that nobody waits for: they are on disk when they are given, and go to their service until it has them.

Each account of a service has one outbox in a process, with a journal and a delivery of its own. What a process leaves behind, the
next one with the same account delivers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import _api, _core
from ..destination import Destination, Secret
from ..meter import FlushReport, Meter
from . import _vendor

__all__ = ["Account", "Batches", "Outbox", "Service", "all_outboxes", "outbox_for"]

# As long as the original of Tokenr waited for an answer.
_EXIT_SECONDS: Final = 2.0
_NOTHING: Final = FlushReport(0, 0, 0)


class Batches(NamedTuple):
    """How Token Trackr's events are sent."""

    size: int
    """Most events in a request."""
    interval: float
    """Seconds that events wait for company."""
    attempts: int
    """Requests without success after which events go to a file."""
    fallback: str | None
    """Where those files are; with `None` events wait in the journal for as long as it takes."""
    cloud: tuple[str, str, str] | None
    """Base URLs where Amazon, Microsoft and Google are asked whether this machine is theirs."""


class Service(Destination):
    """An account of a service with a wire of its own.

    Args:
        name: The service's.
        url: Where it is; what a request puts after it comes after its path.
        headers: Of every request; their values are secrets.
        timeout: Seconds that a request and its answer may take.
        keeps_answers: Whether its answers are kept for `Outbox.answers`.
        batches: For Token Trackr alone.
    """

    def __init__(  # its URL is plain: the wire is known
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float = 30.0,
        keeps_answers: bool = False,
        batches: Batches | None = None,
    ) -> None:
        self.name = name
        self._url = Secret(url)
        self._headers = {key.lower(): Secret(value) for key, value in headers.items()}
        # It is the user's own choice, as it was in the original.
        self.allow_http = True
        self.timeout = float(timeout)
        bundle = _vendor.trusted()
        self._ca = None if bundle is None else Path(bundle).read_bytes()
        self._keeps_answers = keeps_answers
        self._batches = batches

    def to_core(self) -> dict[str, Any]:
        batches = None if self._batches is None else self._batches._asdict()
        wire = {"service": self.name, "keeps_answers": self._keeps_answers, "batches": batches}
        return {**super().to_core(), "wire": wire}


class Outbox:
    """The requests of one account; see `outbox_for`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._meter: Meter | None = None

    def _opened(self) -> Meter:
        with _lock:
            if self._meter is None:
                self._meter = _api.default_meter.beside(self._service)
                self._meter.exit_seconds = _EXIT_SECONDS
                self.post = self._meter._core.post  # type: ignore[method-assign] # noqa: SLF001 - no detour from here on
            return self._meter

    def post(self, path: str, body: Any, *, before: tuple[str, Any] | None = None) -> _core.Receipt:
        """Records a request; see `_core.Meter.post`.

        Raises:
            ConfigError: The service's address is none.
            ValueError, TypeError: The body is no JSON.
        """
        self._opened()
        return self.post(path, body, before=before)

    def answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """What the service answered since this was asked last; see `_core.Meter.take_answers`."""
        return [] if self._meter is None else self._meter._core.take_answers()  # noqa: SLF001

    def flush(self, timeout: float) -> FlushReport:
        """Waits until what was given is delivered, at most so many seconds; never raises."""
        return _NOTHING if self._meter is None else self._meter.flush(timeout)

    def close(self, timeout: float) -> FlushReport:
        """Flushes, and ends delivery until something is given again; never raises."""
        return _NOTHING if self._meter is None else self._meter.close(timeout)

    def retry_dead_letters(self) -> int:
        """See `Meter.retry_dead_letters`."""
        return self._opened().retry_dead_letters()

    def __deepcopy__(self, _memo: Any) -> Outbox:
        return self

    @property
    def pending(self) -> int:
        """How many of what was given here are not delivered."""
        return sum(one["pending"] for one in self.stats().get("destinations", {}).values())

    def note(self, what: str, field: str) -> None:
        """Counts and warns about what cannot be sent, by its name in `stats()`."""
        self._opened().note(what, field)

    def stats(self) -> dict[str, Any]:
        """See `Meter.stats`; empty before anything was given."""
        return {} if self._meter is None else self._meter.stats()


_outboxes: dict[Service, Outbox] = {}
_lock = threading.Lock()


def _begin_anew() -> None:
    """After a fork: a thread that the child does not have may have held the lock."""
    global _lock  # noqa: PLW0603 - there is no other way to a lock that nobody holds
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def outbox_for(service: Service) -> Outbox:
    """The outbox of an account, which all who have that account share."""
    with _lock:
        return _outboxes.setdefault(service, Outbox(service))


def all_outboxes() -> list[tuple[str, Outbox]]:
    """Every outbox of the process, and its service."""
    with _lock:
        return [(service.name, outbox) for service, outbox in _outboxes.items()]


class Account:
    """The outbox of a client whose key and address can be set at any time: that of those in force.

    Args:
        make: Makes the service from what the account is told apart by.
    """

    def __init__(self, make: Callable[..., Service]) -> None:
        self._make = make
        self._in_force: tuple[tuple[Any, ...], Outbox] | None = None

    def outbox(self, *account: Any) -> Outbox:
        """The outbox of this account."""
        known = self._in_force
        if known is None or known[0] != account:
            self._in_force = known = account, outbox_for(self._make(*account))
        return known[1]
