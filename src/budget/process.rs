//! What a process needs to use the state: the locks and how long to wait for them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::error::Unavailable;
use super::owner::Owner;
use super::settlement::Waiting;
use super::state::State;
use crate::sys::lock::{Turn, TurnLock};

/// How often a waiting thread only yields before it sleeps.
const YIELDS: u32 = 32;
/// The first and the longest sleep between two tries.
const SLEEPS: [Duration; 2] = [Duration::from_micros(50), Duration::from_micros(500)];
/// How long an operation waits for the lock. Its holder may be stopped by a signal.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long it waits after another one has waited in vain, for [`IMPATIENT_FOR`].
const SHORT_PATIENCE: Duration = Duration::from_millis(1);
const IMPATIENT_FOR: Duration = Duration::from_secs(1);
/// Whether an operation may wait for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It gives up at once, so that the caller can let go of what it holds, and ask again.
    None,
    /// It waits for up to a millisecond.
    Short,
    /// It waits for up to 50 ms, or a millisecond if another one has just waited in vain.
    Long,
}

/// What belongs to one process. A forked child makes its own.
pub(super) struct Process {
    pub(super) generation: u64,
    pub(super) lock: TurnLock,
    pub(super) state: Mutex<State>,
    pub(super) owner: Owner,
    pub(super) next_call: AtomicU64,
    pub(super) waiting: Mutex<Vec<Waiting>>,
    /// The owners whose locks were free at the last look. Their holds are released if they still are at the next one.
    pub(super) suspects: Mutex<Vec<u64>>,
}

/// The exclusive right to use the state.
pub(super) struct Access<'a> {
    // Dropped first: another thread of this process would get the file's lock while this one still has it, and then lose it.
    _turn: Turn<'a>,
    pub(super) state: MutexGuard<'a, State>,
}

/// How long operations wait for the lock: less for a second after one has waited in vain.
pub(super) struct Waits {
    /// Until when they wait only shortly, in milliseconds since `begun`.
    impatient_until: AtomicU64,
    begun: Instant,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { impatient_until: AtomicU64::new(0), begun: Instant::now() }
    }

    fn elapsed(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Tries until something is taken or the time is up.
    pub(super) fn take<T>(
        &self,
        patience: Patience,
        take: impl FnMut() -> io::Result<Option<T>>,
    ) -> Result<T, Unavailable> {
        let until = self.impatient_until.load(Ordering::Relaxed);
        let longest = match patience {
            Patience::None => Duration::ZERO,
            Patience::Long if until == 0 || self.elapsed() >= until => PATIENCE,
            Patience::Short | Patience::Long => SHORT_PATIENCE,
        };
        let taken = wait(longest, take);
        if matches!(taken, Err(Unavailable::Busy)) && patience == Patience::Long {
            self.impatient_until.store(self.elapsed() + IMPATIENT_FOR.as_millis() as u64, Ordering::Relaxed);
        }
        taken
    }
}

impl Process {
    /// The exclusive right to use the state, which is refreshed.
    pub(super) fn access(&self, waits: &Waits, patience: Patience) -> Result<Access<'_>, Unavailable> {
        let taken = waits.take(patience, || {
            let state = match self.state.try_lock() {
                Ok(state) => state,
                // The redo log makes an operation that panicked whole.
                Err(TryLockError::Poisoned(error)) => error.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(None),
            };
            Ok(self.lock.try_take()?.map(|turn| Access { _turn: turn, state }))
        });
        let mut access = taken?;
        access.state.refresh()?;
        Ok(access)
    }
}

/// Tries until something is taken or the time is up.
fn wait<T>(longest: Duration, mut take: impl FnMut() -> io::Result<Option<T>>) -> Result<T, Unavailable> {
    if let Some(taken) = take()? {
        return Ok(taken);
    }
    if longest.is_zero() {
        return Err(Unavailable::Busy);
    }
    let deadline = Instant::now() + longest;
    let [mut pause, longest_pause] = SLEEPS;
    for turn in 0_u32.. {
        if turn < YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest_pause);
        }
        if let Some(taken) = take()? {
            return Ok(taken);
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(Unavailable::Busy)
}
