//! The binary encoding of an event in the journal.
//!
//! ```text
//! 0   version u8 = 1
//! 1   status u8 | usage status u8 | cost status u8 | flags u8 (bit 0: batch) | cost notes u16 | a zero byte
//! 8   id, 16 bytes
//! 24  started_at, u64, nanoseconds since the epoch
//! 32  fields until the end: number u8, length varint, value
//! ```
//!
//! Integers are little-endian, varints are LEB128. A reader skips fields and enum numbers it does not know, so processes of newer and
//! older versions can share a state directory. The version number changes only when the fixed part does. If a field occurs twice, the
//! last one counts: the attribution of a scope is encoded once and put before the fields of the call, which override it.

use super::limits::{MAX_EVENT, MAX_REPORT, MAX_TAG_BYTES, MAX_TAG_KEY, MAX_TAGS, MAX_TEXT, cut};
use super::{Attribution, CostNotes, CostStatus, Outgoing, Status, Unit, Usage, UsageEvent, UsageStatus};
use crate::money::Usd;

pub(super) const VERSION: u8 = 1;
const FIXED: usize = 32;
const FLAG_BATCH: u8 = 1;

/// Field numbers. Never reuse one.
pub(super) mod field {
    pub(in crate::event) const PROVIDER: u8 = 1;
    pub(in crate::event) const MODEL: u8 = 2;
    pub(in crate::event) const OPERATION: u8 = 3;
    pub(in crate::event) const ERROR: u8 = 4;
    pub(in crate::event) const FINISH_REASON: u8 = 5;
    pub(in crate::event) const SERVICE_TIER: u8 = 6;
    pub(in crate::event) const REGION: u8 = 7;
    pub(in crate::event) const AGENT: u8 = 8;
    pub(in crate::event) const FEATURE: u8 = 9;
    pub(in crate::event) const TEAM: u8 = 10;
    pub(in crate::event) const CUSTOMER: u8 = 11;
    pub(in crate::event) const USER: u8 = 12;
    pub(in crate::event) const SESSION: u8 = 13;
    pub(in crate::event) const TRACE_ID: u8 = 14;
    pub(in crate::event) const SPAN_ID: u8 = 15;
    pub(in crate::event) const PARENT_SPAN_ID: u8 = 16;
    pub(in crate::event) const PRICED_AS: u8 = 17;
    pub(in crate::event) const CATALOG: u8 = 18;
    pub(in crate::event) const PROVIDER_USAGE: u8 = 19;
    pub(in crate::event) const CALL_ID: u8 = 20;
    /// Varint key length, key, value.
    pub(in crate::event) const TAG: u8 = 32;
    /// Pairs of unit number u8 and count varint.
    pub(in crate::event) const USAGE: u8 = 33;
    /// i128 in 10^-24 USD, 16 bytes.
    pub(in crate::event) const COST: u8 = 34;
    pub(in crate::event) const COMPUTED_COST: u8 = 35;
    pub(in crate::event) const LATENCY_US: u8 = 36;
    pub(in crate::event) const TTFT_US: u8 = 37;
    /// Varint path length, path, body. Repeated for several requests, in order.
    pub(in crate::event) const REQUEST: u8 = 38;
}

/// Why bytes could not be decoded as an event.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the fixed part, or a field runs past the end.
    #[error("the event ends early")]
    Truncated,
    /// Written by a version of this library that this one cannot read.
    #[error("unknown event version {0}")]
    Version(u8),
    /// A text is not UTF-8.
    #[error("a text of the event is not UTF-8")]
    Text,
}

/// Appends the event to `out`. `layers` are attributions from [`encode_attribution`], the outermost first.
///
/// Returns how many texts were cut and tags left out by the rules of [`super::limits`].
pub fn encode(event: &UsageEvent<'_>, layers: &[&[u8]], out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    // Enough for most events, so that the writes below do not grow the vector.
    out.reserve(512);
    let notes = event.cost_notes.code().to_le_bytes();
    out.extend_from_slice(&[
        VERSION,
        event.status as u8,
        event.usage_status as u8,
        event.cost_status as u8,
        if event.batch { FLAG_BATCH } else { 0 },
        notes[0],
        notes[1],
        0,
    ]);
    out.extend_from_slice(&event.id);
    out.extend_from_slice(&event.started_at.to_le_bytes());
    let mut cuts = 0;
    for layer in layers {
        out.extend_from_slice(layer);
    }
    put_text(out, field::PROVIDER, event.provider, &mut cuts);
    put_text(out, field::MODEL, event.model, &mut cuts);
    put_text(out, field::OPERATION, event.operation, &mut cuts);
    for (number, text) in [
        (field::ERROR, event.error),
        (field::FINISH_REASON, event.finish_reason),
        (field::SERVICE_TIER, event.service_tier),
        (field::REGION, event.region),
        (field::TRACE_ID, event.trace_id),
        (field::SPAN_ID, event.span_id),
        (field::PARENT_SPAN_ID, event.parent_span_id),
        (field::CALL_ID, event.call_id),
        (field::PRICED_AS, event.priced_as),
        (field::CATALOG, event.catalog),
    ] {
        if let Some(text) = text {
            put_text(out, number, text, &mut cuts);
        }
    }
    put_usage(out, &event.usage);
    match event.provider_usage {
        Some(report) if report.len() > MAX_REPORT => cuts += 1,
        Some(report) => put_bytes(out, field::PROVIDER_USAGE, report.as_bytes()),
        None => {}
    }
    put_cost(out, field::COST, event.cost);
    put_cost(out, field::COMPUTED_COST, event.computed_cost);
    put_number(out, field::LATENCY_US, event.latency_us);
    put_number(out, field::TTFT_US, event.ttft_us);
    for request in &event.requests {
        put_pair(out, field::REQUEST, request.path, request.body);
    }
    cuts += encode_attribution(&event.attribution, out);
    debug_assert!(out.len() - start <= MAX_EVENT);
    cuts
}

/// Appends one layer of attribution to `out`. Returns how many texts were cut and tags left out.
pub fn encode_attribution(attribution: &Attribution<'_>, out: &mut Vec<u8>) -> u32 {
    let mut cuts = 0;
    for (number, text) in [
        (field::AGENT, attribution.agent),
        (field::FEATURE, attribution.feature),
        (field::TEAM, attribution.team),
        (field::CUSTOMER, attribution.customer),
        (field::USER, attribution.user),
        (field::SESSION, attribution.session),
    ] {
        if let Some(text) = text {
            put_text(out, number, text, &mut cuts);
        }
    }
    let mut tags = TagEncoder::default();
    for (key, value) in &attribution.tags {
        tags.put(out, key, value);
    }
    cuts + tags.cuts()
}

/// Appends the tags of one layer one at a time, for callers that have no list of them.
#[derive(Default)]
pub struct TagEncoder {
    taken: usize,
    bytes: usize,
    cuts: u32,
}

impl TagEncoder {
    /// Appends one tag, unless the layer's limits are reached.
    #[inline]
    pub fn put(&mut self, out: &mut Vec<u8>, key: &str, value: &str) {
        let bytes = self.bytes + key.len().min(MAX_TAG_KEY) + value.len().min(MAX_TEXT);
        if self.taken == MAX_TAGS || bytes > MAX_TAG_BYTES {
            // A tag that does not fit ends the layer, so that only the order of the tags decides which are kept.
            self.taken = MAX_TAGS;
            self.cuts += 1;
            return;
        }
        (self.taken, self.bytes) = (self.taken + 1, bytes);
        if key.len() <= MAX_TAG_KEY && value.len() <= MAX_TEXT {
            return put_tag(out, key, value);
        }
        self.cuts += u32::from(key.len() > MAX_TAG_KEY) + u32::from(value.len() > MAX_TEXT);
        put_tag(out, &cut(key, MAX_TAG_KEY), &cut(value, MAX_TEXT));
    }

    /// How many texts were cut and tags left out.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.cuts
    }
}

#[inline]
fn put_tag(out: &mut Vec<u8>, key: &str, value: &str) {
    put_pair(out, field::TAG, key, value);
}

#[inline]
fn put_pair(out: &mut Vec<u8>, number: u8, key: &str, value: &str) {
    let length = varint_length(key.len() as u64) + key.len() + value.len();
    out.push(number);
    put_varint(out, length as u64);
    put_varint(out, key.len() as u64);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

#[inline]
pub(super) fn put_text(out: &mut Vec<u8>, number: u8, text: &str, cuts: &mut u32) {
    if text.len() > MAX_TEXT {
        *cuts += 1;
        return put_bytes(out, number, cut(text, MAX_TEXT).as_bytes());
    }
    put_bytes(out, number, text.as_bytes());
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_usage(out: &mut Vec<u8>, usage: &Usage) {
    if usage.is_empty() {
        return;
    }
    let length: usize = usage.iter().map(|(_, count)| 1 + varint_length(count)).sum();
    out.push(field::USAGE);
    put_varint(out, length as u64);
    for (unit, count) in usage.iter() {
        out.push(unit.index() as u8);
        put_varint(out, count);
    }
}

fn put_cost(out: &mut Vec<u8>, number: u8, cost: Option<Usd>) {
    if let Some(cost) = cost {
        put_bytes(out, number, &cost.units().to_le_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, number: u8, value: Option<u64>) {
    if let Some(value) = value {
        out.push(number);
        put_varint(out, varint_length(value) as u64);
        put_varint(out, value);
    }
}

#[inline]
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Whether this version can read the event. True for no bytes at all.
#[must_use]
pub fn is_known_version(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|version| *version == VERSION)
}

/// Reads an event back. Its texts borrow from `bytes`.
///
/// # Errors
/// If the bytes end early, hold a text that is not UTF-8, or were written by an unknown version.
pub fn decode(bytes: &[u8]) -> Result<UsageEvent<'_>, DecodeError> {
    let (fixed, mut rest) = bytes.split_at_checked(FIXED).ok_or(DecodeError::Truncated)?;
    if fixed[0] != VERSION {
        return Err(DecodeError::Version(fixed[0]));
    }
    let mut event = UsageEvent {
        status: Status::from_code(fixed[1]),
        usage_status: UsageStatus::from_code(fixed[2]),
        cost_status: CostStatus::from_code(fixed[3]),
        batch: fixed[4] & FLAG_BATCH != 0,
        cost_notes: CostNotes::from_code(u16::from_le_bytes([fixed[5], fixed[6]])),
        id: array(&fixed[8..24])?,
        started_at: u64::from_le_bytes(array(&fixed[24..32])?),
        ..UsageEvent::default()
    };
    while let [number, after @ ..] = rest {
        let (value, after) = take(after)?;
        read_field(&mut event, *number, value)?;
        rest = after;
    }
    Ok(event)
}

fn read_field<'a>(event: &mut UsageEvent<'a>, number: u8, value: &'a [u8]) -> Result<(), DecodeError> {
    let text = || std::str::from_utf8(value).map_err(|_| DecodeError::Text);
    match number {
        field::PROVIDER => event.provider = text()?,
        field::MODEL => event.model = text()?,
        field::OPERATION => event.operation = text()?,
        field::ERROR => event.error = Some(text()?),
        field::FINISH_REASON => event.finish_reason = Some(text()?),
        field::SERVICE_TIER => event.service_tier = Some(text()?),
        field::REGION => event.region = Some(text()?),
        field::TRACE_ID => event.trace_id = Some(text()?),
        field::SPAN_ID => event.span_id = Some(text()?),
        field::PARENT_SPAN_ID => event.parent_span_id = Some(text()?),
        field::CALL_ID => event.call_id = Some(text()?),
        field::PRICED_AS => event.priced_as = Some(text()?),
        field::PROVIDER_USAGE => event.provider_usage = Some(text()?),
        field::CATALOG => event.catalog = Some(text()?),
        field::USAGE => {
            let mut rest = value;
            while let [unit, after @ ..] = rest {
                let (count, after) = take_varint(after)?;
                if let Some(unit) = Unit::from_index(*unit) {
                    event.usage.set(unit, count);
                }
                rest = after;
            }
        }
        field::REQUEST => {
            let (path, body) = take_pair(value)?;
            event.requests.push(Outgoing { path, body });
        }
        field::COST => event.cost = Some(read_cost(value)?),
        field::COMPUTED_COST => event.computed_cost = Some(read_cost(value)?),
        field::LATENCY_US => event.latency_us = Some(take_varint(value)?.0),
        field::TTFT_US => event.ttft_us = Some(take_varint(value)?.0),
        _ => read_attribution(&mut event.attribution, number, value)?,
    }
    Ok(())
}

/// Adds a layer from [`encode_attribution`] to an attribution, whose values it overrides.
///
/// # Errors
/// If the bytes do not come from [`encode_attribution`].
pub fn add_layer<'a>(attribution: &mut Attribution<'a>, layer: &'a [u8]) -> Result<(), DecodeError> {
    let mut rest = layer;
    while let [number, after @ ..] = rest {
        let (value, after) = take(after)?;
        read_attribution(attribution, *number, value)?;
        rest = after;
    }
    Ok(())
}

/// Reads a field of an attribution. Skips others.
fn read_attribution<'a>(attribution: &mut Attribution<'a>, number: u8, value: &'a [u8]) -> Result<(), DecodeError> {
    let text = || std::str::from_utf8(value).map_err(|_| DecodeError::Text);
    match number {
        field::AGENT => attribution.agent = Some(text()?),
        field::FEATURE => attribution.feature = Some(text()?),
        field::TEAM => attribution.team = Some(text()?),
        field::CUSTOMER => attribution.customer = Some(text()?),
        field::USER => attribution.user = Some(text()?),
        field::SESSION => attribution.session = Some(text()?),
        field::TAG => {
            let (key, tag_value) = take_pair(value)?;
            match attribution.tags.iter_mut().find(|(known, _)| *known == key) {
                Some(tag) => tag.1 = tag_value,
                None => attribution.tags.push((key, tag_value)),
            }
        }
        _ => {}
    }
    Ok(())
}

fn read_cost(value: &[u8]) -> Result<Usd, DecodeError> {
    Ok(Usd::from_units(i128::from_le_bytes(array(value)?)))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Truncated)
}

/// Splits a length-prefixed value off the front.
fn take(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (length, rest) = take_varint(bytes)?;
    usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or(DecodeError::Truncated)
}

fn take_pair(bytes: &[u8]) -> Result<(&str, &str), DecodeError> {
    let (key, value) = take(bytes)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::Text);
    Ok((text(key)?, text(value)?))
}

#[inline]
fn take_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    // Nearly all are lengths of short texts.
    match bytes {
        [byte @ ..0x80, rest @ ..] => Ok((u64::from(*byte), rest)),
        _ => take_long_varint(bytes),
    }
}

fn take_long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(DecodeError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::limits::MAX_REQUESTS;
    use proptest::prelude::*;

    fn sample() -> UsageEvent<'static> {
        let mut usage = Usage::default();
        usage.set(Unit::INPUT_TOKENS, 1200);
        usage.set(Unit::OUTPUT_TOKENS, 350);
        UsageEvent {
            id: [7; 16],
            started_at: 1_763_800_000_000_000_001,
            provider: "openai",
            model: "gpt-4o",
            operation: "chat",
            usage,
            provider_usage: Some(r#"{"prompt_tokens":1200}"#),
            cost: Some(Usd::from_units(-5)),
            cost_status: CostStatus::Priced,
            latency_us: Some(u64::MAX),
            attribution: Attribution {
                team: Some("acme"),
                tags: vec![("plan", "pro"), ("", "")],
                ..Attribution::default()
            },
            ..UsageEvent::default()
        }
    }

    fn encoded(event: &UsageEvent<'_>, layers: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(encode(event, layers, &mut out), 0);
        out
    }

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        assert_eq!(decode(&encoded(&sample(), &[])).unwrap(), sample());
    }

    #[test]
    fn the_call_overrides_the_scope_and_tags_merge() {
        let mut scope = Vec::new();
        encode_attribution(
            &Attribution {
                agent: Some("support"),
                team: Some("other"),
                tags: vec![("plan", "free"), ("env", "prod")],
                ..Attribution::default()
            },
            &mut scope,
        );
        let bytes = encoded(&sample(), &[&scope]);
        let attribution = decode(&bytes).unwrap().attribution;
        assert_eq!(attribution.agent, Some("support"));
        assert_eq!(attribution.team, Some("acme"));
        assert_eq!(attribution.tags, [("plan", "pro"), ("env", "prod"), ("", "")]);
    }

    #[test]
    fn a_reader_skips_fields_of_a_newer_version() {
        let mut bytes = encoded(&sample(), &[]);
        bytes.extend_from_slice(&[200, 3, 1, 2, 3]);
        assert_eq!(decode(&bytes).unwrap(), sample());
    }

    #[test]
    fn every_prefix_is_rejected_unless_it_ends_between_fields() {
        let bytes = encoded(&sample(), &[]);
        assert_eq!(decode(&bytes[..FIXED - 1]), Err(DecodeError::Truncated));
        for end in FIXED..bytes.len() {
            let _ = decode(&bytes[..end]);
        }
    }

    #[test]
    fn texts_over_the_limits_are_cut_and_counted_and_the_event_fits() {
        let long = "x".repeat(1 << 20);
        let keys: Vec<String> = (0..10_000).map(|n| format!("key-{n}")).collect();
        let mut event = sample();
        event.model = &long;
        event.provider_usage = Some(&long);
        event.attribution.tags = keys.iter().map(|key| (key.as_str(), long.as_str())).collect();
        let mut layer = Vec::new();
        encode_attribution(&event.attribution, &mut layer);
        let mut out = Vec::new();
        assert!(encode(&event, &[&layer, &layer], &mut out) > 9_900);
        assert!(out.len() <= MAX_EVENT);
        let back = decode(&out).unwrap();
        assert_eq!((back.model.len(), back.provider_usage), (MAX_TEXT, None));
        assert!(back.model.ends_with('…'));
    }

    #[test]
    fn requests_keep_their_order_and_the_largest_ones_fit() {
        let body = "é".repeat(MAX_REQUESTS / 2 - 4);
        let requests = vec![Outgoing { path: "/a", body: "{}" }, Outgoing { path: "/b", body: &body }];
        let event = UsageEvent { requests, ..UsageEvent::default() };
        assert!(!event.is_usage() && UsageEvent::default().is_usage());
        let bytes = encoded(&event, &[]);
        assert!(bytes.len() <= MAX_EVENT);
        assert_eq!(decode(&bytes).unwrap(), event);
    }

    proptest! {
        #[test]
        fn any_event_reads_back(
            texts in prop::collection::vec("\\PC{0,40}", 6),
            tags in prop::collection::btree_map("\\PC{0,20}", "\\PC{0,40}", 0..8),
            counts in prop::collection::btree_map(0_u8..50, 0..=super::super::usage::MAX_COUNT, 0..12),
            cost in any::<Option<i128>>(),
            started_at in any::<u64>(),
        ) {
            let mut usage = Usage::default();
            for (unit, count) in &counts {
                usage.set(Unit::from_index(*unit).unwrap(), *count);
            }
            let event = UsageEvent {
                provider: &texts[0], model: &texts[1], operation: &texts[2],
                error: Some(&texts[3]), region: Some(&texts[4]), started_at, usage,
                cost: cost.map(Usd::from_units),
                attribution: Attribution {
                    user: Some(&texts[5]),
                    tags: tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                    ..Attribution::default()
                },
                ..UsageEvent::default()
            };
            let bytes = encoded(&event, &[]);
            prop_assert_eq!(decode(&bytes).unwrap(), event);
        }

        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let mut versioned = bytes;
            if let Some(first) = versioned.first_mut() { *first = VERSION; }
            let _ = decode(&versioned);
        }
    }
}
