//! Numbers the texts of calls, and packs calls into blocks: those that this process writes, as it writes them, and those that others wrote,
//! from `calls`.

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::block::{self, CALLS, COUNTS, PLAIN, Packed, TEXTS};
use super::error::LedgerError;
use super::hours::token_columns;
use super::texts::{Texts, notes_text, tags_text};
use super::watch::Watch;
use crate::event::UsageEvent;
use crate::money::Usd;

/// An event whose texts have numbers.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) call: Packed,
    /// The number of the catalog entry, which blocks do not have.
    pub(super) priced_as: u32,
}

/// The numbers of texts, and the calls that a writer has written and that are in no block yet.
#[derive(Default)]
pub(super) struct Folder {
    texts: Texts,
    pending: Vec<Packed>,
    /// SQLite's count of the changes that other connections made, when `texts` and `pending` were right.
    others_changes: i64,
    /// The texts of the event before, by column: neighbours have most of them in common.
    before: [(String, u32); TEXTS.len() + 1],
}

impl Folder {
    /// Begins a transaction that adds events. What another connection has written since the last one may contradict what is kept here:
    /// it may even have restored a backup.
    pub(super) fn begin(&mut self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        let changes = transaction.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        if std::mem::replace(&mut self.others_changes, changes) != changes {
            self.clear();
        }
        Ok(())
    }

    /// Forgets everything, after a transaction failed.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.pending = Vec::new();
        self.before = Default::default();
    }

    /// Numbers the texts of an event, which is to get a sequence number. `saved` is what caching saved in it, and `before` the event before it.
    pub(super) fn number_texts(
        &mut self,
        transaction: &Transaction<'_>,
        seq: i64,
        event: &UsageEvent<'_>,
        saved: Option<Usd>,
        before: Option<&UsageEvent<'_>>,
    ) -> Result<Numbered, LedgerError> {
        let mut call = Packed {
            seq,
            started_at: event.started_at,
            counts: token_columns(event).map(|count| count.max(0) as u64),
            cost: event.cost,
            saved,
            latency_us: event.latency_us,
            ttft_us: event.ttft_us,
            ..Packed::default()
        };
        for (column, text) in plain_texts(event) {
            call.texts[column] = self.number(transaction, column, text)?;
        }
        call.texts[NOTES] = if before.is_some_and(|before| before.cost_notes == event.cost_notes) {
            self.before[NOTES].1
        } else {
            self.number(transaction, NOTES, &notes_text(event.cost_notes).unwrap_or_default())?
        };
        call.texts[TAGS] = if before.is_some_and(|before| before.attribution.tags == event.attribution.tags) {
            self.before[TAGS].1
        } else {
            self.number(transaction, TAGS, &tags_text(&event.attribution.tags).unwrap_or_default())?
        };
        let priced_as = self.number(transaction, PRICED_AS, event.priced_as.unwrap_or_default())?;
        Ok(Numbered { call, priced_as })
    }

    /// Keeps a call that was inserted, to pack it.
    pub(super) fn keep(&mut self, call: Packed) {
        self.pending.push(call);
    }

    fn number(&mut self, transaction: &Transaction<'_>, column: usize, text: &str) -> Result<u32, LedgerError> {
        let last = &mut self.before[column];
        if last.0 != text {
            let number = self.texts.number(transaction, text)?;
            last.0.clear();
            last.0.push_str(text);
            last.1 = number;
        }
        Ok(last.1)
    }

    /// Makes a block of the oldest calls that are in none, if there are at least `minimum` of them. Returns whether it did.
    pub(super) fn fold(&mut self, connection: &mut Connection, minimum: usize) -> Result<bool, LedgerError> {
        let last: i64 =
            connection.prepare_cached("SELECT ifnull(max(seq), 0) FROM calls")?.query_row((), |row| row.get(0))?;
        if last - block::covered(connection)? < minimum as i64 {
            return Ok(false);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.begin(&transaction)?;
        let covered = block::covered(&transaction)?;
        let is_all = self.pending.first().is_some_and(|call| call.seq == covered + 1)
            && self.pending.get(CALLS - 1).is_some_and(|call| call.seq == covered + CALLS as i64);
        if is_all {
            block::append(&transaction, &self.pending[..CALLS])?;
            self.pending.drain(..CALLS);
        } else {
            let calls = self.read(&transaction, covered)?;
            if calls.len() < minimum {
                return Ok(false);
            }
            block::append(&transaction, &calls)?;
            let end = calls.last().map_or(0, |call| call.seq);
            self.pending.retain(|call| call.seq > end);
        }
        transaction.commit()?;
        Ok(true)
    }

    /// The calls after a sequence number, from `calls`.
    fn read(&mut self, transaction: &Transaction<'_>, after: i64) -> Result<Vec<Packed>, LedgerError> {
        let query = format!(
            "SELECT seq, started_at, cost_usd, cache_saved_usd, latency_us, ttft_us, {}, {} FROM calls
            WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            COUNTS.join(", "),
            TEXTS.join(", ")
        );
        let mut select = transaction.prepare_cached(&query)?;
        let mut rows = select.query([after, CALLS as i64])?;
        let mut calls = Vec::with_capacity(CALLS);
        while let Some(row) = rows.next()? {
            let mut call = numbers(row)?;
            for (column, name) in TEXTS.iter().enumerate() {
                let value = row.get_ref(6 + COUNTS.len() + column)?;
                call.texts[column] = if PLAIN.contains(name) {
                    self.number(transaction, column, value.as_str().map_err(|_| LedgerError::BadBlock)?)?
                } else {
                    value.as_i64().ok().and_then(|number| number.try_into().ok()).ok_or(LedgerError::BadBlock)?
                };
            }
            calls.push(call);
        }
        Ok(calls)
    }
}

/// The columns whose texts are made from other values.
const NOTES: usize = 11;
const TAGS: usize = 18;
/// Where the text of the catalog entry is kept.
const PRICED_AS: usize = TEXTS.len();

/// Everything of a row but its texts.
fn numbers(row: &Row<'_>) -> Result<Packed, LedgerError> {
    let amount = |column| -> Result<Option<Usd>, LedgerError> {
        let text = row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        Ok(text.map(str::parse).transpose()?)
    };
    let microseconds = |column| row.get::<_, Option<i64>>(column).map(|us| us.map(|us| us.max(0) as u64));
    let mut call = Packed {
        seq: row.get(0)?,
        started_at: row.get::<_, i64>(1)?.max(0) as u64,
        cost: amount(2)?,
        saved: amount(3)?,
        latency_us: microseconds(4)?,
        ttft_us: microseconds(5)?,
        ..Packed::default()
    };
    for (index, count) in call.counts.iter_mut().enumerate() {
        *count = row.get::<_, i64>(6 + index)?.max(0) as u64;
    }
    Ok(call)
}

/// The texts of an event that need no conversion, by column.
fn plain_texts<'a>(event: &UsageEvent<'a>) -> [(usize, &'a str); 17] {
    let attribution = &event.attribution;
    let optional = Option::unwrap_or_default;
    [
        (0, event.provider),
        (1, event.model),
        (2, event.operation),
        (3, event.status.name()),
        (4, event.cost_status.name()),
        (5, event.usage_status.name()),
        (6, optional(event.error)),
        (7, optional(event.finish_reason)),
        (8, optional(event.service_tier)),
        (9, optional(event.region)),
        (10, optional(event.catalog)),
        (12, optional(attribution.agent)),
        (13, optional(attribution.feature)),
        (14, optional(attribution.team)),
        (15, optional(attribution.customer)),
        (16, optional(attribution.user)),
        (17, optional(attribution.session)),
    ]
}

/// Packs all calls that are in no block. The watch gets how many calls are packed and how many there are.
pub(super) fn fold_all(connection: &mut Connection, watch: &Watch) -> Result<(), LedgerError> {
    let mut folder = Folder::default();
    loop {
        let is_more = folder.fold(connection, 1)?;
        let last: i64 = connection.query_row("SELECT ifnull(max(seq), 0) FROM calls", (), |row| row.get(0))?;
        watch.note(block::covered(connection)?.max(0) as u64, last.max(0) as u64)?;
        if !is_more {
            return block::merge(connection, watch);
        }
    }
}
