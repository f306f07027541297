//! What caching saved in a call: its cost without cache rates, less its cost.

use std::sync::Arc;

use super::prices::{Prices, request};
use crate::event::{Savings, Unit, Usage, UsageEvent};
use crate::money::Usd;
use crate::pricing::Book;

/// Returns the function that computes what caching saved. Destinations call it when they store or send an event, so that `track()`
/// does not price twice.
pub(super) fn savings(prices: Arc<Prices>) -> Savings {
    Arc::new(move |event| cache_saved(&prices.book(), event))
}

/// What caching saved; `None` if the call used no cache, or if it is unknown: if the call has no computed cost, or if the prices have
/// changed since it was computed.
/// Writing to a cache may cost more than input without one, so the amount may be negative.
pub(super) fn cache_saved(book: &Book, event: &UsageEvent<'_>) -> Option<Usd> {
    let cost = event.computed_cost.or(event.cost)?;
    let is_cache = |unit: Unit| unit.name().starts_with("cache_");
    if !event.usage.iter().any(|(unit, count)| count > 0 && is_cache(unit)) {
        return None;
    }
    let mut uncached = Usage::default();
    for (unit, count) in event.usage.iter().filter(|(unit, _)| !is_cache(*unit)) {
        uncached.set(unit, count);
    }
    if total(book, event, &event.usage)? != cost {
        return None;
    }
    let without = total(book, event, &uncached)?;
    without.units().checked_sub(cost.units()).map(Usd::from_units)
}

fn total(book: &Book, event: &UsageEvent<'_>, usage: &Usage) -> Option<Usd> {
    book.total(&request(event, usage)).ok()?.usd
}
