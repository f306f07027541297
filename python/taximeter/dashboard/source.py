"""Where the dashboard reads: a ledger, or what has the same reports."""

from __future__ import annotations

import hashlib
import hmac
import queue
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

from ..ledger import Percentiles, Report, Where
from ..moments import Moment
from ..types import Event
from ..zones import Zone
from .http import RequestError

__all__ = ["Readers", "Redaction", "Source"]

_WAIT: Final = 10.0
"""Seconds that a request waits for a reader."""


class Source(Protocol):
    """What the panels need. `taximeter.Ledger` has it."""

    timezone: tzinfo
    """The zone of requests that name none."""

    @property
    def path(self) -> Path:
        """The ledger's file."""

    def report(
        self,
        by: Sequence[str] = ...,
        *,
        since: Moment | None = ...,
        until: Moment | None = ...,
        where: Where | None = ...,
        tz: Zone | None = ...,
    ) -> Report:
        """Sum up calls by fields."""

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
        self._free: queue.LifoQueue[Source | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def one(self) -> Iterator[Source]:
        """Lend a source.

        Raises:
            RequestError: None became free in 10 seconds.
        """
        try:
            source = self._free.get(timeout=_WAIT)
        except queue.Empty:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "all readers are busy; try again", {"Retry-After": "10"}) from None
        try:
            source = self.make() if source is None else source
            yield source
        finally:
            self._free.put(source)


class Redaction:
    """Replaces the values of some fields by short texts that are the same for the same value while the program runs.

    Args:
        fields: Names of fields, such as `user` and `tag:email`.
    """

    def __init__(self, fields: Collection[str] = ()) -> None:
        self.fields = frozenset(fields)
        # Without the key, the text of a value cannot be found by trying values.
        self._key = secrets.token_bytes(32)

    def value(self, field: str, value: str | None) -> str | None:
        """Return a value of a field as it may be shown."""
        if value is None or field not in self.fields:
            return value
        return self.code(field, value)

    def code(self, field: str, value: str) -> str:
        """Return the short text for a value of a field."""
        digest = hmac.new(self._key, f"{field}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"{field.removeprefix('tag:')}-{digest[:10]}"

    def event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call as it may be shown."""
        shown: dict[str, Any] = {name: self.value(name, value) if isinstance(value, str) else value for name, value in event.items()}
        if "tags" in shown:
            shown["tags"] = {name: self.value(f"tag:{name}", tag) for name, tag in shown["tags"].items()}
        return shown
