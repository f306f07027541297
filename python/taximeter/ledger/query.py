"""SQL statements that only read a ledger, and their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from .. import _core
from ..fields import nearest

__all__ = ["TIMEOUT", "Rows", "query"]

TIMEOUT: Final = 60.0
"""Seconds that a statement may take by default, the time in which its rows are taken included."""
_UNKNOWN: Final = re.compile(r"no such (column|table): (?:\w+\.)?(\w+)")
_AMOUNT: Final = "_usd"
"""The end of the names of columns with amounts."""


class Rows:
    """The rows of an SQL statement. They are read while they are iterated, so a result of any size needs little memory.

    A row is a tuple of `None`, `int`, `float`, `str` and `bytes`. Exact amounts, the texts in columns whose name ends with `_usd`,
    are `Decimal`.
    """

    def __init__(self, source: _core.LedgerQuery) -> None:
        self._source = source
        self.columns: tuple[str, ...] = tuple(source.columns())
        """The names of the columns."""
        self._amounts = [index for index, name in enumerate(self.columns) if name.endswith(_AMOUNT)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (rows := self._source.rows()) is not None:
            yield from map(self._with_amounts, rows) if self._amounts else rows

    def _with_amounts(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for index in self._amounts:
            if isinstance(values[index], str):
                values[index] = _decimal(values[index])
        return tuple(values)

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a mapping from the names of the columns."""
        return (dict(zip(self.columns, row, strict=True)) for row in self)

    def close(self) -> None:
        """Stop the statement. Rows that were not read are given up."""
        self._source.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decimal(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def query(path: Path, sql: str, parameters: Sequence[Any] | Mapping[str, Any], timeout: float | None) -> Rows:
    """Run a statement that only reads. See `Ledger.query`."""
    if not isinstance(sql, str) or not sql.strip():
        raise ValueError(f"sql: {sql!r} is not a statement")
    if isinstance(parameters, (str, bytes)) or not isinstance(parameters, (Sequence, Mapping)):
        raise TypeError(f"parameters: {parameters!r} is neither a sequence nor a mapping of values")
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0):
        raise ValueError(f"timeout: {timeout!r} is not a positive number of seconds, nor None for no limit")
    given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
    try:
        return Rows(_core.LedgerQuery(path, sql, given, timeout))
    except ValueError as error:
        if near := _near(path, str(error)):
            raise ValueError(f"{error}; did you mean {near}?") from None
        raise


def _near(path: Path, message: str) -> str | None:
    """Return the name in the ledger that is most like the one that a message says is unknown."""
    found = _UNKNOWN.search(message)
    if found is None:
        return None
    kind, name = found.groups()
    sql = (
        "SELECT name FROM pragma_table_info('events')" if kind == "column" else "SELECT name FROM sqlite_master WHERE sql IS NOT NULL"
    )
    return nearest(name, [known for (known,) in Rows(_core.LedgerQuery(path, sql, [], TIMEOUT))])
