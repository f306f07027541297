//! What is remembered of tokens that meet, whatever the text: whether they merge, and whether they stay as they are.

use super::vocabulary::{NONE, TOKEN_BITS, Token, Vocabulary};

/// Answers of a kind that are remembered: half a megabyte.
const ANSWERS: usize = 1 << 16;

/// Both answers, each at a place that the two tokens decide on.
#[derive(Debug)]
pub(super) struct Known {
    /// Two tokens, and in the lowest bit whether they are neighbours; the highest bit is set where there is an answer.
    joints: Box<[u64]>,
    /// Two tokens, and what they merge into or, all bits set, that they do not. No two merge into the token 0.
    merges: Box<[u64]>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { joints: vec![0; ANSWERS].into_boxed_slice(), merges: vec![0; ANSWERS].into_boxed_slice() }
    }

    /// As [`Vocabulary::are_neighbours`].
    #[inline(always)]
    pub(super) fn is_joint(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        at: usize,
        left: Token,
        right: Token,
    ) -> bool {
        let both = both(left, right);
        let joint = both << 1 | 1 << 63;
        let known = &mut self.joints[place(both)];
        if *known & !1 != joint {
            *known = joint | u64::from(vocabulary.are_neighbours(text, at, left, right));
        }
        *known & 1 == 1
    }

    /// What two tokens merge into, which are the bytes from `start` to `end`, or [`NONE`].
    #[inline(always)]
    pub(super) fn merged(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        [left, right]: [Token; 2],
        start: usize,
        end: usize,
    ) -> Token {
        /// All bits of a token set: there is no such.
        const NEVER: u64 = (1 << TOKEN_BITS) - 1;
        let both = both(left, right);
        let known = &mut self.merges[place(both)];
        if *known >> TOKEN_BITS != both || *known == 0 {
            let merged = vocabulary.token(text, start, end).unwrap_or(NONE);
            *known = both << TOKEN_BITS | u64::from(merged) & NEVER;
            return merged;
        }
        let merged = *known & NEVER;
        if merged == NEVER { NONE } else { merged as Token }
    }
}

#[inline(always)]
fn both(left: Token, right: Token) -> u64 {
    u64::from(left) << TOKEN_BITS | u64::from(right)
}

#[inline(always)]
fn place(both: u64) -> usize {
    (both.wrapping_mul(super::table::MIX[0]) >> 40) as usize % ANSWERS
}
