//! The format of a record: a header with a checksum, and the payload.
//!
//! ```text
//! 0   magic u16 = 0x5854 ("TX") | version u8 = 2 | flags u8 = 0
//! 4   payload length u32
//! 8   crc u32: CRC-32 of sequence, time and payload, with the initial value (seed of the segment) xor (payload length rotated left
//! by 16)
//! 12  commit u32 = 0x00C0_FFEE, stored last
//! 16  sequence u64: the writer in the highest 8 bits, then a number that increases by one with each record of that writer
//! 24  time u64, nanoseconds since the epoch
//! 32  payload, padded with zeros to a multiple of 8
//! ```
//!
//! Integers are little-endian. Each segment has its own seed, so a page of a deleted segment that the file system reuses does not
//! look like a record. A process that dies while it writes a record leaves it without its commit, so it does not count. After a power
//! failure any page may be old or new, which the checksum detects. Records of version 1 have no writer in their sequence; otherwise
//! they are the same.

use std::ops::Range;

/// The bytes before the payload.
pub(super) const HEADER: usize = 32;
pub(super) const MAGIC: u16 = 0x5854;
const VERSION: u8 = 2;
const COMMIT: u32 = 0x00C0_FFEE;
/// The bits of a sequence that number a writer's records. At 1 ns per record, they last for two years.
const NUMBER_BITS: u32 = 56;

/// The sequence of a writer's first record.
pub(super) const fn first_sequence(writer: u8) -> u64 {
    (writer as u64) << NUMBER_BITS
}

/// The bytes that a record with this payload takes in a chunk.
pub(super) const fn framed_length(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(8)
}

/// Completes a record. `frame` holds space for the header, followed by the payload. It is padded.
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
    // The length goes into the initial value, so that the checksum is one pass over contiguous bytes.
    let mut hasher = crc32fast::Hasher::new_with_initial(seed ^ u32::from_le_bytes(length).rotate_left(16));
    hasher.update(rest);
    hasher.finalize()
}

/// The time when a record was appended. `payload` is where its payload begins in `bytes`.
pub(super) fn time_before(bytes: &[u8], payload: usize) -> u64 {
    let time = payload.checked_sub(8).and_then(|at| bytes.get(at..payload)?.try_into().ok());
    u64::from_le_bytes(time.unwrap_or_default())
}

/// What is found at an offset of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A record: the range of its payload, the offset of the next record, and its sequence.
    Record { payload: Range<usize>, next: usize, sequence: u64 },
    /// Zeros: nothing was written here.
    End,
    /// A record that was started but not committed.
    Torn,
    /// Bytes that are not a valid record.
    Corrupt,
}

/// Parses what is at `at` in `bytes`, which end at the end of the chunk.
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
        // The other words of a header may be stored in any order before the commit.
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

/// Finds the next valid record at or after `at`. Records begin at multiples of 8 bytes in the chunk, and `at` must be one. The caller
/// knows that there is no record before it.
pub(super) fn find(bytes: &[u8], mut at: usize, seed: u32) -> Option<(usize, Parsed)> {
    while at + HEADER <= bytes.len() {
        // Checking the magic first is cheap, and fails almost everywhere.
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
            // The checksum does not cover the flags and the padding.
            let covered = HEADER + payload.len();
            let bit = bit.index(covered * 8);
            prop_assume!(bit / 8 != 3);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(parse(&bytes, 0, seed), Parsed::Record { .. }), "bit {}", bit);
        }

        #[test]
        fn parsing_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..220) {
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
    fn the_next_record_is_found_after_any_bytes() {
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
