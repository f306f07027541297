//! The bytes of a request: a header with names and types, then a row for each event, without separators.
//!
//! With the header, the server refuses a table with other types in words. Without it, it would store garbage.

use super::columns::COLUMNS;
use crate::event::{CostNotes, Savings, Unit, UsageEvent};
use crate::money::Usd;

/// Bytes of a typical row. Only the first allocation depends on it.
const TYPICAL_ROW: usize = 512;

/// The header of each request.
pub(super) fn header() -> Vec<u8> {
    let mut header = Vec::with_capacity(2_048);
    length(&mut header, COLUMNS.len());
    for word in COLUMNS.iter().map(|column| column.name).chain(COLUMNS.iter().map(|column| column.kind)) {
        text(&mut header, word);
    }
    header
}

/// The body of a request with these events. `savings` tells what caching saved in each of them.
pub(super) fn encode(header: &[u8], events: &[UsageEvent<'_>], savings: Option<&Savings>) -> Vec<u8> {
    let mut body = Vec::with_capacity(header.len() + events.len() * TYPICAL_ROW);
    body.extend_from_slice(header);
    for event in events {
        row(&mut body, event, savings.and_then(|savings| savings(event)));
    }
    body
}

/// The deduplication token of a request with these events: the same for the same set of events in any order.
///
/// The server drops a request silently if it had another one with the same token, so the token depends on the events alone. Ids are
/// random in 74 bits; a sum of different ids is as unlikely to be equal as two ids.
pub(super) fn token(ids: impl IntoIterator<Item = [u8; 16]>) -> String {
    let add = |(sum, count): (u128, usize), id| (sum.wrapping_add(u128::from_be_bytes(id)), count + 1);
    let (sum, count) = ids.into_iter().fold((0, 0), add);
    format!("tm1-{sum:032x}-{count}")
}

fn row(out: &mut Vec<u8>, event: &UsageEvent<'_>, saved: Option<Usd>) {
    let who = &event.attribution;
    // A UUID is two little-endian numbers of eight bytes.
    let (high, low) = event.id.split_at(8);
    out.extend(high.iter().rev());
    out.extend(low.iter().rev());
    out.extend_from_slice(&event.started_at.to_le_bytes());
    text(out, event.provider);
    text(out, event.model);
    text(out, event.operation);
    text(out, event.status.name());
    optional(out, event.error);
    optional(out, event.finish_reason);
    for unit in [
        Unit::INPUT_TOKENS,
        Unit::OUTPUT_TOKENS,
        Unit::CACHE_READ_TOKENS,
        Unit::CACHE_WRITE_TOKENS,
        Unit::REASONING_TOKENS,
    ] {
        out.extend_from_slice(&event.usage.count(unit).to_le_bytes());
    }
    length(out, event.usage.present().count_ones() as usize);
    for (unit, count) in event.usage.iter() {
        text(out, unit.name());
        out.extend_from_slice(&count.to_le_bytes());
    }
    text(out, event.usage_status.name());
    money(out, event.cost);
    text(out, event.cost_status.name());
    money(out, event.computed_cost);
    money(out, saved);
    notes(out, event.cost_notes);
    optional(out, event.priced_as);
    optional(out, event.catalog);
    number(out, event.latency_us);
    number(out, event.ttft_us);
    optional(out, event.service_tier);
    optional(out, event.region);
    out.push(u8::from(event.batch));
    optional(out, who.agent);
    optional(out, who.feature);
    optional(out, who.team);
    optional(out, who.customer);
    optional(out, who.user);
    optional(out, who.session);
    length(out, who.tags.len());
    for (key, value) in &who.tags {
        text(out, key);
        text(out, value);
    }
    optional(out, event.trace_id);
    optional(out, event.span_id);
    optional(out, event.parent_span_id);
    optional(out, event.call_id);
    optional(out, event.provider_usage);
}

/// A length as LEB128: seven bits a byte, the lowest first.
#[inline]
fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

#[inline]
fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn optional(out: &mut Vec<u8>, value: Option<&str>) {
    text(out, value.unwrap_or_default());
}

fn number(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_none()));
    if let Some(value) = value {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// An amount is stored as it is: a number of 10⁻²⁴ USD with 16 bytes, little endian, in two's complement.
fn money(out: &mut Vec<u8>, amount: Option<Usd>) {
    out.push(u8::from(amount.is_none()));
    if let Some(amount) = amount {
        out.extend_from_slice(&amount.units().to_le_bytes());
    }
}

fn notes(out: &mut Vec<u8>, notes: CostNotes) {
    if notes.is_empty() {
        return out.push(0);
    }
    text(out, &notes.names().collect::<Vec<_>>().join(","));
}
