//! Files whose descriptors a forked child does not keep.

use std::fs::File;
use std::io;

use super::fork::fork_generation;
use super::ofd;

/// An open file that a forked child closes before it does anything else, so that locks on it end with this process. This works on
/// 64-bit Linux and Android. On other systems it is an ordinary file.
///
/// Dropping it in a child does nothing, because its number may belong to another file there.
pub struct PrivateFile {
    /// `None` only during `drop`.
    file: Option<File>,
    registration: ofd::Registration,
    /// The fork generation that opened the file.
    generation: u64,
}

impl PrivateFile {
    /// Opens a file with `open`, which must not fork and must not open another such file.
    ///
    /// # Errors
    /// Those of `open`; `OutOfMemory` if the system has no memory for the fork handlers.
    pub fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        let (file, registration) = ofd::open(open)?;
        Ok(Self { file: Some(file), registration, generation: fork_generation() })
    }

    /// The file.
    ///
    /// # Errors
    /// If this process was forked from the one that opened the file, or if something else has closed the descriptor.
    pub fn file(&self) -> io::Result<&File> {
        let is_ours = self.generation == fork_generation() && self.registration.is_intact();
        let file = self.file.as_ref().filter(|_| is_ours);
        file.ok_or_else(|| io::Error::other("the file is not open in this process"))
    }

    /// The file, a moment after [`PrivateFile::file`] returned it: unlike that, this makes no system call. `None` in a child that was
    /// forked in between.
    #[must_use]
    pub fn same_file(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| self.generation == fork_generation())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.generation == fork_generation() {
            self.registration.close(file);
        } else {
            std::mem::forget(file);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::fs::{append_private, create_private_file};
    use super::super::lock::ProcessLock;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    /// Runs `look` in a forked child and returns its result. It may only make system calls, because other threads of the parent may
    /// have held any lock during the fork.
    #[expect(unsafe_code, reason = "a real fork")]
    fn in_child(look: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls `look`, which does not allocate, and exits without running any code of the parent.
        match unsafe { libc::fork() } {
            0 => {
                let code = libc::c_int::from(!look());
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child's process id, and a valid pointer for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }

    #[expect(unsafe_code, reason = "the number may not be open")]
    fn is_open(fd: libc::c_int) -> bool {
        // SAFETY: any number is allowed as the descriptor.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    /// Waits for a lock to be free. A program that another test starts has every descriptor, and with them the locks, until it runs.
    fn wait_until(is_free: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_free() {
            assert!(Instant::now() < deadline, "the lock is still held");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_forked_child_does_not_keep_private_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters");
        let private = PrivateFile::open(|| append_private(&path)).unwrap();
        let ordinary = create_private_file(&dir.path().join("other")).unwrap();
        let fd = private.file().unwrap().as_raw_fd();
        private.file().unwrap().try_lock().unwrap();
        assert!(in_child(|| !is_open(fd) && private.file().is_err() && is_open(ordinary.as_raw_fd())));
        assert!(append_private(&path).unwrap().try_lock().is_err(), "the child released the parent's lock");
        drop(private);
        wait_until(|| !is_open(fd) || append_private(&path).unwrap().try_lock().is_ok());
    }

    #[test]
    fn closing_another_handle_does_not_release_a_process_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.lock");
        let lock = ProcessLock::create(&path).unwrap().unwrap();
        std::fs::read(&path).unwrap();
        assert!(ProcessLock::open(&path).unwrap().is_none());
        assert!(lock.is_linked());
        drop(lock);
        wait_until(|| ProcessLock::open(&path).unwrap().is_some());
    }
}
