//! What the patterns ask of a character: its Unicode general category, coarsely.

/// A class of characters. The encodings' patterns tell no finer ones apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// None of the others: punctuation, symbols, controls, unassigned.
    Other,
    /// White space that ends no line.
    Space,
    /// Carriage return and line feed.
    Newline,
    /// `\p{N}`
    Number,
    /// `\p{Lu}` and `\p{Lt}`
    Upper,
    /// `\p{Ll}`
    Lower,
    /// `\p{Lm}` and `\p{Lo}`: letters without case.
    Caseless,
    /// `\p{M}`
    Mark,
}

/// Made by `build.rs` of the tables that the patterns' own engine uses: for each block of [`BLOCK`] code points the number of
/// its classes, then those classes, once each.
static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.bin"));

/// Code points of a block.
const BLOCK: usize = 256;

/// Where the blocks' classes begin.
const BLOCKS: usize = 0x11_0000 / BLOCK;

/// Classes of the first 128 code points.
const ASCII: [Class; 128] = {
    let mut ascii = [Class::Other; 128];
    let mut code = 0;
    while code < 128 {
        ascii[code] = match code as u8 {
            b'\r' | b'\n' => Class::Newline,
            b' ' | b'\t' | 0x0B | 0x0C => Class::Space,
            b'0'..=b'9' => Class::Number,
            b'A'..=b'Z' => Class::Upper,
            b'a'..=b'z' => Class::Lower,
            _ => Class::Other,
        };
        code += 1;
    }
    ascii
};

impl Class {
    /// All classes, by their numbers.
    pub(super) const ALL: [Self; 8] =
        [Self::Other, Self::Space, Self::Newline, Self::Number, Self::Upper, Self::Lower, Self::Caseless, Self::Mark];

    /// `\p{L}`
    #[inline(always)]
    pub(super) fn is_letter(self) -> bool {
        matches!(self, Self::Upper | Self::Lower | Self::Caseless)
    }

    /// `\s`
    #[inline(always)]
    pub(super) fn is_space(self) -> bool {
        matches!(self, Self::Space | Self::Newline)
    }

    /// `[^\s\p{L}\p{N}]`
    #[inline(always)]
    pub(super) fn is_symbol(self) -> bool {
        matches!(self, Self::Other | Self::Mark)
    }

    /// The class of an ASCII character.
    #[inline(always)]
    pub(super) fn of_ascii(byte: u8) -> Self {
        ASCII[usize::from(byte & 127)]
    }

    /// The class of a code point.
    #[inline(always)]
    pub(super) fn of(code: u32) -> Self {
        let code = code as usize;
        let block = TABLE.get(code / BLOCK).copied().unwrap_or_default();
        let number = TABLE.get(BLOCKS + usize::from(block) * BLOCK + code % BLOCK).copied().unwrap_or_default();
        Self::ALL[usize::from(number & 7)]
    }
}

/// The class of the character at `at`, and how many bytes it has; `None` at the end. `text` is UTF-8.
#[inline(always)]
pub(super) fn class_at(text: &[u8], at: usize) -> Option<(Class, usize)> {
    let first = *text.get(at)?;
    if first < 0x80 {
        return Some((Class::of_ascii(first), 1));
    }
    let next = |place: usize| u32::from(text.get(at + place).copied().unwrap_or_default() & 0x3F);
    let first = u32::from(first);
    Some(match first {
        0..0xE0 => (Class::of((first & 0x1F) << 6 | next(1)), 2),
        0xE0..0xF0 => (Class::of((first & 0x0F) << 12 | next(1) << 6 | next(2)), 3),
        _ => (Class::of((first & 0x07) << 18 | next(1) << 12 | next(2) << 6 | next(3)), 4),
    })
}

/// Where the characters end that begin at `at` and satisfy a rule.
#[inline(always)]
pub(super) fn run(text: &[u8], mut at: usize, satisfies: impl Fn(Class) -> bool) -> usize {
    while let Some((class, width)) = class_at(text, at)
        && satisfies(class)
    {
        at += width;
    }
    at
}
