//! SQLite connections that are used only by the process that opened them.
//!
//! A forked child cannot use SQLite's state: see [`unusable_after_fork`].

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use super::functions;
use crate::sys::fork::fork_generation;
use crate::sys::sqlite::{SqliteUse, is_clean_child, protect_locks};

/// The number of open connections of this process.
static OPEN: AtomicU64 = AtomicU64::new(0);
/// The fork generation that opened the connections.
static OPENED_BY: AtomicU64 = AtomicU64::new(0);

/// Whether this process inherited an open ledger through a fork and therefore must not use SQLite.
///
/// SQLite keeps its file locks in process memory. A forked child gets a copy of that memory without holding the locks, and with mutexes
/// that may be locked. It must not use SQLite at all then, not even through a new connection. The exception is a fork that happened
/// while no thread was using SQLite: see [`is_clean_child`].
#[must_use]
pub fn unusable_after_fork() -> bool {
    let is_inherited = OPEN.load(Ordering::Acquire) > 0 && OPENED_BY.load(Ordering::Acquire) != fork_generation();
    is_inherited && !is_clean_child()
}

/// Counts a connection in [`OPEN`] from before it opens until after it has closed.
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

/// A connection in use. A fork waits until the use ends.
pub(super) struct InUse<'a> {
    connection: &'a mut Connection,
    _use: SqliteUse,
}

impl Deref for InUse<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl DerefMut for InUse<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection
    }
}

/// A connection, closed before its lease ends. A forked child leaks it instead, because closing it would lock SQLite's mutexes.
pub(super) struct Leased {
    /// `None` only during `drop`.
    connection: Option<Connection>,
    lease: Lease,
}

impl Drop for Leased {
    fn drop(&mut self) {
        let connection = self.connection.take();
        if self.is_ours() {
            let _use = SqliteUse::begin();
            drop(connection);
        } else {
            std::mem::forget(connection);
        }
    }
}

impl Leased {
    /// Whether this process opened the connection, as opposed to the process that forked it.
    pub(super) fn is_ours(&self) -> bool {
        self.lease.0 == fork_generation()
    }

    /// Borrows the connection for one use.
    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        if !self.is_ours() {
            return Err(LedgerError::Forked);
        }
        let connection = self.connection.as_mut().ok_or(LedgerError::Forked)?;
        Ok(InUse { _use: SqliteUse::begin(), connection })
    }

    /// How long a statement waits for a transaction of another process.
    const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

    pub(super) fn open(path: &Path, flags: OpenFlags) -> Result<Self, LedgerError> {
        let lease = Lease::take()?;
        protect_locks();
        let _use = SqliteUse::begin();
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Self::BUSY_TIMEOUT)?;
        functions::add(&connection)?;
        Ok(Self { connection: Some(connection), lease })
    }
}
