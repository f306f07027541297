//! The two uses of pieces: counting their tokens, or collecting the tokens.
//!
//! Text repeats itself, so the counts of pieces are cached across calls, with the bytes of the piece as the key. For nine of ten
//! pieces of prose, one cache line of the processor answers. The cache has a fixed size. The lines of the pieces in 64 bytes are looked
//! at when the next 64 bytes are split, because most of the time would go into waiting for them.

use std::array::from_fn;
use std::hint::select_unpredictable;

use crate::sys::prefetch::prefetch;

use super::merge::Merger;
use super::pieces::{Visit, WORD};
use super::table::{Key, SHORT, hash, key, length, load};
use super::vocabulary::{NONE, Token, Vocabulary};

/// Lines of short pieces, four pieces each. A new piece, or one found in the second half of its line, moves to the front. Two
/// megabytes, of which only the used part occupies memory.
const SHORT_LINES: usize = 1 << 15;

/// Lines of longer pieces, two pieces each: a megabyte.
const LONG_LINES: usize = 1 << 14;

/// The most bytes of a longer piece: two keys, minus a byte each for the length and the count.
const LONG_BYTES: usize = 30;

/// Pairs of lines of the longest pieces, one piece each: a megabyte. Such pieces are phrases in scripts with three bytes per letter,
/// and horizontal rules.
const LONGEST_PAIRS: usize = 1 << 13;

/// The most bytes of a longest piece: two lines, minus a byte each for the length and the count.
const LONGEST_BYTES: usize = 126;

/// The position of the count in a key of a short piece: above the length, which takes four bits. The count of a cached piece is at
/// least 1.
const COUNT_SHIFT: u32 = 124;

/// The positions of the length and of the count in the last key of a longer piece, a byte each, above the bytes of the piece. The
/// count is never larger than the length.
const LONG_LENGTH_SHIFT: u32 = 112;
const LONG_COUNT_SHIFT: u32 = 120;

/// The bits of a key without the count.
const IDENTITY_MASK: Key = (1 << COUNT_SHIFT) - 1;

/// Cached counts, and the buffers for merging. Each call borrows a whole cache, so that calls do not wait for each other.
pub(super) struct Cache {
    short: Lines<4>,
    long: Lines<4>,
    longest: Lines<8>,
    merger: Merger,
    pending: Pending,
}

/// The short pieces of 64 bytes of text. The processor loads their lines while the next 64 bytes are split.
struct Pending {
    keys: [Key; WORD],
    /// The start of each piece in the text.
    starts: [usize; WORD],
    /// The line of each piece.
    places: [u32; WORD],
    count: usize,
}

/// An array of processor cache lines with `KEYS` keys each. It starts as zeros, and does not occupy memory before it is used.
struct Lines<const KEYS: usize> {
    keys: Box<[Key]>,
    /// The index of the first aligned key: an allocation may begin in the middle of a line.
    first: usize,
}

impl<const KEYS: usize> Lines<KEYS> {
    fn new(count: usize) -> Self {
        /// Bytes per line, and keys per line.
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
            pending: Pending { keys: [0; WORD], starts: [0; WORD], places: [0; WORD], count: 0 },
        }
    }

    /// Frees the memory that a long piece needed.
    pub(super) fn shrink(&mut self) {
        self.merger.shrink();
    }

    /// The number of tokens of a piece, or of a part of a piece whose ends no token can cross.
    #[inline(always)]
    fn count(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > SHORT {
            return self.count_long(vocabulary, text, start, end);
        }
        let key = key(load(text, start), length);
        let place = hash(key) as usize % SHORT_LINES;
        // Check both without a branch, because the processor cannot predict which one matches.
        let [first, second, ..] = *self.short.at(place);
        let count = count_if(first, key) | count_if(second, key);
        if count != 0 { count } else { self.count_rare(vocabulary, text, start, end, key, place) }
    }

    /// Notes a short piece for [`Self::count_pending`].
    #[inline(always)]
    fn defer(&mut self, text: &[u8], start: usize, end: usize) {
        let key = key(load(text, start), end - start);
        let place = hash(key) as usize % SHORT_LINES;
        prefetch(self.short.at(place));
        let pending = &mut self.pending;
        let next = pending.count % WORD;
        pending.keys[next] = key;
        pending.starts[next] = start;
        pending.places[next] = place as u32;
        pending.count = next + 1;
    }

    /// The number of tokens of all noted pieces.
    #[inline(always)]
    fn count_pending(&mut self, vocabulary: &Vocabulary, text: &[u8]) -> usize {
        let mut tokens = 0;
        let mut missing: u64 = 0;
        for next in 0..self.pending.count.min(WORD) {
            let key = self.pending.keys[next];
            let [first, second, ..] = *self.short.at(self.pending.places[next] as usize % SHORT_LINES);
            let count = count_if(first, key) | count_if(second, key);
            tokens += count;
            missing |= u64::from(count == 0) << next;
        }
        self.pending.count = 0;
        if missing == 0 { tokens } else { tokens + self.count_missing(vocabulary, text, missing) }
    }

    /// The number of tokens of the noted pieces whose bit is set.
    #[inline(never)]
    fn count_missing(&mut self, vocabulary: &Vocabulary, text: &[u8], mut missing: u64) -> usize {
        let mut tokens = 0;
        while missing != 0 {
            let next = missing.trailing_zeros() as usize;
            let start = self.pending.starts[next];
            // A piece before it may have been the same, so look it up again.
            tokens += self.count(vocabulary, text, start, start + length(self.pending.keys[next]));
            missing &= missing - 1;
        }
        tokens
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
        line[0] = key | (count as Key) << COUNT_SHIFT;
        count
    }

    #[inline(never)]
    fn count_long(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LONG_BYTES {
            return self.count_longest(vocabulary, text, start, end);
        }
        let low = load(text, start);
        let high = load(text, start + 16) & ((1 << (8 * (length - 16))) - 1) | (length as Key) << LONG_LENGTH_SHIFT;
        let place = (hash(low) ^ hash(high).rotate_left(32)) as usize % LONG_LINES;
        let [first_low, first, second_low, second] = *self.long.at(place);
        if first_low == low && first << 8 == high << 8 {
            return (first >> LONG_COUNT_SHIFT) as usize;
        }
        if second_low == low && second << 8 == high << 8 {
            return (second >> LONG_COUNT_SHIFT) as usize;
        }
        let count = self.count_new(vocabulary, text, start, end);
        *self.long.at(place) = [low, high | (count as Key) << LONG_COUNT_SHIFT, first_low, first];
        count
    }

    #[inline(never)]
    fn count_longest(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let length = end - start;
        if length > LONGEST_BYTES {
            return self.count_new(vocabulary, text, start, end);
        }
        let mut bytes = [0; LONGEST_BYTES + 2];
        bytes[..length].copy_from_slice(&text[start..end]);
        let mut keys: [Key; 8] = from_fn(|place| load(&bytes, place * size_of::<Key>()));
        keys[7] |= (length as Key) << LONG_LENGTH_SHIFT;
        let place = keys.iter().fold(0_u64, |all, key| all.rotate_left(8) ^ hash(*key)) as usize % LONGEST_PAIRS;
        let kept = *self.longest.at(place);
        if kept[..7] == keys[..7] && kept[7] << 8 == keys[7] << 8 {
            return (kept[7] >> LONG_COUNT_SHIFT) as usize;
        }
        let count = self.count_new(vocabulary, text, start, end);
        keys[7] |= (count as Key) << LONG_COUNT_SHIFT;
        *self.longest.at(place) = keys;
        count
    }

    fn count_new(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        if vocabulary.token(text, start, end).is_some() { 1 } else { self.count_parts(vocabulary, text, start, end) }
    }

    /// The number of tokens of a piece that is not a token itself. Splits it where no token can cross, or else merges it.
    fn count_parts(&mut self, vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> usize {
        let mut count = 0;
        let mut at = start;
        while at < end {
            let border = vocabulary.border(text, at, end);
            if border == end && at == start {
                return self.merger.merge(vocabulary, text, start, end).len();
            }
            // Most parts of random text have one or two bytes.
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

/// The count in a cached key if it is the key of this piece, else 0.
#[inline(always)]
fn count_if(kept: Key, key: Key) -> usize {
    let differs = (kept ^ key) as u64 | ((kept ^ key) & IDENTITY_MASK).wrapping_shr(64) as u64;
    // The processor cannot predict which of two keys matches.
    select_unpredictable(differs == 0, (kept >> COUNT_SHIFT) as usize, 0)
}

/// Counts the tokens of the pieces that it is given.
pub(super) struct Counter<'a> {
    vocabulary: &'a Vocabulary,
    cache: &'a mut Cache,
    tokens: usize,
}

impl<'a> Counter<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, cache: &'a mut Cache) -> Self {
        Self { vocabulary, cache, tokens: 0 }
    }

    /// The number of tokens of all pieces of the text.
    #[inline(always)]
    pub(super) fn finish(self, text: &[u8]) -> usize {
        self.tokens + self.cache.count_pending(self.vocabulary, text)
    }
}

impl Visit for Counter<'_> {
    #[inline(always)]
    fn piece(&mut self, text: &[u8], start: usize, end: usize) {
        self.tokens += self.cache.count(self.vocabulary, text, start, end);
    }

    #[inline(always)]
    fn pieces(&mut self, text: &[u8], mut start: usize, base: usize, mut ends: u64) -> usize {
        self.tokens += self.cache.count_pending(self.vocabulary, text);
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            if end - start > SHORT {
                self.tokens += self.cache.count_long(self.vocabulary, text, start, end);
            } else {
                self.cache.defer(text, start, end);
            }
            start = end;
            ends &= ends - 1;
        }
        start
    }
}

/// Collects the tokens of the pieces that it is given.
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
    /// Appends the tokens of a piece that is not a token itself. Splits it where no token can cross.
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

/// The token that equals a whole piece or part.
#[inline(always)]
fn whole(vocabulary: &Vocabulary, text: &[u8], start: usize, end: usize) -> Option<Token> {
    let length = end - start;
    if length <= SHORT { vocabulary.whole(key(load(text, start), length)) } else { vocabulary.token(text, start, end) }
}
