"""Where the dashboard reads: a ledger, or what has the same reports."""

from __future__ import annotations

import hashlib
import hmac
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import LedgerTimeoutError
from ..exposition import Family
from ..ledger import Percentiles, Report, Where
from ..moments import Moment
from ..types import Event
from ..zones import Zone
from .http import RequestError

__all__ = ["Readers", "Redaction", "Source"]

_WAIT: Final = 10.0
"""Seconds that a request waits for a reader."""
_LONGEST: Final = 10.0
"""Seconds that a reader may take for one answer."""
_LOOK: Final = 0.25
"""Seconds between two looks whether the client of a request is still there."""
_EXPLAINED: Final = frozenset({"provider", "model", "service_tier", "region", "catalog", "cost_notes"})
"""The fields that the explanation of a cost names."""


class Source(Protocol):
    """What the panels need. `taximeter.Ledger` has it."""

    timezone: tzinfo
    """The zone of requests that name none."""

    @property
    def path(self) -> Path:
        """The ledger's file."""

    @property
    def place(self) -> str:
        """Where the ledger is, for messages."""

    @property
    def is_file(self) -> bool:
        """Whether the ledger is a file of this machine. Others have no counters that never fall, and no history of repricings."""

    timeout: float | None
    """The most seconds that an answer may take before `LedgerTimeoutError` is raised."""

    def stop(self) -> None:
        """Stop what another thread is asking."""

    def report(
        self,
        by: Sequence[str] = ...,
        *,
        since: Moment | None = ...,
        until: Moment | None = ...,
        where: Where | None = ...,
        tz: Zone | None = ...,
        sort: str | None = ...,
        limit: int | None = ...,
        offset: int = ...,
    ) -> Report:
        """Sum up calls by fields, and return a part of the rows in an order."""

    def newest(
        self, count: int, *, since: Moment | None = ..., until: Moment | None = ..., where: Where | None = ...
    ) -> Sequence[Event]:
        """Return the calls that began last, the newest first."""

    def highest(
        self,
        measure: str,
        count: int,
        *,
        offset: int = ...,
        since: Moment | None = ...,
        until: Moment | None = ...,
        where: Where | None = ...,
    ) -> Sequence[Event]:
        """Return the calls that cost most or took longest, the highest first."""

    def arrivals(self, after: int | None = ..., count: int = ..., *, where: Where | None = ...) -> tuple[Sequence[Event], int]:
        """Return calls in the order of their arrival, and the number after which the next ones come."""

    def find(self, event_id: str) -> Event | None:
        """Return one call."""

    def query(self, sql: str, parameters: Sequence[Any] = ..., *, timeout: float | None = ...) -> Iterable[Sequence[Any]]:
        """Run an SQL statement that only reads."""

    def percentiles(
        self,
        what: str = ...,
        by: Sequence[str] = ...,
        *,
        fractions: Sequence[float] = ...,
        since: Moment | None = ...,
        until: Moment | None = ...,
        where: Where | None = ...,
        tz: Zone | None = ...,
    ) -> Sequence[Percentiles]:
        """Return percentiles of durations."""

    def period(self) -> tuple[datetime, datetime] | None:
        """Return when the first and the last call began."""

    def export(
        self, form: Any = ..., *, since: Moment | None = ..., until: Moment | None = ..., where: Where | None = ..., raw: bool = ...
    ) -> Iterator[bytes]:
        """Yield calls as lines of CSV or JSON."""


class Readers:
    """Some sources of the same ledger, because each answers one question at a time.

    Args:
        make: Opens a source.
        count: How many there are at most. They are opened when they are needed.
    """

    def __init__(self, make: Callable[[], Source], count: int = 4) -> None:
        self.make = make
        self.longest = _LONGEST
        self._asking = _Asking()
        self._free: queue.LifoQueue[Source | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def one(self, is_gone: Callable[[], bool] | None = None) -> Iterator[Source]:
        """Lend a source whose answers take at most 10 seconds.

        Args:
            is_gone: Whether the client no longer waits. Then what the source does is stopped.

        Raises:
            RequestError: No source became free in 10 seconds, or an answer took longer than that.
        """
        try:
            source = self._free.get(timeout=_WAIT)
        except queue.Empty:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "all readers are busy; try again", {"Retry-After": "10"}) from None
        try:
            if source is None:
                source = self.make()
                source.timeout = self.longest
            with self._asking.noted(source, is_gone):
                yield source
        except LedgerTimeoutError:
            message = (
                f"this takes longer than {self.longest:g} s, so it was stopped; choose a shorter period, or fewer fields and filters"
            )
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message) from None
        finally:
            self._free.put(source)


class _Asking:
    """The sources that answer a request now, and a thread that stops those whose client went away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[int, tuple[Source, Callable[[], bool]]] = {}
        self._is_looking = False

    @contextmanager
    def noted(self, source: Source, is_gone: Callable[[], bool] | None) -> Iterator[None]:
        """Stop what the source does in the block when the client has gone."""
        if is_gone is None:
            yield
            return
        with self._lock:
            self._now[id(source)] = (source, is_gone)
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="taximeter-dashboard-clients", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._now[id(source)]

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK)
            with self._lock:
                if not self._now:
                    self._is_looking = False
                    return
                # Under the lock: afterwards the source answers another request.
                for source, is_gone in self._now.values():
                    if is_gone():
                        source.stop()


class Redaction:
    """Replaces the values of some fields by short texts that are the same for the same value while the program runs.

    Args:
        fields: Names of fields, such as `user` and `tag:email`.
    """

    def __init__(self, fields: Collection[str] = ()) -> None:
        # The entry of the catalog has the names of both in it.
        more = {"priced_as"} if {"provider", "model"}.intersection(fields) else frozenset()
        self.fields = frozenset(fields) | more
        # Without the key, the text of a value cannot be found by trying values.
        self._key = secrets.token_bytes(32)

    @property
    def hides_prices(self) -> bool:
        """Whether the explanation of a cost would tell a value that is not shown."""
        return not _EXPLAINED.isdisjoint(self.fields)

    def value(self, field: str, value: str | None) -> str | None:
        """Return a value of a field as it may be shown."""
        if value is None or field not in self.fields:
            return value
        return self.code(field, value)

    def code(self, field: str, value: str) -> str:
        """Return the short text for a value of a field."""
        digest = hmac.new(self._key, f"{field}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{field.removeprefix('tag:')}-{digest[:10]}"

    def families(self, families: Iterable[Family]) -> Iterator[Family]:
        """Yield metrics as they may be shown. A budget's key may be of any field, so each is replaced if any field is."""
        hidden = self.fields | ({"key"} if self.fields else frozenset())
        for family in families:
            samples = [
                sample._replace(
                    labels={
                        name: self.code(name, value) if name in hidden and value else value for name, value in sample.labels.items()
                    }
                )
                for sample in family.samples
            ]
            yield family._replace(samples=samples)

    def event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call as it may be shown."""
        shown: dict[str, Any] = {name: self.value(name, value) if isinstance(value, str) else value for name, value in event.items()}
        if "tags" in shown:
            shown["tags"] = {name: self.value(f"tag:{name}", tag) for name, tag in shown["tags"].items()}
        return shown
