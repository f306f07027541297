//! The file beside a ledger that records which write-ahead log belongs to the ledger.
//!
//! SQLite uses any file named `ledger.db-wal` as the log of `ledger.db`. After another file was put in the ledger's place, that log still
//! belongs to the previous file, and applying it would damage the new one. `ledger.db-files` records which two files were open together,
//! so that a log of another file is recognized.
//!
//! The file is locked while a ledger is opened, so that only one process renames a log.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{append_private, is_linked, open_private};
use crate::sys::identity::FileIdentity;
use crate::sys::private::PrivateFile;

/// How long opening a ledger waits for another process that is opening it.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A ledger file and a log that were open together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The ledger's file.
    pub(super) file: FileIdentity,
    /// Its write-ahead log.
    pub(super) log: Option<FileIdentity>,
    /// The change counter in the file's header. SQLite only ever increases it.
    pub(super) changes: u32,
}

/// The record file, locked until it is dropped.
pub(super) struct RecordFile(PrivateFile);

/// The path of a file that belongs to a ledger: the ledger's path with `suffix` appended.
pub(super) fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl RecordFile {
    /// Locks the record file of a ledger. Creates it if it does not exist.
    ///
    /// # Errors
    /// I/O errors; `WouldBlock` if another process keeps the file locked.
    pub(super) fn lock(ledger: &Path) -> io::Result<Self> {
        let path = beside(ledger, "-files");
        Self::lock_with(LOCK_WAIT, || append_private(&path))
    }

    /// Locks the record file of a ledger; `None` if it does not exist or is not writable, as on a read-only disk.
    pub(super) fn lock_existing(ledger: &Path) -> Option<Self> {
        let path = beside(ledger, "-files");
        Self::lock_with(LOCK_WAIT, || open_private(&path, true)).ok()
    }

    /// Records a new change counter, if the record is about the same files and no other process holds the lock.
    pub(super) fn update(ledger: &Path, record: &Record) {
        let path = beside(ledger, "-files");
        if let Ok(record_file) = Self::lock_with(Duration::ZERO, || open_private(&path, true))
            && record_file.read().is_some_and(|known| (known.file, known.log) == (record.file, record.log))
        {
            // A failure is harmless: the next change writes the record again.
            let _ = record_file.write(record);
        }
    }

    fn lock_with(patience: Duration, open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let private = PrivateFile::open(&open)?;
            let file = private.file()?;
            match file.try_lock() {
                // Another process may have deleted the file before it was locked.
                Ok(()) if is_linked(file) => return Ok(Self(private)),
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is opening the ledger"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
            }
        }
    }

    /// The record in the file; `None` if it is empty or unreadable.
    pub(super) fn read(&self) -> Option<Record> {
        let mut file = self.0.file().ok()?;
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Replaces the record in the file.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = self.0.file()?;
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}
