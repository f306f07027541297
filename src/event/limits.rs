//! How much text an event may carry, and what happens to more.
//!
//! The rules exist so that one event always fits one chunk of the journal, whatever its fields hold: a text is cut at
//! [`MAX_TEXT`] bytes, a key at [`MAX_TAG_KEY`], and each layer of attribution (defaults, scope, call) keeps its first
//! [`MAX_TAGS`] tags, up to [`MAX_TAG_BYTES`] of them. Cutting is counted by the caller, never silent.

/// Bytes of one text field or tag value, the ellipsis of a cut one included.
pub const MAX_TEXT: usize = 512;
/// Bytes of a provider's own report of usage; a longer one is left out, for half of it is no JSON.
pub const MAX_REPORT: usize = 2 * 1024;
/// Bytes of one tag key.
pub const MAX_TAG_KEY: usize = 128;
/// Tags in one layer of attribution.
pub const MAX_TAGS: usize = 64;
/// Bytes of keys and values in one layer of attribution.
pub const MAX_TAG_BYTES: usize = 12 * 1024;
/// Bytes of one encoded event: three full layers of attribution (46 KiB), every other text (6 KiB), a report (2 KiB) and every unit
/// (1 KiB) fit it, and it fits the smallest chunk (60 KiB).
pub const MAX_EVENT: usize = 56 * 1024;

/// Bytes of the paths and bodies of an event that is requests. It has no attribution, and with the rest of it fits [`MAX_EVENT`].
pub const MAX_REQUESTS: usize = 48 * 1024;

/// Bytes of a provider's or a model's name that are looked at. What is recorded of it is half of that, and what comes after it in a
/// name that long decides nothing: prices are not searched for it.
const MAX_NAME: usize = 2 * MAX_TEXT;

const ELLIPSIS: &str = "…";

/// The text as it is recorded: itself, or, when it is longer than `limit` bytes, its beginning and an ellipsis.
#[must_use]
pub fn cut(text: &str, limit: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= limit {
        return text.into();
    }
    let end = text.floor_char_boundary(limit - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// The beginning of a provider's or a model's name, without the space around it. It is still long enough to be cut, and counted as
/// cut, when the event is encoded.
#[must_use]
pub fn name_head(text: &str) -> &str {
    let text = text.trim();
    &text[..text.floor_char_boundary(MAX_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_marked() {
        assert_eq!(cut("abc", 3), "abc");
        let cut_text = cut(&"é".repeat(400), MAX_TEXT).into_owned();
        assert!(cut_text.len() <= MAX_TEXT && cut_text.ends_with("é…"));
    }

    #[test]
    fn the_head_of_a_name_is_recorded_as_the_whole_would_be() {
        for name in ["gpt-4o", "é", "日本語 ", "  x"] {
            let long = name.repeat(10_000);
            assert_eq!(name_head(name), name.trim());
            assert_eq!(cut(name_head(&long), MAX_TEXT), cut(long.trim(), MAX_TEXT));
            assert!(name_head(&long).len() <= MAX_NAME);
        }
    }
}
