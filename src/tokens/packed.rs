//! The packed form of a vocabulary in the extension: for every token, the two tokens that byte-pair encoding merges into it.
//!
//! The bytes of a token follow from its two halves, so only the halves are stored: three planes (low, middle and high bytes) of the
//! left halves and three of the right halves, compressed with zlib. This takes two thirds of the space of the tokens' compressed
//! bytes. `build.rs` packs; [`super::vocabulary`] unpacks.

use std::io::{self, Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// The first token numbers, which are the 256 single bytes, in an order that depends on the encoding.
pub(super) const BYTES: usize = 256;

/// The halves of a number that is not a token.
pub(super) const GAP: [u32; 2] = [0xFF_FFFF; 2];

/// The content of a packed vocabulary: the byte of each of the first 256 tokens, and the halves of all others.
pub(super) type Unpacked = ([u8; BYTES], Vec<[u32; 2]>);

/// Packs a vocabulary: `bytes` are the first 256 tokens, `halves` are those of the tokens from 256 on.
///
/// # Errors
/// Errors of the compressor.
#[allow(dead_code, reason = "`build.rs` calls it, and tests do")]
pub(super) fn pack(bytes: &[u8; BYTES], halves: &[[u32; 2]]) -> io::Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    for side in 0..2 {
        for shift in [0, 8, 16] {
            let plane: Vec<u8> = halves.iter().map(|half| (half[side] >> shift) as u8).collect();
            packed.write_all(&plane)?;
        }
    }
    packed.finish()
}

/// The inverse of [`pack`].
///
/// # Errors
/// If the bytes do not come from [`pack`].
pub(super) fn unpack(packed: &[u8]) -> io::Result<Unpacked> {
    let mut plain = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut plain)?;
    let (bytes, planes) = plain.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    if planes.len() % 6 != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let count = planes.len() / 6;
    let mut halves = vec![[0, 0]; count];
    for (number, plane) in planes.chunks_exact(count.max(1)).enumerate() {
        for (half, byte) in halves.iter_mut().zip(plane) {
            half[number / 3] |= u32::from(*byte) << (number % 3 * 8);
        }
    }
    Ok((*bytes, halves))
}
