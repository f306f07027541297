//! The delivery thread, and the handle of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::in_flight::Source;
use super::lane::{Foreign, Lane, Network, Outlet, deliver, follow, local_pass, remote_pass};
use super::remote::Urgency;
use super::shared::{Control, Shared, lock};
use super::stats::{DestinationStats, publish};
use crate::journal::{Foreigners, Journal, Tier};
use crate::sys::fork::fork_generation;

/// How often the thread looks while events come: often enough that two spare segments outlast the pause at full rate.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// How often both look after themselves when no events come.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Without events for this long, it sleeps until one wakes it, and files are closed.
const IDLE_AFTER: Duration = Duration::from_millis(500);
/// Bytes of records in one batch: some 4,000 events.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// How often the journals of dead processes are looked for; half as long at the least.
const ADOPT_EVERY: Duration = Duration::from_secs(20);
/// How long what was let go of is left to others.
const LET_GO_FOR: Duration = Duration::from_secs(3);
/// How long requests may take that are on their way when delivery ends.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// How often what changed is told to other processes.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// What a flush came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Events that reached every destination while it ran.
    pub delivered: u64,
    /// Events that are still in the journal.
    pub pending: u64,
    /// Events that were given up or refused while it ran, or were only in memory when it was closed.
    pub lost: u64,
    /// Those of them that were only in memory when it was closed.
    pub lost_in_memory: u64,
}

/// The handle of the thread.
pub struct Sender {
    shared: Arc<Shared>,
    /// The fork generation that has its threads.
    generation: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work).ok()
}

impl Sender {
    /// Starts the thread. `root` is where the journals of other processes are.
    #[must_use]
    pub fn start(journal: Arc<Journal>, root: Option<PathBuf>, outlets: Vec<Outlet>) -> Self {
        let is_handed_off = outlets.iter().any(Outlet::is_barred) && journal.hand_off().is_ok();
        let shared = Arc::new(Shared::new(journal, outlets.iter().map(Outlet::stats).collect(), is_handed_off));
        let lanes = outlets.into_iter().map(Lane::new).collect();
        let for_thread = Arc::clone(&shared);
        let for_keeper = Arc::clone(&shared);
        let work = Work {
            shared: for_thread,
            lanes,
            root,
            next_adoption: Instant::now(),
            next_publication: Instant::now() + PUBLISH_EVERY,
            published: (Tier::Memory, 0, Vec::new()),
            lost: 0,
            network: None,
            foreign: None,
            is_adopting: false,
            hurried: 0,
        };
        // Threads that cannot be made leave the events in the journal, for another process.
        let threads = [spawn("taximeter", move || work.run()), spawn("taximeter-keep", move || for_keeper.keep())];
        Self { shared, generation: fork_generation(), threads: Mutex::new(threads.into_iter().flatten().collect()) }
    }

    /// Tells the thread that an event was appended. Costs one load while the thread is awake.
    #[inline]
    pub fn notify(&self) {
        if self.shared.is_asleep.load(Ordering::Relaxed) {
            self.shared.is_asleep.store(false, Ordering::Relaxed);
            drop(lock(&self.shared.control));
            self.shared.changed.notify_all();
        }
    }

    /// Waits until everything appended before the call is delivered, or the time is up.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> Flushed {
        let before = self.progress();
        self.wait_for_delivery(Instant::now() + timeout);
        self.report(before)
    }

    fn wait_for_delivery(&self, deadline: Instant) {
        if !self.shared.is_handed_off && !lock(&self.threads).is_empty() {
            let mut control = lock(&self.shared.control);
            control.asked += 1;
            let asked = control.asked;
            self.shared.changed.notify_all();
            drop(self.wait(control, deadline, |control| control.done >= asked || control.has_stopped));
        }
    }

    /// Flushes, then stops the thread and gives the journal up: an empty one is deleted, any other left to be adopted.
    #[must_use]
    pub fn close(&self, timeout: Duration) -> Flushed {
        let deadline = Instant::now() + timeout;
        let before = self.progress();
        self.wait_for_delivery(deadline);
        let tier = self.shared.journal.tier();
        let mut control = lock(&self.shared.control);
        control.is_stopping = true;
        self.shared.changed.notify_all();
        let is_threadless = lock(&self.threads).is_empty();
        let control = self.wait(control, deadline, |control| control.has_stopped || is_threadless);
        let has_stopped = control.has_stopped;
        drop(control);
        let threads = std::mem::take(&mut *lock(&self.threads));
        if has_stopped {
            for thread in threads {
                let _ = thread.join();
            }
        }
        let mut report = self.report(before);
        // A thread that still works has not counted what only memory holds.
        let in_memory = match (has_stopped, tier) {
            (true, _) => self.shared.left_in_memory.load(Ordering::Relaxed).min(report.pending),
            (false, Tier::Memory) => report.pending,
            (false, Tier::Mapped | Tier::Written) => 0,
        };
        report.pending -= in_memory;
        report.lost += in_memory;
        report.lost_in_memory = in_memory;
        report
    }

    /// Events of this process that wait for no destination any more, and those of them that every destination has.
    fn progress(&self) -> (u64, u64) {
        let stats = lock(&self.shared.stats);
        let done = stats.iter().map(|stats| stats.own).min().unwrap_or(0);
        (done, stats.iter().map(|stats| stats.own.saturating_sub(stats.own_lost)).min().unwrap_or(0))
    }

    fn report(&self, (done_before, delivered_before): (u64, u64)) -> Flushed {
        let (done, delivered) = self.progress();
        let delivered = delivered.saturating_sub(delivered_before);
        Flushed {
            delivered,
            pending: self.shared.journal.counts().appended.saturating_sub(done),
            lost: done.saturating_sub(done_before).saturating_sub(delivered),
            lost_in_memory: 0,
        }
    }

    /// Waits until something `is_so`, at the latest until the deadline.
    fn wait<'a>(
        &'a self,
        control: MutexGuard<'a, Control>,
        deadline: Instant,
        is_so: impl Fn(&Control) -> bool,
    ) -> MutexGuard<'a, Control> {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.shared.changed.wait_timeout_while(control, left, |control| !is_so(control));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Counts by destination.
    #[must_use]
    pub fn stats(&self) -> Vec<DestinationStats> {
        lock(&self.shared.stats).clone()
    }

    /// When the journal's space will be used up, if the backlog goes on growing as it did in the last minute.
    #[must_use]
    pub fn time_to_full(&self) -> Option<Duration> {
        let left = self.shared.journal.budget()?.saturating_sub(self.shared.backlog());
        lock(&self.shared.outlook).time_to_full(left)
    }

    /// How many events were given up since this was asked last. Costs one load while there are none.
    #[inline]
    pub fn take_lost(&self) -> u64 {
        match self.shared.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.shared.lost.swap(0, Ordering::Relaxed),
        }
    }
}

impl Drop for Sender {
    /// A meter that nobody holds any more delivers what it has and ends, without being waited for.
    fn drop(&mut self) {
        if self.generation == fork_generation() {
            let mut control = lock(&self.shared.control);
            control.is_stopping = true;
            self.shared.changed.notify_all();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    lanes: Vec<Lane>,
    root: Option<PathBuf>,
    next_adoption: Instant,
    next_publication: Instant,
    /// What was told to other processes last.
    published: (Tier, u64, Vec<DestinationStats>),
    /// Events that were given up at the destination that lost most.
    lost: u64,
    network: Option<Network>,
    /// What dead processes left for destinations over HTTP.
    foreign: Option<Foreign>,
    /// While local destinations read it: it is not to be let go then.
    is_adopting: bool,
    /// The flush for which destinations were last asked out of turn.
    hurried: u64,
}

impl Work {
    /// Works until it is told to stop. A panic, of which none is known, costs a pause and not the delivery.
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _stopped = Stopped(shared);
        while catch_unwind(AssertUnwindSafe(|| self.rounds())).is_err() {
            std::thread::sleep(TICK);
        }
        if let Some(network) = self.network.take() {
            // A name that is being looked up is not waited for.
            network.runtime.shutdown_background();
        }
    }

    fn rounds(&mut self) {
        let mut last_event = Instant::now();
        loop {
            let outcome = self.round();
            if outcome.moved {
                last_event = Instant::now();
            }
            if lock(&self.shared.control).is_stopping {
                return self.stop();
            }
            if self.lanes.iter_mut().any(Lane::has_recovered) {
                self.next_adoption = Instant::now();
            }
            if Instant::now() >= self.next_adoption {
                self.adopt();
            }
            if Instant::now() >= self.next_publication {
                self.publish();
            }
            self.pause(&outcome, last_event);
        }
    }

    /// Delivers what was appended until now, and answers the flushes that were asked for before.
    fn round(&mut self) -> Pass {
        let (asked, done) = {
            let control = lock(&self.shared.control);
            (control.asked, control.done)
        };
        // Once for each flush: one that waits in vain is no reason to ask a destination that is down without a pause.
        let urgency = match asked > done {
            false => Urgency::None,
            true if asked > self.hurried => Urgency::New,
            true => Urgency::Known,
        };
        self.hurried = asked;
        let outcome = self.pass(urgency);
        let mut control = lock(&self.shared.control);
        // Nobody waits for what only somebody else can mend.
        if (outcome.is_drained || outcome.is_paused) && control.done < asked {
            control.done = asked;
            self.shared.changed.notify_all();
        }
        outcome
    }

    fn pause(&mut self, outcome: &Pass, last_event: Instant) {
        let is_idle = last_event.elapsed() >= IDLE_AFTER;
        if is_idle {
            self.lanes.iter_mut().for_each(|lane| lane.outlet.rest());
        }
        if let Some(network) = &self.network
            && self.lanes.iter().any(|lane| lane.outlet.is_in_flight())
        {
            return network.wait(POLL);
        }
        let control = lock(&self.shared.control);
        if control.asked > control.done || control.is_stopping || outcome.moved {
            let is_hopeless = !outcome.is_drained && !outcome.moved && !control.is_stopping;
            if is_hopeless {
                // A flush waits for a destination that is down.
                drop(self.shared.changed.wait_timeout(control, POLL));
            }
            return;
        }
        let pause = if is_idle && outcome.is_drained { TICK } else { POLL };
        self.shared.is_asleep.store(pause == TICK, Ordering::Relaxed);
        drop(self.shared.changed.wait_timeout(control, pause));
        self.shared.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Brings each destination what was appended until now.
    fn pass(&mut self, urgency: Urgency) -> Pass {
        let mut outcome = Pass { moved: false, is_drained: true, is_paused: true };
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if self.shared.is_handed_off {
                follow(&self.shared, lane, index);
                continue;
            }
            if urgency != Urgency::None {
                lane.backoff.hurry();
            }
            let (moved, is_drained) = match &mut lane.outlet {
                Outlet::Local(_) => local_pass(&self.shared, lane, index),
                Outlet::Remote(_) => {
                    let Some(network) = Network::get(&mut self.network) else {
                        lock(&self.shared.stats)[index].last_error = Some("requests cannot be made now".to_owned());
                        (outcome.is_drained, outcome.is_paused) = (false, false);
                        continue;
                    };
                    remote_pass(&self.shared, lane, index, network, urgency, self.foreign.as_mut())
                }
            };
            outcome.moved |= moved;
            outcome.is_drained &= is_drained;
            outcome.is_paused &= is_drained || lane.is_paused();
        }
        let positions: Vec<_> = self.lanes.iter().map(|lane| lane.tail.position()).collect();
        self.shared.journal.reclaim(&positions);
        self.make_room();
        self.finish_foreign();
        outcome
    }

    /// Gives up the oldest events where nothing else makes room for new ones, and says that events were given up, be it for their age.
    fn make_room(&mut self) {
        loop {
            let reached: Vec<_> = self.lanes.iter().map(Lane::reaches).collect();
            let Some(lost) = self.shared.journal.evict(&reached) else { break };
            lock(&self.shared.stats).iter_mut().zip(lost).for_each(|(stats, lost)| stats.note_evicted(lost));
        }
        let lost = lock(&self.shared.stats).iter().map(|stats| stats.evicted + stats.expired).max().unwrap_or(0);
        self.shared.lost.fetch_add(lost - self.lost.min(lost), Ordering::Relaxed);
        self.lost = lost;
    }

    /// Tells other processes what has changed.
    fn publish(&mut self) {
        self.next_publication = Instant::now() + PUBLISH_EVERY;
        let stats = lock(&self.shared.stats).clone();
        let counts = self.shared.journal.counts();
        let news = (self.shared.journal.tier(), counts.appended, stats);
        if news != self.published
            && let Some(dir) = self.shared.journal.path()
        {
            // What cannot be told now is told the next time.
            if publish(&dir, news.0.name(), &counts, self.shared.journal.budget(), &news.2).is_ok() {
                self.published = news;
            }
        }
    }

    /// Delivers what dead processes left, going on with this process's own events in between. A local destination takes it here and
    /// now; those over HTTP go on with it when they have nothing of their own to do.
    fn adopt(&mut self) {
        self.next_adoption = Instant::now() + ADOPT_EVERY.mul_f64(0.5 + 0.5 * fastrand::f64());
        if self.shared.is_handed_off {
            return;
        }
        let Some(root) = self.root.clone() else { return };
        let has_moved = self.foreign.as_mut().is_some_and(Foreign::has_moved);
        let is_awaited = self.lanes.iter().any(Lane::awaits_foreign);
        if !has_moved && !is_awaited && self.foreign.is_some() {
            // What came no further meanwhile is let go, for others who may do better.
            self.let_go();
            self.next_adoption = Instant::now() + LET_GO_FOR;
            return;
        }
        match &mut self.foreign {
            Some(foreign) => foreign.look_again(&root, &self.lanes),
            None => self.foreign = Foreigners::find(&root).map(|found| Foreign::new(found, &self.lanes)),
        }
        if self.foreign.is_none() {
            // Another part of this process has them now.
            self.next_adoption = Instant::now() + TICK;
        }
        self.is_adopting = true;
        for index in 0..self.lanes.len() {
            if !self.lanes[index].is_remote() && !self.adopt_locally(index) {
                break;
            }
        }
        self.is_adopting = false;
        self.finish_foreign();
    }

    /// Lets go of what dead processes left; what of it is done stays done.
    fn let_go(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if let (Some(batch), Some(foreign)) = (lane.done_so_far(Source::Foreign), &mut self.foreign) {
                foreign.advance(index, &batch);
            }
            lane.drop_foreign();
        }
        self.foreign = None;
    }

    /// Moves each cursor past what is done of a batch that is not: it is not to come twice from the next process.
    fn save_progress(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(batch) = lane.done_so_far(Source::Own) {
                lock(&self.shared.stats)[index].note_passed(&batch);
                lane.tail.advance(&self.shared.journal, &batch);
            }
        }
    }

    /// Lets go of what dead processes left, once everybody has it.
    fn finish_foreign(&mut self) {
        let is_adopting = self.is_adopting;
        if let Some(foreign) = self.foreign.take_if(|foreign| !is_adopting && foreign.is_finished()) {
            foreign.finish();
        }
    }

    /// Brings a local destination what dead processes left; says whether there is time for more.
    fn adopt_locally(&mut self, index: usize) -> bool {
        let name = self.lanes[index].outlet.name();
        let tails = self.foreign.as_ref().map(|foreign| foreign.local_tails(name)).unwrap_or_default();
        for mut tail in tails {
            // One journal that cannot be delivered does not keep the others from it.
            loop {
                let batch = tail.read(BATCH_BYTES);
                if !tail.moves(&batch) || !deliver(&self.shared, &mut self.lanes[index], index, &batch, false) {
                    break;
                }
                self.shared.journal.count_corrupt(batch.corrupt);
                if tail.advance(&batch).is_err() || lock(&self.shared.control).is_stopping {
                    return false;
                }
                self.round();
            }
        }
        true
    }

    fn stop(&mut self) {
        // What was tracked since the last flush is few, if that was answered; if it was not, the journal is left to the next.
        let was_answered = {
            let control = lock(&self.shared.control);
            control.done == control.asked
        };
        self.shared.journal.close();
        // What others left is theirs again.
        self.let_go();
        if was_answered {
            let deadline = Instant::now() + STOP_WAIT;
            let mut urgency = Urgency::New;
            while !self.pass(urgency).is_drained
                && Instant::now() < deadline
                && let Some(network) = &self.network
            {
                network.wait(POLL);
                urgency = Urgency::Known;
            }
        }
        self.save_progress();
        self.lanes.iter_mut().for_each(|lane| lane.outlet.rest());
        let positions: Vec<_> = self.lanes.iter().map(|lane| lane.tail.position()).collect();
        self.shared.left_in_memory.store(self.shared.journal.unread_in_memory(&positions), Ordering::Relaxed);
        let is_delivered = !self.shared.is_handed_off && self.shared.journal.is_drained(&positions);
        self.shared.journal.finish(is_delivered);
    }
}

/// Says at the end of the thread, however it comes, that there is none any more.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        lock(&self.0.control).has_stopped = true;
        self.0.changed.notify_all();
    }
}

struct Pass {
    moved: bool,
    is_drained: bool,
    /// Whether whatever is left is for destinations that take nothing until somebody has mended something.
    is_paused: bool,
}
