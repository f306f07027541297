//! The schema and its history. A released step never changes; a new one is appended.

use rusqlite::{Connection, TransactionBehavior};

use super::error::LedgerError;

/// The steps from an empty file to the current schema. `PRAGMA user_version` counts the steps that a file has had.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,            -- order of arrival
    id TEXT NOT NULL UNIQUE,            -- UUID version 7
    started_at INTEGER NOT NULL,        -- nanoseconds since 1970, UTC
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    status TEXT NOT NULL,               -- success | error
    error TEXT,                         -- class of the exception
    finish_reason TEXT,
    input_tokens INTEGER NOT NULL,      -- all of them, cached ones included
    output_tokens INTEGER NOT NULL,     -- all of them, reasoning included
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    usage TEXT NOT NULL,                -- every unit, as JSON
    usage_status TEXT NOT NULL,         -- complete | partial | missing
    cost_usd TEXT,                      -- exact decimal; NULL is unknown
    cost_status TEXT NOT NULL,          -- priced | free | reported | manual | unpriced
    computed_cost_usd TEXT,             -- what the catalog says, beside a reported cost
    priced_as TEXT,                     -- provider/model of the catalog entry
    catalog TEXT,
    latency_ms REAL,
    ttft_ms REAL,
    service_tier TEXT,
    region TEXT,
    batch INTEGER NOT NULL,
    agent TEXT, feature TEXT, team TEXT, customer TEXT, user TEXT, session TEXT,
    tags TEXT,                          -- JSON object
    trace_id TEXT, span_id TEXT, parent_span_id TEXT
);
CREATE INDEX events_by_time ON events (started_at);

-- Sums by hour: of everything (dimension ''), and by each value of agent, feature, team and customer.
CREATE TABLE hourly (
    hour INTEGER NOT NULL,              -- hours since 1970, UTC
    dimension TEXT NOT NULL,
    value TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    status TEXT NOT NULL,
    cost_status TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_usd TEXT NOT NULL,             -- exact decimal, of the calls whose cost is known
    PRIMARY KEY (dimension, hour, value, provider, model, operation, status, cost_status)
) WITHOUT ROWID;

-- For SQL tools. SQLite has no decimals, so these sums are floating point; taximeter's own reports are exact.
CREATE VIEW spend_by_day AS
SELECT date(hour * 3600, 'unixepoch') AS day, provider, model, sum(calls) AS calls,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(CAST(cost_usd AS REAL)) AS cost_usd,
       sum(iif(cost_status = 'unpriced', calls, 0)) AS unpriced
FROM hourly WHERE dimension = '' GROUP BY day, provider, model;
CREATE VIEW spend_by_attribution AS
SELECT dimension, value, model, sum(calls) AS calls,
       sum(CAST(cost_usd AS REAL)) AS cost_usd, sum(iif(cost_status = 'unpriced', calls, 0)) AS unpriced
FROM hourly WHERE dimension <> '' GROUP BY dimension, value, model;
",
    "
ALTER TABLE events ADD COLUMN cost_notes TEXT;  -- names by comma: what to know about the computed cost

-- Figures that `taximeter reprice` replaced: what events said before.
CREATE TABLE repricings (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,                   -- the event's
    repriced_at INTEGER NOT NULL,       -- nanoseconds since 1970, UTC
    cost_usd TEXT,
    cost_status TEXT NOT NULL,
    computed_cost_usd TEXT,
    cost_notes TEXT,
    priced_as TEXT,
    catalog TEXT
);
CREATE INDEX repricings_by_event ON repricings (id);
",
    "
ALTER TABLE events ADD COLUMN provider_usage TEXT;  -- the provider's own report of usage, as JSON; kept when asked
",
    "
ALTER TABLE events ADD COLUMN call_id TEXT;  -- shared by the requests of one call of a client
",
    "
-- What was spent of budgets: their state is rebuilt from it after a reboot.
CREATE TABLE budget_spend (
    budget TEXT NOT NULL,
    period INTEGER NOT NULL,            -- its start, or that of a part of a rolling one: seconds since 1970, UTC
    key TEXT NOT NULL,                  -- the values of the budget's dimensions, as a JSON list
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,            -- input and output
    cost_usd TEXT NOT NULL,             -- exact decimal, of the calls whose cost is known
    unpriced INTEGER NOT NULL,          -- calls whose cost is unknown
    PRIMARY KEY (budget, period, key)
) WITHOUT ROWID;
",
    "
ALTER TABLE events ADD COLUMN cache_saved_usd TEXT;  -- what caching saved; may be negative; NULL if no cache was used or it is unknown
CREATE INDEX events_failed ON events (started_at) WHERE status = 'error';
CREATE INDEX events_unpriced ON events (started_at) WHERE cost_status = 'unpriced';

-- The columns that reports need of consecutive calls, packed: see src/ledger/block.rs.
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL,              -- FNV-1a, 32 bits
    text TEXT NOT NULL
);
CREATE INDEX texts_by_hash ON texts (hash);
CREATE TABLE blocks (
    block INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL UNIQUE,
    calls INTEGER NOT NULL,
    since INTEGER NOT NULL,             -- the first and the last started_at
    until INTEGER NOT NULL
);
CREATE TABLE block_columns (
    key INTEGER PRIMARY KEY,            -- the number of the block times 64, plus that of the column
    data BLOB NOT NULL
);

-- Sums by hour, of everything. Sums by attribution did not condense the calls of many customers.
DROP VIEW spend_by_day;
DROP VIEW spend_by_attribution;
ALTER TABLE hourly RENAME TO hourly_5;
CREATE TABLE hourly (
    hour INTEGER NOT NULL,              -- hours since 1970, UTC
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    status TEXT NOT NULL,
    cost_status TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_usd TEXT NOT NULL,             -- exact decimal, of the calls whose cost is known
    cache_saved_usd TEXT NOT NULL,      -- exact decimal, of the calls of which it is known
    PRIMARY KEY (hour, provider, model, operation, status, cost_status)
) WITHOUT ROWID;
INSERT INTO hourly SELECT hour, provider, model, operation, status, cost_status, calls, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd, '0' FROM hourly_5 WHERE dimension = '';
DROP TABLE hourly_5;

-- For SQL tools. SQLite has no decimals, so these sums are floating point; taximeter's own reports are exact.
CREATE VIEW spend_by_day AS
SELECT date(hour * 3600, 'unixepoch') AS day, provider, model, sum(calls) AS calls,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(CAST(cost_usd AS REAL)) AS cost_usd,
       sum(iif(cost_status = 'unpriced', calls, 0)) AS unpriced
FROM hourly GROUP BY day, provider, model;
CREATE VIEW spend_by_attribution AS
SELECT dimension, value, model, count(*) AS calls, sum(CAST(cost_usd AS REAL)) AS cost_usd,
       sum(cost_status = 'unpriced') AS unpriced
FROM (SELECT 'agent' AS dimension, ifnull(agent, '') AS value, model, cost_usd, cost_status FROM events
    UNION ALL SELECT 'feature', ifnull(feature, ''), model, cost_usd, cost_status FROM events
    UNION ALL SELECT 'team', ifnull(team, ''), model, cost_usd, cost_status FROM events
    UNION ALL SELECT 'customer', ifnull(customer, ''), model, cost_usd, cost_status FROM events)
GROUP BY dimension, value, model;
",
    "
-- The sums of deleted calls, which the counters of metrics still count: see src/ledger/deleted.rs.
CREATE TABLE deleted_calls (
    labels TEXT PRIMARY KEY,            -- a JSON list: provider, model, operation, status, agent, feature, team, service_tier, region,
                                        -- error, usage_status, finish_reason
    first_seq INTEGER NOT NULL,         -- of the first of these calls
    calls INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,          -- calls whose cost was unknown when they were recorded
    unpriced_correction INTEGER NOT NULL, -- what repricing has changed of their number
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_usd TEXT NOT NULL,             -- exact decimal, as first recorded, of the calls whose cost was known
    correction_usd TEXT NOT NULL,       -- what repricing has changed of it
    cache_saved_usd TEXT,               -- NULL if it is unknown
    latency TEXT NOT NULL,              -- a JSON object: calls by bucket, eight an octave from 1 µs on
    ttft TEXT NOT NULL
) WITHOUT ROWID;
",
    r#"
-- The calls are in `calls` now (see CALLS), and `events` is a view with the same columns.
DROP TABLE events;
DROP TABLE IF EXISTS events_changed;
DROP TRIGGER IF EXISTS texts_kept;
CREATE VIEW events AS SELECT
    seq, id, started_at,
    ifnull((SELECT text FROM texts WHERE texts.id = calls.provider), '') AS provider,
    ifnull((SELECT text FROM texts WHERE texts.id = calls.model), '') AS model,
    ifnull((SELECT text FROM texts WHERE texts.id = calls.operation), '') AS operation,
    status,
    (SELECT text FROM texts WHERE texts.id = calls.error) AS error,
    (SELECT text FROM texts WHERE texts.id = calls.finish_reason) AS finish_reason,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    ifnull(usage, '{' || substr(
        iif(input_tokens, ',"input_tokens":' || input_tokens, '') ||
        iif(output_tokens, ',"output_tokens":' || output_tokens, '') ||
        iif(cache_read_tokens, ',"cache_read_tokens":' || cache_read_tokens, '') ||
        iif(cache_write_tokens, ',"cache_write_tokens":' || cache_write_tokens, '') ||
        iif(reasoning_tokens, ',"output_reasoning_tokens":' || reasoning_tokens, ''), 2) || '}') AS usage,
    ifnull((SELECT text FROM texts WHERE texts.id = calls.usage_status), '') AS usage_status,
    cost_usd, cost_status, computed_cost_usd,
    (SELECT text FROM texts WHERE texts.id = calls.priced_as) AS priced_as,
    (SELECT text FROM texts WHERE texts.id = calls.catalog) AS catalog,
    latency_us / 1000.0 AS latency_ms, ttft_us / 1000.0 AS ttft_ms,
    (SELECT text FROM texts WHERE texts.id = calls.service_tier) AS service_tier,
    (SELECT text FROM texts WHERE texts.id = calls.region) AS region,
    batch,
    (SELECT text FROM texts WHERE texts.id = calls.agent) AS agent,
    (SELECT text FROM texts WHERE texts.id = calls.feature) AS feature,
    (SELECT text FROM texts WHERE texts.id = calls.team) AS team,
    (SELECT text FROM texts WHERE texts.id = calls.customer) AS customer,
    (SELECT text FROM texts WHERE texts.id = calls.user) AS user,
    (SELECT text FROM texts WHERE texts.id = calls.session) AS session,
    (SELECT text FROM texts WHERE texts.id = calls.tags) AS tags,
    trace_id, span_id, parent_span_id,
    (SELECT text FROM texts WHERE texts.id = calls.cost_notes) AS cost_notes,
    provider_usage, call_id, cache_saved_usd
FROM calls;
CREATE TRIGGER events_delete INSTEAD OF DELETE ON events BEGIN DELETE FROM calls WHERE seq = OLD.seq; END;

DROP VIEW spend_by_attribution;
CREATE VIEW spend_by_attribution AS
SELECT dimension, ifnull((SELECT text FROM texts WHERE id = value_number), '') AS value,
       ifnull((SELECT text FROM texts WHERE id = model_number), '') AS model, calls, cost_usd, unpriced
FROM (SELECT 'agent' AS dimension, agent AS value_number, model AS model_number, count(*) AS calls,
             sum(CAST(cost_usd AS REAL)) AS cost_usd, sum(cost_status = 'unpriced') AS unpriced FROM calls GROUP BY agent, model
    UNION ALL SELECT 'feature', feature, model, count(*), sum(CAST(cost_usd AS REAL)), sum(cost_status = 'unpriced')
        FROM calls GROUP BY feature, model
    UNION ALL SELECT 'team', team, model, count(*), sum(CAST(cost_usd AS REAL)), sum(cost_status = 'unpriced')
        FROM calls GROUP BY team, model
    UNION ALL SELECT 'customer', customer, model, count(*), sum(CAST(cost_usd AS REAL)), sum(cost_status = 'unpriced')
        FROM calls GROUP BY customer, model);
"#,
];

/// The table of the step after [`BEFORE_CALLS`], which an upgrade fills before that step: see `upgrade.rs`.
///
/// Most texts are numbers of `texts`; 0 is an absent one. The two by which indexes select calls stay texts, so that SQLite uses these
/// indexes for the view as well. Lookups by `id` go through the view, too.
pub(super) const CALLS: &str = "
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY,            -- order of arrival
    id TEXT NOT NULL UNIQUE,            -- UUID version 7
    started_at INTEGER NOT NULL,        -- nanoseconds since 1970, UTC
    status TEXT NOT NULL,
    cost_status TEXT NOT NULL,
    provider INTEGER, model INTEGER, operation INTEGER, usage_status INTEGER, error INTEGER, finish_reason INTEGER,
    service_tier INTEGER, region INTEGER, catalog INTEGER, cost_notes INTEGER,
    agent INTEGER, feature INTEGER, team INTEGER, customer INTEGER, user INTEGER, session INTEGER, tags INTEGER,
    priced_as INTEGER,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
    cost_usd TEXT,                      -- exact decimals
    cache_saved_usd TEXT,
    computed_cost_usd TEXT,
    latency_us INTEGER,                 -- microseconds
    ttft_us INTEGER,
    batch INTEGER NOT NULL,
    usage TEXT,                         -- NULL if it has only the five counts above, none of them 0
    trace_id TEXT, span_id TEXT, parent_span_id TEXT, call_id TEXT,
    provider_usage TEXT
);
CREATE INDEX calls_by_time ON calls (started_at);
CREATE INDEX calls_failed ON calls (started_at) WHERE status = 'error';
CREATE INDEX calls_unpriced ON calls (started_at) WHERE cost_status = 'unpriced';
";

/// The last schema in which `events` is a table. An upgrade leads to the later ones.
pub(super) const BEFORE_CALLS: u32 = 7;

/// The number of the file's schema.
pub(super) fn version(connection: &Connection) -> Result<u32, LedgerError> {
    Ok(connection.prepare_cached("PRAGMA user_version")?.query_row((), |row| row.get(0))?)
}

/// Makes a new file's tables, and takes the quick steps of an older one. Those from [`BEFORE_CALLS`] on follow an upgrade: see `upgrade.rs`.
/// Several processes may do this at the same time.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let known = STEPS.len() as u32;
    if [BEFORE_CALLS, known].contains(&version(connection)?) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > known {
        return Err(LedgerError::Newer { found, known });
    }
    if found == 0 && has_anything(&transaction)? {
        return Err(LedgerError::Foreign);
    }
    for step in STEPS.iter().take(BEFORE_CALLS as usize).skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    if found == 0 {
        transaction.execute_batch(CALLS)?;
    }
    if found == 0 || found > BEFORE_CALLS {
        finish(&transaction, found.max(BEFORE_CALLS))?;
    } else {
        transaction.pragma_update(None, "user_version", BEFORE_CALLS)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Takes the steps after `found`, from [`BEFORE_CALLS`] on. `calls` has all calls.
pub(super) fn finish(transaction: &Connection, found: u32) -> Result<(), LedgerError> {
    STEPS.iter().skip(found as usize).try_for_each(|step| transaction.execute_batch(step))?;
    Ok(transaction.pragma_update(None, "user_version", STEPS.len() as u32)?)
}

/// Whether a file has tables; `false` if it is empty. A file with an older schema is read as it is: fields that it lacks are absent.
///
/// # Errors
/// If a newer version or another application created the file.
pub(super) fn has_tables(connection: &Connection) -> Result<bool, LedgerError> {
    let version = version(connection)?;
    let known = STEPS.len() as u32;
    if version > known {
        return Err(LedgerError::Newer { found: version, known });
    }
    if version == 0 {
        return if has_anything(connection)? { Err(LedgerError::Foreign) } else { Ok(false) };
    }
    Ok(true)
}

/// Whether the file's schema has `texts` and `blocks`.
pub(super) fn has_blocks(connection: &Connection) -> Result<bool, LedgerError> {
    /// The schema in which they came.
    const BLOCKS: u32 = 6;
    Ok(version(connection)? >= BLOCKS)
}

/// Whether the file has the table `calls`, and `events` is a view of it. If not, `events` is a table: an upgrade may be filling `calls`.
pub(super) fn has_calls(connection: &Connection) -> Result<bool, LedgerError> {
    Ok(version(connection)? > BEFORE_CALLS)
}

fn has_anything(connection: &Connection) -> Result<bool, LedgerError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master)", (), |row| row.get(0))?)
}
