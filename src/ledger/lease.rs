//! Connections that know which process opened them.
//!
//! SQLite's state does not survive a fork: see [`unusable_after_fork`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use crate::sys::fork::fork_generation;
use crate::sys::sqlite::protect_locks;

/// Open connections of this process, and the fork generation that opened the first of them.
static OPEN: AtomicU64 = AtomicU64::new(0);
static OPENED_BY: AtomicU64 = AtomicU64::new(0);

/// Whether this process inherited an open ledger by a fork.
///
/// SQLite keeps its file locks in process memory. A fork copies them without holding them, and with whatever mutex was taken at
/// that moment, so a child of a process with an open connection must not use SQLite at all, not even with a new connection.
#[must_use]
pub fn unusable_after_fork() -> bool {
    OPEN.load(Ordering::Acquire) > 0 && OPENED_BY.load(Ordering::Acquire) != fork_generation()
}

/// Counts a connection from before it opens until after it closed.
struct Lease(u64);

impl Lease {
    fn take() -> Result<Self, LedgerError> {
        if unusable_after_fork() {
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
pub(super) struct Leased {
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
    pub(super) fn is_ours(&self) -> bool {
        self.lease.0 == fork_generation()
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, LedgerError> {
        if !self.is_ours() {
            return Err(LedgerError::Forked);
        }
        self.connection.as_mut().ok_or(LedgerError::Forked)
    }

    /// How long a statement waits for another process's transaction.
    const BUSY: Duration = Duration::from_secs(2);

    pub(super) fn open(path: &Path, flags: OpenFlags) -> Result<Self, LedgerError> {
        let lease = Lease::take()?;
        protect_locks();
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Self::BUSY)?;
        Ok(Self { connection: Some(connection), lease })
    }
}
