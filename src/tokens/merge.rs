//! Byte-pair encoding of one piece of text.
//!
//! Byte-pair encoding merges the neighbours of the lowest rank until none merge. Done literally that is quadratic, or, with a heap,
//! slow. But its result can be known by its joints: tokens follow each other in some text's encoding just when the encoding of the
//! two alone is the two, and any row of tokens whose joints are all of that kind is the encoding of its text, the only one there is
//! (shown by the authors of the crate `bpe`, github/rust-gems). So a short piece is merged literally, and a long one window by window:
//! where a window does not join what is before it, it takes in the token before it, until it does.

use super::backtrack;
use super::known::Known;
use super::vocabulary::{NONE, Token, Vocabulary};

/// Bytes of the longest piece that is merged at once.
const SHORT: usize = 64;

/// Bytes that a window goes on: the longest token there is.
const STRIDE: usize = 128;

/// Bytes of the longest window: it may take in three such tokens.
const LONG: usize = 1 << PLACE;

/// Bits of a place in a window.
const PLACE: u32 = 9;

/// What stands where nothing merges. Signed, for that is what the instructions compare.
const NOTHING: i32 = i32::MAX;

/// Numbers that are compared at once.
const LANES: usize = 8;

/// Entries of [`Merger`]'s row that are kept for the next call: what a piece of some kilobytes needs.
const KEPT: usize = 1 << 12;

/// Merges pieces, and remembers what it found out.
#[derive(Debug)]
pub(super) struct Merger {
    known: Known,
    /// The tokens so far.
    tokens: Vec<Token>,
    /// Those of a window.
    window: Vec<Token>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self { known: Known::new(), tokens: Vec::new(), window: Vec::new() }
    }

    /// The tokens of the bytes from `start` to `end`, which are not empty, and no token of their own.
    pub(super) fn merge(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> &[Token] {
        self.tokens.clear();
        if end - start <= SHORT {
            literally::<SHORT>(&mut self.known, vocabulary, text, start, end, &mut self.tokens);
        } else if !self.by_windows(vocabulary, text, start, end) {
            backtrack::encode(&mut self.known, vocabulary, text, start, end, &mut self.tokens);
        }
        &self.tokens
    }

    /// Merges a long piece window by window; false if a window would have to be longer than it may be.
    fn by_windows(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            let to = end.min(at + STRIDE);
            if let Some(last) = self.tokens.last().copied() {
                let from = at - vocabulary.width(last);
                let next = at + (at - from);
                // Text that repeats itself has the same token again, if that is one of its joints.
                if next <= end
                    && text[from..at] == text[at..next]
                    && self.known.is_joint(vocabulary, text, at, last, last)
                {
                    self.tokens.push(last);
                    at = next;
                    continue;
                }
                // The window before this one ended somewhere, which is why its last token is mostly another.
                self.tokens.pop();
                at = from;
            }
            loop {
                if to - at > LONG {
                    return false;
                }
                self.window.clear();
                literally::<LONG>(&mut self.known, vocabulary, text, at, to, &mut self.window);
                let Some(last) = self.tokens.last().copied() else { break };
                if self.known.is_joint(vocabulary, text, at, last, self.window[0]) {
                    break;
                }
                self.tokens.pop();
                at -= vocabulary.width(last);
            }
            self.tokens.append(&mut self.window);
            at = to;
        }
        true
    }

    /// Gives back what a piece of megabytes needed.
    pub(super) fn shrink(&mut self) {
        self.tokens.clear();
        self.tokens.shrink_to(KEPT);
    }
}

/// Merges as byte-pair encoding is defined. What is quadratic is a scan of a few words.
fn literally<const N: usize>(
    known: &mut Known,
    vocabulary: &Vocabulary,
    text: &[u8],
    start: usize,
    end: usize,
    found: &mut Vec<Token>,
) {
    // By the place where a part begins: its token, where the next begins, where the one before it did, and what it and the next
    // would merge into, above the place, so that the least of all is the merge to do.
    let mut tokens = [0; N];
    let mut nexts = [0_u16; N];
    let mut befores = [0_u16; N];
    let mut ranks = [NOTHING; N];
    let bytes = &text[start..end];
    let length = bytes.len();
    for (place, byte) in bytes.iter().enumerate() {
        tokens[place] = vocabulary.single(*byte);
        nexts[place] = place as u16 + 1;
        befores[place] = (place as u16).wrapping_sub(1);
    }
    let ranked =
        |merged: Token, place: usize| if merged == NONE { NOTHING } else { (merged << PLACE) as i32 | place as i32 };
    for (place, (first, second)) in bytes.iter().zip(&bytes[1..]).enumerate() {
        ranks[place] = ranked(vocabulary.two(*first, *second), place);
    }
    loop {
        let lowest = least(&ranks, length);
        if lowest == NOTHING {
            break;
        }
        let place = lowest as usize % (1 << PLACE);
        let gone = usize::from(nexts[place]);
        let next = usize::from(nexts[gone]);
        tokens[place] = lowest as Token >> PLACE;
        nexts[place] = next as u16;
        ranks[gone] = NOTHING;
        ranks[place] = NOTHING;
        if next < length {
            befores[next] = place as u16;
            let after = start + usize::from(nexts[next]);
            let merged = known.merged(vocabulary, text, [tokens[place], tokens[next]], start + place, after);
            ranks[place] = ranked(merged, place);
        }
        if place > 0 {
            let before = usize::from(befores[place]);
            let merged = known.merged(vocabulary, text, [tokens[before], tokens[place]], start + before, start + next);
            ranks[before] = ranked(merged, before);
        }
    }
    let mut place = 0;
    while place < length {
        found.push(tokens[place]);
        place = usize::from(nexts[place]);
    }
}

/// The least of the first `length` numbers, after which there is [`NOTHING`] up to a whole number of lanes.
#[inline(always)]
fn least<const N: usize>(numbers: &[i32; N], length: usize) -> i32 {
    let mut lanes = [NOTHING; LANES];
    for chunk in numbers.as_chunks::<LANES>().0.iter().take(length.div_ceil(LANES)) {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = (*lane).min(*number);
        }
    }
    lanes.into_iter().fold(NOTHING, i32::min)
}
