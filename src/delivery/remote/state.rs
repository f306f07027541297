//! The state and the settings of an HTTP destination.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::super::dead_letter::DeadLetters;
use super::super::in_flight::{InFlightBatch, Source};
use super::super::policy::Policy;
use super::super::response_log::ResponseLog;
use super::super::spill::Spill;
use super::feed::Scope;
use crate::event::Savings;
use crate::http::{Address, HttpClient};
use crate::journal::{Batch, Position};
use crate::protocol::{BatchLimits, Finding, Format, LimitOverrides, Options, Protocol};
use crate::sys::clock::unix_ns;

/// A service with accounts. Events of one account are never sent with the key of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The account.
    pub account: String,
    /// Former accounts, whose events are sent for this one.
    pub former: Vec<String>,
}

/// 2025-01-01 in nanoseconds since the Unix epoch. An earlier time comes from a clock that was not set yet.
const FIRST_PLAUSIBLE: u64 = 1_735_689_600_000_000_000;

/// The settings of an HTTP destination.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSettings {
    /// The address.
    pub address: Address,
    /// The wire format.
    pub format: &'static Format,
    /// The options of the format.
    pub options: Options,
    /// The user's limits. They override those of the format.
    pub limits: LimitOverrides,
    /// The service and its account; `None` for a destination that recognizes events by id, from whichever account they come.
    pub service: Option<Service>,
    /// The log of responses, if they are kept.
    pub answers: Option<ResponseLog>,
}

/// A destination over HTTP.
pub struct Remote {
    pub(super) name: String,
    /// Former names, whose remaining events it takes over.
    pub(super) former: Vec<String>,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) limits: BatchLimits,
    /// The task that finds out what the format must know before the first request.
    pub(super) search: Option<JoinHandle<Finding>>,
    pub(super) answers: Option<ResponseLog>,
    pub(super) spill: Option<Spill>,
    pub(super) client: HttpClient,
    pub(super) policy: Policy,
    pub(super) dead: DeadLetters,
    /// How long events may wait; `None` for no limit.
    pub(super) max_age: Option<Duration>,
    /// The most events in one request, as learned from what the destination accepted after it rejected a request as too large.
    pub(super) ceiling: usize,
    /// How many sub-batches of that size it accepted in a row.
    pub(super) full_sub_batches: u32,
    pub(super) plain_until: Option<Instant>,
    pub(super) accepted: u64,
    /// Whether a sub-batch was accepted, split or dead-lettered since the last call of `has_progressed()`.
    pub(super) has_progressed: bool,
    /// The batch that is being delivered.
    pub(super) work: Option<InFlightBatch>,
    /// A batch of an orphan journal that was set aside in favour of this process's events.
    pub(super) parked: Option<InFlightBatch>,
    /// Poison candidates: events that the server failed on with nothing else to compare, and how many sub-batches had been accepted
    /// by then.
    pub(super) candidates: VecDeque<([u8; 16], u64)>,
    /// How many sub-batches had been accepted when a whole batch was last refused.
    pub(super) accepted_at_refusal: u64,
    /// Since when events have been lingering.
    pub(super) waiting_since: Option<Instant>,
    /// Whether the last batch came from an orphan journal. Orphan journals and this process's journal take turns.
    pub(super) was_orphan: bool,
    /// Whether the last batch of this process's journal was of its newest events. A backlog and new events take turns.
    pub(super) was_newest: bool,
    pub(super) scope: Scope,
}

impl Remote {
    /// A destination at an address. `state` is the directory of dead letters. Events that have waited longer than `max_age` are not
    /// sent.
    #[must_use]
    pub fn new(address: Address, protocol: Box<dyn Protocol>, state: Option<&Path>, max_age: Option<Duration>) -> Self {
        let (name, limits) = (name_of(&address), protocol.limits());
        Self::named(name, address, protocol, limits, state, max_age)
    }

    fn named(
        name: String,
        address: Address,
        protocol: Box<dyn Protocol>,
        limits: BatchLimits,
        state: Option<&Path>,
        max_age: Option<Duration>,
    ) -> Self {
        Self {
            dead: DeadLetters::new(state, &name),
            spill: protocol.spill().zip(state).map(|(format, state)| Spill::new(format, state, &name)),
            name,
            former: Vec::new(),
            client: HttpClient::new(address, limits.max_response_bytes, limits.read_timeout_divisor)
                .with_code_header(protocol.code_header()),
            protocol,
            limits,
            search: None,
            answers: None,
            policy: Policy::new(limits.concurrency),
            max_age,
            ceiling: limits.max_events,
            full_sub_batches: 0,
            plain_until: None,
            accepted: 0,
            has_progressed: false,
            work: None,
            waiting_since: None,
            parked: None,
            candidates: VecDeque::new(),
            accepted_at_refusal: 0,
            was_orphan: false,
            was_newest: false,
            scope: Scope::Everything,
        }
    }

    /// Creates a destination from its settings.
    #[must_use]
    pub fn open(settings: &RemoteSettings, state: Option<&Path>, max_age: Option<Duration>) -> Self {
        let (mut options, mut former, mut name) = (settings.options.clone(), Vec::new(), name_of(&settings.address));
        if let Some(service) = &settings.service {
            let named = |account: &String| format!("{}-{account}", service.name);
            (name, former) = (named(&service.account), service.former.iter().map(named).collect());
            options.accounts = [std::slice::from_ref(&service.account), &service.former[..]].concat();
        }
        let protocol = (settings.format.make)(&options);
        let limits = settings.limits.apply(protocol.limits());
        let mut this = Self::named(name, settings.address.clone(), protocol, limits, state, max_age);
        this.former = former;
        this.answers.clone_from(&settings.answers);
        this
    }

    /// The same destination, which can also send what caching saved.
    #[must_use]
    pub fn with_savings(mut self, savings: &Savings) -> Self {
        self.protocol.set_savings(savings);
        self
    }

    /// The host. It is not secret.
    pub(crate) fn host(&self) -> &str {
        self.client.host()
    }

    /// The position in this process's journal after the batch that is being delivered.
    pub(crate) fn reaches(&self) -> Option<&Position> {
        self.work.as_ref().filter(|work| work.source == Source::Own).map(|work| &work.batch.position)
    }

    /// The name of its cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its own cursor and of those whose journals it takes over.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.former).map(String::as_str)
    }

    /// The finished records at the beginning of the batch from this kind of journal; `None` if no record is finished.
    pub(crate) fn done_so_far(&self, source: Source) -> Option<Batch> {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        all.find(|work| work.source == source).and_then(InFlightBatch::done_so_far)
    }

    /// How many records of unfinished batches are not waiting any more.
    pub(crate) fn finished(&self) -> u64 {
        [&self.work, &self.parked].into_iter().flatten().map(InFlightBatch::finished).sum()
    }

    /// Whether it is paused, until an operator acts or the pause ends.
    pub(crate) fn is_paused(&self) -> bool {
        self.policy.state() == "paused" && self.policy.is_waiting(Instant::now()) && !self.is_in_flight()
    }

    /// Whether requests are in flight, including those of a batch that was set aside.
    pub(crate) fn is_in_flight(&self) -> bool {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        self.search.is_some() || all.any(|work| !work.in_flight.is_empty())
    }

    /// The limits of requests.
    pub(crate) fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    /// Whether spilled events were requeued since the last call.
    pub(crate) fn has_recovered(&mut self) -> bool {
        self.spill.as_mut().is_some_and(Spill::has_recovered)
    }

    /// The kind of journal of the batch that is being delivered.
    pub(crate) fn source(&self) -> Option<Source> {
        self.work.as_ref().map(|work| work.source)
    }

    /// Whether a sub-batch was accepted, split or dead-lettered since the last call.
    pub(crate) fn has_progressed(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Whether no request may be sent now, because of a failure or a Retry-After.
    pub(crate) fn is_waiting(&self) -> bool {
        self.policy.is_waiting(Instant::now())
    }

    /// Whether a flush need not wait for it any more, because it failed. If the attempts are limited, a flush waits for all of them,
    /// because then the events are spilled.
    pub(crate) fn is_refusing(&self) -> bool {
        self.is_paused() || (self.limits.attempts.is_none() && self.is_waiting() && !self.is_in_flight())
    }

    /// Sets what may be started from now on. Responses to requests in flight are still handled.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Drops a batch of an orphan journal. Its cursor has not moved.
    pub(crate) fn drop_orphan(&mut self) {
        self.work.take_if(|work| work.source == Source::Orphan);
        self.parked = None;
    }

    /// Sets a batch of an orphan journal aside, with its requests in flight, in favour of this process's events.
    pub(crate) fn park_orphan(&mut self) {
        if let Some(work) = self.work.take_if(|work| work.source == Source::Orphan) {
            self.parked = Some(work);
        }
    }

    /// The range of times, in nanoseconds since the Unix epoch, in which events of this batch that are too old to be sent were
    /// tracked.
    ///
    /// A changed system clock does not make events too old: no event is older than its segment, whose age is measured by the time
    /// since boot, and times before this library existed do not count.
    pub(super) fn too_old(&self, batch: &Batch) -> Range<u64> {
        match self.max_age {
            Some(longest) if batch.since.is_none_or(|since| since.elapsed() >= longest) => {
                FIRST_PLAUSIBLE..unix_ns().saturating_sub(longest.as_nanos() as u64)
            }
            _ => 0..0,
        }
    }
}

/// A name that is the same in every run and differs between addresses.
fn name_of(address: &Address) -> String {
    format!("http-{:08x}", address.checksum())
}
