//! Byte-pair encoding of one piece of text, in time that grows with its length and no faster.
//!
//! Byte-pair encoding merges the neighbours of the lowest rank until none merge. Done literally that is quadratic, or, with a heap,
//! slow. But its result can be known by its joints: tokens follow each other in some text's encoding just when the encoding of the
//! two alone is the two, and any row of tokens whose joints are all of that kind is the encoding of its text, the only one there is
//! (shown by the authors of the crate `bpe`, github/rust-gems). So we go from left to right, take the longest token that goes with
//! the one before it, and step back where none does. A place where nothing went on is never tried again: that makes it linear.

use super::vocabulary::{Token, Vocabulary};

/// Entries of [`Merger`]'s rows that are kept for the next piece: what a piece of some kilobytes needs.
const KEPT: usize = 1 << 12;

/// Joints that are remembered: 128 KiB.
const JOINTS: usize = 1 << 14;

/// The rows that merging needs, kept from piece to piece.
#[derive(Debug)]
pub(super) struct Merger {
    /// What is known of joints: the two tokens, and in the lowest bit whether they are neighbours. No joint is zero.
    joints: Box<[u64]>,
    /// The tokens so far.
    tokens: Vec<Token>,
    /// A bit for each place from which the rest of the piece cannot be encoded.
    dead: Vec<u64>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self { joints: vec![0; JOINTS].into_boxed_slice(), tokens: Vec::new(), dead: Vec::new() }
    }

    /// The tokens of the bytes from `start` to `end`, which are not empty, and no token of their own.
    pub(super) fn merge(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> &[Token] {
        self.tokens.clear();
        self.tokens.shrink_to(KEPT);
        self.dead.clear();
        self.dead.shrink_to(KEPT);
        self.dead.resize((end - start) / 64 + 1, 0);
        let mut at = start;
        let mut limit = end - start;
        while at < end {
            let last = self.tokens.last().copied();
            if let Some((token, length)) = self.fitting(vocabulary, text, start, at, limit) {
                self.tokens.push(token);
                at += length;
                limit = end - at;
                continue;
            }
            // Nothing goes on from here: the token before it has to be a shorter one. The first can always be a single byte.
            self.dead[(at - start) / 64] |= 1 << ((at - start) % 64);
            let Some(last) = last else { break };
            self.tokens.pop();
            let width = vocabulary.width(last);
            at -= width;
            limit = width - 1;
        }
        &self.tokens
    }

    /// The longest token of at most `limit` bytes at `at` that goes with the one before it and leads to no dead place.
    #[inline(always)]
    fn fitting(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, at: usize, mut limit: usize) -> Option<(Token, usize)> {
        while limit > 0 {
            let (token, length) = vocabulary.longest(text, at, limit);
            let place = at + length - start;
            let is_dead = self.dead[place / 64] >> (place % 64) & 1 == 1;
            if !is_dead && self.tokens.last().copied().is_none_or(|last| self.is_joint(vocabulary, text, at, last, token)) {
                return Some((token, length));
            }
            limit = length - 1;
        }
        None
    }

    /// As [`Vocabulary::are_neighbours`], remembered.
    #[inline(always)]
    fn is_joint(&mut self, vocabulary: &Vocabulary, text: &[u8], at: usize, left: Token, right: Token) -> bool {
        let joint = (u64::from(left) << 32 | u64::from(right) << 1) | 1 << 63;
        let place = joint.wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 40;
        let known = self.joints[place % JOINTS];
        if known & !1 == joint {
            return known & 1 == 1;
        }
        let is_joint = vocabulary.are_neighbours(text, at, left, right);
        self.joints[place % JOINTS] = joint | u64::from(is_joint);
        is_joint
    }
}
