//! The vocabulary of an encoding: its tokens by their bytes and by their halves.

use std::ops::Range;

use super::packed::{self, BYTES, GAP};
use super::table::{Key, SHORT, Table, hash, key, load};

/// The number of a token. It is also its rank: of two possible merges, byte-pair encoding does the one with the lower rank first.
pub type Token = u32;

/// Not a token. Larger than every token.
pub(super) const NONE: Token = Token::MAX;

/// The bits of a token's number. No token has all of them set.
pub(super) const TOKEN_BITS: u32 = 20;

/// The bytes of the longest token.
const LONGEST: usize = 128;

/// The merge that creates a token, in one word, so that undoing a merge reads memory once: the two halves, the length of the left
/// half, and the length of the token. Tokens below [`BYTES`] have no merge.
#[derive(Clone, Copy, Debug)]
struct Merge(u64);

impl Merge {
    fn new([left, right]: [Token; 2], left_width: usize, width: usize) -> Self {
        let widths = (left_width | width << 8) as u64;
        Self(u64::from(left) | u64::from(right) << TOKEN_BITS | widths << (2 * TOKEN_BITS))
    }

    fn left(self) -> Token {
        (self.0 & ((1 << TOKEN_BITS) - 1)) as Token
    }

    fn right(self) -> Token {
        (self.0 >> TOKEN_BITS & ((1 << TOKEN_BITS) - 1)) as Token
    }

    fn left_width(self) -> usize {
        (self.0 >> (2 * TOKEN_BITS)) as usize & 0xFF
    }

    fn width(self) -> usize {
        (self.0 >> (2 * TOKEN_BITS + 8)) as usize & 0xFF
    }
}

/// Tokens of more than [`SHORT`] bytes are looked up by this many bytes before their lengths are compared.
const PREFIX: usize = 4;

#[derive(Debug)]
pub(super) struct Vocabulary {
    /// The concatenated bytes of all tokens.
    bytes: Box<[u8]>,
    /// The end of each token in `bytes`. A number that is not a token has no bytes.
    ends: Box<[u32]>,
    /// The merges of the tokens from [`BYTES`] on.
    merges: Box<[Merge]>,
    /// The token of each single byte.
    singles: [Token; BYTES],
    /// The token of every two bytes, or [`NONE`]. The first byte is the upper half of the index.
    twos: Box<[Token]>,
    /// Tokens of up to [`SHORT`] bytes.
    short: Table<Token>,
    /// Longer tokens, by a key computed from all of their bytes; see [`digest`].
    long: Table<Token>,
    /// The lengths of the longer tokens, by their first [`PREFIX`] bytes: bit `n % LONGEST` for `n` bytes.
    long_prefixes: Table<u128>,
    /// A bit for every two bytes that occur next to each other in some token.
    pairs: Box<[u64; 1 << 10]>,
}

/// A key of more than [`SHORT`] bytes. Two tokens could have the same key, so lookups compare the bytes.
fn digest(text: &[u8]) -> Key {
    let mut low = text.len() as u64;
    for at in (0..text.len()).step_by(SHORT) {
        low = hash(key(load(text, at), SHORT.min(text.len() - at)) ^ Key::from(low));
    }
    Key::from(low | 1)
}

impl Vocabulary {
    /// Unpacks an embedded vocabulary, or its tokens below `count`.
    ///
    /// `build.rs` checks what it packs, and tests unpack it. If the data were invalid, only the tokens before the error would be
    /// used.
    pub(super) fn unpack(packed: &[u8], count: usize) -> Self {
        let (singles, mut halves) = packed::unpack(packed).unwrap_or(([0; BYTES], Vec::new()));
        halves.truncate(count.saturating_sub(BYTES));
        let mut vocabulary = Self {
            bytes: Box::default(),
            ends: Box::default(),
            singles: [0; BYTES],
            twos: vec![NONE; BYTES * BYTES].into_boxed_slice(),
            short: Table::with_capacity(BYTES + halves.len()),
            long: Table::with_capacity(halves.len() / 32),
            long_prefixes: Table::with_capacity(halves.len() / 32),
            pairs: Box::new([0; 1 << 10]),
            merges: Box::default(),
        };
        let mut bytes = Vec::with_capacity(halves.len() * 8);
        let mut ends = Vec::with_capacity(BYTES + halves.len());
        for (token, byte) in singles.into_iter().enumerate() {
            vocabulary.singles[usize::from(byte)] = token as Token;
            bytes.push(byte);
            ends.push(bytes.len() as u32);
        }
        let mut merges = Vec::with_capacity(halves.len());
        for half in halves {
            if half == GAP {
                merges.push(Merge(0));
            } else {
                let [left, right] = half.map(|part| range(&ends, part).filter(|range| !range.is_empty()));
                let Some((left, right)) = left.zip(right) else { break };
                let (word, bit) = pair(bytes[left.end - 1], bytes[right.start]);
                vocabulary.pairs[word] |= 1 << bit;
                merges.push(Merge::new(half, left.len(), left.len() + right.len()));
                bytes.extend_from_within(left);
                bytes.extend_from_within(right);
            }
            ends.push(bytes.len() as u32);
        }
        vocabulary.bytes = bytes.into_boxed_slice();
        vocabulary.ends = ends.into_boxed_slice();
        vocabulary.merges = merges.into_boxed_slice();
        vocabulary.index();
        vocabulary
    }

    /// Fills the tables.
    fn index(&mut self) {
        for token in 0..self.ends.len() as Token {
            let Some(range) = range(&self.ends, token).filter(|range| !range.is_empty()) else { continue };
            let (start, length) = (range.start, range.len());
            let loaded = load(&self.bytes, start);
            if length == 2 {
                self.twos[usize::from((loaded as u16).swap_bytes())] = token;
            }
            if length <= SHORT {
                *self.short.entry(key(loaded, length)) = token;
            } else {
                *self.long.entry(digest(&self.bytes[range])) = token;
                *self.long_prefixes.entry(key(loaded, PREFIX)) |= 1 << (length % LONGEST);
            }
        }
    }

    /// The largest token number plus one.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token, if the token exists.
    pub(super) fn bytes(&self, token: Token) -> Option<&[u8]> {
        self.bytes.get(range(&self.ends, token)?).filter(|bytes| !bytes.is_empty())
    }

    /// The length of a token in bytes.
    #[inline(always)]
    pub(super) fn width(&self, token: Token) -> usize {
        (token as usize).checked_sub(BYTES).map_or(1, |place| self.merges[place].width())
    }

    /// Whether byte-pair encoding leaves two adjacent tokens separate. They meet at `at`.
    ///
    /// We undo their merges, the latest first. In each state, we check whether the neighbours on both sides of `at` would have merged
    /// before the merge that was just undone. Of merges with the same rank, the leftmost is done first.
    #[inline(never)]
    pub(super) fn are_neighbours(&self, text: &[u8], at: usize, mut left: Token, mut right: Token) -> bool {
        let (mut start, mut end) = (at - self.width(left), at + self.width(right));
        let mut limit = Token::MAX;
        loop {
            if self.token(text, start, end).is_some_and(|merged| merged < limit) {
                return false;
            }
            let later = left.max(right) as usize;
            let Some(merge) = later.checked_sub(BYTES).map(|place| self.merges[place]) else { return true };
            if left > right {
                limit = left;
                left = merge.right();
                start += merge.left_width();
            } else {
                limit = right + 1;
                right = merge.left();
                end = at + merge.left_width();
            }
        }
    }

    /// The token of a single byte.
    #[inline(always)]
    pub(super) fn single(&self, byte: u8) -> Token {
        self.singles[usize::from(byte)]
    }

    /// The token of two bytes, or [`NONE`].
    #[inline(always)]
    pub(super) fn two(&self, first: u8, second: u8) -> Token {
        self.twos[usize::from(first) << 8 | usize::from(second)]
    }

    /// The token that equals a whole piece of up to [`SHORT`] bytes. Most pieces are tokens.
    #[inline(always)]
    pub(super) fn whole(&self, key: Key) -> Option<Token> {
        self.short.get_likely(key)
    }

    /// The token of up to [`SHORT`] bytes with this key.
    #[inline(always)]
    pub(super) fn short(&self, key: Key) -> Option<Token> {
        self.short.get(key)
    }

    /// The token of the bytes from `start` to `end`.
    #[inline(always)]
    pub(super) fn token(&self, text: &[u8], start: usize, end: usize) -> Option<Token> {
        let length = end - start;
        if length <= SHORT { self.short(key(load(text, start), length)) } else { self.long_token(text, start, end) }
    }

    #[inline(never)]
    fn long_token(&self, text: &[u8], start: usize, end: usize) -> Option<Token> {
        let lengths = self.long_prefixes.get(key(load(text, start), PREFIX))?;
        if end - start > LONGEST || lengths >> ((end - start) % LONGEST) & 1 == 0 {
            return None;
        }
        self.long_of_prefix(text, start, end)
    }

    /// The longest token at `start` with at most `limit` bytes, which is not zero, and with a length whose bit is not set in
    /// `without`. The lowest bit is for one byte.
    #[inline(always)]
    pub(super) fn longest(&self, text: &[u8], start: usize, limit: usize, without: u128) -> Option<(Token, usize)> {
        let loaded = load(text, start);
        if limit > SHORT
            && let Some(found) = self.longest_long(text, start, limit, without)
        {
            return Some(found);
        }
        let mut lengths = (1..=limit.min(SHORT)).rev().filter(|length| without >> (length - 1) & 1 == 0);
        lengths.find_map(|length| Some((self.short(key(loaded, length))?, length)))
    }

    #[inline(never)]
    fn longest_long(&self, text: &[u8], start: usize, limit: usize, without: u128) -> Option<(Token, usize)> {
        let lengths = self.long_prefixes.get(key(load(text, start), PREFIX))?;
        // Bit `n - 1` is for `n` bytes, as in `without`.
        let mut lengths = lengths.rotate_right(1) & !without & (u128::MAX >> (LONGEST - limit.min(LONGEST)));
        while lengths != 0 {
            let length = lengths.ilog2() as usize + 1;
            if let Some(token) = self.long_of_prefix(text, start, start + length) {
                return Some((token, length));
            }
            lengths ^= 1 << (length - 1);
        }
        None
    }

    /// The token of more than [`SHORT`] bytes from `start` to `end`.
    fn long_of_prefix(&self, text: &[u8], start: usize, end: usize) -> Option<Token> {
        let wanted = text.get(start..end)?;
        self.long.get(digest(wanted)).filter(|token| self.bytes(*token) == Some(wanted))
    }

    /// The first position between `start` and `end` where the text can be split, because no token contains the bytes on both sides;
    /// else `end`.
    #[inline(always)]
    pub(super) fn border(&self, text: &[u8], start: usize, end: usize) -> usize {
        let bytes = &text[start..end];
        let parts = |(left, right): (&u8, &u8)| {
            let (word, bit) = pair(*left, *right);
            self.pairs[word] >> bit & 1 == 0
        };
        bytes.iter().zip(&bytes[1..]).position(parts).map_or(end, |place| start + place + 1)
    }
}

/// The index and the bit for two bytes in `pairs`.
#[inline(always)]
fn pair(left: u8, right: u8) -> (usize, u32) {
    (usize::from(left) << 2 | usize::from(right >> 6), u32::from(right & 63))
}

#[inline(always)]
fn range(ends: &[u32], token: Token) -> Option<Range<usize>> {
    let token = token as usize;
    let end = *ends.get(token)? as usize;
    let start = if token == 0 { 0 } else { ends[token - 1] as usize };
    Some(start..end)
}
