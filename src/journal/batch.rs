//! What a reader gets: records in a row, and where they end.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::cursor::Position;
use super::record::{HEADER, time_before};

/// Records in a row, and where they end.
#[derive(Clone, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) payloads: Vec<Range<usize>>,
    /// The position after them.
    pub position: Position,
    /// Records that were appended and are damaged or gone: exact where sequence numbers tell, and at least one a damaged place.
    pub corrupt: u64,
    /// Of these, records of which nothing is left; a missing segment counts as one.
    pub lost: u64,
    /// No record of it was appended before this, whatever the clock of the day says; `None` where that cannot be known.
    pub since: Option<Instant>,
    /// Whether something could not be read now, and has to be tried again.
    pub is_incomplete: bool,
    damage: Vec<Damage>,
    /// The position before them, and the chunks they were read from.
    from: Position,
    parts: Vec<Part>,
}

/// A place where something was damaged.
#[derive(Clone, Copy)]
pub(super) struct Damage {
    pub(super) segment: u64,
    /// Records before it in the batch.
    before: usize,
    pub(super) records: u64,
    lost: u64,
}

/// What was read of one chunk.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) segment: u64,
    pub(super) chunk: usize,
    /// Where it begins in the chunk, and in the batch's bytes.
    pub(super) offset: usize,
    pub(super) start: usize,
    /// Its records among the batch's.
    pub(super) records: Range<usize>,
    /// The chunk's mark after them.
    pub(super) mark: u32,
}

/// How much a batch held at some time, to go back to.
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

    /// Notes that records of a segment follow, none of which is older than the segment.
    pub(super) fn note_age(&mut self, age: Option<Duration>) {
        let since = age.and_then(|age| Instant::now().checked_sub(age));
        self.since = self.since.into_iter().chain(since).max();
    }

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
        self.damage.iter().map(|damage| damage.segment)
    }

    /// Counts records that were damaged here; of `lost` ones nothing is left.
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

    /// Forgets what came after it had this length.
    pub(super) fn rewind(&mut self, length: Length) {
        self.bytes.truncate(length.bytes);
        self.payloads.truncate(length.payloads);
        self.damage.truncate(length.damage);
        self.sum_up_damage();
    }

    /// Forgets what was read, but for how far it goes.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
        self.payloads.clear();
        self.parts.clear();
    }

    /// Whether damage was found since it had this length.
    pub(super) fn has_damage_since(&self, length: Length) -> bool {
        self.damage.len() > length.damage
    }

    pub(super) fn pass(&mut self, part: Part) {
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
