//! Reads the records of a journal, of this or another process, from the segments alone.
//!
//! A live segment is read up to the committed marks that its writers publish. A segment file is read up to the last valid record of
//! each chunk.
//!
//! Damage is counted and skipped: after a damaged place, reading continues at the next valid record, so that one wrong bit costs one
//! record. The sequence numbers around a damaged place tell how many records it had, and at the end of a chunk the chunk's tally
//! does. An I/O error is not damage: what cannot be read now is read again later.

use std::io;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use super::batch::{Batch, Part};
use super::cursor::{CHUNK_DONE, Position};
use super::record::{HEADER, Parsed, find, framed_length, parse};
use super::segment::{CHUNK, CHUNKS, Segment, Tally, first_record};
use super::segment_file::{SegmentFile, is_transient};
use super::view::View;

/// The state of the process that writes the files. It decides where the records of a chunk end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// This process wrote the files and has sealed them.
    This,
    /// The process has ended. After the last record, a chunk is complete.
    Dead,
    /// Another live process writes the files. More records may come.
    Live,
}

/// The size of the records that are left.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The number of records.
    pub records: u64,
    /// The bytes of the records, including headers.
    pub bytes: u64,
    /// When the oldest record was appended, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Whether something could not be read now and is not counted.
    pub is_incomplete: bool,
}

/// Reads the records after `from`, whole chunks at a time, until at least `limit` bytes are read.
pub(super) fn read_batch(views: &[View], from: &Position, limit: usize, writer: Writer) -> Batch {
    let mut batch = Batch::at(from);
    if limit > 0 {
        read(views, &mut batch, writer, &mut |batch| batch.byte_len() >= limit);
    }
    batch
}

/// Counts the records after `from`. Needs the memory of one chunk.
pub(super) fn count(views: &[View], from: &Position, writer: Writer) -> Counted {
    let mut counted = Counted::default();
    let mut batch = Batch::at(from);
    read(views, &mut batch, writer, &mut |batch| {
        counted.records += batch.len() as u64;
        counted.bytes += batch.payloads().map(|payload| framed_length(payload.len()) as u64).sum::<u64>();
        counted.oldest = counted.oldest.into_iter().chain(batch.appended_at()).min();
        batch.forget();
        false
    });
    counted.is_incomplete = batch.is_incomplete;
    counted
}

/// Counts the records after `from`, including damaged ones, by the tallies of the chunks. A segment costs a few reads instead of 4
/// MiB. A chunk is only read if its tally is invalid or if it was partly read before.
pub(super) fn count_by_tallies(views: &[View], from: &Position, writer: Writer) -> Counted {
    let mut counted = Counted::default();
    for view in views {
        if view.is_passed_by(from) {
            continue;
        }
        let left = match view {
            View::File { index, path, is_expected } => {
                let file = Sealed { index: *index, path, is_expected: *is_expected, writer };
                file.count_by_tallies(from)
            }
            View::Live(_) => count(std::slice::from_ref(view), from, writer),
        };
        counted.records += left.records;
        counted.bytes += left.bytes;
        counted.oldest = counted.oldest.into_iter().chain(left.oldest).min();
        counted.is_incomplete |= left.is_incomplete;
    }
    counted
}

/// Reads chunk by chunk until `is_enough`, called after each chunk, returns true.
fn read(views: &[View], batch: &mut Batch, writer: Writer, is_enough: &mut dyn FnMut(&mut Batch) -> bool) {
    for view in views {
        let is_done = match view {
            _ if view.index() < batch.position.floor => false,
            View::Live(segment) => read_live(segment, batch, is_enough),
            View::File { .. } if view.is_passed_by(&batch.position) => false,
            View::File { index, path, is_expected } => {
                let file = Sealed { index: *index, path, is_expected: *is_expected, writer };
                file.read(batch, is_enough)
            }
        };
        if is_done {
            return;
        }
    }
}

fn read_live(segment: &Segment, batch: &mut Batch, is_enough: &mut dyn FnMut(&mut Batch) -> bool) -> bool {
    // Check this before reading the marks: if the segment is sealed, the marks are final.
    let is_sealed = segment.is_sealed();
    batch.note_age(Some(segment.created.elapsed()));
    for chunk in 0..segment.claimed() {
        let mark = batch.position.mark(segment.index, chunk);
        if mark == CHUNK_DONE {
            continue;
        }
        let from = (mark as usize).max(first_record(chunk));
        let until = segment.committed(chunk);
        let (start, first) = (batch.bytes.len(), batch.len());
        if from < until {
            batch.bytes.resize(start + until - from, 0);
            let read = segment.store.read(chunk * CHUNK + from, &mut batch.bytes[start..]);
            batch.bytes.truncate(start + *read.as_ref().unwrap_or(&0));
            if read.is_err() {
                batch.is_incomplete = true;
                continue;
            }
            let expected = || {
                let mut bytes = vec![0; from - first_record(chunk)];
                let read = segment.store.read(chunk * CHUNK + first_record(chunk), &mut bytes);
                read.ok().and_then(|_| sequence_after(&bytes, segment.seed, segment.tally(chunk)))
            };
            let found = take_records(batch, start, from, (segment.index, segment.seed), &expected);
            // The committed records end before the committed bytes do: the rest is damaged.
            if found.end - start < until - from {
                let most = ((until - from - (found.end - start)) / HEADER).max(1) as u64;
                let known = segment.tally(chunk).and_then(|tally| left_of(tally, found.next.or_else(expected)));
                let count = known.unwrap_or(1).clamp(1, most);
                batch.note_damage(segment.index, count, count - u64::from(found.is_corrupt));
            }
        }
        let mark = if is_sealed { CHUNK_DONE } else { until as u32 };
        batch.pass(Part { segment: segment.index, chunk, offset: from, start, records: first..batch.len(), mark });
        if is_enough(batch) {
            return true;
        }
    }
    false
}

/// A segment file that this process does not write any more.
struct Sealed<'a> {
    index: u64,
    path: &'a Path,
    is_expected: bool,
    writer: Writer,
}

impl Sealed<'_> {
    fn read(&self, batch: &mut Batch, is_enough: &mut dyn FnMut(&mut Batch) -> bool) -> bool {
        let file = match SegmentFile::open(self.path) {
            Ok(Some(file)) => file,
            // The process has run out of descriptors or memory, or a newer version wrote the file. It is read later, or by another
            // process.
            Err(error) if is_transient(&error) => {
                batch.is_incomplete = true;
                return false;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // In another process's journal, a missing file was delivered and deleted, unless it is on its owner's list. In this
                // process's journal, no other process deletes files. The number of its records is unknown.
                if self.writer == Writer::This || (self.is_expected && self.writer == Writer::Dead) {
                    batch.note_damage(self.index, 1, 1);
                }
                return self.pass_whole(batch, is_enough);
            }
            // The file is not a segment, or is too damaged; or it is a link, a FIFO or a device.
            Ok(None) | Err(_) => {
                batch.note_damage(self.index, 1, 0);
                return self.pass_whole(batch, is_enough);
            }
        };
        batch.note_age(file.age);
        if file.is_header_damaged {
            batch.note_damage(self.index, 0, 0);
        }
        for chunk in 0..CHUNKS {
            let mark = batch.position.mark(self.index, chunk);
            if mark == CHUNK_DONE {
                continue;
            }
            if self.read_chunk(&file, chunk, mark as usize, batch).is_err() {
                batch.is_incomplete = true;
                continue;
            }
            if is_enough(batch) {
                return true;
            }
        }
        false
    }

    /// Counts the records after a position, but not their bytes.
    fn count_by_tallies(&self, from: &Position) -> Counted {
        let mut counted = Counted::default();
        let file = match SegmentFile::open(self.path) {
            Ok(Some(file)) => file,
            Err(error) if is_transient(&error) => return Counted { is_incomplete: true, ..counted },
            // The number of its records is unknown. It is counted as damaged when it is read.
            Ok(None) | Err(_) => return counted,
        };
        for chunk in 0..CHUNKS {
            let mark = from.mark(self.index, chunk);
            if mark == CHUNK_DONE {
                continue;
            }
            if let Some(tally_count) = file.tally_count(chunk).filter(|_| mark as usize <= file.first_record(chunk)) {
                counted.records += tally_count.records;
                counted.oldest = counted.oldest.into_iter().chain(tally_count.oldest).min();
                continue;
            }
            let mut batch = Batch::at(from);
            counted.is_incomplete |= self.read_chunk(&file, chunk, mark as usize, &mut batch).is_err();
            counted.records += batch.len() as u64 + batch.corrupt;
            counted.oldest = counted.oldest.into_iter().chain(batch.appended_at()).min();
        }
        counted
    }

    fn pass_whole(&self, batch: &mut Batch, is_enough: &mut dyn FnMut(&mut Batch) -> bool) -> bool {
        let (start, at) = (batch.bytes.len(), batch.len());
        for chunk in 0..CHUNKS {
            batch.pass(Part { segment: self.index, chunk, offset: 0, start, records: at..at, mark: CHUNK_DONE });
        }
        is_enough(batch)
    }

    fn read_chunk(&self, file: &SegmentFile, chunk: usize, mark: usize, batch: &mut Batch) -> io::Result<()> {
        let begin = batch.length();
        let (start, first) = (batch.bytes.len(), batch.len());
        let from = mark.max(file.first_record(chunk)).min(CHUNK);
        let expected = || {
            let mut bytes = Vec::new();
            file.read_chunk(chunk, file.first_record(chunk), &mut bytes).ok()?;
            bytes.truncate(from - file.first_record(chunk));
            sequence_after(&bytes, file.seed, file.tally(chunk))
        };
        file.read_chunk(chunk, from, &mut batch.bytes)?;
        let mut found = take_records(batch, start, from, (self.index, file.seed), &expected);
        if self.writer == Writer::Live {
            if batch.has_damage_since(begin) {
                // The owner stores bytes in any order while they are copied, so a later record may be seen before an earlier one. At
                // the second reading, everything before that later record is there, or it is damaged.
                fence(Ordering::Acquire);
                batch.rewind(begin);
                file.read_chunk(chunk, from, &mut batch.bytes)?;
                found = take_records(batch, start, from, (self.index, file.seed), &expected);
            }
        } else {
            self.count_rest(file, chunk, &found, batch, &expected);
        }
        batch.bytes.truncate(found.end);
        let mark = match self.writer {
            Writer::Dead | Writer::This => CHUNK_DONE,
            Writer::Live => (from + found.end - start) as u32,
        };
        batch.pass(Part { segment: self.index, chunk, offset: from, start, records: first..batch.len(), mark });
        Ok(())
    }

    /// Counts the records that are missing after the last one of a chunk.
    fn count_rest(
        &self,
        file: &SegmentFile,
        chunk: usize,
        found: &Found,
        batch: &mut Batch,
        expected: &dyn Fn() -> Option<u64>,
    ) {
        let missing = match file.tally(chunk) {
            Some(tally) => left_of(tally, found.next.or_else(expected)).unwrap_or(0),
            // The file was truncated in a chunk whose writer had not yet written its tally.
            None => u64::from(file.cut_at.is_some_and(|end| end / CHUNK as u64 == chunk as u64)),
        };
        let count = missing.max(u64::from(found.is_corrupt));
        if count > 0 {
            batch.note_damage(self.index, count, count - u64::from(found.is_corrupt));
        }
    }
}

/// The number of records of a chunk from this sequence on.
fn left_of(tally: Tally, next: Option<u64>) -> Option<u64> {
    let end = tally.first.checked_add(u64::from(tally.count))?;
    let left = end.saturating_sub(next?);
    // If there are more than the chunk has, the two belong to different writers.
    (left <= u64::from(tally.count)).then_some(left)
}

/// The sequence of the record after these bytes, which begin at the first record of the chunk.
fn sequence_after(bytes: &[u8], seed: u32, tally: Option<Tally>) -> Option<u64> {
    if bytes.is_empty() {
        return tally.filter(|tally| tally.count > 0).map(|tally| tally.first);
    }
    let (mut after, mut at) = (None, 0);
    while let Some((_, Parsed::Record { next, sequence, .. })) = find(bytes, at, seed) {
        (at, after) = (next, sequence.checked_add(1));
    }
    after
}

/// Whether a record that begins at the start of `rest`, at this offset of a chunk, was cut off while it was written. The kernel
/// writes a range from its start to some sector boundary, and zeros follow. Such a record was never acknowledged.
fn is_torn_write(rest: &[u8], offset: usize) -> bool {
    const SECTOR: usize = 512;
    let length = rest.get(4..8).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
    let end = HEADER + length as usize;
    // Check only the last boundary in the record: if the write ended at an earlier one, zeros follow the last one as well.
    let boundary = ((offset + end - 1) / SECTOR * SECTOR).saturating_sub(offset);
    boundary > 0 && rest.len() >= boundary && rest[boundary..].iter().all(|byte| *byte == 0)
}

/// The result of [`take_records`].
struct Found {
    /// Where the records end in the batch's bytes.
    end: usize,
    /// The sequence of the record that would come next.
    next: Option<u64>,
    /// Whether invalid bytes follow, which were or should be a record.
    is_corrupt: bool,
}

/// Parses the records from `start` to the end of the batch's bytes, which begin at a record, and removes the bytes after them.
/// `offset` is where they begin in the chunk. `expected` returns the sequence that the first record should have.
fn take_records(
    batch: &mut Batch,
    start: usize,
    offset: usize,
    (segment, seed): (u64, u32),
    expected: &dyn Fn() -> Option<u64>,
) -> Found {
    // All bytes are from one chunk, so offsets in it decide what fits.
    let (mut at, mut after) = (start, None);
    let is_corrupt = loop {
        let parsed = parse(&batch.bytes, at, seed);
        if let Parsed::Record { payload, next, sequence } = parsed {
            batch.payloads.push(payload);
            (at, after) = (next, sequence.checked_add(1));
            continue;
        }
        // Zeros and unfinished records mean the end of the chunk, unless a valid record follows.
        let Some((found, Parsed::Record { sequence, .. })) = find(&batch.bytes, at + 8, seed) else {
            break parsed == Parsed::Corrupt && !is_torn_write(&batch.bytes[at..], offset + at - start);
        };
        let most = ((found - at) / HEADER).max(1) as u64;
        let gap = after.or_else(expected).and_then(|expected| sequence.checked_sub(expected));
        let count = gap.filter(|gap| (1..=most).contains(gap)).unwrap_or(1);
        batch.note_damage(segment, count, count - 1);
        at = found;
    };
    batch.bytes.truncate(at);
    Found { end: at, next: after, is_corrupt }
}
