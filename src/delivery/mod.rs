//! Delivery: a background thread that brings every event of the journal to every destination.
//!
//! It is made by the first event and never touches Python. It reads with one cursor for each destination, so that one that is down
//! delays no other, and adopts the journals of processes that died. A second thread keeps the journal's pages ready.

mod backoff;
mod dead_letter;
mod fallback;
mod in_flight;
mod lane;
mod local;
mod policy;
mod remote;
mod requeue;
mod response_log;
mod sender;
mod shared;
mod stats;
mod sub_batch;

use std::time::Duration;

pub use dead_letter::{drop_dead_letters, retry_dead_letters};
pub use lane::{Outlet, drain_foreign};
pub use local::LedgerDestination;
pub use remote::{Remote, RemoteSettings};
pub use response_log::{Answered, ResponseLog};
pub use sender::{Flushed, Sender};
pub use stats::DestinationStats;

use crate::event::UsageEvent;

/// What became of a delivered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events that the destination took.
    pub accepted: u64,
    /// Events that it had already.
    pub duplicates: u64,
}

/// Why a batch could not be delivered. It stays in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words, without secrets.
    pub reason: String,
    /// No sooner than this, if the destination said so.
    pub retry_after: Option<Duration>,
}

/// Somewhere to bring events. Events may come again after a failure or a crash: their id tells.
pub trait Destination: Send {
    /// A name that stays the same from run to run: a cursor is kept under it.
    fn name(&self) -> &str;

    /// Brings a batch, all or nothing.
    ///
    /// # Errors
    /// When the batch has to be brought again.
    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure>;

    /// Lets go of what is open, because nothing has come for a while.
    fn rest(&mut self) {}

    /// Whether this process must leave delivery to others.
    fn is_barred(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
