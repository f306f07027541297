"""Fire-and-forget requests: the journal stores them when they are made, and they are sent until their service accepts them.

Each account of a service has one outbox in a process, with its own journal and delivery. If a process ends before delivery, the next
process with the same account delivers the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import _default
from .._core import Receipt
from ..errors import ConfigError
from ..locks import ForkSafeLock
from ..meter import FlushReport, outbox
from ..settings.destination import Destination, Secret
from ._vendor.transport import seconds_of, trusted

__all__ = ["Account", "Batches", "Outbox", "Service", "all_outboxes", "outbox_for", "refusal"]

# The time that the original of Tokenr waited for a response.
_EXIT_SECONDS: Final = 2.0
_NOTHING: Final = FlushReport(0, 0, 0)
_URL: Final = re.compile(r"https?://[^/\s]", re.IGNORECASE)


def account_of(url: str, key: str) -> str:
    """Return the name of an account in file names. Events that were recorded with a key are sent only with this key.

    The name is a 32-bit digest, which distinguishes accounts but does not reveal the key.
    """
    return hashlib.blake2b(f"{url}\0{key}".encode(), digest_size=4, person=b"taximeter").hexdigest()


class Batches(NamedTuple):
    """How Token Trackr's events are batched and retried."""

    size: int
    """The most events in a request."""
    interval: float
    """Linger: how long events wait for others before they are sent, in seconds."""
    attempts: int
    """The number of failed requests after which events are written to a file."""
    fallback: str | None
    """The directory of those files. With `None`, events wait in the journal without a limit."""
    cloud: tuple[str, str, str] | None
    """The base URLs of the metadata services of Amazon, Microsoft and Google; `None` to skip this look-up."""


class Service(Destination):
    """An account of a service with its own wire format.

    Args:
        name: The service's name.
        url: The service's URL. The paths of requests are appended to its path.
        key: Identifies the account. It replaces `{key}` in the headers.
        headers: The headers of every request.
        timeout: The longest time for a request and its response, in seconds or in the form of `requests` or `httpx`.
        keeps_answers: Whether the service's responses are kept for `Outbox.answers`.
        batches: For Token Trackr only.
        label: Distinguishes outboxes of the same account that must not share responses.

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
            raise ConfigError(f"{name}: the address is not a URL of the form https://host/path")
        self.name = name
        self._url = Secret(url)
        self._headers = {header.lower(): Secret(value.format(key=key)) for header, value in headers.items()}
        self.account = account_of(self.place, key)
        self.former: list[str] = []
        """Accounts whose events this account takes over."""
        # Unencrypted HTTP is the user's own choice, as in the originals.
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
        # Former accounts do not make it a different service.
        return isinstance(other, Service) and self._identity() == other._identity()

    def _identity(self) -> tuple[Any, ...]:
        known = self.to_core()
        return self._label, {**known, "wire": {**known["wire"], "former": None}}

    def __hash__(self) -> int:
        return hash(self.account)


class Outbox:
    """The requests of one account; see `outbox_for`. It has no journal before its first request."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._inner: outbox.Outbox | None = None

    def _opened(self) -> outbox.Outbox:
        with _lock:
            if self._inner is None:
                self._inner = outbox.Outbox(_default.default_meter, self.service, exit_seconds=_EXIT_SECONDS)
            return self._inner

    def post(self, path: str, body: Any, *, before: tuple[str, Any] | None = None) -> Receipt:
        """Record a request; see `_core.Meter.post`.

        Raises:
            ConfigError: The address of the service is invalid.
            ValueError, TypeError: The body cannot be expressed in JSON.
        """
        return (self._inner or self._opened()).post(path, body, before=before)

    def answers(self) -> list[tuple[bytes, int | None, bytes]]:
        """Return the service's responses since the last call; see `_core.Meter.take_answers`."""
        return [] if self._inner is None else self._inner.answers()

    def flush(self, timeout: float) -> FlushReport:
        """Wait until all requests are delivered, at most `timeout` seconds. Never raises."""
        return _NOTHING if self._inner is None else self._inner.flush(timeout)

    def close(self, timeout: float) -> FlushReport:
        """Flushes, and ends delivery until the next request. Never raises."""
        return _NOTHING if self._inner is None else self._inner.close(timeout)

    def retry_dead_letters(self) -> int:
        """Send dead letters again; see `Meter.retry_dead_letters`."""
        return self._opened().retry_dead_letters()

    def __deepcopy__(self, _memo: Any) -> Outbox:
        return self

    @property
    def pending(self) -> int:
        """The number of undelivered requests of this outbox."""
        return sum(one["pending"] for one in self.stats().get("destinations", {}).values())

    @property
    def is_failing(self) -> bool:
        """Whether the service has not accepted the latest request."""
        return any(one["last_error"] for one in self.stats().get("destinations", {}).values())

    def take_over(self, account: str) -> int:
        """Send another account's undelivered requests with the key of this one; see `Meter.drain`."""
        inner = self._opened()
        if account not in self.service.former:
            self.service.former.append(account)
            inner.update()
        return inner.drain()

    def count_remark(self, what: str, field: str) -> None:
        """Count and warn about something that cannot be sent, under its name in `stats()`."""
        self._opened().count_remark(what, field)

    def stats(self) -> dict[str, Any]:
        """Return the counts of `Meter.stats`; empty before the first request."""
        return {} if self._inner is None else {**self._inner.stats()}


_outboxes: dict[Service, Outbox] = {}
_lock = ForkSafeLock()


def outbox_for(service: Service) -> Outbox:
    """Return the outbox of an account. All clients of the account share it."""
    with _lock:
        return _outboxes.setdefault(service, Outbox(service))


def refusal(receipt: Receipt) -> str | None:
    """Return why a request will never be sent; `None` if it will be, or if metering is disabled."""
    return None if receipt or receipt.refused == "disabled" else receipt.refused


def all_outboxes() -> list[tuple[str, Outbox]]:
    """Return every outbox of the process with its service's name."""
    with _lock:
        return [(service.name, outbox) for service, outbox in _outboxes.items()]


class Account:
    """The outbox of a client whose key and URL can change at any time.

    Args:
        make: Makes the service from the values that identify the account.
    """

    def __init__(self, make: Callable[..., Service]) -> None:
        self._make = make
        self._in_force: tuple[tuple[Any, ...], Outbox] | None = None

    def outbox(self, *account: Any) -> Outbox:
        """Return the outbox for these values."""
        known = self._in_force
        if known is None or known[0] != account:
            self._in_force = known = account, outbox_for(self._make(*account))
        return known[1]
