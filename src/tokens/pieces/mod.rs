//! Splitting text into the pieces that are encoded each for itself.
//!
//! [`pattern`] says for any text where a piece ends. Nearly all of them are read off bits instead: the classes of 64 bytes at once
//! ([`mask`]), where the end of a run is the place of a bit, with no step for each byte and no branch on it. Where bits do not tell
//! (capitals after letters without case, marks without a letter, spaces and numbers outside ASCII) the pattern does.

mod class;
mod mask;
mod pattern;

use mask::{WORD, Word};
use pattern::{Cl100k, O200k, Pattern, R50k, contraction};

/// Which pattern an encoding splits text by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Splitter {
    O200k,
    Cl100k,
    R50k,
}

/// Who takes the pieces.
pub(super) trait Visit {
    /// A piece: the bytes from `start` to `end`.
    fn piece(&mut self, text: &[u8], start: usize, end: usize);
}

impl Splitter {
    /// Gives the pieces of a text, in their order, to a visitor.
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
        let mut starts = starts::<P>(text, base);
        while starts != 0 {
            let end = base + starts.trailing_zeros() as usize;
            visitor.piece(text, start, end);
            start = end;
            starts &= starts - 1;
        }
        if start > base + WORD / 2 {
            continue;
        }
        let end = P::end(text, start);
        visitor.piece(text, start, end);
        start = end;
    }
}

/// Where pieces begin among the 64 bytes from `base` on, where one begins: a bit for each but that. Places whose answer is further
/// on than those bytes, or not in bits, are left out, and what comes after them.
#[inline(always)]
fn starts<P: Pattern>(text: &[u8], base: usize) -> u64 {
    let word = Word::at(text, base);
    // Where case matters, a mark goes on with the letters before it like a letter without case, and one without letters before it is
    // left to the pattern. Elsewhere it is a symbol.
    let caseless = if P::SPLITS_CASE { word.caseless | word.mark } else { word.caseless };
    let letter = word.lower | word.upper | caseless;
    let space = word.space;
    let symbol = !(letter | word.number | space | word.unknown);
    let loose = if P::SPLITS_CASE { word.mark & !(letter << 1) } else { 0 };
    // What we know of. What follows decides on the last three bytes: on an apostrophe by two letters, on white space by what it ends
    // before.
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
        // One symbol goes with the word after it.
        let joined = (symbols << 1).wrapping_add(word.continuation) & !word.continuation;
        let words = letter & !(letter << 1) & !(inline << 1) & !joined;
        let lines = word.newline & !(space << 1) & !(symbol << 1);
        let indents = inline & word.newline << 1;
        starts = symbols | words | lines | indents | inline & !(space << 1) | inline & !(space >> 1);
        if P::SPLITS_CASE {
            starts |= word.upper & word.lower << 1;
            // Whether a capital after a letter without case begins a piece is decided by what comes after it.
            limit = limit.min((word.upper & caseless << 1).trailing_zeros());
        }
        // White space between two ends of lines is no piece of its own.
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
        // What follows begins anew, whatever was before it.
        return (starts, limit.min(place + length + 1));
    }
    (starts, limit)
}
