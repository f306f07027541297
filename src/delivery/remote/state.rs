//! What a destination over HTTP is made of, and what is asked of it.

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
use crate::http::{Address, HttpClient};
use crate::journal::{Batch, Position};
use crate::protocol::{BatchLimits, Finding, Format, LimitOverrides, Options, Protocol};
use crate::sys::clock::unix_ns;

/// A service with accounts. Events that were given for one account are not sent with the key of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Which account it is.
    pub account: String,
    /// Accounts whose events it takes over.
    pub former: Vec<String>,
}

/// 2025-01-01, in nanoseconds since the Unix epoch: a time before it is that of a clock that was not set yet.
const FIRST_PLAUSIBLE: u64 = 1_735_689_600_000_000_000;

/// What a destination over HTTP is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSettings {
    /// Where it is.
    pub address: Address,
    /// Its format.
    pub format: &'static Format,
    /// What its user says of the format.
    pub options: Options,
    /// What its user asks for in place of the format's limits.
    pub limits: LimitOverrides,
    /// Of a service with accounts, which one it is; `None` of a destination that tells events by their id, whichever account sends them.
    pub service: Option<Service>,
    /// Where its answers are kept until they are asked for.
    pub answers: Option<ResponseLog>,
}

/// A destination over HTTP.
pub struct Remote {
    pub(super) name: String,
    /// Names of which it takes over what was left.
    pub(super) former: Vec<String>,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) limits: BatchLimits,
    /// What finds out what the format has to know before the first request.
    pub(super) search: Option<JoinHandle<Finding>>,
    pub(super) answers: Option<ResponseLog>,
    pub(super) spill: Option<Spill>,
    pub(super) client: HttpClient,
    pub(super) policy: Policy,
    pub(super) dead: DeadLetters,
    /// How long events may wait; for ever with `None`.
    pub(super) max_age: Option<Duration>,
    /// Events that the destination takes in one request: learned from what it took of what it had found too large.
    pub(super) ceiling: usize,
    /// Sub-batches of that size that it took in a row.
    pub(super) full_sub_batches: u32,
    pub(super) plain_until: Option<Instant>,
    pub(super) accepted: u64,
    /// Whether a sub-batch was accepted, cut or dead-lettered since this was asked last.
    pub(super) has_progressed: bool,
    /// The batch that is being brought.
    pub(super) work: Option<InFlightBatch>,
    /// A batch of another journal that was laid aside in favour of this process's own events.
    pub(super) parked: Option<InFlightBatch>,
    /// Events that a server failed on when nothing else was there to compare with, and how many sub-batches had been accepted then.
    pub(super) candidates: VecDeque<([u8; 16], u64)>,
    /// Since when events have lingered.
    pub(super) waiting_since: Option<Instant>,
    /// Whether the last batch was of another journal: those of ended processes and this process's own take turns.
    pub(super) was_orphan: bool,
    /// Whether the last of its own was of what is being tracked, ahead of older events: a backlog and what is new take turns.
    pub(super) was_newest: bool,
    pub(super) scope: Scope,
}

impl Remote {
    /// A destination at an address. `state` is where dead letters go; events that have waited longer than `max_age` are not sent.
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
            client: HttpClient::new(address, limits.max_response_bytes, limits.read_timeout_divisor),
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
            was_orphan: false,
            was_newest: false,
            scope: Scope::Everything,
        }
    }

    /// A destination by its settings.
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

    /// The host, which may be named.
    pub(crate) fn host(&self) -> &str {
        self.client.host()
    }

    /// Where it will be in this process's journal when the batch is done that is being brought.
    pub(crate) fn reaches(&self) -> Option<&Position> {
        self.work.as_ref().filter(|work| work.source == Source::Own).map(|work| &work.batch.position)
    }

    /// The name of its cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// That, and the names whose journals it takes over.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.former).map(String::as_str)
    }

    /// What of its batch of such a journal is done from its beginning on; nothing where that is nothing.
    pub(crate) fn done_so_far(&self, source: Source) -> Option<Batch> {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        all.find(|work| work.source == source).and_then(InFlightBatch::done_so_far)
    }

    /// Whether it takes nothing, and is asked for nothing, before an operator acts or the pause ends.
    pub(crate) fn is_paused(&self) -> bool {
        self.policy.state() == "paused" && self.policy.is_waiting(Instant::now()) && !self.is_in_flight()
    }

    /// Whether requests are on their way, those of a batch that was laid aside among them.
    pub(crate) fn is_in_flight(&self) -> bool {
        let mut all = [&self.work, &self.parked].into_iter().flatten();
        self.search.is_some() || all.any(|work| !work.in_flight.is_empty())
    }

    /// How it wants to be asked.
    pub(crate) fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    /// Whether spilled events were requeued since this was asked last.
    pub(crate) fn has_recovered(&mut self) -> bool {
        self.spill.as_mut().is_some_and(Spill::has_recovered)
    }

    /// Whose journal the batch is of that is being brought.
    pub(crate) fn source(&self) -> Option<Source> {
        self.work.as_ref().map(|work| work.source)
    }

    /// Whether a sub-batch was accepted, cut or dead-lettered since this was asked last.
    pub(crate) fn has_progressed(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Whether it is not to be asked now: it failed, or asked for a pause.
    pub(crate) fn is_waiting(&self) -> bool {
        self.policy.is_waiting(Instant::now())
    }

    /// Whether it took a flush's events, or failed, as far as it is asked now. Where attempts are limited, all of them are waited for:
    /// then the events are spilled.
    pub(crate) fn is_refusing(&self) -> bool {
        self.is_paused() || (self.limits.attempts.is_none() && self.is_waiting() && !self.is_in_flight())
    }

    /// What may be begun from here on. Answers to requests in flight are taken in all the same.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Gives a batch of another journal up: its cursor has not moved.
    pub(crate) fn drop_orphan(&mut self) {
        self.work.take_if(|work| work.source == Source::Orphan);
        self.parked = None;
    }

    /// Lays a batch of another journal aside, with the answers that it waits for, in favour of this process's own events.
    pub(crate) fn park_orphan(&mut self) {
        if let Some(work) = self.work.take_if(|work| work.source == Source::Orphan) {
            self.parked = Some(work);
        }
    }

    /// When events of a batch were tracked that are too old to be sent, in nanoseconds since the Unix epoch.
    ///
    /// A clock that was set makes no event old: none is older than the segment that it is in, by the machine's own time, and none was
    /// tracked before there was anything to track it.
    pub(super) fn too_old(&self, batch: &Batch) -> Range<u64> {
        match self.max_age {
            Some(longest) if batch.since.is_none_or(|since| since.elapsed() >= longest) => {
                FIRST_PLAUSIBLE..unix_ns().saturating_sub(longest.as_nanos() as u64)
            }
            _ => 0..0,
        }
    }
}

/// A name that stays the same from run to run and tells addresses apart.
fn name_of(address: &Address) -> String {
    format!("http-{:08x}", address.checksum())
}
