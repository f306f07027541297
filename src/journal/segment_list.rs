//! The list of a journal's segments. With it, the deletion of a segment file by another program is noticed.
//!
//! ```text
//! file      `segments`: two slots of 2 KiB, written in turn, so that one is valid whenever the process dies
//! slot      "TAXISEGS" | generation u64 | count u64 | count × (first index u64, last index u64) | CRC-32 of all before u32
//! ```
//!
//! Integers are little-endian. The valid slot with the higher generation counts. An index is added after its file has its name, and
//! removed before the file is deleted. So a process that dies in between leaves no index of a file that it deleted itself. The file
//! has its full size from the start, so that writing the list needs no space.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::fs::{create_private_file, open_private, read_at, remove_file, write_at};

/// The name of the file.
pub(super) const NAME: &str = "segments";
const MAGIC: &[u8; 8] = b"TAXISEGS";
const SLOT: usize = 2048;
const HEAD: usize = 24;
const RANGE: usize = 16;
const MAX_RANGES: usize = (SLOT - HEAD - 4) / RANGE;
/// The most segments of a list that is read: 256 GiB of them.
const MAX_SEGMENTS: u64 = 1 << 16;

/// The list of the journal that this process writes.
pub(super) struct SegmentList {
    path: PathBuf,
    file: File,
    generation: u64,
    indexes: BTreeSet<u64>,
}

impl SegmentList {
    /// Creates the list of a new journal.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let file = create_private_file(&path)?;
        write_at(&file, &[0; 2 * SLOT], 0)?;
        Ok(Self { path, file, generation: 0, indexes: BTreeSet::new() })
    }

    pub(super) fn add(&mut self, index: u64) {
        self.indexes.insert(index);
        self.save();
    }

    pub(super) fn remove(&mut self, indexes: impl IntoIterator<Item = u64>) {
        indexes.into_iter().for_each(|index| {
            self.indexes.remove(&index);
        });
        self.save();
    }

    /// Writes the list. If that fails, deletes it: an outdated list would report delivered segments as missing.
    fn save(&mut self) {
        let generation = self.generation + 1;
        let slot = encode(&self.indexes, generation);
        if write_at(&self.file, &slot, (generation % 2) * SLOT as u64).is_ok() {
            self.generation = generation;
        } else {
            let _ = remove_file(&self.path);
        }
    }
}

fn encode(indexes: &BTreeSet<u64>, generation: u64) -> Vec<u8> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    // Keep the newest. The oldest are delivered first, and a segment that is not on the list is just not missed.
    let ranges = &ranges[ranges.len().saturating_sub(MAX_RANGES)..];
    let mut slot = MAGIC.to_vec();
    slot.extend(generation.to_le_bytes());
    slot.extend((ranges.len() as u64).to_le_bytes());
    for (first, last) in ranges {
        slot.extend(first.to_le_bytes());
        slot.extend(last.to_le_bytes());
    }
    slot.extend(crc32fast::hash(&slot).to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Vec<u64>)> {
    let long = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
    let count = usize::try_from(long(16)?).ok().filter(|count| *count <= MAX_RANGES)?;
    let end = HEAD + count * RANGE;
    let crc = u32::from_le_bytes(slot.get(end..end + 4)?.try_into().ok()?);
    if slot[..8] != *MAGIC || crc32fast::hash(&slot[..end]) != crc {
        return None;
    }
    let mut indexes = Vec::new();
    for range in 0..count {
        let (first, last) = (long(HEAD + range * RANGE)?, long(HEAD + range * RANGE + 8)?);
        indexes.extend(first..=last.min(first.saturating_add(MAX_SEGMENTS)));
        if indexes.len() as u64 > MAX_SEGMENTS {
            // The file was edited by hand, with a valid checksum.
            return None;
        }
    }
    Some((long(8)?, indexes))
}

/// The indexes of the segments that a journal should have; none if there is no valid list.
///
/// # Errors
/// I/O errors that say nothing about the list itself. A later attempt may succeed.
pub(super) fn listed(dir: &Path) -> io::Result<Vec<u64>> {
    let file = match open_private(&dir.join(NAME), false) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut slots = vec![0; 2 * SLOT];
    let read = read_at(&file, &mut slots, 0)?;
    slots.truncate(read);
    let newest = slots.chunks(SLOT).filter_map(decode).max_by_key(|(generation, _)| *generation);
    Ok(newest.unwrap_or_default().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_valid_list_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(listed(dir.path()).unwrap().is_empty());
        let mut list = SegmentList::create(dir.path()).unwrap();
        assert!(listed(dir.path()).unwrap().is_empty());
        for index in [3, 4, 5, 9] {
            list.add(index);
        }
        assert_eq!(listed(dir.path()).unwrap(), [3, 4, 5, 9]);
        list.remove([3, 9]);
        assert_eq!(listed(dir.path()).unwrap(), [4, 5]);
        // The fifth save is in the second slot.
        write_at(&list.file, &[0xff; 4], SLOT as u64 + 30).unwrap();
        assert_eq!(listed(dir.path()).unwrap(), [3, 4, 5, 9]);
    }

    #[test]
    fn if_ranges_do_not_fit_the_newest_are_kept() {
        let indexes: BTreeSet<_> = (0..1000).map(|index| 2 * index).collect();
        let (_, back) = decode(&encode(&indexes, 1)).unwrap();
        assert_eq!((back.len(), back.last()), (MAX_RANGES, Some(&1998)));
    }

    proptest! {
        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let mut crafted = [MAGIC.as_slice(), &bytes].concat();
            crafted.extend(crc32fast::hash(&crafted).to_le_bytes());
            let _ = decode(&crafted);
        }
    }
}
