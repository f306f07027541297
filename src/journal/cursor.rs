//! How far a destination has come in a journal, in memory and on disk.
//!
//! ```text
//! file      two slots of 16 KiB, written in turn, so that one is whole whenever the process dies
//! slot      "TAXICURS" | generation u64 | floor u64 | count u32 | zero u32
//!           | count × (segment index u64, 64 × chunk mark u32) | CRC-32 of all before u32
//! ```
//!
//! A cursor is advisory: without it everything is delivered again and destinations drop what they have by event id. The file has
//! its full size from the start, so that moving it on needs no space on a full disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::segment::CHUNKS;
use crate::sys::fs::{create_private_file, read_at, write_at};

const MAGIC: &[u8; 8] = b"TAXICURS";
const SLOT: usize = 16 * 1024;
const HEAD: usize = 32;
const ENTRY: usize = 8 + 4 * CHUNKS;
/// Segments whose marks fit a slot. More are open only after weeks of writers that stop in mid-chunk; the rest is repeated.
const MAX_ENTRIES: usize = (SLOT - HEAD - 4) / ENTRY;
/// The mark of a chunk that has no more records.
pub(super) const CHUNK_DONE: u32 = u32::MAX;

/// Marks of the chunks of one segment: the offset of the next record.
pub(super) type Marks = [u32; CHUNKS];

/// A place in a journal: all segments below `floor`, and in some above it the chunks up to their marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub(super) floor: u64,
    pub(super) marks: BTreeMap<u64, Marks>,
}

impl Position {
    /// The mark of a chunk; 0 at its beginning.
    pub(super) fn mark(&self, segment: u64, chunk: usize) -> u32 {
        self.marks.get(&segment).map_or(0, |marks| marks[chunk])
    }

    pub(super) fn set_mark(&mut self, segment: u64, chunk: usize, mark: u32) {
        self.marks.entry(segment).or_insert([0; CHUNKS])[chunk] = mark;
    }

    /// Forgets the marks of segments that are gone, and passes over those below the first that is left.
    pub(super) fn prune(&mut self, first_left: u64) {
        self.floor = self.floor.max(first_left);
        self.marks = self.marks.split_off(&self.floor);
    }

    fn encode(&self, generation: u64) -> Vec<u8> {
        let entries: Vec<_> = self.marks.iter().take(MAX_ENTRIES).collect();
        let mut bytes = Vec::with_capacity(HEAD + entries.len() * ENTRY + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        for (segment, marks) in entries {
            bytes.extend_from_slice(&segment.to_le_bytes());
            for mark in marks {
                bytes.extend_from_slice(&mark.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        let long = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
        let count = usize::try_from(long(24)?).ok().filter(|count| *count <= MAX_ENTRIES)?;
        let end = HEAD + count * ENTRY;
        let crc = u32::from_le_bytes(slot.get(end..end + 4)?.try_into().ok()?);
        if &slot[..8] != MAGIC || crc32fast::hash(&slot[..end]) != crc {
            return None;
        }
        let mut marks = BTreeMap::new();
        for entry in slot[HEAD..end].chunks_exact(ENTRY) {
            let (words, _) = entry[8..].as_chunks::<4>();
            let segment = u64::from_le_bytes(entry[..8].try_into().ok()?);
            marks.insert(segment, std::array::from_fn(|chunk| u32::from_le_bytes(words[chunk])));
        }
        Some((long(8)?, Self { floor: long(16)?, marks }))
    }
}

/// A cursor file.
pub(super) struct CursorFile {
    file: File,
    generation: u64,
}

impl CursorFile {
    /// The file name for a destination.
    pub(super) fn name(destination: &str) -> String {
        format!("{destination}.cursor")
    }

    /// The destination in a cursor's file name.
    pub(super) fn destination(name: &str) -> Option<&str> {
        name.strip_suffix(".cursor")
    }

    /// Makes the file of a new cursor, at the beginning.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = create_private_file(path)?;
        write_at(&file, &vec![0; 2 * SLOT], 0)?;
        Ok(Self { file, generation: 0 })
    }

    /// Opens a cursor and reads its place; the beginning where neither slot is whole.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Position)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut slots = vec![0; 2 * SLOT];
        let read = read_at(&file, &mut slots, 0)?;
        slots.truncate(read);
        let newest = slots.chunks(SLOT).filter_map(Position::decode).max_by_key(|(generation, _)| *generation);
        let (generation, position) = newest.unwrap_or_default();
        Ok((Self { file, generation }, position))
    }

    /// Writes a place. Not synced: a power failure may take it back, which repeats events and loses none.
    pub(super) fn save(&mut self, position: &Position) -> io::Result<()> {
        let generation = self.generation + 1;
        write_at(&self.file, &position.encode(generation), (generation % 2) * SLOT as u64)?;
        self.generation = generation;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(floor: u64, segments: u64) -> Position {
        let mut position = Position { floor, marks: BTreeMap::new() };
        for segment in floor..floor + segments {
            position.set_mark(segment, 3, 4096);
            position.set_mark(segment, 63, CHUNK_DONE);
        }
        position
    }

    #[test]
    fn the_newest_whole_slot_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CursorFile::name("ledger"));
        let mut cursor = CursorFile::create(&path).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, Position::default());
        cursor.save(&position(1, 2)).unwrap();
        cursor.save(&position(7, 3)).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, position(7, 3));
        // The second save went to the first slot; damage it, and the first save is still there.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        write_at(&file, &[0xff; 8], 40).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, position(1, 2));
        file.set_len(10).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, Position::default());
    }

    #[test]
    fn more_segments_than_fit_keep_the_oldest() {
        let bytes = position(5, 100).encode(1);
        assert!(bytes.len() <= SLOT);
        let (_, back) = Position::decode(&bytes).unwrap();
        assert_eq!((back.floor, back.marks.len()), (5, MAX_ENTRIES));
    }
}
