//! Reading a journal, one's own or another process's: records are found from the segments alone.
//!
//! A live segment is read up to the committed marks its writers publish; a segment file up to the last valid record of each chunk.
//!
//! Damage is counted and stepped over: after a damaged place, the next place with a valid record is looked for, so that one bit costs
//! one record. How many records a place had is told by the sequence numbers around it, and at the end of a chunk by its tally. An
//! error of the operating system is not damage: what could not be read now is read another time.

use std::io;
use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use super::batch::{Batch, Part};
use super::cursor::{CHUNK_DONE, Position};
use super::record::{HEADER, Parsed, find, framed_length, parse};
use super::segment::{CHUNK, CHUNKS, Segment, Tally, first_record};
use super::segment_file::{SegmentFile, is_transient};
use super::view::View;

/// Who writes the files that are read. It decides where the records of a chunk end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// This process wrote the files, and has sealed them.
    This,
    /// No process writes the files any more: where records end, the chunk ends.
    Dead,
    /// Another live process writes them: what is not there yet may come.
    Live,
}

/// How much there is to read.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Records.
    pub records: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// When the oldest of them was appended, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Whether something could not be read now, and is not in these.
    pub is_incomplete: bool,
}

/// Reads records after `from`, whole chunks at a time, until `limit` bytes are read: at most a chunk more.
pub(super) fn read_batch(views: &[View], from: &Position, limit: usize, writer: Writer) -> Batch {
    let mut batch = Batch::at(from);
    if limit > 0 {
        read(views, &mut batch, writer, &mut |batch| batch.byte_len() >= limit);
    }
    batch
}

/// Counts the records after `from`, in the memory of one chunk.
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

/// Counts the records after `from`, damaged ones included, by the tallies of the chunks: a segment costs a few reads and not its 4 MiB. A
/// chunk whose tally does not tell, or that was begun, is read.
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

/// Reads chunk by chunk until `is_enough` says so after one.
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
    // Asked before the marks are read: what was sealed then has its last marks now.
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
            // What was committed ends where the bytes do.
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

/// A file that is not written by this process any more.
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
            // Out of descriptors or of memory, or written by a later version: for another time, or another process.
            Err(error) if is_transient(&error) => {
                batch.is_incomplete = true;
                return false;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // In another process's journal, a file that is gone was delivered and deleted, unless its owner has it in its list.
                // In one's own, no other process deletes any. How many records it had cannot be known.
                if self.writer == Writer::This || (self.is_expected && self.writer == Writer::Dead) {
                    batch.note_damage(self.index, 1, 1);
                }
                return self.pass_whole(batch, is_enough);
            }
            // No segment, or none any more; a link, a FIFO, a device.
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

    /// Counts its records after a position. Their bytes are not counted.
    fn count_by_tallies(&self, from: &Position) -> Counted {
        let mut counted = Counted::default();
        let file = match SegmentFile::open(self.path) {
            Ok(Some(file)) => file,
            Err(error) if is_transient(&error) => return Counted { is_incomplete: true, ..counted },
            // How many records it had cannot be known; it is counted as damaged when it is read.
            Ok(None) | Err(_) => return counted,
        };
        for chunk in 0..CHUNKS {
            let mark = from.mark(self.index, chunk);
            if mark == CHUNK_DONE {
                continue;
            }
            if let Some(told) = file.told(chunk).filter(|_| mark as usize <= file.first_record(chunk)) {
                counted.records += told.records;
                counted.oldest = counted.oldest.into_iter().chain(told.oldest).min();
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
                // Bytes are copied in any order while the owner stores them, so a later record may have been seen before an earlier
                // one. The second time all that came before that later record is there, or it is damaged.
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

    /// Counts what is missing behind the last record of a chunk.
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
            // Cut off where the writer of the chunk had not yet said how far it came.
            None => u64::from(file.cut_at.is_some_and(|end| end / CHUNK as u64 == chunk as u64)),
        };
        let count = missing.max(u64::from(found.is_corrupt));
        if count > 0 {
            batch.note_damage(self.index, count, count - u64::from(found.is_corrupt));
        }
    }
}

/// How many records a chunk has had from this sequence on.
fn left_of(tally: Tally, next: Option<u64>) -> Option<u64> {
    let end = tally.first.checked_add(u64::from(tally.count))?;
    let left = end.saturating_sub(next?);
    // More than all of them: then they are not of the same writer.
    (left <= u64::from(tally.count)).then_some(left)
}

/// The sequence of the record behind these bytes, which begin where the chunk's records do.
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

/// Whether what begins at the beginning of these bytes, and at this offset of a chunk, is a record whose writing was broken off: the
/// kernel writes a range from its beginning to some boundary of sectors, and behind that are zeros. It was not acknowledged.
fn is_torn_write(rest: &[u8], offset: usize) -> bool {
    const SECTOR: usize = 512;
    let length = rest.get(4..8).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
    let end = HEADER + length as usize;
    // The last boundary in the record: behind each earlier one are zeros as well, if the writing ended there.
    let boundary = ((offset + end - 1) / SECTOR * SECTOR).saturating_sub(offset);
    boundary > 0 && rest.len() >= boundary && rest[boundary..].iter().all(|byte| *byte == 0)
}

/// What [`take_records`] found.
struct Found {
    /// Where the records end in the batch's bytes.
    end: usize,
    /// The sequence of the record that would come next.
    next: Option<u64>,
    /// Whether something stands behind them that was a record, or should be one.
    is_corrupt: bool,
}

/// Takes the records from `start` to the end of the batch's bytes, which begin at a record's place in a chunk, and drops the bytes after
/// them. `offset` is where they begin in the chunk; `expected` is asked for the sequence that the first
/// should have.
fn take_records(
    batch: &mut Batch,
    start: usize,
    offset: usize,
    (segment, seed): (u64, u32),
    expected: &dyn Fn() -> Option<u64>,
) -> Found {
    // Records are found in the bytes of one chunk, so offsets in it decide what fits.
    let (mut at, mut after) = (start, None);
    let is_corrupt = loop {
        let parsed = parse(&batch.bytes, at, seed);
        if let Parsed::Record { payload, next, sequence } = parsed {
            batch.payloads.push(payload);
            (at, after) = (next, sequence.checked_add(1));
            continue;
        }
        // Zeros are the end, and a record that was begun is the last of its chunk: unless another one follows.
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
