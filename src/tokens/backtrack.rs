//! Byte-pair encoding from left to right, in time that grows with the length of the text and no faster, whatever the text.
//!
//! We take the longest token that goes with the one before it, and step back where none does. A place where nothing went on is never
//! tried again. It is for what [`super::merge`] cannot part: on common text it is slower.

use super::known::Known;
use super::vocabulary::{Token, Vocabulary};

/// A bit for each place from which the rest of a piece cannot be encoded.
struct Dead(Vec<u64>);

impl Dead {
    fn add(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// Which of the 128 places after one are dead, the next one lowest.
    #[inline(always)]
    fn after(&self, place: usize) -> u128 {
        let (word, shift) = ((place + 1) / 64, (place + 1) % 64);
        let two = u128::from(self.0[word]) | u128::from(self.0[word + 1]) << 64;
        two >> shift | u128::from(self.0[word + 2]) << 1 << (127 - shift)
    }
}

/// Puts the tokens of the bytes from `start` to `end` in place of what is in `tokens`.
pub(super) fn encode(
    known: &mut Known,
    vocabulary: &Vocabulary,
    text: &[u8],
    start: usize,
    end: usize,
    tokens: &mut Vec<Token>,
) {
    tokens.clear();
    // A place's bit and the 128 after it are read at once.
    let mut dead = Dead(vec![0; (end - start) / 64 + 4]);
    let mut at = start;
    let mut limit = end - start;
    while at < end {
        let last = tokens.last().copied();
        let without = dead.after(at - start);
        let mut found = None;
        while limit > 0
            && let Some((token, length)) = vocabulary.longest(text, at, limit, without)
        {
            if last.is_none_or(|last| known.is_joint(vocabulary, text, at, last, token)) {
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
        // Nothing goes on from here: the token before it has to be a shorter one. The first can always be a single byte.
        dead.add(at - start);
        let Some(last) = tokens.pop() else { break };
        let width = vocabulary.width(last);
        at -= width;
        limit = width - 1;
    }
}
