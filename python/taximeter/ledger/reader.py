"""Reads the ledger, also while other processes write it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .. import _core
from ..moments import Moment, unix_ns
from .report import Report, Row, total

if TYPE_CHECKING:
    from os import PathLike

    from ..types import Event

__all__ = ["Ledger", "equal"]

_PAGE: Final = 1000


class Ledger:
    """Reads the ledger, also while other processes write it.

    Args:
        path: The ledger's file. A missing file reads as empty.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._reader = _core.LedgerReader(self.path)

    def _bring_up_to_date(self) -> None:
        """Run before the ledger is read."""

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    def report(
        self,
        by: str | Sequence[str] = ("model",),
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> Report:
        """Sum up calls by fields.

        Args:
            by: Field names: `provider`, `model`, `operation`, `status`, `agent`, `feature`, `team`, `customer`, `user`, `session`,
                `day`, `hour`, `tag:KEY`, and others, which the error for an unknown name lists. Empty for one sum over everything.
            since: Only calls that began at or after this moment; see `unix_ns` for the accepted forms.
            until: Only calls that began before this moment.
            where: Only calls whose fields have these values; `None` for calls without the field.

        Returns:
            A row of sums for each group, the most expensive first.

        Raises:
            ValueError: A field is unknown or a moment is invalid; the message names it.
            LedgerError: The ledger cannot be read.
        """
        names = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Sequence) else (by,)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"by: {by!r} is not a field name, nor a sequence of them")
        self._bring_up_to_date()
        rows = tuple(
            Row(key=dict(zip(names, values, strict=True)), **sums)
            for values, sums in self._reader.report(list(names), unix_ns("since", since), unix_ns("until", until), equal(where))
        )
        return Report(names, rows, total(rows))

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Mapping[str, str | None] | None = None,
    ) -> Iterator[Event]:
        """Yield every event in order of arrival. Read page by page. For the filters, see `report`."""
        self._bring_up_to_date()
        start, end, equals, after = unix_ns("since", since), unix_ns("until", until), equal(where), 0
        while True:
            page, after = self._reader.events(start, end, equals, after, _PAGE)
            if not page:
                return
            yield from map(json.loads, page)

    def follow(self, *, last: int = 10, every: float = 0.2) -> Iterator[Event]:
        """Yield the last events, then new ones as they arrive, without end.

        Args:
            last: How many of the events that already exist to begin with.
            every: Seconds between two reads. Events also wait for a transaction: see `linger_ms` in `init`.
        """
        self._bring_up_to_date()
        after = max(0, self._reader.last_sequence() - last)
        files, latest = self._reader.files(), ""
        while True:
            page, reached = self._reader.events(None, None, [], after, _PAGE)
            if (now := self._reader.files()) != files:
                # The file was replaced. The new file has its own sequence numbers, but the same event ids.
                files, after = now, self._reader.sequence_of(latest)
                continue
            after = reached
            for event in map(json.loads, page):
                latest = max(latest, event["id"])
                yield event
            if not page:
                time.sleep(every)
                self._bring_up_to_date()

    def last(self, count: int) -> list[Event]:
        """Return the last events in order of arrival."""
        self._bring_up_to_date()
        page, _ = self._reader.events(None, None, [], max(0, self._reader.last_sequence() - count), count)
        return [json.loads(event) for event in page]


def equal(where: Mapping[str, str | None] | None) -> list[tuple[str, str]]:
    """Return a filter by values, in the form that the core takes."""
    if where is None:
        return []
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise ValueError(f"where: {where!r} is not a mapping of field names")
    return [(name, "" if value is None else str(value)) for name, value in where.items()]
