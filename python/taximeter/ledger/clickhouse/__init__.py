"""The ledger in ClickHouse: the same reports as those of the SQLite file, and the table itself."""

from __future__ import annotations

from .copy import copy
from .reader import ClickHouseReader
from .server import Server, destination_of
from .table import Check, Table, ddl

__all__ = ["Check", "ClickHouseReader", "Server", "Table", "copy", "ddl", "destination_of"]
