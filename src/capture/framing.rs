//! Framing: splits a response into messages. The first bytes decide how, because gateways label event streams as JSON, as text or not
//! at all, and JSON as an event stream.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The most bytes at the end that may be the beginning of a blank line: all but the last of `\r\n\r\n`.
pub(super) const MAX_PARTIAL_END: usize = 3;

/// The byte order mark with which a stream or a body may begin.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How a response is divided into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The whole body is one message.
    Body,
    /// An event stream (`text/event-stream`).
    Events,
    /// One message per line (`application/x-ndjson`).
    Lines,
    /// Amazon's binary event stream, in which each message states its length (`application/vnd.amazon.eventstream`).
    Frames,
    /// The bytes must tell. They may be neither JSON nor a stream of JSON.
    Unknown,
}

/// The result of looking at the first bytes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// There are too few bytes.
    Unclear,
    /// The response has this framing.
    As(Framing),
    /// The response is neither JSON nor a stream of JSON.
    Foreign,
}

impl Framing {
    /// The framing for a content type. The bytes may show another one.
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

    /// The framing of a response that begins with these bytes. `self` is the framing from the header.
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
            // Nothing contradicts the header: the event may have fields with other names, or the JSON may be cut off.
            Self::Events | Self::Frames | Self::Lines | Self::Body => Sniffed::As(self),
            Self::Unknown => Sniffed::Foreign,
        }
    }

    /// Whether a body is JSON lines: its first line is an object, and another object begins in the next line. `None` if it cannot be
    /// told yet.
    pub(super) fn is_by_lines(body: &[u8]) -> Option<bool> {
        let end = memchr::memchr(b'\n', body)?;
        match body[end..].trim_ascii_start().first()? {
            b'{' => Some(serde_json::from_slice::<serde::de::IgnoredAny>(&body[..end]).is_ok()),
            _ => Some(false),
        }
    }

    /// Whether bytes in which no end was found need not be searched again.
    pub(super) fn has_delimiters(self) -> bool {
        self != Self::Frames
    }

    /// Whether a message is invalid and nothing after it can be split.
    pub(super) fn is_lost(self, message: &[u8]) -> bool {
        self == Self::Frames && message.len() >= 4 && !is_frame_length(length_at(message, 0))
    }

    /// The end of the first message.
    pub(super) fn end(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Body | Self::Unknown => None,
            Self::Frames => frame_end(bytes),
            Self::Events => event_end(bytes),
            Self::Lines => memchr::memchr(b'\n', bytes).map(|place| place + 1),
        }
    }

    /// The JSON of a message.
    pub(super) fn data(self, message: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Events => data_of(message),
            Self::Frames => payload_of(message),
            Self::Body | Self::Lines | Self::Unknown => {
                Cow::Borrowed(message.strip_prefix(MARK).unwrap_or(message).trim_ascii())
            }
        }
    }
}

/// The bytes around the headers and the payload of a frame: two lengths and their checksum before, a checksum after.
const FRAME_START: usize = 12;
const FRAME_END: usize = 4;

/// Whether a frame begins here, by the checksum of its two lengths; `None` if there are too few bytes.
fn frame_begins(bytes: &[u8]) -> Option<bool> {
    // No frame is as large as 16 MiB, so the highest byte of its length is zero.
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

/// The end of the first frame. If its length is too short for a frame, it ends with the bytes.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let total = length_at(bytes, 0)?;
    if !is_frame_length(Some(total)) {
        return Some(bytes.len());
    }
    (bytes.len() >= total).then_some(total)
}

/// The JSON in a frame. For an event of `InvokeModel`, the JSON is base64 inside another JSON.
fn payload_of(frame: &[u8]) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }
    let headers = length_at(frame, 4).unwrap_or(0);
    let start = FRAME_START.saturating_add(headers);
    let Some(payload) = frame.get(start..frame.len().saturating_sub(FRAME_END)) else { return Cow::Borrowed(b"") };
    // The name of the header, the type number of a text, the length of the value, the value.
    let exception = b":message-type\x07\x00\x09exception";
    if frame[FRAME_START..start].windows(exception.len()).any(|window| window == exception) {
        return Cow::Borrowed(br#"{"type": "error"}"#);
    }
    match serde_json::from_slice::<Chunk<'_>>(payload).map(|chunk| STANDARD.decode(chunk.bytes.as_bytes())) {
        Ok(Ok(inner)) => Cow::Owned(inner),
        _ => Cow::Borrowed(payload),
    }
}

/// The end of the first event, after the blank line that ends it.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(newline) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
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

/// The data of an event: the values of its `data:` lines, joined. Nearly all events have one.
fn data_of(event: &[u8]) -> Cow<'_, [u8]> {
    let event = event.strip_prefix(MARK).unwrap_or(event);
    let (mut data, mut start) = (Cow::Borrowed(&b""[..]), 0);
    for end in memchr::memchr2_iter(b'\n', b'\r', event).chain([event.len()]) {
        if let Some(value) = event[start..end].strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if data.is_empty() {
                data = Cow::Borrowed(value);
            } else {
                let joined = data.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
        }
        start = end + 1;
    }
    data
}
