//! Names that nothing has, and those that are most like them.

use thiserror::Error;

/// A name that no encoding, or no model, has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown {kind} {name:?}; {hint}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    hint: String,
}

/// Characters of a name that are quoted.
const QUOTED: usize = 80;

/// Characters of a name that is looked at: no model's is half as long.
const LONGEST: usize = 200;

/// Names that are offered at most.
const OFFERED: usize = 5;

impl UnknownName {
    /// A model that is not among `known`.
    pub fn model<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::new("model", name, &nearest(name, known), "no name is near it")
    }

    /// An encoding; where none of all is like it, all are named.
    pub(super) fn encoding<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        let all = format!("there are {}", known.clone().collect::<Vec<_>>().join(", "));
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

/// The names that are most like one, the most like first.
pub(super) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.trim().to_lowercase();
    let length = wanted.chars().take(LONGEST + 1).count();
    if length == 0 || length > LONGEST {
        return Vec::new();
    }
    // Further away than this, a name is not a slip of the finger.
    let limit = length / 3 + 1;
    let far = |name: &str| {
        let name = name.to_lowercase();
        // A name that was not typed to its end, or that has more than is known, is as near as one with a letter wrong.
        if name.starts_with(&wanted) || wanted.starts_with(&name) {
            1
        } else if name.chars().count().abs_diff(length) > limit {
            usize::MAX
        } else {
            distance(&wanted, &name)
        }
    };
    let mut near: Vec<_> = known.map(|name| (far(name), name)).filter(|(far, _)| *far <= limit).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

/// Levenshtein's distance of two texts.
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
