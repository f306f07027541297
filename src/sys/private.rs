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
