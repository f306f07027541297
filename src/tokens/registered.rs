//! Tokenizers that users bring for their models: Hugging Face's `tokenizer.json`, read by Hugging Face's own library.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokenizers::Tokenizer;

use super::Token;

/// A tokenizer of a user's.
pub struct Registered {
    /// What the names of its models begin with.
    prefix: String,
    tokenizer: Tokenizer,
}

/// Why a tokenizer cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RegisterError {
    /// Every name begins with nothing.
    #[error("prefix must not be empty")]
    Prefix,
    /// The file is none, or cannot be read.
    #[error("{} is no tokenizer.json: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        reason: String,
    },
}

/// What a tokenizer says about a text that it cannot encode.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the tokenizer of {prefix:?} cannot encode the text: {reason}")]
pub struct EncodeError {
    prefix: String,
    reason: String,
}

/// All of them, those with the longest prefixes first.
static ALL: LazyLock<ArcSwap<Vec<Arc<Registered>>>> = LazyLock::new(ArcSwap::default);

/// Registers a tokenizer for the models whose names begin with `prefix`, in place of one that was registered for the same.
///
/// # Errors
/// When the prefix is empty or the file is no tokenizer; then nothing changes.
pub fn register(prefix: &str, path: &Path) -> Result<(), RegisterError> {
    if prefix.trim().is_empty() {
        return Err(RegisterError::Prefix);
    }
    let mut tokenizer = Tokenizer::from_file(path)
        .map_err(|error| RegisterError::File { path: path.to_owned(), reason: error.to_string() })?;
    // A file may ask for texts to be cut or filled up to a length, which is of use to a model and not to a count.
    tokenizer.with_padding(None);
    let file_error =
        |error: tokenizers::Error| RegisterError::File { path: path.to_owned(), reason: error.to_string() };
    tokenizer.with_truncation(None).map_err(file_error)?;
    let registered = Arc::new(Registered { prefix: prefix.trim().to_owned(), tokenizer });
    ALL.rcu(|all| {
        let mut all: Vec<_> = all.iter().filter(|other| other.prefix != registered.prefix).cloned().collect();
        all.push(Arc::clone(&registered));
        all.sort_by_key(|one| std::cmp::Reverse(one.prefix.len()));
        all
    });
    Ok(())
}

/// The tokenizer that is registered for a model: of those whose prefix its name begins with, the one with the longest.
#[must_use]
pub fn of_model(model: &str) -> Option<Arc<Registered>> {
    let model = model.trim();
    let own = model.rsplit_once('/').map_or(model, |(_, name)| name);
    ALL.load().iter().find(|one| model.starts_with(&one.prefix) || own.starts_with(&one.prefix)).cloned()
}

impl Registered {
    /// What the names of its models begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The tokens of a text, without those that a model has around it.
    ///
    /// # Errors
    /// When the tokenizer lacks a token for a part of the text and for what it does not know.
    pub fn encode(&self, text: &str) -> Result<Vec<Token>, EncodeError> {
        let encoded = self.tokenizer.encode_fast(text, false).map_err(|error| self.error(&error))?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[Token]) -> Result<String, EncodeError> {
        self.tokenizer.decode(tokens, false).map_err(|error| self.error(&error))
    }

    /// The largest number of a token.
    #[must_use]
    pub fn largest(&self) -> Token {
        (self.tokenizer.get_vocab_size(true) as Token).saturating_sub(1)
    }

    fn error(&self, error: &tokenizers::Error) -> EncodeError {
        EncodeError { prefix: self.prefix.clone(), reason: error.to_string() }
    }
}
