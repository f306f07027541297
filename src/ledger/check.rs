//! Checks a ledger, and makes its file as small as its content.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::error::LedgerError;
use super::file::LedgerFile;
use super::fold::fold_all;
use super::reader::Reader;
use super::watch::Watch;
use crate::sys::fs::path_metadata;

/// The most faults that SQLite's check lists.
const MOST_FAULTS: u32 = 20;
/// How long the compaction waits for another process's transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is damaged.
    pub faults: Vec<String>,
    /// Whether the check came to its end in its time.
    pub is_complete: bool,
    /// The number of events.
    pub events: u64,
    /// The bytes of the file.
    pub bytes: u64,
    /// The bytes of its unused pages.
    pub free_bytes: u64,
}

/// What a compaction changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The bytes of the file before.
    pub before: u64,
    /// Its bytes now.
    pub after: u64,
}

impl Reader {
    /// Checks the structure of the file. A thorough check also compares the indexes with the tables.
    ///
    /// # Errors
    /// If the file is not a ledger or cannot be read; [`LedgerError::Stopped`].
    pub fn check(&mut self, is_thorough: bool, watch: &Arc<Watch>) -> Result<Checked, LedgerError> {
        self.refresh()?;
        let mut connection = self.connection()?;
        let mut checked = Checked { is_complete: true, ..Checked::default() };
        checked.events = connection.query_row("SELECT count(*) FROM events", (), |row| row.get::<_, i64>(0))? as u64;
        let page = number(&connection, "page_size")?;
        checked.bytes = page * number(&connection, "page_count")?;
        checked.free_bytes = page * number(&connection, "freelist_count")?;
        watch.guard(&mut connection)?;
        let name = if is_thorough { "integrity_check" } else { "quick_check" };
        match faults(&connection, &format!("PRAGMA {name}({MOST_FAULTS})")) {
            Ok(found) => checked.faults = found,
            Err(error) => match watch.explain(error) {
                LedgerError::TimedOut => checked.is_complete = false,
                other => return Err(other),
            },
        }
        Ok(checked)
    }
}

fn number(connection: &Connection, pragma: &str) -> Result<u64, LedgerError> {
    Ok(connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get::<_, i64>(0))? as u64)
}

fn faults(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(check)?;
    let found = statement.query_map((), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().filter(|verdict| verdict != "ok").collect())
}

/// Packs all calls, and writes the file anew, without unused pages. Needs as much space again for that time. Writers wait, and their events with them.
///
/// # Errors
/// If there is no ledger, or if it cannot be written; [`LedgerError::Stopped`]. Then the file is as before.
pub fn compact(ledger: &Path, watch: &Arc<Watch>) -> Result<Compacted, LedgerError> {
    let size = || path_metadata(ledger).map(|data| data.len());
    let Ok(before) = size() else {
        return Err(LedgerError::Query(format!("there is no ledger at {}", ledger.display())));
    };
    let mut file = LedgerFile::open_to_write(ledger, None)?;
    file.connection()?.busy_timeout(PATIENCE)?;
    file.upgrade(None, watch)?;
    let mut connection = file.connection()?;
    fold_all(&mut connection, watch)?;
    watch.guard(&mut connection)?;
    connection.execute_batch("PRAGMA auto_vacuum = incremental; VACUUM").map_err(|error| watch.explain(error))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    drop(connection);
    drop(file);
    Ok(Compacted { before, after: size()? })
}
