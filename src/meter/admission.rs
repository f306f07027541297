//! A call that was admitted: what it holds, until it is settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::quote::Quoted;
use crate::budget::{Admitted, Amounts, Budgets, History, Outcome, Patience, Quote, Refused, Run, RunHold};
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
    /// What it had used when a budget closed its stream.
    cut: ArcSwapOption<Amounts>,
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
        let (generation, is_settled) = (fork_generation(), AtomicBool::new(false));
        Self { budgets, run, quoted, history, generation, is_settled, cut: ArcSwapOption::empty() }
    }

    /// The estimate.
    #[must_use]
    pub fn quoted(&self) -> &Quoted {
        &self.quoted
    }

    /// Whether it was settled, or belongs to the process that forked this one.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire) || self.generation != fork_generation()
    }

    /// Whether a budget closes the stream of the call if it uses too much.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.budgets.as_ref().is_some_and(|(budgets, admitted)| budgets.is_cutting(admitted))
    }

    /// The budget in which the call no longer fits that has used so many input tokens, if they are known, and output tokens. Its stream
    /// has to be closed then, and this much is charged at least.
    #[must_use]
    pub fn over(&self, input: Option<u64>, output: u64) -> Option<Refused> {
        let (budgets, admitted) = self.budgets.as_ref().filter(|_| !self.is_settled())?;
        let running = self.quoted.quote.running(input, output);
        let over = budgets.over(admitted, running)?;
        self.cut.store(Some(Arc::new(running)));
        Some(over)
    }

    /// Charges the call and frees what it holds. Only the first settlement has an effect. Returns whether it waits in memory.
    pub fn settle(&self, outcome: Outcome<'_>, patience: Patience) -> bool {
        // A forked child has a copy. The process that admitted the call settles it.
        if self.generation != fork_generation() || self.is_settled.swap(true, Ordering::AcqRel) {
            return false;
        }
        let quote = &Quote { cut: self.cut.load().as_deref().copied(), ..self.quoted.quote };
        if let Some(run) = &self.run {
            run.settle(outcome, quote);
        }
        if let Outcome::Event(event) | Outcome::Unrecorded(event) = outcome {
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
