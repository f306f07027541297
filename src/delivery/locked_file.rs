//! Files that several processes append to, read and empty, one at a time.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::fs::{append_private, is_linked};
use crate::sys::private::PrivateFile;

const LOCK_POLL: Duration = Duration::from_millis(10);

/// Opens a regular file of this user to read and append, makes it where it is not there, and locks it until it is closed. No
/// forked child keeps the lock.
///
/// # Errors
/// `WouldBlock` when another process has the lock for as long as `patience`; those of the operating system.
pub(super) fn locked(path: &Path, patience: Duration) -> io::Result<PrivateFile> {
    let deadline = Instant::now() + patience;
    loop {
        let private = PrivateFile::open(|| append_private(path))?;
        let file = private.file()?;
        match file.try_lock() {
            // The last holder may have put another file in its place.
            Ok(()) => {
                if is_linked(file) {
                    return Ok(private);
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process has them"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}
