//! One record: a header that proves its payload, and the payload.
//!
//! ```text
//! 0   magic u16 = 0x5854 ("TX") | version u8 = 2 | flags u8 = 0
//! 4   payload length u32
//! 8   crc u32: CRC-32 of sequence, time and payload, begun with (seed of the segment) xor (payload length rotated left by 16)
//! 12  commit u32 = 0x00C0_FFEE, stored last
//! 16  sequence u64: writer in the highest 8 bits, below them a number that ascends by one from record to record of that writer
//! 24  time u64, nanoseconds since the epoch
//! 32  payload, padded with zeros to a multiple of 8
//! ```
//!
//! Integers are little-endian. The seed differs from segment to segment, so a page of a deleted segment that a file system hands
//! out again is not taken for a record. A process that dies while it writes leaves a record without its commit, which is no
//! record; a power failure can leave any page old or new, which the checksum finds. Records of version 1 have no writer in their
//! sequence, and are the same otherwise.

use std::ops::Range;

/// Bytes before the payload.
pub(super) const HEADER: usize = 32;
pub(super) const MAGIC: u16 = 0x5854;
const VERSION: u8 = 2;
const COMMIT: u32 = 0x00C0_FFEE;
/// Bits of a sequence that number a writer's records. A writer would append for two years at 1 ns a record to use them up.
const NUMBER_BITS: u32 = 56;

/// The sequence of the first record of a writer.
pub(super) const fn first_sequence(writer: u8) -> u64 {
    (writer as u64) << NUMBER_BITS
}

/// Bytes a payload takes in a chunk.
pub(super) const fn framed_length(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(8)
}

/// Completes a record. `frame` holds room for the header, then the payload; it comes back padded.
pub(super) fn seal(frame: &mut Vec<u8>, seed: u32, sequence: u64, time: u64) {
    let payload = frame.len() - HEADER;
    let length = (payload as u32).to_le_bytes();
    frame[0..2].copy_from_slice(&MAGIC.to_le_bytes());
    frame[2] = VERSION;
    frame[3] = 0;
    frame[4..8].copy_from_slice(&length);
    frame[12..16].copy_from_slice(&COMMIT.to_le_bytes());
    frame[16..24].copy_from_slice(&sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&time.to_le_bytes());
    let crc = checksum(seed, length, &frame[16..]);
    frame[8..12].copy_from_slice(&crc.to_le_bytes());
    frame.resize(framed_length(payload), 0);
}

fn checksum(seed: u32, length: [u8; 4], rest: &[u8]) -> u32 {
    // The length goes into the seed, so that the checksum is one pass over contiguous bytes.
    let mut hasher = crc32fast::Hasher::new_with_initial(seed ^ u32::from_le_bytes(length).rotate_left(16));
    hasher.update(rest);
    hasher.finalize()
}

/// When the record was appended whose payload begins at a place in `bytes`.
pub(super) fn time_before(bytes: &[u8], payload: usize) -> u64 {
    let time = payload.checked_sub(8).and_then(|at| bytes.get(at..payload)?.try_into().ok());
    u64::from_le_bytes(time.unwrap_or_default())
}

/// What stands at a place in a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A record: where its payload is, where the next one begins, and its sequence.
    Record { payload: Range<usize>, next: usize, sequence: u64 },
    /// Nothing was written here.
    End,
    /// A record that was begun and not committed.
    Torn,
    /// Bytes that are no record.
    Corrupt,
}

/// Reads what stands at `at` in `bytes`, which end where the chunk does.
pub(super) fn parse(bytes: &[u8], at: usize, seed: u32) -> Parsed {
    let Some(header) = bytes.get(at..at + HEADER) else {
        return if bytes.get(at..).unwrap_or_default().iter().all(|byte| *byte == 0) {
            Parsed::End
        } else {
            Parsed::Corrupt
        };
    };
    if header.iter().all(|byte| *byte == 0) {
        return Parsed::End;
    }
    let word = |from: usize| u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]]);
    if word(12) == 0 {
        // The words of a header are stored in any order before the commit.
        return Parsed::Torn;
    }
    let has_form = header[..2] == MAGIC.to_le_bytes() && (1..=VERSION).contains(&header[2]) && word(12) == COMMIT;
    let length = word(4) as usize;
    if let Some(next) = at.checked_add(framed_length(length)).filter(|next| has_form && *next <= bytes.len()) {
        let payload = at + HEADER..at + HEADER + length;
        if checksum(seed, (length as u32).to_le_bytes(), &bytes[at + 16..payload.end]) == word(8) {
            let low = u64::from(word(16));
            return Parsed::Record { payload, next, sequence: low | u64::from(word(20)) << 32 };
        }
    }
    Parsed::Corrupt
}

/// Looks for the next record at or after `at`, a multiple of 8 bytes from the beginning of the chunk as `at` is. The caller knows
/// that none stands before it.
pub(super) fn find(bytes: &[u8], mut at: usize, seed: u32) -> Option<(usize, Parsed)> {
    while at + HEADER <= bytes.len() {
        // Cheap: in most places the magic is not there.
        if bytes[at..at + 2] == MAGIC.to_le_bytes()
            && let parsed @ Parsed::Record { .. } = parse(bytes, at, seed)
        {
            return Some((at, parsed));
        }
        at += 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: &[u8], seed: u32, sequence: u64) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        frame.extend_from_slice(payload);
        seal(&mut frame, seed, sequence, 9);
        frame
    }

    proptest! {
        #[test]
        fn a_sealed_record_parses_and_one_flipped_bit_does_not(
            payload in prop::collection::vec(any::<u8>(), 0..200), seed in any::<u32>(), bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = frame(&payload, seed, 5);
            let whole = bytes.len();
            let parsed = Parsed::Record { payload: HEADER..HEADER + payload.len(), next: whole, sequence: 5 };
            prop_assert_eq!(parse(&bytes, 0, seed), parsed);
            prop_assert!(!matches!(parse(&bytes, 0, seed ^ 1), Parsed::Record { .. }), "another segment's seed");
            // The flags and the padding are not covered.
            let covered = HEADER + payload.len();
            let bit = bit.index(covered * 8);
            prop_assume!(bit / 8 != 3);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(parse(&bytes, 0, seed), Parsed::Record { .. }), "bit {}", bit);
        }

        #[test]
        fn any_bytes_parse_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..220) {
            let _ = parse(&bytes, at, 1);
        }
    }

    #[test]
    fn a_record_of_version_1_is_read_and_one_of_version_3_is_not() {
        let mut bytes = frame(b"payload", 1, first_sequence(7) + 5);
        assert!(matches!(parse(&bytes, 0, 1), Parsed::Record { sequence, .. } if sequence >> 56 == 7));
        bytes[2] = 1;
        assert!(matches!(parse(&bytes, 0, 1), Parsed::Record { .. }));
        bytes[2] = 3;
        assert_eq!(parse(&bytes, 0, 1), Parsed::Corrupt);
    }

    #[test]
    fn the_next_record_is_found_behind_anything() {
        let mut bytes = vec![0xab; 1000];
        let last = frame(b"last", 1, 9);
        bytes[504..504 + last.len()].copy_from_slice(&last);
        assert_eq!(find(&bytes, 0, 1).map(|(at, _)| at), Some(504));
        assert_eq!(find(&bytes, 512, 1), None);
        assert_eq!(find(&bytes[..504 + last.len() - 1], 0, 1), None, "cut off");
    }

    #[test]
    fn a_record_without_its_commit_is_torn_and_zeros_are_the_end() {
        let mut bytes = frame(b"payload", 1, 2);
        bytes[8..16].fill(0);
        assert_eq!(parse(&bytes, 0, 1), Parsed::Torn);
        bytes[..8].fill(0);
        assert_eq!(parse(&bytes, 0, 1), Parsed::Torn);
        assert_eq!(parse(&[0; 64], 0, 1), Parsed::End);
        assert_eq!(parse(&[0; 8], 0, 1), Parsed::End);
    }
}
