"""The events of a ledger for data frames and databases, through Arrow's C stream interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from .. import _core
from ..fields import unknown_name
from .filters import Selection

__all__ = ["Scan"]

_ROWS: Final = 65_536
"""The rows of a batch: some megabytes, and so many that the cost of a batch does not count."""


class Scan:
    """A selection of a ledger's events that pandas, polars, pyarrow, DuckDB and others read. See `Ledger.scan`.

    Args:
        path: The ledger's file.
        columns: Names of columns; `None` for all.
        selection: The selection.
        refresh: Run before each reading.

    Raises:
        ValueError: A column is unknown, or named twice.
    """

    __slots__ = ("_refresh", "_selection", "columns", "path")

    def __init__(self, path: Path, columns: str | Sequence[str] | None, selection: Selection, refresh: Callable[[], None]) -> None:
        known = _core.scan_columns()
        chosen = known if columns is None else [columns] if isinstance(columns, str) else list(columns)
        if not chosen:
            raise ValueError("columns: there are no names; leave `columns` out for all columns")
        for number, name in enumerate(chosen):
            if name not in known:
                raise ValueError(f"columns: {unknown_name(str(name), known)}")
            if name in chosen[:number]:
                raise ValueError(f"columns: {name!r} is there twice")
        self.path = path
        self.columns = tuple(chosen)
        self._selection = selection
        self._refresh = refresh

    def __repr__(self) -> str:
        return f"<Scan of {str(self.path)!r}: {', '.join(self.columns)}>"

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Begin to read the events.

        Args:
            requested_schema: Not used: a consumer converts the types itself.

        Returns:
            A capsule with an Arrow C stream of batches of 65,536 rows, which can be read once.

        Raises:
            ValueError: A field of the filter is unknown.
            LedgerError: The ledger cannot be read.
        """
        self._refresh()
        return _core.scan_stream(self.path, self.columns, *self._selection, _ROWS)
