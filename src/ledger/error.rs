//! The errors of the ledger.

/// Why the ledger cannot be read or written.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum LedgerError {
    /// An error of SQLite.
    #[error("the ledger cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The directory does not belong to this user only, or the file cannot be created.
    #[error("the ledger cannot be used: {0}")]
    Directory(#[from] std::io::Error),
    /// A newer version of this library created the file.
    #[error("the ledger has schema {found}; this version knows up to {known}")]
    Newer {
        /// The schema of the file.
        found: u32,
        /// The latest schema of this version.
        known: u32,
    },
    /// The parent process had the ledger open when it forked this process.
    #[error("the ledger was open in the parent process when it forked this one; read the ledger in another process")]
    Forked,
    /// The file was replaced, moved or deleted during a transaction.
    #[error("the ledger file was replaced during a write; the events will be written again")]
    Replaced,
    /// The file was overwritten in place less than a second ago.
    #[error("the ledger file is being overwritten; events wait until that is finished")]
    Overwritten,
    /// An earlier version made the file, and it is being upgraded.
    #[error("the ledger is being upgraded: {done} of {total} calls; events wait until that is finished")]
    Upgrading {
        /// The calls that are copied.
        done: u64,
        /// All calls.
        total: u64,
    },
    /// The file is an SQLite database of another application.
    #[error("the file is an SQLite database, but not a ledger")]
    Foreign,
    /// SQLite's check found damage: its first finding.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// The operation took longer than it may.
    #[error("stopped, because it took longer than allowed; raise the timeout")]
    TimedOut,
    /// The caller stopped the operation.
    #[error("stopped before the end")]
    Stopped,
    /// An argument of a report is invalid: the field and the rule.
    #[error("{0}")]
    Query(String),
    /// A block of columns does not have its form.
    #[error("the ledger is damaged: a block of packed calls is unreadable")]
    BadBlock,
    /// A stored amount is not a decimal.
    #[error("a stored amount is invalid: {0}")]
    Amount(#[from] crate::money::AmountError),
}

impl LedgerError {
    /// Whether a retry may soon succeed, because another writer holds the file or the file is being replaced.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match self {
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)),
            // Another process is opening the file.
            Self::Directory(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            Self::Replaced | Self::Overwritten | Self::Upgrading { .. } => true,
            _ => false,
        }
    }
}
