//! A destination over HTTP: batches in pieces, several requests at once, and what becomes of each.
//!
//! A batch of the journal is done when every piece of it is accepted or in the dead letters; only then the cursor moves. A piece that
//! failed keeps its body, so that a retry sends the same bytes. One that is too large, or of which something is unacceptable, is cut in
//! half until the event is found that is at fault. A crash in between repeats pieces: the receiver tells events by their id.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::dead_letter::DeadLetters;
use super::policy::Policy;
use super::transport::{Reply, SendError, Transport};
use super::{Address, DestinationStats};
use crate::event::UsageEvent;
use crate::event::binary::{decode, is_known_version};
use crate::journal::Batch;
use crate::protocol::{Answer, Protocol, Verdict};

/// Events in one request.
const MOST_EVENTS: usize = 1_000;
/// Bytes of records read for one batch: with four requests at once, one is ready for each.
pub(super) const BATCH_BYTES: usize = 512 << 10;
/// How long events wait for company.
const AGE: Duration = Duration::from_secs(1);
/// Smaller bodies gain nothing by compression.
const COMPRESSED_FROM: usize = 1024;
/// After a 415, this long without compression.
const PLAIN_FOR: Duration = Duration::from_hours(1);
/// A server error that meets one piece this often while others are accepted is that piece's own fault.
const STUBBORN: u32 = 5;
/// Pieces of full size that are taken before a larger one is tried.
const GROWS_AFTER: u32 = 10;

/// A destination over HTTP.
pub struct Remote {
    name: String,
    protocol: Box<dyn Protocol>,
    transport: Transport,
    policy: Policy,
    dead: DeadLetters,
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

/// Some events of a batch, in one request.
struct Piece {
    events: Range<usize>,
    /// Kept until the piece is done or cut: a retry sends the same bytes.
    body: Option<(Vec<u8>, bool)>,
    /// Events of it that can be read: known once there was a body.
    readable: u64,
    server_errors: u32,
    /// How many pieces had been accepted when this one, or the one it was cut from, first failed.
    accepted_before: Option<u64>,
    was_retried_at_once: bool,
}

impl Piece {
    fn new(events: Range<usize>) -> Self {
        Self { events, body: None, readable: 0, server_errors: 0, accepted_before: None, was_retried_at_once: false }
    }
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
    /// A destination at an address. `state` is where dead letters go.
    #[must_use]
    pub fn new(address: Address, protocol: Box<dyn Protocol>, state: Option<&Path>) -> Self {
        let name = format!("http-{:08x}", address.checksum());
        Self {
            dead: DeadLetters::new(state, &name),
            name,
            transport: Transport::new(address, protocol.content_type()),
            protocol,
            policy: Policy::default(),
            ceiling: MOST_EVENTS,
            full_pieces: 0,
            plain_until: None,
            accepted_pieces: 0,
            has_progressed: false,
            work: None,
            waiting_since: None,
        }
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

    /// Goes on as far as it can without waiting. `read` gives the events after the cursor of this process's journal, `read_foreign`
    /// those of one that was left behind, which come when there are none of its own.
    pub(super) fn step(
        &mut self,
        runtime: &Runtime,
        done: &Arc<Notify>,
        stats: &mut DestinationStats,
        urgency: Urgency,
        read: impl FnOnce() -> Batch,
        read_foreign: impl FnOnce() -> Option<Batch>,
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
        if self.work.is_none() && !self.policy.is_waiting(Instant::now()) {
            let batch = read();
            let is_nothing = batch.is_empty() && batch.corrupt == 0;
            if is_nothing {
                self.waiting_since = None;
                match read_foreign() {
                    Some(foreign) => self.begin(foreign, Source::Foreign),
                    None if batch.is_incomplete => return Step::Busy,
                    None => return Step::Idle(batch),
                }
            } else {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                let is_full = batch.len() >= MOST_EVENTS || batch.byte_len() >= BATCH_BYTES;
                if !is_full && urgency == Urgency::None && since.elapsed() < AGE {
                    return Step::Busy;
                }
                if !batch.payloads().all(is_known_version) {
                    // That version is to deliver it.
                    stats.last_error = Some("events of a later version of taximeter are waiting for it".to_owned());
                    return Step::Busy;
                }
                self.waiting_since = None;
                self.begin(batch, Source::Own);
            }
        }
        self.send(runtime, done, stats);
        Step::Busy
    }

    fn begin(&mut self, batch: Batch, source: Source) {
        let todo = pieces(0..batch.len(), self.ceiling);
        self.work = Some(Work { batch, source, is_given_up: false, largest: None, todo, in_flight: Vec::new() });
    }

    /// Starts as many requests as there may be.
    fn send(&mut self, runtime: &Runtime, done: &Arc<Notify>, stats: &mut DestinationStats) {
        let Some(work) = &mut self.work else { return };
        let now = Instant::now();
        while !self.policy.is_waiting(now)
            && work.in_flight.len() < self.policy.at_once()
            && let Some(mut piece) = work.todo.pop_front()
        {
            if piece.body.is_none() {
                let events = decoded(&work.batch, &piece.events);
                piece.readable = events.len() as u64;
                if events.is_empty() {
                    stats.unreadable += piece.events.len() as u64;
                    continue;
                }
                let mut body = Vec::new();
                self.protocol.encode(&events, &mut body);
                let is_plain = self.plain_until.is_some_and(|until| now < until);
                piece.body = Some(if is_plain { (body, false) } else { compressed(body) });
            }
            let (body, is_gzip) = piece.body.clone().unwrap_or_default();
            let request = self.transport.send(body, is_gzip);
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
        if error.is_dubious {
            self.transport.disconnect();
        }
        self.policy.fail(Instant::now(), None, true);
        stats.failures += 1;
        stats.retries += 1;
        stats.last_error = Some(format!("{}: {}", self.transport.host(), error.reason));
        work.todo.push_front(piece);
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
                stats.unreadable += count as u64 - piece.readable;
                stats.delivered += piece.readable.saturating_sub(rejected);
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
            Verdict::Uncompressed if piece.body.as_ref().is_some_and(|(_, is_gzip)| *is_gzip) => {
                self.plain_until = Some(now + PLAIN_FOR);
                piece.body = None;
                work.todo.push_front(piece);
            }
            Verdict::Pause | Verdict::Uncompressed => {
                self.policy.pause(now);
                work.todo.push_front(piece);
            }
            Verdict::Split | Verdict::Bisect if count > 1 => {
                if verdict == Verdict::Split {
                    work.largest.get_or_insert(1);
                }
                self.has_progressed = true;
                let middle = piece.events.start + count / 2;
                for half in [middle..piece.events.end, piece.events.start..middle] {
                    let accepted_before = piece.accepted_before;
                    work.todo.push_front(Piece { accepted_before, ..Piece::new(half) });
                }
            }
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
            match self.dead.keep(&self.name, &event, reply.status, &reason) {
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

/// Pieces of at most `ceiling` events.
fn pieces(all: Range<usize>, ceiling: usize) -> VecDeque<Piece> {
    all.clone().step_by(ceiling).map(|start| Piece::new(start..(start + ceiling).min(all.end))).collect()
}

/// The events among some records of a batch.
fn decoded<'a>(batch: &'a Batch, records: &Range<usize>) -> Vec<UsageEvent<'a>> {
    let payloads = batch.payloads().skip(records.start).take(records.len());
    payloads.filter_map(|payload| decode(payload).ok()).collect()
}

/// The body as it is sent, and whether it is compressed.
fn compressed(body: Vec<u8>) -> (Vec<u8>, bool) {
    if body.len() < COMPRESSED_FROM {
        return (body, false);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(packed) => (packed, true),
        Err(_) => (body, false),
    }
}
