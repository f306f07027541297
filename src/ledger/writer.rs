//! Writes events to the ledger: one transaction per batch, each event once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::LedgerError;
use super::file::LedgerFile;
use super::lease::InUse;
use crate::event::id::id_text;
use crate::event::json::TagMap;
use crate::event::{CostNotes, Unit, UsageEvent};
use crate::money::Usd;
use crate::sys::fs::create_private_dir;
use crate::sys::identity::FileIdentity;

const INSERT: &str = "INSERT OR IGNORE INTO events (id, started_at, provider, model, operation, status, error, finish_reason,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage, usage_status,
    cost_usd, cost_status, computed_cost_usd, priced_as, catalog, latency_ms, ttft_ms, service_tier, region, batch,
    agent, feature, team, customer, user, session, tags, trace_id, span_id, parent_span_id,
    cost_notes, provider_usage)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
    ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37)";

const NANOSECONDS_PER_HOUR: u64 = 3_600_000_000_000;

/// The result of writing a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many events were added.
    pub new: u64,
    /// How many events were already stored.
    pub known: u64,
}

/// Writes events to a ledger file. The first batch opens the file; [`Writer::close_idle`] closes it.
pub struct Writer {
    path: PathBuf,
    open: Option<LedgerFile>,
    /// The log of a file that was replaced, until the new file is open.
    replaced: Option<FileIdentity>,
}

/// The key of a row in `hourly`.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct HourKey<'a> {
    dimension: &'static str,
    hour: u64,
    value: &'a str,
    provider: &'a str,
    model: &'a str,
    operation: &'a str,
    status: &'static str,
    cost_status: &'static str,
}

#[derive(Default)]
pub(super) struct HourSums {
    calls: i64,
    tokens: [i64; 5],
    cost: Usd,
}

pub(super) type Hours<'a> = HashMap<HourKey<'a>, HourSums>;

impl Writer {
    /// A writer to the file at `path`. The first batch creates the file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None, replaced: None }
    }

    /// Closes the file until the next batch, so that a fork in between does not inherit it.
    pub fn close_idle(&mut self) {
        self.open = None;
    }

    /// Writes a batch: all of its events or, on an error, none.
    ///
    /// # Errors
    /// If the file cannot be opened or written: the disk is full, another process has a long transaction, or the file is damaged.
    pub fn write(&mut self, events: &[UsageEvent<'_>]) -> Result<Written, LedgerError> {
        let written = self.connection().and_then(|mut connection| write_batch(&mut connection, events));
        // If the file was replaced during the write, the caller writes the batch again, to the new file.
        let written = written.and_then(|written| {
            let is_kept = self.open.as_mut().map_or(Ok(false), LedgerFile::is_current)?;
            if is_kept { Ok(written) } else { Err(LedgerError::Replaced) }
        });
        if written.is_err() {
            // After any error, the next batch opens a new connection.
            self.replaced = self.open.take().and_then(|mut file| file.retire()).or(self.replaced);
        }
        written
    }

    /// Whether the file exists.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        // Without this check, events could be written to a file that was deleted or replaced, and be lost with it.
        if let Some(file) = &mut self.open
            && !file.is_current()?
        {
            self.replaced = file.retire();
            self.open = None;
        }
        let file = if let Some(file) = self.open.take() {
            file
        } else {
            self.path.parent().map_or(Ok(()), create_private_dir)?;
            LedgerFile::open_to_write(&self.path, self.replaced)?
        };
        self.replaced = None;
        self.open.insert(file).connection()
    }
}

fn write_batch(connection: &mut Connection, events: &[UsageEvent<'_>]) -> Result<Written, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut written = Written::default();
    let mut sums = Hours::new();
    {
        let mut insert = transaction.prepare_cached(INSERT)?;
        for event in events {
            if insert_event(&mut insert, event)? {
                written.new += 1;
                add_to_hours(&mut sums, event, 1);
            } else {
                written.known += 1;
            }
        }
        merge_hours(&transaction, &sums)?;
    }
    transaction.commit()?;
    Ok(written)
}

/// The counts that have their own columns, in column order.
fn token_columns(event: &UsageEvent<'_>) -> [i64; 5] {
    [
        event.usage.count(Unit::INPUT_TOKENS) as i64,
        event.usage.count(Unit::OUTPUT_TOKENS) as i64,
        event.usage.count(Unit::CACHE_READ_TOKENS) as i64,
        event.usage.count(Unit::CACHE_WRITE_TOKENS) as i64,
        event.usage.count(Unit::REASONING_TOKENS) as i64,
    ]
}

/// The names of the remarks, separated by commas; `None` if there are none.
pub(super) fn notes_text(notes: CostNotes) -> Option<String> {
    (!notes.is_empty()).then(|| notes.names().collect::<Vec<_>>().join(","))
}

fn insert_event(insert: &mut CachedStatement<'_>, event: &UsageEvent<'_>) -> Result<bool, LedgerError> {
    let tokens = token_columns(event);
    let usage = serde_json::to_string(&event.usage).unwrap_or_default();
    let attribution = &event.attribution;
    let tags =
        (!attribution.tags.is_empty()).then(|| serde_json::to_string(&TagMap(&attribution.tags)).unwrap_or_default());
    let milliseconds = |us: Option<u64>| us.map(|us| us as f64 / 1000.0);
    let inserted = insert.execute(params![
        id_text(event.id),
        event.started_at as i64,
        event.provider,
        event.model,
        event.operation,
        event.status.name(),
        event.error,
        event.finish_reason,
        tokens[0],
        tokens[1],
        tokens[2],
        tokens[3],
        tokens[4],
        usage,
        event.usage_status.name(),
        event.cost.map(|cost| cost.to_string()),
        event.cost_status.name(),
        event.computed_cost.map(|cost| cost.to_string()),
        event.priced_as,
        event.catalog,
        milliseconds(event.latency_us),
        milliseconds(event.ttft_us),
        event.service_tier,
        event.region,
        event.batch,
        attribution.agent,
        attribution.feature,
        attribution.team,
        attribution.customer,
        attribution.user,
        attribution.session,
        tags,
        event.trace_id,
        event.span_id,
        event.parent_span_id,
        notes_text(event.cost_notes),
        event.provider_usage,
    ])?;
    Ok(inserted == 1)
}

/// Adds an event to the sums of its hour (`times` 1), or subtracts it (`times` -1).
pub(super) fn add_to_hours<'a>(sums: &mut Hours<'a>, event: &UsageEvent<'a>, times: i64) {
    let attribution = &event.attribution;
    let tokens = token_columns(event);
    for (dimension, value) in [
        ("", Some("")),
        ("agent", attribution.agent),
        ("feature", attribution.feature),
        ("team", attribution.team),
        ("customer", attribution.customer),
    ] {
        // Calls without a value are kept under '', so that a report by this dimension shows what is unattributed.
        let sum = sums
            .entry(HourKey {
                dimension,
                hour: event.started_at / NANOSECONDS_PER_HOUR,
                value: value.unwrap_or_default(),
                provider: event.provider,
                model: event.model,
                operation: event.operation,
                status: event.status.name(),
                cost_status: event.cost_status.name(),
            })
            .or_default();
        sum.calls += times;
        sum.tokens.iter_mut().zip(tokens).for_each(|(total, count)| *total += times * count);
        let cost = event.cost.unwrap_or_default().units();
        sum.cost = sum.cost + Usd::from_units(i128::from(times) * cost);
    }
}

pub(super) fn merge_hours(transaction: &Transaction<'_>, sums: &Hours<'_>) -> Result<(), LedgerError> {
    let mut known = transaction.prepare_cached(
        "SELECT cost_usd FROM hourly WHERE dimension = ?1 AND hour = ?2 AND value = ?3 AND provider = ?4 AND model = ?5
            AND operation = ?6 AND status = ?7 AND cost_status = ?8",
    )?;
    // SQLite cannot add decimal texts exactly, so Rust adds the costs and SQL adds the rest.
    let mut merge = transaction.prepare_cached(
        "INSERT INTO hourly VALUES (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
        ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
            cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, cost_usd = excluded.cost_usd",
    )?;
    for (key, sum) in sums {
        let hour = key.hour as i64;
        let so_far: Option<String> = known
            .query_row(
                params![
                    key.dimension,
                    hour,
                    key.value,
                    key.provider,
                    key.model,
                    key.operation,
                    key.status,
                    key.cost_status
                ],
                |row| row.get(0),
            )
            .optional()?;
        let cost = so_far.map_or(Ok(Usd::ZERO), |text| text.parse())? + sum.cost;
        let [input, output, cache_read, cache_write, reasoning] = sum.tokens;
        merge.execute(params![
            key.dimension,
            hour,
            key.value,
            key.provider,
            key.model,
            key.operation,
            key.status,
            key.cost_status,
            sum.calls,
            input,
            output,
            cache_read,
            cache_write,
            reasoning,
            cost.to_string(),
        ])?;
    }
    Ok(())
}
