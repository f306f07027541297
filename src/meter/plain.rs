//! Prices plain calls: two counts, attribution and tags, at a known price. Nearly every call is one.
//!
//! What depends only on provider, model and prices is kept per thread, for one second of the clock, because prices can change with the
//! time. The table has a fixed size, so it does not grow with the number of names, and needs no lock.

use std::cell::RefCell;
use std::hash::BuildHasher;

use super::facts::entry;
use super::prices::Prices;
use crate::budget::Facts;
use crate::event::Attribution;
use crate::event::limits::{MAX_TEXT, name_head};
use crate::event::plain::{PlainAttribution, PlainEvent, encode_fields, encode_names};
use crate::event::{UsageEvent, accept};
use crate::pricing::{Linear, canonical_provider};

/// A call with nothing but these values.
#[derive(Clone, Copy, Debug)]
pub struct PlainCall<'a> {
    /// The provider, as the caller gave it.
    pub provider: &'a str,
    /// The model, as the caller gave it.
    pub model: &'a str,
    /// All input tokens, at most [`crate::event::usage::MAX_COUNT`].
    pub input_tokens: Option<u64>,
    /// All output tokens, at most as many.
    pub output_tokens: Option<u64>,
    /// Who to bill.
    pub attribution: PlainAttribution<'a>,
}

/// What calls with the same texts share in one second: the encoded texts and the price.
#[derive(Debug)]
pub struct Prepared {
    /// See [`Prices::serial`].
    prices: u64,
    second: u64,
    texts: Box<[u8]>,
    price: Linear,
    names: Names,
    /// The attribution, which is in `texts` too.
    fields: [Option<Box<str>>; 6],
}

/// What budgets have to know of a model.
#[derive(Clone, Debug)]
pub(super) struct Names {
    provider: Box<str>,
    model: Box<str>,
    entry: Box<str>,
}

/// A plain call as budgets see it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    names: &'a Names,
    fields: [Option<&'a str>; 6],
    pub(super) tags: &'a [(&'a str, &'a str)],
}

impl<'a> Seen<'a> {
    /// The values by which the call counts for budgets, without its own tags.
    pub(super) fn facts(&self, layers: &[&'a [u8]]) -> Facts<'a> {
        let names = self.names;
        let entry = Some(&*names.entry);
        let mut facts = Facts { provider: &names.provider, model: &names.model, entry, ..Facts::default() };
        let [agent, feature, team, customer, user, session] = self.fields;
        let own = Attribution { agent, feature, team, customer, user, session, tags: Vec::new() };
        facts.attribute(layers, &own);
        facts
    }
}

impl Prepared {
    /// Prepares calls like this one; `None` if it is not plain.
    pub(super) fn new(call: &PlainCall<'_>, prices: &Prices, now: u64) -> Option<Self> {
        call.attribution.size()?;
        let shared = look_up(call, prices, prices.serial(), now)?;
        let Priced { texts, price, names } = shared.priced?;
        let mut texts = texts.into_vec();
        encode_fields(&call.attribution, &mut texts);
        let fields = call.attribution.fields.map(|field| field.map(Into::into));
        Some(Self { prices: shared.prices, second: shared.second, texts: texts.into(), price, names, fields })
    }

    /// Passes the priced event of a call with these counts and tags at `now` to `record`; `None` if it is not plain, or if the prices
    /// may have changed.
    #[inline]
    pub(super) fn with_event<R>(
        &self,
        counts: [Option<u64>; 2],
        tags: &[(&str, &str)],
        prices: &Prices,
        now: u64,
        record: impl FnOnce(&PlainEvent<'_>) -> R,
    ) -> Option<R> {
        let is_known = self.second == second_of(now) && self.prices == prices.serial();
        if !is_known || counts == [None; 2] {
            return None;
        }
        let attribution = PlainAttribution { fields: [None; 6], tags };
        let size = attribution.size()?;
        Some(record(&priced(&self.texts, &self.price, counts, attribution, size)))
    }
}

impl Prepared {
    /// The call as budgets see it.
    pub(super) fn seen<'a>(&'a self, tags: &'a [(&'a str, &'a str)]) -> Seen<'a> {
        Seen { names: &self.names, fields: self.fields.each_ref().map(Option::as_deref), tags }
    }
}

/// The event of a call, priced. `size` is that of the attribution.
#[inline]
fn priced<'a>(
    names: &'a [u8],
    price: &Linear,
    [input_tokens, output_tokens]: [Option<u64>; 2],
    attribution: PlainAttribution<'a>,
    size: usize,
) -> PlainEvent<'a> {
    PlainEvent {
        names,
        input_tokens,
        output_tokens,
        cost: price.cost(input_tokens.unwrap_or(0), output_tokens.unwrap_or(0)),
        cost_status: price.status,
        cost_notes: price.notes,
        attribution,
        size,
    }
}

/// The second of a time in nanoseconds since the Unix epoch.
fn second_of(now: u64) -> u64 {
    now / 1_000_000_000
}

/// What events of one model share in one second.
struct Shared {
    /// See [`Prices::serial`].
    prices: u64,
    second: u64,
    provider: Box<str>,
    model: Box<str>,
    /// `None` if the model has no plain price.
    priced: Option<Priced>,
}

/// The encoded names of a model, and its price.
struct Priced {
    texts: Box<[u8]>,
    price: Linear,
    names: Names,
}

const SLOTS: usize = 64;

thread_local! {
    static TABLE: RefCell<[Option<Shared>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}
static HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x7461_7869);

/// Passes the priced event of a plain call at `now` to `record`, unless budgets are concerned; `None` if the call is not that plain
/// after all.
#[inline]
pub(super) fn with_event<R>(
    call: &PlainCall<'_>,
    prices: &Prices,
    now: u64,
    are_concerned: impl FnOnce(&Seen<'_>) -> bool,
    record: impl FnOnce(&PlainEvent<'_>) -> R,
) -> Option<R> {
    let size = call.attribution.size()?;
    let counts = [call.input_tokens, call.output_tokens];
    if counts == [None; 2] {
        return None;
    }
    let (serial, second) = (prices.serial(), second_of(now));
    let index = HASHER.hash_one((call.provider, call.model)) as usize % SLOTS;
    TABLE
        .try_with(|table| {
            let mut table = table.try_borrow_mut().ok()?;
            let is_same = |known: &Shared| {
                known.second == second
                    && known.prices == serial
                    && *known.model == *call.model
                    && *known.provider == *call.provider
            };
            if !table[index].as_ref().is_some_and(is_same) {
                table[index] = Some(look_up(call, prices, serial, now)?);
            }
            let known = table[index].as_ref()?.priced.as_ref()?;
            let seen = Seen { names: &known.names, fields: call.attribution.fields, tags: call.attribution.tags };
            if are_concerned(&seen) {
                return None;
            }
            Some(record(&priced(&known.texts, &known.price, counts, call.attribution, size)))
        })
        .ok()?
}

/// Looks the price up. `None` for a name that has to be cut.
#[cold]
fn look_up(call: &PlainCall<'_>, prices: &Prices, serial: u64, now: u64) -> Option<Shared> {
    if call.provider.len() > MAX_TEXT || call.model.len() > MAX_TEXT {
        return None;
    }
    let (provider, model) = (canonical_provider(name_head(call.provider)), name_head(call.model));
    let in_force = prices.load();
    let book = in_force.book();
    let linear = book.linear(&provider, model, now).filter(|_| !provider.is_empty() && !model.is_empty());
    let known = linear.and_then(|linear| {
        let event = UsageEvent {
            provider: &provider,
            model,
            priced_as: Some(book.label(linear.found)),
            catalog: Some(book.origin(linear.found)),
            ..accept::unknown()
        };
        let names =
            Names { provider: (&*provider).into(), model: model.into(), entry: entry(book.label(linear.found)).into() };
        Some(Priced { texts: encode_names(&event)?, price: linear, names })
    });
    Some(Shared {
        prices: serial,
        second: second_of(now),
        provider: call.provider.into(),
        model: call.model.into(),
        priced: known,
    })
}
