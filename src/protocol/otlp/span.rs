//! An event as a span: its ids, its times and its attributes.
//!
//! The names are those of OpenTelemetry's conventions for generative AI. Where receivers read other names, too, both are sent.

use std::fmt::Write as _;

use super::wire::{Value, put_attribute, put_bytes, put_fixed64, put_head, put_message, put_number};
use crate::event::id::with_id_text;
use crate::event::{Status, Unit, Usage, UsageEvent};

/// The field `attributes` of a span.
const ATTRIBUTES: u64 = 9;
/// `SPAN_KIND_CLIENT`.
const CLIENT: u64 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// The attributes of units that the conventions or a receiver have a name for. Others are `taximeter.usage.<unit>`.
const UNITS: [(Unit, &[&str]); 14] = [
    (Unit::INPUT_TOKENS, &["gen_ai.usage.input_tokens"]),
    (Unit::OUTPUT_TOKENS, &["gen_ai.usage.output_tokens"]),
    (Unit::CACHE_READ_TOKENS, &["gen_ai.usage.cache_read.input_tokens"]),
    // The second name is the one of conventions 1.37 to 1.41. Arize Phoenix 20.26 reads only that.
    (Unit::CACHE_WRITE_TOKENS, &["gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"]),
    (Unit::REASONING_TOKENS, &["gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning"]),
    (Unit::named("input_text_tokens"), &["gen_ai.usage.text.input_tokens"]),
    (Unit::named("output_text_tokens"), &["gen_ai.usage.text.output_tokens"]),
    (Unit::named("cache_text_read_tokens"), &["gen_ai.usage.text.cache_read.input_tokens"]),
    (Unit::named("input_audio_tokens"), &["gen_ai.usage.audio.input_tokens"]),
    (Unit::named("output_audio_tokens"), &["gen_ai.usage.audio.output_tokens"]),
    (Unit::named("cache_audio_read_tokens"), &["gen_ai.usage.audio.cache_read.input_tokens"]),
    (Unit::named("input_image_tokens"), &["gen_ai.usage.image.input_tokens"]),
    (Unit::named("output_image_tokens"), &["gen_ai.usage.image.output_tokens"]),
    (Unit::named("cache_image_read_tokens"), &["gen_ai.usage.image.cache_read.input_tokens"]),
];

/// The place in [`UNITS`] of each unit, or `None`.
const PLACES: [Option<u8>; crate::event::units::UNIT_COUNT] = {
    let mut places = [None; crate::event::units::UNIT_COUNT];
    let mut place = 0;
    while place < UNITS.len() {
        places[UNITS[place].0.index()] = Some(place as u8);
        place += 1;
    }
    places
};

/// Texts that are made for one event. They are kept for the next one, so that encoding allocates nothing.
#[derive(Default)]
pub(super) struct Texts {
    cost: String,
    computed_cost: String,
    usage_details: String,
    cost_details: String,
    notes: Vec<&'static str>,
}

/// An event that is being written as a span.
pub(super) struct Span<'a> {
    event: &'a UsageEvent<'a>,
    texts: &'a Texts,
    /// Whether attributes of single receivers are left out.
    is_plain: bool,
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    cost: Option<f64>,
}

impl<'a> Span<'a> {
    pub(super) fn new(event: &'a UsageEvent<'a>, texts: &'a mut Texts, is_plain: bool) -> Self {
        texts.set(event, is_plain);
        // An event that is sent again has the same ids, so that receivers recognize the span.
        let own = event.trace_id.and_then(hexadecimal::<16>);
        let mut id = [0; 8];
        id.copy_from_slice(&event.id[8..]);
        Self {
            event,
            is_plain,
            trace: own.unwrap_or(event.id),
            id,
            // The event's span is the caller's.
            parent: own.and(event.span_id).and_then(hexadecimal::<8>),
            // The text has all digits, so this is the nearest double.
            cost: event.cost.and_then(|_| texts.cost.parse().ok()),
            texts,
        }
    }

    /// Writes the span as this field of a message.
    pub(super) fn put(&self, body: &mut Vec<u8>, field: u64) {
        put_message(body, field, |body| self.put_fields(body));
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        let event = self.event;
        put_bytes(out, 1, &self.trace);
        put_bytes(out, 2, &self.id);
        if let Some(parent) = self.parent {
            put_bytes(out, 4, &parent);
        }
        put_head(out, 5, event.operation.len() + 1 + event.model.len());
        out.extend_from_slice(event.operation.as_bytes());
        out.push(b' ');
        out.extend_from_slice(event.model.as_bytes());
        put_number(out, 6, CLIENT);
        put_fixed64(out, 7, event.started_at);
        put_fixed64(out, 8, event.started_at.saturating_add(event.latency_us.unwrap_or(0).saturating_mul(1_000)));
        self.put_attributes(out);
        if event.status == Status::Error {
            // The message `Status` with its field `code`.
            put_head(out, 15, 2);
            put_number(out, 3, ERROR);
        }
    }

    fn put_attributes(&self, out: &mut Vec<u8>) {
        let (event, attribution) = (self.event, &self.event.attribution);
        let text = |out: &mut _, name: &str, value: &str| put(out, name, Value::Text(value));
        let optional = |out: &mut _, name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                put(out, name, Value::Text(value));
            }
        };
        text(out, "gen_ai.operation.name", event.operation);
        text(out, "gen_ai.provider.name", event.provider);
        // The name before conventions 1.37.
        text(out, "gen_ai.system", event.provider);
        text(out, "gen_ai.response.model", event.model);
        // Arize Phoenix reads the price by this name.
        text(out, "gen_ai.request.model", event.model);
        self.put_usage(out);
        self.put_cost(out);
        text(out, "taximeter.usage.status", event.usage_status.name());
        if event.status == Status::Error {
            text(out, "error.type", event.error.unwrap_or("_OTHER"));
        }
        if let Some(reason) = event.finish_reason.filter(|reason| !reason.is_empty()) {
            put(out, "gen_ai.response.finish_reasons", Value::Texts(&[reason]));
        }
        if let Some(us) = event.ttft_us {
            put(out, "gen_ai.response.time_to_first_chunk", Value::Double(us as f64 / 1e6));
            put(out, "gen_ai.request.stream", Value::Bool(true));
        }
        optional(out, "gen_ai.agent.name", attribution.agent);
        optional(out, "gen_ai.conversation.id", attribution.session);
        optional(out, "session.id", attribution.session);
        optional(out, "user.id", attribution.user);
        optional(out, "taximeter.team", attribution.team);
        optional(out, "taximeter.feature", attribution.feature);
        optional(out, "taximeter.customer", attribution.customer);
        for (key, value) in &attribution.tags {
            put_attribute(out, ATTRIBUTES, ("taximeter.tag.", key), Value::Text(value));
        }
        optional(out, "taximeter.service_tier", event.service_tier);
        optional(out, "taximeter.region", event.region);
        if event.batch {
            put(out, "taximeter.batch", Value::Bool(true));
        }
        optional(out, "taximeter.call.id", event.call_id);
        with_id_text(event.id, |id| text(out, "taximeter.event.id", id));
        if !self.is_plain {
            let kind = if event.operation == "embeddings" { "embedding" } else { "generation" };
            text(out, "langfuse.observation.type", kind);
            if !self.texts.usage_details.is_empty() {
                text(out, "langfuse.observation.usage_details", &self.texts.usage_details);
            }
            if !self.texts.cost_details.is_empty() {
                text(out, "langfuse.observation.cost_details", &self.texts.cost_details);
            }
        }
    }

    fn put_usage(&self, out: &mut Vec<u8>) {
        for (unit, count) in self.event.usage.iter() {
            if let Some(place) = PLACES[unit.index()] {
                let names = UNITS[place as usize].1.iter();
                for name in names.filter(|name| !self.is_plain || !name.starts_with("llm.")) {
                    put(out, name, Value::Int(count));
                }
            } else {
                let value = match unit.scale() {
                    1 => Value::Int(count),
                    scale => Value::Double(count as f64 / scale as f64),
                };
                put_attribute(out, ATTRIBUTES, ("taximeter.usage.", unit.name()), value);
            }
        }
    }

    /// The cost: as doubles under the names that receivers read, and exactly as a text. An unknown cost has no attribute.
    fn put_cost(&self, out: &mut Vec<u8>) {
        let event = self.event;
        if let Some(cost) = self.cost {
            put(out, "gen_ai.usage.cost", Value::Double(cost));
            if !self.is_plain {
                put(out, "operation.cost", Value::Double(cost));
                put(out, "llm.cost.total", Value::Double(cost));
            }
            put(out, "taximeter.cost_usd", Value::Text(&self.texts.cost));
        }
        put(out, "taximeter.cost.status", Value::Text(event.cost_status.name()));
        if event.computed_cost.is_some() {
            put(out, "taximeter.computed_cost_usd", Value::Text(&self.texts.computed_cost));
        }
        if !self.texts.notes.is_empty() {
            put(out, "taximeter.cost.notes", Value::Texts(&self.texts.notes));
        }
        for (name, value) in [("taximeter.priced_as", event.priced_as), ("taximeter.catalog", event.catalog)] {
            if let Some(value) = value {
                put(out, name, Value::Text(value));
            }
        }
    }
}

/// Writes an attribute of a span.
#[inline]
fn put(out: &mut Vec<u8>, name: &str, value: Value<'_>) {
    put_attribute(out, ATTRIBUTES, ("", name), value);
}

impl Texts {
    fn set(&mut self, event: &UsageEvent<'_>, is_plain: bool) {
        for text in [&mut self.cost, &mut self.computed_cost, &mut self.usage_details, &mut self.cost_details] {
            text.clear();
        }
        self.notes.clear();
        self.notes.extend(event.cost_notes.names());
        // Writing to a text cannot fail.
        if let Some(cost) = event.cost {
            let _ = write!(self.cost, "{cost}");
        }
        if let Some(cost) = event.computed_cost {
            let _ = write!(self.computed_cost, "{cost}");
        }
        if is_plain {
            return;
        }
        usage_details(&mut self.usage_details, &event.usage);
        if event.cost.is_some() {
            let _ = write!(self.cost_details, r#"{{"total":{}}}"#, self.cost);
        }
    }
}

/// Langfuse's `usage_details`: parts that do not overlap, and their total. Without it, Langfuse adds up all numeric attributes of usage,
/// which count cached tokens twice.
fn usage_details(out: &mut String, usage: &Usage) {
    let count = |unit| usage.count(unit);
    let (input, output) = (count(Unit::INPUT_TOKENS), count(Unit::OUTPUT_TOKENS));
    if usage.present() & (Unit::INPUT_TOKENS.bit() | Unit::OUTPUT_TOKENS.bit()) == 0 {
        return;
    }
    let (read, written) = (count(Unit::CACHE_READ_TOKENS), count(Unit::CACHE_WRITE_TOKENS));
    let (short, long) = (count(Unit::CACHE_WRITE_5M_TOKENS), count(Unit::CACHE_WRITE_1H_TOKENS));
    let reasoning = count(Unit::REASONING_TOKENS);
    let parts = [
        ("input_cached_tokens", read),
        ("input_cache_creation_5m", short),
        ("input_cache_creation_1h", long),
        ("input_cache_creation", written.saturating_sub(short + long)),
        ("output_reasoning_tokens", reasoning),
    ];
    // Writing to a text cannot fail.
    let _ = write!(
        out,
        r#"{{"input":{},"output":{}"#,
        input.saturating_sub(read + written),
        output.saturating_sub(reasoning)
    );
    for (name, part) in parts.into_iter().filter(|(_, part)| *part > 0) {
        let _ = write!(out, r#","{name}":{part}"#);
    }
    let _ = write!(out, r#","total":{}}}"#, input + output);
}

/// The bytes of an id in hexadecimal digits; `None` if it is not one, or is zero, which W3C's trace context forbids.
fn hexadecimal<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let digits: &[[u8; 2]] = match text.as_bytes().as_chunks() {
        (digits, []) if digits.len() == LENGTH => digits,
        _ => return None,
    };
    let mut bytes = [0; LENGTH];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    (bytes != [0; LENGTH]).then_some(bytes)
}
