//! Prices plain calls: two counts, attribution and tags, at a known price. Nearly every call is one.
//!
//! What depends only on provider, model and prices is kept per thread, for one second of the clock, because prices can change with the
//! time. The table has a fixed size, so it does not grow with the number of names, and needs no lock.

use std::cell::RefCell;
use std::hash::BuildHasher;

use super::prices::Prices;
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
}

impl Prepared {
    /// Prepares calls like this one; `None` if it is not plain.
    pub(super) fn new(call: &PlainCall<'_>, prices: &Prices, now: u64) -> Option<Self> {
        call.attribution.size()?;
        let shared = look_up(call, prices, prices.serial(), now)?;
        let (names, price) = shared.priced?;
        let mut texts = names.into_vec();
        encode_fields(&call.attribution, &mut texts);
        Some(Self { prices: shared.prices, second: shared.second, texts: texts.into(), price })
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
    /// The encoded names and the price; `None` if the model has no plain price.
    priced: Option<(Box<[u8]>, Linear)>,
}

const SLOTS: usize = 64;

thread_local! {
    static TABLE: RefCell<[Option<Shared>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}
static HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x7461_7869);

/// Passes the priced event of a plain call at `now` to `record`; `None` if the call is not that plain after all.
#[inline]
pub(super) fn with_event<R>(
    call: &PlainCall<'_>,
    prices: &Prices,
    now: u64,
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
            let (names, price) = table[index].as_ref()?.priced.as_ref()?;
            Some(record(&priced(names, price, counts, call.attribution, size)))
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
        Some((encode_names(&event)?, linear))
    });
    Some(Shared {
        prices: serial,
        second: second_of(now),
        provider: call.provider.into(),
        model: call.model.into(),
        priced: known,
    })
}
