//! Budgets of a meter: admits calls before they are made, and charges them when their event is recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::admission::Admission;
use super::facts::facts_of;
use super::quote::Quoted;
use super::spending::{drain_to_ledger, recover, spending};
use crate::budget::{
    Budgets, Crossed, DefineError, DefinitionError, Facts, History, Outcome, Patience, Refused, Run, Unavailable,
};
use crate::event::UsageEvent;
use crate::ledger::Spending;
use crate::sys::clock::unix_seconds;

/// The directory of budgets in the state directory.
const DIR: &str = "budgets";
/// The most bytes of the state file: a million keys.
const STATE_LIMIT: u64 = 256 << 20;

/// Counts of calls at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateCount {
    /// Admitted calls that count for a budget.
    Admitted,
    /// Refused calls.
    Refused,
    /// Admitted calls whose price was unknown.
    Unpriced,
    /// Admitted calls that ended without a settlement.
    Abandoned,
    /// Calls of whose input a part could not be estimated.
    Unestimated,
}

/// Why a call is refused.
#[derive(Debug)]
pub enum Refusal {
    /// By a budget.
    Budget(Box<Refused>),
    /// By the budget of a run.
    Run(crate::budget::NoRoom),
}

/// The budgets of a meter. Its delivery thread uses them too.
#[derive(Default)]
pub struct Limits {
    budgets: ArcSwapOption<Budgets>,
    /// Whether there are definitions: what most calls look at.
    is_active: AtomicBool,
    /// The state directory and the ledger.
    place: ArcSwapOption<(PathBuf, Option<PathBuf>)>,
    /// What earlier calls have used.
    pub history: Arc<History>,
    counts: [AtomicU64; 5],
    /// Why the definitions or the state could not be used at the last look.
    problem: ArcSwapOption<String>,
}

impl Limits {
    /// Why the definitions or the state could not be used at the last look.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.load_full().map(|problem| (*problem).clone())
    }

    fn noted(&self, outcome: Result<(), DefineError>) {
        self.problem.store(outcome.err().map(|error| Arc::new(error.to_string())));
    }

    /// Whether any budgets are defined.
    #[inline]
    #[must_use]
    pub fn are_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// The budgets, if any are defined.
    #[must_use]
    pub fn budgets(&self) -> Option<Arc<Budgets>> {
        if self.are_active() { self.budgets.load_full() } else { None }
    }

    /// Uses the budgets of a state directory, if it has any.
    pub(super) fn configure(self: &Arc<Self>, state_dir: Option<&Path>, ledger: Option<&Path>) {
        let place = state_dir.map(|dir| (dir.to_owned(), ledger.map(Path::to_owned)));
        if self.place.load().as_deref() != place.as_ref() {
            self.place.store(place.map(Arc::new));
            self.budgets.store(None);
            self.is_active.store(false, Ordering::Relaxed);
        }
        self.noted(self.find());
    }

    /// Finds the definitions that another process has made.
    ///
    /// # Errors
    /// If they cannot be used.
    fn find(self: &Arc<Self>) -> Result<(), DefineError> {
        let Some(dir) = self.dir().filter(|_| self.budgets.load().is_none()) else { return Ok(()) };
        if Budgets::are_defined_in(&dir) {
            self.open(&dir)?;
        }
        Ok(())
    }

    fn dir(&self) -> Option<PathBuf> {
        self.place.load().as_deref().map(|(state, _)| state.join(DIR))
    }

    fn open(self: &Arc<Self>, dir: &Path) -> Result<Arc<Budgets>, DefineError> {
        let place = self.place.load_full();
        let ledger = place.as_deref().and_then(|(_, ledger)| ledger.clone());
        let budgets = Arc::new(Budgets::open(dir, STATE_LIMIT, recover(ledger.clone()))?);
        self.budgets.store(Some(Arc::clone(&budgets)));
        self.look(&budgets);
        if let (Some((state_dir, _)), Some(ledger)) = (place.as_deref(), ledger)
            && budgets.has_to_be_rebuilt()
        {
            drain_to_ledger(state_dir, &ledger, self.spending());
        }
        // If the state cannot be used now, the first call tries it again.
        let _ = budgets.prepare();
        Ok(budgets)
    }

    fn look(&self, budgets: &Budgets) {
        self.is_active.store(!budgets.rules().all.is_empty(), Ordering::Relaxed);
    }

    /// The budgets of the state directory, which may be without definitions.
    ///
    /// # Errors
    /// If there is no state directory, or it cannot be used.
    fn made(self: &Arc<Self>) -> Result<Arc<Budgets>, DefineError> {
        if let Some(budgets) = self.budgets.load_full() {
            return Ok(budgets);
        }
        let dir = self.dir().ok_or_else(|| {
            DefinitionError("budgets: need a state directory, because processes share them; set state_dir".to_owned())
        })?;
        self.open(&dir)
    }

    /// Adds definitions, or replaces those of the same name.
    ///
    /// # Errors
    /// If one is invalid or contradicts one in force, or the state cannot be used. Nothing changes then.
    pub fn define(self: &Arc<Self>, text: &str) -> Result<(), DefineError> {
        let budgets = self.made()?;
        let defined = budgets.define(text);
        self.look(&budgets);
        defined
    }

    /// Removes a definition. Returns whether there was one.
    ///
    /// # Errors
    /// If the state cannot be used.
    pub fn remove(self: &Arc<Self>, name: &str) -> Result<bool, DefineError> {
        let budgets = self.made()?;
        let removed = budgets.remove(name);
        self.look(&budgets);
        removed
    }

    /// Reads definitions that another process has changed.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn refresh(self: &Arc<Self>) -> Result<(), DefineError> {
        self.find()?;
        let Some(budgets) = self.budgets.load_full() else { return Ok(()) };
        let refreshed = budgets.refresh();
        self.look(&budgets);
        refreshed
    }

    /// Does what is due from time to time.
    pub fn tick(self: &Arc<Self>) {
        let found = self.find();
        let Some(budgets) = self.budgets.load_full() else { return self.noted(found) };
        self.noted(budgets.tick());
        self.look(&budgets);
    }

    /// Tells the ledger which budgets an event counts for.
    pub(super) fn spending(self: &Arc<Self>) -> Spending {
        let limits = Arc::clone(self);
        spending(move || limits.budgets())
    }

    /// Writes a copy of all counts, because the process may be the last one.
    pub(super) fn close(&self) {
        if let Some(budgets) = self.budgets() {
            budgets.settle_waiting(Patience::Long);
            let _ = budgets.checkpoint();
        }
    }

    /// Whether a call counts for any budget.
    #[must_use]
    pub fn count(&self, facts: &Facts<'_>, run: Option<&Arc<Run>>) -> bool {
        run.is_some() || self.budgets().is_some_and(|budgets| !budgets.matching(facts, unix_seconds()).is_empty())
    }

    /// Admits a call to all of its budgets, or to none; `None` if it counts for none.
    ///
    /// # Errors
    /// [`Unavailable::Busy`] if `patience` is [`Patience::None`], so that the caller can let go of what it holds, and ask again.
    pub fn admit(
        &self,
        facts: &Facts<'_>,
        run: Option<&Arc<Run>>,
        quoted: &Quoted,
        patience: Patience,
    ) -> Result<Option<Result<Admission, Refusal>>, Unavailable> {
        let quote = &quoted.quote;
        let run = match run.map(|run| run.reserve(quote)).transpose() {
            Ok(run) => run,
            Err(no_room) => {
                self.counted(GateCount::Refused);
                return Ok(Some(Err(Refusal::Run(no_room))));
            }
        };
        let budgets = self.budgets();
        let answer = budgets.as_ref().map(|budgets| budgets.admit(facts, quote, patience)).transpose();
        let release = || run.as_ref().map(crate::budget::RunHold::release);
        let admitted = match answer {
            Err(error) => {
                release();
                return Err(error);
            }
            Ok(Some(Err(refused))) => {
                release();
                self.counted(GateCount::Refused);
                return Ok(Some(Err(Refusal::Budget(Box::new(refused)))));
            }
            Ok(Some(Ok(admitted))) => Some(admitted).filter(|admitted| !admitted.matches.is_empty()),
            Ok(None) => None,
        };
        if admitted.is_none() && run.is_none() {
            return Ok(None);
        }
        self.counted(GateCount::Admitted);
        if quote.most.usd.is_none() {
            self.counted(GateCount::Unpriced);
        }
        if quote.is_incomplete {
            self.counted(GateCount::Unestimated);
        }
        Ok(Some(Ok(Admission::new(budgets.zip(admitted), run, quoted.clone(), Arc::clone(&self.history)))))
    }

    /// Charges a call that passed no gate. Returns whether the charge waits in memory.
    #[cold]
    pub(super) fn charge(&self, event: &UsageEvent<'_>, layers: &[&[u8]], run: Option<&Run>, now: u64) -> bool {
        let outcome = Outcome::Event(event);
        if let Some(run) = run {
            run.settle(None, outcome, None);
        }
        let Some(budgets) = self.budgets() else { return false };
        let facts = facts_of(event, layers);
        // A call belongs to the period in which it began. One that is in the future belongs to this one.
        let time = event.started_at.min(now) / 1_000_000_000;
        let matches = budgets.matching(&facts, time as i64);
        budgets.charge_untold(&matches, outcome, Patience::None)
    }

    /// Settles what waits in memory.
    pub fn settle_waiting(&self) {
        if let Some(budgets) = self.budgets() {
            budgets.settle_waiting(Patience::Short);
        }
    }

    /// Whether there are thresholds to report.
    #[inline]
    #[must_use]
    pub fn have_crossings(&self) -> bool {
        self.are_active() && self.budgets.load().as_ref().is_some_and(|budgets| budgets.has_crossings())
    }

    /// The thresholds that this process has crossed since the last call.
    #[must_use]
    pub fn take_crossings(&self) -> Vec<Crossed> {
        let Some(budgets) = self.budgets.load_full() else { return Vec::new() };
        budgets.take_crossings().iter().flat_map(|crossing| budgets.crossed(crossing)).collect()
    }

    /// Counts a call.
    pub fn counted(&self, what: GateCount) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A count.
    #[must_use]
    pub fn count_of(&self, what: GateCount) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }
}
