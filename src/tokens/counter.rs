//! What becomes of the pieces: their number of tokens, or the tokens.
//!
//! Text repeats itself, so the numbers are kept from piece to piece and from call to call, by the pieces' bytes themselves: nine of ten
//! pieces of prose are answered by one cache line. The cache has a fixed size, and no text makes it grow.

use std::array::from_fn;

use super::merge::Merger;
use super::pieces::Visit;
use super::table::{Key, SHORT, hash, key, load};
use super::vocabulary::{NONE, Token, Vocabulary};

/// Lines of short pieces, four in each; what is new, or was found in the back half, goes first: two megabytes, of which only what was used is in memory.
const SHORT_LINES: usize = 1 << 15;

/// Lines of longer pieces, two in each: a megabyte.
const LONG_LINES: usize = 1 << 14;

/// Bytes of those: two keys without the length and the number of tokens, a byte each.
const LONG: usize = 30;

/// Pairs of lines of the longest pieces, one in each: a megabyte. They are phrases of scripts with three bytes a letter, and rules.
const LONGEST_PAIRS: usize = 1 << 13;

/// Bytes of those: two lines without the length and the number of tokens.
const LONGEST: usize = 126;

/// Where the number of tokens stands in a kept key: above the length, which takes four bits. A piece that is kept has at least one.
const COUNT: u32 = 124;

/// Where they stand in the last key of a longer piece: the bytes, then one for the length, then one for the number of tokens, which is
/// not larger than that.
const LENGTH_OF_LONG: u32 = 112;
const COUNT_OF_LONG: u32 = 120;

/// A kept key without its number of tokens.
const IDENTITY: Key = (1 << COUNT) - 1;

/// Kept counts, and the rows that merging needs. One is lent to each call, so that none waits for another.
pub(super) struct Cache {
    short: Lines<4>,
    long: Lines<4>,
    longest: Lines<8>,
    merger: Merger,
}

/// So many keys each, which are lines of the processor's caches; all zeros at first, and not in memory before they are used.
struct Lines<const KEYS: usize> {
    keys: Box<[Key]>,
    /// Where the first begins: what is allocated begins anywhere in a line.
    first: usize,
}

impl<const KEYS: usize> Lines<KEYS> {
    fn new(count: usize) -> Self {
        /// Bytes of a line, and keys.
        const LINE: usize = 64;
        const IN_LINE: usize = LINE / size_of::<Key>();
        let keys = vec![0; count * KEYS + IN_LINE].into_boxed_slice();
        let first = keys.as_ptr().align_offset(LINE) % IN_LINE;
        Self { keys, first }
    }

    #[inline(always)]
    fn at(&mut self, place: usize) -> &mut [Key; KEYS] {
        &mut self.keys[self.first..].as_chunks_mut().0[place]
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            short: Lines::new(SHORT_LINES),
            long: Lines::new(LONG_LINES),
            longest: Lines::new(LONGEST_PAIRS),
            merger: Merger::new(),
        }
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
        let place = hash(key) as usize % SHORT_LINES;
        // Both without a branch, for which of them it is cannot be foreseen.
        let [first, second, ..] = *self.short.at(place);
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
        let [.., third, fourth] = *self.short.at(place);
        let mut count = count_if(third, key) | count_if(fourth, key);
        let replaced = if count_if(third, key) != 0 { 2 } else { 3 };
        if count == 0 {
            count = if vocabulary.short(key).is_some() { 1 } else { self.count_parts(vocabulary, text, start, end) };
        }
        let line = self.short.at(place);
        line.copy_within(..replaced, 1);
        line[0] = key | (count as Key) << COUNT;
        count
    }

    #[inline(never)]
    fn count_long(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LONG {
            return self.count_longest(vocabulary, text, start, end);
        }
        let low = load(text, start);
        let high = load(text, start + 16) & ((1 << (8 * (length - 16))) - 1) | (length as Key) << LENGTH_OF_LONG;
        let place = (hash(low) ^ hash(high).rotate_left(32)) as usize % LONG_LINES;
        let [first_low, first, second_low, second] = *self.long.at(place);
        if first_low == low && first << 8 == high << 8 {
            return (first >> COUNT_OF_LONG) as usize;
        }
        if second_low == low && second << 8 == high << 8 {
            return (second >> COUNT_OF_LONG) as usize;
        }
        let count = self.count_new(vocabulary, text, start, end);
        *self.long.at(place) = [low, high | (count as Key) << COUNT_OF_LONG, first_low, first];
        count
    }

    #[inline(never)]
    fn count_longest(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LONGEST {
            return self.count_new(vocabulary, text, start, end);
        }
        let mut bytes = [0; LONGEST + 2];
        bytes[..length].copy_from_slice(&text[start..end]);
        let mut keys: [Key; 8] = from_fn(|place| load(&bytes, place * size_of::<Key>()));
        keys[7] |= (length as Key) << LENGTH_OF_LONG;
        let place = keys.iter().fold(0_u64, |all, key| all.rotate_left(8) ^ hash(*key)) as usize % LONGEST_PAIRS;
        let kept = *self.longest.at(place);
        if kept[..7] == keys[..7] && kept[7] << 8 == keys[7] << 8 {
            return (kept[7] >> COUNT_OF_LONG) as usize;
        }
        let count = self.count_new(vocabulary, text, start, end);
        keys[7] |= (count as Key) << COUNT_OF_LONG;
        *self.longest.at(place) = keys;
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
            // Most parts of random text are this short.
            count += match text[at..border] {
                [_] => 1,
                [first, second] => {
                    if vocabulary.two(first, second) == NONE {
                        2
                    } else {
                        1
                    }
                }
                _ => self.count(vocabulary, text, at, border),
            };
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
        match whole(self.vocabulary, text, start, end) {
            Some(token) => self.tokens.push(token),
            None => self.parts(text, start, end),
        }
    }
}

impl Encoder<'_> {
    /// What is no token: its parts, where no token could join them.
    fn parts(&mut self, text: &[u8], start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let border = self.vocabulary.border(text, at, end);
            let is_all = border - at == end - start;
            match if is_all { None } else { whole(self.vocabulary, text, at, border) } {
                Some(token) => self.tokens.push(token),
                None => self.tokens.extend_from_slice(self.merger.merge(self.vocabulary, text, at, border)),
            }
            at = border;
        }
    }
}

/// The token of all of a piece or part.
#[inline(always)]
fn whole(vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> Option<Token> {
    let length = end - start;
    if length <= SHORT { vocabulary.whole(key(load(text, start), length)) } else { vocabulary.token(text, start, end) }
}
