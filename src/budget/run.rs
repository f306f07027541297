//! Budgets of one run: in memory, for the calls of a block of code.
//!
//! Runs nest. A call has to fit in each of them, so an inner one never has more than what is left of the outer ones.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::definition::{Definition, DefinitionError, Estimate, Rule, Unit, WithoutEnd};
use super::gate::Charge;
use super::quote::{Outcome, Quote, Terms};
use super::slot::Counts;
use crate::sys::mutex::lock_within;

/// How long a call waits for another thread's. A forked child may inherit the mutex locked.
const PATIENCE: Duration = Duration::from_millis(50);

/// A budget of one run.
#[derive(Debug)]
pub struct Run {
    /// Its name in messages.
    pub name: String,
    /// The unit: dollars, tokens or calls.
    pub unit: Unit,
    /// The most that may be used.
    pub amount: i128,
    /// The run around it.
    outer: Option<Arc<Self>>,
    counts: Arc<Mutex<Counts>>,
    terms: Terms,
}

/// What a call holds in each run around it, the innermost first.
#[derive(Debug)]
pub struct RunHold {
    run: Arc<Run>,
    amounts: Vec<i128>,
}

/// A run in which a call does not fit.
#[derive(Debug)]
pub struct NoRoom {
    /// The run.
    pub run: Arc<Run>,
    /// Its counts.
    pub counts: Counts,
    /// The estimate of the call's usage.
    pub estimate: i128,
}

impl Run {
    /// A run. `amount` is a decimal text.
    ///
    /// # Errors
    /// If the amount is invalid.
    pub fn new(name: &str, unit: Unit, amount: &str) -> Result<Self, DefinitionError> {
        let text = serde_json::json!([{ "name": "run", "unit": unit, "amount": amount, "period": {"kind": "total"} }]);
        let mut all: Vec<Definition> = super::definition::parse(&text.to_string())?;
        let definition = all.pop().ok_or_else(|| DefinitionError("budget: no amount".into()))?;
        let rule = Rule::new(definition)?;
        let terms = Terms { estimate: Estimate::Max, cancelled: WithoutEnd::Input, ..Terms::of(&rule) };
        Ok(Self { name: name.to_owned(), unit, amount: rule.amount(""), outer: None, counts: Arc::default(), terms })
    }

    /// The same run inside another one. It shares its counts with this one.
    #[must_use]
    pub fn inside(&self, outer: Option<Arc<Self>>) -> Self {
        Self {
            name: self.name.clone(),
            unit: self.unit,
            amount: self.amount,
            outer,
            counts: Arc::clone(&self.counts),
            terms: self.terms,
        }
    }

    /// The counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock_within(&self.counts, PATIENCE).map(|counts| *counts).unwrap_or_default()
    }

    /// This run and those around it, the innermost first. A run that is entered twice is there once.
    fn chain(&self) -> Vec<&Self> {
        let mut all: Vec<&Self> = Vec::with_capacity(2);
        let mut next = Some(self);
        while let Some(run) = next {
            if !all.iter().any(|known| Arc::ptr_eq(&known.counts, &run.counts)) {
                all.push(run);
            }
            next = run.outer.as_deref();
        }
        all
    }

    /// Holds the estimate of a call in this run and those around it, or in none.
    ///
    /// # Errors
    /// The run in which the call does not fit.
    pub fn reserve(self: &Arc<Self>, quote: &Quote) -> Result<RunHold, NoRoom> {
        let chain = self.chain();
        // Each thread locks inner runs before outer ones.
        let mut locked: Vec<Option<MutexGuard<'_, Counts>>> =
            chain.iter().map(|run| lock_within(&run.counts, PATIENCE)).collect();
        let amounts: Vec<i128> = chain.iter().map(|run| run.terms.estimate(quote).unwrap_or(0)).collect();
        for ((run, counts), estimate) in chain.iter().zip(&locked).zip(&amounts) {
            let counts = counts.as_ref().map(|counts| **counts).unwrap_or_default();
            if counts.used.saturating_add(counts.held).saturating_add(*estimate) > run.amount {
                return Err(NoRoom { run: Arc::new(run.inside(None)), counts, estimate: *estimate });
            }
        }
        for (counts, estimate) in locked.iter_mut().flatten().zip(&amounts) {
            counts.held = counts.held.saturating_add(*estimate);
        }
        drop(locked);
        Ok(RunHold { run: Arc::clone(self), amounts })
    }

    /// Charges a call in this run and those around it.
    pub fn settle(&self, hold: Option<&RunHold>, outcome: Outcome<'_>, quote: Option<&Quote>) {
        for (index, run) in self.chain().into_iter().enumerate() {
            let Charge { amount, calls, is_unpriced, .. } = run.terms.charge(outcome, quote);
            let Some(mut counts) = lock_within(&run.counts, PATIENCE) else { continue };
            counts.held -= hold.and_then(|hold| hold.amounts.get(index)).copied().unwrap_or(0);
            counts.used = counts.used.saturating_add(amount);
            counts.calls += calls;
            counts.unpriced += u64::from(is_unpriced);
        }
    }
}

impl RunHold {
    /// Charges the call and frees what it holds.
    pub fn settle(&self, outcome: Outcome<'_>, quote: &Quote) {
        self.run.settle(Some(self), outcome, Some(quote));
    }

    /// Frees what the call holds.
    pub fn release(&self) {
        self.run.settle(Some(self), Outcome::Failed, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::quote::Amounts;

    fn quote(tokens: u64) -> Quote {
        let amounts = Amounts { usd: None, tokens, calls: 1 };
        Quote { input: Amounts { tokens: 1, ..amounts }, most: amounts, typical: amounts, ..Quote::default() }
    }

    #[test]
    fn an_inner_run_has_at_most_what_is_left_of_the_outer_one() {
        let outer = Arc::new(Run::new("outer", Unit::Tokens, "100").unwrap());
        let inner = Arc::new(Run::new("inner", Unit::Tokens, "80").unwrap().inside(Some(Arc::clone(&outer))));
        let first = outer.reserve(&quote(50)).unwrap();
        let refused = inner.reserve(&quote(60)).unwrap_err();
        assert_eq!((&*refused.run.name, refused.counts.held, refused.estimate), ("outer", 50, 60));
        assert_eq!(inner.counts(), Counts::default(), "nothing is held");
        first.settle(Outcome::Cancelled, &quote(50));
        let second = inner.reserve(&quote(60)).unwrap();
        assert_eq!((inner.counts().held, outer.counts().held, outer.counts().used), (60, 60, 1));
        second.release();
        assert_eq!((inner.counts(), outer.counts().held), (Counts::default(), 0));
        assert_eq!(&*inner.reserve(&quote(81)).unwrap_err().run.name, "inner");
    }

    #[test]
    fn an_invalid_amount_is_rejected() {
        for amount in ["0", "-1", "1.5", "x"] {
            assert!(Run::new("run", Unit::Tokens, amount).is_err(), "{amount}");
        }
    }
}
