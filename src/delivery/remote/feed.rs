//! What a destination over HTTP is fed with, and what a step of it came to.

use super::super::in_flight::Source;
use crate::journal::Batch;

/// Whether a flush waits for what was tracked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// No flush waits: events linger, so that they go together.
    None,
    /// A flush waits, but a destination that fails was asked for it already.
    Known,
    /// A flush has just begun: a destination that fails is asked once more.
    New,
}

/// What may be begun: less and less while delivery ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Batches of any journal.
    Everything,
    /// Batches of this process's journal.
    OwnJournal,
    /// No request any more.
    Nothing,
}

/// Where batches come from.
pub(crate) trait Feed {
    /// The events after the cursor of this process's journal.
    fn oldest(&mut self) -> Batch;
    /// Events that are being tracked, where older ones are left as well.
    fn newest(&mut self) -> Option<Batch>;
    /// The next events of an orphan journal.
    fn next_orphan(&mut self) -> Option<Batch>;
}

/// The result of a step.
pub(crate) enum Step {
    /// A batch is done; its cursor may move past it.
    Done(Batch, Source),
    /// A batch was given up; its cursor may move past what is done of it, and then it is another journal's turn.
    GivenUp(Option<Batch>, Source),
    /// Something is on its way, or waits.
    Busy,
    /// There is nothing to do: of its own journal this was read, without a record.
    Idle(Batch),
}
