//! Cursors: how far a destination has read a journal, in memory and on disk.
//!
//! ```text
//! file      two slots of 16 KiB, written in turn, so that one is valid whenever the process dies
//! slot      "TAXICURS" | generation u64 | floor u64 | count u32 | runs u32
//!           | count × (segment index u64, 64 × chunk mark u32) | runs × (first index u64, length u64) | CRC-32 of all before u32
//! ```
//!
//! Integers are little-endian. All segments below the floor are passed, and so are those in the runs. A mark is the offset of the
//! next record in its chunk, or `u32::MAX` if no more records can come. The valid slot with the higher generation counts.
//!
//! A cursor may be lost: then everything is delivered again, and destinations remove duplicates by event id. The file has its full
//! size from the start, so that a cursor can move on even if the disk is full.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::segment::CHUNKS;
use crate::sys::fs::{create_private_file, open_private, read_at, set_len, write_at};

pub(super) const MAGIC: &[u8; 8] = b"TAXICURS";
pub(super) const SLOT: usize = 16 * 1024;
const HEAD: usize = 32;
const ENTRY: usize = 8 + 4 * CHUNKS;
/// The bytes of a run: consecutive segments that are passed, above one that is not.
const RUN: usize = 16;
/// The most segments that all runs of a slot together may have: 256 GiB.
const MAX_RUN_SEGMENTS: u64 = 1 << 16;
/// The mark of a chunk that has no more records.
pub(super) const CHUNK_DONE: u32 = u32::MAX;

/// The marks of the chunks of one segment: the offsets of the next records.
pub(super) type Marks = [u32; CHUNKS];

/// A position in a journal. All segments below `floor` are passed, and chunks of segments above it up to their marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub(super) floor: u64,
    pub(super) marks: BTreeMap<u64, Marks>,
}

impl Position {
    /// The mark of a chunk; 0 if nothing of it was read.
    pub(super) fn mark(&self, segment: u64, chunk: usize) -> u32 {
        self.marks.get(&segment).map_or(0, |marks| marks[chunk])
    }

    pub(super) fn set_mark(&mut self, segment: u64, chunk: usize, mark: u32) {
        self.marks.entry(segment).or_insert([0; CHUNKS])[chunk] = mark;
    }

    /// Removes the marks of segments that no longer exist, and passes all segments below the first one left.
    pub(super) fn prune(&mut self, first_left: u64) {
        self.floor = self.floor.max(first_left);
        self.marks = self.marks.split_off(&self.floor);
    }

    /// Raises the floor to the first segment that is left. All segments below it must be passed.
    pub(super) fn raise_floor(&mut self, first_left: u64) {
        if first_left > self.floor {
            self.prune(first_left);
        }
    }

    /// Also passes everything that `other` has passed.
    pub(super) fn merge(&mut self, other: &Self) {
        for (segment, marks) in &other.marks {
            let own = self.marks.entry(*segment).or_insert([0; CHUNKS]);
            own.iter_mut().zip(marks).for_each(|(own, mark)| *own = *mark.max(own));
        }
        self.prune(other.floor);
    }

    /// Encodes the position as a slot. If there is no room for the marks of the highest segments, their records come again after a
    /// crash.
    pub(super) fn encode(&self, generation: u64) -> Vec<u8> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut partial = Vec::new();
        for (segment, marks) in &self.marks {
            if marks.iter().any(|mark| *mark != CHUNK_DONE) {
                partial.push((segment, marks));
            } else if let Some((first, length)) = runs.last_mut().filter(|(first, length)| first + length == *segment) {
                (*first, *length) = (*first, *length + 1);
            } else {
                runs.push((*segment, 1));
            }
        }
        let room = SLOT - HEAD - 4;
        partial.truncate(room / ENTRY);
        runs.truncate((room - partial.len() * ENTRY) / RUN);
        let mut bytes = Vec::with_capacity(HEAD + partial.len() * ENTRY + runs.len() * RUN + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&(partial.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        for (segment, marks) in partial {
            bytes.extend_from_slice(&segment.to_le_bytes());
            for mark in marks {
                bytes.extend_from_slice(&mark.to_le_bytes());
            }
        }
        for (first, length) in runs {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The offset of the checksum in a slot with this many entries and runs; `None` if they do not fit.
    pub(super) fn end(entries: usize, runs: usize) -> Option<usize> {
        let end = HEAD + entries.checked_mul(ENTRY)?.checked_add(runs.checked_mul(RUN)?)?;
        (end <= SLOT - 4).then_some(end)
    }

    pub(super) fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        let long = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(slot.get(at..at + 4)?.try_into().ok()?));
        let (count, runs) = (short(24)? as usize, short(28)? as usize);
        let end = Self::end(count, runs)?;
        let partial_end = HEAD + count * ENTRY;
        if &slot[..8] != MAGIC || crc32fast::hash(slot.get(..end)?) != short(end)? {
            return None;
        }
        let mut marks = BTreeMap::new();
        for entry in slot[HEAD..partial_end].chunks_exact(ENTRY) {
            let (words, _) = entry[8..].as_chunks::<4>();
            let segment = u64::from_le_bytes(entry[..8].try_into().ok()?);
            marks.insert(segment, std::array::from_fn(|chunk| u32::from_le_bytes(words[chunk])));
        }
        let mut left = MAX_RUN_SEGMENTS;
        for run in slot[partial_end..end].chunks_exact(RUN) {
            let (first, length) =
                (u64::from_le_bytes(run[..8].try_into().ok()?), u64::from_le_bytes(run[8..].try_into().ok()?));
            // A file can be edited by hand, with a valid checksum. This bounds the work to the number of segments in the largest
            // journal.
            let length = length.min(left);
            left -= length;
            for segment in first..first.saturating_add(length) {
                marks.insert(segment, [CHUNK_DONE; CHUNKS]);
            }
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

    /// The destination named by a cursor's file name.
    pub(super) fn destination(name: &str) -> Option<&str> {
        name.strip_suffix(".cursor")
    }

    /// Creates the file of a new cursor, which is at the beginning.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = create_private_file(path)?;
        write_at(&file, &vec![0; 2 * SLOT], 0)?;
        Ok(Self { file, generation: 0 })
    }

    /// Opens a cursor and reads its position: the beginning if neither slot is valid.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Position)> {
        let file = open_private(path, true)?;
        let (generation, position) = Self::read(&file)?;
        Ok((Self { file, generation }, position))
    }

    fn read(file: &File) -> io::Result<(u64, Position)> {
        let mut slots = vec![0; 2 * SLOT];
        let read = read_at(file, &mut slots, 0)?;
        slots.truncate(read);
        let newest = slots.chunks(SLOT).filter_map(Position::decode).max_by_key(|(generation, _)| *generation);
        Ok(newest.unwrap_or_default())
    }

    /// The position of the cursor at `path`: the beginning if the file does not exist.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn position(path: &Path) -> io::Result<Position> {
        match open_private(path, false).and_then(|file| Self::read(&file)) {
            Ok((_, position)) => Ok(position),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
            Err(error) => Err(error),
        }
    }

    /// Opens a cursor. Creates it if it is missing.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn open_or_create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Ok((file, _)) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error),
        }
    }

    /// Truncates the file of a cursor that never moved. An empty file means the same position.
    pub(super) fn shrink(path: &Path) -> io::Result<()> {
        let (cursor, position) = Self::open(path)?;
        if cursor.generation == 0 && position == Position::default() {
            set_len(&cursor.file, 0)?;
        }
        Ok(())
    }

    /// Writes a position. It is not synced: after a power failure an older one may be read, so events are repeated but not lost.
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
    fn the_newest_valid_slot_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CursorFile::name("ledger"));
        let mut cursor = CursorFile::create(&path).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, Position::default());
        cursor.save(&position(1, 2)).unwrap();
        cursor.save(&position(7, 3)).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, position(7, 3));
        // The second save is in the first slot. Damage it, and the first save is still readable.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        write_at(&file, &[0xff; 8], 40).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, position(1, 2));
        file.set_len(10).unwrap();
        assert_eq!(CursorFile::open(&path).unwrap().1, Position::default());
    }

    /// A destination that is far ahead of another has passed many segments above the floor.
    #[test]
    fn thousands_of_passed_segments_fit_and_of_partial_ones_the_oldest_are_kept() {
        let mut ahead = Position { floor: 5, marks: BTreeMap::new() };
        ahead.marks.extend((7..5000).map(|segment| (segment, [CHUNK_DONE; CHUNKS])));
        ahead.set_mark(5, 3, 4096);
        ahead.set_mark(6000, 0, 4096);
        let (_, back) = Position::decode(&ahead.encode(1)).unwrap();
        assert_eq!(back, ahead);
        let bytes = position(5, 100).encode(1);
        assert!(bytes.len() <= SLOT);
        let (_, back) = Position::decode(&bytes).unwrap();
        assert_eq!((back.floor, back.marks.len()), (5, (SLOT - HEAD - 4) / ENTRY));
    }

    /// A file edited by hand can have a valid checksum. All its runs together take a few megabytes of memory, not each run.
    #[test]
    fn all_runs_of_a_slot_share_one_limit() {
        const RUNS: usize = 1000;
        let mut slot = Position::default().encode(1);
        slot.truncate(HEAD);
        slot[28..32].copy_from_slice(&(RUNS as u32).to_le_bytes());
        for run in 0..RUNS as u64 {
            slot.extend([(run << 32).to_le_bytes(), u64::MAX.to_le_bytes()].concat());
        }
        slot.extend(crc32fast::hash(&slot).to_le_bytes());
        let (_, position) = Position::decode(&slot).unwrap();
        assert_eq!(position.marks.len() as u64, MAX_RUN_SEGMENTS);
    }

    proptest::proptest! {
        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let _ = Position::decode(&bytes);
            // With a valid checksum, as after an edit by hand.
            let mut slot = MAGIC.to_vec();
            slot.extend(&bytes);
            let mut crafted = slot.clone();
            crafted.extend(crc32fast::hash(&slot).to_le_bytes());
            crafted.resize(SLOT, 0);
            let _ = Position::decode(&crafted);
        }
    }
}
