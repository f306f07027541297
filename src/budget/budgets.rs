//! The budgets of a state directory: their definitions, and the calls that they admit and charge.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::checkpoint;
use super::crossing::Crossing;
use super::definition::{Action, Admit, Definition, Unavailability, WithoutEnd};
use super::error::Unavailable;
use super::gate::{Charge, Decision, Gate, Restore, Share, Ticket};
use super::matching::{Facts, Lacking, Match, Matches, any, charged, look_at_tags, matching, split_key};
use super::process::Patience;
use super::quote::{Amounts, Outcome, Quote, Terms, part_of};
use super::rebuild::{Recover, counted, ledger_period, needed, restored};
use super::slot::{Counts, Period};
use super::state::is_of_boot;
use super::stored::{DefineError, FILE, Rules};
use crate::event::Attribution;
use crate::sys::clock::{boot, unix_seconds};
use crate::sys::identity::FileIdentity;
use crate::sys::mutex::lock_within;

/// The most crossed thresholds that wait for a thread that can report them.
const MAX_CROSSINGS: usize = 10_000;
/// How long a thread waits for another one. A forked child may inherit the mutexes locked.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

/// The budgets of a state directory.
pub struct Budgets {
    pub(super) dir: PathBuf,
    pub(super) gate: Gate,
    /// Reads what the ledger has.
    recover: Arc<Recover>,
    pub(super) rules: ArcSwap<Rules>,
    /// The file from which the rules were read.
    pub(super) file: Mutex<Option<FileIdentity>>,
    /// Definitions that could not be written yet. They are in force in this process.
    pub(super) pending: Mutex<Vec<Definition>>,
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
    /// Why the state could not be used.
    pub unavailable: Option<Unavailable>,
}

impl Admitted {
    fn with(matches: Matches, ticket: Option<Ticket>) -> Self {
        Self { matches, ticket, unavailable: None }
    }
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
        /// The estimate of the call's usage.
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
    /// If the file of definitions cannot be read, it has none until it can.
    ///
    /// # Errors
    /// If a definition in the file is invalid.
    pub fn open(dir: &Path, limit: u64, recover: Recover) -> Result<Self, DefineError> {
        let file = FileIdentity::of(&dir.join(FILE));
        let place = dir.to_owned();
        let recover = Arc::new(recover);
        let recovering = Arc::clone(&recover);
        let restore: Restore = Box::new(move || {
            let Ok(rules) = Rules::read(&place) else { return Vec::new() };
            let now = unix_seconds();
            restored(&rules, recovering(&needed(&rules, now)).unwrap_or_default(), checkpoint::read(&place), now)
        });
        let rules = match Rules::read(dir) {
            Err(DefineError::Unavailable(_)) => Rules::default(),
            read => read?,
        };
        Ok(Self {
            recover,
            dir: dir.to_owned(),
            gate: Gate::new(dir, limit, restore),
            rules: ArcSwap::from_pointee(rules),
            file: Mutex::new(file),
            pending: Mutex::default(),
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

    /// Sets what was used of every key to what the ledger has of it, and what it cannot have. Returns how many keys the ledger has.
    ///
    /// # Errors
    /// [`Unavailable`], also if the ledger cannot be read; some keys may have been set.
    pub fn recount(&self) -> Result<usize, Unavailable> {
        let (rules, now) = (self.rules(), unix_seconds());
        let spent = (self.recover)(&needed(&rules, now))
            .ok_or_else(|| io::Error::other("there is no ledger to count from, or it cannot be read"))?;
        let mut counted = counted(&rules, spent, now);
        let count = counted.len();
        for key in self.gate.keys()? {
            if let Some(rule) =
                split_key(&key).and_then(|(name, _)| rules.all.iter().find(|one| one.definition.name == name))
            {
                counted.entry(key).or_insert_with(|| (rule.definition.period.at(now), Vec::new()));
            }
        }
        self.gate.recount(&counted)?;
        Ok(count)
    }

    /// The budgets that a call counts for at a time in seconds since the Unix epoch, also those that refuse it because it has no value
    /// of one of their dimensions.
    #[must_use]
    pub fn matching(&self, facts: &Facts<'_>, time: i64) -> Matches {
        charged(&self.rules.load().all, facts, time)
    }

    /// Whether a call counts for any budget. `tags` adds the call's own tags, which few budgets look at.
    #[must_use]
    pub fn concern<'a>(&self, mut facts: Facts<'a>, tags: &[(&'a str, &'a str)]) -> bool {
        let rules = self.rules.load();
        if look_at_tags(&rules.all) {
            let own = Attribution { tags: tags.to_vec(), ..Attribution::default() };
            facts.attribute(&[], &own);
        }
        any(&rules.all, &facts)
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
                return Ok(Ok(Admitted::with(matches, None)));
            }
            let expected = (attempt == 0).then_some(rules.generation);
            match self.reserve(matches, expected, quote, patience)? {
                Some(answer) => return Ok(answer),
                // If the file cannot be read, the old definitions hold.
                None => drop(self.reload()),
            }
        }
        Ok(Ok(Admitted::with(Matches::new(), None)))
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
                return Ok(Some(match refusing {
                    Some(budget) => Err(Refused::Unavailable(Box::new(budget), error)),
                    None => Ok(Admitted { matches, ticket: None, unavailable: Some(error) }),
                }));
            }
        };
        Ok(match decision {
            Decision::Changed => None,
            Decision::Admitted(ticket) => Some(Ok(Admitted::with(matches, Some(ticket)))),
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

    /// Whether a budget closes the stream of an admitted call if it uses too much.
    #[must_use]
    pub fn is_cutting(&self, admitted: &Admitted) -> bool {
        admitted.ticket.is_some() && admitted.matches.iter().any(Match::is_cutting)
    }

    /// The budget in which an admitted call no longer fits that has used so much by now; `None` if it does, or that is not known.
    #[must_use]
    pub fn over(&self, admitted: &Admitted, running: Amounts) -> Option<Refused> {
        let holds = admitted.ticket.as_ref()?.amounts();
        let mut cutting = admitted.matches.iter().zip(holds).filter(|(one, _)| one.is_cutting());
        cutting.find_map(|(one, held)| {
            let used = running.of(one.rule.definition.unit).filter(|used| *used > held)?;
            let counts = self.gate.counts(&one.key, one.period).ok()?;
            let room = one.amount.saturating_sub(counts.used).saturating_sub(counts.held).max(0);
            let is_over = used > held.saturating_add(room);
            is_over.then(|| Refused::Exceeded { budget: Box::new(one.clone()), counts, estimate: used })
        })
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
            return;
        }
        let _ = self.reported(&crossings.iter().filter_map(|one| one.record).collect::<Vec<_>>());
    }

    /// Says that crossed thresholds were reported. Until then, another process reports them if this one is killed.
    ///
    /// # Errors
    /// [`Unavailable`]; they will then be reported a second time.
    pub fn reported(&self, records: &[usize]) -> Result<(), Unavailable> {
        if records.is_empty() { Ok(()) } else { self.gate.reported(records) }
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
    /// Whether it closes a stream that uses too much.
    fn is_cutting(&self) -> bool {
        let definition = &self.rule.definition;
        definition.cut && definition.action == Action::Block
    }

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
