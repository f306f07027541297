//! The state that the handle of delivery and its threads share.
//!
//! Each local destination has a thread, all HTTP destinations share one, and the maintenance thread prepares journal pages. The
//! maintenance thread is separate because the others wait for disks and networks: during an SQLite write of 30 ms, writers would run
//! out of prepared pages and take faults of 5 µs each.
//!
//! The lock order is: control, progress, stats. No lock is held while a destination is called.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::event_journal::EventJournal;
use super::notices::{Notice, NoticeKind, Notices, PAUSE, counted};
use super::orphans::OrphanPool;
use super::stats::{DestinationStats, Outlook, publish};
use super::timing::{BUSY_FOR, MAINTAIN, POLL, PUBLISH_EVERY, RELAXED, STOP_WAIT, TICK};
use crate::journal::{Batch, Position, Tier};
use crate::sys::clock::unix_ns;
use crate::sys::mutex::lock;

/// A thread that panics this often while it stops is ended.
const MAX_PANICS_AT_END: u32 = 3;

/// The requests of the handle to the threads, and their answers.
pub(super) struct Control {
    /// The number of flushes so far.
    pub(super) asked: u64,
    /// For each destination, the last flush that it has answered: it has everything, or it failed.
    pub(super) answered: Vec<u64>,
    pub(super) is_stopping: bool,
    /// Until when a process that ends delivers orphan journals.
    pub(super) leftovers_until: Option<Instant>,
    /// How long requests may be started, and requests in flight are waited for, after delivery was stopped.
    pub(super) stop_wait: Duration,
    /// The number of delivery threads that have not ended.
    pub(super) threads: usize,
    /// How many of these still deliver. The last one releases the journal.
    pub(super) delivering: usize,
    /// Whether the journal was released.
    is_given_up: bool,
}

/// The position of a destination in this process's journal.
#[derive(Clone, Default)]
pub(super) struct Progress {
    pub(super) passed: Position,
    /// The position after the batch in flight.
    pub(super) reaches: Option<Position>,
}

pub(super) struct Shared {
    pub(super) journal: Arc<EventJournal>,
    pub(super) control: Mutex<Control>,
    pub(super) changed: Condvar,
    pub(super) progress: Mutex<Vec<Progress>>,
    pub(super) stats: Mutex<Vec<DestinationStats>>,
    pub(super) outlook: Mutex<Outlook>,
    pub(super) orphans: OrphanPool,
    pub(super) notices: Notices,
    /// Events dropped since the last call of `take_lost()`.
    pub(super) lost: AtomicU64,
    /// Events dropped at the destination that lost most.
    lost_in_all: AtomicU64,
    /// How many damaged or missing records were already reported.
    damage_reported: AtomicU64,
    /// When it was last reported that events are kept in memory.
    memory_reported: Mutex<Option<Instant>>,
    /// Events that were only in memory when delivery ended.
    pub(super) left_in_memory: AtomicU64,
    /// A bit for each thread that sleeps until an event comes.
    asleep: AtomicU64,
    /// For each destination that lingers, the number of appended bytes that end it; else `u64::MAX`.
    linger_ends_at: Vec<AtomicU64>,
    /// Whether no maintenance thread ends a linger.
    is_unmaintained: AtomicBool,
    /// What was last published.
    published: Mutex<(Tier, u64, Vec<DestinationStats>)>,
    next_publication: Mutex<Instant>,
    upkeep: Option<Upkeep>,
}

/// Work that a thread of delivery does every few seconds.
pub type Upkeep = Box<dyn Fn() + Send + Sync>;

impl Shared {
    pub(super) fn with_upkeep(self, upkeep: Option<Upkeep>) -> Self {
        Self { upkeep, ..self }
    }

    pub(super) fn new(journal: Arc<EventJournal>, stats: Vec<DestinationStats>, orphans: OrphanPool) -> Self {
        let control = Control {
            asked: 0,
            answered: vec![0; stats.len()],
            is_stopping: false,
            leftovers_until: None,
            stop_wait: STOP_WAIT,
            threads: 0,
            delivering: 0,
            is_given_up: false,
        };
        Self {
            journal,
            control: Mutex::new(control),
            changed: Condvar::new(),
            progress: Mutex::new(vec![Progress::default(); stats.len()]),
            linger_ends_at: stats.iter().map(|_| AtomicU64::new(u64::MAX)).collect(),
            stats: Mutex::new(stats),
            outlook: Mutex::default(),
            is_unmaintained: AtomicBool::new(false),
            orphans,
            notices: Notices::default(),
            lost: AtomicU64::new(0),
            lost_in_all: AtomicU64::new(0),
            damage_reported: AtomicU64::new(0),
            memory_reported: Mutex::default(),
            left_in_memory: AtomicU64::new(0),
            asleep: AtomicU64::new(0),
            published: Mutex::new((Tier::Memory, 0, Vec::new())),
            next_publication: Mutex::new(Instant::now() + PUBLISH_EVERY),
            upkeep: None,
        }
    }

    /// Wakes the threads that sleep until an event comes. Costs one load if no thread sleeps.
    #[inline]
    pub(super) fn notify(&self) {
        if self.asleep.load(Ordering::Relaxed) != 0 {
            self.asleep.store(0, Ordering::Relaxed);
            drop(lock(&self.control));
            self.changed.notify_all();
        }
    }

    /// Pauses a thread briefly or, if it `may_sleep`, until an event comes, at most for a second.
    pub(super) fn pause(&self, control: MutexGuard<'_, Control>, thread: usize, may_sleep: bool) {
        let pause = if may_sleep { TICK } else { POLL };
        // Threads beyond the number of bits poll.
        let bit = if may_sleep { 1_u64.checked_shl(thread as u32).unwrap_or(0) } else { 0 };
        self.asleep.fetch_or(bit, Ordering::Relaxed);
        drop(self.changed.wait_timeout(control, pause));
        self.asleep.fetch_and(!bit, Ordering::Relaxed);
    }

    /// Pauses a thread until its events have waited long enough, a flush begins, or `full_at` bytes were appended in all.
    pub(super) fn linger(&self, index: usize, asked: u64, full_at: u64, pause: Duration) {
        let pause = if self.is_unmaintained.load(Ordering::Relaxed) { pause.min(POLL) } else { pause };
        let control = lock(&self.control);
        if control.asked == asked && !control.is_stopping {
            self.linger_ends_at[index].store(full_at, Ordering::Relaxed);
            drop(self.changed.wait_timeout(control, pause));
            self.linger_ends_at[index].store(u64::MAX, Ordering::Relaxed);
        }
    }

    /// Wakes the threads that linger although a batch is full.
    fn end_full_lingers(&self) {
        let ends_at = self.linger_ends_at.iter().map(|end| end.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX);
        if ends_at != u64::MAX && self.journal.counts().appended_bytes >= ends_at {
            drop(lock(&self.control));
            self.changed.notify_all();
        }
    }

    /// The last flush, whether a destination has not answered it yet, and whether delivery should stop.
    pub(super) fn asked(&self, index: usize) -> (u64, bool, bool) {
        let control = lock(&self.control);
        (control.asked, control.answered[index] < control.asked, control.is_stopping)
    }

    /// Answers a flush: a destination has everything that was appended before it, or accepts nothing now.
    pub(super) fn answer(&self, index: usize, asked: u64) {
        let mut control = lock(&self.control);
        if control.answered[index] < asked {
            control.answered[index] = asked;
            self.changed.notify_all();
        }
    }

    /// Counts a batch of this process's journal that a destination has passed.
    pub(super) fn note_passed(&self, index: usize, batch: &Batch) {
        lock(&self.stats)[index].note_passed(batch);
    }

    /// Records that a thread could not be started. Its destinations do not block flushes, and their events wait for another process.
    pub(super) fn leave(&self, destinations: &[usize]) {
        let mut control = lock(&self.control);
        (control.threads, control.delivering) = (control.threads - 1, control.delivering - 1);
        for index in destinations {
            control.answered[*index] = u64::MAX;
        }
        drop(control);
        let mut all = lock(&self.stats);
        for index in destinations {
            let stats = &mut all[*index];
            let detail = "no thread could be started for it: its events wait for another process".to_owned();
            stats.last_error = Some(detail.clone());
            let destination = stats.host.clone().unwrap_or_else(|| stats.name.clone());
            self.notices.push(Notice { kind: NoticeKind::NoThread, destination, detail });
        }
    }

    /// Records that the maintenance thread could not be started. Threads that track then prepare the journal's pages themselves.
    pub(super) fn go_on_without_maintenance(&self) {
        let detail =
            "no thread could be started that prepares its pages: track() does it and takes longer at times".to_owned();
        self.is_unmaintained.store(true, Ordering::Relaxed);
        self.notices.push(Notice { kind: NoticeKind::NoThread, destination: "journal".to_owned(), detail });
    }

    /// Sets the position of a destination.
    pub(super) fn set_progress(&self, index: usize, passed: &Position, reaches: Option<&Position>) {
        lock(&self.progress)[index] = Progress { passed: passed.clone(), reaches: reaches.cloned() };
    }

    /// Deletes the segments that every destination has passed.
    pub(super) fn reclaim(&self) {
        let progress = lock(&self.progress);
        let positions: Vec<_> = progress.iter().map(|progress| &progress.passed).collect();
        self.journal.reclaim(&positions);
        self.note_damage();
    }

    /// Adds a notice if damaged or missing records were found since the last call.
    fn note_damage(&self) {
        let found = self.journal.counts().corrupt;
        let reported = self.damage_reported.fetch_max(found, Ordering::Relaxed);
        if found > reported {
            let detail = counted(found - reported, "record");
            self.notices.push(Notice { kind: NoticeKind::Damaged, destination: "journal".to_owned(), detail });
        }
    }

    /// Adds a notice, at most once a minute, that events are kept in memory for lack of space.
    #[cold]
    pub(super) fn note_memory(&self) {
        // While another thread adds it, this one need not wait.
        let Ok(mut reported) = self.memory_reported.try_lock() else { return };
        if reported.is_none_or(|at| at.elapsed() >= PAUSE) {
            *reported = Some(Instant::now());
            let detail = "new events are in memory only and are lost if this process is killed".to_owned();
            self.notices.push(Notice { kind: NoticeKind::InMemory, destination: "journal".to_owned(), detail });
        }
    }

    /// Evicts the oldest events if there is no other way to make room for new ones, and counts evicted and expired events.
    pub(super) fn make_room(&self) {
        loop {
            let progress = lock(&self.progress);
            let reached: Vec<_> =
                progress.iter().map(|progress| progress.reaches.as_ref().unwrap_or(&progress.passed)).collect();
            let Some(lost) = self.journal.evict(&reached) else { break };
            lock(&self.stats).iter_mut().zip(lost).for_each(|(stats, lost)| stats.note_evicted(lost));
        }
        let lost = lock(&self.stats).iter().map(|stats| stats.evicted + stats.expired).max().unwrap_or(0);
        let before = self.lost_in_all.fetch_max(lost, Ordering::Relaxed);
        self.lost.fetch_add(lost.saturating_sub(before), Ordering::Relaxed);
    }

    /// Publishes changes for other processes, and does the upkeep, every few seconds.
    pub(super) fn publish(&self) {
        let now = Instant::now();
        let mut next = lock(&self.next_publication);
        if now >= *next {
            *next = now + PUBLISH_EVERY;
            drop(next);
            self.publish_now();
            if let Some(upkeep) = &self.upkeep {
                upkeep();
            }
        }
    }

    fn publish_now(&self) {
        let (stats, counts) = (lock(&self.stats).clone(), self.journal.counts());
        let news = (self.journal.tier(), counts.appended, stats);
        let mut published = lock(&self.published);
        if news != *published
            && let Some(dir) = self.journal.path()
            && publish(&dir, news.0.name(), &counts, self.journal.budget(), &news.2).is_ok()
        {
            *published = news;
        }
    }

    /// The body of the maintenance thread: keeps the journal's pages ready until delivery stops.
    pub(super) fn maintain(&self) {
        let mut busy_until = Instant::now() + BUSY_FOR;
        loop {
            let claimed = self.journal.maintain(unix_ns());
            self.end_full_lingers();
            let now = Instant::now();
            if claimed > 1 {
                busy_until = now + BUSY_FOR;
            }
            // Count the backlog without holding the lock, and only once a second.
            if lock(&self.outlook).is_due(now) {
                let backlog = self.backlog();
                lock(&self.outlook).note(now, backlog);
                self.orphans.set_space_short(self.journal.is_space_short());
            }
            let control = lock(&self.control);
            if control.is_stopping {
                return;
            }
            let pause = if now < busy_until && claimed > 0 {
                MAINTAIN
            } else if self.asleep.load(Ordering::Relaxed) != 0 {
                TICK
            } else if now < busy_until {
                POLL
            } else {
                RELAXED
            };
            drop(self.changed.wait_timeout(control, pause));
            if pause == TICK && self.asleep.load(Ordering::Relaxed) == 0 {
                // Events come again, perhaps many.
                busy_until = Instant::now() + BUSY_FOR;
            }
        }
    }

    /// The bytes of the records that some destination has not passed.
    pub(super) fn backlog(&self) -> u64 {
        let passed = lock(&self.stats).iter().map(|stats| stats.own_bytes).min().unwrap_or(0);
        self.journal.counts().appended_bytes.saturating_sub(passed)
    }

    /// Ends a delivery thread. The last one releases the journal.
    pub(super) fn end_thread(&self) {
        let is_last = {
            let mut control = lock(&self.control);
            control.delivering -= 1;
            control.delivering == 0
        };
        if is_last {
            self.give_journal_up();
        }
        lock(&self.control).threads -= 1;
        self.changed.notify_all();
    }

    /// Closes the journal, counts the events that are only in memory, and leaves the rest to be adopted. Called once: by the last
    /// delivery thread or, if no thread could be started, by the handle.
    pub(super) fn give_journal_up(&self) {
        if std::mem::replace(&mut lock(&self.control).is_given_up, true) {
            return;
        }
        self.journal.close();
        self.journal.save_memory(unix_ns());
        let progress = lock(&self.progress).clone();
        let positions: Vec<_> = progress.iter().map(|progress| &progress.passed).collect();
        self.left_in_memory.store(self.journal.unread_in_memory(&positions), Ordering::Relaxed);
        let is_delivered = !positions.is_empty() && self.journal.is_drained(&positions);
        // Publish the remaining counts and the hosts, because a journal holds only the names of destinations. If the journal is deleted,
        // its counts are added to those of ended processes.
        self.publish_now();
        self.journal.finish(is_delivered);
        self.orphans.close();
    }

    /// Pauses after a panic of a delivery thread, which would be a bug. Returns whether the thread should be restarted. A thread that
    /// panics repeatedly while it stops is ended, and its events are left to another process.
    pub(super) fn may_restart(&self, panics_at_end: &mut u32) -> bool {
        let is_stopping = lock(&self.control).is_stopping;
        *panics_at_end += u32::from(is_stopping);
        std::thread::sleep(if is_stopping { POLL } else { TICK });
        *panics_at_end < MAX_PANICS_AT_END
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Backend, Settings};

    /// However two threads end, one of them is the last and counts the events that are only in memory.
    #[test]
    fn one_of_two_threads_that_end_together_is_the_last() {
        for _ in 0..2000 {
            let journal = EventJournal::open(Settings {
                root: None,
                backend: Backend::Mapped,
                budget: None,
                destinations: vec!["one".to_owned()],
            });
            journal.append(1, |out, _| out.extend_from_slice(b"record")).unwrap();
            let stats = vec![DestinationStats::default()];
            let shared = Shared::new(Arc::new(journal), stats, OrphanPool::new(None, vec![vec!["one".to_owned()]]));
            let mut control = lock(&shared.control);
            (control.threads, control.delivering) = (2, 2);
            let barrier = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        barrier.wait();
                        shared.end_thread();
                    });
                }
                barrier.wait();
                // Both threads wait for this lock.
                drop(control);
            });
            assert_eq!(lock(&shared.control).threads, 0);
            assert_eq!(shared.left_in_memory.load(Ordering::Relaxed), 1);
        }
    }
}
