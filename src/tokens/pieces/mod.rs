//! Splits text into pieces, each of which is encoded separately.
//!
//! [`pattern`] finds the end of a piece in any text. Most ends are found with bit masks instead: [`mask`] classifies 64 bytes at
//! once, and the end of a run is the position of a bit, without a step or a branch per byte. Where the masks cannot decide (capitals
//! after letters without case, marks without a letter, spaces and numbers outside ASCII), the pattern does.

mod class;
mod mask;
mod pattern;

pub(super) use mask::WORD;
use mask::Word;
use pattern::{Cl100k, O200k, Pattern, R50k, contraction};

/// The pattern by which an encoding splits text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Splitter {
    O200k,
    Cl100k,
    R50k,
}

/// Receives the pieces.
pub(super) trait Visit {
    /// Receives one piece: the bytes from `start` to `end`.
    fn piece(&mut self, text: &[u8], start: usize, end: usize);

    /// Receives adjacent pieces. The first begins at `start`. The bits of `ends` are the ends of all, counted from `base`. Returns the
    /// end of the last one, or `start` if there are no pieces.
    #[inline(always)]
    fn pieces(&mut self, text: &[u8], mut start: usize, base: usize, mut ends: u64) -> usize {
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            self.piece(text, start, end);
            start = end;
            ends &= ends - 1;
        }
        start
    }
}

impl Splitter {
    /// Passes the pieces of a text to a visitor, in order.
    #[inline(always)]
    pub(super) fn split(self, text: &str, visitor: &mut impl Visit) {
        match self {
            Self::O200k => split::<O200k>(text.as_bytes(), visitor),
            Self::Cl100k => split::<Cl100k>(text.as_bytes(), visitor),
            Self::R50k => split::<R50k>(text.as_bytes(), visitor),
        }
    }
}

#[inline(always)]
fn split<P: Pattern>(text: &[u8], visitor: &mut impl Visit) {
    let mut start = 0;
    while start < text.len() {
        let base = start;
        start = visitor.pieces(text, start, base, starts::<P>(text, base));
        if start > base + WORD / 2 {
            continue;
        }
        let end = P::end(text, start);
        visitor.piece(text, start, end);
        start = end;
    }
}

/// The positions among the 64 bytes from `base` on where pieces begin, as bits, except `base` itself, where one always begins. Leaves
/// out positions that the masks cannot decide, or that depend on later bytes, and all positions after them.
#[inline(always)]
fn starts<P: Pattern>(text: &[u8], base: usize) -> u64 {
    let word = Word::at(text, base);
    // If the pattern distinguishes case, a mark after letters counts as a letter without case, and a mark that follows no letter is
    // left to the pattern. Otherwise a mark is a symbol.
    let caseless = if P::SPLITS_CASE { word.caseless | word.mark } else { word.caseless };
    let letter = word.lower | word.upper | caseless;
    let space = word.space;
    let symbol = !(letter | word.number | space | word.unknown);
    let loose = if P::SPLITS_CASE { word.mark & !(letter << 1) } else { 0 };
    // The part that can be decided. The last three bytes depend on what follows: an apostrophe on the next two letters, white space
    // on what comes after it.
    let known = (word.unknown | loose).trailing_zeros();
    let mut limit = known.saturating_sub(3);
    let unsplit = (!space << (WORD as u32 - known.max(1))).leading_zeros();
    limit = limit.min(known.saturating_sub(unsplit));

    let mut starts;
    let symbols;
    if P::JOINS_SPACE_ONLY {
        let joined = word.blank << 1;
        symbols = symbol & !(symbol << 1) & !joined;
        starts = symbols
            | letter & !(letter << 1) & !joined
            | word.number & !(word.number << 1) & !joined
            | space & !(space << 1)
            | space & !(space >> 1);
    } else {
        let inline = space & !word.newline;
        symbols = symbol & !(symbol << 1) & !(word.blank << 1);
        // A single symbol belongs to the word after it.
        let joined = (symbols << 1).wrapping_add(word.continuation) & !word.continuation;
        let words = letter & !(letter << 1) & !(inline << 1) & !joined;
        let lines = word.newline & !(space << 1) & !(symbol << 1);
        let indents = inline & word.newline << 1;
        starts = symbols | words | lines | indents | inline & !(space << 1) | inline & !(space >> 1);
        if P::SPLITS_CASE {
            starts |= word.upper & word.lower << 1;
            // Whether a capital after a letter without case begins a piece depends on what follows it.
            limit = limit.min((word.upper & caseless << 1).trailing_zeros());
        }
        // White space between two line ends is not a separate piece.
        let ended = inline.wrapping_add(indents) & !inline;
        if ended & word.newline != 0 {
            limit = limit.min(indents.trailing_zeros());
        }
        if P::JOINS_SLASHES && word.newline << 1 & symbols != 0 {
            limit = limit.min(slash_after_line(text, base, word.newline << 1 & symbols));
        }
        let mut numbers = word.number & !(word.number << 1);
        let three = word.number & word.number << 1 & word.number << 2;
        while numbers != 0 {
            starts |= numbers;
            numbers = numbers << 3 & three;
        }
    }
    if word.apostrophe & letter >> 1 != 0 {
        (starts, limit) = contractions::<P>(
            text,
            base,
            starts,
            limit,
            word.apostrophe & if P::JOINS_CONTRACTIONS { letter << 1 } else { symbols },
        );
    }
    starts & !1 & ((1 << limit) - 1)
}

#[inline(never)]
fn slash_after_line(text: &[u8], base: usize, mut places: u64) -> u32 {
    while places != 0 {
        let place = places.trailing_zeros();
        if text[base + place as usize] == b'/' {
            return place;
        }
        places &= places - 1;
    }
    WORD as u32
}

#[inline(always)]
fn contractions<P: Pattern>(text: &[u8], base: usize, mut starts: u64, limit: u32, mut apostrophes: u64) -> (u64, u32) {
    while apostrophes != 0 {
        let place = apostrophes.trailing_zeros();
        apostrophes &= apostrophes - 1;
        if place >= limit {
            break;
        }
        let length = contraction(text, base + place as usize, !P::JOINS_SPACE_ONLY) as u32;
        if length == 0 {
            continue;
        }
        if P::JOINS_CONTRACTIONS {
            starts &= !(1 << place);
        }
        starts &= !(0b11 << (place + 1));
        starts |= 1 << (place + length);
        // The text after a contraction is split independently of what precedes it.
        return (starts, limit.min(place + length + 1));
    }
    (starts, limit)
}
