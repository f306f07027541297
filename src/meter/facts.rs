//! What budgets have to know of an event.

use crate::budget::Facts;
use crate::event::UsageEvent;

/// The values by which an event counts for budgets.
pub(super) fn facts_of<'a>(event: &UsageEvent<'a>, layers: &[&'a [u8]]) -> Facts<'a> {
    let mut facts =
        Facts { provider: event.provider, model: event.model, entry: event.priced_as.map(entry), ..Facts::default() };
    facts.attribute(layers, &event.attribution);
    facts
}

/// The model of a catalog entry, named `provider/model`.
pub(super) fn entry(label: &str) -> &str {
    label.split_once('/').map_or(label, |(_, model)| model)
}
