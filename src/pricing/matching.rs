//! The match rules of the catalog: whether a rule matches a model reference.

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// The most bytes of a compiled regular expression. The catalog's own take a tenth; nested repetitions of a hostile one would take
/// megabytes.
const MAX_PATTERN_BYTES: usize = 64 << 10;

/// A match rule for references in lower case.
///
/// Regular expressions are compiled when the catalog is loaded, not at their first use. If a process forked during that, the child
/// would wait for a thread that it does not have.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Clause {
    Equals(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    Regex(Pattern),
    Or(Box<[Clause]>),
    And(Box<[Clause]>),
    Not(Box<Clause>),
}

/// A regular expression of the catalog.
#[derive(Serialize, Deserialize, Debug, Clone)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = regex_lite::Error;

    fn try_from(source: String) -> Result<Self, Self::Error> {
        RegexBuilder::new(&source).size_limit(MAX_PATTERN_BYTES).build().map(Self)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.as_str().to_owned()
    }
}

impl Pattern {
    /// Whether it matches somewhere in the text.
    ///
    /// This uses a copy, which has its own pool of working memory. The pool of the original has a lock, and a child forked while
    /// another thread is matching would find it locked forever.
    fn is_match(&self, text: &str) -> bool {
        self.0.clone().is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Clause {
    /// Whether the rule matches `reference`, which is in lower case.
    pub(super) fn is_match(&self, reference: &str) -> bool {
        match self {
            Self::Equals(text) => reference == &**text,
            Self::StartsWith(text) => reference.starts_with(&**text),
            Self::EndsWith(text) => reference.ends_with(&**text),
            Self::Contains(text) => reference.contains(&**text),
            Self::Regex(pattern) => pattern.is_match(reference),
            Self::Or(parts) => parts.iter().any(|part| part.is_match(reference)),
            Self::And(parts) => parts.iter().all(|part| part.is_match(reference)),
            Self::Not(part) => !part.is_match(reference),
        }
    }

    /// The pairs of bytes that every matching reference contains, as a set of [`pairs_of`].
    pub(super) fn needed_pairs(&self) -> u128 {
        match self {
            Self::Equals(text) | Self::StartsWith(text) | Self::EndsWith(text) | Self::Contains(text) => pairs_of(text),
            Self::Or(parts) if parts.is_empty() => 0,
            Self::Or(parts) => parts.iter().fold(u128::MAX, |common, part| common & part.needed_pairs()),
            Self::And(parts) => parts.iter().fold(0, |all, part| all | part.needed_pairs()),
            Self::Regex(_) | Self::Not(_) => 0,
        }
    }

    /// Calls `name` for each reference that the rule matches by equality. Returns whether it can match in other ways, too.
    pub(super) fn split_exact<'a>(&'a self, name: &mut impl FnMut(&'a str)) -> bool {
        match self {
            Self::Equals(text) => {
                name(text);
                false
            }
            // `|` and not `||`, so that every part is visited.
            Self::Or(parts) => parts.iter().fold(false, |other, part| other | part.split_exact(name)),
            _ => true,
        }
    }
}

/// The pairs of adjacent bytes of a text, each hashed to one of 128 bits.
///
/// A text that lacks one of another's pairs cannot contain it. This comparison excludes most of a provider's hundred rules.
pub(super) fn pairs_of(text: &str) -> u128 {
    // Odd factors spread letters and digits, which differ in their low bits.
    let hash = |pair: &[u8]| (pair[0].wrapping_mul(37) ^ pair[1]).wrapping_mul(11) % 128;
    text.as_bytes().windows(2).fold(0, |set, pair| set | 1 << hash(pair))
}

/// Rewrites a compact date `-20251211` (at the end, or before `-` or `:`) to `-2025-12-11`, as `genai-prices` does for references
/// that match in no other way. `None` if there is no such date.
pub(super) fn with_dashed_date(reference: &str) -> Option<String> {
    let bytes = reference.as_bytes();
    let mut out = String::with_capacity(reference.len() + 2);
    let mut copied = 0;
    let mut start = 0;
    while start + 9 <= bytes.len() {
        let end = start + 9;
        let ends = matches!(bytes.get(end), None | Some(b'-' | b':'));
        if bytes[start] == b'-' && ends && is_compact_date(&bytes[start + 1..end]) {
            let date = &reference[start + 1..end];
            out.push_str(&reference[copied..=start]);
            out.extend([&date[..4], "-", &date[4..6], "-", &date[6..]]);
            copied = end;
            start = end;
        } else {
            start += 1;
        }
    }
    out.push_str(&reference[copied..]);
    (copied > 0).then_some(out)
}

/// Whether eight digits are a valid date of this century.
fn is_compact_date(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"20") || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number =
        |range: std::ops::Range<usize>| bytes[range].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
    let (year, month, day) = (number(0..4), number(4..6), number(6..8));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_from_json_and_match() {
        let rule: Clause = serde_json::from_str(
            r#"{"or":[{"equals":"a"},{"and":[{"starts_with":"b"},{"not":{"regex":"-tts(?:$|-)"}}]}]}"#,
        )
        .unwrap();
        assert!(rule.is_match("a") && rule.is_match("b-1") && !rule.is_match("b-tts") && !rule.is_match("ab"));
        let mut exact = Vec::new();
        assert!(rule.split_exact(&mut |name| exact.push(name)));
        assert_eq!(exact, ["a"]);
    }

    #[test]
    fn every_matching_reference_contains_the_required_pairs() {
        let rule: Clause = serde_json::from_str(
            r#"{"or":[{"contains":"global.opus-5"},{"and":[{"starts_with":"eu."},{"ends_with":"opus-5"}]},{"equals":"opus-5"}]}"#,
        )
        .unwrap();
        assert_eq!(rule.needed_pairs(), pairs_of("opus-5"));
        for reference in ["x.global.opus-5-v1", "eu.my-opus-5", "opus-5"] {
            assert!(rule.is_match(reference));
            assert_eq!(rule.needed_pairs() & !pairs_of(reference), 0, "{reference}");
        }
        assert_ne!(rule.needed_pairs() & !pairs_of("claude-sonnet"), 0);
        assert_eq!(serde_json::from_str::<Clause>(r#"{"regex":"opus"}"#).unwrap().needed_pairs(), 0);
    }

    #[test]
    fn a_pattern_that_becomes_too_large_is_rejected() {
        assert!(serde_json::from_str::<Clause>(r#"{"regex":"^claude-opus-\\d{8}$"}"#).is_ok());
        assert!(serde_json::from_str::<Clause>(r#"{"regex":"(?:(?:(?:a{20}){20}){20}){15}"}"#).is_err());
    }

    #[test]
    fn valid_compact_dates_are_dashed() {
        for (given, dashed) in [
            ("gpt-5.2-20251211", Some("gpt-5.2-2025-12-11")),
            ("m-20240229:free", Some("m-2024-02-29:free")),
            ("m-20250229", None),
            ("m-2025121", None),
            ("m-202512111", None),
            ("é-19991231", None),
            ("é-20991231-x", Some("é-2099-12-31-x")),
        ] {
            assert_eq!(with_dashed_date(given).as_deref(), dashed, "{given}");
        }
    }
}
