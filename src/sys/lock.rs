//! Locks of files, which end with the process that holds them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::fs::{create_private_file, is_linked, open_private};
use super::private::PrivateFile;

/// A file that this process, and no other, has locked. The lock ends when it is dropped and when the process ends, however it ends.
///
/// On Linux it is a lock of the open file description, which no other part of the process can drop: with a POSIX record lock, a
/// backup thread that opens and closes the file would. No forked child keeps it: see [`PrivateFile`]. The two kinds exclude each
/// other, so processes of earlier versions respect it.
///
/// On other Unix systems, and where the kernel does not know such locks, it is a POSIX record lock: closing any other handle of the
/// file in this process drops it.
pub struct ProcessLock(PrivateFile);

impl ProcessLock {
    /// Makes a file and locks it; `None` when another process was quicker to lock it.
    ///
    /// # Errors
    /// Those of the operating system; the file must not exist.
    pub fn create(path: &Path) -> io::Result<Option<Self>> {
        Self::take(|| create_private_file(path))
    }

    /// Locks a file that exists, without waiting; `None` when another process has it.
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

    /// Whether the file still has a name, and is still open.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.0.file().is_ok_and(is_linked)
    }
}

/// Takes the lock of a file for this process, without waiting; `false` when another process has it.
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
