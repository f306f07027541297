//! Locks of files, which end with the process that holds them.

use std::fs::File;
use std::io;

/// Takes the lock of a file for this process, without waiting; `false` when another process has it.
///
/// On Unix a record lock (`fcntl`): unlike `flock` it is not inherited by a fork, so a child that never learns of the journal
/// cannot keep a dead parent's journal from being adopted. It ends with the process, or when the process closes any handle of
/// the file; so a process never opens its own lock file twice.
///
/// # Errors
/// Those of the operating system.
pub fn lock_for_process(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(unix))]
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}
