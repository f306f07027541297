//! The classes of characters as bit masks, one bit per byte.

use wide::u8x16;

use super::class::{Class, class_at};

/// The number of bytes that a [`Word`] covers.
pub(crate) const WORD: usize = 64;

/// The classes of 64 bytes, one mask per class. The lowest bit is the first byte. All bytes of a character have its class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) lower: u64,
    pub(super) upper: u64,
    pub(super) caseless: u64,
    pub(super) mark: u64,
    pub(super) number: u64,
    /// White space, including line ends.
    pub(super) space: u64,
    pub(super) newline: u64,
    /// The space character.
    pub(super) blank: u64,
    pub(super) apostrophe: u64,
    /// Continuation bytes: the bytes of a character after its first.
    pub(super) continuation: u64,
    /// Bytes that are not classified: everything from the first character on that is white space or a number outside ASCII, or that
    /// is not entirely within these bytes or the text.
    pub(super) unknown: u64,
}

impl Word {
    /// The classes of the 64 bytes from `at` on, or of fewer at the end of the text. A character begins at `at`.
    #[inline(always)]
    pub(super) fn at(text: &[u8], at: usize) -> Self {
        let (mut word, high) = match text.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => Self::of(bytes),
            None => Self::last(text.get(at..).unwrap_or_default()),
        };
        if high != 0 {
            word.read(text, at, high);
        }
        word
    }

    #[cold]
    fn last(text: &[u8]) -> (Self, u64) {
        let mut bytes = [0xFF; WORD];
        for (place, byte) in bytes.iter_mut().zip(text) {
            *place = *byte;
        }
        Self::of(&bytes)
    }

    /// Classifies the characters outside ASCII one by one. `high` marks their bytes.
    #[inline(always)]
    fn read(&mut self, text: &[u8], at: usize, high: u64) {
        let mut firsts = high & !self.continuation;
        let mut classes = [0; Class::ALL.len()];
        while firsts != 0 {
            let place = firsts.trailing_zeros();
            firsts &= firsts - 1;
            let (class, width) = class_at(text, at + place as usize).unwrap_or((Class::Space, 1));
            if matches!(class, Class::Space | Class::Number) || place as usize + width > WORD {
                self.unknown = u64::MAX << place;
                break;
            }
            classes[class as usize] |= ((1 << width) - 1) << place;
        }
        self.lower |= classes[Class::Lower as usize];
        self.upper |= classes[Class::Upper as usize];
        self.caseless = classes[Class::Caseless as usize];
        self.mark = classes[Class::Mark as usize];
    }

    #[inline(always)]
    fn of(bytes: &[u8; WORD]) -> (Self, u64) {
        let mut word = Self::default();
        let mut high = 0;
        for (number, sixteen) in bytes.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*sixteen);
            let shift = number * 16;
            // The bytes in a range, by one wrapping subtraction: bytes below the range become large.
            let within = |low: u8, count: u8| {
                bits((bytes - u8x16::splat(low)).min(u8x16::splat(count)).simd_ne(u8x16::splat(count)), shift)
            };
            word.lower |= within(b'a', 26);
            word.upper |= within(b'A', 26);
            word.number |= within(b'0', 10);
            // The range from tab to carriage return holds the two line ends, and vertical tab and form feed.
            let blank = bits(bytes.simd_eq(u8x16::splat(b' ')), shift);
            word.blank |= blank;
            word.space |= within(b'\t', 5) | blank;
            word.apostrophe |= bits(bytes.simd_eq(u8x16::splat(b'\'')), shift);
            word.newline |=
                bits(bytes.simd_eq(u8x16::splat(b'\n')), shift) | bits(bytes.simd_eq(u8x16::splat(b'\r')), shift);
            word.continuation |= within(0x80, 0x40);
            high |= bits(bytes, shift);
        }
        (word, high)
    }
}

#[inline(always)]
fn bits(bytes: u8x16, shift: usize) -> u64 {
    u64::from(bytes.to_bitmask()) << shift
}
