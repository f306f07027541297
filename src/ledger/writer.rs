//! Writes events to the ledger: one transaction per batch, each event once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::block;
use super::error::LedgerError;
use super::file::LedgerFile;
use super::fold::{Folder, fold_all};
use super::hours::Hours;
use super::insert::Insert;
use super::lease::InUse;
use super::spend::{Spending, Spends};
use super::watch::Watch;
use crate::event::{Savings, UsageEvent};
use crate::sys::fs::create_private_dir;
use crate::sys::identity::FileIdentity;

/// The pages of the write-ahead log that make SQLite move them to the file: its default, and more while a backlog is written. Then the
/// same pages change again in the next batches, and each move waits for the disk.
const CHECKPOINT_AFTER: u32 = 1_000;
const CHECKPOINT_AFTER_IN_BACKLOG: u32 = 8_000;
/// The events of a batch that is part of a backlog.
const BACKLOG: usize = 2_000;

/// How long a batch may go on to upgrade a file of an earlier version. Then its thread looks at what else it is asked for.
const UPGRADING: Duration = Duration::from_millis(500);
/// How long a batch may go on to pack calls of a file that another version or other processes wrote.
const FOLDING: Duration = Duration::from_millis(60);

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
    /// The limit that is set for the open file.
    checkpoint_after: u32,
    /// The log of a file that was replaced, until the new file is open.
    replaced: Option<FileIdentity>,
    /// Computes the budgets that an event counts for.
    spending: Option<Spending>,
    folder: Folder,
    /// Computes what caching saved in an event.
    savings: Option<Savings>,
    /// Why calls could not be packed after the last batch.
    unpacked: Option<String>,
}

impl Writer {
    /// A writer to the file at `path`. The first batch creates the file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            checkpoint_after: CHECKPOINT_AFTER,
            replaced: None,
            spending: None,
            folder: Folder::default(),
            savings: None,
            unpacked: None,
        }
    }

    /// The same writer, which also keeps what was spent of budgets.
    #[must_use]
    pub fn with_spending(self, spending: Option<Spending>) -> Self {
        Self { spending, ..self }
    }

    /// The same writer, which also keeps what caching saved.
    #[must_use]
    pub fn with_savings(self, savings: Option<Savings>) -> Self {
        Self { savings, ..self }
    }

    /// Closes the file until the next batch, so that a fork in between does not inherit it.
    pub fn close_idle(&mut self) {
        self.open = None;
        self.folder.clear();
    }

    /// Writes a batch: all of its events or, on an error, none.
    ///
    /// # Errors
    /// If the file cannot be opened or written: the disk is full, another process has a long transaction, or the file is damaged.
    pub fn write(&mut self, events: &[UsageEvent<'_>]) -> Result<Written, LedgerError> {
        let written = self.write_once(events);
        // If the file was replaced during the write, the caller writes the batch again, to the new file.
        let written = written.and_then(|written| {
            let is_kept = self.open.as_mut().map_or(Ok(false), LedgerFile::is_current)?;
            if is_kept { Ok(written) } else { Err(LedgerError::Replaced) }
        });
        if written.is_err() {
            // After any error, the next batch opens a new connection.
            self.folder.clear();
            self.replaced = self.open.take().and_then(|mut file| file.retire()).or(self.replaced);
        }
        written
    }

    fn write_once(&mut self, events: &[UsageEvent<'_>]) -> Result<Written, LedgerError> {
        if self.open.is_none() {
            self.checkpoint_after = CHECKPOINT_AFTER;
        }
        let (spending, savings) = (self.spending.clone(), self.savings.clone());
        let after = if events.len() >= BACKLOG { CHECKPOINT_AFTER_IN_BACKLOG } else { CHECKPOINT_AFTER };
        let is_same = std::mem::replace(&mut self.checkpoint_after, after) == after;
        let mut folder = std::mem::take(&mut self.folder);
        let file = self.open_until(Some(Instant::now() + UPGRADING), &Watch::default())?;
        let mut connection = file.connection()?;
        if !is_same {
            // The commit of this batch applies the new limit.
            connection.pragma_update(None, "wal_autocheckpoint", after)?;
        }
        let written = write_batch(&mut connection, events, spending.as_ref(), savings.as_ref(), &mut folder)?;
        // The batch is stored. If calls cannot be packed now, because another process writes, the next batch tries again.
        let begin = Instant::now();
        let mut outcome = Ok(true);
        while begin.elapsed() < FOLDING && matches!(outcome, Ok(true)) {
            outcome = folder.fold(&mut connection, block::CALLS);
        }
        drop(connection);
        self.unpacked = outcome.err().map(|error| error.to_string());
        if self.unpacked.is_some() {
            folder.clear();
        }
        self.folder = folder;
        Ok(written)
    }

    /// Why the calls of the last batch, which are stored, could not be packed; `None` if they could. Reports are slower until they are.
    #[must_use]
    pub fn unpacked(&self) -> Option<&str> {
        self.unpacked.as_deref()
    }

    /// Migrates the file, and packs all calls that are in no block, so that reports need not read the others.
    ///
    /// # Errors
    /// If the file cannot be read or written; [`LedgerError::Stopped`].
    pub fn pack(&mut self, watch: &Watch) -> Result<(), LedgerError> {
        if !self.exists() {
            return Ok(());
        }
        fold_all(&mut *self.open_until(None, watch)?.connection()?, watch)
    }

    /// Whether the file exists.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The open file, checked.
    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        self.open_until(None, &Watch::default())?.connection()
    }

    /// Opens the file, or checks the open one, and upgrades one of an earlier version until the time is over.
    pub(super) fn open_until(&mut self, until: Option<Instant>, watch: &Watch) -> Result<&mut LedgerFile, LedgerError> {
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
            let mut file = LedgerFile::open_to_write(&self.path, self.replaced)?;
            self.replaced = None;
            file.upgrade(until, watch)?;
            file
        };
        Ok(self.open.insert(file))
    }
}

fn write_batch(
    connection: &mut Connection,
    events: &[UsageEvent<'_>],
    spending: Option<&Spending>,
    savings: Option<&Savings>,
    folder: &mut Folder,
) -> Result<Written, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    folder.begin(&transaction)?;
    let mut written = Written::default();
    let (mut hours, mut spends) = (Hours::default(), Spends::default());
    let mut insert = Insert::new(&transaction)?;
    let (mut seq, mut before) = (last_seq(&transaction)? + 1, None);
    for event in events {
        let saved = savings.and_then(|savings| savings(event));
        let numbered = folder.number_texts(&transaction, seq, event, saved, before)?;
        let call = numbered.call.clone();
        before = Some(event);
        if insert.insert(event, numbered)? {
            written.new += 1;
            hours.add(event, saved, 1);
            folder.keep(call);
            seq += 1;
            if let Some(spending) = spending {
                spends.add(event, spending);
            }
        } else {
            written.known += 1;
        }
    }
    drop(insert);
    hours.merge(&transaction)?;
    spends.merge(&transaction)?;
    transaction.commit()?;
    Ok(written)
}

/// The last sequence number that was given. Deleted events do not give theirs back, because a block may still have it.
fn last_seq(transaction: &Transaction<'_>) -> Result<i64, LedgerError> {
    let last: i64 =
        transaction.prepare_cached("SELECT ifnull(max(seq), 0) FROM calls")?.query_row((), |row| row.get(0))?;
    Ok(last.max(block::covered(transaction)?))
}
