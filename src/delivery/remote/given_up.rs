//! Events that a destination does not take: held as candidates, put into the dead letters or into the fallback, and taken out of it.

use std::time::Instant;

use super::super::DestinationStats;
use super::super::in_flight::{InFlightBatch, id_at};
use super::super::sub_batch::SubBatch;
use super::{MOST_CANDIDATES, Remote};
use crate::event::binary::decode;
use crate::http::Reply;

impl Remote {
    /// Whether an event fails now as it did in another batch, and others were accepted since.
    pub(super) fn is_poison(&self, work: &InFlightBatch, piece: &SubBatch) -> bool {
        piece.events.len() == 1
            && id_at(&work.batch, piece.events.start).is_some_and(|id| {
                self.candidates.iter().any(|(candidate, accepted)| *candidate == id && self.accepted_pieces > *accepted)
            })
    }

    /// Lets a batch go whose cursor has not moved, and remembers the events that are left of it.
    pub(super) fn give_up(&mut self, work: &mut InFlightBatch, stats: &mut DestinationStats) {
        for piece in &work.todo {
            if let Some(id) = id_at(&work.batch, piece.events.start)
                && self.candidates.iter().all(|(candidate, _)| *candidate != id)
            {
                self.candidates.push_back((id, self.accepted_pieces));
            }
        }
        let surplus = self.candidates.len().saturating_sub(MOST_CANDIDATES);
        self.candidates.drain(..surplus);
        self.policy.fail(Instant::now(), None, false);
        stats.failures += 1;
        stats.last_error = Some(format!("{} fails on what is left", self.transport.host()));
        work.is_given_up = true;
    }

    /// Keeps what became of a request, for whoever asks for it.
    pub(super) fn record(&self, piece: &SubBatch, outcome: Result<&Reply, &str>) {
        if let (Some(answers), Some(post)) = (&self.answers, piece.body.as_ref().and_then(|body| body.posts.last())) {
            let told = outcome.map(|reply| match reply.status {
                200..300 => (reply.status, reply.body.clone()),
                // A service that says no may repeat the key.
                status => (status, self.transport.address().redact(&String::from_utf8_lossy(&reply.body)).into()),
            });
            answers.record(&post.body, told);
        }
    }

    /// Whether a piece was tried as often as it may be, and what is left of its batch is to go to the fallback.
    pub(super) fn is_exhausted(&self, piece: &SubBatch) -> bool {
        self.fallback.is_some() && self.limits.attempts.is_some_and(|most| piece.attempts >= most)
    }

    /// Puts a piece, and what waits behind it, into one file of the fallback. Where it cannot be written they stay where they are.
    pub(super) fn fall_back(&mut self, work: &mut InFlightBatch, piece: SubBatch, stats: &mut DestinationStats) {
        let since = self.oldest_allowed(work.source);
        let Some(fallback) = &mut self.fallback else { return };
        let mut is_wanted = vec![false; work.batch.len()];
        for place in std::iter::once(&piece).chain(&work.todo).flat_map(|piece| piece.events.clone()) {
            is_wanted[place] = true;
        }
        let (mut bodies, mut unreadable, mut expired) = (Vec::new(), 0, 0);
        let records = work.batch.payloads().zip(work.batch.appended_at()).zip(is_wanted);
        for ((payload, at), _) in records.filter(|(_, is_wanted)| *is_wanted) {
            match decode(payload) {
                Ok(event) if !self.protocol.takes(&event) => {}
                Ok(_) if at < since => expired += 1,
                Ok(event) => bodies.extend(self.protocol.encode(&[event]).pop().map(|post| post.body)),
                Err(_) => unreadable += 1,
            }
        }
        match fallback.save(&bodies) {
            Ok(()) => {
                self.has_progressed = true;
                stats.fallback += bodies.len() as u64;
                stats.own_lost += work.of_own(bodies.len() as u64);
                work.unreadable += unreadable;
                work.expired += expired;
                work.todo.clear();
            }
            Err(error) => {
                stats.last_error = Some(format!("the fallback cannot be written: {error}"));
                work.todo.push_front(piece);
            }
        }
    }

    /// Puts what is in the fallback's files back, to be delivered: when the destination took something, or once in a while.
    pub(super) fn recover(&mut self, stats: &mut DestinationStats, was_taken: bool) {
        if let Some(fallback) = &mut self.fallback
            && let Err(error) = fallback.recover(Instant::now(), was_taken)
        {
            stats.last_error = Some(format!("the fallback cannot be read: {error}"));
        }
    }

    /// Puts events into the dead letters; those that cannot be written there are tried again.
    pub(super) fn dead_letter(
        &mut self,
        work: &mut InFlightBatch,
        mut piece: SubBatch,
        reply: &Reply,
        stats: &mut DestinationStats,
    ) {
        let body = String::from_utf8_lossy(&reply.body);
        let reason = self.transport.address().redact(&body);
        self.has_progressed = true;
        let records = work.batch.payloads().enumerate().skip(piece.events.start).take(piece.events.len());
        for (index, payload) in records {
            let Ok(event) = decode(payload) else {
                stats.unreadable += 1;
                continue;
            };
            if !self.protocol.takes(&event) {
                continue;
            }
            match self.dead.keep(&self.name, &event, payload, reply.status, &reason) {
                Ok(true) => stats.dead += 1,
                Ok(false) => stats.dropped += 1,
                Err(error) => {
                    // Nothing is given up that is written down nowhere.
                    stats.last_error = Some(format!("dead letters cannot be written: {error}"));
                    self.policy.fail(Instant::now(), None, false);
                    piece.events.start = index;
                    piece.body = None;
                    return work.todo.push_front(piece);
                }
            }
            stats.own_lost += work.of_own(1);
        }
    }
}
