//! The three patterns, written by hand. They find the end of the piece that begins at a given position in any text.
//!
//! Each implements the regular expression that `tiktoken` compiles for the encoding: the alternatives in order, greedy matching, and
//! all backtracking that the expression allows.

use super::class::{Class, class_at, run};

/// A pattern that splits text into pieces.
pub(super) trait Pattern {
    /// Whether a capital after a lower-case letter begins another piece.
    const SPLITS_CASE: bool;
    /// Whether a contraction (`'s`, `'ll`) belongs to the word before it. Otherwise it is a separate piece.
    const JOINS_CONTRACTIONS: bool;
    /// The most digits of a piece.
    const DIGITS: usize;
    /// Whether only a space belongs to the word after it. Otherwise any one character does that is not a letter, a number or a line
    /// end.
    const JOINS_SPACE_ONLY: bool;
    /// Whether line ends belong to the symbols before them.
    const JOINS_NEWLINES: bool;
    /// Whether slashes belong to those symbols, too.
    const JOINS_SLASHES: bool;
    /// Whether all white space at the end of the text is one piece.
    const JOINS_LAST_SPACE: bool;
    /// Whether white space is split after its last line end.
    const SPLITS_LINES: bool;

    /// The end of the piece that begins at `start`. `start` is before the end of the text and at the start of a character.
    fn end(text: &[u8], start: usize) -> usize;
}

/// `o200k_base`, `o200k_harmony`
pub(super) struct O200k;

/// `cl100k_base`
pub(super) struct Cl100k;

/// `r50k_base`, `gpt2`, `p50k_base`, `p50k_edit`
pub(super) struct R50k;

impl Pattern for O200k {
    const SPLITS_CASE: bool = true;
    const JOINS_CONTRACTIONS: bool = true;
    const DIGITS: usize = 3;
    const JOINS_SPACE_ONLY: bool = false;
    const JOINS_NEWLINES: bool = true;
    const JOINS_SLASHES: bool = true;
    const JOINS_LAST_SPACE: bool = false;
    const SPLITS_LINES: bool = true;

    fn end(text: &[u8], start: usize) -> usize {
        let Some((first, width)) = class_at(text, start) else { return text.len() };
        let after = start + width;
        let word = match first {
            Class::Upper | Class::Lower | Class::Caseless => word(text, start),
            // One character before the word belongs to it, if a word follows.
            Class::Other | Class::Space => word(text, after),
            // A mark can be such a character or a part of the word. Try all readings in the order of the expression.
            Class::Mark => lower_word(text, after)
                .or_else(|| lower_word(text, start))
                .or_else(|| upper_word(text, after))
                .or_else(|| upper_word(text, start)),
            Class::Newline | Class::Number => None,
        };
        if let Some(end) = word {
            return end + contraction(text, end, true);
        }
        rest::<Self>(text, start, first, after)
    }
}

impl Pattern for Cl100k {
    const SPLITS_CASE: bool = false;
    const JOINS_CONTRACTIONS: bool = false;
    const DIGITS: usize = 3;
    const JOINS_SPACE_ONLY: bool = false;
    const JOINS_NEWLINES: bool = true;
    const JOINS_SLASHES: bool = false;
    const JOINS_LAST_SPACE: bool = true;
    const SPLITS_LINES: bool = true;

    fn end(text: &[u8], start: usize) -> usize {
        let Some((first, width)) = class_at(text, start) else { return text.len() };
        let after = start + width;
        let contracted = contraction(text, start, true);
        if contracted > 0 {
            return start + contracted;
        }
        let letters = if matches!(first, Class::Other | Class::Space | Class::Mark) { after } else { start };
        let end = run(text, letters, Class::is_letter);
        if end > letters {
            return end;
        }
        rest::<Self>(text, start, first, after)
    }
}

impl Pattern for R50k {
    const SPLITS_CASE: bool = false;
    const JOINS_CONTRACTIONS: bool = false;
    const DIGITS: usize = usize::MAX;
    const JOINS_SPACE_ONLY: bool = true;
    const JOINS_NEWLINES: bool = false;
    const JOINS_SLASHES: bool = false;
    const JOINS_LAST_SPACE: bool = true;
    const SPLITS_LINES: bool = false;

    fn end(text: &[u8], start: usize) -> usize {
        let Some((first, width)) = class_at(text, start) else { return text.len() };
        let after = start + width;
        let contracted = contraction(text, start, false);
        if contracted > 0 {
            return start + contracted;
        }
        let joined = if text[start] == b' ' { after } else { start };
        let end = run(text, joined, Class::is_letter);
        if end > joined {
            return end;
        }
        if let Some((Class::Number, _)) = class_at(text, joined) {
            return number::<Self>(text, joined);
        }
        rest::<Self>(text, start, first, after)
    }
}

/// The end of a piece that is not a word: a number, symbols or white space.
#[inline(always)]
fn rest<P: Pattern>(text: &[u8], start: usize, first: Class, after: usize) -> usize {
    match first {
        Class::Number => number::<P>(text, start),
        Class::Other | Class::Mark => tail::<P>(text, run(text, after, Class::is_symbol)),
        _ => {
            // A space belongs to the symbols after it.
            let end = if text[start] == b' ' { run(text, after, Class::is_symbol) } else { after };
            if end > after { tail::<P>(text, end) } else { space::<P>(text, start, after) }
        }
    }
}

/// The end of a word in any case.
#[inline(always)]
fn word(text: &[u8], start: usize) -> Option<usize> {
    lower_word(text, start).or_else(|| upper_word(text, start))
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
fn lower_word(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    // The end of the last character that either half of the expression can match. The second half needs at least one character.
    let mut shared = None;
    loop {
        match class_at(text, at) {
            Some((Class::Upper, width)) => at += width,
            Some((Class::Caseless | Class::Mark, width)) => {
                at += width;
                shared = Some(at);
            }
            Some((Class::Lower, _)) => {
                return Some(run(text, at, |class| matches!(class, Class::Lower | Class::Caseless | Class::Mark)));
            }
            _ => return shared,
        }
    }
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`, after [`lower_word`] has found nothing: the word has capitals only.
fn upper_word(text: &[u8], start: usize) -> Option<usize> {
    let end = run(text, start, |class| class == Class::Upper);
    (end > start).then_some(end)
}

/// The length of a contraction at `at` in bytes: an apostrophe and `s`, `t`, `re`, `ve`, `m`, `ll` or `d`. If `folds`, the case does
/// not matter, and U+017F counts as `s`.
pub(super) fn contraction(text: &[u8], at: usize, folds: bool) -> usize {
    let Some([b'\'', rest @ ..]) = text.get(at..) else { return 0 };
    let lower = |place: usize| rest.get(place).map(|byte| if folds { byte.to_ascii_lowercase() } else { *byte });
    match (lower(0), lower(1)) {
        (Some(b's' | b't' | b'm' | b'd'), _) => 2,
        (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => 3,
        _ if folds && rest.starts_with("\u{17F}".as_bytes()) => 3,
        _ => 0,
    }
}

/// `\p{N}{1,3}` or `\p{N}+`
fn number<P: Pattern>(text: &[u8], start: usize) -> usize {
    let mut at = start;
    for _ in 0..P::DIGITS {
        let Some((Class::Number, width)) = class_at(text, at) else { break };
        at += width;
    }
    at
}

/// The end of the line ends, and of the slashes if the pattern joins them, that belong to symbols that end at `at`.
pub(super) fn tail<P: Pattern>(text: &[u8], mut at: usize) -> usize {
    if P::JOINS_NEWLINES {
        while matches!(text.get(at), Some(b'\r' | b'\n')) || (P::JOINS_SLASHES && text.get(at) == Some(&b'/')) {
            at += 1;
        }
    }
    at
}

/// The end of a piece of white space from `start` on. Its first character ends at `after`.
fn space<P: Pattern>(text: &[u8], start: usize, after: usize) -> usize {
    let mut at = start;
    let mut last = start;
    let mut line = None;
    while let Some((class, width)) = class_at(text, at)
        && class.is_space()
    {
        last = at;
        at += width;
        if class == Class::Newline {
            line = Some(at);
        }
    }
    if at == text.len() && P::JOINS_LAST_SPACE {
        return at;
    }
    match line {
        Some(end) if P::SPLITS_LINES => end,
        // The last white space character belongs to what follows.
        _ if at == text.len() => at,
        _ => last.max(after),
    }
}
