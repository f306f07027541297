//! The encoding of plain events: those with counts of input and output tokens, attribution and tags, and texts that need no cut.
//!
//! Nearly every event is one. [`encode`] writes what [`super::binary::encode`] would write for it, in one pass over the arguments and
//! without an event in between.

use super::binary::{VERSION, field, put_bytes, put_pair, put_text, put_varint, varint_length};
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
}

impl PlainAttribution<'_> {
    /// Whether no text is empty or has to be cut, and all tags fit.
    #[must_use]
    pub fn fits(&self) -> bool {
        let is_whole = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT;
        let are_whole = self.fields.iter().flatten().all(|text| is_whole(text));
        let is_tag = |(key, value): &(&str, &str)| key.len() <= MAX_TAG_KEY && value.len() <= MAX_TEXT;
        let bytes: usize = self.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        are_whole && self.tags.iter().all(is_tag) && self.tags.len() <= MAX_TAGS && bytes <= MAX_TAG_BYTES
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

/// Appends a plain event to `out`. `layers` are attributions from [`super::binary::encode_attribution`], the outermost first.
#[inline]
pub fn encode(event: &PlainEvent<'_>, id: [u8; 16], started_at: u64, layers: [&[u8]; 2], out: &mut Vec<u8>) {
    let notes = event.cost_notes.code().to_le_bytes();
    let mut fixed = [0; 32];
    fixed[0] = VERSION;
    fixed[1] = Status::Success as u8;
    fixed[2] = UsageStatus::Complete as u8;
    fixed[3] = event.cost_status as u8;
    fixed[5..7].copy_from_slice(&notes);
    fixed[8..24].copy_from_slice(&id);
    fixed[24..].copy_from_slice(&started_at.to_le_bytes());
    out.reserve(512);
    out.extend_from_slice(&fixed);
    for layer in layers {
        out.extend_from_slice(layer);
    }
    out.extend_from_slice(event.names);
    put_counts(out, event);
    put_bytes(out, field::COST, &event.cost.units().to_le_bytes());
    for (number, text) in FIELDS.into_iter().zip(event.attribution.fields) {
        if let Some(text) = text {
            put_bytes(out, number, text.as_bytes());
        }
    }
    for (key, value) in event.attribution.tags {
        put_pair(out, field::TAG, key, value);
    }
}

#[inline]
fn put_counts(out: &mut Vec<u8>, event: &PlainEvent<'_>) {
    let counts = [(Unit::INPUT_TOKENS, event.input_tokens), (Unit::OUTPUT_TOKENS, event.output_tokens)];
    let given = || counts.iter().filter_map(|(unit, count)| Some((*unit, (*count)?)));
    let length: usize = given().map(|(_, count)| 1 + varint_length(count)).sum();
    if length > 0 {
        out.extend_from_slice(&[field::USAGE, length as u8]);
        for (unit, count) in given() {
            out.push(unit.index() as u8);
            put_varint(out, count);
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
            let plain = PlainEvent {
                names: &encode_names(&event).unwrap(), input_tokens: counts[0], output_tokens: counts[1],
                cost: Usd::from_units(cost), cost_status: event.cost_status, cost_notes: event.cost_notes,
                attribution: PlainAttribution { fields: [agent, feature, team, customer, user, session], tags: &tags },
            };
            prop_assert!(plain.attribution.fits());
            let mut quick = Vec::new();
            encode(&plain, id, started_at, [&layer, &[]], &mut quick);
            prop_assert_eq!(binary::decode(&quick).unwrap(), binary::decode(&general).unwrap());
        }
    }
}
