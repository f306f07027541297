//! The meter prices events, appends them to the journal and starts their delivery.
//!
//! A new meter holds no resources. Its first event creates the journal and the delivery threads. These belong to the process that created
//! them: after a fork, the first event of the child creates new ones and leaks the parent's, so that not even a destructor touches them.

mod admission;
mod facts;
mod issue;
mod limited;
mod limits;
mod maintenance;
mod plain;
mod prices;
mod quote;
mod savings;
mod spending;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::delivery::EventJournal;
use crate::delivery::{
    Answered, Destination, DestinationStats, Flushed, LedgerSink, Notice, Remote, RemoteSettings, ResponseLog, Sender,
};
use crate::event::binary::encode;
use crate::event::limits::MAX_REQUESTS;
use crate::event::plain::{self as plain_event, PlainEvent};
use crate::event::{Outgoing, UsageEvent};
use crate::journal::{self, AppendError, Counts, Tier};
use crate::money::Usd;
use crate::pricing::OverrideError;
use crate::sys::clock::unix_ns;
use crate::sys::fork::fork_generation;

pub use admission::{Admission, Charging};
pub use issue::Issue;
pub use limits::{GateCount, Limits, Refusal, Warning};
use plain::Seen;
pub use plain::{PlainCall, Prepared};
use prices::price;
pub use prices::{PriceSettings, Prices};
pub use quote::{Ask, Quoted};
use savings::savings;

/// The settings of a meter.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of journals, dead letters and the ledger. `None` keeps events in memory.
    pub state_dir: Option<PathBuf>,
    /// The ledger to deliver to, if any.
    pub ledger: Option<PathBuf>,
    /// How long events wait for others, so that one transaction of the ledger stores them.
    pub linger: Duration,
    /// The age at which the ledger deletes calls; `None` keeps them.
    pub retention: Option<Duration>,
    /// Further destinations.
    pub remotes: Vec<RemoteSettings>,
    /// How segments are written.
    pub backend: journal::Backend,
    /// The most bytes of the journal on disk.
    pub budget: Option<u64>,
    /// The most bytes of the state of budgets.
    pub budget_state: u64,
    /// How long events may wait for an HTTP destination; `None` for no limit.
    pub max_age: Option<Duration>,
    /// The sources of prices.
    pub prices: PriceSettings,
    /// Attribution of every event, from [`crate::event::binary::encode_attribution`].
    pub defaults: Box<[u8]>,
}

/// The result of `track()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: [u8; 16],
    /// Its cost, if known.
    pub cost: Option<Usd>,
    /// An issue to warn about. The event is recorded nevertheless.
    pub remark: Option<Issue>,
    /// Whether there are notices about delivery for an operator: see [`Meter::take_notices`].
    pub has_notices: bool,
    /// Whether its charge to budgets waits in memory: see [`Limits::settle_waiting`].
    pub is_unsettled: bool,
}

/// A meter's counts at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Counts of the journal; `None` before the first event.
    pub journal: Option<(Counts, Tier)>,
    /// The most bytes that the journal may currently take on disk.
    pub budget: Option<u64>,
    /// How long until the journal is full, if its backlog keeps growing at this rate.
    pub time_to_full: Option<Duration>,
    /// Statistics of each destination.
    pub destinations: Vec<DestinationStats>,
    /// All other counts, in the order of [`Issue::ALL`].
    pub counts: [u64; Issue::ALL.len()],
}

/// The journal and the delivery of one process.
struct Pipeline {
    journal: Arc<EventJournal>,
    sender: Sender,
}

/// The period between two forks or closes, with the pipeline of that period.
struct Epoch {
    generation: u64,
    defaults: Box<[u8]>,
    pipeline: Arc<OnceLock<Pipeline>>,
}

/// A meter.
pub struct Meter {
    settings: ArcSwap<Settings>,
    prices: Arc<Prices>,
    limits: Arc<Limits>,
    epoch: ArcSwap<Epoch>,
    counts: [AtomicU64; Issue::ALL.len()],
    /// Stored events that the last repricing has priced so far.
    repriced: AtomicU64,
    /// Notices of pipelines that were closed. Only `try_lock` is used: a child may inherit the mutex locked.
    late_notices: Mutex<Vec<Notice>>,
}

impl Meter {
    /// A meter without a journal.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let epoch =
            Epoch { generation: fork_generation(), defaults: settings.defaults.clone(), pipeline: Arc::default() };
        let limits = Arc::<Limits>::default();
        limits.configure(settings.state_dir.as_deref(), settings.ledger.as_deref(), settings.budget_state);
        Self {
            limits,
            prices: Arc::new(Prices::new(settings.prices.clone())),
            settings: ArcSwap::from_pointee(settings),
            epoch: ArcSwap::from_pointee(epoch),
            counts: Default::default(),
            repriced: AtomicU64::default(),
            late_notices: Mutex::default(),
        }
    }

    /// The current prices.
    #[must_use]
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The budgets.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The current settings.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes the settings. If anything but prices and defaults changes, the events tracked under the old settings are then flushed to
    /// the old destinations, within `timeout`.
    ///
    /// # Errors
    /// If the price overrides are invalid. Then nothing changes.
    pub fn configure(&self, settings: Settings, timeout: Duration) -> Result<(), OverrideError> {
        self.prices.configure(&settings.prices)?;
        let settings = Arc::new(settings);
        self.limits.configure(settings.state_dir.as_deref(), settings.ledger.as_deref(), settings.budget_state);
        let old = self.settings.swap(Arc::clone(&settings));
        let is_moved = old.state_dir != settings.state_dir
            || old.ledger != settings.ledger
            || old.linger != settings.linger
            || old.retention != settings.retention
            || old.remotes != settings.remotes
            || old.backend != settings.backend
            || old.budget != settings.budget
            || old.max_age != settings.max_age;
        let previous = self.next_epoch(|epoch| Epoch {
            generation: epoch.generation,
            defaults: settings.defaults.clone(),
            pipeline: if is_moved { Arc::default() } else { Arc::clone(&epoch.pipeline) },
        });
        if is_moved && let Some(pipeline) = previous.pipeline.get() {
            let _ = self.end(pipeline, timeout, &|| true);
        }
        Ok(())
    }

    /// Prices an event, unless it comes with a reported cost, and appends it to the journal.
    ///
    /// `event` has no id yet. If it has no start time, it starts now minus its latency. `layers` are the attributions between the defaults
    /// and the event's own, outermost first.
    ///
    /// # Errors
    /// [`Issue::NoSpace`] if the journal is full and [`Issue::TooLarge`] if the event does not fit. Both are counted.
    pub fn track(&self, event: UsageEvent<'_>, layers: [&[u8]; 2], charging: Charging<'_>) -> Result<Receipt, Issue> {
        let now = unix_ns();
        let in_force = self.prices.load();
        let book = in_force.book();
        // Declared after the book, because it will borrow names from it.
        let mut event = event;
        if event.started_at == 0 {
            event.started_at = now - event.latency_us.unwrap_or(0).saturating_mul(1000).min(now);
        }
        let remark = price(book, &mut event).err();
        if let Some(contradiction) = remark {
            self.count(contradiction, 1);
        }
        // Before the event is journaled: if the process is killed in between, the budget counts too much, never too little.
        let is_unsettled = self.charge(&event, layers, charging, now);
        if charging.is_unrecorded {
            return Ok(Receipt { id: [0; 16], cost: event.cost, remark, has_notices: false, is_unsettled });
        }
        let receipt = self.append(now, |id, defaults, out| {
            event.id = id;
            encode(&event, &[defaults, layers[0], layers[1]], out)
        })?;
        Ok(Receipt { cost: event.cost, remark: receipt.remark.or(remark), is_unsettled, ..receipt })
    }

    /// Records a plain call, as [`Meter::track`] would record it. `scope` is the attribution around the call.
    ///
    /// `None` if the call is not that plain after all: nothing was recorded then.
    #[inline]
    pub fn track_plain(&self, call: &PlainCall<'_>, scope: &[u8]) -> Option<Result<Receipt, Issue>> {
        let now = unix_ns();
        let are_concerned = |seen: &Seen<'_>| self.limits.are_active() && self.is_counted(seen, scope);
        plain::with_event(call, &self.prices, now, are_concerned, |event| self.append_plain(event, scope, now))
    }

    /// Prepares calls with the texts of this one; `None` if it is not plain.
    #[must_use]
    pub fn prepare(&self, call: &PlainCall<'_>) -> Option<Prepared> {
        Prepared::new(call, &self.prices, unix_ns())
    }

    /// Records a prepared call with these counts of input and output tokens and these tags. `None` as for [`Meter::track_plain`], or if
    /// it has to be prepared again.
    #[inline]
    pub fn track_prepared(
        &self,
        prepared: &Prepared,
        counts: [Option<u64>; 2],
        tags: &[(&str, &str)],
        scope: &[u8],
    ) -> Option<Result<Receipt, Issue>> {
        if self.limits.are_active() && self.is_counted(&prepared.seen(tags), scope) {
            return None;
        }
        let now = unix_ns();
        prepared.with_event(counts, tags, &self.prices, now, |event| self.append_plain(event, scope, now))
    }

    #[inline]
    fn append_plain(&self, event: &PlainEvent<'_>, scope: &[u8], now: u64) -> Result<Receipt, Issue> {
        let receipt = self.append(now, |id, defaults, out| {
            plain_event::encode(event, id, now, [defaults, scope], out);
            0
        })?;
        Ok(Receipt { cost: Some(event.cost), ..receipt })
    }

    /// Appends requests for a service with its own wire format to the journal. They are not usage events and go to no other destination.
    ///
    /// # Errors
    /// [`Issue::TooLarge`] if the requests are too large and [`Issue::NoSpace`] if the journal is full. Both are counted.
    pub fn post(&self, requests: Vec<Outgoing<'_>>) -> Result<Receipt, Issue> {
        if requests.iter().map(|request| request.path.len() + request.body.len()).sum::<usize>() > MAX_REQUESTS {
            self.count(Issue::TooLarge, 1);
            return Err(Issue::TooLarge);
        }
        let now = unix_ns();
        let mut event = UsageEvent { started_at: now, requests, ..UsageEvent::default() };
        // Requests hold their attribution in the body.
        self.append(now, |id, _, out| {
            event.id = id;
            encode(&event, &[], out)
        })
    }

    /// Appends an event to the journal of this process. `write` gets the event's id and the default attribution, appends the encoded
    /// event, and returns how many texts it cut. The receipt has no cost.
    #[inline]
    fn append(&self, now: u64, mut write: impl FnMut([u8; 16], &[u8], &mut Vec<u8>) -> u32) -> Result<Receipt, Issue> {
        let (epoch, appended) = loop {
            let epoch = self.epoch();
            let is_new = epoch.pipeline.get().is_none();
            let pipeline = epoch.pipeline.get_or_init(|| open(&self.settings.load(), &self.limits, &self.prices));
            if is_new && !Arc::ptr_eq(&epoch, &self.epoch()) {
                // `close` ran while this thread opened the pipeline, and had nothing to close yet.
                let _ = self.end(pipeline, Duration::ZERO, &|| true);
                continue;
            }
            let appended = pipeline.journal.append(now, |out, ids| {
                let id = ids.next(now);
                (id, write(id, &epoch.defaults, out))
            });
            match appended {
                // The journal was closed after `epoch()`. Retry with the next epoch.
                Err(AppendError::Closed) => std::thread::yield_now(),
                Err(AppendError::Full) => break (epoch, None),
                Err(AppendError::TooLarge { .. }) => {
                    self.count(Issue::TooLarge, 1);
                    return Err(Issue::TooLarge);
                }
                Ok(appended) => break (epoch, Some(appended)),
            }
        };
        let (Some((id, cuts)), Some(pipeline)) = (appended, epoch.pipeline.get()) else {
            self.count(Issue::NoSpace, 1);
            return Err(Issue::NoSpace);
        };
        pipeline.sender.notify();
        let mut remark = None;
        let lost = pipeline.sender.take_lost();
        if lost > 0 {
            self.count(Issue::GivenUp, lost);
            remark = Some(Issue::GivenUp);
        }
        if cuts > 0 {
            self.count(Issue::Truncated, u64::from(cuts));
            remark = Some(Issue::Truncated);
        }
        Ok(Receipt { id, cost: None, remark, has_notices: pipeline.sender.has_notices(), is_unsettled: false })
    }

    /// The responses received since the last call, from the destinations that keep them.
    #[must_use]
    pub fn take_answers(&self) -> Vec<Answered> {
        let settings = self.settings.load();
        settings.remotes.iter().filter_map(|remote| remote.answers.as_ref()).flat_map(ResponseLog::drain).collect()
    }

    /// Notices for an operator. Each is returned once, to the next caller that can log it.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        let mut all = self.late_notices.try_lock().map(|mut late| std::mem::take(&mut *late)).unwrap_or_default();
        all.extend(self.epoch().pipeline.get().map(|pipeline| pipeline.sender.take_notices()).unwrap_or_default());
        all
    }

    /// The names of the destinations in the settings.
    #[must_use]
    pub fn destinations(&self) -> Vec<String> {
        destinations(&self.settings(), &self.limits, &self.prices).iter().map(|one| one.name().to_owned()).collect()
    }

    /// Checks whether the journal can be kept on disk as the settings say.
    ///
    /// # Errors
    /// The reason why events are kept in memory only.
    pub fn probe(&self) -> std::io::Result<()> {
        journal::probe(&journal_settings(&self.settings(), Vec::new()))
    }

    /// Adds to the count of an issue.
    pub fn count(&self, what: Issue, times: u64) {
        self.counts[what as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// The epoch of this process. After a fork it is a new one, whatever state the parent's was in.
    fn epoch(&self) -> Guard<Arc<Epoch>> {
        let generation = fork_generation();
        loop {
            let epoch = self.epoch.load();
            if epoch.generation == generation {
                return epoch;
            }
            let next = Arc::new(Epoch { generation, defaults: epoch.defaults.clone(), pipeline: Arc::default() });
            let previous = self.epoch.compare_and_swap(&epoch, next);
            // Leak the parent's epoch: dropping it would unmap and close resources of the parent.
            std::mem::forget((Arc::clone(&previous), Arc::clone(&epoch)));
        }
    }

    /// Waits until everything tracked before is delivered or rejected, the time is up, or `should_continue` returns false. It is called a
    /// few times a second.
    #[must_use]
    pub fn flush(&self, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Flushed {
        self.epoch()
            .pipeline
            .get()
            .map_or_else(Flushed::default, |pipeline| pipeline.sender.flush(timeout, should_continue))
    }

    /// Flushes and stops delivery. Undelivered events stay on disk for the next process. The next event starts delivery again.
    pub fn close(&self, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Flushed {
        // Events tracked from now on belong to the next epoch.
        let previous = self.next_epoch(|epoch| Epoch {
            generation: epoch.generation,
            defaults: epoch.defaults.clone(),
            pipeline: Arc::default(),
        });
        let report = previous
            .pipeline
            .get()
            .map_or_else(Flushed::default, |pipeline| self.end(pipeline, timeout, should_continue));
        if previous.generation != fork_generation() {
            // Dropping the parent's journal would unmap and close what only the parent may.
            std::mem::forget(previous);
        }
        report
    }

    fn end(&self, pipeline: &Pipeline, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Flushed {
        let generation = fork_generation();
        let report = pipeline.sender.close(timeout, should_continue);
        if generation != fork_generation() {
            // A signal handler forked during the close, and this process is the child.
            return report;
        }
        self.limits.close();
        if let Ok(mut late) = self.late_notices.try_lock() {
            late.extend(pipeline.sender.take_notices());
        }
        self.count(Issue::GivenUp, pipeline.sender.take_lost());
        self.count(Issue::LostInMemory, report.lost_in_memory);
        report
    }

    /// Replaces the current epoch of this process and returns the previous one.
    fn next_epoch(&self, make: impl Fn(&Epoch) -> Epoch) -> Arc<Epoch> {
        loop {
            let current = self.epoch();
            let previous = self.epoch.compare_and_swap(&*current, Arc::new(make(&current)));
            if Arc::ptr_eq(&previous, &current) {
                return Guard::into_inner(previous);
            }
        }
    }

    /// The current counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let epoch = self.epoch();
        let pipeline = epoch.pipeline.get();
        if let Some(pipeline) = pipeline {
            self.count(Issue::GivenUp, pipeline.sender.take_lost());
        }
        Stats {
            journal: pipeline.map(|pipeline| (pipeline.journal.counts(), pipeline.journal.tier())),
            budget: pipeline.and_then(|pipeline| pipeline.journal.budget()),
            time_to_full: pipeline.and_then(|pipeline| pipeline.sender.time_to_full()),
            destinations: pipeline.map(|pipeline| pipeline.sender.stats()).unwrap_or_default(),
            counts: std::array::from_fn(|index| {
                let counted = self.counts[index].load(Ordering::Relaxed);
                let unreadable = if index == Issue::UnreadableCatalog as usize { self.prices.unreadable() } else { 0 };
                counted + unreadable
            }),
        }
    }
}

fn journal_settings(settings: &Settings, destinations: Vec<String>) -> journal::Settings {
    journal::Settings {
        root: settings.state_dir.as_deref().map(|state| state.join("journal")),
        backend: settings.backend,
        budget: settings.budget,
        destinations,
    }
}

fn open(settings: &Settings, limits: &Arc<Limits>, prices: &Arc<Prices>) -> Pipeline {
    let root = settings.state_dir.as_deref().map(|state| state.join("journal"));
    let destinations = destinations(settings, limits, prices);
    let names = destinations.iter().map(|one| one.name().to_owned()).collect();
    let journal = Arc::new(EventJournal::open(journal_settings(settings, names)));
    let kept = Arc::clone(limits);
    let sender = Sender::start_with_upkeep(Arc::clone(&journal), root, destinations, Box::new(move || kept.tick()));
    Pipeline { journal, sender }
}

/// The destinations in the settings.
fn destinations(settings: &Settings, limits: &Arc<Limits>, prices: &Arc<Prices>) -> Vec<Destination> {
    let savings = savings(Arc::clone(prices));
    let local = |path: &PathBuf| {
        let sink = LedgerSink::new(path, settings.linger, Some(limits.spending()), Some(Arc::clone(&savings)));
        Destination::Local(Box::new(sink.with_retention(settings.retention)))
    };
    let remote = |remote: &RemoteSettings| {
        let remote = Remote::open(remote, settings.state_dir.as_deref(), settings.max_age);
        Destination::Remote(Box::new(remote.with_savings(&savings)))
    };
    settings.ledger.iter().map(local).chain(settings.remotes.iter().map(remote)).collect()
}
