//! A batch that is being sent to an HTTP destination: what is still to be sent, and what waits for a response.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::classify::RETRY_THRESHOLD;
use super::sub_batch::SubBatch;
use crate::event::binary::decode;
use crate::http::{Reply, SendError};
use crate::journal::Batch;

/// A batch that is being delivered.
pub(super) struct InFlightBatch {
    pub(super) batch: Batch,
    pub(super) source: Source,
    /// Whether the batch was given up. It will be read again from its beginning, because its cursor has not moved.
    pub(super) is_given_up: bool,
    /// The largest sub-batch that was accepted after a part of the batch was too large or too slow.
    pub(super) largest: Option<usize>,
    pub(super) is_slow: bool,
    /// Records that were not sent: those that are not events, and events that waited too long. Counted when the batch is done.
    pub(super) unreadable: u64,
    pub(super) expired: u64,
    pub(super) todo: VecDeque<SubBatch>,
    pub(super) in_flight: Vec<(SubBatch, JoinHandle<Result<Reply, SendError>>)>,
}

/// The journal of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// This process's journal.
    Own,
    /// An orphan journal, whose process has ended.
    Orphan,
}

impl InFlightBatch {
    pub(super) fn new(batch: Batch, source: Source) -> Self {
        Self {
            todo: VecDeque::from([SubBatch::new(0..batch.len())]),
            batch,
            source,
            is_given_up: false,
            largest: None,
            is_slow: false,
            unreadable: 0,
            expired: 0,
            in_flight: Vec::new(),
        }
    }

    /// Counts the records of a sub-batch that were not sent.
    pub(super) fn leave_out(&mut self, sub: &SubBatch) {
        self.unreadable += sub.unreadable();
        self.expired += sub.expired;
    }

    /// The given number of events if they are this process's own, else 0.
    pub(super) fn of_own(&self, events: u64) -> u64 {
        if self.source == Source::Own { events } else { 0 }
    }

    /// The records before the first unfinished one; `None` if the first record is unfinished.
    pub(super) fn done_so_far(&self) -> Option<Batch> {
        let left = self.todo.iter().chain(self.in_flight.iter().map(|(sub, _)| sub));
        let first_left = left.map(|sub| sub.events.start).min().unwrap_or(self.batch.len());
        (first_left > 0).then(|| self.batch.prefix(first_left))
    }

    /// How many records are not waiting any more.
    pub(super) fn finished(&self) -> u64 {
        let left = self.todo.iter().chain(self.in_flight.iter().map(|(sub, _)| sub));
        (self.batch.len() - left.map(|sub| sub.events.len()).sum::<usize>()) as u64
    }

    /// How many of the remaining single events were refused.
    pub(super) fn refused_alone(&self) -> usize {
        self.todo.iter().filter(|sub| sub.is_refused && sub.events.len() == 1).count()
    }

    /// Whether all remaining sub-batches were refused.
    pub(super) fn has_only_refused(&self) -> bool {
        self.in_flight.is_empty() && self.todo.iter().all(|sub| sub.is_refused)
    }

    /// Whether all remaining sub-batches have reached the threshold of server errors.
    pub(super) fn has_only_server_errors(&self) -> bool {
        self.in_flight.is_empty() && self.todo.iter().all(|sub| sub.server_errors >= RETRY_THRESHOLD)
    }
}

/// The id of the event at this index of a batch.
pub(super) fn id_at(batch: &Batch, place: usize) -> Option<[u8; 16]> {
    Some(decode(batch.payloads().nth(place)?).ok()?.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::EventJournal;
    use crate::journal::{Backend, Reader, Settings};

    #[test]
    fn a_batch_is_done_up_to_the_first_request_without_a_response() {
        let journal = EventJournal::open(Settings {
            root: None,
            backend: Backend::Mapped,
            budget: None,
            destinations: vec!["one".to_owned()],
        });
        for number in 0..6_u8 {
            journal.append(1, |out, _| out.extend([number; 9])).unwrap();
        }
        let batch = Reader::new("one").read(&journal, 1 << 20);
        assert_eq!(batch.len(), 6);
        // Of six concurrent requests, the first, the second and the fifth got responses.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut work = InFlightBatch::new(batch, Source::Own);
        work.todo.clear();
        let waits = |sub| (sub, runtime.spawn(std::future::pending()));
        work.in_flight = [3, 2, 5].map(|at| waits(SubBatch::new(at..at + 1))).into();
        assert_eq!(work.done_so_far().map(|done| done.len()), Some(2));
        assert_eq!(work.finished(), 3);
        // The third must be sent again.
        work.in_flight.remove(1);
        work.todo.push_back(SubBatch::new(2..3));
        assert_eq!(work.done_so_far().map(|done| done.len()), Some(2));
        work.todo.clear();
        assert_eq!(work.done_so_far().map(|done| done.len()), Some(3));
        work.in_flight.clear();
        assert_eq!(work.done_so_far().map(|done| done.len()), Some(6));
        work.todo.push_back(SubBatch::new(0..1));
        assert!(work.done_so_far().is_none());
    }
}
