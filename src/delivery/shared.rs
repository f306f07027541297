//! What the handle of delivery, its thread and the keeper share.
//!
//! The keeper is a second thread that only readies journal pages. It is not the delivery thread's work, because that waits for
//! disks and networks: behind a write to SQLite of 30 ms, writers would run out of ready pages and take faults of 5 µs each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sender::{POLL, TICK};
use super::stats::{DestinationStats, Outlook};
use crate::journal::Journal;
use crate::sys::clock::unix_ns;

/// How often the keeper looks while chunks are used up: at a million events a second, 5 ms are 1.5 MB.
const KEEP: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Control {
    pub(super) asked: u64,
    pub(super) done: u64,
    pub(super) is_stopping: bool,
    pub(super) has_stopped: bool,
}

pub(super) struct Shared {
    pub(super) journal: Arc<Journal>,
    pub(super) control: Mutex<Control>,
    pub(super) changed: Condvar,
    pub(super) stats: Mutex<Vec<DestinationStats>>,
    pub(super) outlook: Mutex<Outlook>,
    /// Events given up since somebody was told.
    pub(super) lost: AtomicU64,
    /// Events that only memory held when the thread ended.
    pub(super) left_in_memory: AtomicU64,
    pub(super) is_asleep: AtomicBool,
    pub(super) is_handed_off: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(journal: Arc<Journal>, stats: Vec<DestinationStats>, is_handed_off: bool) -> Self {
        Self {
            journal,
            control: Mutex::default(),
            changed: Condvar::new(),
            stats: Mutex::new(stats),
            outlook: Mutex::default(),
            lost: AtomicU64::new(0),
            left_in_memory: AtomicU64::new(0),
            is_asleep: AtomicBool::new(false),
            is_handed_off,
        }
    }

    /// Keeps the journal's pages ready until delivery has stopped.
    pub(super) fn keep(&self) {
        loop {
            let is_busy = self.journal.tend(unix_ns());
            let now = Instant::now();
            // Counted before the lock is taken, and once a second only.
            if lock(&self.outlook).is_due(now) {
                let backlog = self.backlog();
                lock(&self.outlook).note(now, backlog);
            }
            let control = lock(&self.control);
            if control.is_stopping {
                return;
            }
            let pause = match is_busy {
                true => KEEP,
                false if self.is_asleep.load(Ordering::Relaxed) => TICK,
                false => POLL,
            };
            drop(self.changed.wait_timeout(control, pause));
        }
    }

    /// Bytes of records that some destination has not passed.
    pub(super) fn backlog(&self) -> u64 {
        let passed = lock(&self.stats).iter().map(|stats| stats.own_bytes).min().unwrap_or(0);
        self.journal.counts().appended_bytes.saturating_sub(passed)
    }
}
