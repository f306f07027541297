//! Reading a journal, one's own or one that another process left: records are found from the segments alone.
//!
//! A live segment is read up to the committed marks its writers publish; a segment file up to the first place in each chunk where
//! nothing valid stands. Damage is counted and stepped over, never fatal, and never hides an undamaged chunk.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{CHUNK_DONE, Position};
use super::record::{HEADER, Parsed, parse, time_before};
use super::segment::{CHUNK, CHUNKS, Segment, SegmentFile, first_record, index_of};

/// A segment that can be read.
pub(super) enum View {
    /// Being written by this process.
    Live(Arc<Segment>),
    /// A file that nobody writes, or that another live process does.
    File { index: u64, path: PathBuf },
}

impl View {
    pub(super) fn index(&self) -> u64 {
        match self {
            Self::Live(segment) => segment.index,
            Self::File { index, .. } => *index,
        }
    }

    pub(super) fn handle(&self) -> Self {
        match self {
            Self::Live(segment) => Self::Live(Arc::clone(segment)),
            Self::File { index, path } => Self::File { index: *index, path: path.clone() },
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Live(segment) => segment.path.as_deref(),
            Self::File { path, .. } => Some(path),
        }
    }

    /// Whether a destination at this position has all that will ever be in it.
    pub(super) fn is_passed_by(&self, position: &Position) -> bool {
        let index = self.index();
        index < position.floor
            || match self {
                // A process that reads for a living owner cannot know that a chunk is complete; the owner can.
                Self::Live(segment) => {
                    segment.is_sealed()
                        && (0..segment.chunks()).all(|chunk| {
                            let mark = (position.mark(index, chunk) as usize).max(first_record(chunk));
                            mark >= segment.committed(chunk)
                        })
                }
                Self::File { .. } => (0..CHUNKS).all(|chunk| position.mark(index, chunk) == CHUNK_DONE),
            }
    }
}

/// Records in a row, and where they end.
#[derive(Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    payloads: Vec<Range<usize>>,
    /// The position after them.
    pub position: Position,
    /// Records that were there and are damaged.
    pub corrupt: u64,
    /// Whether something could not be read now, and has to be tried again.
    pub is_incomplete: bool,
    /// Where damage was found: after so many records, in this segment.
    damage: Vec<(usize, u64)>,
    /// The position before them, and the chunks they were read from.
    from: Position,
    parts: Vec<Part>,
}

/// What was read of one chunk.
#[derive(Clone)]
struct Part {
    segment: u64,
    chunk: usize,
    /// Where it begins in the chunk, and in the batch's bytes.
    offset: usize,
    start: usize,
    /// Its records among the batch's.
    records: Range<usize>,
    /// The chunk's mark after them.
    mark: u32,
}

impl Batch {
    /// The payloads, in journal order within each writer.
    #[must_use]
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.payloads.iter().map(|range| &self.bytes[range.clone()])
    }

    /// When the records were appended, in nanoseconds since the Unix epoch, in the order of the payloads.
    #[must_use]
    pub fn appended_at(&self) -> impl ExactSizeIterator<Item = u64> + Clone {
        self.payloads.iter().map(|range| time_before(&self.bytes, range.start))
    }

    /// Its first records, and the position after them.
    #[must_use]
    pub fn prefix(&self, count: usize) -> Self {
        if count >= self.len() {
            return self.clone();
        }
        let mut position = self.from.clone();
        for part in &self.parts {
            if part.records.end <= count {
                position.set_mark(part.segment, part.chunk, part.mark);
            } else {
                if part.records.start < count {
                    // The record begins with its header, before the payload.
                    let next = self.payloads[count].start - HEADER;
                    position.set_mark(part.segment, part.chunk, (part.offset + next - part.start) as u32);
                }
                break;
            }
        }
        let end = self.payloads[count].start - HEADER;
        let damage: Vec<_> = self.damage.iter().copied().filter(|(before, _)| *before <= count).collect();
        Self {
            bytes: self.bytes[..end].to_vec(),
            payloads: self.payloads[..count].to_vec(),
            position,
            corrupt: damage.len() as u64,
            damage,
            from: self.from.clone(),
            parts: self.parts.iter().take_while(|part| part.records.start < count).cloned().collect(),
            is_incomplete: false,
        }
    }

    /// Whether nothing was found, be it a damaged record.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.is_empty() && self.corrupt == 0
    }

    /// Itself, or its first records where it has more.
    #[must_use]
    pub fn at_most(self, count: usize) -> Self {
        if count < self.len() { self.prefix(count) } else { self }
    }

    /// The segments in which damage was found.
    pub(super) fn damaged(&self) -> impl Iterator<Item = u64> {
        self.damage.iter().map(|(_, segment)| *segment)
    }

    fn note_damage(&mut self, segment: u64) {
        self.corrupt += 1;
        self.damage.push((self.payloads.len(), segment));
    }

    fn pass(&mut self, part: Part) {
        self.position.set_mark(part.segment, part.chunk, part.mark);
        self.parts.push(part);
    }

    /// How many bytes were read for it.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Whether nothing new was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }
}

/// How the end of a chunk's records is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This process wrote the files, and has sealed them.
    Myself,
    /// Nobody writes files any more: where records end, the chunk ends.
    Gone,
    /// Another live process writes them: what is not there yet may come.
    Alive,
}

/// Reads records after `from`, whole chunks at a time, until some `limit` bytes are read.
pub(super) fn read_batch(views: &[View], from: &Position, limit: usize, owner: Owner) -> Batch {
    let mut batch = Batch { position: from.clone(), from: from.clone(), ..Batch::default() };
    for view in views.iter().filter(|view| view.index() >= from.floor) {
        match view {
            View::Live(segment) => read_live(segment, &mut batch, limit),
            View::File { index, path } => read_file(*index, path, &mut batch, limit, owner),
        }
        if batch.bytes.len() >= limit {
            break;
        }
    }
    batch
}

fn read_live(segment: &Segment, batch: &mut Batch, limit: usize) {
    // Asked before the marks are read: what was sealed then has its last marks now.
    let is_sealed = segment.is_sealed();
    for chunk in 0..segment.claimed() {
        if batch.bytes.len() >= limit {
            return;
        }
        let mark = batch.position.mark(segment.index, chunk);
        if mark == CHUNK_DONE {
            continue;
        }
        let from = (mark as usize).max(first_record(chunk));
        let until = segment.committed(chunk);
        let (start, first) = (batch.bytes.len(), batch.payloads.len());
        if from < until {
            batch.bytes.resize(start + until - from, 0);
            if segment.store.read(chunk * CHUNK + from, &mut batch.bytes[start..]).is_ok() {
                take_records(batch, start, segment.seed, segment.index);
            } else {
                batch.bytes.truncate(start);
                batch.note_damage(segment.index);
            }
        }
        let mark = if is_sealed { CHUNK_DONE } else { until as u32 };
        batch.pass(Part { segment: segment.index, chunk, offset: from, start, records: first..batch.len(), mark });
    }
}

fn read_file(index: u64, path: &Path, batch: &mut Batch, limit: usize, owner: Owner) {
    let is_own = owner == Owner::Myself;
    let finish = |batch: &mut Batch| {
        let (start, at) = (batch.bytes.len(), batch.len());
        for chunk in 0..CHUNKS {
            batch.pass(Part { segment: index, chunk, offset: 0, start, records: at..at, mark: CHUNK_DONE });
        }
    };
    let file = match SegmentFile::open(path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            batch.note_damage(index);
            return finish(batch);
        }
        // In another's journal, a missing file is one that was delivered and deleted. In one's own, nobody else deletes any: it is
        // lost, and counted as one damaged record, for how many there were cannot be known.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if is_own {
                batch.note_damage(index);
            }
            return finish(batch);
        }
        // Out of descriptors, or written by a later version: for another time, or another process.
        Err(_) => {
            batch.is_incomplete = true;
            return;
        }
    };
    for chunk in 0..CHUNKS {
        if batch.bytes.len() >= limit {
            return;
        }
        let mark = batch.position.mark(index, chunk);
        if mark == CHUNK_DONE {
            continue;
        }
        let from = (mark as usize).max(first_record(chunk)).min(CHUNK);
        let (start, first) = (batch.bytes.len(), batch.payloads.len());
        if file.read_chunk(chunk, from, &mut batch.bytes).is_err() {
            batch.bytes.truncate(start);
            batch.note_damage(index);
        }
        let end = take_records(batch, start, file.seed, index);
        let mark = match owner {
            Owner::Gone | Owner::Myself => CHUNK_DONE,
            Owner::Alive => (from + end - start) as u32,
        };
        batch.pass(Part { segment: index, chunk, offset: from, start, records: first..batch.len(), mark });
    }
}

/// Takes the records from `start` to the end of the batch's bytes; returns where they end, and drops the bytes after that.
fn take_records(batch: &mut Batch, start: usize, seed: u32, segment: u64) -> usize {
    // Records are found in the bytes of one chunk, so offsets in it decide what fits.
    let mut at = start;
    let mut end = start;
    loop {
        match parse(&batch.bytes, at, seed) {
            Parsed::Record { payload, next } => {
                batch.payloads.push(payload);
                (at, end) = (next, next);
            }
            // A record that a dying process began was not acknowledged, and is the last of its chunk.
            Parsed::End | Parsed::Torn => break,
            Parsed::Corrupt { next } => {
                batch.note_damage(segment);
                match next {
                    Some(next) if next + HEADER <= batch.bytes.len() => at = next,
                    _ => break,
                }
            }
        }
    }
    batch.bytes.truncate(end);
    end
}

/// The segment files of a directory, in order.
///
/// # Errors
/// Those of the operating system: a directory that cannot be read now (out of descriptors or memory) is not one without segments.
pub(super) fn segment_files(dir: &Path) -> std::io::Result<Vec<View>> {
    let mut views = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(index) = entry.file_name().to_str().and_then(index_of) {
            views.push(View::File { index, path: entry.path() });
        }
    }
    views.sort_by_key(View::index);
    Ok(views)
}
