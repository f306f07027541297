//! Tokens: what a text is made of for a model, as OpenAI's `tiktoken` splits it, and how many there are.
//!
//! A text is split into [`pieces`], words mostly; a piece is a token of the [`vocabulary`] or is [`merge`]d from its bytes; the
//! [`counter`] remembers how many came of it. [`special`] tokens stand for no text and are looked for only where they are allowed.
//! Vocabularies are [`packed`] into the extension and unpacked on first use. [`models`] knows the encoding of a model, and
//! [`registered`] holds what users bring for theirs; of a name that is [`unknown`], the nearest ones are told.

#![expect(
    clippy::inline_always,
    reason = "measured: without it a tenth of the throughput on prose is lost, and half of it on one letter"
)]

mod backtrack;
mod counter;
mod known;
mod merge;
pub mod models;
mod packed;
mod pieces;
pub mod registered;
mod special;
mod table;
mod unknown;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use arc_swap::ArcSwapOption;
use thiserror::Error;

use counter::{Cache, Counter, Encoder};
use pieces::Splitter;
use special::Special;
pub use special::{Chosen, Disallowed, end_of_text};
pub use unknown::UnknownName;
pub use vocabulary::Token;
use vocabulary::Vocabulary;

/// An embedded encoding: a vocabulary, a pattern and special tokens. There is one of each name in a process, and all threads share it.
pub struct Encoding {
    name: &'static str,
    source: Source,
    vocabulary: Arc<Vocabulary>,
    special: Special,
    /// Lent to calls; what a call finds taken it does not wait for.
    caches: [Mutex<Option<Box<Cache>>>; CACHES],
}

/// Caches of an encoding: calls beyond so many at the same time count without what was counted before.
const CACHES: usize = 16;

/// Where the vocabulary of an encoding comes from. Several encodings share one.
#[derive(Clone, Copy)]
enum Source {
    O200k,
    Cl100k,
    P50k,
    R50k,
}

/// A name, and where the encoding of that name comes from. `gpt2` is `r50k_base` by another name.
const NAMES: [(&str, Source); 7] = [
    ("o200k_base", Source::O200k),
    ("o200k_harmony", Source::O200k),
    ("cl100k_base", Source::Cl100k),
    ("p50k_base", Source::P50k),
    ("p50k_edit", Source::P50k),
    ("r50k_base", Source::R50k),
    ("gpt2", Source::R50k),
];

/// Tokens of `r50k_base`, which are the first ones of `p50k_base`.
const R50K_TOKENS: usize = 50_256;

/// A number that is no token of an encoding.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{encoding} has no token {token}")]
pub struct UnknownToken {
    /// The encoding's name.
    pub encoding: &'static str,
    /// The number.
    pub token: Token,
}

/// The names of all encodings.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    NAMES.iter().map(|(name, _)| *name)
}

/// Threads that ask at once may load it twice; none waits for another, which a fork could leave it without.
fn load_once<T>(place: &ArcSwapOption<T>, load: impl FnOnce() -> T) -> Arc<T> {
    if let Some(loaded) = place.load_full() {
        return loaded;
    }
    let loaded = Arc::new(load());
    place.compare_and_swap(&None::<Arc<T>>, Some(Arc::clone(&loaded)));
    place.load_full().unwrap_or(loaded)
}

impl Source {
    fn vocabulary(self) -> Arc<Vocabulary> {
        static LOADED: [ArcSwapOption<Vocabulary>; 4] = [const { ArcSwapOption::const_empty() }; 4];
        let packed: &[u8] = match self {
            Self::O200k => include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base.bin")),
            Self::Cl100k => include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base.bin")),
            Self::P50k | Self::R50k => include_bytes!(concat!(env!("OUT_DIR"), "/p50k_base.bin")),
        };
        let count = if matches!(self, Self::R50k) { R50K_TOKENS } else { usize::MAX };
        load_once(&LOADED[self as usize], || Vocabulary::unpack(packed, count))
    }

    fn splitter(self) -> Splitter {
        match self {
            Self::O200k => Splitter::O200k,
            Self::Cl100k => Splitter::Cl100k,
            Self::P50k | Self::R50k => Splitter::R50k,
        }
    }
}

impl Encoding {
    /// The encoding of a name, which is loaded when it is asked for first: that takes some milliseconds.
    ///
    /// # Errors
    /// When there is none; the message lists those whose names are most like it.
    pub fn named(name: &str) -> Result<Arc<Self>, UnknownName> {
        static LOADED: [ArcSwapOption<Encoding>; NAMES.len()] = [const { ArcSwapOption::const_empty() }; NAMES.len()];
        let place =
            NAMES.iter().position(|(known, _)| *known == name).ok_or_else(|| UnknownName::encoding(name, names()))?;
        let (name, source) = NAMES[place];
        Ok(load_once(&LOADED[place], || Self {
            name,
            source,
            vocabulary: source.vocabulary(),
            special: Special::of(name),
            caches: [const { Mutex::new(None) }; CACHES],
        }))
    }

    /// The encoding's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The number of tokens of a text, none of which is special.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.with_cache(|cache| {
            let mut counter = Counter::new(&self.vocabulary, cache);
            self.source.splitter().split(text, &mut counter);
            counter.tokens
        })
    }

    /// As [`Self::count`], for many texts, on as many of the machine's cores as they are worth.
    #[must_use]
    pub fn count_batch(&self, texts: &[&str]) -> Vec<usize> {
        for_each(texts, |text| self.count(text))
    }

    /// The tokens of a text, none of which is special.
    #[must_use]
    pub fn encode_ordinary(&self, text: &str) -> Vec<Token> {
        self.with_cache(|cache| self.append(text, Vec::new(), cache))
    }

    /// The tokens of a text in which the special tokens that `is_allowed` names stand for themselves.
    pub fn encode(&self, text: &str, is_allowed: impl Fn(&str) -> bool) -> Vec<Token> {
        self.with_cache(|cache| {
            let mut tokens = Vec::new();
            let mut rest = text;
            while let Some((before, token, after)) = self.special.split(rest, &is_allowed) {
                tokens = self.append(before, tokens, cache);
                tokens.push(token);
                rest = after;
            }
            self.append(rest, tokens, cache)
        })
    }

    fn append(&self, text: &str, tokens: Vec<Token>, cache: &mut Cache) -> Vec<Token> {
        let mut encoder = Encoder::new(&self.vocabulary, cache, tokens);
        self.source.splitter().split(text, &mut encoder);
        encoder.tokens
    }

    /// The first special token in a text that `is_meant` names.
    pub fn find_special<'a>(&self, text: &'a str, is_meant: impl Fn(&str) -> bool) -> Option<&'a str> {
        self.special.find(text, is_meant)
    }

    /// The bytes that tokens stand for, one after the other. They need not be UTF-8.
    ///
    /// # Errors
    /// When a number is no token.
    pub fn decode(&self, tokens: &[Token]) -> Result<Vec<u8>, UnknownToken> {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for token in tokens {
            let found = self.vocabulary.bytes(*token).or_else(|| Some(self.special.text(*token)?.as_bytes()));
            bytes.extend_from_slice(found.ok_or(UnknownToken { encoding: self.name, token: *token })?);
        }
        Ok(bytes)
    }

    /// The special tokens and their numbers.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&str, Token)> {
        self.special.iter()
    }

    /// The largest number of a token.
    #[must_use]
    pub fn largest(&self) -> Token {
        let special = self.special.iter().map(|(_, token)| token).max().unwrap_or_default();
        special.max(self.vocabulary.len() as Token - 1)
    }

    /// Lends the first cache that is free, or a new one. No call waits: in a child of a fork, what a thread of the parent held stays held.
    fn with_cache<T>(&self, work: impl FnOnce(&mut Cache) -> T) -> T {
        match self.caches.iter().find_map(free) {
            Some(mut cache) => {
                let cache = cache.get_or_insert_with(|| Box::new(Cache::new()));
                let done = work(cache);
                cache.shrink();
                done
            }
            None => work(&mut Cache::new()),
        }
    }
}

/// A cache that no thread uses now.
fn free(cache: &Mutex<Option<Box<Cache>>>) -> Option<MutexGuard<'_, Option<Box<Cache>>>> {
    match cache.try_lock() {
        Ok(cache) => Some(cache),
        // Whoever panicked with it left whole counts: each is written at once, and rows are cleared before they are used.
        Err(TryLockError::Poisoned(cache)) => Some(cache.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What `work` makes of each text, on as many of the machine's cores as the texts are worth.
pub fn for_each<T: Send>(texts: &[&str], work: impl Fn(&str) -> T + Sync) -> Vec<T> {
    /// Bytes that take about as long as starting a thread: 50 µs.
    const WORTH_A_THREAD: usize = 1 << 15;
    let worth = texts.iter().map(|text| text.len()).sum::<usize>() / WORTH_A_THREAD;
    // Asking for the number of cores reads files; few texts are worth that.
    let most = worth.min(texts.len());
    let threads = if most < 2 { 1 } else { thread::available_parallelism().map_or(1, NonZero::get).min(most) };
    if threads < 2 {
        return texts.iter().map(|text| work(text)).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(texts.len()));
    let some = || {
        let mut own = Vec::new();
        while let place = next.fetch_add(1, Ordering::Relaxed)
            && let Some(text) = texts.get(place)
        {
            own.push((place, work(text)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A machine that gives no more threads works with those it gave.
            let _ = thread::Builder::new().spawn_scoped(scope, some);
        }
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, one)| one).collect()
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding").field("name", &self.name).finish_non_exhaustive()
    }
}
