//! Locks of open file descriptions (`F_OFD_SETLK`) over the whole file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// A lock request for all bytes of a file. `kind` is `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
pub(super) fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
}

/// Sets or removes the lock of the whole file without waiting.
///
/// # Errors
/// `EAGAIN` if another description or process has a conflicting lock; `EINVAL` before Linux 3.15.
#[expect(unsafe_code, reason = "rustix has no OFD locks")]
pub(super) fn set(fd: RawFd, kind: libc::c_int) -> io::Result<()> {
    let lock = whole_file(kind);
    // SAFETY: the kernel reads a whole `flock` from the pointer. Any number is allowed as the descriptor.
    match unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the file has any lock of another description, or a POSIX lock of any process including this one; `None` if the system
/// cannot tell.
#[expect(unsafe_code, reason = "rustix has no OFD locks")]
pub(super) fn is_locked_elsewhere(fd: RawFd) -> Option<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: the kernel reads and writes a whole `flock` at the pointer. Any number is allowed as the descriptor.
    let is_known = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) } == 0;
    is_known.then_some(libc::c_int::from(lock.l_type) != libc::F_UNLCK as libc::c_int)
}

/// Removes the lock of the file's description.
///
/// # Errors
/// I/O errors.
pub(in crate::sys) fn unlock(file: &File) -> io::Result<()> {
    set(file.as_raw_fd(), libc::F_UNLCK)
}

/// Locks a file for its description without waiting; `false` if another description or process has a lock.
///
/// # Errors
/// I/O errors; `InvalidInput` if the system does not support such locks.
pub(in crate::sys) fn lock(file: &File) -> io::Result<bool> {
    match set(file.as_raw_fd(), libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}
