//! The scanner: bytes in, counters out.

use std::io::Write as _;
use std::time::Instant;

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use serde_json::{Value, json};

use super::framing::{Framing, LONGEST_PARTIAL_END};
use super::strip::without_null_usage;
use super::usage::{Dialect, Family, Part, normalize};
use super::wire::{Lenient, Message, is_part_alone, text};
use crate::event::{Usage, UsageStatus};
use crate::money::Usd;

/// Bytes of one event or body that are kept until it is whole. A finished response event repeats the answer, images and all; a
/// larger one is let pass, and its usage is missing.
const MAX_PENDING: usize = 16 << 20;
/// Bytes of a body that are kept: 2048 vectors of 3072 numbers are 33 MB as OpenAI sends them, 130 MB in decimals.
const MAX_BODY: usize = 160 << 20;

/// What to expect.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whose format.
    pub family: Family,
    /// Who speaks it.
    pub dialect: Dialect,
    /// How its messages follow each other.
    pub framing: Framing,
    /// Compressed with gzip.
    pub is_gzip: bool,
    /// Take out what only reports usage, or that there is none yet: it was asked for on the caller's behalf.
    pub strips_usage: bool,
    /// Keep the provider's own report.
    pub keeps_report: bool,
}

/// Why no usage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The response is whole and says nothing of it.
    Unreported,
    /// The response ended before it would have been said: it was left, or cut.
    Interrupted,
    /// The bytes are not what they say they are: broken JSON, frames or compression, or more than fits.
    Malformed,
}

/// What a response said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The model that answered.
    pub model: Option<String>,
    /// What was used.
    pub usage: Usage,
    /// What other models used for it, each billed by its own rates.
    pub parts: Vec<Part>,
    /// The provider's own report, as JSON.
    pub report: Option<String>,
    /// Why there is none.
    pub gap: Option<Gap>,
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
    /// What the provider calls the answer.
    pub id: Option<String>,
    /// Whether it is made in the background, to be fetched later.
    pub is_background: bool,
    /// Whether the provider reported an error in the stream.
    pub is_error: bool,
    /// When the first part of the answer came.
    pub first_token: Option<Instant>,
}

/// How much of a response can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// All so far.
    Clear,
    /// A message was no JSON; others may be.
    Blurred,
    /// Nothing any more.
    Blind,
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
    sight: Sight,
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
            sight: Sight::Clear,
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
        if self.sight == Sight::Blind && self.decoder.is_some() {
            // What cannot be decompressed here cannot be there either, and that is for the client to say.
            self.encoder = None;
            return None;
        }
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
            self.sight = Sight::Blind;
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
        if self.sight == Sight::Blind {
            kept.extend_from_slice(bytes);
            return;
        }
        self.pending.extend_from_slice(bytes);
        if self.options.framing == Framing::Body {
            if self.pending.len() > MAX_BODY {
                self.sight = Sight::Blind;
                self.pending = Vec::new();
            }
            return;
        }
        let (framing, strips) = (self.options.framing, self.options.strips_usage);
        let mut pending = std::mem::take(&mut self.pending);
        let mut done = 0;
        let mut searched = if framing.has_delimiters() { self.searched } else { 0 };
        while let from = searched.max(done)
            && let Some(length) = framing.end(&pending[from..])
        {
            let message = &pending[done..from + length];
            if framing.is_lost(message) {
                self.sight = Sight::Blind;
                return;
            }
            done = from + length;
            searched = done;
            let is_ours = !std::mem::take(&mut self.is_skipping) && self.event(&framing.data(message));
            if strips && !is_ours {
                match without_null_usage(message) {
                    Some(rest) => kept.extend(rest),
                    None => kept.extend_from_slice(message),
                }
            }
        }
        pending.drain(..done);
        self.pending = pending;
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
        // Most of a stream; parsing it would be most of the work.
        let is_spoken = matches!(self.options.family, Family::OpenAi | Family::Anthropic);
        if is_spoken && self.found.first_token.is_some() && self.found.model.is_some() && is_part_alone(data) {
            return false;
        }
        let Ok(message) = Message::read(data) else {
            // Comments and pings of an event stream have no data.
            if !data.is_empty() && self.sight == Sight::Clear {
                self.sight = Sight::Blurred;
            }
            return false;
        };
        self.message(&message, true);
        let has_usage = message.usage.as_ref().is_some_and(Value::is_object);
        has_usage && message.choices.as_ref().is_some_and(Vec::is_empty)
    }

    fn message(&mut self, message: &Message, is_event: bool) {
        let kind = text(message.r#type.as_ref()).or(text(message.event_type.as_ref())).unwrap_or_default();
        if self.found.first_token.is_none() && is_event && message.is_part(kind) {
            self.found.first_token = Some(Instant::now());
        }
        keep(&mut self.found.model, message.model.as_ref().or(message.gemini_model.as_ref()));
        // The tier that was asked for comes first, the one that served last.
        replace(&mut self.found.service_tier, message.service_tier.as_ref());
        keep(&mut self.found.id, message.id.as_ref());
        self.found.is_background |= message.background == Some(Value::Bool(true));
        keep(&mut self.found.finish_reason, message.stop_reason.as_ref());
        for choice in message.choices.iter().flatten() {
            keep(&mut self.found.finish_reason, choice.finish_reason.as_ref());
        }
        let delta = message.delta.as_ref().and_then(Lenient::known);
        for candidate in message.candidates.as_ref().and_then(Lenient::known).into_iter().flatten() {
            keep(&mut self.found.finish_reason, candidate.finish_reason.as_ref());
            // Gemini says so in its last chunk, and nothing else tells which that is.
            self.has_ended |= is_event && candidate.finish_reason.as_ref().is_some_and(|reason| !reason.is_null());
        }
        for reason in [
            delta.and_then(|delta| delta.stop_reason.as_ref()),
            delta.and_then(|delta| delta.finish_reason.as_ref()),
            message.finish_reason.as_ref(),
            message.done_reason.as_ref(),
        ] {
            keep(&mut self.found.finish_reason, reason);
        }
        for usage in message.reports(self.options.family) {
            replace(&mut self.found.service_tier, usage.get("service_tier"));
            // Anthropic's fast mode is no tier by name, but is billed as one.
            replace(&mut self.found.service_tier, usage.get("speed").filter(|speed| speed.as_str() == Some("fast")));
            merge(&mut self.report, &usage);
        }
        if let Some(drawing) = message.svg_usage.as_ref().filter(|drawing| drawing.is_object()) {
            merge(&mut self.report, &json!({"svg_usage": drawing}));
        }
        if let Some(tools) = message.tool_usage.as_ref().filter(|tools| tools.is_object()) {
            merge(&mut self.report, &json!({"tool_usage": tools, "tools": message.tools}));
        }
        // Bedrock's streams end with the message that carries usage.
        let is_last = match self.options.family {
            Family::Converse => message.usage.is_some(),
            Family::Invoke => message.bedrock.is_some(),
            _ => false,
        };
        self.has_ended |= is_last || message.done == Some(Value::Bool(true));
        self.found.is_error |= kind == "error" || (is_event && message.error.is_some());
        match kind {
            // Streams of Cohere's, and OpenAI's of images and transcripts, end with the event that carries usage.
            "message_stop"
            | "message-end"
            | "stream-end"
            | "image_generation.completed"
            | "image_edit.completed"
            | "transcript.text.done"
            | "speech.audio.done"
            | "conversation.response.done"
            | "interaction.completed" => {
                self.has_ended = true;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.has_ended = true;
                self.found.is_error |= kind == "response.failed";
                if let Some(response) = message.response.as_ref().and_then(Lenient::known) {
                    keep(&mut self.found.finish_reason, response.status.as_ref());
                }
            }
            _ => {}
        }
        for whole in [&message.response, &message.interaction, &message.result] {
            if let Some(whole) = whole.as_ref().and_then(Lenient::known) {
                self.message(whole, false);
            }
        }
        if let Some(inner) = message.message.as_ref().and_then(Lenient::known) {
            self.message(inner, false);
        }
    }

    /// What is still to be passed on after the last bytes, when something is being taken out.
    pub fn finish_bytes(&mut self) -> Option<Vec<u8>> {
        if !self.options.strips_usage || (self.sight == Sight::Blind && self.decoder.is_some()) {
            return None;
        }
        let rest = if self.options.framing == Framing::Body { Vec::new() } else { self.pending.clone() };
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
        if self.options.framing != Framing::Body {
            let data = self.options.framing.data(&rest);
            if !self.is_skipping && !data.is_empty() {
                self.event(&data);
            }
        } else if self.sight != Sight::Blind
            && let Ok(message) = Message::read(&rest)
        {
            self.has_ended = true;
            self.message(&message, false);
            keep(&mut self.found.finish_reason, message.status.as_ref().filter(|_| message.choices.is_none()));
        }
        let Options { family, dialect, .. } = self.options;
        let raw = self.report.take();
        let report = raw.as_ref().and_then(|report| normalize(report, Some(family), dialect));
        self.found.unreadable = report.as_ref().and_then(|report| report.unreadable);
        self.found.gap = report.is_none().then(|| self.gap(&rest));
        self.found.report = raw.filter(|_| self.options.keeps_report).map(|mut report| {
            report.as_object_mut().map(|fields| fields.remove("tools"));
            report.to_string()
        });
        let report = report.filter(|report| report.unreadable.is_none());
        self.found.usage_status = match report {
            None => UsageStatus::Missing,
            Some(_) if self.has_ended => UsageStatus::Complete,
            Some(_) => UsageStatus::Partial,
        };
        let report = report.unwrap_or_default();
        (self.found.usage, self.found.cost, self.found.parts) = (report.usage, report.cost, report.parts);
        self.found
    }

    /// Why there is no usage, after the end; `rest` is what came after the last whole message.
    fn gap(&self, rest: &[u8]) -> Gap {
        if self.sight != Sight::Clear || self.is_skipping {
            Gap::Malformed
        } else if self.has_ended {
            Gap::Unreported
        } else if self.options.framing == Framing::Body {
            let is_cut = serde_json::from_slice::<serde::de::IgnoredAny>(rest).is_err_and(|error| error.is_eof());
            if is_cut { Gap::Interrupted } else { Gap::Malformed }
        } else {
            Gap::Interrupted
        }
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

#[cfg(test)]
#[path = "tests/scanner.rs"]
mod tests;
