//! Properties that must hold for any bytes in a journal's files.

use super::cursor::{Position, SLOT};
use super::record::{self, HEADER, Parsed};

/// A chunk of a segment: every record that is found lies in the chunk, after the record before it.
///
/// # Panics
/// If the property does not hold.
pub fn record(bytes: &[u8]) {
    let Some((seed, chunk)) = bytes.split_first_chunk::<4>() else { return };
    let seed = u32::from_le_bytes(*seed);
    let mut at = 0;
    while let Some((start, parsed)) = record::find(chunk, at, seed) {
        let Parsed::Record { payload, next, .. } = parsed else {
            return assert_eq!(parsed, Parsed::End, "no record is found");
        };
        assert!(start >= at && payload.start == start + HEADER && payload.end <= next && next <= chunk.len());
        at = next;
    }
    for start in 0..=chunk.len() {
        let _ = record::parse(chunk, start, seed);
    }
    // A sealed record is found, whatever follows it.
    let mut frame = vec![0; HEADER];
    frame.extend_from_slice(&chunk[..chunk.len().min(1000)]);
    let payload = HEADER..frame.len();
    record::seal(&mut frame, seed, 7, 9);
    let framed = frame.len();
    frame.extend_from_slice(chunk);
    assert_eq!(record::parse(&frame, 0, seed), Parsed::Record { payload, next: framed, sequence: 7 });
}

/// A slot of a cursor: decoding, encoding and decoding it again yields the same position.
///
/// # Panics
/// If the property does not hold.
pub fn cursor(bytes: &[u8]) {
    let mut slot = bytes.to_vec();
    let _ = Position::decode(&slot);
    // A file can be edited by hand, with a valid checksum.
    slot.resize(SLOT, 0);
    let word = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]) as usize;
    let end = Position::end(word(24), word(28));
    if let Some(end) = end {
        slot[..8].copy_from_slice(super::cursor::MAGIC);
        let checksum = crc32fast::hash(&slot[..end]).to_le_bytes();
        slot[end..end + 4].copy_from_slice(&checksum);
    }
    let Some((generation, position)) = Position::decode(&slot) else {
        return assert_eq!(end, None, "a valid slot is read");
    };
    let written = position.encode(generation);
    assert!(written.len() <= SLOT);
    let (again, back) = Position::decode(&written).unwrap_or_default();
    assert_eq!(again, generation);
    assert_eq!(back.floor, position.floor);
    // There may have been no room for the marks of the highest segments.
    assert!(back.marks.iter().all(|(segment, marks)| position.marks.get(segment) == Some(marks)));
}
