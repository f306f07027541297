//! File locks that end with the process that holds them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::fs::{append_private, create_private_file, is_linked, open_private};
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

/// A file that processes lock in turns, for an operation on other files. Threads of one process exclude each other with a mutex.
///
/// The lock ends with its process, also if it is killed. A child that is forked during an operation does not keep it.
pub struct TurnLock(PrivateFile);

impl TurnLock {
    /// Opens the file. Creates it if it does not exist.
    ///
    /// # Errors
    /// Those of [`append_private`].
    pub fn open(path: &Path) -> io::Result<Self> {
        PrivateFile::open(|| append_private(path)).map(Self)
    }

    /// Whether the file is still open in this process.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.file().is_ok()
    }

    /// Takes the lock without waiting; `None` if another process has it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn try_take(&self) -> io::Result<Option<Turn<'_>>> {
        Ok(lock_for_process(self.0.file()?)?.then_some(Turn(self)))
    }
}

/// The right of an operation. Dropping it ends the operation.
pub struct Turn<'a>(&'a TurnLock);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // In a child that was forked during the operation, the file is not open.
        let Some(file) = self.0.0.same_file() else { return };
        if super::ofd::unlock(file).is_err() {
            unlock_record(file);
        }
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

#[cfg(unix)]
fn unlock_record(file: &File) {
    let _ = rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingUnlock);
}

#[cfg(not(unix))]
fn unlock_record(file: &File) {
    let _ = file.unlock();
}

#[cfg(not(unix))]
fn lock_record(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}
