//! Tokenizers that users register for their models: Hugging Face's `tokenizer.json`, read by Hugging Face's own library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokenizers::Tokenizer;

use super::{Token, load_once};

/// A registered tokenizer.
pub struct Registered {
    /// The prefix of the names of its models, in lower case.
    prefix: String,
    tokenizer: Tokenizer,
    /// The special tokens.
    special: Vec<(String, Token)>,
    /// Searches for the special tokens.
    search: AhoCorasick,
    /// A copy of the tokenizer that encodes special tokens as such. Created on first use.
    marking: ArcSwapOption<Tokenizer>,
    /// The largest token number.
    largest: Token,
}

/// Why a tokenizer cannot be registered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegisterError {
    /// The prefix is empty, and would match every name.
    #[error("prefix must not be empty")]
    Prefix,
    /// The file is not a tokenizer or cannot be read.
    #[error("{} is not a valid tokenizer.json: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the library.
        reason: String,
    },
}

/// A tokenizer cannot encode a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the tokenizer of {prefix:?} cannot encode the text: {reason}")]
pub struct EncodeError {
    prefix: String,
    reason: String,
}

/// All registered tokenizers, those with the longest prefixes first.
static ALL: ArcSwapOption<Vec<Arc<Registered>>> = ArcSwapOption::const_empty();

/// Registers a tokenizer for the models whose names start with `prefix`. Replaces a tokenizer with the same prefix.
///
/// # Errors
/// If the prefix is empty or the file is not a tokenizer. Then nothing changes.
pub fn register(prefix: &str, path: &Path) -> Result<(), RegisterError> {
    if prefix.trim().is_empty() {
        return Err(RegisterError::Prefix);
    }
    let mut tokenizer = Tokenizer::from_file(path)
        .map_err(|error| RegisterError::File { path: path.to_owned(), reason: error.to_string() })?;
    // The file may configure truncation and padding to a length. Models need that; a count must not have it.
    tokenizer.with_padding(None);
    let file_error =
        |error: tokenizers::Error| RegisterError::File { path: path.to_owned(), reason: error.to_string() };
    tokenizer.with_truncation(None).map_err(file_error)?;
    // As in all encodings here, a special token in a text is plain text unless the caller allows it.
    tokenizer.set_encode_special_tokens(true);
    let added = tokenizer.get_added_tokens_decoder();
    let special: Vec<_> =
        added.iter().filter(|(_, token)| token.special).map(|(id, token)| (token.content.clone(), *id)).collect();
    let search = AhoCorasick::new(special.iter().map(|(name, _)| name))
        .map_err(|error| RegisterError::File { path: path.to_owned(), reason: error.to_string() })?;
    let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
    let (prefix, marking) = (prefix.trim().to_lowercase(), ArcSwapOption::const_empty());
    let registered = Arc::new(Registered { prefix, tokenizer, special, search, marking, largest });
    ALL.rcu(|all| {
        let others = all.iter().flat_map(|all| all.iter()).filter(|other| other.prefix != registered.prefix);
        let mut all: Vec<_> = others.cloned().chain([Arc::clone(&registered)]).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.prefix.len()));
        Some(Arc::new(all))
    });
    Ok(())
}

/// The tokenizer that is registered for a model: the one with the longest prefix of the model's name.
#[must_use]
pub fn of_model(model: &str) -> Option<Arc<Registered>> {
    let all = ALL.load_full()?;
    let model = model.trim().to_lowercase();
    let own = model.rsplit_once('/').map_or(model.as_str(), |(_, name)| name);
    let tuned = own.strip_prefix("ft:").unwrap_or(own);
    all.iter().find(|one| [&model, own, tuned].iter().any(|name| name.starts_with(&one.prefix))).cloned()
}

impl Registered {
    /// The prefix of the names of its models.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The tokens of a text without special tokens, and without the tokens that a model adds around a text.
    ///
    /// # Errors
    /// If the tokenizer has neither a token for a part of the text nor one for unknown text.
    pub fn encode_ordinary(&self, text: &str) -> Result<Vec<Token>, EncodeError> {
        let encoded = self.tokenizer.encode_fast(text, false).map_err(|error| self.error(&error))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The tokens of a text. Special tokens for which `is_allowed` returns true are encoded as such.
    ///
    /// If all are allowed, the library also applies the file's rules about them, for example that a token absorbs the white space
    /// beside it or only counts as a whole word. If only some are allowed, each is encoded where its text occurs, and the text
    /// between them separately.
    ///
    /// # Errors
    /// Those of [`Self::encode_ordinary`].
    pub fn encode(&self, text: &str, is_allowed: impl Fn(&str) -> bool) -> Result<Vec<Token>, EncodeError> {
        let allowed: Vec<_> = self.special.iter().filter(|(name, _)| is_allowed(name)).collect();
        if allowed.is_empty() {
            return self.encode_ordinary(text);
        }
        if allowed.len() == self.special.len() {
            let marking = load_once(&self.marking, || {
                let mut marking = self.tokenizer.clone();
                marking.set_encode_special_tokens(false);
                marking
            });
            let encoded = marking.encode_fast(text, false).map_err(|error| self.error(&error))?;
            return Ok(encoded.get_ids().to_vec());
        }
        // Of special tokens that begin at the same position, the longest counts.
        let names = allowed.iter().map(|(name, _)| name);
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(names);
        let search = search.map_err(|error| self.error(&error))?;
        let mut tokens = Vec::new();
        let mut rest = 0;
        for found in search.find_iter(text) {
            tokens.extend(self.encode_ordinary(&text[rest..found.start()])?);
            tokens.push(allowed[found.pattern().as_usize()].1);
            rest = found.end();
        }
        tokens.extend(self.encode_ordinary(&text[rest..])?);
        Ok(tokens)
    }

    /// The first special token in a text for which `is_meant` returns true.
    pub fn find_special(&self, text: &str, is_meant: impl Fn(&str) -> bool) -> Option<&str> {
        let mut found = self.search.find_overlapping_iter(text).map(|found| self.special[found.pattern()].0.as_str());
        found.find(|name| is_meant(name))
    }

    /// The text of tokens, or the first number that is not a token.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[Token]) -> Result<Result<String, Token>, EncodeError> {
        if let Some(unknown) = tokens.iter().find(|token| self.tokenizer.id_to_token(**token).is_none()) {
            return Ok(Err(*unknown));
        }
        self.tokenizer.decode(tokens, false).map(Ok).map_err(|error| self.error(&error))
    }

    /// The special tokens and their numbers.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&str, Token)> {
        self.special.iter().map(|(name, token)| (name.as_str(), *token))
    }

    /// The largest token number.
    #[must_use]
    pub fn largest(&self) -> Token {
        self.largest
    }

    fn error(&self, error: &impl ToString) -> EncodeError {
        EncodeError { prefix: self.prefix.clone(), reason: error.to_string() }
    }
}
