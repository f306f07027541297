//! Byte-pair encoding from left to right, in time linear in the length of any text.
//!
//! At each position we take the longest token that can follow the previous token. If there is none, we step back and shorten the
//! previous token. A position from which the rest cannot be encoded is never tried again. This handles texts that [`super::merge`]
//! cannot split into windows. On ordinary text it is slower.

use super::known::Known;
use super::vocabulary::{Token, Vocabulary};

/// A bit for each position from which the rest of the piece cannot be encoded.
struct DeadEnds(Vec<u64>);

impl DeadEnds {
    fn add(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// The bits of the 128 positions after `place`; the lowest bit is the next position.
    #[inline(always)]
    fn after(&self, place: usize) -> u128 {
        let (word, shift) = ((place + 1) / 64, (place + 1) % 64);
        let two = u128::from(self.0[word]) | u128::from(self.0[word + 1]) << 64;
        two >> shift | u128::from(self.0[word + 2]) << 1 << (127 - shift)
    }
}

/// Replaces the content of `tokens` with the tokens of the bytes from `start` to `end`.
pub(super) fn encode(
    known: &mut Known,
    vocabulary: &Vocabulary,
    text: &[u8],
    start: usize,
    end: usize,
    tokens: &mut Vec<Token>,
) {
    tokens.clear();
    // `after` reads up to three words from the word of a position on.
    let mut dead_ends = DeadEnds(vec![0; (end - start) / 64 + 4]);
    let mut at = start;
    let mut limit = end - start;
    while at < end {
        let last = tokens.last().copied();
        let without = dead_ends.after(at - start);
        let mut found = None;
        while limit > 0
            && let Some((token, length)) = vocabulary.longest(text, at, limit, without)
        {
            if last.is_none_or(|last| known.stay_separate(vocabulary, text, at, last, token)) {
                found = Some((token, length));
                break;
            }
            limit = length - 1;
        }
        if let Some((token, length)) = found {
            tokens.push(token);
            at += length;
            limit = end - at;
            continue;
        }
        // No token can follow here, so the previous token must be shorter. The first token can always be a single byte.
        dead_ends.add(at - start);
        let Some(last) = tokens.pop() else { break };
        let width = vocabulary.width(last);
        at -= width;
        limit = width - 1;
    }
}
