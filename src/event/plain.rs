//! The encoding of plain events: those with counts of input and output tokens, attribution and tags, and texts that need no cut.
//!
//! Nearly every event is one. [`encode`] writes what [`super::binary::encode`] would write for it, in one pass over the arguments and
//! without an event in between.

#![expect(clippy::inline_always, reason = "a call would take as long as the copy of a short text")]

use super::binary::{VERSION, field, put_text, varint_length};
use super::limits::{MAX_TAG_BYTES, MAX_TAG_KEY, MAX_TAGS, MAX_TEXT};
use super::units::Unit;
use super::{CostNotes, CostStatus, Status, UsageEvent, UsageStatus};
use crate::money::Usd;

/// The attribution of a plain event.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainAttribution<'a> {
    /// The agent, feature, team, customer, user and session.
    pub fields: [Option<&'a str>; 6],
    /// Further dimensions, as pairs of key and value.
    pub tags: &'a [(&'a str, &'a str)],
}

/// The numbers of the fields of [`PlainAttribution`].
const FIELDS: [u8; 6] = [field::AGENT, field::FEATURE, field::TEAM, field::CUSTOMER, field::USER, field::SESSION];

/// A plain event, without id and time.
#[derive(Clone, Copy, Debug)]
pub struct PlainEvent<'a> {
    /// From [`encode_names`].
    pub names: &'a [u8],
    /// All input tokens.
    pub input_tokens: Option<u64>,
    /// All output tokens.
    pub output_tokens: Option<u64>,
    /// The computed cost.
    pub cost: Usd,
    /// Where the cost comes from.
    pub cost_status: CostStatus,
    /// Remarks about the cost.
    pub cost_notes: CostNotes,
    /// Who to bill.
    pub attribution: PlainAttribution<'a>,
    /// The size of the attribution, from [`PlainAttribution::size`].
    pub size: usize,
}

impl PlainAttribution<'_> {
    /// The most bytes that it takes, encoded; `None` if a text is empty or has to be cut, or not all tags fit.
    #[inline]
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        let (mut fits, mut size) = (self.tags.len() <= MAX_TAGS, self.fields.len() * HEAD);
        for text in self.fields.iter().flatten() {
            fits &= !text.is_empty() && text.len() <= MAX_TEXT;
            size += text.len();
        }
        let mut bytes = 0;
        for (key, value) in self.tags {
            fits &= key.len() <= MAX_TAG_KEY && value.len() <= MAX_TEXT;
            bytes += key.len() + value.len();
        }
        (fits && bytes <= MAX_TAG_BYTES).then_some(size + bytes + self.tags.len() * TAG_HEAD)
    }
}

/// Encodes the fields that all events of one model share: provider, model, operation and the source of the price. `None` if one of them
/// has to be cut.
#[must_use]
pub fn encode_names(event: &UsageEvent<'_>) -> Option<Box<[u8]>> {
    let (mut out, mut cuts) = (Vec::new(), 0);
    put_text(&mut out, field::PROVIDER, event.provider, &mut cuts);
    put_text(&mut out, field::MODEL, event.model, &mut cuts);
    put_text(&mut out, field::OPERATION, event.operation, &mut cuts);
    for (number, text) in [(field::PRICED_AS, event.priced_as), (field::CATALOG, event.catalog)] {
        if let Some(text) = text {
            put_text(&mut out, number, text, &mut cuts);
        }
    }
    (cuts == 0).then(|| out.into())
}

/// Appends the fields of an attribution to `out`, without its tags. All of them fit.
pub fn encode_fields(attribution: &PlainAttribution<'_>, out: &mut Vec<u8>) {
    let mut cuts = 0;
    for (number, text) in FIELDS.into_iter().zip(attribution.fields) {
        if let Some(text) = text {
            put_text(out, number, text, &mut cuts);
        }
    }
}

/// Appends a plain event to `out`. `layers` are attributions from [`super::binary::encode_attribution`], the outermost first.
#[inline]
pub fn encode(event: &PlainEvent<'_>, id: [u8; 16], started_at: u64, layers: [&[u8]; 2], out: &mut Vec<u8>) {
    let start = out.len();
    let attribution = &event.attribution;
    let most = FIXED + layers[0].len() + layers[1].len() + event.names.len() + COUNTS + COST + event.size;
    out.resize(start + most, 0);
    let mut room = Room(&mut out[start..]);
    room.put(&fixed_part(event, id, started_at));
    for layer in layers {
        room.put(layer);
    }
    room.put(event.names);
    put_counts(&mut room, event);
    room.put(&cost_field(event.cost));
    for (number, text) in FIELDS.into_iter().zip(attribution.fields) {
        if let Some(text) = text {
            room.put_text(number, text);
        }
    }
    for (key, value) in attribution.tags {
        room.put_tag(key, value);
    }
    let left = room.0.len();
    out.truncate(start + most - left);
}

/// The bytes of the part of an event that is always there.
const FIXED: usize = 32;
/// The most bytes of a field's number and length; of a tag's, with the length of its key.
const HEAD: usize = 3;
const TAG_HEAD: usize = 5;
/// The most bytes of both counts, and the bytes of the cost.
const COUNTS: usize = 2 + 2 * (1 + 6);
const COST: usize = 2 + 16;

/// The rest of the bytes for an event. They are enough for it.
struct Room<'a>(&'a mut [u8]);

impl Room<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        let Some((place, rest)) = std::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) else { return };
        copy(place, bytes);
        self.0 = rest;
    }

    #[inline(always)]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    /// Puts a field with a text. One check of the room covers the whole field of a short text.
    #[inline(always)]
    fn put_text(&mut self, number: u8, text: &str) {
        let length = text.len();
        if length >= 0x80 {
            self.put(&[number]);
            self.put_varint(length as u64);
            return self.put(text.as_bytes());
        }
        let Some(([to_number, to_length, place @ ..], rest)) =
            std::mem::take(&mut self.0).split_at_mut_checked(2 + length)
        else {
            return;
        };
        (*to_number, *to_length) = (number, length as u8);
        copy(place, text.as_bytes());
        self.0 = rest;
    }

    /// Puts a tag, as [`Room::put_text`] puts a text.
    #[inline(always)]
    fn put_tag(&mut self, key: &str, value: &str) {
        let length = 1 + key.len() + value.len();
        if length >= 0x80 {
            self.put(&[field::TAG]);
            self.put_varint((varint_length(key.len() as u64) + key.len() + value.len()) as u64);
            self.put_varint(key.len() as u64);
            self.put(key.as_bytes());
            return self.put(value.as_bytes());
        }
        let Some(([number, to_length, key_length, place @ ..], rest)) =
            std::mem::take(&mut self.0).split_at_mut_checked(2 + length)
        else {
            return;
        };
        (*number, *to_length, *key_length) = (field::TAG, length as u8, key.len() as u8);
        if let Some((key_place, value_place)) = place.split_at_mut_checked(key.len()) {
            copy(key_place, key.as_bytes());
            copy(value_place, value.as_bytes());
        }
        self.0 = rest;
    }
}

#[inline(always)]
fn fixed_part(event: &PlainEvent<'_>, id: [u8; 16], started_at: u64) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[0] = VERSION;
    fixed[1] = Status::Success as u8;
    fixed[2] = UsageStatus::Complete as u8;
    fixed[3] = event.cost_status as u8;
    fixed[5..7].copy_from_slice(&event.cost_notes.code().to_le_bytes());
    fixed[8..24].copy_from_slice(&id);
    fixed[24..].copy_from_slice(&started_at.to_le_bytes());
    fixed
}

#[inline(always)]
fn cost_field(cost: Usd) -> [u8; COST] {
    let mut bytes = [0; COST];
    (bytes[0], bytes[1]) = (field::COST, 16);
    bytes[2..].copy_from_slice(&cost.units().to_le_bytes());
    bytes
}

/// Copies bytes. Up to 32, as most texts have, are copied by two moves that may overlap, which is faster than a call of `memcpy`.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let length = from.len();
    if to.len() != length {
        return;
    }
    match length {
        0 => {}
        1..4 => {
            to[0] = from[0];
            to[length / 2] = from[length / 2];
            to[length - 1] = from[length - 1];
        }
        4..8 => copy_ends::<4>(to, from),
        8..16 => copy_ends::<8>(to, from),
        16..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes of slices of the same length, which is at least `N`.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else { return };
    if let Some(place) = to.first_chunk_mut() {
        *place = *first;
    }
    if let Some(place) = to.last_chunk_mut() {
        *place = *last;
    }
}

#[inline]
fn put_counts(room: &mut Room<'_>, event: &PlainEvent<'_>) {
    let counts = [(Unit::INPUT_TOKENS, event.input_tokens), (Unit::OUTPUT_TOKENS, event.output_tokens)];
    let length = |count: Option<u64>| count.map_or(0, |count| 1 + varint_length(count));
    let length = length(event.input_tokens) + length(event.output_tokens);
    if length > 0 {
        room.put(&[field::USAGE, length as u8]);
        for (unit, count) in counts {
            if let Some(count) = count {
                room.put(&[unit.index() as u8]);
                room.put_varint(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::usage::MAX_COUNT;
    use crate::event::{Attribution, Usage, binary};

    fn text() -> impl Strategy<Value = Option<String>> {
        prop::option::of("\\PC{1,40}")
    }

    proptest! {
        #[test]
        fn a_plain_event_decodes_like_the_same_event(
            fields in prop::array::uniform6(text()), pairs in prop::collection::vec(("\\PC{0,9}", "\\PC{0,40}"), 0..8),
            counts in prop::array::uniform2(prop::option::of(0..=MAX_COUNT)), cost in 0..i128::MAX, notes in 0_u16..1024,
            id in any::<[u8; 16]>(), started_at in any::<u64>(), priced_as in text(), scope in text(),
        ) {
            let tags: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let [agent, feature, team, customer, user, session] = fields.each_ref().map(Option::as_deref);
            let mut usage = Usage::default();
            for (unit, count) in [Unit::INPUT_TOKENS, Unit::OUTPUT_TOKENS].into_iter().zip(counts) {
                if let Some(count) = count {
                    usage.set(unit, count);
                }
            }
            let event = UsageEvent {
                id, started_at, usage, provider: "openai", model: "gpt-4o", operation: "chat", priced_as: priced_as.as_deref(),
                cost: Some(Usd::from_units(cost)), cost_status: CostStatus::Priced, cost_notes: CostNotes::from_code(notes),
                attribution: Attribution { agent, feature, team, customer, user, session, tags: tags.clone() },
                ..UsageEvent::default()
            };
            let mut layer = Vec::new();
            binary::encode_attribution(&Attribution { team: scope.as_deref(), ..Attribution::default() }, &mut layer);
            let mut general = Vec::new();
            binary::encode(&event, &[&layer], &mut general);
            let attribution = PlainAttribution { fields: [agent, feature, team, customer, user, session], tags: &tags };
            let plain = PlainEvent {
                names: &encode_names(&event).unwrap(), input_tokens: counts[0], output_tokens: counts[1],
                cost: Usd::from_units(cost), cost_status: event.cost_status, cost_notes: event.cost_notes,
                attribution, size: attribution.size().unwrap(),
            };
            let mut quick = Vec::new();
            encode(&plain, id, started_at, [&layer, &[]], &mut quick);
            prop_assert_eq!(binary::decode(&quick).unwrap(), binary::decode(&general).unwrap());
        }
    }
}
