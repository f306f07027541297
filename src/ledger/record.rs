//! The note beside a ledger that says which write-ahead log belongs to it.
//!
//! SQLite takes whatever lies at `ledger.db-wal` for the log of `ledger.db`. After a file was put in the ledger's place, that is the log
//! of the file before, and reading it would damage the new one. `ledger.db-files` says which two files were open together, so that a
//! log of another file is known for one.
//!
//! Its lock is held while the file is opened, so that of several processes one sets a log aside.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{append_private, is_linked, open_private};
use crate::sys::identity::FileIdentity;
use crate::sys::private::PrivateFile;

/// How long an open waits for another process's.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Files that were open together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The ledger's file.
    pub(super) file: FileIdentity,
    /// Its write-ahead log.
    pub(super) log: Option<FileIdentity>,
    /// How often the file was changed, as its header counts. SQLite only ever adds to it.
    pub(super) changes: u32,
}

/// The note, locked until it is dropped.
pub(super) struct RecordFile(PrivateFile);

/// A file that belongs to a ledger: its path with `suffix` added.
pub(super) fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl RecordFile {
    /// Locks the note of a ledger, and makes it when it is not there.
    ///
    /// # Errors
    /// Those of the operating system; `WouldBlock` when another process keeps it locked.
    pub(super) fn lock(ledger: &Path) -> io::Result<Self> {
        let path = beside(ledger, "-files");
        Self::lock_with(LOCK_WAIT, || append_private(&path))
    }

    /// Locks the note of a ledger; `None` when it is not there or cannot be written, as on a disk that is read-only.
    pub(super) fn lock_existing(ledger: &Path) -> Option<Self> {
        let path = beside(ledger, "-files");
        Self::lock_with(LOCK_WAIT, || open_private(&path, true)).ok()
    }

    /// Notes that the file of a record has changed, when the note is of that file and no other process has it.
    pub(super) fn update(ledger: &Path, record: &Record) {
        let path = beside(ledger, "-files");
        if let Ok(note) = Self::lock_with(Duration::ZERO, || open_private(&path, true))
            && note.read().is_some_and(|known| (known.file, known.log) == (record.file, record.log))
        {
            // One that cannot be written now is written with the next change.
            let _ = note.write(record);
        }
    }

    fn lock_with(patience: Duration, open: impl Fn() -> io::Result<File>) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let private = PrivateFile::open(&open)?;
            let file = private.file()?;
            match file.try_lock() {
                // Something may have deleted it meanwhile.
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

    /// What it says; `None` when it says nothing that can be read.
    pub(super) fn read(&self) -> Option<Record> {
        let mut file = self.0.file().ok()?;
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes what was opened.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = self.0.file()?;
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}
