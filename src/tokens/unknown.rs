//! The error for an unknown name, with the most similar known names.

use thiserror::Error;

/// The name of an encoding or a model is unknown.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown {kind} {name:?}; {hint}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    hint: String,
}

/// How many characters of the name the error quotes.
const QUOTED: usize = 80;

/// Longer names are not compared with known ones. No model has a name half as long.
const MAX_COMPARED: usize = 200;

/// A shorter beginning is that of too many names.
const SHORTEST_PREFIX: usize = 3;
/// The most names that are suggested.
pub const MAX_SUGGESTIONS: usize = 5;

impl UnknownName {
    /// The error for a model that is not among `known`.
    pub fn model<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::new("model", name, &nearest(name, known), "no known name is similar")
    }

    /// The error for an encoding. If no name is similar, it lists all.
    pub(super) fn encoding<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        let all = format!("the encodings are {}", known.clone().collect::<Vec<_>>().join(", "));
        Self::new("encoding", name, &nearest(name, known), &all)
    }

    fn new(kind: &'static str, name: &str, nearest: &[&str], otherwise: &str) -> Self {
        let hint = if nearest.is_empty() {
            otherwise.to_owned()
        } else {
            format!("the nearest names are {}", nearest.join(", "))
        };
        Self { kind, name: name.chars().take(QUOTED).collect(), hint }
    }
}

/// The known names most similar to `wanted`, the best match first.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.trim().to_lowercase();
    let length = wanted.chars().take(MAX_COMPARED + 1).count();
    if length == 0 || length > MAX_COMPARED {
        return Vec::new();
    }
    // A name that differs more than this is not a typo.
    let limit = length / 3 + 1;
    let own_words = words(&wanted);
    let far = |name: &str| {
        let name = name.to_lowercase();
        let other_words = words(&name);
        // Other separators, another order, or a part of the name: `sonnet-4.5` for `claude-sonnet-4-5`.
        if own_words.concat() == other_words.concat() {
            return 0;
        }
        if own_words.len() > 1 && own_words.iter().all(|word| other_words.contains(word)) {
            return other_words.len().abs_diff(own_words.len());
        }
        // A prefix or an extension of a known name counts like one wrong letter.
        if (name.starts_with(&wanted) && length >= SHORTEST_PREFIX) || wanted.starts_with(&name) {
            1
        } else if name.chars().count().abs_diff(length) > limit {
            usize::MAX
        } else {
            distance(&wanted, &name)
        }
    };
    // Among equally near names, those of a similar length are the more likely ones.
    let rank = |name: &'a str| (far(name), name.chars().count().abs_diff(length), name);
    let mut near: Vec<_> = known.map(rank).filter(|(far, ..)| *far <= limit).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MAX_SUGGESTIONS).map(|(.., name)| name).collect()
}

/// The words and numbers of a name.
fn words(name: &str) -> Vec<&str> {
    let is_edge = |(left, right): (u8, u8)| left.is_ascii_digit() != right.is_ascii_digit();
    let mut words = Vec::new();
    for part in name.split(|character: char| !character.is_alphanumeric()).filter(|part| !part.is_empty()) {
        let mut start = 0;
        let bytes = part.as_bytes();
        for at in 1..bytes.len() {
            if is_edge((bytes[at - 1], bytes[at])) && part.is_char_boundary(at) {
                words.push(&part[start..at]);
                start = at;
            }
        }
        words.push(&part[start..]);
    }
    words
}

/// The Levenshtein distance of two texts.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
