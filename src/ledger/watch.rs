//! The progress of a long operation, and the request to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::LedgerError;

/// SQLite's instructions between two looks at the watch: some 10 µs.
const INSTRUCTIONS: i32 = 2_000;

/// The progress of a long operation, shared by the thread that runs it and the thread that waits for it.
#[derive(Debug, Default)]
pub struct Watch {
    is_stopped: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    deadline: Option<Instant>,
}

impl Watch {
    /// A watch that also stops the operation after so many seconds from now; `None` is no limit.
    #[must_use]
    pub fn within(seconds: Option<f64>) -> Self {
        let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self { deadline: limit.and_then(|limit| Instant::now().checked_add(limit)), ..Self::default() }
    }

    /// Asks the operation to stop.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Whether the operation has to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire) || self.is_late()
    }

    /// Whether the time of the operation is over.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// How much is done, and how much there is, in a unit of the operation; 0 of 0 before it is known.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// # Errors
    /// [`LedgerError::TimedOut`] or [`LedgerError::Stopped`] if the operation has to stop.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        if self.is_over() { Err(self.reason()) } else { Ok(()) }
    }

    /// Notes progress.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`] if the operation has to stop.
    pub(super) fn note(&self, done: u64, total: u64) -> Result<(), LedgerError> {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.check()
    }

    /// Why the operation has to stop.
    pub(super) fn reason(&self) -> LedgerError {
        if self.is_late() { LedgerError::TimedOut } else { LedgerError::Stopped }
    }

    /// Lets the watch interrupt the statements of a connection.
    pub(super) fn guard(self: &Arc<Self>, connection: &mut Connection) -> Result<(), LedgerError> {
        let watch = Arc::clone(self);
        Ok(connection.progress_handler(INSTRUCTIONS, Some(move || watch.is_over()))?)
    }

    /// The reason why the watch stopped what failed with this error, or the error itself.
    #[must_use]
    pub fn explained(&self, error: LedgerError) -> LedgerError {
        match error {
            LedgerError::Sqlite(error) => self.explain(error),
            other => other,
        }
    }

    /// The error of a statement, or the reason why the watch interrupted it.
    pub(super) fn explain(&self, error: rusqlite::Error) -> LedgerError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => self.reason(),
            _ => error.into(),
        }
    }
}
