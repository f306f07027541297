//! One step of an HTTP destination: handle responses, begin the next batch, send requests.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::super::in_flight::{InFlightBatch, Source};
use super::super::stats::DestinationStats;
use super::super::sub_batch::{Writing, Written};
use super::feed::{Feed, Scope, Step, Urgency};
use super::state::Remote;
use crate::event::binary::is_known_version;
use crate::http::{SendError, find_out};
use crate::journal::Batch;

/// Timeouts do not reduce requests below this number of events, because a server that hangs does not show that they are too large.
const MIN_AFTER_TIMEOUTS: usize = 50;

/// A body that was too large makes later requests smaller, but not below this part of the most events in one request.
const FEWEST_LEARNED: usize = 4;

impl Remote {
    /// Does everything that is possible without waiting.
    pub(crate) fn step(
        &mut self,
        runtime: &Runtime,
        done: &Arc<Notify>,
        stats: &mut DestinationStats,
        urgency: Urgency,
        feed: &mut impl Feed,
    ) -> Step {
        if urgency == Urgency::New {
            self.policy.retry_now();
        }
        if let Some(given_up) = self.collect(runtime, stats) {
            return Step::GivenUp(given_up.done_so_far(), given_up.source);
        }
        stats.state = Some(self.policy.state());
        if let Some(work) = self.work.take_if(|work| work.todo.is_empty() && work.in_flight.is_empty()) {
            if let Some(largest) = work.largest {
                self.ceiling = if work.is_slow { largest.max(MIN_AFTER_TIMEOUTS) } else { largest };
                self.full_sub_batches = 0;
            }
            stats.unreadable += work.unreadable;
            stats.expired += work.expired;
            stats.own_lost += work.of_own(work.unreadable + work.expired);
            return Step::Done(work.batch, work.source);
        }
        if self.scope == Scope::Nothing {
            return Step::Busy;
        }
        if self.work.is_none()
            && !self.policy.is_waiting(Instant::now())
            && let Some(nothing) = self.take(stats, urgency, feed)
        {
            return nothing;
        }
        self.send(runtime, done);
        Step::Busy
    }

    /// Begins the next batch. Returns a step if there is none.
    ///
    /// This process's events go first; orphan journals follow when none of these are due. If both wait, they take turns, and so do a
    /// backlog and new events of this process. A flush does not wait for orphan journals.
    fn take(&mut self, stats: &mut DestinationStats, urgency: Urgency, feed: &mut impl Feed) -> Option<Step> {
        self.recover(stats, false);
        let own = feed.oldest().at_most(self.limits.batch_records);
        let has_own = !own.is_nothing();
        stats.oldest = own.appended_at().min();
        let is_due = has_own && {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let is_full = own.len() >= self.limits.max_events.min(self.limits.batch_records)
                || own.byte_len() >= self.limits.batch_bytes;
            is_full || urgency != Urgency::None || since.elapsed() >= self.limits.linger
        };
        let may_be_orphan = self.scope == Scope::Everything
            && (!has_own || (urgency == Urgency::None && (!is_due || !self.was_orphan)));
        if may_be_orphan && self.parked.is_some() {
            self.work = self.parked.take();
            self.was_orphan = true;
        } else if may_be_orphan && let Some(orphan) = feed.next_orphan() {
            self.begin(orphan.at_most(self.limits.batch_records), Source::Orphan);
        } else if !is_due {
            self.waiting_since = self.waiting_since.filter(|_| has_own);
            return Some(if has_own || own.is_incomplete { Step::Busy } else { Step::Idle(own) });
        } else if !own.payloads().all(is_known_version) {
            // Only the newer version can deliver these events.
            stats.last_error =
                Some("events written by a newer version of taximeter wait for it: run that version".to_owned());
            return Some(Step::Busy);
        } else {
            self.waiting_since = None;
            // If the batch is not full, there is no backlog behind it.
            let is_behind = !self.limits.is_ordered && own.byte_len() >= self.limits.batch_bytes && !self.was_newest;
            let newest = is_behind.then(|| feed.newest()).flatten();
            self.was_newest = newest.is_some();
            self.begin(newest.unwrap_or(own), Source::Own);
        }
        None
    }

    fn begin(&mut self, batch: Batch, source: Source) {
        self.work = Some(InFlightBatch::new(batch, source));
        self.was_orphan = source == Source::Orphan;
    }

    /// Whether everything that the format needs before the first request is known. If not, starts to find it out.
    fn is_prepared(&mut self, runtime: &Runtime, done: &Arc<Notify>) -> bool {
        let Some(probe) = self.protocol.prepare() else { return true };
        match self.search.take() {
            None => {
                let done = Arc::clone(done);
                self.search = Some(runtime.spawn(async move {
                    let found = find_out(&probe).await;
                    done.notify_one();
                    found
                }));
            }
            Some(search) if search.is_finished() => {
                let found = runtime.block_on(search).unwrap_or_else(|_| probe.unknown());
                self.protocol.prepared(found);
            }
            running => self.search = running,
        }
        self.search.is_none()
    }

    /// Sends as many requests as are allowed.
    fn send(&mut self, runtime: &Runtime, done: &Arc<Notify>) {
        if self.work.is_none() || !self.is_prepared(runtime, done) {
            return;
        }
        let Some(work) = &self.work else { return };
        let too_old = self.too_old(&work.batch);
        let Some(work) = &mut self.work else { return };
        let now = Instant::now();
        let how = Writing {
            too_old,
            max_bytes: self.limits.max_bytes,
            is_plain: !self.limits.compresses || self.plain_until.is_some_and(|until| now < until),
        };
        while !self.policy.is_waiting(now)
            && work.in_flight.len() < self.policy.concurrency()
            && let Some(mut sub) = work.todo.pop_front()
        {
            // The requests in flight show first whether the events are the cause.
            let is_deferred = sub.is_refused && sub.accepted_before.is_none_or(|before| self.accepted <= before);
            if is_deferred && !work.in_flight.is_empty() {
                work.todo.push_front(sub);
                break;
            }
            if let Some(rest) = sub.split_off(self.ceiling) {
                work.todo.push_front(rest);
            }
            if sub.body.is_none() {
                match sub.write(&work.batch, &*self.protocol, &how) {
                    Written::Ready(ready) => sub = ready,
                    Written::Cut(parts) => {
                        // Later events are probably as large: divide them before they are written, not after. A few very large
                        // events do not show that.
                        if let Some(first) = parts.first()
                            && first.events.len() >= self.limits.max_events / FEWEST_LEARNED
                        {
                            (self.ceiling, self.full_sub_batches) = (first.events.len(), 0);
                        }
                        parts.into_iter().rev().for_each(|part| work.todo.push_front(part));
                        continue;
                    }
                    Written::Empty(empty) => {
                        work.leave_out(&empty);
                        continue;
                    }
                }
            }
            let Some(body) = sub.body.clone() else { continue };
            let request = self.client.send(body.requests, body.is_gzip);
            let done = Arc::clone(done);
            let handle = runtime.spawn(async move {
                let reply = request.await;
                done.notify_one();
                reply
            });
            work.in_flight.push((sub, handle));
        }
    }

    /// Handles the responses that have come, including those to a batch that was set aside. Returns a batch that was given up, if
    /// there is one.
    fn collect(&mut self, runtime: &Runtime, stats: &mut DestinationStats) -> Option<InFlightBatch> {
        if let Some(mut work) = self.work.take() {
            self.take_answers(&mut work, runtime, stats);
            if work.is_given_up {
                return Some(work);
            }
            self.work = Some(work);
        }
        let mut parked = self.parked.take()?;
        self.take_answers(&mut parked, runtime, stats);
        if parked.is_given_up {
            return Some(parked);
        }
        self.parked = Some(parked);
        None
    }

    fn take_answers(&mut self, work: &mut InFlightBatch, runtime: &Runtime, stats: &mut DestinationStats) {
        let mut index = 0;
        while index < work.in_flight.len() {
            if !work.in_flight[index].1.is_finished() {
                index += 1;
                continue;
            }
            let (sub, handle) = work.in_flight.swap_remove(index);
            match runtime.block_on(handle) {
                Ok(Ok(reply)) => self.apply_answer(work, sub, &reply, stats),
                Ok(Err(error)) => self.apply_failure(work, sub, &error, stats),
                Err(error) => self.apply_failure(work, sub, &SendError::other(error.to_string()), stats),
            }
        }
    }
}
