"""Converts ledgers to earlier schemas, for tests of upgrades."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["age"]

_TO_SCHEMA_7 = """
CREATE TEMP TABLE kept AS SELECT * FROM events ORDER BY seq;
DROP VIEW spend_by_attribution;
DROP VIEW events;
DROP TABLE calls;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started_at INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    operation TEXT NOT NULL, status TEXT NOT NULL, error TEXT, finish_reason TEXT, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, usage TEXT NOT NULL, usage_status TEXT NOT NULL, cost_usd TEXT, cost_status TEXT NOT NULL,
    computed_cost_usd TEXT, priced_as TEXT, catalog TEXT, latency_ms REAL, ttft_ms REAL, service_tier TEXT, region TEXT,
    batch INTEGER NOT NULL, agent TEXT, feature TEXT, team TEXT, customer TEXT, user TEXT, session TEXT, tags TEXT, trace_id TEXT,
    span_id TEXT, parent_span_id TEXT, cost_notes TEXT, provider_usage TEXT, call_id TEXT, cache_saved_usd TEXT);
INSERT INTO events SELECT * FROM kept;
CREATE INDEX events_by_time ON events (started_at);
CREATE VIEW spend_by_attribution AS SELECT customer AS value, count(*) AS calls FROM events GROUP BY customer;
"""


def age(ledger: Path, schema: int) -> None:
    """Convert a ledger to an earlier schema, from 1 to 7. Only the columns and tables that readers look for are taken away."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.executescript(_TO_SCHEMA_7)
        if schema < 7:
            connection.execute("DROP TABLE deleted_calls")
        if schema < 6:
            connection.execute("ALTER TABLE events DROP COLUMN cache_saved_usd")
        if schema < 5:
            connection.execute("DROP TABLE budget_spend")
        if schema < 4:
            connection.execute("ALTER TABLE events DROP COLUMN call_id")
        if schema < 3:
            connection.execute("ALTER TABLE events DROP COLUMN provider_usage")
        if schema < 2:
            connection.execute("ALTER TABLE events DROP COLUMN cost_notes")
            connection.execute("DROP TABLE repricings")
        connection.execute(f"PRAGMA user_version = {schema}")
