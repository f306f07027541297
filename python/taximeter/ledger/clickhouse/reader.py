"""Reads the table in ClickHouse as `_core.LedgerReader` reads a file: with the same arguments and the same answers."""

from __future__ import annotations

import csv
import io
import json
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, NoReturn

from ... import _core
from ...errors import LedgerError
from ...sanitize import spreadsheet_cell
from .page import Answer, Group, Page
from .parameters import HOUR, KEY, SECOND, Conditions, Parameters, Parts, stretches
from .server import Server

__all__ = ["ClickHouseReader"]

_PAGE: Final = 20_000
"""The calls of a page: some 15 MB."""
_SETTLED_MS: Final = 10_000
"""How old the newest of `arrivals` is: until then, the hosts' batches have arrived."""
_LONGEST_NS: Final = 86_400 * SECOND
"""The longest call that `arrivals` finds. The table is sorted by when calls began."""
_COUNTS: Final = {
    "calls": "count()",
    "errors": "countIf(status = 'error')",
    "unpriced": "countIf(cost_status = 'unpriced')",
    **{f"{name}_tokens": f"sum({name}_tokens)" for name in ("input", "output", "cache_read", "cache_write", "reasoning")},
}
_SAVED: Final = "cache_saved_usd"
"""The column of schema 2. A table of schema 1 has none, and then what caching saved is not known."""
_Indexes = Mapping[str, Mapping[int, str]]
_MEASURES: Final = {"cost_usd": "cost_usd", "latency_ms": "latency_us"}


class ClickHouseReader:
    """Reads the calls in a table.

    Args:
        server: The server with the table.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._has_savings = False

    def _saved(self) -> str | None:
        """Return the column with what caching saved; `None` if the table has none. A table gets columns, and does not lose them."""
        self._has_savings = self._has_savings or _SAVED in self.server.columns()
        return _SAVED if self._has_savings else None

    def report(
        self,
        by: Sequence[str],
        since: int | None,
        until: int | None,
        conditions: Conditions,
        parts: Parts,
        sort: str | None = None,
        *,
        is_reversed: bool = False,
        offset: int = 0,
        limit: int | None = None,
        is_last: bool = False,
    ) -> Answer:
        """Sum up calls; see `_core.LedgerReader.report`."""
        _core.check_query([name for name in by if name not in parts], conditions)
        page = Page(sort, is_reversed, offset, limit, is_last)
        saved = self._saved()
        spans = list(stretches(since, until, parts))
        if len(spans) == 1 and by:
            begin, end, touched = spans[0]
            answer = self._groups(by, begin, end, conditions, touched, page, saved)
            if not answer[0] and offset:
                # All groups are before the page.
                answer = self._groups(by, begin, end, conditions, touched, page._replace(offset=0, limit=0), saved)
        else:
            # Stretches follow each other in time, as their groups do.
            found = [self._groups(by, begin, end, conditions, touched, Page(), saved)[0] for begin, end, touched in spans]
            answer = page.cut(
                [_renumbered(row, by, parts, touched) for rows, (_, _, touched) in zip(found, spans, strict=True) for row in rows],
                by,
                parts,
            )
        return answer if saved else _without_savings(answer)

    def _groups(
        self,
        by: Sequence[str],
        since: int | None,
        until: int | None,
        conditions: Conditions,
        parts: Parts,
        page: Page,
        saved: str | None,
    ) -> Answer:
        """Return a page of the groups of a stretch of time, and the sums of all its groups."""
        asked = Parameters()
        fields = [asked.part(parts[name]) if name in parts else asked.field(name) for name in by]
        # A sum of 128 bits would become another amount above 1.7e14 USD, without an error.
        amounts = [f"ifNull(sum(toDecimal256({name}, 24)), 0)" for name in ("cost_usd", saved) if name]
        counts = [*_COUNTS.values(), *amounts]
        sums = [f"s{index}" for index in range(len(counts))]
        names = [f"f{index}" for index in range(len(fields))]
        inner = ", ".join(f"{value} AS {name}" for value, name in zip([*counts, *fields], [*sums, *names], strict=True))
        where = asked.where(since, until, conditions)
        group = f"GROUP BY {', '.join(names)}" if names else "HAVING count() > 0"
        columns = [*_padded([f"toString({name})" for name in sums]), *(f"toString({name})" for name in names)]
        if is_cut := page.limit is not None or page.offset > 0:
            # The sums of all groups are those of the same moment.
            columns += ["toString(count() OVER ())", *_padded([f"toString(sum({name}) OVER ())" for name in sums])]
        query = (
            f"SELECT {', '.join(columns)} FROM (SELECT {inner} FROM `{self.server.table}` FINAL {where} {group}) "
            f"{page.clauses(by, parts, sums, names) if names else ''}"
        )
        begins = [[edge // SECOND for edge in parts[name]] if name in parts else None for name in by]
        rows, others, everything, groups = _core.clickhouse_report(self.server.lines(query, asked.values), begins)
        if is_cut and page.limit == 0:
            # A row had to be asked for, because only rows have the sums of all groups.
            return [], everything, everything, groups
        return rows[::-1] if page.is_last else rows, others, everything, groups

    def durations(
        self,
        what: str,
        by: Sequence[str],
        since: int | None,
        until: int | None,
        conditions: Conditions,
        parts: Parts,
        fractions: Sequence[float],
    ) -> list[tuple[list[str | None], int, list[float], list[tuple[float, int]]]]:
        """Return percentiles of a duration by fields, exact; see `_core.LedgerReader.durations`. It counts no calls by duration."""
        _core.check_query([name for name in by if name not in parts], conditions)
        column = what.replace("_ms", "_us")
        indexes = _indexes(parts)
        given = ", ".join(repr(float(fraction)) for fraction in fractions)
        found: list[tuple[list[str | None], int, list[float], list[tuple[float, int]]]] = []
        for begin, end, touched in stretches(since, until, parts):
            asked = Parameters()
            dimensions = [f"toString({asked.part(touched[name])})" if name in parts else asked.field(name) for name in by]
            quantiles = f"arrayMap(one -> toString(one), quantilesExact({given})(assumeNotNull({column})))"
            clauses = [asked.where(begin, end, conditions)]
            clauses.append(f"{'AND' if clauses[0] else 'WHERE'} isNotNull({column})")
            clauses.append(f"GROUP BY {', '.join(str(3 + index) for index in range(len(by)))}" if by else "HAVING count() > 0")
            columns = ", ".join(["toString(count())", quantiles, *dimensions])
            for calls, ends, *values in self.server.rows(
                f"SELECT {columns} FROM `{self.server.table}` FINAL {' '.join(clauses)}", asked.values
            ):
                key = [_value(name, value, indexes) for name, value in zip(by, values, strict=True)]
                found.append((key, int(calls), [int(one) / 1000 for one in ends], []))
        return sorted(found, key=lambda one: (-one[1], [value or "" for value in one[0]]))

    def events(self, since: int | None, until: int | None, conditions: Conditions, after: Any, limit: int) -> tuple[list[str], Any]:
        """Return a page of calls as JSON, in the order of hours, and within an hour by provider, model and id; and where it ends."""
        page, reached = self._page(since, until, conditions, after, max(limit, _PAGE))
        return [json.dumps(event, ensure_ascii=False) for event in page], reached

    def _page(
        self, since: int | None, until: int | None, conditions: Conditions, after: Any, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        _core.check_query([], conditions)
        asked = Parameters()
        where = asked.where(since, until, conditions, after or None)
        order = ", ".join((HOUR, *KEY))
        query = f"{self._select()} {where} ORDER BY {order} LIMIT {limit}"
        page = [_event(row) for row in self.server.rows(query, asked.values)]
        if not page:
            return [], after
        event, started_at = page[-1]
        reached = (started_at // (3600 * SECOND) * 3600, *(event[name] for name in KEY))
        return [event for event, _ in page], reached

    def export(
        self,
        since: int | None,
        until: int | None,
        conditions: Conditions,
        after: Any,
        limit: int,
        columns: Sequence[str] | None,
        raw: bool,
    ) -> tuple[bytes, int, Any]:
        """Return a block of calls as lines; see `_core.LedgerReader.export`. Their order is that of `events`."""
        page, reached = self._page(since, until, conditions, after, limit)
        if columns is None:
            text = "".join(f"{json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n" for event in page)
        else:
            out = io.StringIO()
            writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writerows({name: _cell(value, raw=raw) for name, value in event.items()} for event in page)
            text = out.getvalue()
        return text.encode(), len(page), reached

    def newest(self, since: int | None, until: int | None, conditions: Conditions, limit: int) -> list[str]:
        """Return the calls that began last as JSON, the newest first."""
        _core.check_query([], conditions)
        asked = Parameters()
        where = asked.where(since, until, conditions)
        query = f"{self._select()} {where} ORDER BY started_at DESC, toString(id) DESC LIMIT {limit}"
        return self._texts(query, asked.values)

    def highest(
        self, since: int | None, until: int | None, conditions: Conditions, measure: str, limit: int, offset: int
    ) -> list[str]:
        """Return the calls that cost most or took longest as JSON, the highest first."""
        _core.check_query([], conditions)
        if measure not in _MEASURES:
            raise ValueError(f"measure: {measure!r} is neither cost_usd nor latency_ms")
        asked = Parameters()
        order = f"{_MEASURES[measure]} DESC NULLS LAST, started_at DESC, toString(id) DESC LIMIT {limit} OFFSET {offset}"
        where = asked.where(since, until, conditions)
        return self._texts(f"{self._select()} {where} ORDER BY {order}", asked.values)

    def arrivals(self, conditions: Conditions, after: int | None, limit: int) -> tuple[list[str], int]:
        """Return calls in the order in which they were recorded, as JSON, and the number after which the next ones come.

        The table does not say when a call arrived. Ids begin with the time at which a call was recorded, in milliseconds, so calls
        are told ten seconds after that. What arrives later than that is left out.
        """
        _core.check_query([], conditions)
        last = time.time_ns() // 1_000_000 - _SETTLED_MS
        if after is None or after >= last:
            return [], last if after is None or after > last + 2 * _SETTLED_MS else after
        asked = Parameters()
        where = asked.where(max(0, after * 1_000_000 - _LONGEST_NS), None, conditions)
        ends = f"toString(id) >= {asked.add(_id_at(after))} AND toString(id) < {asked.add(_id_at(last))}"
        # The ids of one millisecond have no order.
        order = "substring(toString(id), 1, 13), started_at, id"
        query = f"{self._select()} {where} AND {ends} ORDER BY {order} LIMIT {limit}"
        page = [_event(row)[0] for row in self.server.rows(query, asked.values)]
        if len(page) == limit:
            # More calls may have the last one's millisecond. They all come with the next page.
            last = int(page[-1]["id"].replace("-", "")[:12], 16)
            page = [event for event in page if event["id"] < _id_at(last)]
            if not page:
                return self.arrivals(conditions, after, limit * 4)
        return [json.dumps(event, ensure_ascii=False) for event in page], last

    def limit(self, seconds: float | None) -> None:
        """Wait for no answer longer than this; `None` for the usual five minutes."""
        self.server.limit(seconds)

    def stop(self) -> None:
        """Do nothing: the server has the limits of its user."""

    def find(self, event_id: str) -> str | None:
        """Return the newest call whose id begins with a text, as JSON."""
        query = f"{self._select()} WHERE startsWith(toString(id), {{id:String}}) ORDER BY toString(id) DESC LIMIT 1"
        return next(iter(self._texts(query, {"id": event_id})), None)

    def period(self) -> tuple[int, int] | None:
        """Return when the first and the last call began, in nanoseconds since 1970; `None` for an empty table."""
        ends = (f"toString(toUnixTimestamp64Nano({end}(started_at)))" for end in ("min", "max"))
        query = f"SELECT {', '.join(ends)}, toString(count()) FROM `{self.server.table}`"
        first, last, count = self.server.row(query, width=3)
        return None if count == "0" else (int(first), int(last))

    def files(self) -> int:
        """Return 1: a table is not replaced by another one."""
        return 1

    def last_sequence(self) -> NoReturn:
        """Refuse, because calls of many machines have no order of arrival."""
        raise LedgerError(f"{self.server}: calls in ClickHouse have no order of arrival; use taximeter calls --from")

    def sequence_of(self, event_id: str) -> NoReturn:
        """Refuse as `last_sequence` does."""
        del event_id
        self.last_sequence()

    def _select(self) -> str:
        """Return the beginning of a query for calls."""
        saved = self._saved()
        return f"SELECT {_EVENT}, {f'toString({saved})' if saved else 'NULL'} FROM `{self.server.table}` FINAL"

    def _texts(self, query: str, values: Mapping[str, str]) -> list[str]:
        return [json.dumps(_event(row)[0], ensure_ascii=False) for row in self.server.rows(query, values)]


_TEXT_FIELDS: Final = (
    "provider", "model", "operation", "status", "error", "finish_reason", "usage_status", "cost_status", "priced_as", "catalog",
    "service_tier", "region", "agent", "feature", "team", "customer", "user", "session", "trace_id", "span_id", "parent_span_id",
    "call_id",
)  # fmt: skip
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_EVENT: Final = ", ".join(
    (
        "toString(id)", "toString(toUnixTimestamp64Nano(started_at))", *(f"`{name}`" for name in _TEXT_FIELDS),
        *(f"toString({name})" for name in _TOKENS), "usage", "toString(cost_usd)", "toString(computed_cost_usd)", "cost_notes",
        "toString(latency_us)", "toString(ttft_us)", "batch", "tags", "provider_usage",
    )
)  # fmt: skip
_SCALES: Final = _core.unit_scales()


def _event(row: list[Any]) -> tuple[dict[str, Any], int]:
    """Return a call as `taximeter export` prints it, and when it began."""
    event_id, started_at = row[0], int(row[1])
    texts = dict(zip(_TEXT_FIELDS, row[2:], strict=False))
    tokens = dict(zip(_TOKENS, map(int, row[2 + len(_TEXT_FIELDS) :][: len(_TOKENS)]), strict=True))
    usage, cost, computed, notes, latency, ttft, batch, tags, report, saved = row[2 + len(_TEXT_FIELDS) + len(_TOKENS) :]
    moment = datetime.fromtimestamp(started_at // SECOND, timezone.utc)
    event: dict[str, Any] = {
        "id": event_id,
        "started_at": f"{moment:%Y-%m-%dT%H:%M:%S}.{started_at % SECOND:09}Z",
        **{name: text for name, text in texts.items() if text or name in _ALWAYS},
        **tokens,
        "usage": {name: _scaled(name, int(count)) for name, count in usage.items()},
        "cost_usd": None if cost is None else _plain(cost),
        "batch": bool(batch),
    }
    for name, amount in (("computed_cost_usd", computed), (_SAVED, saved)):
        if amount is not None:
            event[name] = _plain(amount)
    if notes:
        event["cost_notes"] = notes.split(",")
    for name, microseconds in (("latency_ms", latency), ("ttft_ms", ttft)):
        if microseconds is not None:
            event[name] = int(microseconds) / 1000
    if tags:
        event["tags"] = tags
    if report:
        event["provider_usage"] = json.loads(report)
    # In the order that a file's calls have.
    return dict(sorted(event.items())), started_at


def _padded(amounts: list[str]) -> list[str]:
    """Return the columns of sums with `NULL` for what caching saved, if the table does not have it."""
    return amounts if len(amounts) == len(_COUNTS) + 2 else [*amounts, "NULL"]


def _renumbered(row: Group, by: Sequence[str], parts: Parts, touched: Parts) -> Group:
    """Return a group of a stretch with the numbers that its parts of time have among all of them."""
    key = tuple(
        str(int(value or 0) + bisect_left(parts[name], touched[name][0])) if name in parts else value
        for name, value in zip(by, row[0], strict=True)
    )
    return key, row[1]


def _without_savings(answer: Answer) -> Answer:
    """Return the answer of a table that does not have what caching saved."""
    rows, others, everything, groups = answer
    return [(key, (*sums[:-1], None)) for key, sums in rows], (*others[:-1], None), (*everything[:-1], None), groups


_ALWAYS: Final = frozenset({"provider", "model", "operation", "status", "usage_status", "cost_status"})


def _indexes(parts: Parts) -> _Indexes:
    """Return the numbers of the parts of time by when they begin, in seconds."""
    return {name: {edge // SECOND: str(index) for index, edge in enumerate(edges)} for name, edges in parts.items()}


def _value(name: str, value: str, indexes: _Indexes) -> str | None:
    return indexes[name][int(value)] if name in indexes else value or None


def _id_at(milliseconds: int) -> str:
    """Return what the ids of this millisecond begin with."""
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _cell(value: Any, *, raw: bool) -> Any:
    """Return a value as CSV has it: what is nested as JSON, and no text that a spreadsheet would run as a formula."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, (dict, list)) else value
    return spreadsheet_cell(text) if isinstance(text, str) and not raw else text


def _scaled(unit: str, count: int) -> float:
    scale = _SCALES.get(unit)
    return count if scale is None else count / scale


def _plain(amount: str) -> str:
    """Return an amount as the shortest exact decimal."""
    return amount.rstrip("0").rstrip(".") if amount.endswith("0") and "." in amount else amount
