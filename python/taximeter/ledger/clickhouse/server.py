"""Queries over ClickHouse's HTTP interface."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from ... import _core
from ...errors import ConfigError, LedgerError, LedgerTimeoutError, TransferError
from ...settings.destination import Destination

__all__ = ["Server", "destination_of"]

_MAX_BYTES: Final = 512 << 20
"""The most bytes of an answer: a report with a million rows has some 200 MB."""
_MOST_TEXT: Final = 260_000
"""The server reads 262,144 bytes of a query by default."""
_LINES: Final = 10_000
"""The rows of an answer that are read at once."""
_READ_SECONDS: Final = 300.0
"""The longest time between two bytes of an answer. The server sends none before a query has ended."""
_CODE: Final = re.compile(r"Code: (\d+)")
_REMEDIES: Final = {
    16: "the table has other columns: run taximeter clickhouse init with this URL",
    60: "run taximeter clickhouse init with this URL",
    81: "run taximeter clickhouse init with this URL",
    47: "the table has other columns: run taximeter clickhouse check with this URL",
    115: "this server is older than 23.8: use a newer one",
    164: "this user is read-only",
    497: "grant this user what it lacks: SELECT on the table for reports",
    516: "set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD, or the destination with this URL in the settings",
}


def destination_of(url: str, known: Iterable[Destination] = ()) -> Destination:
    """Return the destination with a URL: one of the known ones, else one with the keys of the environment.

    Raises:
        ConfigError: The URL is invalid, or its path is not the name of a database.
    """
    place = url.partition("+")[2].partition("?")[0].rstrip("/")
    for one in known:
        if one.place.rstrip("/") == place and one.to_core()["protocol"] == "clickhouse":
            return one
    return Destination(url, user=os.environ.get("CLICKHOUSE_USER") or None, token=os.environ.get("CLICKHOUSE_PASSWORD") or None)


class Server:
    """A ClickHouse server with the database and the table of a destination.

    Args:
        destination: Where the server is, with the keys of a user.

    Raises:
        ConfigError: It is not a destination in ClickHouse.
    """

    def __init__(self, destination: Destination) -> None:
        core = destination.to_core()
        parts = urlsplit(core["url"])
        place = _core.clickhouse_place(parts.path)
        if core["protocol"] != "clickhouse" or place is None:
            raise ConfigError("destination: it is not in ClickHouse; give clickhouse+https://host:8443/DATABASE")
        self.host = destination.host
        self.database, self.table = place
        self.destination = destination
        self._root = f"{parts.scheme}://{parts.netloc}/"
        self._query = parts.query
        self._ca = core["ca"]
        self.limit(None)

    def __repr__(self) -> str:
        return f"clickhouse://{self.host}/{self.database}"

    def limit(self, seconds: float | None) -> None:
        """Wait for no answer longer than this; `None` for the usual five minutes."""
        self._exchange = _core.Exchange(seconds or _READ_SECONDS, connect=10.0, ca=self._ca, max_bytes=_MAX_BYTES)

    def run(
        self,
        statement: str,
        values: Mapping[str, str] | None = None,
        *,
        uses_database: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> str:
        """Run a statement and return the answer.

        Args:
            statement: The statement, with the data of an insert.
            values: The values of its parameters.
            uses_database: Whether the database exists, so that the statement can be run in it.
            settings: Settings of the server. A read-only user may send none.

        Raises:
            LedgerError: There is no answer, or it is an error.
            LedgerTimeoutError: The answer takes too long.
        """
        # A read-only user may send these, but no setting.
        asked = {"wait_end_of_query": "1", **{f"param_{name}": value for name, value in (values or {}).items()}, **(settings or {})}
        if uses_database:
            asked["database"] = self.database
        pairs = [f"{quote(name)}={quote(_escaped(value) if name.startswith('param_') else value)}" for name, value in asked.items()]
        url = f"{self._root}?{'&'.join([*filter(None, [self._query]), *pairs])}"
        headers = [*self.destination.to_core()["headers"], ("content-type", "text/plain")]
        try:
            status, _, answered, body = self._exchange.request("POST", url, headers, statement.encode())
        except TransferError as error:
            kind = LedgerTimeoutError if error.kind == "read_timeout" else LedgerError
            raise kind(f"{self}: {error.reason}") from None
        text = body.decode("utf-8", "replace")
        code = next((value for name, value in answered if name == "x-clickhouse-exception-code"), None)
        # Some versions write an error into an answer that has begun with 200.
        if status != 200 or code is not None or text.startswith("Code: "):  # noqa: PLR2004 - HTTP's OK
            raise self._error(status, code, text)
        return text

    def columns(self) -> dict[str, str]:
        """Return the types of the table's columns by name; an empty mapping if there is no table.

        Raises:
            LedgerError: There is no answer, or it is an error.
        """
        found = self.rows(
            "SELECT name, type FROM system.columns WHERE database = {d:String} AND table = {t:String}",
            {"d": self.database, "t": self.table},
            width=2,
        )
        return {str(name): str(kind) for name, kind in found}

    def lines(self, statement: str, values: Mapping[str, str] | None = None) -> str:
        """Run a query and return its rows, each a JSON array in a line.

        Raises:
            LedgerError: There is no answer, or it is an error.
        """
        if len(statement) > _MOST_TEXT:
            raise LedgerError(f"{self}: where: too many values for one query: give fewer, or ask several times")
        return self.run(f"{statement} FORMAT JSONCompactEachRow", values)

    def rows(self, statement: str, values: Mapping[str, str] | None = None, *, width: int | None = None) -> Iterator[list[Any]]:
        """Run a query and yield its rows.

        Args:
            statement: The query, without a format.
            values: The values of its parameters.
            width: The number of its columns, if the caller does not check it.

        Raises:
            LedgerError: There is no answer, or it is an error, or it has no rows of this width.
        """
        return self._parsed(self.lines(statement, values), width)

    def _parsed(self, text: str, width: int | None) -> Iterator[list[Any]]:
        lines = text.rstrip("\n").split("\n") if text else []
        for first in range(0, len(lines), _LINES):
            try:
                # One text with many rows is read faster than as many texts.
                rows = json.loads(f"[{','.join(lines[first : first + _LINES])}]")
            except (ValueError, RecursionError):
                rows = [None]
            if not all(isinstance(row, list) and width in {None, len(row)} for row in rows):
                # An error of a query that had begun to answer is at the end.
                end = next((line for line in lines[-3:] if line.startswith("Code: ")), None)
                raise self._no_rows() if end is None else self._error(200, None, end)
            yield from rows

    def row(self, statement: str, values: Mapping[str, str] | None = None, *, width: int) -> list[Any]:
        """Run a query that has one row, and return it; see `rows`."""
        found = list(self.rows(statement, values, width=width))
        if len(found) != 1:
            raise self._no_rows()
        return found[0]

    def _no_rows(self) -> LedgerError:
        return LedgerError(
            f"{self}: this is not an answer of ClickHouse: check the host and the port of the URL, and proxies in between"
        )

    def _error(self, status: int, code: str | None, text: str) -> LedgerError:
        found = code or next(iter(_CODE.findall(text[:40])), None)
        if found is None:
            return LedgerError(f"{self}: answered {status} without a code of ClickHouse: check the host and the port of the URL")
        said = " ".join(text.split())[:300]
        for _, value in self.destination.to_core()["headers"]:
            said = said.replace(value, "…") if len(value) > 3 else said  # noqa: PLR2004 - a key
        remedy = _REMEDIES.get(int(found))
        return LedgerError(f"{self}: ClickHouse's code {found}{f'; {remedy}' if remedy else ''}: {said}")


def _escaped(text: str) -> str:
    """Return a value in the form that parameters have: as in a file of tab-separated values."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
