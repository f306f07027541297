//! The ledger: the embedded destination, one SQLite file that reports, the command line and any SQL tool read.
//!
//! Several processes write one file. An event is there once, whoever delivers it how often: its id decides. Amounts are decimal
//! text, so that nothing is rounded; `hourly` keeps sums beside the events, in the same transaction, so that the usual reports
//! do not read every event. The schema is in [`schema`] and documented in `docs/ledger.md`.
//!
//! SQLite's state does not survive a fork: see [`is_open_elsewhere`].

mod read;
mod report;
mod reprice;
mod schema;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use read::{Filter, Reader};
pub use report::{Dimension, ReportRow, Totals};
pub use reprice::{NewPrice, Repriced, RepricedModel};
pub use writer::Writer;

use crate::sys::fork::fork_generation;
use crate::sys::sqlite::protect_locks;

/// Why the ledger cannot be written or read.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum LedgerError {
    /// SQLite's own.
    #[error("the ledger cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Its directory is not this user's own, or the file cannot be made.
    #[error("the ledger cannot be used: {0}")]
    Directory(#[from] std::io::Error),
    /// A later version made it.
    #[error("the ledger has schema {found}; this version knows up to {known}")]
    Newer {
        /// The schema of the file.
        found: u32,
        /// The latest schema of this version.
        known: u32,
    },
    /// The parent of this process had it open when it forked.
    #[error("the ledger was open in the parent process when this one was forked; read it in another process")]
    Forked,
    /// A report's own fault: the field and the rule.
    #[error("{0}")]
    Query(String),
    /// A stored amount is no decimal.
    #[error("a stored amount is damaged: {0}")]
    Amount(#[from] crate::money::AmountError),
}

impl LedgerError {
    /// Whether another writer holds the file: it is free again soon.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        matches!(self, Self::Sqlite(error) if matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)))
    }
}

/// Open connections of this process, and the fork generation that opened the first of them.
static OPEN: AtomicU64 = AtomicU64::new(0);
static OPENED_BY: AtomicU64 = AtomicU64::new(0);

/// Whether this process inherited an open ledger by a fork.
///
/// SQLite keeps its file locks in process memory. A fork copies them without holding them, and with whatever mutex was taken at
/// that moment, so a child of a process with an open connection must not use SQLite at all, not even with a new connection.
#[must_use]
pub fn is_open_elsewhere() -> bool {
    OPEN.load(Ordering::Acquire) > 0 && OPENED_BY.load(Ordering::Acquire) != fork_generation()
}

/// Counts a connection from before it opens until after it closed.
struct Lease(u64);

impl Lease {
    fn take() -> Result<Self, LedgerError> {
        if is_open_elsewhere() {
            return Err(LedgerError::Forked);
        }
        let generation = fork_generation();
        OPENED_BY.store(generation, Ordering::Release);
        OPEN.fetch_add(1, Ordering::AcqRel);
        Ok(Self(generation))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0 == fork_generation() {
            OPEN.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A connection, closed before its lease ends; in a forked child it is left alone instead, for closing it takes SQLite's mutexes.
struct Leased {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    lease: Lease,
}

impl Drop for Leased {
    fn drop(&mut self) {
        let connection = self.connection.take();
        if !self.is_ours() {
            std::mem::forget(connection);
        }
    }
}

impl Leased {
    /// Whether this process opened it, and not one that it was forked from.
    fn is_ours(&self) -> bool {
        self.lease.0 == fork_generation()
    }

    fn connection(&mut self) -> Result<&mut Connection, LedgerError> {
        if !self.is_ours() {
            return Err(LedgerError::Forked);
        }
        self.connection.as_mut().ok_or(LedgerError::Forked)
    }

    /// How long a statement waits for another process's transaction.
    const BUSY: Duration = Duration::from_secs(2);

    fn open(path: &Path, flags: OpenFlags) -> Result<Self, LedgerError> {
        let lease = Lease::take()?;
        protect_locks();
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Self::BUSY)?;
        Ok(Self { connection: Some(connection), lease })
    }
}
