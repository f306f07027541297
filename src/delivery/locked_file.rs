//! Files to which several processes append, and which they read and empty, one process at a time.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::fs::{append_private, is_linked};
use crate::sys::private::PrivateFile;

const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens a regular file of this user to read and append, and locks it until it is closed. Creates the file if it does not exist.
/// Forked children do not keep the lock.
///
/// # Errors
/// `WouldBlock` if another process keeps the lock for longer than `patience`; I/O errors.
pub(super) fn locked(path: &Path, patience: Duration) -> io::Result<PrivateFile> {
    let deadline = Instant::now() + patience;
    loop {
        let private = PrivateFile::open(|| append_private(path))?;
        let file = private.file()?;
        match file.try_lock() {
            // The previous holder may have replaced the file.
            Ok(()) => {
                if is_linked(file) {
                    return Ok(private);
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is using the file"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}
