//! How much text an event may carry, and what is done with longer text.
//!
//! With these limits one event always fits one chunk of the journal. A text is cut at [`MAX_TEXT`] bytes, a tag key at
//! [`MAX_TAG_KEY`]. Each layer of attribution (defaults, scope, call) keeps its first [`MAX_TAGS`] tags, up to [`MAX_TAG_BYTES`]
//! bytes. The caller counts each cut.

/// Bytes of one text field or tag value, including the ellipsis that marks a cut.
pub const MAX_TEXT: usize = 512;
/// Bytes of a provider's own report of usage. A longer one is left out, because a part of it would not be valid JSON.
pub const MAX_REPORT: usize = 2 * 1024;
/// Bytes of one tag key.
pub const MAX_TAG_KEY: usize = 128;
/// Tags in one layer of attribution.
pub const MAX_TAGS: usize = 64;
/// Bytes of keys and values in one layer of attribution.
pub const MAX_TAG_BYTES: usize = 12 * 1024;
/// Bytes of one encoded event. Three full layers of attribution (46 KiB), all other texts (6 KiB), a report (2 KiB) and all units
/// (1 KiB) fit in it, and it fits in the smallest chunk (60 KiB).
pub const MAX_EVENT: usize = 56 * 1024;

/// Bytes of the paths and bodies of an event that carries requests. Such an event has no attribution, so the whole fits [`MAX_EVENT`].
pub const MAX_REQUESTS: usize = 48 * 1024;

/// Bytes of a provider or model name that are looked at. The event records at most half of them. Prices are not looked up by the
/// rest of such a long name.
const MAX_NAME: usize = 2 * MAX_TEXT;

const ELLIPSIS: &str = "…";

/// The text as it is recorded: unchanged or, if it is longer than `limit` bytes, its beginning and an ellipsis.
#[must_use]
pub fn cut(text: &str, limit: usize) -> std::borrow::Cow<'_, str> {
    if text.len() <= limit {
        return text.into();
    }
    let end = text.floor_char_boundary(limit - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// The first [`MAX_NAME`] bytes of a provider or model name, trimmed. A longer name is still longer than [`MAX_TEXT`] after this, so
/// that encoding the event cuts it and counts the cut.
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
    fn the_head_of_a_name_is_recorded_like_the_whole_name() {
        for name in ["gpt-4o", "é", "日本語 ", "  x"] {
            let long = name.repeat(10_000);
            assert_eq!(name_head(name), name.trim());
            assert_eq!(cut(name_head(&long), MAX_TEXT), cut(long.trim(), MAX_TEXT));
            assert!(name_head(&long).len() <= MAX_NAME);
        }
    }
}
