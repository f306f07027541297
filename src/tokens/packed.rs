//! The form in which the extension carries a vocabulary: for every token the two that byte-pair encoding merges into it.
//!
//! A token's bytes follow from its halves, so the halves are all there is: three planes (low, middle and high bytes) of the left
//! ones, three of the right ones, compressed with zlib. That is two thirds of what the compressed bytes of the tokens take.
//! `build.rs` packs; [`super::vocabulary`] unpacks.

use std::io::{self, Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// The tokens an identifier below this stands for are the 256 single bytes, in an order of the encoding's own.
pub(super) const BYTES: usize = 256;

/// Both halves of an identifier that no token has.
pub(super) const GAP: [u32; 2] = [0xFF_FFFF; 2];

/// What [`pack`] packed: the byte each of the first 256 identifiers stands for, and the halves of all others.
pub(super) type Unpacked = ([u8; BYTES], Vec<[u32; 2]>);

/// Packs a vocabulary: `bytes` are the first 256 tokens, `halves` are those of the tokens from 256 on.
///
/// # Errors
/// Those of the compressor, which writes to memory.
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
/// When the bytes are not what [`pack`] made.
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
