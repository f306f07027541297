//! Byte-pair encoding of one piece of text.
//!
//! Byte-pair encoding repeatedly merges the adjacent pair with the lowest rank, until no pair merges. Done step by step this is
//! quadratic, or slow if it uses a heap. But a result can be checked pair by pair. Two adjacent tokens are compatible if encoding
//! their bytes alone yields these two tokens. A sequence of tokens is the encoding of its text if and only if all adjacent tokens are
//! compatible (shown by the authors of the crate `bpe`, github/rust-gems). So a short piece is merged step by step, and a long one
//! window by window. Windows with the same bytes are merged once ([`super::windows`]). If the first token of a window is not
//! compatible with the token before it, the window is extended back over that token, until it is.

use super::backtrack;
use super::known::Known;
use super::vocabulary::{NONE, Token, Vocabulary};
use super::windows::Windows;

/// The most bytes of a piece that is merged at once.
const SHORT: usize = 32;

/// The bytes by which a window advances: those of the longest token.
const STRIDE: usize = 128;

/// The most bytes of a window: it may be extended over three of the longest tokens.
const LONG: usize = 1 << POSITION_BITS;

/// The bits of a position in a window.
const POSITION_BITS: u32 = 9;

/// The rank of a pair that does not merge. Ranks are signed, because the vector instructions compare signed numbers.
const NO_MERGE: i32 = i32::MAX;

/// How many numbers are compared at once.
const LANES: usize = 8;

/// Tokens of a [`Merger`] whose memory is kept for the next call: enough for a piece of a few kilobytes.
const KEPT_TOKENS: usize = 1 << 12;

/// Merges pieces, and caches facts about pairs of tokens.
#[derive(Debug)]
pub(super) struct Merger {
    known: Known,
    windows: Windows,
    /// The tokens of the piece so far.
    tokens: Vec<Token>,
    /// The tokens of the current window.
    window: Vec<Token>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self { known: Known::new(), windows: Windows::default(), tokens: Vec::new(), window: Vec::new() }
    }

    /// The tokens of the bytes from `start` to `end`. The bytes are not empty and are not a token themselves.
    pub(super) fn merge(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> &[Token] {
        self.tokens.clear();
        if end - start <= SHORT {
            merge_step_by_step::<SHORT>(&mut self.known, vocabulary, text, start, end, &mut self.tokens);
        } else if !self.by_windows(vocabulary, text, start, end) {
            backtrack::encode(&mut self.known, vocabulary, text, start, end, &mut self.tokens);
        }
        &self.tokens
    }

    /// Merges a long piece window by window. Returns false if a window would have to be longer than [`LONG`].
    fn by_windows(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> bool {
        let mut at = start;
        while at < end {
            let to = end.min(at + STRIDE);
            if let Some(last) = self.tokens.last().copied() {
                let from = at - vocabulary.width(last);
                let next = at + (at - from);
                // In repetitive text the same token follows again, if it is compatible with itself.
                if next <= end
                    && text[from..at] == text[at..next]
                    && self.known.stay_separate(vocabulary, text, at, last, last)
                {
                    self.tokens.push(last);
                    at = next;
                    continue;
                }
                // The end of the previous window was arbitrary, so its last token is mostly wrong. Encode it again.
                self.tokens.pop();
                at = from;
            }
            loop {
                if to - at > LONG {
                    return false;
                }
                self.window.clear();
                self.windows.tokens(&text[at..to], &mut self.window, |window| {
                    merge_step_by_step::<LONG>(&mut self.known, vocabulary, text, at, to, window);
                });
                let Some(last) = self.tokens.last().copied() else { break };
                if self.known.stay_separate(vocabulary, text, at, last, self.window[0]) {
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

    /// Frees the memory that a piece of megabytes needed.
    pub(super) fn shrink(&mut self) {
        self.tokens.clear();
        self.tokens.shrink_to(KEPT_TOKENS);
    }
}

/// Merges as byte-pair encoding is defined. The quadratic part is a scan over a few words.
fn merge_step_by_step<const N: usize>(
    known: &mut Known,
    vocabulary: &Vocabulary,
    text: &[u8],
    start: usize,
    end: usize,
    found: &mut Vec<Token>,
) {
    // Four arrays, indexed by the position where a part begins: its token, the position of the next part, the position of the
    // previous part, and the token that it and the next part merge into. The position is in the low bits of the last one, so that the
    // minimum is the merge to do next.
    let mut tokens = [0; N];
    let mut nexts = [0_u16; N];
    let mut befores = [0_u16; N];
    let mut ranks = [NO_MERGE; N];
    let bytes = &text[start..end];
    let length = bytes.len();
    for (place, byte) in bytes.iter().enumerate() {
        tokens[place] = vocabulary.single(*byte);
        nexts[place] = place as u16 + 1;
        befores[place] = (place as u16).wrapping_sub(1);
    }
    let ranked = |merged: Token, place: usize| {
        if merged == NONE { NO_MERGE } else { (merged << POSITION_BITS) as i32 | place as i32 }
    };
    for (place, (first, second)) in bytes.iter().zip(&bytes[1..]).enumerate() {
        ranks[place] = ranked(vocabulary.two(*first, *second), place);
    }
    loop {
        let lowest = least(&ranks, length);
        if lowest == NO_MERGE {
            break;
        }
        let place = lowest as usize % (1 << POSITION_BITS);
        let gone = usize::from(nexts[place]);
        let next = usize::from(nexts[gone]);
        tokens[place] = lowest as Token >> POSITION_BITS;
        nexts[place] = next as u16;
        ranks[gone] = NO_MERGE;
        ranks[place] = NO_MERGE;
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

/// The minimum of the first `length` numbers. After them, the array holds [`NO_MERGE`] up to a multiple of [`LANES`].
#[inline(always)]
fn least<const N: usize>(numbers: &[i32; N], length: usize) -> i32 {
    let mut lanes = [NO_MERGE; LANES];
    for chunk in numbers.as_chunks::<LANES>().0.iter().take(length.div_ceil(LANES)) {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = (*lane).min(*number);
        }
    }
    lanes.into_iter().fold(NO_MERGE, i32::min)
}
