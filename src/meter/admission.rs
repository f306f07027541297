//! A call that was admitted: what it holds, until it is settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::quote::Quoted;
use crate::budget::{Admitted, Budgets, History, Outcome, Patience, Run, RunHold};
use crate::event::{Unit, UsageStatus};
use crate::sys::fork::fork_generation;

/// A call that was admitted. Dropping it unsettled charges it as cancelled.
pub struct Admission {
    budgets: Option<(Arc<Budgets>, Admitted)>,
    run: Option<RunHold>,
    quoted: Quoted,
    history: Arc<History>,
    /// The process that admitted it.
    generation: u64,
    is_settled: AtomicBool,
}

/// What an event is charged to.
#[derive(Clone, Copy, Default)]
pub struct Charging<'a> {
    /// The admission of the call. Without one, the call is charged to the budgets that its values match.
    pub admission: Option<&'a Admission>,
    /// The budget of the run around the call, which an admission already has.
    pub run: Option<&'a Run>,
    /// Whether the event is only charged, because something else records the call.
    pub is_unrecorded: bool,
}

impl Admission {
    pub(super) fn new(
        budgets: Option<(Arc<Budgets>, Admitted)>,
        run: Option<RunHold>,
        quoted: Quoted,
        history: Arc<History>,
    ) -> Self {
        Self { budgets, run, quoted, history, generation: fork_generation(), is_settled: AtomicBool::new(false) }
    }

    /// What was expected.
    #[must_use]
    pub fn quoted(&self) -> &Quoted {
        &self.quoted
    }

    /// Whether it was settled, or belongs to the process that forked this one.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire) || self.generation != fork_generation()
    }

    /// Charges the call and frees what it holds. Only the first settlement has an effect. Returns whether it waits in memory.
    pub fn settle(&self, outcome: Outcome<'_>, patience: Patience) -> bool {
        // A forked child has a copy. The process that admitted the call settles it.
        if self.generation != fork_generation() || self.is_settled.swap(true, Ordering::AcqRel) {
            return false;
        }
        let quote = &self.quoted.quote;
        if let Some(run) = &self.run {
            run.settle(outcome, quote);
        }
        if let Outcome::Event(event) = outcome {
            self.quoted.remember(&self.history, event);
        }
        self.budgets.as_ref().is_some_and(|(budgets, admitted)| budgets.settle(admitted, outcome, quote, patience))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let _ = self.settle(Outcome::Cancelled, Patience::None);
    }
}

impl Quoted {
    /// Lets later estimates learn from what the call has used.
    fn remember(&self, history: &History, event: &crate::event::UsageEvent<'_>) {
        if event.usage.is_empty() {
            return;
        }
        if let (Some(estimated), Some(actual)) = (self.quote.most.usd, event.cost) {
            history.sum(estimated, actual.units());
        }
        if event.usage_status == UsageStatus::Complete {
            let [estimated, _] = self.quote.tokens;
            let inputs = self.is_counted.then(|| (estimated, event.usage.count(Unit::INPUT_TOKENS)));
            let output = event.usage.count(Unit::OUTPUT_TOKENS);
            history.add((&self.provider, &self.model, &self.feature), inputs, output);
        }
    }
}
