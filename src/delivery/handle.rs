//! The handle of delivery: starts its threads, waits for them, and reports their results.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::destination::Destination;
use super::event_journal::EventJournal;
use super::local_thread::LocalThread;
use super::network_loop::NetworkLoop;
use super::notices::{Notice, NoticeKind};
use super::orphans::OrphanPool;
use super::shared::{Control, Shared, Upkeep};
use super::stats::DestinationStats;
use super::timing::{CHECK_INTERVAL, STOP_WAIT, UNATTENDED_STOP_WAIT};
use crate::journal::Tier;
use crate::sys::fork::fork_generation;
use crate::sys::mutex::lock;

/// The result of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Events of this process that reached every destination during the flush.
    pub delivered: u64,
    /// Events that are still in journals, of this process and of ended ones.
    pub pending: u64,
    /// Events that were dropped or rejected during the flush, or were only in memory at the close.
    pub lost: u64,
    /// How many of these were only in memory at the close.
    pub lost_in_memory: u64,
}

/// The handle of delivery.
pub struct Sender {
    shared: Arc<Shared>,
    /// The fork generation that owns the threads.
    generation: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The body of a thread.
type ThreadBody = Box<dyn FnOnce() + Send>;

/// Starts a named thread; `None` if the system refuses.
type Spawn = dyn Fn(&str, ThreadBody) -> Option<JoinHandle<()>>;

fn spawn(name: &str, work: ThreadBody) -> Option<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work).ok()
}

impl Sender {
    /// Starts the threads. `root` is the directory of the journals of all processes.
    #[must_use]
    pub fn start(journal: Arc<EventJournal>, root: Option<PathBuf>, destinations: Vec<Destination>) -> Self {
        Self::start_with(journal, root, destinations, None, &spawn)
    }

    /// Starts the threads. One of them runs `upkeep` every few seconds.
    #[must_use]
    pub fn start_with_upkeep(
        journal: Arc<EventJournal>,
        root: Option<PathBuf>,
        destinations: Vec<Destination>,
        upkeep: Upkeep,
    ) -> Self {
        Self::start_with(journal, root, destinations, Some(upkeep), &spawn)
    }

    pub(super) fn start_with(
        journal: Arc<EventJournal>,
        root: Option<PathBuf>,
        destinations: Vec<Destination>,
        upkeep: Option<Upkeep>,
        spawn: &Spawn,
    ) -> Self {
        let stats = destinations.iter().map(Destination::stats).collect();
        let names = destinations.iter().map(Destination::names).collect();
        let left: Vec<String> = destinations
            .iter()
            .filter(|destination| matches!(destination, Destination::Local(sink) if sink.is_unusable_after_fork()))
            .map(|destination| destination.name().to_owned())
            .collect();
        if !left.is_empty() {
            // If this fails, the maintenance of the journal tries it again.
            let _ = journal.hand_off(&left);
        }
        let shared = Arc::new(Shared::new(journal, stats, OrphanPool::new(root, names)).with_upkeep(upkeep));
        let (mut remotes, mut work) = (Vec::new(), Vec::<(&str, Vec<usize>, ThreadBody)>::new());
        let has_remotes = destinations.iter().any(|destination| matches!(destination, Destination::Remote(_)));
        for (index, destination) in destinations.into_iter().enumerate() {
            match destination {
                Destination::Remote(remote) => remotes.push((index, remote)),
                Destination::Local(sink) => {
                    let is_left = left.iter().any(|name| name == sink.name());
                    // One thread reclaims the journal's space: the network thread, if it runs.
                    let is_lead = !has_remotes && work.is_empty();
                    let thread = LocalThread::new(Arc::clone(&shared), index, sink, is_lead, is_left);
                    work.push(("taximeter-local", vec![index], Box::new(move || thread.run())));
                }
            }
        }
        if has_remotes || work.is_empty() {
            let indexes = remotes.iter().map(|(index, _)| *index).collect();
            let network = NetworkLoop::new(Arc::clone(&shared), remotes);
            work.push(("taximeter-http", indexes, Box::new(move || network.run())));
        }
        {
            let mut control = lock(&shared.control);
            (control.threads, control.delivering) = (work.len(), work.len());
        }
        let mut threads = Vec::new();
        for (name, indexes, work) in work {
            match spawn(name, work) {
                Some(thread) => threads.push(thread),
                None => shared.leave(&indexes),
            }
        }
        let maintained = Arc::clone(&shared);
        match spawn("taximeter-maintain", Box::new(move || maintained.maintain())) {
            Some(thread) => threads.push(thread),
            None => shared.go_on_without_maintenance(),
        }
        Self { shared, generation: fork_generation(), threads: Mutex::new(threads) }
    }

    /// Wakes the threads after an event was appended. Costs one load while they are awake.
    #[inline]
    pub fn notify(&self) {
        self.shared.notify();
    }

    /// Waits until every destination has accepted or rejected everything that was appended before the call, the time is up, or
    /// `should_continue` returns false. It is called a few times a second.
    #[must_use]
    pub fn flush(&self, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Flushed {
        let before = self.progress();
        match self.wait_for_delivery(Instant::now() + timeout, should_continue) {
            Some(_) => self.report(before),
            None => Flushed::default(),
        }
    }

    /// Waits for a flush. Returns whether it was not interrupted; `None` in a child that was forked during the wait.
    fn wait_for_delivery(&self, deadline: Instant, should_continue: &dyn Fn() -> bool) -> Option<bool> {
        let mut control = lock(&self.shared.control);
        if control.threads == 0 {
            return Some(true);
        }
        control.asked += 1;
        let asked = control.asked;
        self.shared.changed.notify_all();
        let shared = &self.shared;
        let is_answered = |control: &Control| {
            control.threads == 0
                || (control.answered.iter().all(|answered| *answered >= asked) && shared.orphans.has_searched())
        };
        self.wait(control, deadline, should_continue, is_answered).map(|(_, was_uninterrupted)| was_uninterrupted)
    }

    /// Flushes, then stops the threads and releases the journal: an empty one is deleted, any other one is left to be adopted. The
    /// remaining time is used to deliver what earlier processes left. A signal handler may fork during the wait. The child leaves all
    /// of this to its parent.
    #[must_use]
    pub fn close(&self, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Flushed {
        self.try_close(timeout, should_continue).unwrap_or_default()
    }

    fn try_close(&self, timeout: Duration, should_continue: &dyn Fn() -> bool) -> Option<Flushed> {
        let deadline = Instant::now() + timeout;
        let before = self.progress();
        let was_uninterrupted = self.wait_for_delivery(deadline, should_continue)?;
        let tier = self.shared.journal.tier();
        let mut control = lock(&self.shared.control);
        control.is_stopping = true;
        control.leftovers_until = was_uninterrupted.then_some(deadline);
        self.shared.changed.notify_all();
        // Wait for requests in flight, because a service that does not recognize event ids would count a resent event twice.
        let latest = if was_uninterrupted { deadline.max(Instant::now() + STOP_WAIT) } else { Instant::now() };
        let (control, _) = self.wait(control, latest, should_continue, |control| control.threads == 0)?;
        let has_stopped = control.threads == 0;
        drop(control);
        if has_stopped {
            // If no thread has done it yet.
            self.shared.give_journal_up();
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        if has_stopped {
            for thread in threads {
                let _ = thread.join();
            }
        }
        let mut report = self.report(before);
        if tier != Tier::Memory {
            self.note_unsent();
        }
        // If a thread is still running, it has not counted the events that are only in memory.
        let in_memory = match (has_stopped, tier) {
            (true, _) => self.shared.left_in_memory.load(Ordering::Relaxed).min(report.pending),
            (false, Tier::Memory) => report.pending,
            (false, Tier::Mapped | Tier::Written) => 0,
        };
        report.pending -= in_memory;
        report.lost += in_memory;
        report.lost_in_memory = in_memory;
        Some(report)
    }

    /// Queues a notice for each destination that fails and has not accepted all events. For one that waits for an operator there is
    /// another notice.
    fn note_unsent(&self) {
        let appended = self.shared.journal.counts().appended;
        for stats in lock(&self.shared.stats).iter() {
            if let Some(error) = &stats.last_error
                && stats.state != Some("paused")
                && stats.pending(appended) > 0
            {
                self.shared.notices.push(Notice::about(NoticeKind::Unsent, stats, error.clone()));
            }
        }
    }

    /// Events of this process that wait for no destination, and how many of them every destination has.
    fn progress(&self) -> (u64, u64) {
        let stats = lock(&self.shared.stats);
        let done = stats.iter().map(|stats| stats.own).min().unwrap_or(0);
        (done, stats.iter().map(|stats| stats.own.saturating_sub(stats.own_lost)).min().unwrap_or(0))
    }

    fn report(&self, (done_before, delivered_before): (u64, u64)) -> Flushed {
        let (done, delivered) = self.progress();
        let delivered = delivered.saturating_sub(delivered_before);
        let own = self.shared.journal.counts().appended.saturating_sub(done);
        Flushed {
            delivered,
            pending: own + self.shared.orphans.pending(),
            lost: done.saturating_sub(done_before).saturating_sub(delivered),
            lost_in_memory: 0,
        }
    }

    /// Waits until `is_so` or the deadline. The second value is false if `should_continue` returned false. `None` in a child that a
    /// signal handler forked in `should_continue`: there, a thread that does not exist may hold any lock.
    fn wait<'a>(
        &'a self,
        mut control: MutexGuard<'a, Control>,
        deadline: Instant,
        should_continue: &dyn Fn() -> bool,
        is_so: impl Fn(&Control) -> bool,
    ) -> Option<(MutexGuard<'a, Control>, bool)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if is_so(&control) || left.is_zero() {
                return Some((control, true));
            }
            let waited = self.shared.changed.wait_timeout(control, left.min(CHECK_INTERVAL));
            // Release the lock, because a signal handler may call flush as well.
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            let continues = should_continue();
            if self.generation != fork_generation() {
                return None;
            }
            control = lock(&self.shared.control);
            if !continues {
                return Some((control, false));
            }
        }
    }

    /// The counts of each destination.
    #[must_use]
    pub fn stats(&self) -> Vec<DestinationStats> {
        let mut all = lock(&self.shared.stats).clone();
        for (index, stats) in all.iter_mut().enumerate() {
            let backlog = self.shared.orphans.backlog(index);
            stats.orphaned = backlog.records;
            stats.oldest = stats.oldest.into_iter().chain(backlog.oldest).min();
        }
        all
    }

    /// How long until the journal is full, if the backlog keeps growing as in the last minute.
    #[must_use]
    pub fn time_to_full(&self) -> Option<Duration> {
        let left = self.shared.journal.budget()?.saturating_sub(self.shared.backlog());
        lock(&self.shared.outlook).time_to_full(left)
    }

    /// How many events were dropped since the last call. Costs one load if none was dropped.
    #[inline]
    pub fn take_lost(&self) -> u64 {
        match self.shared.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.shared.lost.swap(0, Ordering::Relaxed),
        }
    }

    /// Whether there are notices for an operator. Costs two loads.
    #[inline]
    #[must_use]
    pub fn has_notices(&self) -> bool {
        if self.shared.journal.is_out_of_space() {
            self.shared.note_memory();
        }
        self.shared.notices.has_some()
    }

    /// The notices for an operator, each returned once; none in a forked child.
    #[must_use]
    pub fn take_notices(&self) -> Vec<Notice> {
        if self.generation == fork_generation() { self.shared.notices.take() } else { Vec::new() }
    }
}

impl Drop for Sender {
    /// If a meter is dropped without being closed, delivery finishes in the background, without blocking.
    fn drop(&mut self) {
        if self.generation == fork_generation() {
            let mut control = lock(&self.shared.control);
            control.is_stopping = true;
            control.stop_wait = UNATTENDED_STOP_WAIT;
            self.shared.changed.notify_all();
            let has_threads = control.threads > 0;
            drop(control);
            if !has_threads {
                self.shared.give_journal_up();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::delivery::tests::threads::{journal_for, usage};
    use crate::delivery::{Delivered, Failure, LocalSink};
    use crate::event::UsageEvent;

    /// A destination for which every flush waits until its timeout.
    struct Busy;

    impl LocalSink for Busy {
        fn name(&self) -> &'static str {
            "one"
        }

        fn deliver(&mut self, _: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
            Err(Failure { reason: "busy".to_owned(), retry_after: None, is_busy: true })
        }
    }

    type End = fn(&Sender, &dyn Fn() -> bool) -> Flushed;

    /// A signal handler forks during a flush. In the child, a thread that does not exist may hold any lock.
    #[test]
    fn a_child_forked_during_a_flush_does_not_wait_for_locks() {
        let dir = tempfile::tempdir().unwrap();
        let one = Destination::Local(Box::new(Busy));
        let journal = journal_for(&dir.path().join("journal"), &[&one]);
        journal.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
        let mut sender = Sender::start(journal, None, vec![one]);
        let ends: [End; 2] = [
            |sender, should_continue| sender.flush(Duration::from_mins(1), should_continue),
            |sender, should_continue| sender.close(Duration::from_mins(1), should_continue),
        ];
        for end in ends {
            let shared = Arc::clone(&sender.shared);
            let own = std::mem::replace(&mut sender.generation, 0);
            let (is_held, release, held) = (Cell::new(false), Cell::new(None), Cell::new(None));
            // From here on, the locks belong to threads of the parent.
            let report = end(&sender, &|| {
                if !is_held.replace(true) {
                    let shared = Arc::clone(&shared);
                    let ((let_go, until), (say, said)) = (channel::<()>(), channel());
                    held.set(Some(std::thread::spawn(move || {
                        let _control = lock(&shared.control);
                        say.send(()).unwrap();
                        let _ = until.recv();
                    })));
                    said.recv().unwrap();
                    release.set(Some(let_go));
                }
                true
            });
            assert_eq!(report, Flushed::default());
            assert_eq!(sender.take_notices(), []);
            drop(release.take());
            held.take().unwrap().join().unwrap();
            sender.generation = own;
        }
        let _ = sender.close(Duration::ZERO, &|| true);
    }
}
