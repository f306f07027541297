//! Prevents forks during uses of the bundled SQLite, so that a child can use SQLite although its parent had a file open.
//!
//! SQLite forbids using a connection in a forked child. Two parts of its state make even a new connection unsafe there: mutexes that
//! another thread of the parent may have held, and a list of open files by inode, with locks that the child does not have.
//!
//! - Every use of SQLite holds [`SqliteUse`]. A fork waits until there is no use, at most [`MAX_WAIT`]. Then no mutex is locked and
//!   the list is not being changed.
//! - The child sees every file with another device number (see `fstat` in `sqlite.rs`), so that none matches the parent's list.
//!
//! A child is not clean if its fork did not wait long enough or ran no handlers (a bare `clone`). It must not use SQLite.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::fork::fork_generation;

/// The longest wait of a fork. Writing a batch to the ledger takes about 20 ms. A report may take seconds; a fork does not wait for
/// that.
const MAX_WAIT: Duration = Duration::from_millis(100);
const IS_FORKING: u64 = 1;
const ONE_USE: u64 = 2;

/// The number of uses of SQLite times two, plus one during a fork.
static STATE: AtomicU64 = AtomicU64::new(0);
/// The fork generation of the last clean child.
static CLEAN: AtomicU64 = AtomicU64::new(0);
/// The number of forks between the process that replaced SQLite's calls and this one.
static DEPTH: AtomicU64 = AtomicU64::new(0);

/// The right to call SQLite.
pub(in crate::sys) struct Use(());

/// Waits until no fork is in progress. Must not be called in a child that is not clean.
pub(in crate::sys) fn enter() -> Use {
    loop {
        let seen = STATE.load(Ordering::Acquire);
        if seen & IS_FORKING != 0 {
            std::thread::yield_now();
        } else if STATE.compare_exchange(seen, seen + ONE_USE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Use(());
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        STATE.fetch_sub(ONE_USE, Ordering::AcqRel);
    }
}

/// Whether this process is a child that may use SQLite although its parent had a file open.
pub(in crate::sys) fn is_clean_child() -> bool {
    CLEAN.load(Ordering::Acquire) == fork_generation()
}

/// The value that distinguishes the files of this process from those that SQLite knows from its parents; 0 in the process that
/// replaced SQLite's calls.
pub(super) fn depth() -> u64 {
    DEPTH.load(Ordering::Relaxed)
}

/// Runs before a fork: stops new uses and waits for the current ones to end.
pub(super) fn close() {
    let deadline = Instant::now() + MAX_WAIT;
    while STATE.fetch_or(IS_FORKING, Ordering::AcqRel) & !IS_FORKING != 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// Runs after a fork, in the parent.
pub(super) fn open_in_parent() {
    STATE.fetch_and(!IS_FORKING, Ordering::AcqRel);
}

/// Runs after a fork, in the child. `replaces` is true if SQLite's calls are replaced. It must not lock or allocate.
pub(super) fn open_in_child(replaces: bool) {
    DEPTH.fetch_add(1, Ordering::Relaxed);
    if replaces && STATE.swap(0, Ordering::AcqRel) & !IS_FORKING == 0 {
        CLEAN.store(fork_generation(), Ordering::Release);
    }
}
