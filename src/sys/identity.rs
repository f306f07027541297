//! What tells a file from another of the same name.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Two files that exist at the same time differ in it. A file that was made after another was deleted may have its inode, but was born
/// later, where the file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    /// Nanoseconds since 1970.
    born: Option<u64>,
}

impl FileIdentity {
    /// The file that has this path, or that a link there leads to; `None` without such a file. Does not open it: closing a descriptor
    /// would drop the locks of another SQLite in the process.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        let since = data.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
        #[cfg(unix)]
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt;
            (data.dev(), data.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Some(Self { device, inode, born })
    }

    /// Whether no file before or after has it.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.born.is_some()
    }
}
