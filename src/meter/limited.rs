//! The meter's part of budgets: what is known of a call, and what its event is charged to.

use std::sync::Arc;

use super::Meter;
use super::admission::{Admission, Charging};
use super::facts::entry;
use super::limits::Refusal;
use super::plain::Seen;
use super::quote::{Ask, Quoted};
use crate::budget::{Facts, Outcome, Patience, Run, Unavailable};
use crate::event::limits::name_head;
use crate::event::{Attribution, UsageEvent};
use crate::pricing::Book;
use crate::sys::clock::unix_ns;

impl Meter {
    /// Charges an event to its budgets. Returns whether the charge waits in memory.
    #[inline]
    pub(super) fn charge(&self, event: &UsageEvent<'_>, layers: [&[u8]; 2], charging: Charging<'_>, now: u64) -> bool {
        if let Some(admission) = charging.admission {
            let outcome = if charging.is_unrecorded { Outcome::Unrecorded(event) } else { Outcome::Event(event) };
            return admission.settle(outcome, Patience::None);
        }
        if !self.limits.are_active() && charging.run.is_none() {
            return false;
        }
        let epoch = self.epoch();
        self.limits.charge(event, &[&epoch.defaults, layers[0], layers[1]], charging.run, now)
    }

    /// Whether a plain call counts for any budget.
    pub(super) fn is_counted(&self, seen: &Seen<'_>, scope: &[u8]) -> bool {
        let Some(budgets) = self.limits.budgets() else { return false };
        let epoch = self.epoch();
        budgets.concern(seen.facts(&[&epoch.defaults, scope]), seen.tags)
    }

    /// Whether a call with this attribution around it counts for any budget.
    #[must_use]
    pub fn is_limited(&self, ask: &Ask<'_>, scope: &[u8], run: Option<&Arc<Run>>) -> bool {
        run.is_some()
            || (self.limits.are_active() && self.with_facts(ask, scope, |facts, _| self.limits.count(facts, run)))
    }

    /// Admits a call with this attribution around it to all of its budgets, or to none; `None` if it counts for none.
    ///
    /// # Errors
    /// Those of [`Limits::admit`].
    pub fn admit(
        &self,
        ask: &Ask<'_>,
        scope: &[u8],
        run: Option<&Arc<Run>>,
        patience: Patience,
    ) -> Result<Option<Result<Admission, Refusal>>, Unavailable> {
        self.with_facts(ask, scope, |facts, book| {
            let quoted = Quoted::new(ask, facts, &self.limits.history, book, unix_ns());
            self.limits.admit(facts, run, &quoted, patience)
        })
    }

    /// Passes what is known of a call to `work`, with the prices.
    pub fn with_facts<T>(&self, ask: &Ask<'_>, scope: &[u8], work: impl FnOnce(&Facts<'_>, &Book) -> T) -> T {
        let in_force = self.prices.load();
        let book = in_force.book();
        let epoch = self.epoch();
        let found = book.find_cached(Some(ask.provider), ask.model, ask.region == Some("global"));
        let entry = found.map(|found| entry(book.label(found)));
        let mut facts = Facts { provider: ask.provider, model: name_head(ask.model), entry, ..Facts::default() };
        facts.attribute(&[&epoch.defaults, scope], &Attribution::default());
        work(&facts, book)
    }
}
