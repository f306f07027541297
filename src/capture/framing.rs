//! Where one message of a response ends and the next begins.

use std::borrow::Cow;

/// Bytes that may be the beginning of a blank line which the next bytes complete: all but the last of `\r\n\r\n`.
pub(super) const LONGEST_PARTIAL_END: usize = 3;

/// How the messages of a response follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is one, which is all of the body.
    Body,
    /// An event stream (`text/event-stream`).
    Events,
    /// One in each line (`application/x-ndjson`).
    Lines,
}

impl Framing {
    /// The framing of a content type; `None` where it is neither JSON nor a stream of it.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match kind.as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/stream+json" | "application/jsonl" => Self::Lines,
            kind if kind == "application/json" || kind.ends_with("+json") => Self::Body,
            _ => return None,
        })
    }

    /// Where the first message ends.
    pub(super) fn end(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Body => None,
            Self::Events => event_end(bytes),
            Self::Lines => bytes.iter().position(|byte| *byte == b'\n').map(|place| place + 1),
        }
    }

    /// The JSON of a message.
    pub(super) fn data(self, message: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Events { Cow::Owned(data_of(message)) } else { Cow::Borrowed(message.trim_ascii()) }
    }
}

/// Where the first event ends: after the blank line that closes it.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(newline) = bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let end_of_line = |at: usize| match bytes[at..] {
            [b'\r', b'\n', ..] => Some(2),
            // A carriage return at the end may be half of a line end.
            [b'\r'] => None,
            [b'\n' | b'\r', ..] => Some(1),
            _ => Some(0),
        };
        let first = at + newline;
        let second = first + end_of_line(first)?;
        match end_of_line(second)? {
            0 => at = second,
            length => return Some(second + length),
        }
        if at >= bytes.len() {
            return None;
        }
    }
    None
}

/// The data of an event: its `data:` lines, joined.
fn data_of(event: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if let Some(value) = line.strip_prefix(b"data:") {
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
    data
}
