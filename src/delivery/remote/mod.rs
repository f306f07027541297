//! A destination over HTTP: batches in pieces, several requests at once, and what becomes of each.
//!
//! A batch of the journal is done when every piece of it is accepted or in the dead letters; only then the cursor moves. A piece that
//! failed keeps its body, so that a retry sends the same bytes. One that is too large, or of which something is unacceptable, is cut in
//! half until the event is found that is at fault. A crash in between repeats pieces: the receiver tells events by their id.

mod given_up;
mod judge;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::DestinationStats;
use super::dead_letter::DeadLetters;
use super::fallback::Fallback;
use super::in_flight::{InFlightBatch, Source};
use super::policy::Policy;
use super::response_log::ResponseLog;
use super::sub_batch::Written;
use crate::event::binary::is_known_version;
use crate::http::{Address, HttpClient, SendError, find_cloud};
use crate::journal::{Batch, Position};
use crate::protocol::{BatchLimits, Cloud, Protocol, Wire};
use crate::sys::clock::unix_ns;

/// After a 415, this long without compression.
const PLAIN_FOR: Duration = Duration::from_hours(1);
/// Requests that ended without an answer in time, for one piece, until it is cut: a smaller one may get through.
const TOO_SLOW: u32 = 2;
/// A server that hung says nothing of sizes: it does not make requests smaller than this.
const LEAST_FOR_SLOW: usize = 50;
/// Poison candidates that are remembered.
const MOST_CANDIDATES: usize = 64;
/// Pieces of full size that are taken before a larger one is tried.
const GROWS_AFTER: u32 = 10;

/// What a destination over HTTP is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSettings {
    /// Where it is.
    pub address: Address,
    /// Its format.
    pub wire: Wire,
    /// Where its answers are kept, for whoever asks for them.
    pub answers: Option<ResponseLog>,
    /// Of a service with accounts, which one it is, and those whose events it takes over. Events that were given for one account are
    /// not sent with the key of another.
    pub account: String,
    /// See `account`.
    pub former: Vec<String>,
}

/// A destination over HTTP.
pub struct Remote {
    name: String,
    /// Names of which it takes over what was left.
    former: Vec<String>,
    protocol: Box<dyn Protocol>,
    limits: BatchLimits,
    /// What finds out in which cloud this machine is.
    search: Option<JoinHandle<Cloud>>,
    answers: Option<ResponseLog>,
    fallback: Option<Fallback>,
    transport: HttpClient,
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
    work: Option<InFlightBatch>,
    /// One of another journal that waits until somebody's own events are there.
    parked: Option<InFlightBatch>,
    /// Events that a server failed on when nothing else was there to compare with, and how many pieces had been accepted then.
    candidates: VecDeque<([u8; 16], u64)>,
    made: Instant,
    /// Since when events have been waiting for company.
    waiting_since: Option<Instant>,
    /// Whether the last batch was of another journal: what others left and this process's own take turns.
    was_foreign: bool,
    /// Whether the last of its own was of what is being tracked, ahead of older events: a backlog and what is new take turns.
    was_newest: bool,
    scope: Scope,
}

/// Whether somebody waits for what was tracked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::delivery) enum Urgency {
    /// Nobody: events wait for company.
    None,
    /// Somebody does, but a destination that fails was asked for him already.
    Known,
    /// Somebody who has come just now: a destination that fails is asked once more.
    New,
}

/// What may be begun: less and less while delivery ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) enum Scope {
    /// Batches of any journal.
    Everything,
    /// Batches of this process's journal.
    OwnJournal,
    /// No request any more.
    Nothing,
}

/// Where batches come from.
pub(in crate::delivery) trait Feed {
    /// The events after the cursor of this process's journal.
    fn oldest(&mut self) -> Batch;
    /// Events that are being tracked, where older ones are left as well.
    fn newest(&mut self) -> Option<Batch>;
    /// The next of a journal that was left behind.
    fn foreign(&mut self) -> Option<Batch>;
}

/// What a step came to.
pub(in crate::delivery) enum Step {
    /// A batch is done; its cursor may move past it.
    Done(Batch, Source),
    /// A batch was given up; its cursor may move past what is done of it, and then it is another journal's turn.
    GivenUp(Option<Batch>, Source),
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
        Self::named(name, address, protocol, state, max_age)
    }

    fn named(
        name: String,
        address: Address,
        protocol: Box<dyn Protocol>,
        state: Option<&Path>,
        max_age: Option<Duration>,
    ) -> Self {
        let limits = protocol.limits();
        Self {
            dead: DeadLetters::new(state, &name),
            name,
            former: Vec::new(),
            transport: HttpClient::new(
                address,
                protocol.content_type(),
                limits.largest_answer,
                limits.read_timeout_divisor,
            ),
            protocol,
            limits,
            search: None,
            answers: None,
            fallback: None,
            policy: Policy::new(limits.most_at_once),
            max_age,
            ceiling: limits.most_events,
            full_pieces: 0,
            plain_until: None,
            accepted_pieces: 0,
            has_progressed: false,
            work: None,
            waiting_since: None,
            parked: None,
            candidates: VecDeque::new(),
            made: Instant::now(),
            was_foreign: false,
            was_newest: false,
            scope: Scope::Everything,
        }
    }

    /// A destination by its settings.
    #[must_use]
    pub fn open(settings: &RemoteSettings, state: Option<&Path>, max_age: Option<Duration>) -> Self {
        let (address, protocol) = (settings.address.clone(), settings.wire.protocol());
        let Some(service) = settings.wire.service() else { return Self::new(address, protocol, state, max_age) };
        let named = |account: &String| format!("{service}-{account}");
        let mut this = Self::named(named(&settings.account), address, protocol, state, max_age);
        this.former = settings.former.iter().map(named).collect();
        this.answers.clone_from(&settings.answers);
        if let (Wire::TokenTrackr(own), Some(state)) = (&settings.wire, state) {
            let accounts = [std::slice::from_ref(&settings.account), &settings.former[..]].concat();
            this.fallback = own.fallback.as_deref().map(|dir| Fallback::new(dir, state, &this.name, &accounts));
        }
        this
    }

    /// The host, which may be named.
    pub(in crate::delivery) fn host(&self) -> &str {
        self.transport.host()
    }

    /// Where it will be in this process's journal when the batch is done that is being brought.
    pub(in crate::delivery) fn reaches(&self) -> Option<&Position> {
        self.work.as_ref().filter(|work| work.source == Source::Own).map(|work| &work.batch.position)
    }

    /// The name of its cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// That, and the names of which it takes over what was left.
    pub(in crate::delivery) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.former).map(String::as_str)
    }

    /// What of its batch of such a journal is done from its beginning on; nothing where that is nothing.
    pub(in crate::delivery) fn done_so_far(&self, source: Source) -> Option<Batch> {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        all.find(|work| work.source == source).and_then(InFlightBatch::done_so_far)
    }

    /// Whether it takes nothing, and is asked for nothing, before somebody has mended something.
    pub(in crate::delivery) fn is_paused(&self) -> bool {
        self.policy.state() == "paused" && self.policy.is_waiting(Instant::now()) && !self.is_in_flight()
    }

    /// Whether requests are on their way, those of a batch that was laid aside among them.
    pub(in crate::delivery) fn is_in_flight(&self) -> bool {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        self.search.is_some() || all.any(|work| !work.in_flight.is_empty())
    }

    /// How it wants to be asked.
    pub(in crate::delivery) fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    /// Whether events came out of the fallback since this was asked last.
    pub(in crate::delivery) fn has_recovered(&mut self) -> bool {
        self.fallback.as_mut().is_some_and(Fallback::has_recovered)
    }

    /// Whose journal the batch is of that is being brought.
    pub(in crate::delivery) fn source(&self) -> Option<Source> {
        self.work.as_ref().map(|work| work.source)
    }

    /// Whether a piece was accepted, cut or buried since this was asked last.
    pub(in crate::delivery) fn has_progressed(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Whether it is not to be asked now: it failed, or asked for a pause.
    pub(in crate::delivery) fn is_waiting(&self) -> bool {
        self.policy.is_waiting(Instant::now())
    }

    /// Whether it took a flush's events, or failed, as far as it is asked now. Where attempts are limited, all of them are waited for:
    /// then the events are spilled.
    pub(in crate::delivery) fn is_refusing(&self) -> bool {
        self.is_paused() || (self.limits.attempts.is_none() && self.is_waiting() && !self.is_in_flight())
    }

    /// What may be begun from here on. Answers to requests in flight are taken in all the same.
    pub(in crate::delivery) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Gives a batch of another journal up: its cursor has not moved.
    pub(in crate::delivery) fn drop_foreign(&mut self) {
        self.work.take_if(|work| work.source == Source::Foreign);
        self.parked = None;
    }

    /// Lays a batch of another journal aside, with the answers that it waits for, in favour of this process's own events.
    pub(in crate::delivery) fn park_foreign(&mut self) {
        if let Some(work) = self.work.take_if(|work| work.source == Source::Foreign) {
            self.parked = Some(work);
        }
    }

    /// Goes on as far as it can without waiting.
    pub(in crate::delivery) fn step(
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
                self.ceiling = if work.is_slow { largest.max(LEAST_FOR_SLOW) } else { largest };
                self.full_pieces = 0;
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

    /// Begins the next batch, or says that there is none.
    ///
    /// What this process tracks goes first, and what others left when nothing of it is due. Where both wait, or a backlog of this
    /// process's own and what it tracks now, they take turns; but nobody who waits for a flush waits for what others left.
    fn take(&mut self, stats: &mut DestinationStats, urgency: Urgency, feed: &mut impl Feed) -> Option<Step> {
        self.recover(stats, false);
        let own = feed.oldest().at_most(self.limits.batch_records);
        let has_own = !own.is_nothing();
        stats.oldest = own.appended_at().min();
        let is_due = has_own && {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let is_full = own.len() >= self.limits.most_events.min(self.limits.batch_records)
                || own.byte_len() >= self.limits.batch_bytes;
            is_full || urgency != Urgency::None || since.elapsed() >= self.limits.age
        };
        let may_be_foreign = self.scope == Scope::Everything
            && (!has_own || (urgency == Urgency::None && (!is_due || !self.was_foreign)));
        if may_be_foreign && self.parked.is_some() {
            self.work = self.parked.take();
            self.was_foreign = true;
        } else if may_be_foreign && let Some(foreign) = feed.foreign() {
            self.begin(foreign.at_most(self.limits.batch_records), Source::Foreign);
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
            let is_behind = !self.limits.is_ordered && own.byte_len() >= self.limits.batch_bytes && !self.was_newest;
            let newest = is_behind.then(|| feed.newest()).flatten();
            self.was_newest = newest.is_some();
            self.begin(newest.unwrap_or(own), Source::Own);
        }
        None
    }

    fn begin(&mut self, batch: Batch, source: Source) {
        self.work = Some(InFlightBatch::new(batch, source));
        self.was_foreign = source == Source::Foreign;
    }

    /// Before which time events of a journal are too old to be sent.
    fn oldest_allowed(&self, source: Source) -> u64 {
        match self.max_age {
            // None of this process's own can have waited longer than this exists, whatever a clock that was set says.
            Some(age) if source == Source::Foreign || self.made.elapsed() >= age => {
                unix_ns().saturating_sub(age.as_nanos() as u64)
            }
            _ => 0,
        }
    }

    /// Whether it is known in which cloud this machine is, as far as the format asks for it; sees to it otherwise.
    fn knows_cloud(&mut self, runtime: &Runtime, done: &Arc<Notify>) -> bool {
        let Some(endpoints) = self.protocol.asks_for_cloud() else { return true };
        match self.search.take() {
            None => {
                let (endpoints, done) = (endpoints.clone(), Arc::clone(done));
                self.search = Some(runtime.spawn(async move {
                    let found = find_cloud(&endpoints).await;
                    done.notify_one();
                    found
                }));
            }
            Some(search) if search.is_finished() => {
                self.protocol.set_cloud(runtime.block_on(search).unwrap_or(Cloud::ON_PREMISES));
            }
            running => self.search = running,
        }
        self.search.is_none()
    }

    /// Starts as many requests as there may be.
    fn send(&mut self, runtime: &Runtime, done: &Arc<Notify>) {
        let Some(source) = self.source() else { return };
        if !self.knows_cloud(runtime, done) {
            return;
        }
        let since = self.oldest_allowed(source);
        let Some(work) = &mut self.work else { return };
        let now = Instant::now();
        let is_plain = !self.limits.compresses || self.plain_until.is_some_and(|until| now < until);
        while !self.policy.is_waiting(now)
            && work.in_flight.len() < self.policy.at_once()
            && let Some(mut piece) = work.todo.pop_front()
        {
            if let Some(rest) = piece.split_off(self.ceiling) {
                work.todo.push_front(rest);
            }
            if piece.body.is_none() {
                match piece.write(&work.batch, &*self.protocol, since, is_plain) {
                    Written::Ready(ready) => piece = ready,
                    Written::Cut(parts) => {
                        parts.into_iter().rev().for_each(|part| work.todo.push_front(part));
                        continue;
                    }
                    Written::Empty(empty) => {
                        work.leave_out(&empty);
                        continue;
                    }
                }
            }
            let Some(body) = piece.body.clone() else { continue };
            let request = self.transport.send(body.posts, body.is_gzip);
            let done = Arc::clone(done);
            let handle = runtime.spawn(async move {
                let reply = request.await;
                done.notify_one();
                reply
            });
            work.in_flight.push((piece, handle));
        }
    }

    /// Takes in the answers that have come. The batch that was given up, if one was.
    fn collect(&mut self, runtime: &Runtime, stats: &mut DestinationStats) -> Option<InFlightBatch> {
        let mut work = self.work.take()?;
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
                Err(error) => {
                    self.fail(&mut work, piece, &SendError::other(error.to_string()), stats);
                }
            }
        }
        if work.is_given_up {
            return Some(work);
        }
        self.work = Some(work);
        None
    }
}
