//! The trait of local destinations, and the two kinds of destinations.

use std::time::Duration;

use super::{DestinationStats, Remote};
use crate::event::UsageEvent;

/// The result of a delivered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Events that the destination stored.
    pub accepted: u64,
    /// Events that the destination already had.
    pub duplicates: u64,
}

/// The work on what is stored, such as the deletion of old calls, that a destination does after a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// How often it failed.
    pub failures: u64,
    /// Why it failed the last time. A success clears it.
    pub last_error: Option<String>,
}

/// Why a batch could not be delivered. It stays in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The description, without secrets.
    pub reason: String,
    /// The earliest time of a retry, if the destination gave one.
    pub retry_after: Option<Duration>,
    /// Whether the destination is busy with another writer. It is then retried within the same flush.
    pub is_busy: bool,
}

/// A destination on this machine, served by its own thread. Events may be delivered again after a failure or a crash; their ids
/// identify them.
pub trait LocalSink: Send {
    /// A name that is the same in every run: it names the cursor.
    fn name(&self) -> &str;

    /// Delivers a batch completely or not at all.
    ///
    /// # Errors
    /// If the batch must be delivered again.
    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure>;

    /// The state of the work that follows a batch.
    fn upkeep(&self) -> Upkeep {
        Upkeep::default()
    }

    /// How long events wait for others before they are delivered. A flush, a close or a full batch ends the wait.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Closes open files, because nothing was delivered for a while.
    fn close_idle(&mut self) {}

    /// Whether this process inherited state through a fork that makes delivery impossible here.
    fn is_unusable_after_fork(&self) -> bool {
        false
    }
}

/// A destination of events.
pub enum Destination {
    /// On this machine.
    Local(Box<dyn LocalSink>),
    /// Over HTTP.
    Remote(Box<Remote>),
}

impl Destination {
    /// A name that is the same in every run: it names the cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Local(sink) => sink.name(),
            Self::Remote(remote) => remote.name(),
        }
    }

    /// The names of the cursors with which orphan journals hold events for it.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Local(sink) => vec![sink.name().to_owned()],
            Self::Remote(remote) => remote.names().map(str::to_owned).collect(),
        }
    }

    /// Its initial counts.
    pub(super) fn stats(&self) -> DestinationStats {
        let host = match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote.host().to_owned()),
        };
        DestinationStats { name: self.name().to_owned(), host, ..DestinationStats::default() }
    }
}
