//! An event as a span: its ids, its times and its attributes.
//!
//! The names are those of OpenTelemetry's conventions for generative AI. Where receivers read other names, too, both are sent.

use super::wire::{
    BOOL, DOUBLE, INT, TEXT, Value, frame, put_bytes, put_double, put_head, put_int, put_message, put_named, put_tag,
    put_text, put_true,
};
use crate::event::id::with_id_text;
use crate::event::{Status, Unit, Usage, UsageEvent};
use crate::money::UsdText;

/// Bytes of one span, roughly. The first allocation and the room for the span's length depend on it.
pub(super) const TYPICAL_LENGTH: usize = 1_280;
/// The field `kind` of a span: `SPAN_KIND_CLIENT`.
const KIND: [u8; 2] = [6 << 3, 3];
/// The field `status` of a span: the message `Status` with its field `code`, `STATUS_CODE_ERROR`.
const ERROR: [u8; 4] = [15 << 3 | 2, 2, 3 << 3, 2];
/// The tags of the fields `start_time_unix_nano` and `end_time_unix_nano`, each of eight bytes.
const START: u8 = 7 << 3 | 1;
const END: u8 = 8 << 3 | 1;

/// Writes an attribute with a constant key. Its bytes up to the value are made by the compiler.
macro_rules! put {
    ($out:expr, $key:literal, text($value:expr)) => {{
        const FRAME: [u8; $key.len() + 8] = frame($key, TEXT);
        put_text($out, &FRAME, $value)
    }};
    ($out:expr, $key:literal, int($value:expr)) => {{
        const FRAME: [u8; $key.len() + 7] = frame($key, INT);
        put_int($out, &FRAME, $value)
    }};
    ($out:expr, $key:literal, double($value:expr)) => {{
        const FRAME: [u8; $key.len() + 7] = frame($key, DOUBLE);
        put_double($out, &FRAME, $value)
    }};
    ($out:expr, $key:literal, true) => {{
        const FRAME: [u8; $key.len() + 7] = frame($key, BOOL);
        put_true($out, &FRAME)
    }};
    // A text that an event may lack.
    ($out:expr, $key:literal, optional($value:expr)) => {
        if let Some(value) = $value
            && !value.is_empty()
        {
            put!($out, $key, text(value.as_bytes()));
        }
    };
}

/// The attributes of less frequent units that the conventions have a name for. Others are `taximeter.usage.<unit>`.
const UNITS: [(Unit, &str); 9] = [
    (Unit::named("input_text_tokens"), "gen_ai.usage.text.input_tokens"),
    (Unit::named("output_text_tokens"), "gen_ai.usage.text.output_tokens"),
    (Unit::named("cache_text_read_tokens"), "gen_ai.usage.text.cache_read.input_tokens"),
    (Unit::named("input_audio_tokens"), "gen_ai.usage.audio.input_tokens"),
    (Unit::named("output_audio_tokens"), "gen_ai.usage.audio.output_tokens"),
    (Unit::named("cache_audio_read_tokens"), "gen_ai.usage.audio.cache_read.input_tokens"),
    (Unit::named("input_image_tokens"), "gen_ai.usage.image.input_tokens"),
    (Unit::named("output_image_tokens"), "gen_ai.usage.image.output_tokens"),
    (Unit::named("cache_image_read_tokens"), "gen_ai.usage.image.cache_read.input_tokens"),
];

/// An event that is being written as a span.
pub(super) struct Span<'a> {
    event: &'a UsageEvent<'a>,
    /// Whether attributes of single receivers are left out.
    is_plain: bool,
}

impl<'a> Span<'a> {
    pub(super) const fn new(event: &'a UsageEvent<'a>, is_plain: bool) -> Self {
        Self { event, is_plain }
    }

    /// Writes the span as this field of a message. `scratch` is memory that is used again for each span.
    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>, field: u64, scratch: &mut Vec<u8>) {
        put_message(out, field, TYPICAL_LENGTH, |out| {
            self.put_head(out);
            self.put_attributes(out, scratch);
            if self.event.status == Status::Error {
                out.extend_from_slice(&ERROR);
            }
        });
    }

    /// The ids, the name, the kind and the times.
    fn put_head(&self, out: &mut Vec<u8>) {
        let event = self.event;
        let own = event.trace_id.and_then(hexadecimal::<16>);
        // An event that is sent again has the same ids, so that receivers recognize the span.
        put_bytes(out, 1, &own.unwrap_or(event.id));
        put_bytes(out, 2, &event.id[8..]);
        // The event's span is the caller's.
        if let Some(parent) = own.and(event.span_id).and_then(hexadecimal::<8>) {
            put_bytes(out, 4, &parent);
        }
        put_head(out, 5, event.operation.len() + 1 + event.model.len());
        out.extend_from_slice(event.operation.as_bytes());
        out.push(b' ');
        out.extend_from_slice(event.model.as_bytes());
        let end = event.started_at.saturating_add(event.latency_us.unwrap_or(0).saturating_mul(1_000));
        let mut times = [0; 20];
        times[..2].copy_from_slice(&KIND);
        times[2] = START;
        times[3..11].copy_from_slice(&event.started_at.to_le_bytes());
        times[11] = END;
        times[12..].copy_from_slice(&end.to_le_bytes());
        out.extend_from_slice(&times);
    }

    fn put_attributes(&self, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
        let (event, attribution) = (self.event, &self.event.attribution);
        put!(out, "gen_ai.operation.name", text(event.operation.as_bytes()));
        put!(out, "gen_ai.provider.name", text(event.provider.as_bytes()));
        // The name before conventions 1.37.
        put!(out, "gen_ai.system", text(event.provider.as_bytes()));
        put!(out, "gen_ai.response.model", text(event.model.as_bytes()));
        // Arize Phoenix reads the price by this name.
        put!(out, "gen_ai.request.model", text(event.model.as_bytes()));
        self.put_usage(out);
        let cost = event.cost.map(UsdText::new);
        self.put_cost(out, cost.as_ref());
        put!(out, "taximeter.usage.status", text(event.usage_status.name().as_bytes()));
        if event.status == Status::Error {
            put!(out, "error.type", text(event.error.unwrap_or("_OTHER").as_bytes()));
        }
        if let Some(reason) = event.finish_reason.filter(|reason| !reason.is_empty()) {
            put_named(out, "", "gen_ai.response.finish_reasons", Value::Texts(&[reason]));
        }
        if let Some(us) = event.ttft_us {
            put!(out, "gen_ai.response.time_to_first_chunk", double(us as f64 / 1e6));
            put!(out, "gen_ai.request.stream", true);
        }
        put!(out, "gen_ai.agent.name", optional(attribution.agent));
        put!(out, "gen_ai.conversation.id", optional(attribution.session));
        put!(out, "session.id", optional(attribution.session));
        put!(out, "user.id", optional(attribution.user));
        put!(out, "taximeter.team", optional(attribution.team));
        put!(out, "taximeter.feature", optional(attribution.feature));
        put!(out, "taximeter.customer", optional(attribution.customer));
        for (key, value) in &attribution.tags {
            put_tag(out, "taximeter.tag.", key, value);
        }
        put!(out, "taximeter.service_tier", optional(event.service_tier));
        put!(out, "taximeter.region", optional(event.region));
        if event.batch {
            put!(out, "taximeter.batch", true);
        }
        put!(out, "taximeter.call.id", optional(event.call_id));
        with_id_text(event.id, |id| put!(out, "taximeter.event.id", text(id.as_bytes())));
        if !self.is_plain {
            self.put_for_langfuse(out, cost.as_ref(), scratch);
        }
    }

    fn put_usage(&self, out: &mut Vec<u8>) {
        for (unit, count) in self.event.usage.iter() {
            match unit {
                Unit::INPUT_TOKENS => put!(out, "gen_ai.usage.input_tokens", int(count)),
                Unit::OUTPUT_TOKENS => put!(out, "gen_ai.usage.output_tokens", int(count)),
                Unit::CACHE_READ_TOKENS => put!(out, "gen_ai.usage.cache_read.input_tokens", int(count)),
                Unit::CACHE_WRITE_TOKENS => {
                    put!(out, "gen_ai.usage.cache_write.input_tokens", int(count));
                    // The name of conventions 1.37 to 1.41. Arize Phoenix 20.26 reads only that.
                    put!(out, "gen_ai.usage.cache_creation.input_tokens", int(count));
                }
                Unit::REASONING_TOKENS => {
                    put!(out, "gen_ai.usage.reasoning.output_tokens", int(count));
                    if !self.is_plain {
                        put!(out, "llm.token_count.completion_details.reasoning", int(count));
                    }
                }
                other => {
                    let named = UNITS.iter().find(|(unit, _)| *unit == other);
                    let (prefix, name) = named.map_or(("taximeter.usage.", other.name()), |(_, name)| ("", *name));
                    let value = match other.scale() {
                        1 => Value::Int(count),
                        scale => Value::Double(count as f64 / scale as f64),
                    };
                    put_named(out, prefix, name, value);
                }
            }
        }
    }

    /// The cost: as doubles under the names that receivers read, and exactly as a text. An unknown cost has no attribute.
    fn put_cost(&self, out: &mut Vec<u8>, cost: Option<&UsdText>) {
        let event = self.event;
        if let Some(cost) = cost {
            let number = cost.nearest();
            put!(out, "gen_ai.usage.cost", double(number));
            if !self.is_plain {
                put!(out, "operation.cost", double(number));
                put!(out, "llm.cost.total", double(number));
            }
            put!(out, "taximeter.cost_usd", text(cost.as_bytes()));
        }
        put!(out, "taximeter.cost.status", text(event.cost_status.name().as_bytes()));
        if let Some(cost) = event.computed_cost {
            put!(out, "taximeter.computed_cost_usd", text(UsdText::new(cost).as_bytes()));
        }
        if !event.cost_notes.is_empty() {
            let notes = event.cost_notes.names().collect::<Vec<_>>();
            put_named(out, "", "taximeter.cost.notes", Value::Texts(&notes));
        }
        if let Some(priced_as) = event.priced_as {
            put!(out, "taximeter.priced_as", text(priced_as.as_bytes()));
        }
        if let Some(catalog) = event.catalog {
            put!(out, "taximeter.catalog", text(catalog.as_bytes()));
        }
    }

    /// The attributes that only Langfuse reads. Two of them are JSON in a text.
    fn put_for_langfuse(&self, out: &mut Vec<u8>, cost: Option<&UsdText>, scratch: &mut Vec<u8>) {
        let kind = if self.event.operation == "embeddings" { "embedding" } else { "generation" };
        put!(out, "langfuse.observation.type", text(kind.as_bytes()));
        scratch.clear();
        usage_details(scratch, &self.event.usage);
        if !scratch.is_empty() {
            put!(out, "langfuse.observation.usage_details", text(scratch));
        }
        if let Some(cost) = cost {
            scratch.clear();
            scratch.extend_from_slice(br#"{"total":"#);
            scratch.extend_from_slice(cost.as_bytes());
            scratch.push(b'}');
            put!(out, "langfuse.observation.cost_details", text(scratch));
        }
    }
}

/// Langfuse's `usage_details`: parts that do not overlap, and their total. Without it, Langfuse adds up all numeric attributes of usage,
/// which count cached tokens twice.
fn usage_details(out: &mut Vec<u8>, usage: &Usage) {
    let count = |unit| usage.count(unit);
    let (input, output) = (count(Unit::INPUT_TOKENS), count(Unit::OUTPUT_TOKENS));
    if usage.present() & (Unit::INPUT_TOKENS.bit() | Unit::OUTPUT_TOKENS.bit()) == 0 {
        return;
    }
    let (read, written) = (count(Unit::CACHE_READ_TOKENS), count(Unit::CACHE_WRITE_TOKENS));
    let (short, long) = (count(Unit::CACHE_WRITE_5M_TOKENS), count(Unit::CACHE_WRITE_1H_TOKENS));
    let reasoning = count(Unit::REASONING_TOKENS);
    let mut digits = itoa::Buffer::new();
    let mut put = |before: &str, number: u64| {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(digits.format(number).as_bytes());
    };
    put(r#"{"input":"#, input.saturating_sub(read + written));
    put(r#","output":"#, output.saturating_sub(reasoning));
    for (name, part) in [
        (r#","input_cached_tokens":"#, read),
        (r#","input_cache_creation_5m":"#, short),
        (r#","input_cache_creation_1h":"#, long),
        (r#","input_cache_creation":"#, written.saturating_sub(short + long)),
        (r#","output_reasoning_tokens":"#, reasoning),
    ] {
        if part > 0 {
            put(name, part);
        }
    }
    put(r#","total":"#, input + output);
    out.push(b'}');
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
