//! Files whose descriptors no forked child keeps.

use std::fs::File;
use std::io;

use super::fork::fork_generation;
use super::ofd;

/// An open file that a forked child closes before it does anything else, so that a lock on it ends with this process. (64-bit Linux
/// and Android; elsewhere it is an ordinary file.)
///
/// Dropping it in a child does nothing: the number is another file's by then.
pub struct PrivateFile {
    /// `None` only while it is dropped.
    file: Option<File>,
    registration: ofd::Registration,
    /// The fork generation that opened it.
    generation: u64,
}

impl PrivateFile {
    /// Opens a file with `open`, which must not fork or open another such file.
    ///
    /// # Errors
    /// Those of `open`; `OutOfMemory` when the system has no memory for the fork handlers.
    pub fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        let (file, registration) = ofd::open(open)?;
        Ok(Self { file: Some(file), registration, generation: fork_generation() })
    }

    /// The file.
    ///
    /// # Errors
    /// In a process that was forked from the one that opened it, and when something else closed its descriptor.
    pub fn file(&self) -> io::Result<&File> {
        let is_ours = self.generation == fork_generation() && self.registration.is_intact();
        let file = self.file.as_ref().filter(|_| is_ours);
        file.ok_or_else(|| io::Error::other("the file is not open in this process"))
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

    /// Runs `look` in a forked child, which may only ask the system, for other threads of the parent may hold any lock; its answer.
    #[expect(unsafe_code, reason = "a real fork")]
    fn in_child(look: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls `look`, which allocates nothing, and ends without running anything of the parent's.
        match unsafe { libc::fork() } {
            0 => {
                let code = libc::c_int::from(!look());
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child's number and a place for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }

    #[expect(unsafe_code, reason = "the number may not be open")]
    fn is_open(fd: libc::c_int) -> bool {
        // SAFETY: any number may be asked about.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    #[test]
    fn a_forked_child_has_no_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters");
        let private = PrivateFile::open(|| append_private(&path)).unwrap();
        let ordinary = create_private_file(&dir.path().join("other")).unwrap();
        let fd = private.file().unwrap().as_raw_fd();
        private.file().unwrap().try_lock().unwrap();
        assert!(in_child(|| !is_open(fd) && private.file().is_err() && is_open(ordinary.as_raw_fd())));
        assert!(append_private(&path).unwrap().try_lock().is_err(), "it took the parent's lock along");
        drop(private);
        assert!(!is_open(fd) || append_private(&path).unwrap().try_lock().is_ok());
    }

    #[test]
    fn a_process_lock_outlasts_the_closing_of_another_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.lock");
        let lock = ProcessLock::create(&path).unwrap().unwrap();
        std::fs::read(&path).unwrap();
        assert!(ProcessLock::open(&path).unwrap().is_none());
        assert!(lock.is_linked());
        drop(lock);
        assert!(ProcessLock::open(&path).unwrap().is_some());
    }
}
