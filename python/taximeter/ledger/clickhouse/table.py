"""The table in ClickHouse: its definition, its creation, and what can be wrong with it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ... import _core
from ...errors import ConfigError, LedgerError
from .server import Server

__all__ = ["Check", "Table", "ddl"]

SCHEMA: Final = 2
"""The number of the schema, in the comment of the table. A step that adds columns makes it one higher. 2: `cache_saved_usd`."""
_COMMENT: Final = "taximeter schema "
_OLDEST: Final = (23, 8)
"""The first version with `insert_deduplication_token` and its settings for materialized views, as this code sends them."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TTL: Final = re.compile(r"([1-9][0-9]{0,4})d")


class Check(NamedTuple):
    """One thing that was checked."""

    name: str
    is_well: bool | None
    """`None` for a note: worth knowing, and no fault."""
    detail: str


def ddl(database: str, table: str, *, cluster: str | None = None, ttl: str | None = None) -> str:
    """Return the statement that creates the table.

    Args:
        database: The name of the database.
        table: The name of the table.
        cluster: The name of a cluster with replicas, if there is one.
        ttl: How long calls are kept, as a number of days such as `400d`; by default for ever.

    Raises:
        ConfigError: An argument has another form.
    """
    for what, name in (("database", database), ("table", table), ("cluster", cluster)):
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(f"{what}: {name!r} is not a name; use letters, digits and _, and begin with no digit")
    kept = None if ttl is None else _TTL.fullmatch(ttl)
    if ttl is not None and kept is None:
        raise ConfigError(f"ttl: {ttl!r} is not a number of days such as 400d")
    columns = ",\n".join(f"    `{name}` {' '.join(filter(None, (kind, rest)))}" for name, kind, rest in _core.clickhouse_columns())
    where = f" ON CLUSTER `{cluster}`" if cluster else ""
    engine = "ReplicatedReplacingMergeTree" if cluster else "ReplacingMergeTree"
    # The server remembers the tokens of so many requests, to drop repeated ones. A replica forgets them after an hour by
    # default, which is shorter than an outage.
    settings = "replicated_deduplication_window_seconds = 604800" if cluster else "non_replicated_deduplication_window = 10000"
    lines = [
        f"CREATE TABLE IF NOT EXISTS `{database}`.`{table}`{where}\n(\n{columns}\n)",
        f"ENGINE = {engine}(revision)",
        "PARTITION BY toYYYYMM(started_at)",
        "PRIMARY KEY (toStartOfHour(started_at), provider, model)",
        "ORDER BY (toStartOfHour(started_at), provider, model, id)",
        *([f"TTL toDateTime(started_at) + INTERVAL {kept[1]} DAY"] if kept else []),
        f"SETTINGS {settings}",
        f"COMMENT '{_COMMENT}{SCHEMA}'",
    ]
    return "\n".join(lines)


class Table:
    """The table of a server.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self.server = server

    def version(self) -> str:
        """Return the version of the server.

        Raises:
            LedgerError: It is older than 23.8, or its version is unknown.
        """
        text = self.server.run("SELECT version()", uses_database=False).strip()
        found = re.match(r"(\d+)\.(\d+)\.", text)
        if found is None:
            raise LedgerError(f"{self.server}: {text[:40]!r} is not a version of ClickHouse; check the host and the port of the URL")
        if (int(found[1]), int(found[2])) < _OLDEST:
            raise LedgerError(f"{self.server}: ClickHouse {text} is too old; use 23.8 or newer")
        return text

    def create(self, *, cluster: str | None = None, ttl: str | None = None) -> list[str]:
        """Create the table, or bring it up to date. Return what was done, as sentences.

        Raises:
            LedgerError: The server is too old or refuses, or there is another table with this name.
            ConfigError: An argument has another form.
        """
        server = self.server
        statement = ddl(server.database, server.table, cluster=cluster, ttl=ttl)
        self.version()
        done = []
        where = f" ON CLUSTER `{cluster}`" if cluster else ""
        names = server.run(
            "SELECT name FROM system.databases WHERE name = {name:String} FORMAT TabSeparated",
            {"name": server.database},
            uses_database=False,
        )
        if not names.strip():
            server.run(f"CREATE DATABASE IF NOT EXISTS `{server.database}`{where}", uses_database=False)
            done.append(f"created the database {server.database}")
        if self._described() is None:
            server.run(statement)
            done.append(f"created the table {server.table}")
        self._upgrade(where, done)
        if wrong := self._differences():
            raise LedgerError(f"{server}: the table {server.table} has {'; '.join(wrong)}: alter it, or use another database")
        return done or [f"the table {server.table} is up to date"]

    def _upgrade(self, where: str, done: list[str]) -> None:
        """Add the columns that the table lacks: those of newer schemas, and deleted ones."""
        server = self.server
        engine, comment = self._described() or ("", "")
        if "ReplacingMergeTree" not in engine or not comment.startswith(_COMMENT):
            raise LedgerError(
                f"{server}: there is a table {server.table} that taximeter did not create ({engine or 'no engine'}): "
                "rename it, or use another database"
            )
        number = comment.removeprefix(_COMMENT).split()[0]
        if not number.isdigit() or int(number) > SCHEMA:
            raise LedgerError(f"{server}: a newer version of taximeter created the table, with schema {number}: use that version")
        existing = server.columns()
        for name, kind, rest in _core.clickhouse_columns():
            if name not in existing:
                server.run(f"ALTER TABLE `{server.table}`{where} ADD COLUMN IF NOT EXISTS `{name}` {kind} {rest}")
                done.append(f"added the column {name}")
        if int(number) < SCHEMA:
            server.run(f"ALTER TABLE `{server.table}`{where} MODIFY COMMENT '{_COMMENT}{SCHEMA}'")

    def _described(self) -> tuple[str, str] | None:
        """Return the engine and the comment of the table; `None` if there is no table."""
        found = self.server.rows(
            "SELECT engine, comment FROM system.tables WHERE database = {d:String} AND name = {t:String}",
            self._place(),
            width=2,
        )
        return next(((engine, comment) for engine, comment in found), None)

    def _place(self) -> dict[str, str]:
        return {"d": self.server.database, "t": self.server.table}

    def _differences(self) -> list[str]:
        """Return how the columns differ from those that are sent."""
        existing = self.server.columns()
        wrong = []
        for name, kind, _ in _core.clickhouse_columns():
            if name not in existing:
                wrong.append(f"no column {name}")
            elif existing[name] != kind:
                wrong.append(f"the type {existing[name]} instead of {kind} for {name}")
        return wrong

    def check(self) -> list[Check]:
        """Check the server and the table. What a user may not see is a note.

        Raises:
            LedgerError: The server does not answer, is too old, or there is no table.
        """
        server = self.server
        checks = [Check("server", True, f"ClickHouse {self.version()} at {server.host}")]
        described = self._described()
        if described is None:
            return [
                *checks,
                Check("table", False, f"{server.database} has no table {server.table}: run taximeter clickhouse init"),
            ]
        is_own = "ReplacingMergeTree" in described[0] and described[1].startswith(_COMMENT)
        checks.append(Check("table", is_own, f"{server.database}.{server.table}: {described[0]}, {described[1] or 'no comment'}"))
        wrong = self._differences()
        checks.append(Check("columns", not wrong, "; ".join(wrong) or f"{len(_core.clickhouse_columns())} of the right type"))
        if wrong or not is_own:
            return checks
        rows, unique, last = server.row(
            f"SELECT toString(count()), toString(uniqExact(id)), toString(max(started_at)) FROM `{server.table}`", width=3
        )
        repeated = int(rows) - int(unique)
        detail = f"{int(unique):,} calls; the last one began at {last} UTC" if int(unique) else "no calls yet"
        checks.append(Check("calls", True, detail))
        if repeated:
            checks.append(
                Check("repeats", None, f"{repeated:,} rows were sent again and wait for a merge; reports count each call once")
            )
        try:
            parts, size = server.row(
                "SELECT toString(count()), formatReadableSize(sum(bytes_on_disk)) FROM system.parts "
                "WHERE database = {d:String} AND table = {t:String} AND active",
                self._place(),
                width=2,
            )
            checks.append(Check("parts", True, f"{int(parts):,} with {size}"))
        except LedgerError:
            checks.append(Check("parts", None, "this user may not see them"))
        return checks
