//! Reserve, settle, charge and expire: the operations on the state, by the holder of its lock.

use std::io;

use smallvec::SmallVec;

use super::hold::{self, Hold, Terms};
use super::layout::Layout;
use super::slot::{Charged, Counts, Found, Hash, Period, Slot, find};
use super::transaction::Transaction;
use super::window_list;
use super::words::Words;

/// A budget that a call counts for, with the key whose counter it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter<'a> {
    pub(super) hash: Hash,
    /// The name of the budget and the values of its key, as they are stored for people.
    pub(super) text: &'a [u8],
    pub(super) period: Period,
    /// The most that may be used in the period.
    pub(super) amount: i128,
    /// The amounts at which a threshold is crossed, at most 64.
    pub(super) thresholds: &'a [i128],
}

/// What a call asks of one budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) counter: Counter<'a>,
    /// The most that the call is expected to use.
    pub(super) estimate: i128,
    /// Whether the call is refused if it does not fit. Otherwise the hold is only counted.
    pub(super) blocks: bool,
    /// Whether any room admits the call. The hold is then at most that room.
    pub(super) admits_room: bool,
    /// The input's part of the estimate in units of 2^-32.
    pub(super) input_part: u32,
    /// Whether the input's part is charged if this process is killed.
    pub(super) is_charged_when_killed: bool,
    /// When the hold expires, in seconds since the Unix epoch.
    pub(super) expires: i64,
}

/// A hold of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) hash: Hash,
    pub(super) index: usize,
    pub(super) amount: i128,
    /// The input's part, which is charged if the hold expires.
    pub(super) input: i128,
    pub(super) period: i64,
}

/// The holds of a call, in the order of its requests.
pub(super) type Holds = SmallVec<[Held; 2]>;

/// The result of a reservation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// The call fits. Its holds.
    Admitted(Holds),
    /// The call does not fit in the budget with this index. Nothing is held.
    Refused {
        /// The index of the request.
        request: usize,
        /// The counts of the budget.
        counts: Counts,
    },
    /// There is no room for another slot, hold or window. A larger state may have it.
    NoRoom,
}

/// The thresholds that an operation crossed, as bits, and the amount used after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crossed {
    pub(super) bits: u64,
    pub(super) used: i128,
    /// The place of its record, which lasts until it is reported: see [`report`].
    pub(super) record: Option<usize>,
}

/// The result of a change that may need a larger state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done<T> {
    /// It is done.
    Yes(T),
    /// There is no room for another slot, hold or window.
    NoRoom,
}

/// Where the texts of new keys are kept.
pub(super) trait KeyTexts {
    /// Adds a text, which is valid once the transaction is committed. Returns its offset.
    fn add(&self, txn: &mut Transaction<'_>, text: &[u8]) -> io::Result<u64>;
}

/// Finds the slot of a counter, or takes a free one for it, and brings it to the current period. Returns the slot and the start of that
/// period; `None` if no slot or no window is free.
fn open(
    txn: &mut Transaction<'_>,
    layout: Layout,
    counter: &Counter<'_>,
    now: i64,
    keys: &dyn KeyTexts,
) -> io::Result<Option<(Slot, i64)>> {
    let slot = match find(txn, layout, counter.hash, now)? {
        Found::Used(slot) => slot,
        Found::Free(slot) => {
            let key = keys.add(txn, counter.text)?;
            slot.take(txn, counter.hash, key)?;
            slot
        }
        Found::Full => return Ok(None),
    };
    if matches!(counter.period, Period::Rolling { .. }) && slot.window(txn)?.is_none() {
        match window_list::take(txn, layout)? {
            Some(index) => slot.set_window(txn, index),
            None => return Ok(None),
        }
    }
    let period = slot.roll(txn, counter.period, now)?;
    Ok(Some((slot, period)))
}

/// Holds the estimate of a call in all of its budgets, or in none.
pub(super) fn reserve(
    words: &Words,
    layout: Layout,
    requests: &[Request<'_>],
    (owner, call): (u64, u64),
    now: i64,
    keys: &dyn KeyTexts,
) -> io::Result<Reserved> {
    let mut txn = Transaction::new(words);
    let mut holds = Holds::new();
    for (index, request) in requests.iter().enumerate() {
        let Some((slot, period)) = open(&mut txn, layout, &request.counter, now, keys)? else {
            return Ok(Reserved::NoRoom);
        };
        let counts = slot.counts(&txn)?;
        let room = request.counter.amount.saturating_sub(counts.used).saturating_sub(counts.held);
        let fits = if request.admits_room { room > 0 } else { request.estimate <= room };
        if request.blocks && !fits {
            return Ok(Reserved::Refused { request: index, counts });
        }
        let amount = if request.admits_room { request.estimate.min(room.max(0)) } else { request.estimate };
        let rolling = match request.counter.period {
            Period::Rolling { seconds } => seconds as u32,
            Period::Fixed { .. } => 0,
        };
        let terms = Terms {
            input_part: request.input_part,
            is_charged_when_killed: request.is_charged_when_killed,
            rolling,
            is_crossing: false,
        };
        let made = Hold { owner, call, slot: slot.index as u64, period, amount, expires: request.expires, terms };
        let Some(place) = hold::add(&mut txn, layout, &made)? else {
            return Ok(Reserved::NoRoom);
        };
        slot.hold(&mut txn, amount, 1)?;
        holds.push(Held { hash: request.counter.hash, index: place, amount, input: made.input(), period });
    }
    txn.commit()?;
    Ok(Reserved::Admitted(holds))
}

/// What a call is charged in one budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settlement<'a> {
    pub(super) counter: Counter<'a>,
    /// The hold of the call's ticket; `None` for a call that passed no gate.
    pub(super) held: Option<Held>,
    pub(super) charged: Charged,
}

/// Charges a call in its budgets and frees its holds.
///
/// A call belongs to the period in which it was admitted: if that is over, only its hold is freed. `owner` are the owner and the call
/// of its ticket, `teller` is the owner of records of crossed thresholds; 0 for none.
pub(super) fn settle(
    words: &Words,
    layout: Layout,
    settlements: &[Settlement<'_>],
    (owner, teller): ((u64, u64), u64),
    now: i64,
    keys: &dyn KeyTexts,
) -> io::Result<Done<SmallVec<[Crossed; 4]>>> {
    let mut txn = Transaction::new(words);
    let mut all = SmallVec::new();
    for settlement in settlements {
        let Some((slot, current)) = open(&mut txn, layout, &settlement.counter, now, keys)? else {
            return Ok(Done::NoRoom);
        };
        let mut charged = settlement.charged;
        let mut is_current = match settlement.counter.period {
            // A call that was made in an earlier period, and passed no gate. If the clock was set back, the call's period is not over.
            Period::Fixed { start, end } => start >= current || now < end,
            Period::Rolling { .. } => true,
        };
        if let Some(held) = settlement.held {
            is_current = held.period == current;
            let stored = hold::read(&txn, layout, held.index)?;
            if stored.is_some_and(|hold| (hold.owner, hold.call) == owner && hold.slot == slot.index as u64) {
                slot.hold(&mut txn, -held.amount, -1)?;
                hold::remove(&mut txn, layout, held.index)?;
            } else {
                // It expired: its input was charged and its call counted then.
                charged.amount = charged.amount.saturating_sub(held.input);
                charged.unrecorded = charged.unrecorded.saturating_sub(held.input);
                if matches!(settlement.counter.period, Period::Rolling { .. }) {
                    // The input leaves the window before this difference does. A negative one would then count too little.
                    charged.amount = charged.amount.max(0);
                }
                charged.calls = charged.calls.saturating_sub(1);
            }
        }
        if !is_current {
            all.push(Crossed { bits: 0, used: slot.counts(&txn)?.used, record: None });
            continue;
        }
        let (before, used) = slot.charge(&mut txn, settlement.counter.period, charged, now)?;
        let bits = crossed(settlement.counter.thresholds, before, used);
        let bits = if bits == 0 { 0 } else { slot.fire(&mut txn, bits)? };
        let mut crossed = Crossed { bits, used, record: None };
        if bits != 0 && teller != 0 {
            let rolling = match settlement.counter.period {
                Period::Rolling { seconds } => seconds as u32,
                Period::Fixed { .. } => 0,
            };
            let terms = Terms { input_part: 0, is_charged_when_killed: false, rolling, is_crossing: true };
            let slot_index = slot.index as u64;
            let made = Hold {
                owner: teller,
                call: bits,
                slot: slot_index,
                period: current,
                amount: used,
                expires: now,
                terms,
            };
            // Without room for it, a process that is killed now does not report the threshold.
            crossed.record = hold::add(&mut txn, layout, &made)?;
            if crossed.record.is_some() {
                slot.hold(&mut txn, 0, 1)?;
            }
        }
        all.push(crossed);
    }
    txn.commit()?;
    Ok(Done::Yes(all))
}

/// The thresholds above `before` and not above `used`, as bits.
fn crossed(thresholds: &[i128], before: i128, used: i128) -> u64 {
    let is_crossed = |threshold: i128| before < threshold && threshold <= used;
    thresholds
        .iter()
        .take(64)
        .enumerate()
        .fold(0, |bits, (index, threshold)| bits | u64::from(is_crossed(*threshold)) << index)
}

/// Which holds end without their call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Those of this owner, whose process was killed.
    Killed(u64),
    /// Those that expired.
    Expired,
}

/// Ends holds without their call, each in an operation of its own. Returns the records of thresholds that a killed process has crossed
/// and not reported. They belong to `teller` now.
pub(super) fn end_holds(
    words: &Words,
    layout: Layout,
    (ended, teller): (Ended, u64),
    now: i64,
) -> io::Result<Vec<(usize, Hold)>> {
    let mut untold = Vec::new();
    let made = hold::made(&Transaction::new(words), layout)?;
    for index in 0..made {
        let mut txn = Transaction::new(words);
        let Some(hold) = hold::read(&txn, layout, index)? else { continue };
        let is_ended = match ended {
            Ended::Killed(owner) => hold.owner == owner,
            Ended::Expired => hold.expires <= now && !hold.terms.is_crossing,
        };
        if !is_ended {
            continue;
        }
        let slot = Slot::checked(hold.slot, layout)?;
        if hold.terms.is_crossing {
            hold::give(&mut txn, layout, index, teller)?;
            txn.commit()?;
            untold.push((index, hold));
            continue;
        }
        slot.hold(&mut txn, -hold.amount, -1)?;
        hold::remove(&mut txn, layout, index)?;
        let is_charged = ended == Ended::Expired || hold.terms.is_charged_when_killed;
        if is_charged && (hold.terms.rolling > 0 || slot.period(&txn)? == hold.period) {
            let period = match hold.terms.rolling {
                0 => Period::Fixed { start: hold.period, end: i64::MAX },
                seconds => Period::Rolling { seconds: i64::from(seconds) },
            };
            let charged = Charged { amount: hold.input(), unrecorded: hold.input(), calls: 1, unpriced: 0 };
            slot.charge(&mut txn, period, charged, now)?;
        }
        txn.commit()?;
    }
    Ok(untold)
}

/// Removes the record of a crossed threshold that this owner has reported.
pub(super) fn report(words: &Words, layout: Layout, index: usize, owner: u64) -> io::Result<()> {
    let mut txn = Transaction::new(words);
    let Some(record) = hold::read(&txn, layout, index)?.filter(|hold| hold.terms.is_crossing && hold.owner == owner)
    else {
        return Ok(());
    };
    Slot::checked(record.slot, layout)?.hold(&mut txn, 0, -1)?;
    hold::remove(&mut txn, layout, index)?;
    txn.commit()
}

/// The amounts of a counter in the ledger, each with its time.
pub(super) type Spent<'a> = &'a [(i64, Counts)];

/// Sets the counts of a counter to what the ledger has of it, and what it cannot have. Holds stay.
pub(super) fn recount(
    words: &Words,
    layout: Layout,
    counter: &Counter<'_>,
    spent: Spent<'_>,
    now: i64,
    keys: &dyn KeyTexts,
) -> io::Result<Done<()>> {
    let mut txn = Transaction::new(words);
    let Some((slot, _)) = open(&mut txn, layout, counter, now, keys)? else { return Ok(Done::NoRoom) };
    let sum = |of: fn(&Counts) -> i128| spent.iter().map(|(_, counts)| of(counts)).fold(0, i128::saturating_add);
    match counter.period {
        Period::Fixed { .. } => {
            let used = sum(|counts| counts.used).saturating_add(slot.unrecorded(&txn)?);
            slot.set_used(&mut txn, used.max(0));
        }
        Period::Rolling { seconds } => {
            let parts: Vec<_> = spent.iter().map(|(at, counts)| (*at, counts.used)).collect();
            let reset = i64::try_from(slot.unrecorded(&txn)?).unwrap_or(0);
            slot.set_window_parts(&mut txn, seconds, &parts, reset)?;
            slot.sum_window(&mut txn, seconds, now)?;
        }
    }
    let count = |of: fn(&Counts) -> i128| u64::try_from(sum(of)).unwrap_or(u64::MAX);
    slot.set_calls(&mut txn, count(|counts| counts.calls.into()), count(|counts| counts.unpriced.into()));
    txn.commit()?;
    Ok(Done::Yes(()))
}

/// The counts of a counter at a time, without a change; zeros if it has no slot.
pub(super) fn counts(words: &Words, layout: Layout, hash: Hash, period: Period, now: i64) -> io::Result<Counts> {
    let mut txn = Transaction::new(words);
    match find(&txn, layout, hash, now)? {
        Found::Used(slot) => {
            slot.roll(&mut txn, period, now)?;
            slot.counts(&txn)
        }
        Found::Free(_) | Found::Full => Ok(Counts::default()),
    }
}

/// Sets this of a counter: see [`Slot::unrecorded`].
pub(super) fn set_unrecorded(words: &Words, layout: Layout, hash: Hash, amount: i128, now: i64) -> io::Result<()> {
    let mut txn = Transaction::new(words);
    if let Found::Used(slot) = find(&txn, layout, hash, now)? {
        slot.set_unrecorded(&mut txn, amount);
    }
    txn.commit()
}

/// Sets the counts of a counter to zero. Holds stay. Returns whether it has a slot.
pub(super) fn reset(words: &Words, layout: Layout, hash: Hash, now: i64) -> io::Result<bool> {
    let mut txn = Transaction::new(words);
    let Found::Used(slot) = find(&txn, layout, hash, now)? else { return Ok(false) };
    slot.reset(&mut txn, now)?;
    txn.commit()?;
    Ok(true)
}
