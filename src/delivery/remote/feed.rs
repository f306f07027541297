//! The source of batches for an HTTP destination, and the results of its steps.

use super::super::in_flight::Source;
use crate::journal::Batch;

/// Whether a flush waits for what was tracked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// No flush waits. Events linger, so that they share requests.
    None,
    /// A flush waits, but the backoff was already skipped for it.
    Known,
    /// A flush has just begun. The backoff of a failing destination is skipped once.
    New,
}

/// What may be started. It shrinks while delivery stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Batches of any journal.
    Everything,
    /// Batches of this process's journal.
    OwnJournal,
    /// No new request.
    Nothing,
}

/// Where batches come from.
pub(crate) trait Feed {
    /// The events after the cursor of this process's journal.
    fn oldest(&mut self) -> Batch;
    /// The newest events, if older ones are left as well.
    fn newest(&mut self) -> Option<Batch>;
    /// The next events of an orphan journal.
    fn next_orphan(&mut self) -> Option<Batch>;
}

/// The result of a step.
pub(crate) enum Step {
    /// A batch is done. Its cursor may move past it.
    Done(Batch, Source),
    /// A batch was given up. Its cursor may move past the part that is done. Then it is another journal's turn.
    GivenUp(Option<Batch>, Source),
    /// Requests are in flight, or events wait.
    Busy,
    /// There is nothing to do. The batch was read from this process's journal and has no records.
    Idle(Batch),
}
