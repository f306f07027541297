//! What delivery asks of a destination on this machine, and the two kinds of destinations.

use std::time::Duration;

use super::{DestinationStats, Remote};
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
    /// Whether the destination is busy with another writer: it is tried again within the same flush.
    pub is_busy: bool,
}

/// A destination on this machine, served by a thread of its own. Events may come again after a failure or a crash: their id tells.
pub trait LocalSink: Send {
    /// A name that stays the same from run to run: a cursor is kept under it.
    fn name(&self) -> &str;

    /// Brings a batch, all or nothing.
    ///
    /// # Errors
    /// When the batch has to be brought again.
    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure>;

    /// Closes what is open, because nothing has come for a while.
    fn close_idle(&mut self) {}

    /// Whether this process inherited state by a fork that keeps it from delivering here.
    fn is_unusable_after_fork(&self) -> bool {
        false
    }
}

/// Where events go.
pub enum Destination {
    /// A place on this machine.
    Local(Box<dyn LocalSink>),
    /// A place over HTTP.
    Remote(Box<Remote>),
}

impl Destination {
    /// A name that stays the same from run to run: a cursor is kept under it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Local(sink) => sink.name(),
            Self::Remote(remote) => remote.name(),
        }
    }

    /// The names of the cursors under which orphan journals hold events for it.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Local(sink) => vec![sink.name().to_owned()],
            Self::Remote(remote) => remote.names().map(str::to_owned).collect(),
        }
    }

    /// Its counts, at the beginning.
    pub(super) fn stats(&self) -> DestinationStats {
        let host = match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote.host().to_owned()),
        };
        DestinationStats { name: self.name().to_owned(), host, ..DestinationStats::default() }
    }
}
