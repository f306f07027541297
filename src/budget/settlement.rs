//! Settlements: made at once, or kept in memory until the state can be used.

use std::io;
use std::sync::Mutex;

use smallvec::SmallVec;

use super::crossing::Crossing;
use super::error::Unavailable;
use super::operations::{self, Counter, Crossed, Done, Held, Settlement};
use super::slot::{Charged, Period};
use super::state::State;
use crate::sys::clock::unix_seconds;
use crate::sys::mutex::lock;

/// The most settlements that wait for the lock, some 200 bytes each. Further ones are lost, and counted.
pub(super) const MAX_WAITING: usize = 100_000;

/// A settlement that waits for the lock.
pub(super) struct Waiting {
    pub(super) owner: (u64, u64),
    pub(super) shares: Vec<WaitingShare>,
}

pub(super) struct WaitingShare {
    pub(super) key: Box<[u8]>,
    pub(super) period: Period,
    pub(super) amount: i128,
    pub(super) thresholds: Box<[i128]>,
    pub(super) held: Option<Held>,
    pub(super) charged: Charged,
}

/// Makes the settlements that waited for the lock.
pub(super) fn settle_waiting(queue: &Mutex<Vec<Waiting>>, state: &mut State, limit: u64, teller: u64) -> Vec<Crossing> {
    let all = std::mem::take(&mut *lock(queue));
    let mut crossings = Vec::new();
    let mut all = all.into_iter();
    while let Some(waiting) = all.next() {
        let Ok(crossed) = settle(state, limit, &waiting, teller, unix_seconds()) else {
            // The next operation tries them again.
            lock(queue).extend([waiting].into_iter().chain(all));
            break;
        };
        crossings.extend(crossed);
    }
    crossings
}

/// Runs an operation. If it finds no room, the state grows first.
pub(super) fn with_room<T>(
    state: &mut State,
    limit: u64,
    run: impl Fn(&State) -> io::Result<Done<T>>,
) -> Result<T, Unavailable> {
    if let Done::Yes(value) = run(state)? {
        return Ok(value);
    }
    if !state.grow(limit, unix_seconds())? {
        return Err(Unavailable::Full);
    }
    match run(state)? {
        Done::Yes(value) => Ok(value),
        Done::NoRoom => Err(Unavailable::Full),
    }
}

pub(super) fn settle(
    state: &mut State,
    limit: u64,
    waiting: &Waiting,
    teller: u64,
    at: i64,
) -> Result<Vec<Crossing>, Unavailable> {
    let all: SmallVec<[Crossed; 4]> = with_room(state, limit, |state| {
        let settlements: SmallVec<[Settlement<'_>; 4]> = (waiting.shares.iter())
            .map(|share| Settlement {
                counter: Counter {
                    hash: state.hash(&share.key),
                    text: &share.key,
                    period: share.period,
                    amount: share.amount,
                    thresholds: &share.thresholds,
                },
                held: share.held,
                charged: share.charged,
            })
            .collect();
        operations::settle(&state.words, state.layout, &settlements, (waiting.owner, teller), at, state.keys())
    })?;
    let crossed = waiting.shares.iter().zip(all).filter(|(_, crossed)| crossed.bits != 0);
    Ok(crossed
        .map(|(share, crossed)| Crossing {
            key: share.key.clone(),
            period: share.period,
            bits: crossed.bits,
            used: crossed.used,
            at,
            record: crossed.record,
        })
        .collect())
}
