//! Special tokens: they mark the beginning or the purpose of a prompt and have no text of their own.
//!
//! Their names and numbers are those of `tiktoken` 0.14 (`tiktoken_ext/openai_public.py`).

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::vocabulary::Token;

/// The special tokens that a caller selects.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// All of them.
    All,
    /// Those with these texts.
    These(HashSet<String>),
}

/// A text contains a special token that is not allowed in it.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "text contains the special token {0:?}, which is disallowed: to encode it as that token, put it into allowed_special; to encode it as \
     text, pass disallowed_special=()"
)]
pub struct Disallowed(pub String);

impl Chosen {
    /// Whether a special token is selected.
    #[must_use]
    pub fn has(&self, token: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(token),
        }
    }

    /// Checks that a text contains none of the selected tokens, by the rules of `tiktoken`. `All` disallows the special tokens that
    /// are not in `allowed`. `These` disallows exactly the named texts, also allowed ones and texts that are not special tokens.
    /// `find` returns the first special token of the encoding in the text for which its argument returns true.
    ///
    /// # Errors
    /// The first disallowed token in the text.
    pub fn disallow(
        &self,
        text: &str,
        allowed: &Self,
        find: impl FnOnce(&dyn Fn(&str) -> bool) -> Option<String>,
    ) -> Result<(), Disallowed> {
        let found = match self {
            Self::All => find(&|token| !allowed.has(token)),
            Self::These(names) => {
                let places = names.iter().filter_map(|name| Some((text.find(name.as_str())?, name)));
                places.min().map(|(_, name)| name.clone())
            }
        };
        found.map_or(Ok(()), |token| Err(Disallowed(token)))
    }
}

/// The special token for the end of a text.
pub fn end_of_text<'a>(special: impl IntoIterator<Item = (&'a str, Token)>) -> Option<Token> {
    special.into_iter().find(|(text, _)| *text == "<|endoftext|>").map(|(_, token)| token)
}

/// The start and the end of every special token. They do not occur inside one.
const OPENS: &str = "<|";
const CLOSES: &str = "|>";

/// The most bytes of a special token. Searching no further for its end keeps the search linear.
const MAX_BYTES: usize = 24;

/// The special tokens of `o200k_harmony` that have a meaning.
const HARMONY: [(&str, Token); 10] = [
    ("endoftext", 199_999),
    ("endofprompt", 200_018),
    ("startoftext", 199_998),
    ("return", 200_002),
    ("constrain", 200_003),
    ("channel", 200_005),
    ("start", 200_006),
    ("end", 200_007),
    ("message", 200_008),
    ("call", 200_012),
];

/// The numbers of its `<|reserved_…|>` tokens, which have no meaning yet.
const RESERVED: [RangeInclusive<Token>; 4] =
    [200_000..=200_001, 200_004..=200_004, 200_009..=200_011, 200_013..=201_087];

/// The special tokens of an encoding.
#[derive(Debug)]
pub(super) struct Special {
    tokens: HashMap<String, Token>,
    texts: HashMap<Token, String>,
}

impl Special {
    /// The special tokens of the encoding with this name.
    pub(super) fn of(name: &str) -> Self {
        let named: &[(&str, Token)] = match name {
            "o200k_base" => &[("endoftext", 199_999), ("endofprompt", 200_018)],
            "o200k_harmony" => &HARMONY,
            "cl100k_base" => &[
                ("endoftext", 100_257),
                ("fim_prefix", 100_258),
                ("fim_middle", 100_259),
                ("fim_suffix", 100_260),
                ("endofprompt", 100_276),
            ],
            "p50k_edit" => {
                &[("endoftext", 50_256), ("fim_prefix", 50_281), ("fim_middle", 50_282), ("fim_suffix", 50_283)]
            }
            _ => &[("endoftext", 50_256)],
        };
        let mut all: Vec<_> = named.iter().map(|(name, token)| (format!("{OPENS}{name}{CLOSES}"), *token)).collect();
        if name == "o200k_harmony" {
            all.extend(RESERVED.into_iter().flatten().map(|token| (format!("{OPENS}reserved_{token}{CLOSES}"), token)));
        }
        // 200,018 has two names. `tiktoken` decodes it to the older one.
        let texts = all.iter().rev().map(|(text, token)| (*token, text.clone())).collect();
        Self { tokens: all.into_iter().collect(), texts }
    }

    /// The first special token in a text for which `is_meant` returns true.
    pub(super) fn find<'a>(&self, text: &'a str, is_meant: impl Fn(&str) -> bool) -> Option<&'a str> {
        let mut from = 0;
        while let Some(at) = text[from..].find(OPENS).map(|at| from + at) {
            let end = text.floor_char_boundary(at + MAX_BYTES);
            if let Some(length) = text[at..end].find(CLOSES).map(|place| place + CLOSES.len()) {
                let name = &text[at..at + length];
                if self.tokens.contains_key(name) && is_meant(name) {
                    return Some(name);
                }
            }
            from = at + 1;
        }
        None
    }

    /// Splits a text at the first special token for which `is_allowed` returns true: the text before, the token, the text after.
    pub(super) fn split<'a>(
        &self,
        text: &'a str,
        is_allowed: impl Fn(&str) -> bool,
    ) -> Option<(&'a str, Token, &'a str)> {
        let found = self.find(text, is_allowed)?;
        let (before, after) = text.split_once(found)?;
        Some((before, *self.tokens.get(found)?, after))
    }

    pub(super) fn text(&self, token: Token) -> Option<&str> {
        self.texts.get(&token).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Token)> {
        self.tokens.iter().map(|(text, token)| (text.as_str(), *token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_tokens_are_disallowed_and_all_means_those_not_allowed() {
        let special = Special::of("cl100k_base");
        let these = |names: &[&str]| Chosen::These(names.iter().map(|name| (*name).to_owned()).collect());
        let text = "a<|fim_prefix|>b<|endoftext|>";
        let check = |disallowed: &Chosen, allowed: &Chosen| {
            disallowed.disallow(text, allowed, |is_meant| special.find(text, is_meant).map(str::to_owned))
        };
        assert_eq!(check(&Chosen::All, &these(&[])), Err(Disallowed("<|fim_prefix|>".to_owned())));
        assert_eq!(check(&Chosen::All, &these(&["<|fim_prefix|>"])), Err(Disallowed("<|endoftext|>".to_owned())));
        assert_eq!(check(&Chosen::All, &Chosen::All), Ok(()));
        assert_eq!(check(&these(&[]), &these(&[])), Ok(()));
        // Named texts are disallowed even if they are not special tokens or are also allowed. The first one in the text is reported.
        assert_eq!(check(&these(&["<|endoftext|>", "b"]), &Chosen::All), Err(Disallowed("b".to_owned())));
        assert_eq!(end_of_text(special.iter()), Some(100_257));
    }
}
