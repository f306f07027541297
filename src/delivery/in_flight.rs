//! A batch on its way to a destination over HTTP: what is to be sent, and what waits for an answer.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::classify::RETRY_THRESHOLD;
use super::sub_batch::SubBatch;
use crate::event::binary::decode;
use crate::http::{Reply, SendError};
use crate::journal::Batch;

/// A batch that is being brought.
pub(super) struct InFlightBatch {
    pub(super) batch: Batch,
    pub(super) source: Source,
    /// To be read again from its beginning: its cursor has not moved.
    pub(super) is_given_up: bool,
    /// The largest piece that was taken after something of the batch had been too large, or too slow.
    pub(super) largest: Option<usize>,
    pub(super) is_slow: bool,
    /// Events that were not sent: no events, and those that waited too long. Counted when the batch is done.
    pub(super) unreadable: u64,
    pub(super) expired: u64,
    pub(super) todo: VecDeque<SubBatch>,
    pub(super) in_flight: Vec<(SubBatch, JoinHandle<Result<Reply, SendError>>)>,
}

/// Whose journal a batch is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// This process's.
    Own,
    /// That of a process which died.
    Foreign,
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

    /// Counts the events of a piece that were not sent.
    pub(super) fn leave_out(&mut self, piece: &SubBatch) {
        self.unreadable += piece.unreadable();
        self.expired += piece.expired;
    }

    /// So many of its events, if they are this process's own.
    pub(super) fn of_own(&self, events: u64) -> u64 {
        if self.source == Source::Own { events } else { 0 }
    }

    /// Its records that are done from the first one on; nothing where that is nothing.
    pub(super) fn done_so_far(&self) -> Option<Batch> {
        let left = self.todo.iter().chain(self.in_flight.iter().map(|(piece, _)| piece));
        let first_left = left.map(|piece| piece.events.start).min().unwrap_or(self.batch.len());
        (first_left > 0).then(|| self.batch.prefix(first_left))
    }

    /// Whether everything that is left of it has met server errors only, again and again.
    pub(super) fn has_only_server_errors(&self) -> bool {
        self.in_flight.is_empty() && self.todo.iter().all(|piece| piece.server_errors >= RETRY_THRESHOLD)
    }
}

/// The id of the event at a place in a batch.
pub(super) fn id_at(batch: &Batch, place: usize) -> Option<[u8; 16]> {
    Some(decode(batch.payloads().nth(place)?).ok()?.id)
}
