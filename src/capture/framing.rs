//! Where one message of a response ends and the next begins, as its first bytes tell: gateways send event streams as JSON, as text or
//! without a content type, and JSON as an event stream.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Bytes that may be the beginning of a blank line which the next bytes complete: all but the last of `\r\n\r\n`.
pub(super) const LONGEST_PARTIAL_END: usize = 3;

/// A byte order mark, which a stream and a body may begin with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How the messages of a response follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is one, which is all of the body.
    Body,
    /// An event stream (`text/event-stream`).
    Events,
    /// One in each line (`application/x-ndjson`).
    Lines,
    /// Amazon's binary event stream: each says how long it is (`application/vnd.amazon.eventstream`).
    Frames,
    /// The bytes are to tell; they may be neither JSON nor a stream of it.
    Unknown,
}

/// What the first bytes of a response tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// There are too few of them.
    Unclear,
    /// How its messages follow each other.
    As(Framing),
    /// It is neither JSON nor a stream of it.
    Foreign,
}

impl Framing {
    /// The framing that a content type names. The bytes may tell otherwise.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/stream+json" | "application/jsonl" => Self::Lines,
            "application/vnd.amazon.eventstream" => Self::Frames,
            kind if kind == "application/json" || kind.ends_with("+json") => Self::Body,
            _ => Self::Unknown,
        }
    }

    /// The framing of a response that begins with these bytes, where a header named this one.
    pub(super) fn sniff(self, bytes: &[u8]) -> Sniffed {
        if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
            return Sniffed::Unclear;
        }
        let start = bytes.strip_prefix(MARK).unwrap_or(bytes).trim_ascii_start();
        match start.first() {
            None => return Sniffed::Unclear,
            Some(b'{') if self == Self::Lines => return Sniffed::As(Self::Lines),
            Some(b'{' | b'[') if self != Self::Frames => return Sniffed::As(Self::Body),
            Some(_) => {}
        }
        let mut is_unclear = false;
        for field in [&b"data:"[..], b"event:", b"id:", b"retry:", b":"] {
            if start.starts_with(field) {
                return Sniffed::As(Self::Events);
            }
            is_unclear |= field.starts_with(start);
        }
        match frame_begins(bytes) {
            None => is_unclear = true,
            Some(true) => return Sniffed::As(Self::Frames),
            Some(false) => {}
        }
        match self {
            _ if is_unclear => Sniffed::Unclear,
            // What a header says that nothing speaks against: fields of events with other names, JSON that is cut.
            Self::Events | Self::Frames | Self::Lines | Self::Body => Sniffed::As(self),
            Self::Unknown => Sniffed::Foreign,
        }
    }

    /// Whether a body is JSON by lines: its first line is an object, and another begins in the next. `None` until that can be told.
    pub(super) fn is_by_lines(body: &[u8]) -> Option<bool> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        match body[end..].trim_ascii_start().first()? {
            b'{' => Some(serde_json::from_slice::<serde::de::IgnoredAny>(&body[..end]).is_ok()),
            _ => Some(false),
        }
    }

    /// Whether what was searched once without finding an end need not be searched again.
    pub(super) fn has_delimiters(self) -> bool {
        self != Self::Frames
    }

    /// Whether a message is none, and nothing after it can be told apart.
    pub(super) fn is_lost(self, message: &[u8]) -> bool {
        self == Self::Frames && message.len() >= 4 && !is_frame_length(length_at(message, 0))
    }

    /// Where the first message ends.
    pub(super) fn end(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Body | Self::Unknown => None,
            Self::Frames => frame_end(bytes),
            Self::Events => event_end(bytes),
            Self::Lines => bytes.iter().position(|byte| *byte == b'\n').map(|place| place + 1),
        }
    }

    /// The JSON of a message.
    pub(super) fn data(self, message: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Events => Cow::Owned(data_of(message)),
            Self::Frames => payload_of(message),
            Self::Body | Self::Lines | Self::Unknown => {
                Cow::Borrowed(message.strip_prefix(MARK).unwrap_or(message).trim_ascii())
            }
        }
    }
}

/// Bytes of a frame around its headers and payload: two lengths and their checksum before, a checksum after.
const FRAME_START: usize = 12;
const FRAME_END: usize = 4;

/// Whether a frame begins here, which the checksum of its two lengths tells; `None` where that is cut.
fn frame_begins(bytes: &[u8]) -> Option<bool> {
    // No frame has 16 MiB.
    if bytes.first().is_some_and(|byte| *byte != 0) {
        return Some(false);
    }
    let checksum = bytes.get(8..12)?;
    Some(crc32fast::hash(&bytes[..8]).to_be_bytes() == checksum)
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(|bytes| u32::from_be_bytes(bytes) as usize)
}

fn is_frame_length(length: Option<usize>) -> bool {
    length.is_some_and(|length| length >= FRAME_START + FRAME_END)
}

/// Where the first frame ends. One that is too short to be one takes the rest with it.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let total = length_at(bytes, 0)?;
    if !is_frame_length(Some(total)) {
        return Some(bytes.len());
    }
    (bytes.len() >= total).then_some(total)
}

/// The JSON in a frame; that of an event of `InvokeModel` is packed into another.
fn payload_of(frame: &[u8]) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }
    let headers = length_at(frame, 4).unwrap_or(0);
    let start = FRAME_START.saturating_add(headers);
    let Some(payload) = frame.get(start..frame.len().saturating_sub(FRAME_END)) else { return Cow::Borrowed(b"") };
    // Its name, the number for a text, the length of the value, the value.
    let exception = b":message-type\x07\x00\x09exception";
    if frame[FRAME_START..start].windows(exception.len()).any(|window| window == exception) {
        return Cow::Borrowed(br#"{"type": "error"}"#);
    }
    match serde_json::from_slice::<Chunk<'_>>(payload).map(|chunk| STANDARD.decode(chunk.bytes.as_bytes())) {
        Ok(Ok(inner)) => Cow::Owned(inner),
        _ => Cow::Borrowed(payload),
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
    let event = event.strip_prefix(MARK).unwrap_or(event);
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
