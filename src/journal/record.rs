//! One record: a header that proves its payload, and the payload.
//!
//! ```text
//! 0   magic u16 = 0x5854 ("TX") | version u8 = 1 | flags u8 = 0
//! 4   payload length u32
//! 8   crc u32: CRC-32 of length, sequence, time and payload, begun with the seed of the segment
//! 12  commit u32 = 0x00C0_FFEE, stored last
//! 16  sequence u64, ascending within a writer
//! 24  time u64, nanoseconds since the epoch
//! 32  payload, padded with zeros to a multiple of 8
//! ```
//!
//! Integers are little-endian. The seed differs from segment to segment, so a page of a deleted segment that a file system hands
//! out again is not taken for a record. A process that dies while it writes leaves a record without its commit, which is no
//! record; a power failure can leave any page old or new, which the checksum finds.

use std::ops::Range;

/// Bytes before the payload.
pub(super) const HEADER: usize = 32;
const MAGIC: u16 = 0x5854;
const VERSION: u8 = 1;
const COMMIT: u32 = 0x00C0_FFEE;

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
    /// A record: where its payload is, and where the next one begins.
    Record { payload: Range<usize>, next: usize },
    /// Nothing was written here.
    End,
    /// A record that was begun and not committed.
    Torn,
    /// Bytes that are no record. If its length is believable, the next one may begin at `next`.
    Corrupt { next: Option<usize> },
}

/// Reads what stands at `at` in `bytes`, which end where the chunk does.
pub(super) fn parse(bytes: &[u8], at: usize, seed: u32) -> Parsed {
    let Some(header) = bytes.get(at..at + HEADER) else {
        return Parsed::End;
    };
    if header.iter().all(|byte| *byte == 0) {
        return Parsed::End;
    }
    let word = |from: usize| u32::from_le_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]]);
    let length = word(4) as usize;
    let next = at.checked_add(framed_length(length)).filter(|next| *next <= bytes.len());
    let has_magic = header[..2] == MAGIC.to_le_bytes();
    if word(12) == 0 && !has_magic {
        // The words of a header are stored in any order before the commit.
        return Parsed::Torn;
    }
    match next {
        Some(next) if has_magic && header[2] == VERSION && word(12) == COMMIT => {
            let payload = at + HEADER..at + HEADER + length;
            if checksum(seed, (length as u32).to_le_bytes(), &bytes[at + 16..payload.end]) == word(8) {
                return Parsed::Record { payload, next };
            }
            Parsed::Corrupt { next: Some(next) }
        }
        _ if word(12) == 0 => Parsed::Torn,
        next => Parsed::Corrupt { next: next.filter(|_| has_magic) },
    }
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
            prop_assert_eq!(parse(&bytes, 0, seed), Parsed::Record { payload: HEADER..HEADER + payload.len(), next: whole });
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
