//! The classes of ASCII text, a bit a byte.

use wide::u8x16;

/// Bytes that a [`Word`] covers.
pub(super) const WORD: usize = 64;

/// The classes of 64 bytes, each a bit a byte, the first byte lowest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) lower: u64,
    pub(super) upper: u64,
    pub(super) number: u64,
    /// White space, ends of lines among it.
    pub(super) space: u64,
    pub(super) newline: u64,
    /// The space itself.
    pub(super) blank: u64,
    pub(super) apostrophe: u64,
    /// Bytes of characters outside ASCII, and what is beyond the text.
    pub(super) high: u64,
}

impl Word {
    /// The classes of the 64 bytes at `at`, or of fewer at the end of the text.
    #[inline(always)]
    pub(super) fn at(text: &[u8], at: usize) -> Self {
        match text.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => Self::of(bytes),
            None => Self::last(text.get(at..).unwrap_or_default()),
        }
    }

    #[cold]
    fn last(text: &[u8]) -> Self {
        let mut bytes = [0xFF; WORD];
        for (place, byte) in bytes.iter_mut().zip(text) {
            *place = *byte;
        }
        Self::of(&bytes)
    }

    #[inline(always)]
    fn of(bytes: &[u8; WORD]) -> Self {
        let mut word = Self::default();
        for (number, sixteen) in bytes.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*sixteen);
            let shift = number * 16;
            // Those between two bounds, by one subtraction that wraps: what lies below becomes large.
            let within = |low: u8, count: u8| {
                bits((bytes - u8x16::splat(low)).min(u8x16::splat(count)).simd_ne(u8x16::splat(count)), shift)
            };
            word.lower |= within(b'a', 26);
            word.upper |= within(b'A', 26);
            word.number |= within(b'0', 10);
            // From the tab to the carriage return: the two ends of lines, and two that no keyboard has.
            let blank = bits(bytes.simd_eq(u8x16::splat(b' ')), shift);
            word.blank |= blank;
            word.space |= within(b'\t', 5) | blank;
            word.apostrophe |= bits(bytes.simd_eq(u8x16::splat(b'\'')), shift);
            word.newline |=
                bits(bytes.simd_eq(u8x16::splat(b'\n')), shift) | bits(bytes.simd_eq(u8x16::splat(b'\r')), shift);
            word.high |= bits(bytes, shift);
        }
        word
    }
}

#[inline(always)]
fn bits(bytes: u8x16, shift: usize) -> u64 {
    u64::from(bytes.to_bitmask()) << shift
}
