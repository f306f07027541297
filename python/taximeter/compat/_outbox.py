"""Fire-and-forget requests: they are on disk when they are given, and go to their service until it has them.

Each account of a service has one outbox in a process, with a journal and a delivery of its own. What a process leaves behind, the
next one with the same account delivers.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import _default
from .._core import Receipt
from ..errors import ConfigError
from ..meter import FlushReport, outbox
from ..settings.destination import Destination, Secret
from ._vendor.transport import seconds_of, trusted

__all__ = ["Account", "Batches", "Outbox", "Service", "all_outboxes", "outbox_for", "refusal"]

# As long as the original of Tokenr waited for an answer.
_EXIT_SECONDS: Final = 2.0
_NOTHING: Final = FlushReport(0, 0, 0)
_URL: Final = re.compile(r"https?://[^/\s]", re.IGNORECASE)


def account_of(url: str, key: str) -> str:
    """The name of an account in file names: events that were given with a key are sent with that key alone.

    32 bits of a digest, which tell accounts apart and nothing of the key.
    """
    return hashlib.blake2b(f"{url}\0{key}".encode(), digest_size=4, person=b"taximeter").hexdigest()


class Batches(NamedTuple):
    """How Token Trackr's events are sent."""

    size: int
    """Most events in a request."""
    interval: float
    """Linger: seconds that events wait for others before they are sent."""
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
        key: What the account is told apart by; where one is needed, it stands for `{key}` in a header.
        headers: Of every request.
        timeout: What a request and its answer may take: seconds, or what `requests` and `httpx` take for a limit.
        keeps_answers: Whether its answers are kept for `Outbox.answers`.
        batches: For Token Trackr alone.
        label: What else tells outboxes of one account apart, such as whose answers it keeps.

    Raises:
        ConfigError: The URL is invalid.
    """

    def __init__(
        self,
        name: str,
        url: str,
        key: str,
        headers: Mapping[str, str],
        *,
        timeout: Any = 30.0,
        keeps_answers: bool = False,
        batches: Batches | None = None,
        label: str = "",
    ) -> None:
        if not _URL.match(url):
            raise ConfigError(f"{name}: the address is no URL of the form https://host/path")
        self.name = name
        self._url = Secret(url)
        self._headers = {header.lower(): Secret(value.format(key=key)) for header, value in headers.items()}
        self.account = account_of(self.place, key)
        self.former: list[str] = []
        """Accounts whose events it takes over."""
        # It is the user's own choice, as it was in the original.
        self.allow_http = True
        self.timeout = seconds_of(timeout)
        self._label = label
        bundle = trusted()
        self._ca = None if bundle is None else Path(bundle).read_bytes()
        self._keeps_answers = keeps_answers
        self._batches = batches

    def to_core(self) -> dict[str, Any]:
        batches = None if self._batches is None else self._batches._asdict()
        accounts = {"account": self.account, "former": list(self.former)}
        wire = {"service": self.name, **accounts, "keeps_answers": self._keeps_answers, "batches": batches}
        return {**super().to_core(), "wire": wire}

    def __eq__(self, other: object) -> bool:
        # Whom it takes over does not make it another.
        return isinstance(other, Service) and self._told_apart() == other._told_apart()

    def _told_apart(self) -> tuple[Any, ...]:
        known = self.to_core()
        return self._label, {**known, "wire": {**known["wire"], "former": None}}

    def __hash__(self) -> int:
        return hash(self.account)


class Outbox:
    """The requests of one account; see `outbox_for`. It has no journal before the first of them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._inner: outbox.Outbox | None = None

    def _opened(self) -> outbox.Outbox:
        with _lock:
            if self._inner is None:
                self._inner = _default.default_meter.outbox(self.service, exit_seconds=_EXIT_SECONDS)
            return self._inner

    def post(self, path: str, body: Any, *, before: tuple[str, Any] | None = None) -> Receipt:
        """Records a request; see `_core.Meter.post`.

        Raises:
            ConfigError: The address of the service is invalid.
            ValueError, TypeError: The body is no JSON.
        """
        return (self._inner or self._opened()).post(path, body, before=before)

    def answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """What the service answered since this was asked last; see `_core.Meter.take_answers`."""
        return [] if self._inner is None else self._inner.answers()

    def flush(self, timeout: float) -> FlushReport:
        """Waits until what was given is delivered, at most so many seconds; never raises."""
        return _NOTHING if self._inner is None else self._inner.flush(timeout)

    def close(self, timeout: float) -> FlushReport:
        """Flushes, and ends delivery until something is given again; never raises."""
        return _NOTHING if self._inner is None else self._inner.close(timeout)

    def retry_dead_letters(self) -> int:
        """See `Meter.retry_dead_letters`."""
        return self._opened().retry_dead_letters()

    def __deepcopy__(self, _memo: Any) -> Outbox:
        return self

    @property
    def pending(self) -> int:
        """How many of what was given here are not delivered."""
        return sum(one["pending"] for one in self.stats().get("destinations", {}).values())

    def take_over(self, account: str) -> int:
        """Sends what was given for another account of the service, and is left, with the key of this one; see `Meter.drain`."""
        inner = self._opened()
        if account not in self.service.former:
            self.service.former.append(account)
            inner.update()
        return inner.drain()

    def count_remark(self, what: str, field: str) -> None:
        """Counts and warns about what cannot be sent, by its name in `stats()`."""
        self._opened().count_remark(what, field)

    def stats(self) -> dict[str, Any]:
        """See `Meter.stats`; empty before anything was given."""
        return {} if self._inner is None else self._inner.stats()


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


def refusal(receipt: Receipt) -> str | None:
    """Why what was given is never sent: nothing where it will be, nor where the user switched everything off."""
    return None if receipt or receipt.refused == "disabled" else receipt.refused


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
