//! The budgets of a state directory: their definitions, and the calls that they admit and charge.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::checkpoint;
use super::definition::{Action, Admit, Definition, Unavailability, WithoutEnd, parse};
use super::error::Unavailable;
use super::gate::{Charge, Decision, Gate, Restore, Share, Ticket};
use super::matching::{Facts, Lacking, Match, Matches, charged, matching};
use super::process::Patience;
use super::quote::{Outcome, Quote, Terms, part_of};
use super::rebuild::{Recover, ledger_period, needed, restored};
use super::settlement::Crossing;
use super::slot::{Counts, Period};
use super::state::is_of_boot;
use super::stored::{DefineError, FILE, Rules};
use crate::sys::clock::{boot, unix_seconds};
use crate::sys::identity::FileIdentity;
use crate::sys::mutex::lock_within;

/// The most crossed thresholds that wait for a thread that can report them.
const MAX_CROSSINGS: usize = 10_000;
const PATIENCE: Duration = Duration::from_millis(10);

/// The budgets of a state directory.
pub struct Budgets {
    dir: PathBuf,
    gate: Gate,
    /// Reads what the ledger has.
    recover: Arc<Recover>,
    rules: ArcSwap<Rules>,
    /// The file from which the rules were read.
    file: Mutex<Option<FileIdentity>>,
    crossings: Mutex<Vec<Crossing>>,
    has_crossings: AtomicBool,
    /// Operations that found the state unusable.
    unavailable: AtomicU64,
}

/// What a call was admitted with.
#[derive(Debug)]
pub struct Admitted {
    /// The budgets that it counts for.
    pub matches: Matches,
    /// Its holds; `None` if the state could not be used, and the budgets allow calls then.
    ticket: Option<Ticket>,
}

/// Why a call is refused.
#[derive(Debug)]
pub enum Refused {
    /// It does not fit.
    Exceeded {
        /// The budget.
        budget: Box<Match>,
        /// Its counts.
        counts: Counts,
        /// What the call is expected to use.
        estimate: i128,
    },
    /// Its price is unknown.
    Unpriced(Box<Match>),
    /// It has no value of a dimension of the budget.
    Absent(Lacking),
    /// The state cannot be used.
    Unavailable(Box<Match>, Unavailable),
}

impl Budgets {
    /// The budgets of a directory, with the definitions of its file. The state takes at most `limit` bytes. `recover` reads what
    /// the ledger has of the budgets, if there is no state of this boot.
    ///
    /// # Errors
    /// If the file of definitions cannot be used.
    pub fn open(dir: &Path, limit: u64, recover: Recover) -> Result<Self, DefineError> {
        let file = FileIdentity::of(&dir.join(FILE));
        let place = dir.to_owned();
        let recover = Arc::new(recover);
        let recovering = Arc::clone(&recover);
        let restore: Restore = Box::new(move || {
            let Ok(rules) = Rules::read(&place) else { return Vec::new() };
            let now = unix_seconds();
            restored(&rules, recovering(&needed(&rules, now)), checkpoint::read(&place), now)
        });
        Ok(Self {
            recover,
            dir: dir.to_owned(),
            gate: Gate::new(dir, limit, restore),
            rules: ArcSwap::from_pointee(Rules::read(dir)?),
            file: Mutex::new(file),
            crossings: Mutex::default(),
            has_crossings: AtomicBool::new(false),
            unavailable: AtomicU64::new(0),
        })
    }

    /// Whether a directory has definitions.
    #[must_use]
    pub fn are_defined_in(dir: &Path) -> bool {
        FileIdentity::of(&dir.join(FILE)).is_some()
    }

    /// The definitions in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The definitions in force, as JSON.
    #[must_use]
    pub fn definitions(&self) -> String {
        serde_json::to_string(&self.rules().definitions()).unwrap_or_default()
    }

    /// Adds definitions, or replaces those of the same name.
    ///
    /// # Errors
    /// If one is invalid or contradicts one in force, or the state cannot be used. Nothing changes then.
    pub fn define(&self, text: &str) -> Result<(), DefineError> {
        let given = parse(text)?;
        for one in &given {
            super::definition::Rule::new(one.clone())?;
        }
        self.change(|rules| Ok(rules.merged(&given, unix_seconds())?))
    }

    /// Removes a definition. Returns whether there was one.
    ///
    /// # Errors
    /// If the state cannot be used.
    pub fn remove(&self, name: &str) -> Result<bool, DefineError> {
        let mut is_there = false;
        self.change(|rules| {
            let kept: Vec<Definition> = rules.definitions().into_iter().filter(|one| one.name != name).collect();
            is_there = kept.len() < rules.all.len();
            Ok(is_there.then_some(kept))
        })?;
        Ok(is_there)
    }

    /// Sets what was used of every key to what the ledger has of it. Returns how many keys the ledger has.
    ///
    /// # Errors
    /// [`Unavailable`]; some keys may have been set.
    pub fn recount(&self) -> Result<usize, Unavailable> {
        let (rules, now) = (self.rules(), unix_seconds());
        self.gate.recount(restored(&rules, (self.recover)(&needed(&rules, now)), Vec::new(), now))
    }

    fn change(
        &self,
        change: impl FnOnce(&Rules) -> Result<Option<Vec<Definition>>, DefineError>,
    ) -> Result<(), DefineError> {
        let rules = self.gate.define(|_| {
            let before = Rules::read(&self.dir)?;
            let rules = match change(&before)? {
                Some(definitions) => Rules::replace(&self.dir, definitions)?,
                None => before,
            };
            Ok::<_, DefineError>((rules.generation, rules))
        })?;
        self.use_rules(rules);
        Ok(())
    }

    fn use_rules(&self, rules: Rules) {
        if let Some(mut file) = lock_within(&self.file, PATIENCE) {
            *file = FileIdentity::of(&self.dir.join(FILE));
        }
        self.rules.store(Arc::new(rules));
    }

    /// Reads the definitions again if their file has changed.
    ///
    /// # Errors
    /// If the file or the state cannot be used. The old definitions stay in force then.
    pub fn refresh(&self) -> Result<(), DefineError> {
        let known = lock_within(&self.file, PATIENCE).map(|file| *file);
        if known == Some(FileIdentity::of(&self.dir.join(FILE))) {
            return Ok(());
        }
        self.reload()
    }

    /// Reads the definitions again, and gives the state their number.
    fn reload(&self) -> Result<(), DefineError> {
        self.change(|_| Ok(None))
    }

    /// The budgets that a call counts for at a time in seconds since the Unix epoch, also those that refuse it because it has no value
    /// of one of their dimensions.
    #[must_use]
    pub fn matching(&self, facts: &Facts<'_>, time: i64) -> Matches {
        charged(&self.rules.load().all, facts, time)
    }

    /// Holds the estimate of a call in all of its budgets, or in none. The outer error is that the state cannot be used within the
    /// time, for a caller that can wait without the interpreter's lock.
    ///
    /// # Errors
    /// [`Unavailable::Busy`] if `patience` is [`Patience::None`].
    pub fn admit(
        &self,
        facts: &Facts<'_>,
        quote: &Quote,
        patience: Patience,
    ) -> Result<Result<Admitted, Refused>, Unavailable> {
        // Definitions may change meanwhile. If they do so again, those of the first change hold.
        for attempt in 0..2 {
            let rules = self.rules.load_full();
            let matches = match matching(&rules.all, facts, unix_seconds()) {
                Ok(matches) => matches,
                Err(lacking) => return Ok(Err(Refused::Absent(lacking))),
            };
            if matches.is_empty() {
                return Ok(Ok(Admitted { matches, ticket: None }));
            }
            let expected = (attempt == 0).then_some(rules.generation);
            match self.reserve(matches, expected, quote, patience)? {
                Some(answer) => return Ok(answer),
                // If the file cannot be read, the old definitions hold.
                None => drop(self.reload()),
            }
        }
        Ok(Ok(Admitted { matches: Matches::new(), ticket: None }))
    }

    /// `None` if the definitions are not those with this number.
    fn reserve(
        &self,
        matches: Matches,
        generation: Option<u64>,
        quote: &Quote,
        patience: Patience,
    ) -> Result<Option<Result<Admitted, Refused>>, Unavailable> {
        let unpriced = matches
            .iter()
            .find(|one| one.rule.definition.action == Action::Block && Terms::of(&one.rule).estimate(quote).is_none());
        if let Some(budget) = unpriced {
            return Ok(Some(Err(Refused::Unpriced(Box::new(budget.clone())))));
        }
        let reserved = {
            let shares: SmallVec<[Share<'_>; 2]> = matches.iter().map(|one| one.share(Some(quote))).collect();
            self.gate.reserve(&shares, generation, patience)
        };
        let decision = match reserved {
            Ok((decision, crossings)) => {
                self.report(crossings);
                decision
            }
            Err(Unavailable::Busy) if patience == Patience::None => return Err(Unavailable::Busy),
            Err(error) => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
                let blocks = |one: &&Match| {
                    let definition = &one.rule.definition;
                    definition.unavailable == Unavailability::Block && definition.action == Action::Block
                };
                let refusing = matches.iter().find(blocks).cloned();
                let answer = refusing.map_or(Ok(Admitted { matches, ticket: None }), |budget| {
                    Err(Refused::Unavailable(Box::new(budget), error))
                });
                return Ok(Some(answer));
            }
        };
        Ok(match decision {
            Decision::Changed => None,
            Decision::Admitted(ticket) => Some(Ok(Admitted { matches, ticket: Some(ticket) })),
            Decision::Refused { share, counts } => matches.get(share).cloned().map(|budget| {
                let estimate = Terms::of(&budget.rule).estimate(quote).unwrap_or(0);
                Err(Refused::Exceeded { budget: Box::new(budget), counts, estimate })
            }),
        })
    }

    /// Charges a call that was admitted. Returns whether the settlement waits in memory.
    pub fn settle(&self, admitted: &Admitted, outcome: Outcome<'_>, quote: &Quote, patience: Patience) -> bool {
        self.charge(&admitted.matches, admitted.ticket.as_ref(), outcome, Some(quote), patience)
    }

    /// Charges a call that passed no gate. Returns whether the settlement waits in memory.
    pub fn charge_untold(&self, matches: &Matches, outcome: Outcome<'_>, patience: Patience) -> bool {
        self.charge(matches, None, outcome, None, patience)
    }

    fn charge(
        &self,
        matches: &Matches,
        ticket: Option<&Ticket>,
        outcome: Outcome<'_>,
        quote: Option<&Quote>,
        patience: Patience,
    ) -> bool {
        if matches.is_empty() {
            return false;
        }
        let charges: SmallVec<[Charge; 2]> =
            matches.iter().map(|one| Terms::of(&one.rule).charge(outcome, quote)).collect();
        if ticket.is_none() && charges.iter().all(|charge| *charge == Charge::default()) {
            return false;
        }
        let shares: SmallVec<[Share<'_>; 2]> = matches.iter().map(|one| one.share(quote)).collect();
        let settled = self.gate.settle(ticket, &shares, &charges, patience);
        self.report(settled.crossings);
        settled.is_waiting
    }

    /// Settles what waits in memory.
    pub fn settle_waiting(&self, patience: Patience) {
        let crossings = self.gate.settle_waiting(patience);
        self.report(crossings);
    }

    /// Does what is due from time to time.
    ///
    /// # Errors
    /// If the state or the file of definitions cannot be used.
    pub fn tick(&self) -> Result<(), DefineError> {
        let crossings = self.gate.tick()?;
        self.report(crossings);
        if checkpoint::is_due(&self.dir) {
            self.checkpoint()?;
        }
        self.refresh()
    }

    /// Whether there is no state of this boot yet.
    #[must_use]
    pub fn has_to_be_rebuilt(&self) -> bool {
        !is_of_boot(&self.dir, boot())
    }

    /// Opens the state, and rebuilds it if that is necessary.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn prepare(&self) -> Result<(), Unavailable> {
        self.gate.prepare()
    }

    /// Writes a copy of all counts.
    ///
    /// # Errors
    /// If the state cannot be read or the copy not be written.
    pub fn checkpoint(&self) -> Result<(), Unavailable> {
        let all = self.gate.save()?;
        Ok(checkpoint::write(&self.dir, &all)?)
    }

    /// The keys and periods of the budgets for which the ledger has an event, for a time in seconds since the Unix epoch: the budget,
    /// the values, the start of the period, and the first period that is worth keeping.
    #[must_use]
    pub fn spends(&self, facts: &Facts<'_>, time: i64) -> Vec<(String, Vec<String>, i64, i64)> {
        let matches = self.matching(facts, time);
        let all = matches.iter().filter_map(|one| {
            let (start, kept_from) = ledger_period(&one.rule, time)?;
            Some((one.rule.definition.name.clone(), one.values(), start, kept_from))
        });
        all.collect()
    }

    fn report(&self, crossings: Vec<Crossing>) {
        if crossings.is_empty() {
            return;
        }
        if let Some(mut all) = lock_within(&self.crossings, PATIENCE)
            && all.len() < MAX_CROSSINGS
        {
            all.extend(crossings);
            self.has_crossings.store(true, Ordering::Release);
        }
    }

    /// Whether there are thresholds to report.
    #[inline]
    #[must_use]
    pub fn has_crossings(&self) -> bool {
        self.has_crossings.load(Ordering::Relaxed)
    }

    /// The thresholds that this process has crossed since the last call.
    #[must_use]
    pub fn take_crossings(&self) -> Vec<Crossing> {
        let Some(mut all) = lock_within(&self.crossings, PATIENCE) else { return Vec::new() };
        self.has_crossings.store(false, Ordering::Release);
        std::mem::take(&mut *all)
    }

    /// The shared state.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Operations that found the state unusable.
    #[must_use]
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Settlements that wait in memory, and those that were lost because the state could not be used for long.
    #[must_use]
    pub fn unsettled(&self) -> (usize, u64) {
        (self.gate.waiting(), self.gate.dropped())
    }
}

impl Match {
    /// What the call asks of the budget. Without a quote, the share is only for a settlement.
    fn share(&self, quote: Option<&Quote>) -> Share<'_> {
        let (definition, terms) = (&self.rule.definition, Terms::of(&self.rule));
        let estimate = quote.and_then(|quote| terms.estimate(quote)).unwrap_or(0);
        Share {
            key: &self.key,
            period: self.period,
            amount: self.amount,
            thresholds: &self.thresholds,
            estimate,
            blocks: definition.action == Action::Block,
            admits_room: definition.admit == Admit::Room,
            input_part: quote.map_or(0, |quote| part_of(terms.input(quote), estimate)),
            is_charged_when_killed: definition.crashed == WithoutEnd::Input,
            hold_timeout: definition.hold_timeout,
        }
    }

    /// After how many seconds the oldest part of a rolling budget has left it, at most; `None` for other periods.
    #[must_use]
    pub fn rolling_step(&self) -> Option<i64> {
        match self.period {
            Period::Rolling { seconds } => Some((seconds / 32).max(1)),
            Period::Fixed { .. } => None,
        }
    }

    /// When the period ends, in seconds since the Unix epoch; `None` if it never does, or is a rolling one.
    #[must_use]
    pub fn resets_at(&self) -> Option<i64> {
        match self.period {
            Period::Fixed { end, .. } if end < i64::MAX => Some(end),
            _ => None,
        }
    }
}
