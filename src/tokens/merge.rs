//! Byte-pair encoding of one piece of text, in time that grows with its length and no faster.
//!
//! Byte-pair encoding merges the neighbours of the lowest rank until none merge. Done literally that is quadratic, or, with a heap,
//! slow. But its result can be known by its joints: tokens follow each other in some text's encoding just when the encoding of the
//! two alone is the two, and any row of tokens whose joints are all of that kind is the encoding of its text, the only one there is
//! (shown by the authors of the crate `bpe`, github/rust-gems). So we go from left to right, take the longest token that goes with
//! the one before it, and step back where none does. A place where nothing went on is never tried again: that makes it linear.

use super::vocabulary::{NONE, Token, Vocabulary};

/// Entries of [`Merger`]'s rows that are kept for the next piece: what a piece of some kilobytes needs.
const KEPT: usize = 1 << 12;

/// Bytes of the longest piece that is merged literally.
const SHORT_PIECE: usize = 1 << PLACE;

/// Bits of a place in such a piece.
const PLACE: u32 = 6;

/// What stands where nothing merges. Signed, for that is what the instructions compare.
const NOTHING: i32 = i32::MAX;

/// Numbers that are compared at once.
const LANES: usize = 8;

/// Joints that are remembered: 128 KiB.
const JOINTS: usize = 1 << 14;

/// Merges that are remembered: 128 KiB.
const MERGES: usize = 1 << 14;

/// Bits of a token.
const TOKEN: u32 = 20;

/// The rows that merging needs, kept from piece to piece.
#[derive(Debug)]
pub(super) struct Merger {
    /// What is known of joints: the two tokens, and in the lowest bit whether they are neighbours. No joint is zero.
    joints: Box<[u64]>,
    /// What is known of merges: the two tokens, and what they merge into or, all bits set, that they do not.
    merges: Box<[u64]>,
    /// The tokens so far.
    tokens: Vec<Token>,
    /// A bit for each place from which the rest of the piece cannot be encoded.
    dead: Vec<u64>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self {
            joints: vec![0; JOINTS].into_boxed_slice(),
            merges: vec![0; MERGES].into_boxed_slice(),
            tokens: Vec::new(),
            dead: Vec::new(),
        }
    }

    /// The tokens of the bytes from `start` to `end`, which are not empty, and no token of their own.
    pub(super) fn merge(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> &[Token] {
        self.tokens.clear();
        if end - start <= SHORT_PIECE {
            self.merge_short(vocabulary, text, start, end);
            return &self.tokens;
        }
        self.dead.clear();
        // A place's bit and the 128 after it are read at once.
        self.dead.resize((end - start) / 64 + 4, 0);
        let mut at = start;
        let mut limit = end - start;
        while at < end {
            if let Some((token, length)) = self.fitting(vocabulary, text, start, at, limit) {
                self.tokens.push(token);
                at += length;
                limit = end - at;
                continue;
            }
            // Nothing goes on from here: the token before it has to be another one. The first can always be a single byte.
            self.dead[(at - start) / 64] |= 1 << ((at - start) % 64);
            let Some(last) = self.tokens.pop() else { break };
            let width = vocabulary.width(last);
            at -= width;
            // One that was taken because it repeats was not the longest; of all others, what is longer was tried before.
            limit = if self.tokens.last() == Some(&last) { end - at } else { width - 1 };
        }
        &self.tokens
    }

    /// Gives back what a piece of megabytes needed.
    pub(super) fn shrink(&mut self) {
        self.tokens.clear();
        self.tokens.shrink_to(KEPT);
        self.dead.clear();
        self.dead.shrink_to(KEPT);
    }

    /// Merges literally: what is quadratic is a scan of a few words.
    fn merge_short(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) {
        // By the place where a part begins: its token, where the next begins, where the one before it did, and what it and the next
        // would merge into, above the place, so that the least of all is the merge to do.
        let mut tokens = [0; SHORT_PIECE];
        let mut nexts = [0; SHORT_PIECE];
        let mut befores = [0; SHORT_PIECE];
        let mut merges = [NOTHING; SHORT_PIECE];
        let bytes = &text[start..end];
        let length = bytes.len();
        for (place, byte) in bytes.iter().enumerate() {
            tokens[place] = vocabulary.single(*byte);
            nexts[place] = place as u8 + 1;
            befores[place] = (place as u8).wrapping_sub(1);
        }
        let ranked = |merged: Token, place: usize| {
            if merged == NONE { NOTHING } else { (merged << PLACE) as i32 | place as i32 }
        };
        for (place, (first, second)) in bytes.iter().zip(&bytes[1..]).enumerate() {
            merges[place] = ranked(vocabulary.two(*first, *second), place);
        }
        loop {
            let lowest = least(&merges, length);
            if lowest == NOTHING {
                break;
            }
            let place = lowest as usize % (1 << PLACE) % SHORT_PIECE;
            let gone = usize::from(nexts[place]) % SHORT_PIECE;
            let next = usize::from(nexts[gone]);
            tokens[place] = lowest as Token >> PLACE;
            nexts[place] = next as u8;
            merges[gone] = NOTHING;
            merges[place] = NOTHING;
            if next < length {
                befores[next] = place as u8;
                let after = start + usize::from(nexts[next]);
                merges[place] =
                    ranked(self.merged(vocabulary, text, [tokens[place], tokens[next]], start + place, after), place);
            }
            if place > 0 {
                let before = usize::from(befores[place]) % SHORT_PIECE;
                merges[before] = ranked(
                    self.merged(vocabulary, text, [tokens[before], tokens[place]], start + before, start + next),
                    before,
                );
            }
        }
        let mut place = 0;
        while place < length {
            self.tokens.push(tokens[place]);
            place = usize::from(nexts[place]);
        }
    }

    /// What two tokens merge into, which are the bytes from `start` to `end`, or [`NONE`].
    #[inline(always)]
    fn merged(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        [left, right]: [Token; 2],
        start: usize,
        end: usize,
    ) -> Token {
        let both = u64::from(left) << TOKEN | u64::from(right);
        let place = (both.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % MERGES;
        let known = self.merges[place];
        if known >> TOKEN != both {
            let merged = vocabulary.token(text, start, end).unwrap_or(NONE);
            self.merges[place] = both << TOKEN | u64::from(merged) & ((1 << TOKEN) - 1);
            return merged;
        }
        let merged = known as Token & ((1 << TOKEN) - 1);
        if merged == (1 << TOKEN) - 1 { NONE } else { merged }
    }

    /// A token of at most `limit` bytes at `at` that goes with the one before it and leads to no dead place: in repetitive text that
    /// one again, otherwise the longest there is.
    #[inline(always)]
    fn fitting(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        start: usize,
        at: usize,
        mut limit: usize,
    ) -> Option<(Token, usize)> {
        let last = self.tokens.last().copied();
        let dead = self.dead_after(at - start);
        if let Some(last) = last {
            let width = vocabulary.width(last);
            if width <= limit
                && text[at - width..at] == text[at..at + width]
                && dead >> (width - 1) & 1 == 0
                && self.is_joint(vocabulary, text, at, last, last)
            {
                return Some((last, width));
            }
        }
        while limit > 0 {
            let (token, length) = vocabulary.longest(text, at, limit, dead)?;
            if last.is_none_or(|last| self.is_joint(vocabulary, text, at, last, token)) {
                return Some((token, length));
            }
            limit = length - 1;
        }
        None
    }

    /// Which of the 128 places after one are dead, the next one lowest.
    #[inline(always)]
    fn dead_after(&self, place: usize) -> u128 {
        let (word, shift) = ((place + 1) / 64, (place + 1) % 64);
        let two = u128::from(self.dead[word]) | u128::from(self.dead[word + 1]) << 64;
        two >> shift | u128::from(self.dead[word + 2]) << 1 << (127 - shift)
    }

    /// As [`Vocabulary::are_neighbours`], remembered.
    #[inline(always)]
    fn is_joint(&mut self, vocabulary: &Vocabulary, text: &[u8], at: usize, left: Token, right: Token) -> bool {
        let joint = (u64::from(left) << 32 | u64::from(right) << 1) | 1 << 63;
        let place = (joint.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
        let known = self.joints[place % JOINTS];
        if known & !1 == joint {
            return known & 1 == 1;
        }
        let is_joint = vocabulary.are_neighbours(text, at, left, right);
        self.joints[place % JOINTS] = joint | u64::from(is_joint);
        is_joint
    }
}

/// The least of the first `length` numbers, of which at least those after it are [`NOTHING`] up to a whole number of lanes.
#[inline(always)]
fn least(numbers: &[i32; SHORT_PIECE], length: usize) -> i32 {
    let mut lanes = [NOTHING; LANES];
    for chunk in numbers.as_chunks::<LANES>().0.iter().take(length.div_ceil(LANES)) {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = (*lane).min(*number);
        }
    }
    lanes.into_iter().fold(NOTHING, i32::min)
}
