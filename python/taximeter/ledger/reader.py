"""Reads the ledger, also while other processes write it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import _core
from ..errors import LedgerError
from ..fields import unknown_name
from ..moments import Moment, midnight, starts_in_a_day
from ..zones import UNITS, Zone, parts, zone, zone_name
from .agreement import disagreements
from .care import Care, Check, ProgressCallback, checked
from .export import Form, blocks
from .filters import Selection, Where
from .report import SUMS, Report, Row
from .scan import Scan
from .urls import is_clickhouse

if TYPE_CHECKING:
    from ..settings.destination import Destination
    from ..types import Event
    from .clickhouse import ClickHouseReader

__all__ = ["Ledger", "Percentiles"]

_PAGE: Final = 1000
_MOST_ROWS: Final = 2**62
"""More than a file can have, and few enough for the numbers of SQLite."""


_DURATIONS: Final = ("latency_ms", "ttft_ms")


def _check_page(names: Sequence[str], sort: str | None, limit: int | None, offset: int) -> None:
    """Check the order and the part of a report's rows.

    Raises:
        ValueError: One of them is invalid. The message names it.
    """
    if sort is not None and not isinstance(sort, str):
        raise ValueError(f"sort: {sort!r} is not the name of a field")
    if sort is not None and sort.removeprefix("-") not in (known := (*names, *SUMS)):
        raise ValueError(f"sort: {sort.removeprefix('-')!r} is not a field of the report; it has {', '.join(known)}")
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None:
            _check_count(name, value)


def _check_count(name: str, value: int) -> None:
    """Check a number of rows.

    Raises:
        ValueError: It is not one. The message names it.
    """
    try:
        number = index(value)
    except TypeError:
        number = _MOST_ROWS + 1
    if number > _MOST_ROWS:
        raise ValueError(f"{name}: {value!r} is not a number of rows: a whole number from 0")
    if number < 0:
        raise ValueError(f"{name}: {value!r} is negative; it is a number of rows")


class Percentiles(NamedTuple):
    """The durations of a group of calls."""

    key: Mapping[str, str | None]
    """The group's value of each field."""
    calls: int
    """The calls whose duration is known."""
    values: tuple[float, ...]
    """The percentiles in milliseconds."""


class Ledger(Care):
    """Reads the ledger, also while other processes write it.

    Args:
        path: The ledger's file; a missing file reads as empty. Or a `Destination` in ClickHouse, or its URL
            `clickhouse+https://host:8443/DATABASE` with the keys in `CLICKHOUSE_USER` and `CLICKHOUSE_PASSWORD`.
        timezone: The time zone of its reports: a name such as `Europe/Paris`, `UTC`, or a `tzinfo`; by default the machine's.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
        ConfigError: There is no such time zone, or the URL is invalid.
    """

    def __init__(self, path: str | PathLike[str] | Destination, *, timezone: Zone | None = None) -> None:
        self.timezone = zone("timezone", timezone)
        self._reader: _core.LedgerReader | ClickHouseReader
        self._timeout: float | None = None
        if not isinstance(path, (str, PathLike)) or is_clickhouse(path):
            # Most programs have no ledger in ClickHouse.
            from .clickhouse import ClickHouseReader, Server, destination_of  # noqa: PLC0415

            server = Server(path if not isinstance(path, (str, PathLike)) else destination_of(str(path)))
            self._path, self._place = None, repr(server)
            self._reader = ClickHouseReader(server)
        else:
            self._path, self._place = Path(path), str(path)
            self._reader = _core.LedgerReader(self._path)

    @property
    def path(self) -> Path:
        """The ledger's file.

        Raises:
            LedgerError: The ledger is in ClickHouse.
        """
        if self._path is None:
            raise LedgerError(f"{self.place}: this needs the ledger's file, and this ledger is in ClickHouse")
        return self._path

    @property
    def place(self) -> str:
        """Where the ledger is, for messages: its file, or its host and database."""
        return self._place

    @property
    def is_file(self) -> bool:
        """Whether the ledger is a file of this machine, as opposed to a table in ClickHouse."""
        return self._path is not None

    @property
    def timeout(self) -> float | None:
        """The most seconds that an answer may take before `LedgerTimeoutError` is raised; `None` for no limit, the default."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"timeout: {seconds!r} is not a positive number of seconds; None is no limit")
        self._timeout = seconds
        self._reader.limit(seconds)

    def stop(self) -> None:
        """Stop what another thread is asking of this ledger. It raises `LedgerError` there. A server of ClickHouse goes on."""
        self._reader.stop()

    def _bring_up_to_date(self) -> None:
        """Run before the ledger is read."""

    def __repr__(self) -> str:
        return f"Ledger({self.place!r})"

    def report(
        self,
        by: str | Sequence[str] = ("model",),
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
        tz: Zone | None = None,
        sort: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Report:
        """Sum up calls by fields.

        Args:
            by: Field names: `provider`, `model`, `operation`, `status`, `agent`, `feature`, `team`, `customer`, `user`, `session`,
                `hour`, `day`, `week`, `month`, `tag:KEY`, and others, which the error for an unknown name lists. Empty for one sum
                over everything.
            since: Only calls that began at or after this moment: an aware datetime, a date, a timedelta or a text such as `7d`
                before now, `yesterday`, `2026-11`, `2026-W48`, an ISO 8601 text, or seconds since 1970. In a report by days, weeks
                or months, a number of days before now begins at midnight.
            until: Only calls that began before this moment.
            where: Only calls whose fields have these values; `None` for calls without the field, a list for any of several values.
                `Not`, `Like`, `Above` and `Below` of `taximeter.ledger` compare in other ways. A sequence of pairs may name a field
                several times. Hours, days, weeks and months are written as reports show them.
            tz: The time zone of this report; by default the ledger's.
            sort: A field of `by`, ascending; or a sum such as `calls` or `cost_usd`, from the highest. A minus in front reverses the
                order. By default the order of time if a field is one of time, else the most expensive first.
            limit: The most rows, which is much faster with many groups: the first ones, or without `sort` in the order of time the
                last. The report's `others` sums up all other groups; `total` is always the sum of all.
            offset: How many rows are left out before them.

        Returns:
            A row of sums for each group.

        Raises:
            ValueError: A field is unknown, a moment is invalid, or `limit` or `offset` is negative; the message names it.
            ConfigError: There is no such time zone.
            LedgerError: The ledger cannot be read.
        """
        names = (by,) if isinstance(by, str) else tuple(by) if isinstance(by, Sequence) else (by,)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"by: {by!r} is not a field name, nor a sequence of them")
        _check_page(names, sort, limit, offset)
        self._bring_up_to_date()
        place = self.timezone if tz is None else zone("tz", tz)
        chosen = Selection.of(since, until, where, place)
        if chosen.since is not None and starts_in_a_day(since) and not {"day", "week", "month"}.isdisjoint(names):
            chosen = chosen._replace(since=midnight(chosen.since, place))
        labels = self._labels(names, chosen, place)
        edges = {name: edges for name, (edges, _) in labels.items()}
        period = [None if end is None else datetime.fromtimestamp(end / 1e9, place) for end in (chosen.since, chosen.until)]
        is_last = limit is not None and sort is None and bool(labels)
        field, is_reversed = (None, False) if sort is None else (sort.removeprefix("-"), sort.startswith("-"))
        found, others, everything, groups = self._reader.report(
            names, *chosen, edges, field, is_reversed=is_reversed, offset=offset, limit=limit, is_last=is_last
        )
        rows = tuple(Row(_key(names, values, labels), *sums) for values, sums in found)
        left_out = groups - len(rows)
        rest = Row({}, *others) if left_out else None
        return Report(names, rows, Row({}, *everything), zone_name(place), period[0], period[1], rest, left_out, is_last)

    def _labels(self, names: Sequence[str], chosen: Selection, place: tzinfo) -> dict[str, tuple[list[int], list[str]]]:
        """Return the beginnings and labels of the parts of time that a report groups by, by the names of their fields."""
        units = [name for name in names if name in UNITS]
        if not units:
            return {}
        first, last = self._reader.period() or (0, 0)
        start, end = max(first, chosen.since or 0), last + 1 if chosen.until is None else min(last + 1, chosen.until)
        return {unit: parts(unit, start, end, place) for unit in units}

    def percentiles(
        self,
        what: str = "latency_ms",
        by: str | Sequence[str] = ("model",),
        *,
        fractions: Sequence[float] = (0.5, 0.95, 0.99),
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
        tz: Zone | None = None,
    ) -> list[Percentiles]:
        """Return percentiles of the latency or of the time to the first token, within 4.5 %.

        Args:
            what: `latency_ms`, or `ttft_ms` for the time to the first token.
            by: Names of fields as in `report`.
            fractions: The percentiles as fractions.
            since: See `report`.
            until: See `report`.
            where: See `report`.
            tz: See `report`.

        Returns:
            The groups with a known duration: in the order of time if a field is one of time, else the one with the most calls first.

        Raises:
            ValueError: A field is unknown, or a moment is invalid.
            LedgerError: The ledger cannot be read.
        """
        if what not in _DURATIONS:
            raise ValueError(f"what: {unknown_name(what, _DURATIONS)}")
        if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
            raise ValueError(f"fractions: {wrong[0]!r} is not above 0 and at most 1; the 95th percentile is 0.95")
        names = [by] if isinstance(by, str) else list(by)
        self._bring_up_to_date()
        place = self.timezone if tz is None else zone("tz", tz)
        chosen = Selection.of(since, until, where, place)
        labels = self._labels(names, chosen, place)
        edges = {name: edges for name, (edges, _) in labels.items()}
        found = self._reader.durations(what, names, chosen.since, chosen.until, chosen.conditions, edges, list(fractions))
        if times := [index for index, name in enumerate(names) if name in labels]:
            found.sort(key=lambda row: [int(row[0][index] or 0) for index in times])
        return [Percentiles(_key(names, key, labels), calls, tuple(values)) for key, calls, values, _ in found]

    def period(self) -> tuple[datetime, datetime] | None:
        """Return when the first and the last call began; `None` if there are no calls."""
        self._bring_up_to_date()
        ends = self._reader.period()
        return (
            None
            if ends is None
            else (datetime.fromtimestamp(ends[0] / 1e9, self.timezone), datetime.fromtimestamp(ends[1] / 1e9, self.timezone))
        )

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
    ) -> Iterator[Event]:
        """Yield every event in order of arrival. Read page by page. For the filters, see `report`."""
        self._bring_up_to_date()
        chosen = Selection.of(since, until, where, self.timezone)
        after: Any = 0
        while True:
            page, after = self._reader.events(*chosen, after, _PAGE)
            if not page:
                return
            yield from map(json.loads, page)

    def export(
        self,
        form: Form = "jsonl",
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
        raw: bool = False,
    ) -> Iterator[bytes]:
        """Yield every call in order of arrival as lines in UTF-8, in blocks of whole lines. For the filters, see `report`.

        Args:
            form: `jsonl`, a JSON object a line, or `csv` with a header.
            since: Only calls that began at or after this moment.
            until: Only calls that began before this moment.
            where: Only calls with these values.
            raw: Whether texts of CSV stay as they are, even if a spreadsheet would run them as formulas.

        Raises:
            ValueError: The form or a field is unknown, or a moment is invalid.
            LedgerError: The ledger cannot be read.
        """
        self._bring_up_to_date()
        return blocks(self._reader, Selection.of(since, until, where, self.timezone), form, raw=raw)

    def scan(
        self,
        columns: str | Sequence[str] | None = None,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
    ) -> Scan:
        """Select events for data frames and databases: pandas, polars, pyarrow, DuckDB and others read the result.

        `polars.DataFrame(ledger.scan(["model", "cost_usd"]))`, `pandas.DataFrame.from_arrow(ledger.scan())`.

        Args:
            columns: Names of columns, as in events; by default all. Costs have the type `decimal128(38, 24)`, which is exact, times
                `timestamp[ns, UTC]`, `usage` and `tags` are maps.
            since: See `report`.
            until: See `report`.
            where: See `report`.

        Returns:
            The selection. It can be read more than once, batch by batch: in the order of time if the selection has a time,
            else in the order of arrival. Events that arrive meanwhile are not read.

        Raises:
            ValueError: A column or a field is unknown, or a moment is invalid; the message names it.
        """
        return Scan(self.path, columns, Selection.of(since, until, where, self.timezone), self._bring_up_to_date)

    def check(self, *, timeout: float | None = None, progress: ProgressCallback | None = None) -> Check:
        """Check the structure of the file, its indexes, and that the sums agree with the calls.

        Args:
            timeout: Seconds until the check is left unfinished; `None` for no limit.
            progress: Called meanwhile.

        Raises:
            LedgerError: The file is not a ledger, or cannot be read.
        """
        found = checked(_core.ledger_check(self.path, True, timeout, progress))
        if found.faults or not found.is_complete:
            return found
        return found._replace(faults=tuple(disagreements(_core.LedgerReader(self.path))))

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

    def newest(
        self,
        count: int,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
    ) -> list[Event]:
        """Return the events that began last, the newest first. For the filters, see `report`."""
        _check_count("count", count)
        self._bring_up_to_date()
        return [json.loads(event) for event in self._reader.newest(*Selection.of(since, until, where, self.timezone), count)]

    def highest(
        self,
        measure: str,
        count: int,
        *,
        offset: int = 0,
        since: Moment | None = None,
        until: Moment | None = None,
        where: Where | None = None,
    ) -> list[Event]:
        """Return the events that cost most or took longest, the highest first. It reads every event of the selection.

        Args:
            measure: `cost_usd` or `latency_ms`. Events without it are last.
            count: The most events.
            offset: How many events come before them.
            since: See `report`.
            until: See `report`.
            where: See `report`.

        Raises:
            ValueError: The measure or a field is unknown, or a moment is invalid.
            LedgerError: The ledger cannot be read.
        """
        _check_count("count", count)
        _check_count("offset", offset)
        self._bring_up_to_date()
        chosen = Selection.of(since, until, where, self.timezone)
        return [json.loads(event) for event in self._reader.highest(*chosen, measure, count, offset)]

    def arrivals(self, after: int | None = None, count: int = 1000, *, where: Where | None = None) -> tuple[list[Event], int]:
        """Return events in the order of their arrival, for a program that shows each of them once.

        Args:
            after: The number that the last call returned; `None` to begin with events that arrive from now on.
            count: The most events.
            where: See `report`.

        Returns:
            The events, and the number after which the next ones come. Numbers of another file are not known: after a number that is
            too high, it begins with events that arrive from now on. Of a ledger in ClickHouse, events come ten seconds after they
            were recorded, in that order, and events that arrive later than that are left out.

        Raises:
            ValueError: A field is unknown.
            LedgerError: The ledger cannot be read.
        """
        self._bring_up_to_date()
        if not isinstance(self._reader, _core.LedgerReader):
            settled, reached = self._reader.arrivals(Selection.of(None, None, where, self.timezone).conditions, after, count)
            return [json.loads(event) for event in settled], reached
        last = self._reader.last_sequence()
        if after is None or after > last:
            return [], last
        page, reached = self._reader.events(*Selection.of(None, None, where, self.timezone), after, count)
        # Events that the filter leaves out are not looked at again.
        return [json.loads(event) for event in page], reached if len(page) == count else max(reached, last)

    def find(self, event_id: str) -> Event | None:
        """Return the event with an id, or the newest event whose id begins with the text; `None` if no id does."""
        self._bring_up_to_date()
        found = self._reader.find(event_id)
        return None if found is None else json.loads(found)

    def last(self, count: int) -> list[Event]:
        """Return the last events in order of arrival."""
        _check_count("count", count)
        self._bring_up_to_date()
        page, _ = self._reader.events(None, None, [], max(0, self._reader.last_sequence() - count), count)
        return [json.loads(event) for event in page]


def _key(
    names: Sequence[str], values: Sequence[str | None], labels: Mapping[str, tuple[list[int], list[str]]]
) -> dict[str, str | None]:
    """Return the key of a group. Parts of time come as the numbers of their labels."""
    pairs = zip(names, values, strict=True)
    return {name: labels[name][1][int(value or 0)] if name in labels else value for name, value in pairs}
