//! The checkpoint: a copy of all counts, from which the state is rebuilt after a reboot.
//!
//! Holds are not in it, because no call survives a reboot.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::fs::{append_all, create_private_file, open_private, path_metadata, remove_file, rename};

const FILE: &str = "checkpoint";
const DRAFT: &str = "checkpoint.draft";
/// The first bytes: the format and its version.
const HEAD: &[u8; 8] = b"tmbchk\0\x02";
/// The most bytes: a million keys.
const MAX_BYTES: u64 = 256 << 20;
/// How often one process of a state directory writes it.
const EVERY: Duration = Duration::from_mins(1);

/// The counts of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) key: Vec<u8>,
    /// The start of the period; 0 for a rolling budget.
    pub(super) period: i64,
    pub(super) used: i128,
    /// The part of it that the ledger does not have; of a rolling budget, when it was last reset.
    pub(super) unrecorded: i128,
    pub(super) calls: u64,
    pub(super) unpriced: u64,
    /// The parts of a rolling budget: their numbers and amounts.
    pub(super) buckets: Vec<(i64, i128)>,
}

/// Whether a checkpoint is due.
pub(super) fn is_due(dir: &Path) -> bool {
    let age = path_metadata(&dir.join(FILE)).and_then(|data| data.modified()).map(|at| at.elapsed());
    // A time in the future is that of a clock that was set back.
    age.is_ok_and(|age| age.is_ok_and(|age| age < EVERY)).then_some(()).is_none()
}

/// Replaces the checkpoint. The holder of the state's lock calls it, or a process that is closing.
pub(super) fn write(dir: &Path, all: &[Saved]) -> io::Result<()> {
    let mut bytes = HEAD.to_vec();
    bytes = postcard::to_extend(all, bytes).map_err(io::Error::other)?;
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let draft = dir.join(DRAFT);
    let _ = remove_file(&draft);
    create_private_file(&draft).and_then(|file| append_all(&file, &bytes))?;
    rename(&draft, &dir.join(FILE))
}

/// Reads the checkpoint. One that is missing or damaged is empty.
pub(super) fn read(dir: &Path) -> Vec<Saved> {
    let mut bytes = Vec::new();
    let read = open_private(&dir.join(FILE), false).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    let content = read.ok().and_then(|_| {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        (crc32fast::hash(content).to_le_bytes() == *crc).then_some(content)?.strip_prefix(HEAD)
    });
    content.and_then(|content| postcard::from_bytes(content).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_and_a_damaged_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_empty() && is_due(dir.path()));
        let all = [Saved {
            key: b"day".to_vec(),
            period: -7,
            used: i128::MAX,
            unrecorded: -1,
            calls: 3,
            unpriced: 1,
            buckets: vec![(5, -9)],
        }];
        write(dir.path(), &all).unwrap();
        write(dir.path(), &all).unwrap();
        assert_eq!(read(dir.path()), all);
        assert!(!is_due(dir.path()));
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[12] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(read(dir.path()).is_empty());
    }
}
