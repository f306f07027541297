//! Carries out the decisions of `classify` about a sub-batch: resends it, splits it, or writes its events to dead letters or spill
//! files.

use std::time::{Duration, Instant};

use super::super::classify::{
    Cut, Decision, FailureKind, History, Outcome, decide, is_ambiguous, kind_of_status, needs_operator, remedy,
};
use super::super::dead_letter::Kept;
use super::super::in_flight::{InFlightBatch, id_at};
use super::super::stats::DestinationStats;
use super::super::sub_batch::SubBatch;
use super::state::Remote;
use crate::event::binary::decode;
use crate::http::{Reply, SendError};
use crate::protocol::{Answer, Verdict};

/// How long compression is off after a 415.
const PLAIN_FOR: Duration = Duration::from_hours(1);
/// The most characters of a response's message in the last error.
const MAX_MESSAGE: usize = 200;
/// How many poison candidates are remembered.
const MAX_CANDIDATES: usize = 64;
/// How many full sub-batches must be accepted before a larger one is tried.
const GROWS_AFTER: u32 = 10;

impl Remote {
    /// Handles a request without a response.
    pub(super) fn apply_failure(
        &mut self,
        work: &mut InFlightBatch,
        mut sub: SubBatch,
        error: &SendError,
        stats: &mut DestinationStats,
    ) {
        let outcome = Outcome::None { is_broken: error.is_broken, is_timeout: error.is_timeout };
        if decide(&outcome, &self.history(work, &sub)) == Decision::RetryAtOnce {
            sub.was_retried_at_once = true;
            stats.retries += 1;
            return work.todo.push_front(sub);
        }
        sub.attempts += 1;
        sub.timeouts += u32::from(error.is_timeout);
        self.record(&sub, Err(&error.reason));
        self.note(stats, FailureKind::Connection(error.kind), &error.reason, ": ");
        let decision = decide(&outcome, &self.history(work, &sub));
        self.apply(work, sub, decision, None, stats);
    }

    /// Handles a response.
    pub(super) fn apply_answer(
        &mut self,
        work: &mut InFlightBatch,
        mut sub: SubBatch,
        reply: &Reply,
        stats: &mut DestinationStats,
    ) {
        let answer = answer_of(reply);
        let outcome = Outcome::Response { status: reply.status, verdict: self.protocol.verdict(&answer, sub.sent) };
        if is_ambiguous(&outcome) && self.spill.is_none() {
            sub.accepted_before.get_or_insert(self.accepted);
            sub.server_errors += 1;
        }
        if let Outcome::Response { verdict: Verdict::BisectOrPause, .. } = outcome {
            sub.accepted_before.get_or_insert(self.accepted);
            sub.is_refused = true;
        }
        if let Outcome::Response { verdict: Verdict::Retry(_) | Verdict::Busy(_), .. } = outcome {
            sub.attempts += 1;
        }
        self.record(&sub, Ok(reply));
        let decision = decide(&outcome, &self.history(work, &sub));
        if !matches!(decision, Decision::Accept { .. }) {
            let said = self.message(&answer).map(|said| format!(": {said}")).unwrap_or_default();
            // A message about the service's own code names the remedy itself.
            let kind = if reply.code.is_some() { FailureKind::Refused } else { kind_of_status(reply.status) };
            self.note(stats, kind, &format!("answered {}{said}", reply.status), " ");
        }
        self.apply(work, sub, decision, Some(reply), stats);
    }

    fn history(&self, work: &InFlightBatch, sub: &SubBatch) -> History {
        History {
            events: sub.events.len(),
            attempts: sub.attempts,
            server_errors: sub.server_errors,
            timeouts: sub.timeouts,
            was_retried_at_once: sub.was_retried_at_once,
            is_gzip: sub.body.as_ref().is_some_and(|body| body.is_gzip),
            spills_after: self.limits.attempts.filter(|_| self.spill.is_some()),
            is_poison_candidate: self.is_poison_candidate(work, sub),
            others_were_accepted: sub.accepted_before.is_some_and(|before| self.accepted > before),
            is_all_failing: work.has_only_server_errors(),
            is_all_single: work.todo.iter().all(|other| other.events.len() == 1),
            refused_alone: work.refused_alone() + usize::from(sub.is_refused && sub.events.len() == 1),
            is_all_refused: work.has_only_refused(),
            has_accepted_since: self.accepted > self.accepted_at_refusal,
        }
    }

    /// What a response says in words, without secrets and not longer than a line.
    fn message(&self, answer: &Answer<'_>) -> Option<String> {
        let said = self.client.address().redact(self.protocol.message(answer)?.trim());
        let line = said.chars().take(MAX_MESSAGE).map(|found| if found.is_control() { ' ' } else { found });
        (!said.is_empty()).then(|| line.collect())
    }

    /// Counts a failure, and sets the last error with its reason and remedy.
    fn note(&self, stats: &mut DestinationStats, kind: FailureKind, reason: &str, separator: &str) {
        stats.failures += 1;
        let remedy = if needs_operator(kind) { format!("; {}", remedy(kind)) } else { String::new() };
        stats.last_error = Some(format!("{}{separator}{reason}{remedy}", self.client.host()));
    }

    fn apply(
        &mut self,
        work: &mut InFlightBatch,
        mut sub: SubBatch,
        decision: Decision,
        reply: Option<&Reply>,
        stats: &mut DestinationStats,
    ) {
        let now = Instant::now();
        match decision {
            Decision::Accept { rejected } => self.accept(work, &sub, rejected, reply, stats),
            Decision::RetryAtOnce => work.todo.push_front(sub),
            Decision::Retry { after, is_overload, is_behind, disconnects } => {
                self.policy.fail(now, after, is_overload);
                stats.retries += 1;
                if disconnects {
                    self.client.disconnect();
                }
                requeue(work, sub, is_behind);
            }
            Decision::RetryUncompressed => {
                self.plain_until = Some(now + PLAIN_FOR);
                sub.body = None;
                work.todo.push_front(sub);
            }
            Decision::Pause { is_behind } => {
                self.policy.pause(now);
                requeue(work, sub, is_behind);
            }
            Decision::Cut(cut) => {
                if cut == Cut::TooSlow {
                    self.policy.fail(now, None, true);
                    stats.retries += 1;
                    self.client.disconnect();
                    work.is_slow = true;
                }
                if cut != Cut::Unacceptable {
                    work.largest.get_or_insert(1);
                }
                self.has_progressed = true;
                sub.halves().into_iter().for_each(|half| work.todo.push_front(half));
            }
            Decision::DeadLetter => {
                if let Some(reply) = reply {
                    self.dead_letter(work, sub, reply, stats);
                }
            }
            Decision::Spill { after, is_overload } => {
                self.policy.fail(now, after, is_overload);
                self.spill_events(work, sub, stats);
            }
            Decision::Defer => work.todo.push_back(sub),
            Decision::GiveUpBatch => {
                work.todo.push_back(sub);
                self.give_up(work);
                self.policy.fail(now, None, false);
                let said = stats.last_error.take().unwrap_or_else(|| self.client.host().to_owned());
                stats.last_error = Some(format!("{said}; it fails on all remaining events"));
            }
            Decision::PauseBatch => {
                work.todo.push_back(sub);
                self.give_up(work);
                self.policy.pause(now);
            }
        }
    }

    fn accept(
        &mut self,
        work: &mut InFlightBatch,
        sub: &SubBatch,
        rejected: u64,
        reply: Option<&Reply>,
        stats: &mut DestinationStats,
    ) {
        let count = sub.events.len();
        self.policy.succeed();
        self.has_progressed = true;
        self.accepted += 1;
        if let Some(largest) = &mut work.largest {
            *largest = count.max(*largest);
        } else if count >= self.ceiling {
            self.full_sub_batches += 1;
            if self.full_sub_batches.is_multiple_of(GROWS_AFTER) {
                self.ceiling = (self.ceiling * 2).min(self.limits.max_events);
            }
        }
        let kept = match reply {
            Some(reply) if rejected > 0 => self.keep_left_out(work, sub, reply, stats),
            _ => 0,
        };
        stats.rejected += rejected.saturating_sub(kept);
        work.leave_out(sub);
        stats.own_lost += work.of_own(rejected);
        stats.delivered += sub.sent.saturating_sub(rejected);
        let said = reply.and_then(|reply| self.message(&answer_of(reply)));
        stats.last_error = said.map(|said| format!("{} accepted a request and said: {said}", self.client.host()));
        self.recover(stats, true);
    }

    /// Writes the events of an accepted sub-batch that the response leaves out to the dead letters. Returns how many these are.
    fn keep_left_out(
        &mut self,
        work: &InFlightBatch,
        sub: &SubBatch,
        reply: &Reply,
        stats: &mut DestinationStats,
    ) -> u64 {
        let payloads = work.batch.payloads().skip(sub.events.start).take(sub.events.len());
        let sent: Vec<_> = payloads
            .filter_map(|payload| decode(payload).ok().map(|event| (event, payload)))
            .filter(|(event, _)| self.protocol.takes(event))
            .collect();
        if sent.len() as u64 != sub.sent {
            // Some were too old to be sent, so the response cannot be compared.
            return 0;
        }
        let (events, payloads): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let mut kept = 0;
        for place in self.protocol.left_out(&events, &reply.body) {
            let reason = "the response does not list this event as stored";
            match self.dead.keep(&self.name, &events[place], payloads[place], reply.status, reason) {
                Ok(Kept::Written) => stats.dead += 1,
                Ok(Kept::Known) => {}
                // Counted as rejected.
                Ok(Kept::NoRoom) | Err(_) => continue,
            }
            kept += 1;
        }
        kept
    }

    /// Whether the single event of a sub-batch failed in an earlier batch, and others were accepted since.
    fn is_poison_candidate(&self, work: &InFlightBatch, sub: &SubBatch) -> bool {
        !self.candidates.is_empty()
            && sub.events.len() == 1
            && id_at(&work.batch, sub.events.start).is_some_and(|id| {
                self.candidates.iter().any(|(candidate, accepted)| *candidate == id && self.accepted > *accepted)
            })
    }

    /// Gives up a batch whose cursor has not moved, and remembers the remaining events as poison candidates.
    fn give_up(&mut self, work: &mut InFlightBatch) {
        for sub in &work.todo {
            if let Some(id) = id_at(&work.batch, sub.events.start)
                && self.candidates.iter().all(|(candidate, _)| *candidate != id)
            {
                self.candidates.push_back((id, self.accepted));
            }
        }
        self.accepted_at_refusal = self.accepted;
        let surplus = self.candidates.len().saturating_sub(MAX_CANDIDATES);
        self.candidates.drain(..surplus);
        work.is_given_up = true;
    }

    /// Keeps the result of a request in the response log.
    fn record(&self, sub: &SubBatch, outcome: Result<&Reply, &str>) {
        let last = sub.body.as_ref().and_then(|body| body.requests.last());
        if let (Some(answers), Some(request)) = (&self.answers, last) {
            let told = outcome.map(|reply| match reply.status {
                200..300 => (reply.status, reply.body.clone()),
                // The response may repeat the key.
                status => (status, self.client.address().redact(&String::from_utf8_lossy(&reply.body)).into()),
            });
            answers.record(&request.body, told);
        }
    }

    /// Writes a sub-batch, and all that waits behind it, into one spill file. If that fails, they stay in the batch.
    fn spill_events(&mut self, work: &mut InFlightBatch, sub: SubBatch, stats: &mut DestinationStats) {
        let too_old = self.too_old(&work.batch);
        let Some(spill) = &mut self.spill else { return work.todo.push_front(sub) };
        let mut is_wanted = vec![false; work.batch.len()];
        for place in std::iter::once(&sub).chain(&work.todo).flat_map(|sub| sub.events.clone()) {
            is_wanted[place] = true;
        }
        let (mut bodies, mut unreadable, mut expired) = (Vec::new(), 0, 0);
        let records = work.batch.payloads().zip(work.batch.appended_at()).zip(is_wanted);
        for ((payload, at), _) in records.filter(|(_, is_wanted)| *is_wanted) {
            match decode(payload) {
                Ok(event) if !self.protocol.takes(&event) => {}
                Ok(_) if too_old.contains(&at) => expired += 1,
                Ok(event) => bodies.extend(self.protocol.encode(&[event]).pop().map(|request| request.body)),
                Err(_) => unreadable += 1,
            }
        }
        match spill.save(&bodies) {
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
                work.todo.push_front(sub);
            }
        }
    }

    /// Requeues the events in spill files, after the destination has accepted something or from time to time.
    pub(super) fn recover(&mut self, stats: &mut DestinationStats, was_taken: bool) {
        if let Some(spill) = &mut self.spill
            && let Err(error) = spill.recover(Instant::now(), was_taken)
        {
            stats.last_error = Some(format!("the fallback cannot be read: {error}"));
        }
    }

    /// Writes events to the dead letters. Events that cannot be written are retried.
    fn dead_letter(
        &mut self,
        work: &mut InFlightBatch,
        mut sub: SubBatch,
        reply: &Reply,
        stats: &mut DestinationStats,
    ) {
        let body = String::from_utf8_lossy(&reply.body);
        let reason = self.client.address().redact(&body);
        self.has_progressed = true;
        let records = work.batch.payloads().enumerate().skip(sub.events.start).take(sub.events.len());
        for (index, payload) in records {
            let Ok(event) = decode(payload) else {
                stats.unreadable += 1;
                continue;
            };
            if !self.protocol.takes(&event) {
                continue;
            }
            match self.dead.keep(&self.name, &event, payload, reply.status, &reason) {
                Ok(Kept::Written) => stats.dead += 1,
                // It was rejected and counted before.
                Ok(Kept::Known) => {}
                Ok(Kept::NoRoom) => stats.dropped += 1,
                Err(error) => {
                    // An event that could not be written stays in the batch.
                    stats.last_error = Some(format!("dead letters cannot be written: {error}"));
                    self.policy.fail(Instant::now(), None, false);
                    sub.events.start = index;
                    sub.body = None;
                    return work.todo.push_front(sub);
                }
            }
            stats.own_lost += work.of_own(1);
        }
    }
}

/// The parts of a response that decide.
fn answer_of(reply: &Reply) -> Answer<'_> {
    Answer {
        status: reply.status,
        retry_after: reply.retry_after.as_deref(),
        code: reply.code.as_deref(),
        body: &reply.body,
    }
}

/// Puts a sub-batch back into the queue, at its front or, if it `is_behind`, at its end.
fn requeue(work: &mut InFlightBatch, sub: SubBatch, is_behind: bool) {
    if is_behind {
        work.todo.push_back(sub);
    } else {
        work.todo.push_front(sub);
    }
}
