//! Opens a ledger's file with the write-ahead log that belongs to it, and detects when the file is replaced.
//!
//! Each of these can happen to an open ledger, and is handled before the next transaction:
//!
//! - **Moved**: the file was renamed or deleted, or its path names another file. The log is written back into the old file, so that a
//!   moved file is complete.
//! - **Log deleted**: the log is written back in the same way, unless another log has its name.
//! - **Overwritten** in place (`cp backup ledger.db`): the header counts fewer changes than before. The log is discarded, because it
//!   belongs to the old content.
//!
//! In each case the ledger is opened again. A log that belongs to another file is renamed first (`ledger.db-wal.replaced-…`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use super::lease::{InUse, Leased};
use super::record::{Record, RecordFile, beside};
use super::schema;
use super::upgrade::{Upgrade, upgrade};
use super::watch::Watch;
use crate::sys::clock::unix_ns;
use crate::sys::fs::create_private_file;
use crate::sys::identity::FileIdentity;
use crate::sys::sqlite::{has_moved, stored_header};

/// An overwritten file is not opened until it has not changed for this long, because the copy may not be finished.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the last checkpoint of a replaced file waits for other readers of it.
const LAST_CHECKPOINT_WAIT: Duration = Duration::from_millis(200);

/// What happened to an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileState {
    Current,
    Moved,
    LogDeleted,
    Overwritten,
}

/// An open ledger file.
pub(super) struct LedgerFile {
    path: PathBuf,
    leased: Leased,
    seen: Record,
    shared_memory: Option<FileIdentity>,
    is_retired: bool,
}

impl LedgerFile {
    /// Opens a ledger to write. Creates the file if it does not exist. A file of an earlier version needs [`Self::upgrade`] before it is
    /// written. `replaced` is the log of the file that was open before.
    pub(super) fn open_to_write(path: &Path, replaced: Option<FileIdentity>) -> Result<Self, LedgerError> {
        let record_file = RecordFile::lock(path)?;
        let record = record_file.read();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut leased = connect(path, flags, record.as_ref(), replaced)?;
        let mut connection = leased.connection()?;
        // Only for a new file: pages that a pruning has freed can be given back without writing the file anew.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        schema::migrate(&mut connection)?;
        drop(connection);
        let open = Self::new(path, leased)?;
        if record != Some(open.seen) {
            record_file.write(&open.seen)?;
        }
        Ok(open)
    }

    /// Opens an existing ledger to read, without changing it; `None` if it has no tables yet.
    pub(super) fn open_to_read(path: &Path, replaced: Option<FileIdentity>) -> Result<Option<Self>, LedgerError> {
        let record_file = RecordFile::lock_existing(path);
        let record = record_file.as_ref().and_then(RecordFile::read);
        let open = |flags| {
            let mut leased = connect(path, flags, record.as_ref(), replaced)?;
            let has_tables = schema::has_tables(&*leased.connection()?)?;
            Ok::<_, LedgerError>((leased, has_tables))
        };
        // Reading a database in WAL mode requires writing to the files beside it. On a read-only disk, the file is read without them.
        let (leased, has_tables) = match open(OpenFlags::SQLITE_OPEN_READ_WRITE) {
            Err(LedgerError::Sqlite(error)) if is_unwritable(&error) => {
                open(OpenFlags::SQLITE_OPEN_READ_ONLY).or_else(|_| read_unchanging(path))?
            }
            outcome => outcome?,
        };
        if has_tables { Self::new(path, leased).map(Some) } else { Ok(None) }
    }

    fn new(path: &Path, mut leased: Leased) -> Result<Self, LedgerError> {
        let changes = changes_of(&*leased.connection()?);
        let file = FileIdentity::of(path).ok_or(LedgerError::Replaced)?;
        let seen = Record { file, log: FileIdentity::of(&beside(path, "-wal")), changes };
        let shared_memory = FileIdentity::of(&beside(path, "-shm"));
        let mut open = Self { path: path.to_owned(), leased, seen, shared_memory, is_retired: false };
        // The file may have been replaced while it was opened.
        if open.state()? == FileState::Current { Ok(open) } else { Err(LedgerError::Replaced) }
    }

    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        self.leased.connection()
    }

    /// Goes on with the upgrade of a file of an earlier version until it is done or the time is over.
    pub(super) fn upgrade(&mut self, until: Option<Instant>, watch: &Watch) -> Result<(), LedgerError> {
        match upgrade(&mut *self.connection()?, until, watch)? {
            Upgrade::Done => Ok(()),
            Upgrade::Reached(done, total) => {
                Err(LedgerError::Upgrading { done: done.max(0) as u64, total: total.max(0) as u64 })
            }
        }
    }

    /// The identities of the open files.
    pub(super) fn seen(&self) -> Record {
        self.seen
    }

    /// Whether the open file is still the ledger.
    pub(super) fn is_current(&mut self) -> Result<bool, LedgerError> {
        Ok(self.state()? == FileState::Current)
    }

    fn state(&mut self) -> Result<FileState, LedgerError> {
        let connection = self.leased.connection()?;
        if has_moved(&connection) || FileIdentity::of(&self.path) != Some(self.seen.file) {
            return Ok(FileState::Moved);
        }
        let of = |suffix| FileIdentity::of(&beside(&self.path, suffix));
        if (of("-wal"), of("-shm")) != (self.seen.log, self.shared_memory) {
            return Ok(FileState::LogDeleted);
        }
        let changes = changes_of(&connection);
        if changes < self.seen.changes {
            return Ok(FileState::Overwritten);
        }
        if changes > self.seen.changes {
            self.seen.changes = changes;
            RecordFile::update(&self.path, &self.seen);
        }
        Ok(FileState::Current)
    }

    /// Prepares to close a file that is no longer the ledger, without damage to the files that now have its names. Returns the log that was
    /// open, which belongs to no other file.
    pub(super) fn retire(&mut self) -> Option<FileIdentity> {
        if self.is_retired {
            return self.seen.log;
        }
        let state = self.state().ok()?;
        if state == FileState::Current {
            return None;
        }
        self.is_retired = true;
        let log = FileIdentity::of(&beside(&self.path, "-wal"));
        let connection = self.leased.connection().ok()?;
        if state != FileState::Overwritten && (log.is_none() || log == self.seen.log) {
            let _ = connection.busy_timeout(LAST_CHECKPOINT_WAIT);
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        // Without this, closing would write the log back and delete the file that now has its name.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.seen.log
    }
}

impl Drop for LedgerFile {
    fn drop(&mut self) {
        if self.leased.is_ours() {
            self.retire();
        }
    }
}

/// Opens a connection, after renaming a log that belongs to another file.
fn connect(
    path: &Path,
    flags: OpenFlags,
    record: Option<&Record>,
    replaced: Option<FileIdentity>,
) -> Result<Leased, LedgerError> {
    let (file, log) = (FileIdentity::of(path), FileIdentity::of(&beside(path, "-wal")));
    let known = record.filter(|record| record.log == log && log.is_some_and(|log| log.is_unique()));
    let is_of_another = log.is_some() && (log == replaced || known.is_some_and(|record| Some(record.file) != file));
    if is_of_another && !is_shared_with(record, file, log) {
        set_log_aside(path)?;
    }
    if file.is_none() && flags.contains(OpenFlags::SQLITE_OPEN_CREATE) {
        create(path)?;
    }
    let mut leased = Leased::open(path, flags)?;
    let Some(record) = record.filter(|record| Some(record.file) == file) else { return Ok(leased) };
    // Nothing was read through SQLite yet, so the log is not part of it: this is the counter in the file itself.
    if changes_of(&*leased.connection()?) >= record.changes {
        return Ok(leased);
    }
    if was_changed_lately(path) {
        return Err(LedgerError::Overwritten);
    }
    if known.is_some() {
        drop(leased);
        set_log_aside(path)?;
        leased = Leased::open(path, flags)?;
    }
    Ok(leased)
}

/// Whether another process has since opened the file with this log, so that the log belongs to the file.
fn is_shared_with(record: Option<&Record>, file: Option<FileIdentity>, log: Option<FileIdentity>) -> bool {
    record.is_some_and(|record| Some(record.file) == file && record.log == log)
}

/// Creates the file, because SQLite would create it readable by everyone. An existing file is not opened here, because closing it would
/// release the locks of other SQLite connections in this process. A dangling link is an error; a file that another process has created
/// in the meantime is not.
fn create(path: &Path) -> Result<(), LedgerError> {
    match create_private_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists || !path.exists() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Renames the log and deletes its index.
fn set_log_aside(path: &Path) -> Result<(), LedgerError> {
    let seconds = unix_ns() / 1_000_000_000;
    std::fs::rename(beside(path, "-wal"), beside(path, &format!("-wal.replaced-{seconds}")))?;
    match std::fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The file change counter in the header of the database file; 0 while the file has no header.
fn changes_of(connection: &Connection) -> u32 {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let Some(header) = stored_header(connection).filter(|header| header.starts_with(MAGIC)) else { return 0 };
    u32::from_be_bytes([header[24], header[25], header[26], header[27]])
}

fn was_changed_lately(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|data| data.modified()).ok();
    changed.and_then(|time| time.elapsed().ok()).is_some_and(|age| age < SETTLED)
}

/// Whether SQLite cannot write the database file or create its `-wal` and `-shm` files.
fn is_unwritable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

/// Opens a file that has no `-wal` file as immutable. The directory allows no new files, so SQLite cannot create a log.
fn read_unchanging(path: &Path) -> Result<(Leased, bool), LedgerError> {
    if beside(path, "-wal").exists() {
        return Err(rusqlite::Error::InvalidPath(path.to_owned()).into());
    }
    let text = path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let mut leased = Leased::open(Path::new(&format!("file:{escaped}?immutable=1")), flags)?;
    let has_tables = schema::has_tables(&*leased.connection()?)?;
    Ok((leased, has_tables))
}
