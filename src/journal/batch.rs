//! A batch: the records that a reader gets at once, and the position after them.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::cursor::Position;
use super::record::{HEADER, time_before};

/// Consecutive records, and the position after them.
#[derive(Clone, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) payloads: Vec<Range<usize>>,
    /// The position after the records.
    pub position: Position,
    /// How many appended records are damaged or missing. Exact if sequence numbers tell; otherwise each damaged place counts as at
    /// least one.
    pub corrupt: u64,
    /// How many of these are missing entirely. A missing segment counts as one.
    pub lost: u64,
    /// All records were appended after this time, which does not depend on the system clock; `None` if it is unknown.
    pub since: Option<Instant>,
    /// Whether something could not be read now and must be read again later.
    pub is_incomplete: bool,
    damage: Vec<Damage>,
    /// The position before the records, and the parts of chunks that were read.
    from: Position,
    parts: Vec<Part>,
}

/// A damaged place.
#[derive(Clone, Copy)]
pub(super) struct Damage {
    pub(super) segment: u64,
    /// The number of records before it in the batch.
    before: usize,
    pub(super) records: u64,
    lost: u64,
}

/// The records that were read from one chunk.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) segment: u64,
    pub(super) chunk: usize,
    /// Where the part begins in the chunk, and in the batch's bytes.
    pub(super) offset: usize,
    pub(super) start: usize,
    /// The range of its records in the batch.
    pub(super) records: Range<usize>,
    /// The chunk's mark after the part.
    pub(super) mark: u32,
}

/// The size of a batch at some time, to which it can be rewound.
#[derive(Clone, Copy)]
pub(super) struct Length {
    bytes: usize,
    payloads: usize,
    damage: usize,
}

impl Batch {
    pub(super) fn at(position: &Position) -> Self {
        Self { position: position.clone(), from: position.clone(), ..Self::default() }
    }

    /// Records that a segment of this age follows. None of its records is older than the segment.
    pub(super) fn note_age(&mut self, age: Option<Duration>) {
        let since = age.and_then(|age| Instant::now().checked_sub(age));
        self.since = self.since.into_iter().chain(since).max();
    }

    /// The payloads. Those of one writer are in the order in which they were appended.
    #[must_use]
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.payloads.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The times when the records were appended, in nanoseconds since the Unix epoch, in the order of the payloads.
    #[must_use]
    pub fn appended_at(&self) -> impl ExactSizeIterator<Item = u64> + Clone {
        self.payloads.iter().map(|range| time_before(&self.bytes, range.start))
    }

    /// A batch with only the first records, and the position after them.
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
                    // The record begins at its header, before its payload.
                    let next = self.payloads[count].start - HEADER;
                    position.set_mark(part.segment, part.chunk, (part.offset + next - part.start) as u32);
                }
                break;
            }
        }
        let end = self.payloads[count].start - HEADER;
        let mut prefix = Self {
            bytes: self.bytes[..end].to_vec(),
            payloads: self.payloads[..count].to_vec(),
            position,
            since: self.since,
            from: self.from.clone(),
            damage: self.damage.iter().copied().filter(|damage| damage.before <= count).collect(),
            parts: self.parts.iter().take_while(|part| part.records.start < count).cloned().collect(),
            ..Self::default()
        };
        prefix.sum_up_damage();
        prefix
    }

    /// Whether the batch has neither records nor damage.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.is_empty() && self.corrupt == 0
    }

    /// The batch itself, or only its first records if it has more.
    #[must_use]
    pub fn at_most(self, count: usize) -> Self {
        if count < self.len() { self.prefix(count) } else { self }
    }

    /// The segments in which damage was found.
    pub(super) fn damaged(&self) -> impl Iterator<Item = u64> {
        self.damage.iter().map(|damage| damage.segment)
    }

    /// Counts `records` damaged or missing records at this place. `lost` of them are missing entirely.
    pub(super) fn note_damage(&mut self, segment: u64, records: u64, lost: u64) {
        self.damage.push(Damage { segment, before: self.payloads.len(), records, lost });
        self.corrupt += records;
        self.lost += lost;
    }

    fn sum_up_damage(&mut self) {
        self.corrupt = self.damage.iter().map(|damage| damage.records).sum();
        self.lost = self.damage.iter().map(|damage| damage.lost).sum();
    }

    pub(super) fn length(&self) -> Length {
        Length { bytes: self.bytes.len(), payloads: self.payloads.len(), damage: self.damage.len() }
    }

    /// Discards what was added after the batch had this length.
    pub(super) fn rewind(&mut self, length: Length) {
        self.bytes.truncate(length.bytes);
        self.payloads.truncate(length.payloads);
        self.damage.truncate(length.damage);
        self.sum_up_damage();
    }

    /// Discards the records, but keeps the position and the damage.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
        self.payloads.clear();
        self.parts.clear();
    }

    /// Whether damage was found after the batch had this length.
    pub(super) fn has_damage_since(&self, length: Length) -> bool {
        self.damage.len() > length.damage
    }

    pub(super) fn pass(&mut self, part: Part) {
        self.position.set_mark(part.segment, part.chunk, part.mark);
        self.parts.push(part);
    }

    /// The number of bytes that were read.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }
}
