//! Keeps forks and the bundled SQLite apart, so that a child can use SQLite although its parent had a file open.
//!
//! SQLite forbids to use a connection in a forked child, and keeps two things there that make even a new connection unsafe: mutexes
//! that another thread of the parent may have held, and a list of open files by inode, with locks that the child does not have.
//!
//! - Every use of SQLite holds [`SqliteUse`]. A fork waits until none does, at most [`LONGEST_WAIT`]: then no mutex is held, and no list
//!   is being changed.
//! - The child sees every file under another device number (see `fstat` in `sqlite.rs`), so none is taken for one of the parent's list.
//!
//! A child whose fork did not wait long enough, or ran no handlers (a bare `clone`), is not clean: it must not use SQLite.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sys::fork::fork_generation;

/// A batch for the ledger takes some 20 ms; a report may take seconds, and no fork waits for that.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
const IS_FORKING: u64 = 1;
const ONE_USE: u64 = 2;

/// Uses of SQLite times two, plus one while a fork is under way.
static STATE: AtomicU64 = AtomicU64::new(0);
/// The fork generation of the last child that was clean.
static CLEAN: AtomicU64 = AtomicU64::new(0);
/// Forks between the process that replaced SQLite's calls and this one.
static DEPTH: AtomicU64 = AtomicU64::new(0);

/// The right to call SQLite.
pub(in crate::sys) struct Use(());

/// Waits until no fork is under way. Not to be called in a child that is not clean.
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

/// What tells this process's files from those that SQLite knows from its parents; 0 in the process that replaced SQLite's calls.
pub(super) fn depth() -> u64 {
    DEPTH.load(Ordering::Relaxed)
}

/// Before a fork: lets uses that have begun end.
pub(super) fn close() {
    let deadline = Instant::now() + LONGEST_WAIT;
    while STATE.fetch_or(IS_FORKING, Ordering::AcqRel) & !IS_FORKING != 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// After a fork, in the parent.
pub(super) fn open_in_parent() {
    STATE.fetch_and(!IS_FORKING, Ordering::AcqRel);
}

/// After a fork, in the child; `replaces` when SQLite's calls are replaced. Takes no lock and no memory.
pub(super) fn open_in_child(replaces: bool) {
    DEPTH.fetch_add(1, Ordering::Relaxed);
    if replaces && STATE.swap(0, Ordering::AcqRel) & !IS_FORKING == 0 {
        CLEAN.store(fork_generation(), Ordering::Release);
    }
}
