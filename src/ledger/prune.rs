//! Deletes calls: those before a time, or those of one customer. The sums of reports change in the same transactions, so that reports
//! agree at every moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::block;
use super::deleted;
use super::error::LedgerError;
use super::filter::Filter;
use super::fold::fold_all;
use super::hours::Hours;
use super::reprice::{Stored, read_page};
use super::watch::Watch;
use super::writer::Writer;

/// Calls per transaction. Other writers wait for it some 50 ms.
const PAGE: usize = 4_000;
/// Pages of the file that are given back per transaction: 4 MB.
const FREED: u32 = 1_000;
/// How long other writers have the file between two transactions, at least.
const PAUSE: Duration = Duration::from_millis(5);

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The number of calls.
    pub events: u64,
    /// The bytes of the file that are free and could not be given back.
    pub free_bytes: u64,
}

/// How long a deletion waits for another process's transaction. Many writers in turn can keep one out for longer than a single one does.
const PATIENCE: Duration = Duration::from_secs(30);

/// How calls are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Whether reports still count the calls.
    pub keeps_sums: bool,
    /// Whether the calls are only counted.
    pub is_dry_run: bool,
    /// Whether texts that only these calls have are deleted as well. What unused bytes of the file still have of them ends with a
    /// compaction.
    pub erases: bool,
}

impl Writer {
    /// Deletes the calls of a filter, in transactions between which other processes write.
    ///
    /// # Errors
    /// If the file cannot be read or written; [`LedgerError::Stopped`]. What was deleted before stays deleted, with its sums.
    pub fn prune(&mut self, filter: &Filter, pruning: Pruning, watch: &Arc<Watch>) -> Result<Pruned, LedgerError> {
        if !self.exists() {
            return Ok(Pruned::default());
        }
        // This writer may keep numbers of texts that are deleted, or calls to pack them later.
        self.close_idle();
        let mut connection = self.open_until(None, watch)?.connection()?;
        connection.busy_timeout(PATIENCE)?;
        if pruning.is_dry_run {
            return count(&connection, filter);
        }
        let total = count(&connection, filter)?.events;
        if pruning.keeps_sums {
            // Reports read the latest calls from their rows.
            fold_all(&mut connection, watch)?;
        }
        let (mut pruned, mut after) = (Pruned::default(), 0);
        loop {
            let begun = Instant::now();
            let Some((count, last)) = delete_page(&mut connection, filter, after, PAGE, pruning.keeps_sums)? else {
                break;
            };
            (pruned.events, after) = (pruned.events + count, last);
            watch.note(pruned.events, total)?;
            // As long as the transaction took, or a waiting writer would often find the next one in progress.
            std::thread::sleep(begun.elapsed().max(PAUSE));
        }
        block::merge(&mut connection, watch)?;
        if pruning.erases {
            delete_unused_texts(&mut connection)?;
        }
        pruned.free_bytes = give_back(&mut connection, watch)?;
        Ok(pruned)
    }

    /// Deletes at most `most` calls that began before a time, in nanoseconds since the Unix epoch. Returns how many it deleted.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn prune_some(&mut self, before: u64, most: usize) -> Result<u64, LedgerError> {
        let filter = Filter { until: Some(before), ..Filter::default() };
        let deleted = delete_page(&mut *self.connection()?, &filter, 0, most, false)?.map_or(0, |(count, _)| count);
        if deleted > 0 {
            // This writer may keep one of the calls in memory, to pack it later.
            self.close_idle();
        }
        Ok(deleted)
    }
}

/// How many calls a filter has.
fn count(connection: &Connection, filter: &Filter) -> Result<Pruned, LedgerError> {
    let mut values = Vec::new();
    let clause = filter.clause(&mut values);
    let query = format!("SELECT count(*) FROM events{clause}");
    let events = connection.query_row(&query, rusqlite::params_from_iter(values), |row| row.get::<_, i64>(0))?;
    Ok(Pruned { events: events.max(0) as u64, free_bytes: 0 })
}

/// Deletes the next calls after a sequence number. Returns how many there were and the number of the last one; `None` at the end.
fn delete_page(
    connection: &mut Connection,
    filter: &Filter,
    after: i64,
    most: usize,
    keeps_sums: bool,
) -> Result<Option<(u64, i64)>, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut page = read_page(&transaction, filter, after, most)?;
    if keeps_sums {
        // Reports read later calls from their rows only. Programs may have stored some since all were packed.
        let covered = block::covered(&transaction)?;
        page.retain(|stored| stored.seq <= covered);
    }
    let Some(last) = page.last().map(|stored| stored.seq) else { return Ok(None) };
    if !keeps_sums {
        forget(&transaction, &page)?;
    }
    let seqs: Vec<_> = page.iter().map(|stored| stored.seq).collect();
    deleted::keep(&transaction, &seqs, keeps_sums)?;
    let mut events = transaction.prepare_cached("DELETE FROM calls WHERE seq = ?1")?;
    let mut repricings = transaction.prepare_cached("DELETE FROM repricings WHERE id = ?1")?;
    for stored in &page {
        repricings.execute([&stored.id])?;
        events.execute([stored.seq])?;
    }
    drop((events, repricings));
    transaction.commit()?;
    Ok(Some((page.len() as u64, last)))
}

/// Subtracts calls from the sums.
fn forget(transaction: &Transaction<'_>, page: &[Stored]) -> Result<(), LedgerError> {
    let events: Vec<_> = page.iter().map(Stored::event).collect();
    let mut hours = Hours::default();
    for (event, stored) in events.iter().zip(page) {
        hours.add(event, stored.saved, -1);
    }
    hours.merge(transaction)?;
    let seqs: Vec<_> = page.iter().map(|stored| stored.seq).collect();
    block::change(transaction, &seqs, |_, _| false)?;
    transaction.execute("DELETE FROM hourly WHERE calls = 0", ())?;
    Ok(())
}

/// Deletes the texts that no call has, such as the name of a customer without calls.
fn delete_unused_texts(connection: &mut Connection) -> Result<(), LedgerError> {
    let last = |connection: &Connection, table: &str| {
        connection.query_row(&format!("SELECT ifnull(max(seq), 0) FROM {table}"), (), |row| row.get::<_, i64>(0))
    };
    // Blocks do not have the catalog entries. Reading those of all rows takes long, so the transaction reads only the new ones.
    let (call, repricing) = (last(connection, "calls")?, last(connection, "repricings")?);
    let mut used = numbers(connection, &["priced_as"], 0)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_as_before = last(&transaction, "repricings")? == repricing;
    used.extend(numbers(&transaction, &["priced_as"], if is_as_before { call } else { 0 })?);
    for one in block::all(&transaction)? {
        for column in 0..block::TEXTS.len() {
            used.extend(one.texts(&transaction, column)?.values);
        }
    }
    let columns: Vec<_> = block::TEXTS.into_iter().filter(|name| !block::PLAIN.contains(name)).collect();
    used.extend(numbers(&transaction, &columns, block::covered(&transaction)?)?);
    let mut select = transaction.prepare("SELECT id FROM texts")?;
    let all = select.query_map((), |row| row.get::<_, u32>(0))?.collect::<Result<Vec<_>, _>>()?;
    let highest = all.iter().max();
    let mut delete = transaction.prepare("DELETE FROM texts WHERE id = ?1")?;
    for unused in all.iter().filter(|number| !used.contains(number)) {
        if Some(unused) == highest {
            // Without this number, new texts would get numbers that others had, and exports keep texts by their numbers.
            transaction.execute("UPDATE texts SET hash = 0, text = '' WHERE id = ?1", [unused])?;
        } else {
            delete.execute([unused])?;
        }
    }
    drop((select, delete));
    Ok(transaction.commit()?)
}

/// The numbers of texts in columns of the calls after a sequence number.
fn numbers(connection: &Connection, columns: &[&str], after: i64) -> Result<HashSet<u32>, LedgerError> {
    let mut select = connection.prepare(&format!("SELECT {} FROM calls WHERE seq > ?1", columns.join(", ")))?;
    let (mut rows, mut found) = (select.query([after])?, HashSet::new());
    while let Some(row) = rows.next()? {
        for column in 0..columns.len() {
            found.extend(row.get::<_, Option<u32>>(column)?);
        }
    }
    Ok(found)
}

/// Gives unused pages of the file back, as far as the file allows that. Returns the bytes that are still unused.
fn give_back(connection: &mut Connection, watch: &Arc<Watch>) -> Result<u64, LedgerError> {
    let number = |connection: &Connection, name: &str| {
        connection
            .query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0))
            .map(|number| number.max(0) as u64)
    };
    loop {
        let before = number(connection, "freelist_count")?;
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({FREED})"))?;
        let left = number(connection, "freelist_count")?;
        if left == 0 || left == before {
            break;
        }
        watch.note(0, 0)?;
        std::thread::sleep(PAUSE);
    }
    // The file becomes smaller when the log is written back. A reader may prevent that now; then a later one does it.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    Ok(number(connection, "freelist_count")? * number(connection, "page_size")?)
}
