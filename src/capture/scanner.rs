//! The scanner: bytes in, counters out.

use std::io::Write as _;
use std::time::Instant;

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use serde_json::Value;

use super::usage::{Dialect, Family, normalize};
use super::wire::{Delta, Message, MessageOrText, text};
use crate::event::{Usage, UsageStatus};
use crate::money::Usd;

/// Bytes of one event or body that are kept until it is whole. A finished response event repeats the answer, images and all; a
/// larger one is let pass, and its usage is missing.
const MAX_PENDING: usize = 16 << 20;

/// Bytes that may be the beginning of a blank line which the next bytes complete: all but the last of `\r\n\r\n`.
const LONGEST_PARTIAL_END: usize = 3;

/// What to expect.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose format.
    pub family: Family,
    /// Who speaks it.
    pub dialect: Dialect,
    /// An event stream, not one JSON body.
    pub is_stream: bool,
    /// Compressed with gzip.
    pub is_gzip: bool,
    /// Take the chunk out that only reports usage: it was asked for on the caller's behalf.
    pub strips_usage: bool,
}

/// What a response said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The model that answered.
    pub model: Option<String>,
    /// What was used.
    pub usage: Usage,
    /// What the provider says it charges.
    pub cost: Option<Usd>,
    /// A field of the usage that is no count; the usage is then missing.
    pub unreadable: Option<&'static str>,
    /// Whether that is final.
    pub usage_status: UsageStatus,
    /// Why generation stopped.
    pub finish_reason: Option<String>,
    /// The tier that served.
    pub service_tier: Option<String>,
    /// Whether the provider reported an error in the stream.
    pub is_error: bool,
    /// When the first part of the answer came.
    pub first_token: Option<Instant>,
}

/// Reads one response.
pub struct Scanner {
    options: Options,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    encoder: Option<GzEncoder<Vec<u8>>>,
    pending: Vec<u8>,
    /// How much of it was searched for the end of an event, so that no byte is searched twice.
    searched: usize,
    /// An event grew too large: let it pass to its end.
    is_skipping: bool,
    /// The bytes cannot be read.
    is_blind: bool,
    /// The last event said that there are no more.
    has_ended: bool,
    found: Summary,
    /// Usage reports, merged field by field: later ones replace what they repeat.
    report: Option<Value>,
}

impl Scanner {
    /// A scanner of one response.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            decoder: options.is_gzip.then(|| MultiGzDecoder::new(Vec::new())),
            encoder: (options.is_gzip && options.strips_usage).then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            options,
            pending: Vec::new(),
            searched: 0,
            is_skipping: false,
            is_blind: false,
            has_ended: false,
            found: Summary::default(),
            report: None,
        }
    }

    /// Takes the next bytes. Returns what to pass on in their place, or `None` to pass them on as they are.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let strips = self.options.strips_usage;
        let mut kept = Vec::new();
        let decoded = self.decode(bytes);
        match &decoded {
            Some(decoded) => self.scan(decoded, &mut kept),
            None => self.scan(bytes, &mut kept),
        }
        if !strips {
            return None;
        }
        Some(self.encode(kept))
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let decoder = self.decoder.as_mut()?;
        if decoder.write_all(bytes).and_then(|()| decoder.flush()).is_err() {
            self.is_blind = true;
        }
        Some(std::mem::take(decoder.get_mut()))
    }

    /// In the response's own encoding, ready to be read at once.
    fn encode(&mut self, plain: Vec<u8>) -> Vec<u8> {
        match &mut self.encoder {
            None => plain,
            Some(_) if plain.is_empty() => plain,
            Some(encoder) => {
                let _ = encoder.write_all(&plain).and_then(|()| encoder.flush());
                std::mem::take(encoder.get_mut())
            }
        }
    }

    fn scan(&mut self, bytes: &[u8], kept: &mut Vec<u8>) {
        if self.is_blind {
            kept.extend_from_slice(bytes);
            return;
        }
        self.pending.extend_from_slice(bytes);
        if !self.options.is_stream {
            if self.pending.len() > MAX_PENDING {
                self.is_blind = true;
                self.pending = Vec::new();
            }
            return;
        }
        let mut done = 0;
        while let Some(end) = event_end(&self.pending[self.searched.max(done)..]) {
            let end = self.searched.max(done) + end;
            let event = done..end;
            done = end;
            let is_ours = if std::mem::take(&mut self.is_skipping) {
                false
            } else {
                let data = data_of(&self.pending[event.clone()]);
                self.event(&data) && self.options.strips_usage
            };
            if self.options.strips_usage && !is_ours {
                kept.extend_from_slice(&self.pending[event]);
            }
        }
        self.pending.drain(..done);
        self.searched = self.pending.len().saturating_sub(LONGEST_PARTIAL_END);
        if self.pending.len() > MAX_PENDING {
            self.is_skipping = true;
            if self.options.strips_usage {
                kept.extend_from_slice(&self.pending);
            }
            let tail = self.pending.split_off(self.pending.len() - LONGEST_PARTIAL_END);
            self.searched = 0;
            if self.options.strips_usage {
                kept.truncate(kept.len() - tail.len());
            }
            self.pending = tail;
        }
    }

    /// Reads one event; `true` when all it does is report usage at the end of an OpenAI stream.
    fn event(&mut self, data: &[u8]) -> bool {
        if data.starts_with(b"[DONE]") {
            self.has_ended = true;
            return false;
        }
        let Ok(message) = serde_json::from_slice::<Message>(data) else { return false };
        self.message(&message, true);
        let has_usage = message.usage.as_ref().is_some_and(Value::is_object);
        has_usage && message.choices.as_ref().is_some_and(Vec::is_empty)
    }

    fn message(&mut self, message: &Message, is_event: bool) {
        let kind = text(message.r#type.as_ref()).unwrap_or_default();
        if self.found.first_token.is_none()
            && is_event
            && (kind.ends_with("delta") || message.choices.as_ref().is_some_and(|choices| !choices.is_empty()))
        {
            self.found.first_token = Some(Instant::now());
        }
        keep(&mut self.found.model, message.model.as_ref());
        // The tier that was asked for comes first, the one that served last.
        replace(&mut self.found.service_tier, message.service_tier.as_ref());
        keep(&mut self.found.finish_reason, message.stop_reason.as_ref());
        for choice in message.choices.iter().flatten() {
            keep(&mut self.found.finish_reason, choice.finish_reason.as_ref());
        }
        if let Some(Delta::Fields { stop_reason }) = &message.delta {
            keep(&mut self.found.finish_reason, stop_reason.as_ref());
        }
        if let Some(usage) = &message.usage {
            replace(&mut self.found.service_tier, usage.get("service_tier"));
            // Anthropic's fast mode is no tier by name, but is billed as one.
            replace(&mut self.found.service_tier, usage.get("speed").filter(|speed| speed.as_str() == Some("fast")));
            merge(&mut self.report, usage);
        }
        self.found.is_error |= kind == "error" || (is_event && message.error.is_some());
        match kind {
            // OpenAI's streams of images and transcripts end with the event that carries usage.
            "message_stop" | "image_generation.completed" | "image_edit.completed" | "transcript.text.done" => {
                self.has_ended = true;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.has_ended = true;
                self.found.is_error |= kind == "response.failed";
                if let Some(response) = &message.response {
                    keep(&mut self.found.finish_reason, response.status.as_ref());
                }
            }
            _ => {}
        }
        if let Some(response) = &message.response {
            self.message(response, false);
        }
        if let Some(MessageOrText::Message(inner)) = &message.message {
            self.message(inner, false);
        }
    }

    /// What is still to be passed on after the last bytes, when something is being taken out.
    pub fn finish_bytes(&mut self) -> Option<Vec<u8>> {
        if !self.options.strips_usage {
            return None;
        }
        let rest = if self.options.is_stream { self.pending.clone() } else { Vec::new() };
        let mut bytes = self.encode(rest);
        if let Some(encoder) = self.encoder.take()
            && let Ok(trailer) = encoder.finish()
        {
            bytes.extend(trailer);
        }
        Some(bytes)
    }

    /// Ends the scan: what was found, and whether it is all. A stream is complete when its last event came, not when its bytes
    /// ended: a connection that was cut looks like an end.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        let rest = std::mem::take(&mut self.pending);
        if self.options.is_stream {
            let data = data_of(&rest);
            if !self.is_skipping && !data.is_empty() {
                self.event(&data);
            }
        } else if !self.is_blind
            && let Ok(message) = serde_json::from_slice::<Message>(&rest)
        {
            self.has_ended = true;
            self.message(&message, false);
            keep(&mut self.found.finish_reason, message.status.as_ref().filter(|_| message.choices.is_none()));
        }
        let Options { family, dialect, .. } = self.options;
        let report = self.report.as_ref().and_then(|report| normalize(report, Some(family), dialect));
        self.found.unreadable = report.as_ref().and_then(|report| report.unreadable);
        let report = report.filter(|report| report.unreadable.is_none());
        self.found.usage_status = match report {
            None => UsageStatus::Missing,
            Some(_) if self.has_ended => UsageStatus::Complete,
            Some(_) => UsageStatus::Partial,
        };
        let report = report.unwrap_or_default();
        (self.found.usage, self.found.cost) = (report.usage, report.cost);
        self.found
    }
}

/// Keeps a text; the first that is not null stays, so that the start of a stream names the model.
fn keep(slot: &mut Option<String>, value: Option<&Value>) {
    if slot.is_none()
        && let Some(text) = text(value)
    {
        *slot = Some(text.to_owned());
    }
}

/// Keeps a text; the last that is not null stays.
fn replace(slot: &mut Option<String>, value: Option<&Value>) {
    if let Some(text) = text(value) {
        *slot = Some(text.to_owned());
    }
}

/// Puts a report over an earlier one. Reports are running totals, so fields are replaced, never added; null says nothing.
fn merge(into: &mut Option<Value>, report: &Value) {
    let Some(fields) = report.as_object() else { return };
    match into.as_mut().and_then(Value::as_object_mut) {
        None => *into = Some(report.clone()),
        Some(known) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                known.insert(name.clone(), value.clone());
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unit;
    use proptest::prelude::*;

    const CHAT: &str = concat!(
        "data: {\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\r\n\r\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1009,\"completion_tokens\":307},\"service_tier\":\"default\"}\n\n",
        "data: [DONE]\n\n"
    );
    const ANTHROPIC: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":101,\"output_tokens\":1,\"cache_read_input_tokens\":709}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":53}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );

    fn options(family: Family) -> Options {
        Options { family, dialect: Dialect::Plain, is_stream: true, is_gzip: false, strips_usage: false }
    }

    fn summary_of(options: Options, body: &[u8], piece: usize) -> Summary {
        let mut scanner = Scanner::new(options);
        for bytes in body.chunks(piece) {
            assert_eq!(scanner.feed(bytes), None);
        }
        scanner.finish()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_chat_stream_is_read_whatever_its_pieces() {
        for piece in [1, 7, 64, 10_000] {
            let found = summary_of(options(Family::OpenAi), CHAT.as_bytes(), piece);
            assert_eq!(found.model.as_deref(), Some("gpt-4o-2024-08-06"));
            assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 1009);
            assert_eq!(found.usage_status, UsageStatus::Complete);
            assert_eq!(found.finish_reason.as_deref(), Some("stop"));
            assert_eq!(found.service_tier.as_deref(), Some("default"));
            assert!(found.first_token.is_some());
        }
        let compressed = summary_of(Options { is_gzip: true, ..options(Family::OpenAi) }, &gzip(CHAT.as_bytes()), 5);
        assert_eq!(compressed.usage.count(Unit::OUTPUT_TOKENS), 307);
    }

    #[test]
    fn cumulative_reports_replace_each_other() {
        let found = summary_of(options(Family::Anthropic), ANTHROPIC.as_bytes(), 9);
        let counts: Vec<_> = found.usage.iter().map(|(unit, count)| (unit.name(), count)).collect();
        assert_eq!(counts, [("input_tokens", 810), ("output_tokens", 53), ("cache_read_tokens", 709)]);
        assert_eq!((found.usage_status, found.finish_reason.as_deref()), (UsageStatus::Complete, Some("end_turn")));
    }

    #[test]
    fn a_stream_that_breaks_off_is_partial_or_missing() {
        let cut = ANTHROPIC.find("event: message_delta").unwrap();
        let found = summary_of(options(Family::Anthropic), &ANTHROPIC.as_bytes()[..cut], 9);
        assert_eq!((found.usage_status, found.usage.count(Unit::INPUT_TOKENS)), (UsageStatus::Partial, 810));
        let cut = CHAT.find("data: {\"choices\":[],").unwrap();
        assert_eq!(summary_of(options(Family::OpenAi), &CHAT.as_bytes()[..cut], 9).usage_status, UsageStatus::Missing);
    }

    #[test]
    fn only_the_usage_chunk_is_taken_out() {
        let (start, end) = (CHAT.find("data: {\"choices\":[],").unwrap(), CHAT.find("data: [DONE]").unwrap());
        let expected = [&CHAT[..start], &CHAT[end..]].concat();
        for is_gzip in [false, true] {
            let body = if is_gzip { gzip(CHAT.as_bytes()) } else { CHAT.as_bytes().to_vec() };
            let mut scanner = Scanner::new(Options { strips_usage: true, is_gzip, ..options(Family::OpenAi) });
            let mut passed: Vec<u8> = body.chunks(11).flat_map(|bytes| scanner.feed(bytes).unwrap()).collect();
            passed.extend(scanner.finish_bytes().unwrap());
            if is_gzip {
                let mut decoder = MultiGzDecoder::new(Vec::new());
                decoder.write_all(&passed).unwrap();
                passed = decoder.finish().unwrap();
            }
            assert_eq!(String::from_utf8(passed).unwrap(), expected);
            assert_eq!(scanner.finish().usage.count(Unit::INPUT_TOKENS), 1009);
        }
    }

    #[test]
    fn a_large_event_is_searched_once() {
        // Searched anew for each piece, this would take minutes.
        let body = format!(
            "data: {{\"pad\":\"{}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":7}}}}\n\ndata: [DONE]\n\n",
            "x".repeat(8 << 20)
        );
        let found = summary_of(options(Family::OpenAi), body.as_bytes(), 512);
        assert_eq!((found.usage.count(Unit::INPUT_TOKENS), found.usage_status), (7, UsageStatus::Complete));
        let beyond = format!("data: {}\n\n{CHAT}", "x".repeat(MAX_PENDING + 5_000));
        let found = summary_of(options(Family::OpenAi), beyond.as_bytes(), 4096);
        assert_eq!(found.usage.count(Unit::INPUT_TOKENS), 1009);
    }

    #[test]
    fn the_states_of_a_response_end_its_stream() {
        for (kind, is_error) in [("completed", false), ("incomplete", false), ("failed", true)] {
            let body = format!(
                "event: x\ndata: {{\"type\":\"response.{kind}\",\"response\":{{\"model\":\"m\",\"status\":\"{kind}\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":7}}}}}}\n\n"
            );
            let found = summary_of(options(Family::OpenAi), body.as_bytes(), 13);
            assert_eq!((found.usage_status, found.is_error), (UsageStatus::Complete, is_error));
            assert_eq!(found.finish_reason.as_deref(), Some(kind));
        }
    }

    #[test]
    fn a_body_is_read_and_anything_else_is_missing() {
        let body = Options { is_stream: false, ..options(Family::OpenAi) };
        let found =
            summary_of(body, br#"{"model":"m","choices":[{"finish_reason":"length"}],"usage":{"prompt_tokens":3}}"#, 9);
        assert_eq!((found.usage_status, found.usage.count(Unit::INPUT_TOKENS)), (UsageStatus::Complete, 3));
        for body_bytes in [&b"<html>"[..], b"", b"{\"usage\":", b"[1,2]", b"{\"usage\":\"many\"}"] {
            assert_eq!(summary_of(body, body_bytes, 4).usage_status, UsageStatus::Missing);
        }
        let not_gzip = Options { is_gzip: true, ..body };
        assert_eq!(summary_of(not_gzip, b"{}", 4).usage_status, UsageStatus::Missing);
    }

    proptest! {
        #[test]
        fn any_bytes_pass_unchanged_but_for_usage_chunks(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), any::<u8>()], 0..400), piece in 1_usize..50,
        ) {
            let mut scanner = Scanner::new(Options { strips_usage: true, ..options(Family::OpenAi) });
            let mut passed: Vec<u8> = bytes.chunks(piece).flat_map(|bytes| scanner.feed(bytes).unwrap()).collect();
            passed.extend(scanner.finish_bytes().unwrap());
            prop_assert_eq!(passed, bytes);
            let _ = scanner.finish();
        }
    }
}
