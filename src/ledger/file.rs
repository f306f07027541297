//! A ledger's file and its write-ahead log: opened such that they belong together, and watched for being replaced.
//!
//! What can happen to an open ledger, and what is done about it before the next transaction:
//!
//! - **Moved**: renamed, deleted, or another file has its name. Its log is written back into it, so that a file that was moved is whole.
//! - **Its log was deleted**: likewise, unless another log has its place already.
//! - **Written over** in place (`cp backup ledger.db`): the header counts fewer changes than before. Its log is of what is gone.
//!
//! In each case it is opened anew, and a log that belongs to another file is set aside first (`ledger.db-wal.replaced-…`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use super::lease::{InUse, Leased};
use super::record::{Record, RecordFile, beside};
use super::schema;
use crate::sys::clock::unix_ns;
use crate::sys::fs::create_private_file;
use crate::sys::identity::FileIdentity;
use crate::sys::sqlite::{has_moved, stored_header};

/// A file that was written over is left alone for as long after its last change, for whatever copies it may not be done.
const SETTLED: Duration = Duration::from_secs(1);
/// How long writing a log back waits for other readers of a file that was replaced.
const LAST_CHECKPOINT_WAIT: Duration = Duration::from_millis(200);

/// What became of a file since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Current,
    Moved,
    LogDeleted,
    WrittenOver,
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
    /// Opens a ledger to write to, makes it when it is not there, and brings it to this version's schema. `replaced` is the log of the
    /// file that was open before.
    pub(super) fn open_to_write(path: &Path, replaced: Option<FileIdentity>) -> Result<Self, LedgerError> {
        let note = RecordFile::lock(path)?;
        let record = note.read();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut leased = connect(path, flags, record.as_ref(), replaced)?;
        let mut connection = leased.connection()?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        schema::migrate(&mut connection)?;
        drop(connection);
        let open = Self::new(path, leased)?;
        if record != Some(open.seen) {
            note.write(&open.seen)?;
        }
        Ok(open)
    }

    /// Opens a ledger that is there, to read it as it is; `None` when it has no tables yet.
    pub(super) fn open_to_read(path: &Path, replaced: Option<FileIdentity>) -> Result<Option<Self>, LedgerError> {
        let note = RecordFile::lock_existing(path);
        let record = note.as_ref().and_then(RecordFile::read);
        let open = |flags| {
            let mut leased = connect(path, flags, record.as_ref(), replaced)?;
            let has_tables = schema::has_tables(&*leased.connection()?)?;
            Ok::<_, LedgerError>((leased, has_tables))
        };
        // A reader of a write-ahead log has to write to the files beside it; a file on a read-only disk is read as it stands.
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
        // It may have been replaced while it was opened.
        if open.fate()? == Fate::Current { Ok(open) } else { Err(LedgerError::Replaced) }
    }

    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        self.leased.connection()
    }

    /// What was opened.
    pub(super) fn seen(&self) -> Record {
        self.seen
    }

    /// Whether the ledger is still the file that is open.
    pub(super) fn is_current(&mut self) -> Result<bool, LedgerError> {
        Ok(self.fate()? == Fate::Current)
    }

    fn fate(&mut self) -> Result<Fate, LedgerError> {
        let connection = self.leased.connection()?;
        if has_moved(&connection) || FileIdentity::of(&self.path) != Some(self.seen.file) {
            return Ok(Fate::Moved);
        }
        let of = |suffix| FileIdentity::of(&beside(&self.path, suffix));
        if (of("-wal"), of("-shm")) != (self.seen.log, self.shared_memory) {
            return Ok(Fate::LogDeleted);
        }
        let changes = changes_of(&connection);
        if changes < self.seen.changes {
            return Ok(Fate::WrittenOver);
        }
        if changes > self.seen.changes {
            self.seen.changes = changes;
            RecordFile::update(&self.path, &self.seen);
        }
        Ok(Fate::Current)
    }

    /// Gives the file up, when it is no longer the ledger, without harm to what has its name now. Returns the log that was open, which
    /// belongs to no other file.
    pub(super) fn retire(&mut self) -> Option<FileIdentity> {
        if self.is_retired {
            return self.seen.log;
        }
        let fate = self.fate().ok()?;
        if fate == Fate::Current {
            return None;
        }
        self.is_retired = true;
        let log = FileIdentity::of(&beside(&self.path, "-wal"));
        let connection = self.leased.connection().ok()?;
        if fate != Fate::WrittenOver && (log.is_none() || log == self.seen.log) {
            let _ = connection.busy_timeout(LAST_CHECKPOINT_WAIT);
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
        // Closing would write the log back, and delete whatever has its name.
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

/// Opens a connection after a log of another file was set aside.
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
    // Nothing was read yet, and so no log: this is the file alone.
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

/// Whether another process has opened the file with this log since, so that the log is the file's.
fn is_shared_with(record: Option<&Record>, file: Option<FileIdentity>, log: Option<FileIdentity>) -> bool {
    record.is_some_and(|record| Some(record.file) == file && record.log == log)
}

/// Makes the file. SQLite would let everybody read it. None is opened that exists, for closing it would drop the locks of another SQLite
/// in this process. A link to nowhere is refused; another process may have made the file meanwhile.
fn create(path: &Path) -> Result<(), LedgerError> {
    match create_private_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists || !path.exists() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Takes the log's name away, and deletes the index of it.
fn set_log_aside(path: &Path) -> Result<(), LedgerError> {
    let seconds = unix_ns() / 1_000_000_000;
    std::fs::rename(beside(path, "-wal"), beside(path, &format!("-wal.replaced-{seconds}")))?;
    match std::fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// How often the file was changed, as its header counts; 0 while it has no header.
fn changes_of(connection: &Connection) -> u32 {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let Some(header) = stored_header(connection).filter(|header| header.starts_with(MAGIC)) else { return 0 };
    u32::from_be_bytes([header[24], header[25], header[26], header[27]])
}

fn was_changed_lately(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|data| data.modified()).ok();
    changed.and_then(|time| time.elapsed().ok()).is_some_and(|age| age < SETTLED)
}

/// Whether a file cannot be opened to write, or the files beside it cannot.
fn is_unwritable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

/// Opens a file without a log, in a directory where none can be made, as one that nothing changes.
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
