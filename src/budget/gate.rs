//! The gate: operations on the shared state by all threads of a process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use super::crossing::Crossing;
use super::error::Unavailable;
use super::layout::header;
use super::operations::{self, Counter, Done, Ended, Request, Reserved, Settlement};
use super::owner::{Owner, dead};
use super::process::{Access, Patience, Process, Waits};
use super::settlement::{MAX_WAITING, Waiting, WaitingShare, settle_waiting, with_room};
use super::slot::{Charged, Counts, Period};
use super::state::{Origin, State};
use crate::sys::clock::{boot, unix_seconds};
use crate::sys::fork::fork_generation;
use crate::sys::fs::create_private_dir;
use crate::sys::lock::TurnLock;
use crate::sys::mutex::{lock, lock_within};

/// One budget that a call counts for.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// The name of the budget and the values of its key, as a text that is unique to both.
    pub key: &'a [u8],
    /// The period of the budget.
    pub period: Period,
    /// The most that may be used in it.
    pub amount: i128,
    /// The amounts at which a threshold is crossed, at most 64.
    pub thresholds: &'a [i128],
    /// The most that the call is expected to use.
    pub estimate: i128,
    /// Whether the call is refused if it does not fit.
    pub blocks: bool,
    /// Whether any room admits the call.
    pub admits_room: bool,
    /// The input's part of the estimate in units of 2^-32.
    pub input_part: u32,
    /// Whether the input's part is charged if this process is killed.
    pub is_charged_when_killed: bool,
    /// After how many seconds the hold expires.
    pub hold_timeout: u32,
}

impl<'a> Share<'a> {
    fn counter(&self, state: &State) -> Counter<'a> {
        Counter {
            hash: state.hash(self.key),
            text: self.key,
            period: self.period,
            amount: self.amount,
            thresholds: self.thresholds,
        }
    }
}

/// The holds of an admitted call.
#[derive(Clone, Debug)]
pub struct Ticket {
    owner: u64,
    call: u64,
    holds: operations::Holds,
}

impl Ticket {
    /// What it holds in each budget.
    pub(super) fn amounts(&self) -> impl Iterator<Item = i128> {
        self.holds.iter().map(|hold| hold.amount)
    }
}

/// The gate's decision about a call.
#[derive(Debug)]
pub enum Decision {
    /// The call fits in all of its budgets.
    Admitted(Ticket),
    /// The call does not fit in one of them.
    Refused {
        /// The index of the budget.
        share: usize,
        /// Its counts.
        counts: Counts,
    },
    /// The definitions of budgets have changed since those with this number.
    Changed,
}

/// What a call is charged in one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The amount.
    pub amount: i128,
    /// The part of it that the ledger will not have.
    pub unrecorded: i128,
    /// 1 for a call that was made; 0 for one that was refused or never sent.
    pub calls: u64,
    /// Whether its price is unknown.
    pub is_unpriced: bool,
}

impl Charge {
    fn charged(&self) -> Charged {
        let unpriced = u64::from(self.is_unpriced);
        Charged { amount: self.amount, unrecorded: self.unrecorded, calls: self.calls, unpriced }
    }
}

/// The result of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The thresholds that it, or settlements that waited, crossed.
    pub crossings: Vec<Crossing>,
    /// Whether it waits in memory, because the state could not be used.
    pub is_waiting: bool,
}

/// The used amount of a budget before its state existed.
#[derive(Clone, Debug)]
pub struct Used {
    /// The key of the budget.
    pub key: Box<[u8]>,
    /// The period in which it was used.
    pub period: Period,
    /// What was used.
    pub counts: Counts,
    /// The part of it that the ledger does not have; of rolling budgets, when they were last reset, in seconds since the Unix epoch.
    pub unrecorded: i128,
    /// When, in seconds since the Unix epoch. It only matters for rolling budgets.
    pub at: i64,
}

/// Reads what was used before. The lock is held during the call.
pub type Restore = Box<dyn Fn() -> Vec<Used> + Send + Sync>;

/// The budgets of a state directory.
pub struct Gate {
    dir: PathBuf,
    /// The most bytes of the state file.
    pub(super) limit: u64,
    process: ArcSwapOption<Process>,
    pub(super) restore: Restore,
    /// Settlements that were made while the state could not be opened, and the fork generation in which they were.
    early: Mutex<(u64, Vec<Waiting>)>,
    waits: Waits,
    /// Settlements that were dropped because too many waited.
    dropped: AtomicU64,
}

/// How long a thread waits for another one that keeps an early settlement. A forked child may inherit the mutex locked.
const EARLY_PATIENCE: Duration = Duration::from_millis(10);

impl Gate {
    /// The budgets under a directory, which is created with the first operation. The state file takes at most `limit` bytes. `restore`
    /// reads what was used before: it is called if there is no state of this boot.
    #[must_use]
    pub fn new(dir: &Path, limit: u64, restore: Restore) -> Self {
        Self {
            dir: dir.to_owned(),
            limit,
            process: ArcSwapOption::empty(),
            restore,
            early: Mutex::default(),
            waits: Waits::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Holds the estimate of a call in all of its budgets, or in none. `definitions` is the number of the definitions from which the
    /// shares were made; `None` if it does not matter.
    ///
    /// # Errors
    /// [`Unavailable`] if the gate cannot tell. Nothing is held then.
    pub fn reserve(
        &self,
        shares: &[Share<'_>],
        definitions: Option<u64>,
        patience: Patience,
    ) -> Result<(Decision, Vec<Crossing>), Unavailable> {
        let process = self.process_within(patience)?;
        let mut access = self.access(&process, patience)?;
        if definitions
            .is_some_and(|number| access.state.words.load(header::DEFINITIONS).is_ok_and(|word| word != number))
        {
            return Ok((Decision::Changed, Vec::new()));
        }
        let teller = process.owner.token();
        let mut crossings = settle_waiting(&process.waiting, &mut access.state, self.limit, teller);
        let call = process.next_call.fetch_add(1, Ordering::Relaxed);
        let ids = (teller, call);
        let mut has_looked = false;
        loop {
            let now = unix_seconds();
            let outcome = with_room(&mut access.state, self.limit, |state| {
                let requests: SmallVec<[Request<'_>; 4]> = shares
                    .iter()
                    .map(|share| Request {
                        counter: share.counter(state),
                        estimate: share.estimate,
                        blocks: share.blocks,
                        admits_room: share.admits_room,
                        input_part: share.input_part,
                        is_charged_when_killed: share.is_charged_when_killed,
                        expires: now.saturating_add(i64::from(share.hold_timeout)),
                    })
                    .collect();
                match operations::reserve(&state.words, state.layout, &requests, ids, now, state.keys())? {
                    Reserved::NoRoom => Ok(Done::NoRoom),
                    other => Ok(Done::Yes(other)),
                }
            })?;
            match outcome {
                Reserved::Admitted(holds) => {
                    return Ok((Decision::Admitted(Ticket { owner: ids.0, call, holds }), crossings));
                }
                // No call is refused because of what a killed process holds.
                Reserved::Refused { counts, .. } if counts.held > 0 && !has_looked => {
                    has_looked = true;
                    crossings.extend(release_dead(&self.dir, &access.state, teller, |_| true)?.0);
                }
                Reserved::Refused { request, counts } => {
                    return Ok((Decision::Refused { share: request, counts }, crossings));
                }
                Reserved::NoRoom => return Err(Unavailable::Full),
            }
        }
    }

    /// Charges a call in its budgets and frees its holds. `charges` has one charge for each share. A call that passed no gate has no
    /// ticket.
    ///
    /// If the lock is not free for a millisecond, the settlement waits in memory for the next operation. If the process is killed
    /// before, the call is not charged.
    pub fn settle(
        &self,
        ticket: Option<&Ticket>,
        shares: &[Share<'_>],
        charges: &[Charge],
        patience: Patience,
    ) -> Settled {
        let process = self.process_within(patience).ok();
        if let Some(process) = &process
            && let Ok(mut access) = self.access(process, patience)
        {
            let teller = process.owner.token();
            let mut crossings = settle_waiting(&process.waiting, &mut access.state, self.limit, teller);
            if let Ok(own) = settle_shares(&mut access.state, self.limit, ticket, (shares, charges), teller) {
                crossings.extend(own);
                return Settled { crossings, is_waiting: false };
            }
        }
        let waiting = Waiting {
            owner: ticket.map_or((0, 0), |ticket| (ticket.owner, ticket.call)),
            shares: (shares.iter().zip(charges).enumerate())
                .map(|(index, (share, charge))| WaitingShare {
                    key: share.key.into(),
                    period: share.period,
                    amount: share.amount,
                    thresholds: share.thresholds.into(),
                    held: ticket.and_then(|ticket| ticket.holds.get(index).copied()),
                    charged: charge.charged(),
                })
                .collect(),
        };
        let push = |all: &mut Vec<Waiting>| {
            if all.len() >= MAX_WAITING {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                all.push(waiting);
            }
        };
        match &process {
            Some(process) => push(&mut lock(&process.waiting)),
            None => match self.early() {
                Some(mut early) => push(&mut early.1),
                None => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            },
        }
        Settled { crossings: Vec::new(), is_waiting: true }
    }

    /// The settlements of this process that were made while the state could not be opened.
    fn early(&self) -> Option<MutexGuard<'_, (u64, Vec<Waiting>)>> {
        let mut early = lock_within(&self.early, EARLY_PATIENCE)?;
        let generation = fork_generation();
        if early.0 != generation {
            // Those of the parent are its own.
            *early = (generation, Vec::new());
        }
        Some(early)
    }

    /// The exclusive right to use the state. If something has closed the lock's file, the next operation opens it again.
    pub(super) fn access<'a>(&self, process: &'a Process, patience: Patience) -> Result<Access<'a>, Unavailable> {
        process.access(&self.waits, patience).inspect_err(|error| {
            if matches!(error, Unavailable::State(_)) && !process.lock.is_open() {
                self.forget(process);
            }
        })
    }

    /// Has the next operation open the files again.
    fn forget(&self, process: &Process) {
        self.process.store(None);
        if let Some(mut early) = self.early() {
            early.1.append(&mut lock(&process.waiting));
        }
    }

    /// Settles what waits in memory, if the state can be used within the time. Returns the thresholds that it crossed.
    pub fn settle_waiting(&self, patience: Patience) -> Vec<Crossing> {
        let Ok(process) = self.process_within(patience) else { return Vec::new() };
        match self.access(&process, patience) {
            Ok(mut access) => settle_waiting(&process.waiting, &mut access.state, self.limit, process.owner.token()),
            Err(_) => Vec::new(),
        }
    }

    /// How many settlements wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let generation = fork_generation();
        let process = self.process.load();
        let waiting = |process: &Arc<Process>| lock(&process.waiting).len();
        process.as_ref().filter(|one| one.generation == generation).map_or(0, waiting)
            + self.early().map_or(0, |early| early.1.len())
    }

    /// Changes the definitions of budgets: `change` gets their number and returns the new one. No other process runs an operation
    /// meanwhile.
    ///
    /// # Errors
    /// [`Unavailable`], and the errors of `change`.
    pub fn define<T, E: From<Unavailable>>(&self, change: impl FnOnce(u64) -> Result<(u64, T), E>) -> Result<T, E> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let words = &access.state.words;
        let before = words.load(header::DEFINITIONS).map_err(Unavailable::State)?;
        let (number, value) = change(before)?;
        if number != before {
            words.store(header::DEFINITIONS, number).map_err(Unavailable::State)?;
        }
        Ok(value)
    }

    /// Does what is due from time to time: settles what waits, releases holds of killed processes, and ends holds that expired.
    ///
    /// # Errors
    /// [`Unavailable`]; the next call tries again.
    pub fn tick(&self) -> Result<Vec<Crossing>, Unavailable> {
        let process = self.process()?;
        let mut access = self.access(&process, Patience::Long)?;
        let teller = process.owner.token();
        let mut crossings = settle_waiting(&process.waiting, &mut access.state, self.limit, teller);
        process.owner.retake();
        let suspects = std::mem::take(&mut *lock(&process.suspects));
        let (untold, unsure) = release_dead(&self.dir, &access.state, teller, |token| suspects.contains(&token))?;
        *lock(&process.suspects) = unsure;
        crossings.extend(untold);
        let state = &access.state;
        operations::end_holds(&state.words, state.layout, (Ended::Expired, teller), unix_seconds())?;
        if !access.state.is_linked() {
            // The directory was deleted. The next operation makes a new one.
            self.forget(&process);
        }
        Ok(crossings)
    }

    /// Forgets the records of crossed thresholds that were reported. Otherwise another process reports them once this one has ended.
    ///
    /// # Errors
    /// [`Unavailable`]; they will then be reported a second time.
    pub fn reported(&self, records: &[usize]) -> Result<(), Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let state = &access.state;
        let forget = |record: &usize| operations::report(&state.words, state.layout, *record, process.owner.token());
        Ok(records.iter().try_for_each(forget)?)
    }

    /// Opens the state, and restores it if that is necessary.
    ///
    /// # Errors
    /// [`Unavailable`]; the next operation tries again.
    pub fn prepare(&self) -> Result<(), Unavailable> {
        self.process().map(drop)
    }

    /// Settlements that were lost because the state could not be used for long.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What belongs to this process, made with its first operation.
    pub(super) fn process(&self) -> Result<Arc<Process>, Unavailable> {
        self.process_within(Patience::Long)
    }

    fn process_within(&self, patience: Patience) -> Result<Arc<Process>, Unavailable> {
        let generation = fork_generation();
        let current = self.process.load_full();
        if let Some(process) = current.as_ref().filter(|process| process.generation == generation) {
            return Ok(Arc::clone(process));
        }
        let made = Arc::new(self.open(generation, patience)?);
        if let Some(mut early) = self.early() {
            lock(&made.waiting).append(&mut early.1);
        }
        let before = self.process.compare_and_swap(&current, Some(Arc::clone(&made)));
        // Another thread may have been faster. Both of them have used the same files.
        let faster = before.as_ref().filter(|process| process.generation == generation);
        Ok(faster.map_or(made, Arc::clone))
    }

    fn open(&self, generation: u64, patience: Patience) -> Result<Process, Unavailable> {
        create_private_dir(&self.dir)?;
        let lock = TurnLock::open(&self.dir.join("lock"))?;
        let (state, owner) = {
            let _turn = self.waits.take(patience, || lock.try_take())?;
            let (mut state, origin) = State::open(&self.dir, boot())?;
            if origin != Origin::Kept {
                self.restore(&mut state)?;
            }
            (state, Owner::create(&self.dir)?)
        };
        Ok(Process {
            generation,
            lock,
            state: Mutex::new(state),
            owner,
            next_call: AtomicU64::new(1),
            waiting: Mutex::default(),
            suspects: Mutex::default(),
        })
    }
}

/// Settles a call without a copy of its shares.
fn settle_shares(
    state: &mut State,
    limit: u64,
    ticket: Option<&Ticket>,
    (shares, charges): (&[Share<'_>], &[Charge]),
    teller: u64,
) -> Result<SmallVec<[Crossing; 1]>, Unavailable> {
    let owner = ticket.map_or((0, 0), |ticket| (ticket.owner, ticket.call));
    let now = unix_seconds();
    let all = with_room(state, limit, |state| {
        let settlements: SmallVec<[Settlement<'_>; 4]> = (shares.iter().zip(charges).enumerate())
            .map(|(index, (share, charge))| Settlement {
                counter: share.counter(state),
                held: ticket.and_then(|ticket| ticket.holds.get(index).copied()),
                charged: charge.charged(),
            })
            .collect();
        operations::settle(&state.words, state.layout, &settlements, (owner, teller), now, state.keys())
    })?;
    let crossed = shares.iter().zip(all).filter(|(_, crossed)| crossed.bits != 0);
    Ok(crossed
        .map(|(share, one)| Crossing {
            key: share.key.into(),
            period: share.period,
            bits: one.bits,
            used: one.used,
            at: now,
            record: one.record,
        })
        .collect())
}

/// Ends the holds of processes that were killed, if `is_sure` says so of their owner. Returns the thresholds that these processes have
/// crossed and not reported, and the other owners that look dead.
fn release_dead(
    dir: &Path,
    state: &State,
    teller: u64,
    is_sure: impl Fn(u64) -> bool,
) -> io::Result<(Vec<Crossing>, Vec<u64>)> {
    let (mut crossings, mut unsure) = (Vec::new(), Vec::new());
    for owner in dead(dir) {
        if !is_sure(owner.token) {
            unsure.push(owner.token);
            continue;
        }
        let ended = (Ended::Killed(owner.token), teller);
        for (record, hold) in operations::end_holds(&state.words, state.layout, ended, unix_seconds())? {
            crossings.push(state.crossing(record, &hold)?);
        }
        owner.forget();
    }
    Ok((crossings, unsure))
}
