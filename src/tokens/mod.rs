//! Tokens: splits a text into the tokens of a model, as OpenAI's `tiktoken` does, or counts them.
//!
//! A text is split into [`pieces`], mostly words. A piece is a token of the [`vocabulary`], or is [`merge`]d from its bytes. The
//! [`counter`] caches the token counts of pieces. [`special`] tokens have no text, and are searched for only if they are allowed.
//! Vocabularies are [`packed`] into the extension and unpacked on first use. [`models`] maps models to encodings. [`registered`]
//! holds the tokenizers that users register. For an [`unknown`] name, the error lists the nearest known names.

#![expect(
    clippy::inline_always,
    reason = "measured: without it, throughput on prose drops by a tenth, and on a single repeated letter by half"
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
mod windows;

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
pub use unknown::{MAX_SUGGESTIONS, UnknownName, nearest};
pub use vocabulary::Token;
use vocabulary::Vocabulary;

/// An embedded encoding: a vocabulary, a pattern and special tokens. A process has one of each name, shared by all threads.
pub struct Encoding {
    name: &'static str,
    source: Source,
    vocabulary: Arc<Vocabulary>,
    special: Special,
    /// Borrowed by calls. A call never waits for a cache that is in use.
    caches: [Mutex<Option<Box<Cache>>>; CACHES],
}

/// Caches of an encoding. If more calls run at the same time, the others count without cached counts.
const CACHES: usize = 16;

/// The vocabulary of an encoding. Several encodings share one.
#[derive(Clone, Copy)]
enum Source {
    O200k,
    Cl100k,
    P50k,
    R50k,
}

/// The names of the encodings, and their vocabularies. `gpt2` is another name of `r50k_base`.
const NAMES: [(&str, Source); 7] = [
    ("o200k_base", Source::O200k),
    ("o200k_harmony", Source::O200k),
    ("cl100k_base", Source::Cl100k),
    ("p50k_base", Source::P50k),
    ("p50k_edit", Source::P50k),
    ("r50k_base", Source::R50k),
    ("gpt2", Source::R50k),
];

/// The number of tokens of `r50k_base`, which are the first tokens of `p50k_base`.
const R50K_TOKENS: usize = 50_256;

/// A number that is not a token of the encoding.
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

/// Loads a value once. Concurrent callers may load it twice: if they waited for each other, a forked child could wait forever.
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
    /// The encoding with this name. The first call loads it, which takes a few milliseconds.
    ///
    /// # Errors
    /// If the name is unknown. The message lists the most similar names.
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

    /// The number of tokens of a text without special tokens.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.with_cache(|cache| {
            let mut counter = Counter::new(&self.vocabulary, cache);
            self.source.splitter().split(text, &mut counter);
            counter.finish(text.as_bytes())
        })
    }

    /// Counts the tokens of each of many texts, on several cores if there is enough work.
    #[must_use]
    pub fn count_batch(&self, texts: &[&str]) -> Vec<usize> {
        for_each(texts, |text| self.count(text))
    }

    /// The tokens of a text without special tokens.
    #[must_use]
    pub fn encode_ordinary(&self, text: &str) -> Vec<Token> {
        self.with_cache(|cache| self.append(text, Vec::new(), cache))
    }

    /// The tokens of a text. Special tokens for which `is_allowed` returns true are encoded as such.
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

    /// The first special token in a text for which `is_meant` returns true.
    pub fn find_special<'a>(&self, text: &'a str, is_meant: impl Fn(&str) -> bool) -> Option<&'a str> {
        self.special.find(text, is_meant)
    }

    /// The concatenated bytes of tokens. They need not be valid UTF-8.
    ///
    /// # Errors
    /// If a number is not a token.
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

    /// The largest token number.
    #[must_use]
    pub fn largest(&self) -> Token {
        let special = self.special.iter().map(|(_, token)| token).max().unwrap_or_default();
        special.max(self.vocabulary.len() as Token - 1)
    }

    /// Calls `work` with the first free cache, or a new one. Never waits: in a forked child, a mutex that a thread of the parent held
    /// stays locked.
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

/// The cache, if no thread uses it.
fn free(cache: &Mutex<Option<Box<Cache>>>) -> Option<MutexGuard<'_, Option<Box<Cache>>>> {
    match cache.try_lock() {
        Ok(cache) => Some(cache),
        // A panic leaves a valid cache: each count is written at once, and buffers are cleared before use.
        Err(TryLockError::Poisoned(cache)) => Some(cache.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Applies `work` to each text, on several cores if there is enough work.
pub fn for_each<T: Send>(texts: &[&str], work: impl Fn(&str) -> T + Sync) -> Vec<T> {
    /// Bytes whose work takes about as long as starting a thread: 50 µs.
    const WORTH_A_THREAD: usize = 1 << 15;
    let worth = texts.iter().map(|text| text.len()).sum::<usize>() / WORTH_A_THREAD;
    // Finding the number of cores reads files, so it is skipped for few texts.
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
            // If the system refuses another thread, the threads that exist do the work.
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
