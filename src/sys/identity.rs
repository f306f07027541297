//! The identity of a file, as opposed to its name.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// The identity of a file. It differs for any two files that exist at the same time. A new file may get the inode of a deleted one,
/// but has a later creation time, if the file system records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    /// The creation time in nanoseconds since the Unix epoch.
    born: Option<u64>,
}

impl FileIdentity {
    /// The identity of the file at this path, or of the file that a link there points to; `None` if there is no file. Does not open
    /// the file: closing it would release the locks of other SQLite connections in the process.
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

    /// Whether no earlier or later file can have the same identity.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.born.is_some()
    }
}
