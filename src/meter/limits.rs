//! Budgets of a meter: admits calls before they are made, and charges them when their event is recorded.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use crate::sys::clock::{BootTime, unix_seconds};
use crate::sys::mutex::lock_within;

/// The directory of budgets in the state directory.
const DIR: &str = "budgets";
/// The most warnings that wait for a thread that can log them.
const MAX_WARNINGS: usize = 16;

/// How long a thread waits for another one's warning. A forked child may inherit the mutex locked.
const PATIENCE: Duration = Duration::from_millis(1);
/// A clock that was set by less is not warned about: clocks drift, and daylight saving time does not set them.
const CLOCK_STEP: i64 = 3_600;

/// By how many seconds the clock was set, if that is worth a warning.
fn clock_step(before: i64, now: i64, elapsed: Duration) -> Option<i64> {
    let step = now.saturating_sub(before).saturating_sub(elapsed.as_secs().cast_signed());
    (step.abs() > CLOCK_STEP).then_some(step)
}

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

/// Where the budgets are.
#[derive(PartialEq, Eq)]
pub(super) struct Place {
    pub(super) state_dir: PathBuf,
    pub(super) ledger: Option<PathBuf>,
    /// The most bytes of the state file.
    pub(super) limit: u64,
}

/// A warning: the name that `warnings.py` has a text for, and a detail.
pub type Warning = (&'static str, String);

/// The budgets of a meter. Its delivery thread uses them too.
#[derive(Default)]
pub struct Limits {
    budgets: ArcSwapOption<Budgets>,
    /// Whether there are definitions: what most calls look at.
    is_active: AtomicBool,
    place: ArcSwapOption<Place>,
    /// What earlier calls have used.
    pub history: Arc<History>,
    counts: [AtomicU64; 5],
    /// Why the definitions or the state could not be used at the last look.
    problem: ArcSwapOption<String>,
    /// Warnings for the user, and whether there are any.
    warnings: Mutex<Vec<Warning>>,
    has_warnings: AtomicBool,
    /// The clock at the last look: seconds since the Unix epoch, and the time since boot.
    clock: Mutex<Option<(i64, BootTime)>>,
}

impl Limits {
    /// Why the definitions or the state could not be used at the last look.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.load_full().map(|problem| (*problem).clone())
    }

    fn noted(&self, outcome: Result<(), DefineError>) {
        let problem = outcome.err().map(|error| error.to_string());
        if let Some(why) = &problem
            && self.problem().as_ref() != Some(why)
        {
            self.warn("budget_unavailable", why.clone());
        }
        self.problem.store(problem.map(Arc::new));
    }

    /// Keeps a warning until a thread can log it.
    #[cold]
    fn warn(&self, what: &'static str, detail: String) {
        if let Some(mut all) = lock_within(&self.warnings, PATIENCE)
            && all.len() < MAX_WARNINGS
        {
            all.push((what, detail));
            self.has_warnings.store(true, Ordering::Release);
        }
    }

    /// The warnings since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<Warning> {
        let Some(mut all) = lock_within(&self.warnings, PATIENCE) else { return Vec::new() };
        self.has_warnings.store(false, Ordering::Release);
        std::mem::take(&mut *all)
    }

    /// Warns if the clock was set since the last look.
    fn look_at_clock(&self) {
        let Some(mut last) = lock_within(&self.clock, PATIENCE) else { return };
        let Some(boot) = BootTime::now() else { return };
        let now = unix_seconds();
        if let Some((before, at)) = last.replace((now, boot))
            && let Some(elapsed) = at.elapsed()
            && let Some(step) = clock_step(before, now, elapsed)
        {
            self.warn(
                "budget_clock",
                format!("the clock was set {} by {} s", if step < 0 { "back" } else { "forward" }, step.abs()),
            );
        }
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

    /// Uses the budgets of a state directory, if it has any. Their state takes at most `limit` bytes.
    pub(super) fn configure(self: &Arc<Self>, state_dir: Option<&Path>, ledger: Option<&Path>, limit: u64) {
        let place = state_dir.map(|dir| Place { state_dir: dir.to_owned(), ledger: ledger.map(Path::to_owned), limit });
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
        let Some(place) = self.place.load_full().filter(|_| self.budgets.load().is_none()) else { return Ok(()) };
        if Budgets::are_defined_in(&place.state_dir.join(DIR)) {
            self.open(&place)?;
        }
        Ok(())
    }

    fn open(self: &Arc<Self>, place: &Place) -> Result<Arc<Budgets>, DefineError> {
        let (dir, ledger) = (place.state_dir.join(DIR), place.ledger.clone());
        let budgets = Arc::new(Budgets::open(&dir, place.limit, recover(ledger.clone()))?);
        self.budgets.store(Some(Arc::clone(&budgets)));
        self.look(&budgets);
        if let Some(ledger) = ledger
            && budgets.has_to_be_rebuilt()
        {
            drain_to_ledger(&place.state_dir, &ledger, self.spending());
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
        let place = self.place.load_full().ok_or_else(|| {
            DefinitionError("budgets: need a state directory, because processes share them; set state_dir".to_owned())
        })?;
        self.open(&place)
    }

    /// Adds definitions, or replaces those of the same name.
    ///
    /// # Errors
    /// Those of [`Budgets::define`].
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
        self.look_at_clock();
        let found = self.find();
        let Some(budgets) = self.budgets.load_full() else { return self.noted(found) };
        self.noted(budgets.tick());
        self.look(&budgets);
    }

    /// Returns the function with which the ledger computes the budgets that an event counts for.
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
            Ok(Some(Ok(admitted))) => {
                if let Some(why) = &admitted.unavailable {
                    self.warn("budget_unavailable", why.to_string());
                }
                Some(admitted).filter(|admitted| !admitted.matches.is_empty())
            }
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

    /// Whether there are thresholds or warnings to report.
    #[inline]
    #[must_use]
    pub fn have_news(&self) -> bool {
        self.has_warnings.load(Ordering::Relaxed)
            || (self.are_active() && self.budgets.load().as_ref().is_some_and(|budgets| budgets.has_crossings()))
    }

    /// The thresholds that this process has crossed since the last call.
    #[must_use]
    pub fn take_crossings(&self) -> Vec<Crossed> {
        let Some(budgets) = self.budgets.load_full() else { return Vec::new() };
        budgets.take_crossings().iter().flat_map(|crossing| budgets.crossed(crossing)).collect()
    }

    /// Says that crossed thresholds were reported; see [`Budgets::reported`].
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn reported(&self, records: &[usize]) -> Result<(), Unavailable> {
        self.budgets.load_full().map_or(Ok(()), |budgets| budgets.reported(records))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_by_more_than_an_hour_is_noticed() {
        let elapsed = Duration::from_secs(5);
        for (now, step) in [(1_005, None), (4_605, None), (4_606, Some(3_601)), (-2_595, None), (-2_596, Some(-3_601))]
        {
            assert_eq!(clock_step(1_000, now, elapsed), step, "{now}");
        }
    }
}
