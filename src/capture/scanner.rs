//! The scanner of a response: bytes in, counters out.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};

use super::framing::{Framing, MAX_PARTIAL_END, Sniffed};
use super::message::{Message, for_each_message, is_content_delta, repaired};
use super::running::Output;
use super::strip::without_null_usage;
use super::summary::{Findings, Gap, Summary};
use super::usage::{Dialect, Family};
use crate::event::Unit;

/// The most bytes of one event that are kept until it is complete. The last event of an OpenAI response repeats the whole answer with
/// its images. A larger event is passed on, and its usage is missing.
const MAX_PENDING: usize = 16 << 20;
/// The most bytes of a body that are kept. For 2048 vectors of 3072 numbers, OpenAI sends 33 MB; as decimals they are 130 MB.
const MAX_BODY: usize = 160 << 20;
/// The bytes that are scanned at a time. This limits the memory, however many bytes come at once.
const SLICE_BYTES: usize = 1 << 20;
/// The same for compressed bytes. Deflate expands a byte to at most 1,032 bytes, so this is 4 MiB.
const GZIP_SLICE_BYTES: usize = 4 << 10;
/// The largest ratio of decompression for a response of more than [`MAX_SMALL`] bytes. Streams, whose events repeat the same names,
/// reach 30. A decompression bomb reaches 1,000.
const MAX_RATIO: u64 = 200;
const MAX_SMALL: u64 = 32 << 20;

/// The options of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The family of the format.
    pub family: Family,
    /// The dialect of the format.
    pub dialect: Dialect,
    /// The framing according to the header.
    pub framing: Framing,
    /// Whether the response is compressed with gzip.
    pub is_gzip: bool,
    /// Whether to remove the parts that only report usage, and `"usage": null`. The meter requested the usage, not the caller.
    pub strips_usage: bool,
    /// Whether to keep the provider's own report.
    pub keeps_report: bool,
}

/// Whether a response can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParseState {
    /// Everything so far could be read.
    Ok,
    /// A message was not valid JSON. Later ones may be.
    Malformed,
    /// Nothing can be read any more.
    Unreadable,
    /// The response is neither JSON nor a stream of JSON.
    Foreign,
}

impl ParseState {
    fn is_lost(self) -> bool {
        matches!(self, Self::Unreadable | Self::Foreign)
    }
}

/// A scanner of one response.
pub struct Scanner {
    options: Options,
    /// The framing according to the bytes; `None` before the first bytes.
    framing: Option<Framing>,
    /// Whether the first line of the body may turn out to be one of several JSON lines.
    may_be_lines: bool,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    /// Whether the bytes are not valid gzip. They are then passed on unchanged.
    is_broken: bool,
    /// The number of compressed bytes, and of the bytes after decompression.
    inflated: (u64, u64),
    encoder: Option<GzEncoder<Vec<u8>>>,
    pending: Vec<u8>,
    /// How many of the pending bytes were already searched for the end of an event, so that no byte is searched twice.
    searched: usize,
    /// Whether an event was too large and is passed on to its end.
    is_skipping: bool,
    state: ParseState,
    findings: Findings,
    /// The output so far, if it is counted.
    output: Option<Output>,
}

impl Scanner {
    /// A scanner of one response.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            decoder: options.is_gzip.then(|| MultiGzDecoder::new(Vec::new())),
            encoder: (options.is_gzip && options.strips_usage).then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            is_broken: false,
            inflated: (0, 0),
            framing: None,
            may_be_lines: false,
            options,
            pending: Vec::new(),
            searched: 0,
            is_skipping: false,
            state: ParseState::Ok,
            findings: Findings::new(options.family, options.dialect),
            output: None,
        }
    }

    /// The number of bytes that are kept until more come.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// The kept bytes that were not passed on yet, if something is removed from an uncompressed response.
    pub(super) fn held_back(&self) -> Option<&[u8]> {
        let holds_back = self.options.strips_usage && self.framing != Some(Framing::Body) && self.decoder.is_none();
        holds_back.then_some(&self.pending)
    }

    /// Counts the output of a stream from now on, for [`Scanner::running`]. This parses every part of it.
    pub(super) fn count_output(&mut self) {
        self.output = Some(Output::default());
    }

    /// The input tokens that are not read from a cache, if a stream has reported them, and the output tokens so far: those that it has
    /// reported, or those that were counted, whichever are more.
    pub(super) fn running(&self) -> (Option<u64>, u64) {
        let usage = self.findings.usage_so_far();
        let counted = self.output.map_or(0, Output::tokens);
        let input = usage
            .as_ref()
            .map(|usage| usage.count(Unit::INPUT_TOKENS).saturating_sub(usage.count(Unit::CACHE_READ_TOKENS)));
        (input, counted.max(usage.map_or(0, |usage| usage.count(Unit::OUTPUT_TOKENS))))
    }

    /// Scans the next bytes. Returns the bytes to pass on instead of them, or `None` to pass them on unchanged.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let strips = self.options.strips_usage;
        let mut passed = Vec::new();
        if self.decoder.is_none() {
            bytes.chunks(SLICE_BYTES).for_each(|slice| self.scan(slice, &mut passed));
            return strips.then_some(passed);
        }
        for (index, slice) in bytes.chunks(GZIP_SLICE_BYTES).enumerate() {
            if self.is_broken || (!strips && self.state.is_lost()) {
                break;
            }
            let Some(plain) = self.decode(slice) else {
                // The client cannot decompress these bytes either, and will report that.
                if index > 0 && strips {
                    passed.extend_from_slice(&bytes[index * GZIP_SLICE_BYTES..]);
                    return Some(passed);
                }
                break;
            };
            let mut kept = Vec::new();
            self.scan(&plain, &mut kept);
            if strips {
                passed.extend(self.encode(kept));
            }
        }
        (strips && !self.is_broken).then_some(passed)
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let decoder = self.decoder.as_mut()?;
        if decoder.write_all(bytes).and_then(|()| decoder.flush()).is_err() {
            (self.state, self.is_broken, self.encoder) = (ParseState::Unreadable, true, None);
            self.pending = Vec::new();
            return None;
        }
        let plain = std::mem::take(decoder.get_mut());
        let (taken, made) = (self.inflated.0 + bytes.len() as u64, self.inflated.1 + plain.len() as u64);
        self.inflated = (taken, made);
        if made > MAX_SMALL && made / taken.max(1) > MAX_RATIO {
            self.state = ParseState::Unreadable;
        }
        Some(plain)
    }

    /// Compresses bytes like the response, flushed so that the client can read them at once.
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
        let strips = self.options.strips_usage;
        // If there is no memory left, the usage is missing. The process must not end.
        if !self.state.is_lost() && self.pending.try_reserve(bytes.len()).is_err() {
            self.state = ParseState::Unreadable;
        }
        if self.state.is_lost() {
            let pending = std::mem::take(&mut self.pending);
            if strips {
                if self.framing != Some(Framing::Body) {
                    kept.extend(pending);
                }
                kept.extend_from_slice(bytes);
            }
            return;
        }
        self.pending.extend_from_slice(bytes);
        let Some(framing) = self.framing_of(bytes.len(), kept) else { return };
        if framing == Framing::Body {
            if self.pending.len() > MAX_BODY {
                self.state = ParseState::Unreadable;
                self.pending = Vec::new();
            }
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let mut done = 0;
        let mut searched = if framing.has_delimiters() { self.searched } else { 0 };
        while let from = searched.max(done)
            && let Some(length) = framing.end(&pending[from..])
        {
            let message = &pending[done..from + length];
            if framing.is_lost(message) {
                self.state = ParseState::Unreadable;
                if strips {
                    kept.extend_from_slice(&pending[done..]);
                }
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
        self.searched = self.pending.len().saturating_sub(MAX_PARTIAL_END);
        if self.pending.len() > MAX_PENDING {
            self.is_skipping = true;
            if self.options.strips_usage {
                kept.extend_from_slice(&self.pending);
            }
            let tail = self.pending.split_off(self.pending.len() - MAX_PARTIAL_END);
            self.searched = 0;
            if self.options.strips_usage {
                kept.truncate(kept.len() - tail.len());
            }
            self.pending = tail;
        }
    }

    /// The framing, if it is known yet. Passes on the bytes of a body, the last `new` of which are new.
    fn framing_of(&mut self, new: usize, kept: &mut Vec<u8>) -> Option<Framing> {
        let strips = self.options.strips_usage;
        match self.framing {
            None => match self.options.framing.sniff(&self.pending) {
                Sniffed::Unclear => return None,
                Sniffed::As(framing) => {
                    self.framing = Some(framing);
                    self.may_be_lines = framing == Framing::Body && !strips;
                    if framing == Framing::Body && strips {
                        kept.extend_from_slice(&self.pending);
                    }
                }
                Sniffed::Foreign => {
                    self.state = ParseState::Foreign;
                    let pending = std::mem::take(&mut self.pending);
                    if strips {
                        kept.extend(pending);
                    }
                    return None;
                }
            },
            Some(Framing::Body) if strips => kept.extend_from_slice(&self.pending[self.pending.len() - new..]),
            Some(_) => {}
        }
        // This is decided only once, when the first line has ended.
        if self.may_be_lines && (self.searched > 0 || self.pending[self.pending.len() - new..].contains(&b'\n')) {
            self.searched = 1;
            if let Some(is_by_lines) = Framing::is_by_lines(&self.pending) {
                (self.may_be_lines, self.searched) = (false, 0);
                if is_by_lines {
                    self.framing = Some(Framing::Lines);
                }
            }
        }
        self.framing
    }

    /// Reads one event. Returns `true` if it only reports usage at the end of an OpenAI stream.
    fn event(&mut self, data: &[u8]) -> bool {
        if data.starts_with(b"[DONE]") {
            self.findings.has_ended = true;
            return false;
        }
        if let Some(output) = &mut self.output {
            output.add(data);
        }
        // Most events of a stream are content, and parsing them would be most of the work.
        let is_spoken = matches!(self.options.family, Family::OpenAi | Family::Anthropic);
        if is_spoken && self.findings.is_under_way() && is_content_delta(data) {
            return false;
        }
        let lossy;
        let mut message = Message::read(data);
        if message.is_none() {
            lossy = repaired(data);
            message = lossy.as_ref().and_then(|lossy| Message::read(lossy.as_bytes()));
        }
        let Some(message) = message else {
            // Comments and pings of an event stream have no data.
            if !data.is_empty() && self.state == ParseState::Ok {
                self.state = ParseState::Malformed;
            }
            return false;
        };
        if self.findings.note(&message, true).is_err() {
            self.state = ParseState::Unreadable;
        }
        message.usage.is_object() && message.has_no_choices()
    }

    /// The bytes to pass on after the last ones, if something is removed from the response.
    pub fn finish_bytes(&mut self) -> Option<Vec<u8>> {
        if !self.options.strips_usage || self.is_broken {
            return None;
        }
        let rest = if self.framing == Some(Framing::Body) { Vec::new() } else { self.pending.clone() };
        let mut bytes = self.encode(rest);
        if let Some(encoder) = self.encoder.take()
            && let Ok(trailer) = encoder.finish()
        {
            bytes.extend(trailer);
        }
        Some(bytes)
    }

    /// Ends the scan. Returns what was found and whether it is complete. A stream is complete if its last event has come. The end of
    /// its bytes does not count, because a cut connection looks the same.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        let rest = std::mem::take(&mut self.pending);
        let framing = self.framing.unwrap_or(self.options.framing);
        if !matches!(framing, Framing::Body | Framing::Unknown) {
            let data = framing.data(&rest);
            if !self.is_skipping && !data.is_empty() {
                self.event(&data);
            }
        } else if !self.state.is_lost() {
            self.body(&framing.data(&rest));
        }
        let keeps_report = self.options.keeps_report;
        let findings = std::mem::replace(&mut self.findings, Findings::new(Family::OpenAi, Dialect::Plain));
        findings.summary(keeps_report, |findings| self.gap(&rest, findings.has_ended))
    }

    /// Reads a body: one object, a list of the events of a stream, or several objects in a row.
    fn body(&mut self, data: &[u8]) {
        let (mut has_any, mut is_too_large) = (false, false);
        if let Some(message) = Message::read(data) {
            (has_any, self.findings.has_ended) = (true, true);
            is_too_large = self.findings.note(&message, false).is_err();
            if !message.choices.is_list() {
                self.findings.note_status(message.status);
            }
        } else if let Some(lossy) = repaired(data) {
            return self.body(lossy.as_bytes());
        } else if data.starts_with(b"[") {
            let is_whole =
                for_each_message(data, |message| is_too_large |= self.findings.note(&message, false).is_err());
            (has_any, self.findings.has_ended) = (is_whole, is_whole);
        } else {
            for message in Message::read_all(data) {
                has_any = true;
                is_too_large |= self.findings.note(&message, false).is_err();
            }
        }
        if is_too_large {
            self.state = ParseState::Unreadable;
        }
        if !has_any && self.framing.is_none() && self.options.framing == Framing::Unknown {
            self.state = ParseState::Foreign;
        }
    }

    /// Why there is no usage, after the end. `rest` is what follows the last complete message.
    fn gap(&self, rest: &[u8], has_ended: bool) -> Gap {
        if self.state == ParseState::Foreign {
            Gap::Foreign
        } else if self.state != ParseState::Ok || self.is_skipping {
            Gap::Malformed
        } else if has_ended {
            Gap::Unreported
        } else if self.framing.unwrap_or(self.options.framing) == Framing::Body {
            let is_cut = serde_json::from_slice::<serde::de::IgnoredAny>(rest).is_err_and(|error| error.is_eof());
            if is_cut { Gap::Interrupted } else { Gap::Malformed }
        } else {
            Gap::Interrupted
        }
    }
}

#[cfg(test)]
#[path = "tests/scanner.rs"]
mod tests;
