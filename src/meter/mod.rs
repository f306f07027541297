//! The meter: prices an event, puts it into the journal and starts its delivery.
//!
//! A meter is cheap until its first event, which makes the journal and the delivery thread. Both belong to the process that made
//! them: after a fork, the child's first event makes new ones and leaves the parent's alone, without so much as dropping them.

mod issue;
mod prices;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::delivery::EventJournal;
use crate::delivery::{
    Answered, Destination, DestinationStats, Drained, Flushed, LedgerSink, Notice, Remote, RemoteSettings, ResponseLog,
    Sender, drain_orphans, drop_dead_letters, retry_dead_letters,
};
use crate::event::binary::encode;
use crate::event::limits::MAX_REQUESTS;
use crate::event::{CostStatus, Outgoing, UsageEvent};
use crate::journal::{self, AppendError, Counts, Tier};
use crate::ledger::{Filter, LedgerError, NewPrice, Repriced, Writer};
use crate::money::Usd;
use crate::pricing::{Book, Conditions, OverrideError, Request};
use crate::sys::clock::unix_ns;
use crate::sys::fork::fork_generation;

pub use issue::Issue;
pub use prices::{PriceSettings, Prices};

/// What a meter is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where journals, dead letters and the ledger are; `None` keeps events in memory.
    pub state_dir: Option<PathBuf>,
    /// The ledger to deliver to, if any.
    pub ledger: Option<PathBuf>,
    /// Where else events go.
    pub remotes: Vec<RemoteSettings>,
    /// How segments are written.
    pub backend: journal::Backend,
    /// Most bytes of the journal on disk.
    pub budget: Option<u64>,
    /// How long events may wait for a destination over HTTP; for ever with `None`.
    pub max_age: Option<Duration>,
    /// Where prices come from.
    pub prices: PriceSettings,
    /// Attribution of every event, from [`crate::event::binary::encode_attribution`].
    pub defaults: Box<[u8]>,
}

/// What `track()` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: [u8; 16],
    /// Its cost, if known.
    pub cost: Option<Usd>,
    /// Something to warn about, though the event is recorded.
    pub remark: Option<Issue>,
    /// Whether an operator has to know something of delivery: see [`Meter::take_notices`].
    pub has_notices: bool,
}

/// A meter's counts at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Of the journal; `None` before the first event.
    pub journal: Option<(Counts, Tier)>,
    /// Bytes that the journal may take on disk now.
    pub budget: Option<u64>,
    /// When the journal's space will be used up, if its backlog goes on growing.
    pub time_to_full: Option<Duration>,
    /// Of each destination.
    pub destinations: Vec<DestinationStats>,
    /// Everything else, in the order of [`Issue::ALL`].
    pub counts: [u64; Issue::ALL.len()],
}

/// Journal and delivery of one process.
struct Live {
    journal: Arc<EventJournal>,
    sender: Sender,
}

/// The time from one fork, or one close, to the next.
struct Epoch {
    generation: u64,
    defaults: Box<[u8]>,
    live: Arc<OnceLock<Live>>,
}

/// A meter.
pub struct Meter {
    settings: ArcSwap<Settings>,
    prices: Prices,
    epoch: ArcSwap<Epoch>,
    counts: [AtomicU64; Issue::ALL.len()],
    /// Notices of delivery that has ended. Never waited for: after a fork the lock may be inherited taken.
    late_notices: Mutex<Vec<Notice>>,
}

impl Meter {
    /// A meter that has done nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let epoch = Epoch { generation: fork_generation(), defaults: settings.defaults.clone(), live: Arc::default() };
        Self {
            prices: Prices::new(settings.prices.clone()),
            settings: ArcSwap::from_pointee(settings),
            epoch: ArcSwap::from_pointee(epoch),
            counts: Default::default(),
            late_notices: Mutex::default(),
        }
    }

    /// The prices in force.
    #[must_use]
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes the settings. What was tracked under the old ones is flushed to where they say, within `timeout`, when state
    /// directory, ledger or backend change.
    ///
    /// # Errors
    /// When the overrides are none; then nothing changes.
    pub fn configure(&self, settings: Settings, timeout: Duration) -> Result<(), OverrideError> {
        self.prices.configure(&settings.prices)?;
        let settings = Arc::new(settings);
        let old = self.settings.swap(Arc::clone(&settings));
        let is_moved = old.state_dir != settings.state_dir
            || old.ledger != settings.ledger
            || old.remotes != settings.remotes
            || old.backend != settings.backend
            || old.budget != settings.budget
            || old.max_age != settings.max_age;
        let previous = self.next_epoch(|epoch| Epoch {
            generation: epoch.generation,
            defaults: settings.defaults.clone(),
            live: if is_moved { Arc::default() } else { Arc::clone(&epoch.live) },
        });
        if is_moved && let Some(live) = previous.live.get() {
            let _ = self.end(live, timeout, &|| true);
        }
        Ok(())
    }

    /// Prices an event, unless it comes with a reported cost, and appends it to the journal.
    ///
    /// `event` has no id yet; with no start it started now. `layers` are attributions between the defaults and
    /// the event's own.
    ///
    /// # Errors
    /// [`Issue::NoSpace`] when the journal is full; it is counted.
    pub fn track(&self, event: UsageEvent<'_>, layers: [&[u8]; 2]) -> Result<Receipt, Issue> {
        let now = unix_ns();
        let in_force = self.prices.load();
        let book = in_force.book();
        // Declared after the book, whose names it will borrow.
        let mut event = event;
        if event.started_at == 0 {
            event.started_at = now - event.latency_us.unwrap_or(0).saturating_mul(1000).min(now);
        }
        let remark = price(book, &mut event).err();
        if let Some(contradiction) = remark {
            self.count(contradiction, 1);
        }
        let receipt = self.append(&mut event, layers, now)?;
        Ok(Receipt { remark: receipt.remark.or(remark), ..receipt })
    }

    /// Appends requests for a service that has a wire of its own to the journal. They are no usage, and go to no other destination.
    ///
    /// # Errors
    /// [`Issue::TooLarge`], and [`Issue::NoSpace`] when the journal is full; they are counted.
    pub fn post(&self, requests: Vec<Outgoing<'_>>) -> Result<Receipt, Issue> {
        if requests.iter().map(|request| request.path.len() + request.body.len()).sum::<usize>() > MAX_REQUESTS {
            self.count(Issue::TooLarge, 1);
            return Err(Issue::TooLarge);
        }
        let now = unix_ns();
        self.append(&mut UsageEvent { started_at: now, requests, ..UsageEvent::default() }, [&[], &[]], now)
    }

    /// Appends an event to the journal of this process, which gives it its id.
    fn append(&self, event: &mut UsageEvent<'_>, layers: [&[u8]; 2], now: u64) -> Result<Receipt, Issue> {
        let (epoch, appended) = loop {
            let epoch = self.epoch();
            let is_new = epoch.live.get().is_none();
            let live = epoch.live.get_or_init(|| open(&self.settings.load()));
            if is_new && !Arc::ptr_eq(&epoch, &self.epoch()) {
                // Closed while it was being opened, when there was nothing to close yet.
                let _ = self.end(live, Duration::ZERO, &|| true);
                continue;
            }
            let appended = live.journal.append(now, |out, ids| {
                event.id = ids.next(now);
                // Who is charged for a request is in the request.
                let defaults: &[u8] = if event.is_usage() { &epoch.defaults } else { &[] };
                encode(event, &[defaults, layers[0], layers[1]], out)
            });
            match appended {
                // Closed in between: the next epoch takes it.
                Err(AppendError::Closed) => std::thread::yield_now(),
                Err(AppendError::Full) => break (epoch, None),
                Err(AppendError::TooLarge { .. }) => {
                    self.count(Issue::TooLarge, 1);
                    return Err(Issue::TooLarge);
                }
                Ok(cuts) => break (epoch, Some(cuts)),
            }
        };
        let (Some(cuts), Some(live)) = (appended, epoch.live.get()) else {
            self.count(Issue::NoSpace, 1);
            return Err(Issue::NoSpace);
        };
        live.sender.notify();
        let mut remark = None;
        let lost = live.sender.take_lost();
        if lost > 0 {
            self.count(Issue::GivenUp, lost);
            remark = Some(Issue::GivenUp);
        }
        if cuts > 0 {
            self.count(Issue::Truncated, u64::from(cuts));
            remark = Some(Issue::Truncated);
        }
        Ok(Receipt { id: event.id, cost: event.cost, remark, has_notices: live.sender.has_notices() })
    }

    /// What destinations answered since this was asked last, of those whose answers are kept.
    #[must_use]
    pub fn take_answers(&self) -> Vec<Answered> {
        let settings = self.settings.load();
        settings.remotes.iter().filter_map(|remote| remote.answers.as_ref()).flat_map(ResponseLog::drain).collect()
    }

    /// Delivers, here and now, what ended processes left, as long as `may_go_on` says so; it is asked a few times a second.
    #[must_use]
    pub fn drain(&self, may_go_on: &dyn Fn() -> bool) -> Drained {
        let settings = self.settings();
        let Some(state) = settings.state_dir.as_deref() else { return Drained::default() };
        drain_orphans(&state.join("journal"), destinations(&settings), may_go_on)
    }

    /// What an operator has to know, each once: taken by the next caller that can log it.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        let mut all = self.late_notices.try_lock().map(|mut late| std::mem::take(&mut *late)).unwrap_or_default();
        all.extend(self.epoch().live.get().map(|live| live.sender.take_notices()).unwrap_or_default());
        all
    }

    /// Puts the dead letters of the destinations in force back, to be delivered; how many.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn retry_dead_letters(&self) -> std::io::Result<u64> {
        let settings = self.settings();
        let names: Vec<_> = destinations(&settings).iter().map(|one| one.name().to_owned()).collect();
        settings.state_dir.as_deref().map_or(Ok(0), |state| retry_dead_letters(state, &names))
    }

    /// The names of the destinations that the settings name.
    #[must_use]
    pub fn destinations(&self) -> Vec<String> {
        destinations(&self.settings()).iter().map(|one| one.name().to_owned()).collect()
    }

    /// Deletes all dead letters; how many there were.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn drop_dead_letters(&self) -> std::io::Result<u64> {
        self.settings().state_dir.as_deref().map_or(Ok(0), drop_dead_letters)
    }

    /// Prices stored events anew, by the rates in force now at the time of each call. What the figures were is kept.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn reprice(&self, ledger: &Path, filter: &Filter, is_dry_run: bool) -> Result<Repriced, LedgerError> {
        let book = self.prices.book();
        Writer::new(ledger).reprice(filter, is_dry_run, |event| {
            let mut event = UsageEvent { cost_status: CostStatus::Unpriced, ..event.clone() };
            if event.usage.is_empty() || price(&book, &mut event).is_err() {
                return None;
            }
            Some(NewPrice {
                usd: event.cost,
                status: event.cost_status,
                notes: event.cost_notes,
                priced_as: event.priced_as.map(str::to_owned),
                catalog: event.catalog.map(str::to_owned),
            })
        })
    }

    /// Whether the journal can be kept on disk, as the settings say.
    ///
    /// # Errors
    /// Why events are kept in memory only.
    pub fn probe(&self) -> std::io::Result<()> {
        journal::probe(&journal_settings(&self.settings(), Vec::new()))
    }

    /// Counts something.
    pub fn count(&self, what: Issue, times: u64) {
        self.counts[what as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// The epoch of this process: a new one after a fork, whatever state the parent's was copied in.
    fn epoch(&self) -> Guard<Arc<Epoch>> {
        let generation = fork_generation();
        loop {
            let epoch = self.epoch.load();
            if epoch.generation == generation {
                return epoch;
            }
            let next = Arc::new(Epoch { generation, defaults: epoch.defaults.clone(), live: Arc::default() });
            let previous = self.epoch.compare_and_swap(&epoch, next);
            // Dropping the parent's journal would unmap and close what only the parent may; it stays as it is.
            std::mem::forget((Arc::clone(&previous), Arc::clone(&epoch)));
        }
    }

    /// Waits until everything tracked before is delivered or refused, or the time is up, or `may_go_on` says no; it is asked a few times
    /// a second.
    #[must_use]
    pub fn flush(&self, timeout: Duration, may_go_on: &dyn Fn() -> bool) -> Flushed {
        self.epoch().live.get().map_or_else(Flushed::default, |live| live.sender.flush(timeout, may_go_on))
    }

    /// Flushes and ends delivery. What could not be delivered stays on disk for the next process; the next event begins anew.
    pub fn close(&self, timeout: Duration, may_go_on: &dyn Fn() -> bool) -> Flushed {
        // Events that are tracked from here on belong to the next epoch.
        let previous = self.next_epoch(|epoch| Epoch {
            generation: epoch.generation,
            defaults: epoch.defaults.clone(),
            live: Arc::default(),
        });
        previous.live.get().map_or_else(Flushed::default, |live| self.end(live, timeout, may_go_on))
    }

    fn end(&self, live: &Live, timeout: Duration, may_go_on: &dyn Fn() -> bool) -> Flushed {
        let report = live.sender.close(timeout, may_go_on);
        if let Ok(mut late) = self.late_notices.try_lock() {
            late.extend(live.sender.take_notices());
        }
        self.count(Issue::GivenUp, live.sender.take_lost());
        self.count(Issue::LostInMemory, report.lost_in_memory);
        report
    }

    /// Puts a new epoch in the place of this process's current one, which is returned.
    fn next_epoch(&self, make: impl Fn(&Epoch) -> Epoch) -> Arc<Epoch> {
        loop {
            let current = self.epoch();
            let previous = self.epoch.compare_and_swap(&*current, Arc::new(make(&current)));
            if Arc::ptr_eq(&previous, &current) {
                return Guard::into_inner(previous);
            }
        }
    }

    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let epoch = self.epoch();
        let live = epoch.live.get();
        if let Some(live) = live {
            self.count(Issue::GivenUp, live.sender.take_lost());
        }
        Stats {
            journal: live.map(|live| (live.journal.counts(), live.journal.tier())),
            budget: live.and_then(|live| live.journal.budget()),
            time_to_full: live.and_then(|live| live.sender.time_to_full()),
            destinations: live.map(|live| live.sender.stats()).unwrap_or_default(),
            counts: std::array::from_fn(|index| {
                let counted = self.counts[index].load(Ordering::Relaxed);
                let unreadable = if index == Issue::UnreadableCatalog as usize { self.prices.unreadable() } else { 0 };
                counted + unreadable
            }),
        }
    }
}

/// Fills in the computed cost and where it comes from; a reported cost stays what counts.
///
/// # Errors
/// [`Issue::ContradictoryUsage`] when usage contradicts itself; the cost is then unknown.
fn price<'a>(book: &'a Book, event: &mut UsageEvent<'a>) -> Result<(), Issue> {
    if event.usage.is_empty() {
        return Ok(());
    }
    let total = book
        .total(&Request {
            provider: Some(event.provider),
            model: event.model,
            usage: &event.usage,
            started_at: event.started_at,
            conditions: Conditions {
                service_tier: event.service_tier,
                batch: event.batch,
                region: event.region,
                further: &[],
            },
        })
        .map_err(|_| Issue::ContradictoryUsage)?;
    if event.cost_status == CostStatus::Reported {
        event.computed_cost = total.usd;
    } else {
        (event.cost, event.cost_status) = (total.usd, total.status);
    }
    event.cost_notes = total.notes;
    if let Some(found) = total.found {
        event.priced_as = Some(book.label(found));
        event.catalog = Some(book.origin(found));
    }
    Ok(())
}

fn journal_settings(settings: &Settings, destinations: Vec<String>) -> journal::Settings {
    journal::Settings {
        root: settings.state_dir.as_deref().map(|state| state.join("journal")),
        backend: settings.backend,
        budget: settings.budget,
        destinations,
    }
}

fn open(settings: &Settings) -> Live {
    let root = settings.state_dir.as_deref().map(|state| state.join("journal"));
    let destinations = destinations(settings);
    let names = destinations.iter().map(|one| one.name().to_owned()).collect();
    let journal = Arc::new(EventJournal::open(journal_settings(settings, names)));
    let sender = Sender::start(Arc::clone(&journal), root, destinations);
    Live { journal, sender }
}

/// Where the settings send events.
fn destinations(settings: &Settings) -> Vec<Destination> {
    let local = |path: &PathBuf| Destination::Local(Box::new(LedgerSink::new(path)));
    let remote = |remote: &RemoteSettings| {
        Destination::Remote(Box::new(Remote::open(remote, settings.state_dir.as_deref(), settings.max_age)))
    };
    settings.ledger.iter().map(local).chain(settings.remotes.iter().map(remote)).collect()
}
