//! Operations against a model, with kills between any two stores.

mod processes;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::layout::{Layout, MAGIC, VERSION, header};
use super::operations::{
    Counter, Done, Ended, Held, Holds, KeyTexts, Request, Reserved, Settlement, counts, end_holds, report, reserve,
    settle,
};
use super::slot::{Charged, Counts, Hash, Period};
use super::transaction::{Transaction, redo};
use super::words::{Words, damaged};

/// Words in memory. After a number of stores all further ones fail, as if the process had been killed.
pub(super) struct FailingWords {
    words: Vec<AtomicU64>,
    stores_left: AtomicU64,
}

impl FailingWords {
    fn new(len: usize) -> Self {
        Self { words: (0..len).map(|_| AtomicU64::new(0)).collect(), stores_left: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    pub(super) fn load(&self, index: usize) -> io::Result<u64> {
        let word = self.words.get(index).ok_or_else(|| damaged("an index is out of range"))?;
        Ok(word.load(Ordering::Relaxed))
    }

    pub(super) fn store(&self, index: usize, value: u64) -> io::Result<()> {
        let left = self.stores_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other("killed"));
        }
        self.stores_left.store(left - 1, Ordering::Relaxed);
        let word = self.words.get(index).ok_or_else(|| damaged("an index is out of range"))?;
        word.store(value, Ordering::Relaxed);
        Ok(())
    }
}

/// The tests do not look at the texts of keys.
struct NoTexts;

impl KeyTexts for NoTexts {
    fn add(&self, _txn: &mut Transaction<'_>, _text: &[u8]) -> io::Result<u64> {
        Ok(0)
    }
}

const SMALL: Layout = Layout { slots: 16, holds: 8, windows: 4, is_dense: false };

fn words() -> Words {
    let words = Words::Failing(FailingWords::new(SMALL.len()));
    for (index, value) in [
        (header::MAGIC, MAGIC),
        (header::VERSION, VERSION),
        (header::SLOTS, SMALL.slots as u64),
        (header::HOLDS, SMALL.holds as u64),
        (header::WINDOWS, SMALL.windows as u64),
    ] {
        words.store(index, value).unwrap();
    }
    assert_eq!(Layout::read(&words).unwrap(), SMALL);
    words
}

/// Lets only so many further stores happen.
fn kill_after(words: &Words, stores: u64) {
    if let Words::Failing(words) = words {
        words.stores_left.store(stores, Ordering::Relaxed);
    }
}

/// The length of the fixed period and of the rolling window.
const LENGTH: i64 = 320;
/// The buckets of the window are this long.
const BUCKET: i64 = LENGTH / 32;
const LIMIT: i128 = 1_000;
const THRESHOLDS: [i128; 2] = [800, LIMIT];
/// The even keys have a fixed period, the odd ones a rolling window.
const KEYS: u8 = 8;

fn period(key: u8, now: i64) -> Period {
    let start = now - now % LENGTH;
    if key.is_multiple_of(2) {
        Period::Fixed { start, end: start + LENGTH }
    } else {
        Period::Rolling { seconds: LENGTH }
    }
}

fn counter(key: u8, now: i64) -> Counter<'static> {
    Counter {
        hash: Hash::new(0x9E37_79B9_7F4A_7C15 * (u128::from(key) + 1)),
        text: b"key",
        period: period(key, now),
        amount: LIMIT,
        thresholds: &THRESHOLDS,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { keys: Vec<u8>, estimate: i128, owner: u64, admits_room: bool, lasts: i64 },
    Settle { ticket: usize, actual: i128 },
    Charge { key: u8, amount: i128 },
    KillOwner { owner: u64 },
    Expire,
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::sample::subsequence((0..KEYS).collect::<Vec<_>>(), 1..=3);
    prop_oneof![
        4 => (keys, 0..400_i128, 1..4_u64, any::<bool>(), 1..400_i64).prop_map(
            |(keys, estimate, owner, admits_room, lasts)| Step::Reserve { keys, estimate, owner, admits_room, lasts }
        ),
        4 => (any::<usize>(), 0..500_i128).prop_map(|(ticket, actual)| Step::Settle { ticket, actual }),
        1 => (0..KEYS, 0..300_i128).prop_map(|(key, amount)| Step::Charge { key, amount }),
        1 => (1..4_u64).prop_map(|owner| Step::KillOwner { owner }),
        1 => Just(Step::Expire),
        2 => (0..200_i64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A plain counter: what the state has to agree with.
#[derive(Default)]
struct Plain {
    start: i64,
    used: i128,
    calls: u64,
    /// Charges with their times, for the window.
    charges: Vec<(i64, i128)>,
    fired: u64,
}

impl Plain {
    fn roll(&mut self, key: u8, now: i64) {
        if let Period::Fixed { start, .. } = period(key, now)
            && start > self.start
        {
            *self = Self { start, ..Self::default() };
        }
    }

    fn charge(&mut self, now: i64, amount: i128, calls: u64) {
        self.used = (self.used + amount).max(0);
        self.charges.push((now, amount));
        self.calls += calls;
    }
}

struct Ticket {
    owner: u64,
    call: u64,
    keys: Vec<u8>,
    holds: Holds,
    expires: i64,
    has_expired: bool,
}

#[derive(Default)]
struct Model {
    counters: HashMap<u8, Plain>,
    tickets: Vec<Ticket>,
    now: i64,
    calls: u64,
}

impl Model {
    fn counter(&mut self, key: u8) -> &mut Plain {
        let now = self.now;
        let plain = self.counters.entry(key).or_default();
        plain.roll(key, now);
        plain
    }

    fn held(&self, key: u8) -> i128 {
        let live = self.tickets.iter().filter(|ticket| !ticket.has_expired);
        live.flat_map(|ticket| ticket.keys.iter().zip(&ticket.holds))
            .filter(|(of, _)| **of == key)
            .map(|(_, held)| held.amount)
            .sum()
    }

    fn live_holds(&self) -> usize {
        self.tickets.iter().filter(|ticket| !ticket.has_expired).map(|ticket| ticket.holds.len()).sum()
    }

    /// The lowest and highest amount that the state may show as used.
    fn used(&mut self, key: u8) -> (i128, i128) {
        let now = self.now;
        let plain = self.counter(key);
        if key.is_multiple_of(2) {
            return (plain.used, plain.used);
        }
        let within =
            |length: i64| plain.charges.iter().filter(|(at, _)| *at > now - length).map(|(_, amount)| amount).sum();
        (within(LENGTH), within(LENGTH + BUCKET))
    }

    /// Charges the input of expired holds, as the state does.
    fn end(&mut self, index: usize, is_charged: bool) {
        let now = self.now;
        let ticket = &mut self.tickets[index];
        ticket.has_expired = true;
        let parts: Vec<(u8, Held)> = ticket.keys.iter().copied().zip(ticket.holds.iter().copied()).collect();
        for (key, held) in parts {
            let plain = self.counters.entry(key).or_default();
            if is_charged && (!key.is_multiple_of(2) || plain.start == held.period) {
                plain.charge(now, held.input, 1);
            }
        }
    }

    fn check(&mut self, words: &Words) {
        for key in 0..KEYS {
            let found = counts(words, SMALL, counter(key, self.now).hash, period(key, self.now), self.now).unwrap();
            let (low, high) = self.used(key);
            assert!((low..=high).contains(&found.used), "key {key}: {low} <= {} <= {high}", found.used);
            assert_eq!(found.held, self.held(key), "key {key}");
            if key.is_multiple_of(2) {
                assert_eq!(found.calls, self.counter(key).calls, "key {key}");
            }
        }
    }
}

/// Reserves on the state and in the model. `terms` are the estimate, the owner, whether any room admits, and after how many seconds the
/// hold expires.
fn reserve_step(words: &Words, model: &mut Model, keys: Vec<u8>, terms: (i128, u64, bool, i64), revive: impl Fn()) {
    let (estimate, owner, admits_room, lasts) = terms;
    let now = model.now;
    model.calls += 1;
    let call = model.calls;
    let requests: Vec<Request<'_>> = keys
        .iter()
        .map(|key| Request {
            counter: counter(*key, now),
            estimate,
            blocks: true,
            admits_room,
            input_part: 1 << 31,
            is_charged_when_killed: owner == 3,
            expires: now + lasts,
        })
        .collect();
    let outcome = reserve(words, SMALL, &requests, (owner, call), now, &NoTexts);
    revive();
    match outcome {
        Err(_) => {}
        Ok(Reserved::NoRoom) => assert!(model.live_holds() + keys.len() > SMALL.holds),
        Ok(Reserved::Refused { request, counts: found }) => {
            let room = LIMIT - found.used - found.held;
            assert!(if admits_room { room <= 0 } else { estimate > room });
            assert_eq!(found.held, model.held(keys[request]));
        }
        Ok(Reserved::Admitted(holds)) => {
            for (key, held) in keys.iter().zip(&holds) {
                let room = LIMIT - model.used(*key).0 - model.held(*key);
                assert!(held.amount <= room, "a call was admitted that does not fit");
                assert_eq!(held.amount, if admits_room { estimate.min(held.amount) } else { estimate });
            }
            model.tickets.push(Ticket { owner, call, keys, holds, expires: now + lasts, has_expired: false });
        }
    }
}

fn settle_step(words: &Words, model: &mut Model, ticket: usize, actual: i128, revive: impl Fn()) {
    let now = model.now;
    if model.tickets.is_empty() {
        return revive();
    }
    let index = ticket % model.tickets.len();
    let ticket = &model.tickets[index];
    let settlements: Vec<Settlement<'_>> = ticket
        .keys
        .iter()
        .zip(&ticket.holds)
        .map(|(key, held)| Settlement {
            counter: counter(*key, now),
            held: Some(*held),
            charged: Charged { amount: actual, calls: 1, ..Charged::default() },
        })
        .collect();
    let outcome = settle(words, SMALL, &settlements, ((ticket.owner, ticket.call), 0), now, &NoTexts);
    revive();
    let Ok(outcome) = outcome else { return };
    let Done::Yes(crossed) = outcome else { panic!("a slot of a hold is never reused") };
    let ticket = model.tickets.swap_remove(index);
    for ((key, held), crossed) in ticket.keys.iter().zip(&ticket.holds).zip(crossed) {
        let plain = model.counter(*key);
        let (mut amount, calls) = if ticket.has_expired { (actual - held.input, 0) } else { (actual, 1) };
        if !key.is_multiple_of(2) {
            amount = amount.max(0);
        }
        if !key.is_multiple_of(2) || plain.start == held.period {
            plain.charge(now, amount, calls);
            assert_eq!(crossed.bits & plain.fired, 0, "a threshold was crossed twice");
            plain.fired |= crossed.bits;
        } else {
            assert_eq!(crossed.bits, 0);
        }
    }
}

/// Makes one step on the state and on the model. Each step is first killed after `kill` stores.
fn run(words: &Words, model: &mut Model, step: Step, kill: u64) {
    let now = model.now;
    kill_after(words, kill);
    let revive = || {
        kill_after(words, u64::MAX);
        redo(words).unwrap();
    };
    match step {
        Step::Reserve { keys, estimate, owner, admits_room, lasts } => {
            reserve_step(words, model, keys, (estimate, owner, admits_room, lasts), revive);
        }
        Step::Settle { ticket, actual } => {
            settle_step(words, model, ticket, actual, revive);
        }
        Step::Charge { key, amount } => {
            let charged = Charged { amount, calls: 1, ..Charged::default() };
            let settlement = Settlement { counter: counter(key, now), held: None, charged };
            let outcome = settle(words, SMALL, &[settlement], ((0, 0), 0), now, &NoTexts);
            revive();
            if outcome.is_ok() {
                model.counter(key).charge(now, amount, 1);
            }
        }
        Step::KillOwner { owner } => {
            let _ = end_holds(words, SMALL, (Ended::Killed(owner), 0), now);
            revive();
            end_holds(words, SMALL, (Ended::Killed(owner), 0), now).unwrap();
            for index in 0..model.tickets.len() {
                if model.tickets[index].owner == owner && !model.tickets[index].has_expired {
                    model.end(index, owner == 3);
                }
            }
            model.tickets.retain(|ticket| ticket.owner != owner);
        }
        Step::Expire => {
            let _ = end_holds(words, SMALL, (Ended::Expired, 0), now);
            revive();
            end_holds(words, SMALL, (Ended::Expired, 0), now).unwrap();
            for index in 0..model.tickets.len() {
                if model.tickets[index].expires <= now && !model.tickets[index].has_expired {
                    model.end(index, true);
                }
            }
        }
        Step::Wait { seconds } => {
            model.now += seconds;
            revive();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The state agrees with a plain map after every step, although every step may be killed at any of its stores.
    #[test]
    fn the_state_agrees_with_a_model(steps in proptest::collection::vec((step(), prop_oneof![Just(u64::MAX), 0..200_u64]), 1..60)) {
        let (words, mut model) = (words(), Model { now: 1_700_000_000, ..Model::default() });
        for (step, kill) in steps {
            run(&words, &mut model, step, kill);
            model.check(&words);
        }
    }
}

/// A kill at any store of an operation leaves the state before or after it.
#[test]
fn a_kill_at_every_store_changes_all_or_nothing() {
    let now = 1_700_000_000;
    let mut outcomes = [0; 2];
    for kill in 0..200 {
        let words = words();
        let requests = [0, 1, 2].map(|key| Request {
            counter: counter(key, now),
            estimate: 300,
            blocks: true,
            admits_room: false,
            input_part: 0,
            is_charged_when_killed: false,
            expires: now + 900,
        });
        kill_after(&words, kill);
        let admitted = reserve(&words, SMALL, &requests, (7, 1), now, &NoTexts).is_ok();
        kill_after(&words, u64::MAX);
        redo(&words).unwrap();
        let held =
            [0, 1, 2].map(|key| counts(&words, SMALL, counter(key, now).hash, period(key, now), now).unwrap().held);
        assert_eq!(held, [if admitted { 300 } else { 0 }; 3], "killed after {kill} stores");
        outcomes[usize::from(admitted)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 20), "{outcomes:?}");
}

/// A later period goes on if the clock was set back: nothing becomes free before its time.
#[test]
fn a_clock_that_is_set_back_keeps_the_period() {
    let (words, now) = (words(), 1_700_000_000 / LENGTH * LENGTH);
    let charge = |at: i64| {
        let charged = Charged { amount: 10, calls: 1, ..Charged::default() };
        settle(&words, SMALL, &[Settlement { counter: counter(0, at), held: None, charged }], ((0, 0), 0), at, &NoTexts)
    };
    charge(now + LENGTH).unwrap();
    charge(now).unwrap();
    let found = counts(&words, SMALL, counter(0, now).hash, period(0, now), now).unwrap();
    assert_eq!(found, Counts { used: 20, held: 0, calls: 2, unpriced: 0 });
}

/// A process that is killed at any store of the operation that crosses a threshold, or before it reports it, leaves a record of it to
/// the next one.
#[test]
fn a_crossed_threshold_is_reported_although_its_process_is_killed() {
    let now = 1_700_000_000;
    let request = Request {
        counter: counter(0, now),
        estimate: 900,
        blocks: true,
        admits_room: false,
        input_part: 0,
        is_charged_when_killed: false,
        expires: now + 900,
    };
    for kill in (0..100).chain([u64::MAX]) {
        let words = words();
        let Reserved::Admitted(holds) = reserve(&words, SMALL, &[request], (7, 1), now, &NoTexts).unwrap() else {
            panic!("there is room")
        };
        let charged = Charged { amount: 900, calls: 1, ..Charged::default() };
        let settlement = Settlement { counter: counter(0, now), held: Some(holds[0]), charged };
        kill_after(&words, kill);
        let settled = settle(&words, SMALL, &[settlement], ((7, 1), 7), now, &NoTexts);
        kill_after(&words, u64::MAX);
        redo(&words).unwrap();
        end_holds(&words, SMALL, (Ended::Expired, 8), i64::MAX - 1).unwrap();
        let untold = end_holds(&words, SMALL, (Ended::Killed(7), 8), now).unwrap();
        let found = counts(&words, SMALL, counter(0, now).hash, period(0, now), now).unwrap();
        assert_eq!(found.held, 0, "killed after {kill} stores");
        if settled.is_ok() {
            assert_eq!((untold.len(), untold[0].1.call, untold[0].1.amount), (1, 1, 900));
            // It belongs to the next process now, which forgets it once it is reported.
            report(&words, SMALL, untold[0].0, 7).unwrap();
            assert_eq!(end_holds(&words, SMALL, (Ended::Killed(8), 9), now).unwrap().len(), 1);
            report(&words, SMALL, untold[0].0, 9).unwrap();
        }
        assert_eq!(end_holds(&words, SMALL, (Ended::Killed(9), 9), now).unwrap(), []);
    }
}

/// Only one of many operations finds a threshold crossed.
#[test]
fn each_threshold_is_crossed_once_in_a_period() {
    let (words, now) = (words(), 1_700_000_000 / LENGTH * LENGTH);
    let mut seen = Vec::new();
    for at in [now, now + LENGTH] {
        for _ in 0..12 {
            let charged = Charged { amount: 100, calls: 1, ..Charged::default() };
            let settlement = Settlement { counter: counter(0, at), held: None, charged };
            let Done::Yes(crossed) = settle(&words, SMALL, &[settlement], ((0, 0), 0), at, &NoTexts).unwrap() else {
                panic!("there is room")
            };
            seen.extend(crossed.iter().filter(|crossed| crossed.bits != 0).map(|crossed| (crossed.bits, crossed.used)));
        }
    }
    assert_eq!(seen, [(1, 800), (2, 1_000), (1, 800), (2, 1_000)]);
}
