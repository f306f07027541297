//! What a user has a meter do from time to time: drain, dead letters, new prices of stored events.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::prices::price;
use super::savings::cache_saved;
use super::{Meter, destinations};
use crate::delivery::{Drained, drain_orphans, drop_dead_letters, retry_dead_letters};
use crate::event::{CostStatus, UsageEvent};
use crate::ledger::{Filter, LedgerError, NewPrice, Repriced, Writer};

impl Meter {
    /// Delivers the events that ended processes left, in the calling thread, while `should_continue` returns true. It is called a few times
    /// a second.
    #[must_use]
    pub fn drain(&self, should_continue: &dyn Fn() -> bool) -> Drained {
        let settings = self.settings();
        let Some(state) = settings.state_dir.as_deref() else { return Drained::default() };
        drain_orphans(&state.join("journal"), destinations(&settings, &self.limits, &self.prices), should_continue)
    }

    /// Requeues the dead letters of the current destinations. Returns how many.
    ///
    /// # Errors
    /// I/O errors.
    pub fn retry_dead_letters(&self) -> std::io::Result<u64> {
        let settings = self.settings();
        let names: Vec<_> =
            destinations(&settings, &self.limits, &self.prices).iter().map(|one| one.name().to_owned()).collect();
        settings.state_dir.as_deref().map_or(Ok(0), |state| retry_dead_letters(state, &names))
    }

    /// Deletes all dead letters. Returns how many.
    ///
    /// # Errors
    /// I/O errors.
    pub fn drop_dead_letters(&self) -> std::io::Result<u64> {
        self.settings().state_dir.as_deref().map_or(Ok(0), drop_dead_letters)
    }

    /// Prices stored events again with the current rates for the time of each call. The previous figures are kept.
    ///
    /// # Errors
    /// If the ledger cannot be read or written.
    pub fn reprice(&self, ledger: &Path, filter: &Filter, is_dry_run: bool) -> Result<Repriced, LedgerError> {
        let book = self.prices.book();
        self.repriced.store(0, Ordering::Relaxed);
        Writer::new(ledger).reprice(filter, is_dry_run, |event| {
            self.repriced.fetch_add(1, Ordering::Relaxed);
            let mut event = UsageEvent { cost_status: CostStatus::Unpriced, computed_cost: None, ..event.clone() };
            if event.usage.is_empty() || price(&book, &mut event).is_err() {
                return None;
            }
            Some(NewPrice {
                usd: event.cost,
                saved: cache_saved(&book, &event),
                status: event.cost_status,
                notes: event.cost_notes,
                priced_as: event.priced_as.map(str::to_owned),
                catalog: event.catalog.map(str::to_owned),
            })
        })
    }

    /// How many stored events the last repricing has priced so far.
    #[must_use]
    pub fn repriced(&self) -> u64 {
        self.repriced.load(Ordering::Relaxed)
    }

    /// The places in the user's prices of the multipliers, aliases and bases that match no priced model.
    #[must_use]
    pub fn unmatched_price_rules(&self) -> Vec<String> {
        self.prices.book().unmatched_rules()
    }
}
