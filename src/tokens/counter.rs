//! What becomes of the pieces: their number of tokens, or the tokens.
//!
//! Text repeats itself, so the numbers are kept from piece to piece and from call to call, by the pieces' bytes themselves: nine of ten
//! pieces of prose are answered by one cache line. The cache has a fixed size, and no text makes it grow.

use super::merge::Merger;
use super::pieces::Visit;
use super::table::{Key, SHORT, hash, key, load};
use super::vocabulary::{Token, Vocabulary};

/// Sets of short pieces, a cache line each: a megabyte, of which only what was used is in memory.
const SETS: usize = 1 << 15;

/// Short pieces in a set, the latest ones first.
const WAYS: usize = 4;

/// Sets of longer pieces: half a megabyte.
const LONG_SETS: usize = 1 << 13;

/// Longer pieces in a set, which is a cache line too.
const LONG_WAYS: usize = 2;

/// Bytes of the longest piece that is kept by keys.
const LONG: usize = 16 + SHORT;

/// Pieces longer than those: a cache line for each, a quarter of a megabyte. Words and phrases of scripts with three bytes a letter.
const LINES: usize = 1 << 12;

/// Bytes of such a piece; the last two of its line are its length and its number of tokens.
const LINE: usize = 62;

/// Where the number of tokens stands in a kept key: above the length, which takes four bits. A piece that is kept has at least one.
const COUNT: u32 = 124;

/// The largest number of tokens that is kept.
const MOST: usize = 15;

/// A kept key without its number of tokens.
const IDENTITY: Key = (1 << COUNT) - 1;

/// Kept counts, and the rows that merging needs. One is lent to each call, so that none waits for another.
pub(super) struct Cache {
    short: Box<[[Key; WAYS]]>,
    long: Box<[[[Key; 2]; LONG_WAYS]]>,
    lines: Box<[[u8; 64]]>,
    merger: Merger,
}

impl Cache {
    pub(super) fn new() -> Self {
        let short = vec![[0; WAYS]; SETS].into_boxed_slice();
        let long = vec![[[0; 2]; LONG_WAYS]; LONG_SETS].into_boxed_slice();
        let lines = vec![[0; 64]; LINES].into_boxed_slice();
        Self { short, long, lines, merger: Merger::new() }
    }

    /// Gives back what a long piece needed.
    pub(super) fn shrink(&mut self) {
        self.merger.shrink();
    }

    /// The number of tokens of a piece, or of a part of one that no token crosses the borders of.
    #[inline(always)]
    fn count(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > SHORT {
            return self.count_long(vocabulary, text, start, end);
        }
        let key = key(load(text, start), length);
        let place = hash(key) as usize % SETS;
        // Both without a branch, for which of them it is cannot be foreseen.
        let [first, second, ..] = self.short[place];
        let count = count_if(first, key) | count_if(second, key);
        if count != 0 { count } else { self.count_rare(vocabulary, text, start, end, key, place) }
    }

    #[inline(never)]
    fn count_rare(
        &mut self,
        vocabulary: &Vocabulary,
        text: &[u8],
        start: usize,
        end: usize,
        key: Key,
        place: usize,
    ) -> usize {
        let [.., third, fourth] = self.short[place];
        let mut count = count_if(third, key) | count_if(fourth, key);
        let replaced = if count_if(third, key) != 0 { 2 } else { 3 };
        if count == 0 {
            count = if vocabulary.whole(key).is_some() { 1 } else { self.count_parts(vocabulary, text, start, end) };
        }
        let set = &mut self.short[place];
        set.copy_within(..replaced, 1);
        set[0] = key | (count as Key) << COUNT;
        count
    }

    #[inline(never)]
    fn count_long(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LONG {
            return self.count_line(vocabulary, text, start, end);
        }
        let (low, high) = (load(text, start), key(load(text, start + 16), length - 16));
        let place = (hash(low) ^ hash(high).rotate_left(32)) as usize % LONG_SETS;
        for kept in self.long[place] {
            let count = count_if(kept[1], high);
            if count != 0 && kept[0] == low {
                return count;
            }
        }
        let count = self.count_new(vocabulary, text, start, end);
        if count <= MOST {
            let set = &mut self.long[place];
            set[1] = set[0];
            set[0] = [low, high | (count as Key) << COUNT];
        }
        count
    }

    #[inline(never)]
    fn count_line(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LINE {
            return self.count_new(vocabulary, text, start, end);
        }
        let mut line = [0; 64];
        line[..length].copy_from_slice(&text[start..end]);
        line[LINE] = length as u8;
        let [first, second, third, fourth] = [0, 16, 32, 48].map(|place| hash(load(&line, place)));
        let place = (first ^ second.rotate_left(16) ^ third.rotate_left(32) ^ fourth.rotate_left(48)) as usize % LINES;
        let kept = &self.lines[place];
        if kept[..=LINE] == line[..=LINE] {
            return usize::from(kept[LINE + 1]);
        }
        let count = self.count_new(vocabulary, text, start, end);
        // A piece has no more tokens than bytes.
        line[LINE + 1] = count as u8;
        self.lines[place] = line;
        count
    }

    fn count_new(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        if vocabulary.token(text, start, end).is_some() { 1 } else { self.count_parts(vocabulary, text, start, end) }
    }

    /// The number of tokens of what is no token: of its parts, where no token could join them, or else what merging leads to.
    fn count_parts(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let mut count = 0;
        let mut at = start;
        while at < end {
            let border = vocabulary.border(text, at, end);
            if border == end && at == start {
                return self.merger.merge(vocabulary, text, start, end).len();
            }
            count += self.count(vocabulary, text, at, border);
            at = border;
        }
        count
    }
}

/// The number of tokens that is kept in a key, if it is the key; otherwise nothing.
#[inline(always)]
fn count_if(kept: Key, key: Key) -> usize {
    let differs = (kept ^ key) as u64 | ((kept ^ key) & IDENTITY).wrapping_shr(64) as u64;
    (kept >> COUNT) as usize & usize::from(differs == 0).wrapping_neg()
}

/// Counts the tokens of the pieces it is given.
pub(super) struct Counter<'a> {
    vocabulary: &'a Vocabulary,
    cache: &'a mut Cache,
    pub(super) tokens: usize,
}

impl<'a> Counter<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, cache: &'a mut Cache) -> Self {
        Self { vocabulary, cache, tokens: 0 }
    }
}

impl Visit for Counter<'_> {
    #[inline(always)]
    fn piece(&mut self, text: &[u8], start: usize, end: usize) {
        self.tokens += self.cache.count(self.vocabulary, text, start, end);
    }
}

/// Collects the tokens of the pieces it is given.
pub(super) struct Encoder<'a> {
    vocabulary: &'a Vocabulary,
    merger: &'a mut Merger,
    pub(super) tokens: Vec<Token>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, cache: &'a mut Cache, tokens: Vec<Token>) -> Self {
        Self { vocabulary, merger: &mut cache.merger, tokens }
    }
}

impl Visit for Encoder<'_> {
    #[inline(always)]
    fn piece(&mut self, text: &[u8], start: usize, end: usize) {
        let length = end - start;
        let whole = if length <= SHORT {
            self.vocabulary.whole(key(load(text, start), length))
        } else {
            self.vocabulary.token(text, start, end)
        };
        match whole {
            Some(token) => self.tokens.push(token),
            None => self.tokens.extend_from_slice(self.merger.merge(self.vocabulary, text, start, end)),
        }
    }
}
