//! A destination over HTTP: batches in pieces, several requests at once, and what becomes of each.
//!
//! A batch of the journal is done when every piece of it is accepted or in the dead letters; only then the cursor moves. A piece that
//! failed keeps its body, so that a retry sends the same bytes. One that is too large, or of which something is unacceptable, is cut in
//! half until the event is found that is at fault. A crash in between repeats pieces: the receiver tells events by their id.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::dead_letter::DeadLetters;
use super::piece::{Piece, Written};
use super::policy::Policy;
use super::transport::{Reply, SendError, Transport};
use super::{Address, DestinationStats};
use crate::event::binary::{decode, is_known_version};
use crate::journal::{Batch, Position, unix_ns};
use crate::protocol::{Answer, Protocol, Verdict};

/// Events in one request.
const MOST_EVENTS: usize = 1_000;
/// Bytes of records read for one batch: with four requests at once, one is ready for each.
pub(super) const BATCH_BYTES: usize = 512 << 10;
/// How long events wait for company.
const AGE: Duration = Duration::from_secs(1);
/// After a 415, this long without compression.
const PLAIN_FOR: Duration = Duration::from_hours(1);
/// A server error that meets one piece this often while others are accepted is that piece's own fault.
const STUBBORN: u32 = 5;
/// Requests that ended without an answer in time, for one piece, until it is cut: a smaller one may get through.
const TOO_SLOW: u32 = 2;
/// Pieces of full size that are taken before a larger one is tried.
const GROWS_AFTER: u32 = 10;

/// A destination over HTTP.
pub struct Remote {
    name: String,
    protocol: Box<dyn Protocol>,
    transport: Transport,
    policy: Policy,
    dead: DeadLetters,
    /// How long events may wait; for ever with `None`.
    max_age: Option<Duration>,
    /// Events that the destination takes in one request: learned from what it took of what it had found too large.
    ceiling: usize,
    /// Pieces of that size that it took in a row.
    full_pieces: u32,
    plain_until: Option<Instant>,
    accepted_pieces: u64,
    /// Whether a piece was accepted, cut or buried since this was asked last.
    has_progressed: bool,
    /// The batch that is being brought.
    work: Option<Work>,
    /// Since when events have been waiting for company.
    waiting_since: Option<Instant>,
    /// What the last batch was of: a backlog and what is new take turns.
    last: Option<Turn>,
}

/// What a batch is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The beginning of what waits.
    Oldest,
    /// What is being tracked, ahead of older events.
    Newest,
    /// What others left.
    Foreign,
}

struct Work {
    batch: Batch,
    source: Source,
    /// To be read again from its beginning: its cursor has not moved.
    is_given_up: bool,
    /// The largest piece that was taken after something of the batch had been too large.
    largest: Option<usize>,
    todo: VecDeque<Piece>,
    in_flight: Vec<(Piece, JoinHandle<Result<Reply, SendError>>)>,
}

/// Whose journal a batch is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// This process's.
    Own,
    /// That of a process which died.
    Foreign,
}

/// Whether somebody waits for what was tracked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    /// Nobody: events wait for company.
    None,
    /// Somebody does, but a destination that fails was asked for him already.
    Known,
    /// Somebody who has come just now: a destination that fails is asked once more.
    New,
}

/// Where batches come from.
pub(super) trait Feed {
    /// The events after the cursor of this process's journal.
    fn oldest(&mut self) -> Batch;
    /// Events that are being tracked, where older ones are left as well.
    fn newest(&mut self) -> Option<Batch>;
    /// The next of a journal that was left behind.
    fn foreign(&mut self) -> Option<Batch>;
}

impl DestinationStats {
    /// Counts the events of a piece that were not sent.
    fn note_left_out(&mut self, piece: &Piece, source: Source) {
        self.unreadable += piece.unreadable();
        self.expired += piece.expired;
        self.own_lost += if source == Source::Own { piece.expired } else { 0 };
    }
}

/// What a step came to.
pub(super) enum Step {
    /// A batch is done; its cursor may move past it.
    Done(Batch, Source),
    /// Something is on its way, or waits.
    Busy,
    /// There is nothing to do: of its own journal this was read, without a record.
    Idle(Batch),
}

impl Remote {
    /// A destination at an address. `state` is where dead letters go; events that have waited longer than `max_age` are not sent.
    #[must_use]
    pub fn new(address: Address, protocol: Box<dyn Protocol>, state: Option<&Path>, max_age: Option<Duration>) -> Self {
        let name = format!("http-{:08x}", address.checksum());
        Self {
            dead: DeadLetters::new(state, &name),
            name,
            transport: Transport::new(address, protocol.content_type()),
            protocol,
            policy: Policy::default(),
            max_age,
            ceiling: MOST_EVENTS,
            full_pieces: 0,
            plain_until: None,
            accepted_pieces: 0,
            has_progressed: false,
            work: None,
            waiting_since: None,
            last: None,
        }
    }

    /// The host, which may be named.
    pub(super) fn host(&self) -> &str {
        self.transport.host()
    }

    /// Where it will be in this process's journal when the batch is done that is being brought.
    pub(super) fn reaches(&self) -> Option<&Position> {
        self.work.as_ref().filter(|work| work.source == Source::Own).map(|work| &work.batch.position)
    }

    /// The name of its cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether requests are on their way.
    pub(super) fn is_in_flight(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.in_flight.is_empty())
    }

    /// Whose journal the batch is of that is being brought.
    pub(super) fn source(&self) -> Option<Source> {
        self.work.as_ref().map(|work| work.source)
    }

    /// Whether a piece was accepted, cut or buried since this was asked last.
    pub(super) fn has_progressed(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Gives a batch of another journal up: its cursor has not moved.
    pub(super) fn drop_foreign(&mut self) {
        self.work.take_if(|work| work.source == Source::Foreign);
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn step(
        &mut self,
        runtime: &Runtime,
        done: &Arc<Notify>,
        stats: &mut DestinationStats,
        urgency: Urgency,
        feed: &mut impl Feed,
    ) -> Step {
        if urgency == Urgency::New {
            self.policy.hurry();
        }
        self.collect(runtime, stats);
        stats.state = Some(self.policy.state());
        if let Some(work) = self.work.take_if(|work| work.todo.is_empty() && work.in_flight.is_empty()) {
            if let Some(largest) = work.largest {
                self.ceiling = largest;
            }
            return Step::Done(work.batch, work.source);
        }
        if self.work.is_none()
            && !self.policy.is_waiting(Instant::now())
            && let Some(nothing) = self.take(stats, urgency, feed)
        {
            return nothing;
        }
        self.send(runtime, done, stats);
        Step::Busy
    }

    /// Begins the next batch, or says that there is none.
    ///
    /// What this process tracks goes first, and what others left when nothing of it is due. Where both wait, or a backlog of this
    /// process's own and what it tracks now, they take turns; but nobody who waits for a flush waits for what others left.
    fn take(&mut self, stats: &mut DestinationStats, urgency: Urgency, feed: &mut impl Feed) -> Option<Step> {
        let own = feed.oldest();
        let has_own = !own.is_nothing();
        stats.oldest = own.appended_at().min();
        let is_due = has_own && {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let is_full = own.len() >= MOST_EVENTS || own.byte_len() >= BATCH_BYTES;
            is_full || urgency != Urgency::None || since.elapsed() >= AGE
        };
        let may_be_foreign = !has_own || (urgency == Urgency::None && (!is_due || self.last != Some(Turn::Foreign)));
        if may_be_foreign && let Some(foreign) = feed.foreign() {
            self.begin(foreign, Turn::Foreign);
        } else if !is_due {
            self.waiting_since = self.waiting_since.filter(|_| has_own);
            return Some(if has_own || own.is_incomplete { Step::Busy } else { Step::Idle(own) });
        } else if !own.payloads().all(is_known_version) {
            // That version is to deliver it.
            stats.last_error = Some("events of a later version of taximeter are waiting for it".to_owned());
            return Some(Step::Busy);
        } else {
            self.waiting_since = None;
            // A batch that is not full leaves no backlog behind.
            let is_behind = own.byte_len() >= BATCH_BYTES && self.last != Some(Turn::Newest);
            match is_behind.then(|| feed.newest()).flatten() {
                Some(newest) => self.begin(newest, Turn::Newest),
                None => self.begin(own, Turn::Oldest),
            }
        }
        None
    }

    fn begin(&mut self, batch: Batch, turn: Turn) {
        let todo = Piece::of(0..batch.len(), self.ceiling).collect();
        let source = if turn == Turn::Foreign { Source::Foreign } else { Source::Own };
        self.work = Some(Work { batch, source, is_given_up: false, largest: None, todo, in_flight: Vec::new() });
        self.last = Some(turn);
    }

    /// Starts as many requests as there may be.
    fn send(&mut self, runtime: &Runtime, done: &Arc<Notify>, stats: &mut DestinationStats) {
        let Some(work) = &mut self.work else { return };
        let now = Instant::now();
        let is_plain = self.plain_until.is_some_and(|until| now < until);
        let since = self.max_age.map_or(0, |age| unix_ns().saturating_sub(age.as_nanos() as u64));
        while !self.policy.is_waiting(now)
            && work.in_flight.len() < self.policy.at_once()
            && let Some(mut piece) = work.todo.pop_front()
        {
            if piece.body.is_none() {
                match piece.write(&work.batch, &*self.protocol, since, is_plain) {
                    Written::Ready(ready) => piece = ready,
                    Written::Cut(parts) => {
                        parts.into_iter().rev().for_each(|part| work.todo.push_front(part));
                        continue;
                    }
                    Written::Empty(empty) => {
                        stats.note_left_out(&empty, work.source);
                        continue;
                    }
                }
            }
            let Some(body) = piece.body.clone() else { continue };
            let request = self.transport.send(body.bytes, body.is_gzip);
            let done = Arc::clone(done);
            let handle = runtime.spawn(async move {
                let reply = request.await;
                done.notify_one();
                reply
            });
            work.in_flight.push((piece, handle));
        }
    }

    /// Takes in the answers that have come.
    fn collect(&mut self, runtime: &Runtime, stats: &mut DestinationStats) {
        let Some(mut work) = self.work.take() else { return };
        let mut index = 0;
        while index < work.in_flight.len() {
            if !work.in_flight[index].1.is_finished() {
                index += 1;
                continue;
            }
            let (piece, handle) = work.in_flight.swap_remove(index);
            match runtime.block_on(handle) {
                Ok(Ok(reply)) => self.judge(&mut work, piece, &reply, stats),
                Ok(Err(error)) => self.fail(&mut work, piece, &error, stats),
                Err(_) => work.todo.push_front(piece),
            }
        }
        if !work.is_given_up {
            self.work = Some(work);
        }
    }

    fn fail(&mut self, work: &mut Work, mut piece: Piece, error: &SendError, stats: &mut DestinationStats) {
        if error.is_broken && !std::mem::replace(&mut piece.was_retried_at_once, true) {
            // A connection that was closed while it was idle: the destination may never have seen the request.
            stats.retries += 1;
            return work.todo.push_front(piece);
        }
        self.policy.fail(Instant::now(), None, true);
        stats.failures += 1;
        stats.retries += 1;
        stats.last_error = Some(format!("{}: {}", self.transport.host(), error.reason));
        if error.is_dubious {
            self.transport.disconnect();
            piece.timeouts += 1;
            if piece.timeouts >= TOO_SLOW && piece.events.len() > 1 {
                return self.cut(work, &piece, true);
            }
        }
        work.todo.push_front(piece);
    }

    /// Puts the halves of a piece in its place.
    fn cut(&mut self, work: &mut Work, piece: &Piece, is_too_large: bool) {
        if is_too_large {
            work.largest.get_or_insert(1);
        }
        self.has_progressed = true;
        piece.halves().into_iter().for_each(|half| work.todo.push_front(half));
    }

    fn judge(&mut self, work: &mut Work, mut piece: Piece, reply: &Reply, stats: &mut DestinationStats) {
        let answer = Answer { status: reply.status, retry_after: reply.retry_after.as_deref(), body: &reply.body };
        let mut verdict = self.protocol.verdict(&answer);
        if matches!(verdict, Verdict::Retry(_)) && reply.status == 500 {
            let accepted_before = *piece.accepted_before.get_or_insert(self.accepted_pieces);
            piece.server_errors += 1;
            // Alone, it is cut as well: one half may be accepted, which shows where the fault is.
            let is_alone = work.todo.is_empty() && work.in_flight.is_empty();
            if piece.server_errors >= STUBBORN {
                if self.accepted_pieces > accepted_before || (is_alone && piece.events.len() > 1) {
                    verdict = Verdict::Bisect;
                } else if is_alone && work.batch.len() == 1 {
                    // One event alone tells nothing: it is read again, with what came after it.
                    work.is_given_up = true;
                }
            }
        }
        let (now, count) = (Instant::now(), piece.events.len());
        if !matches!(verdict, Verdict::Accepted { .. }) {
            stats.failures += 1;
            stats.last_error = Some(format!("{} answered {}", self.transport.host(), reply.status));
        }
        match verdict {
            Verdict::Accepted { rejected } => {
                self.policy.succeed();
                self.has_progressed = true;
                self.accepted_pieces += 1;
                if let Some(largest) = &mut work.largest {
                    *largest = count.max(*largest);
                } else if count >= self.ceiling {
                    self.full_pieces += 1;
                    if self.full_pieces.is_multiple_of(GROWS_AFTER) {
                        self.ceiling = (self.ceiling * 2).min(MOST_EVENTS);
                    }
                }
                stats.rejected += rejected;
                stats.note_left_out(&piece, work.source);
                stats.delivered += piece.sent.saturating_sub(rejected);
                stats.last_error = None;
            }
            Verdict::Retry(after) => {
                self.policy.fail(now, after, matches!(reply.status, 429 | 503));
                stats.retries += 1;
                if reply.status == 500 {
                    // Behind the others: whether they are accepted tells whose fault it is.
                    work.todo.push_back(piece);
                } else {
                    work.todo.push_front(piece);
                }
            }
            Verdict::Uncompressed if piece.body.as_ref().is_some_and(|body| body.is_gzip) => {
                self.plain_until = Some(now + PLAIN_FOR);
                piece.body = None;
                work.todo.push_front(piece);
            }
            Verdict::Pause | Verdict::Uncompressed => {
                self.policy.pause(now);
                work.todo.push_front(piece);
            }
            Verdict::Split | Verdict::Bisect if count > 1 => self.cut(work, &piece, verdict == Verdict::Split),
            Verdict::Split | Verdict::Bisect | Verdict::Dead => self.bury(work, piece, reply, stats),
        }
    }

    /// Puts events into the dead letters; those that cannot be written there are tried again.
    fn bury(&mut self, work: &mut Work, mut piece: Piece, reply: &Reply, stats: &mut DestinationStats) {
        let body = String::from_utf8_lossy(&reply.body);
        let reason = self.transport.address().redact(&body);
        self.has_progressed = true;
        let records = work.batch.payloads().enumerate().skip(piece.events.start).take(piece.events.len());
        for (index, payload) in records {
            let Ok(event) = decode(payload) else {
                stats.unreadable += 1;
                continue;
            };
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
        }
    }
}
