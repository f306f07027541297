//! Why the ledger cannot be written or read.

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
    /// The file was replaced, moved or deleted in the middle of a transaction.
    #[error("the ledger file was replaced while it was written; the events are written again")]
    Replaced,
    /// The file was written over in place, a moment ago.
    #[error("the ledger file is being written over; events wait until that is done")]
    Overwritten,
    /// An SQLite database of something else.
    #[error("the file is an SQLite database, but no ledger")]
    Foreign,
    /// A report's own fault: the field and the rule.
    #[error("{0}")]
    Query(String),
    /// A stored amount is no decimal.
    #[error("a stored amount is damaged: {0}")]
    Amount(#[from] crate::money::AmountError),
}

impl LedgerError {
    /// Whether it passes soon by itself: another writer holds the file, or the file is being replaced.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match self {
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked)),
            // Another process is opening the file.
            Self::Directory(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            Self::Replaced | Self::Overwritten => true,
            _ => false,
        }
    }
}
