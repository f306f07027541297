//! Caches facts about pairs of adjacent tokens that do not depend on the text: whether they merge, and whether they stay separate.

use super::vocabulary::{NONE, TOKEN_BITS, Token, Vocabulary};

/// Entries of each cache: 128 kilobytes, which fit in the second-level cache of the processor.
const ENTRIES: usize = 1 << 14;

/// The two caches. A hash of the two tokens is the index.
#[derive(Debug)]
pub(super) struct Known {
    /// The two tokens, and in the lowest bit whether they stay separate. The highest bit is set if the entry is used.
    joints: Box<[u64]>,
    /// The two tokens, and the token that they merge into, or all bits set if they do not merge. No pair merges into token 0.
    merges: Box<[u64]>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { joints: vec![0; ENTRIES].into_boxed_slice(), merges: vec![0; ENTRIES].into_boxed_slice() }
    }

    /// As [`Vocabulary::are_neighbours`].
    #[inline(always)]
    pub(super) fn stay_separate(
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

    /// The token that two tokens merge into, or [`NONE`]. The bytes of the two are those from `start` to `end`.
    #[inline(always)]
    pub(super) fn merged(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        [left, right]: [Token; 2],
        start: usize,
        end: usize,
    ) -> Token {
        /// The largest number of a token's bits. No token has it.
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
    (both.wrapping_mul(super::table::MIX[0]) >> 40) as usize % ENTRIES
}
