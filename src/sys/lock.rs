//! File locks that end with the process that holds them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::fs::{create_private_file, is_linked, open_private};
use super::private::PrivateFile;

/// A file that only this process has locked. The lock ends when the value is dropped or the process ends in any way.
///
/// On Linux this is a lock of the open file description. Nothing else in the process can release it, whereas a POSIX record lock is
/// released when, for example, a backup thread opens and closes the file. Forked children do not keep it: see [`PrivateFile`]. The
/// two kinds exclude each other, so processes of earlier versions respect the lock.
///
/// On other Unix systems, and if the kernel does not support such locks, this is a POSIX record lock. Closing any other handle of the
/// file in this process releases it.
pub struct ProcessLock(PrivateFile);

impl ProcessLock {
    /// Creates a file and locks it; `None` if another process locked it first.
    ///
    /// # Errors
    /// I/O errors, also if the file exists.
    pub fn create(path: &Path) -> io::Result<Option<Self>> {
        Self::take(|| create_private_file(path))
    }

    /// Locks an existing file without waiting; `None` if another process has locked it.
    ///
    /// # Errors
    /// Those of [`open_private`].
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        Self::take(|| open_private(path, true))
    }

    fn take(open: impl FnOnce() -> io::Result<File>) -> io::Result<Option<Self>> {
        let file = PrivateFile::open(open)?;
        Ok(lock_for_process(file.file()?)?.then_some(Self(file)))
    }

    /// Whether the file is still open and still has a name.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.0.file().is_ok_and(is_linked)
    }
}

/// Locks a file for this process without waiting; `false` if another process has locked it.
fn lock_for_process(file: &File) -> io::Result<bool> {
    match super::ofd::lock(file) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => lock_record(file),
        outcome => outcome,
    }
}

#[cfg(unix)]
fn lock_record(file: &File) -> io::Result<bool> {
    use rustix::io::Errno;
    match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn lock_record(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}
