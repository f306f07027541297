//! The thread of one local destination, such as the ledger. With its own thread, a slow disk does not delay other destinations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::bring::{Brought, Next, bring, bring_next};
use super::destination::LocalSink;
use super::notices::{Notice, NoticeKind, Watch};
use super::orphans::Taken;
use super::shared::Shared;
use super::timing::{BATCH_BYTES, IDLE_AFTER};
use crate::journal::{Reader, Tier};
use crate::sys::mutex::lock;

/// The result of reading this process's own journal once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// A batch was delivered; there may be more.
    Moved,
    /// A batch with everything was delivered.
    CaughtUp,
    /// Everything is delivered.
    Drained,
    /// Something could not be read now.
    Incomplete,
    /// The destination is in backoff.
    Waiting,
    /// The destination is busy with another writer.
    Busy,
    /// The destination has just failed.
    Refused,
}

/// The state of the thread.
pub(super) struct LocalThread {
    shared: Arc<Shared>,
    index: usize,
    sink: Box<dyn LocalSink>,
    reader: Reader,
    backoff: Backoff,
    /// The backoff for orphan journals, so that one that cannot be delivered does not delay new events.
    orphan_backoff: Backoff,
    orphan: Option<Taken>,
    /// Whether this thread reclaims the journal's space.
    is_lead: bool,
    /// Whether another process should deliver on behalf of this one.
    is_left: bool,
    /// How long events wait for others, so that one transaction stores all of them.
    linger: Duration,
    /// Until when the current events wait; `None` if they do not.
    linger_until: Option<Instant>,
    /// Every byte that was appended before this many is read, or is being read.
    read_bytes: u64,
    /// The last flush for which the backoff was skipped.
    last_urgent_flush: u64,
    watch: Watch,
}

impl LocalThread {
    pub(super) fn new(
        shared: Arc<Shared>,
        index: usize,
        sink: Box<dyn LocalSink>,
        is_lead: bool,
        is_left: bool,
    ) -> Self {
        let (reader, linger) = (Reader::new(sink.name()), sink.linger());
        Self {
            shared,
            index,
            sink,
            reader,
            backoff: Backoff::default(),
            orphan_backoff: Backoff::default(),
            orphan: None,
            is_lead,
            is_left,
            linger,
            linger_until: None,
            read_bytes: 0,
            last_urgent_flush: 0,
            watch: Watch::default(),
        }
    }

    /// Runs until delivery stops. After a panic, which would be a bug, it counts the panic, pauses and restarts.
    pub(super) fn run(mut self) {
        let mut panics_at_end = 0;
        while catch_unwind(AssertUnwindSafe(|| self.rounds())).is_err() {
            self.orphan = None;
            self.shared.orphans.let_go(self.index);
            self.shared.notices.push(Notice {
                kind: NoticeKind::Panicked,
                destination: self.sink.name().to_owned(),
                detail: "the delivery thread was restarted".to_owned(),
            });
            lock(&self.shared.stats)[self.index].panics += 1;
            if !self.shared.may_restart(&mut panics_at_end) {
                break;
            }
        }
        self.shared.end_thread();
    }

    fn rounds(&mut self) {
        let mut last_event = Instant::now();
        self.begin_to_linger();
        loop {
            let (asked, is_awaited, is_stopping) = self.shared.asked(self.index);
            if is_stopping {
                return self.stop();
            }
            if !is_awaited && let Some(left) = self.linger_left() {
                self.shared.linger(self.index, asked, self.read_bytes + BATCH_BYTES as u64, left);
                continue;
            }
            self.linger_until = None;
            let follows = self.follows();
            let own = if follows { self.follow() } else { self.deliver_own(asked) };
            self.shared.orphans.refill();
            let has_moved = matches!(own, Own::Moved | Own::CaughtUp);
            let may_adopt = !has_moved || !is_awaited;
            let adopted = may_adopt && !follows && self.deliver_orphan();
            self.shared.reclaim();
            if self.is_lead {
                self.shared.make_room();
                self.shared.publish();
            }
            let stats = lock(&self.shared.stats)[self.index].clone();
            self.watch.look(&stats, Instant::now(), &self.shared.notices, true);
            if matches!(own, Own::Drained | Own::Refused) || follows {
                self.shared.answer(self.index, asked);
            }
            if has_moved || adopted {
                last_event = Instant::now();
                // A flush is answered when a read finds nothing more.
                if own == Own::CaughtUp && !adopted && !is_awaited {
                    self.begin_to_linger();
                }
                continue;
            }
            let is_idle = last_event.elapsed() >= IDLE_AFTER;
            if is_idle {
                self.sink.close_idle();
            }
            let may_have_orphans = self.shared.orphans.may_have(self.index);
            if own == Own::Drained && !is_idle && !follows && !may_have_orphans {
                self.begin_to_linger();
                if self.linger_until.is_some() {
                    continue;
                }
            }
            let control = lock(&self.shared.control);
            // If a flush has begun in the meantime, answer it at once.
            let is_new = control.asked > asked || control.is_stopping;
            if !is_new {
                let may_sleep = is_idle && own == Own::Drained && !may_have_orphans;
                self.shared.pause(control, self.index, may_sleep);
                if !follows && own == Own::Drained && self.shared.journal.counts().appended_bytes > self.read_bytes {
                    self.begin_to_linger();
                }
            }
        }
    }

    /// Lets the events to come wait for others. Events that are only in memory do not wait, because a crash would lose them.
    fn begin_to_linger(&mut self) {
        let may_linger = !self.linger.is_zero() && self.shared.journal.tier() != Tier::Memory;
        self.linger_until = may_linger.then(|| Instant::now() + self.linger);
    }

    /// How much longer the current events wait; `None` if they do not, or if they fill a batch.
    fn linger_left(&self) -> Option<Duration> {
        let left = self.linger_until?.saturating_duration_since(Instant::now());
        let unread = self.shared.journal.counts().appended_bytes.saturating_sub(self.read_bytes);
        (!left.is_zero() && unread < BATCH_BYTES as u64).then_some(left)
    }

    /// Delivers the next batch of this process's journal.
    fn deliver_own(&mut self, asked: u64) -> Own {
        if asked > self.last_urgent_flush {
            self.last_urgent_flush = asked;
            self.backoff.retry_now();
        }
        if self.backoff.is_waiting(Instant::now()) {
            return Own::Waiting;
        }
        let appended_bytes = self.shared.journal.counts().appended_bytes;
        // The batch counts as in flight before anything can be evicted, so that each event is either delivered or counted as evicted.
        let batch = {
            let mut progress = lock(&self.shared.progress);
            let batch = self.reader.read(&self.shared.journal, BATCH_BYTES);
            progress[self.index].reaches = Some(batch.position.clone());
            batch
        };
        lock(&self.shared.stats)[self.index].oldest = batch.appended_at().min();
        let is_full = batch.byte_len() >= BATCH_BYTES;
        if !is_full {
            self.read_bytes = appended_bytes;
        }
        if batch.is_nothing() {
            // Some chunks were sealed without new records.
            self.reader.advance_in_memory(&self.shared.journal, &batch);
            self.shared.set_progress(self.index, self.reader.position(), None);
            return if batch.is_incomplete { Own::Incomplete } else { Own::Drained };
        }
        let outcome = bring(&mut *self.sink, &batch);
        self.count(&outcome);
        if outcome.is_ok() {
            self.shared.note_passed(self.index, &batch);
            self.reader.advance(&self.shared.journal, &batch);
        }
        self.shared.set_progress(self.index, self.reader.position(), None);
        match outcome {
            Ok(_) => {
                self.backoff.succeed();
                if is_full || batch.is_incomplete { Own::Moved } else { Own::CaughtUp }
            }
            Err(failure) => {
                self.backoff.fail(Instant::now(), failure.retry_after);
                if failure.is_busy { Own::Busy } else { Own::Refused }
            }
        }
    }

    /// Counts the result of a batch.
    fn count(&self, outcome: &Brought) {
        let upkeep = self.sink.upkeep();
        let mut all = lock(&self.shared.stats);
        let stats = &mut all[self.index];
        (stats.upkeep_failures, stats.upkeep_error) = (upkeep.failures, upkeep.last_error);
        match outcome {
            Ok((delivered, unreadable)) => {
                stats.delivered += delivered.accepted;
                stats.duplicates += delivered.duplicates;
                stats.unreadable += unreadable;
                stats.last_error = None;
            }
            Err(failure) => {
                stats.failures += 1;
                stats.last_error = Some(failure.reason.clone());
            }
        }
    }

    /// Delivers the next batch of an orphan journal. Returns whether there was one.
    fn deliver_orphan(&mut self) -> bool {
        if self.orphan_backoff.is_waiting(Instant::now()) {
            return false;
        }
        let Some(mut taken) = self.orphan.take().or_else(|| self.shared.orphans.take(self.index)) else { return false };
        let orphans = &self.shared.orphans;
        match bring_next(&mut *self.sink, &mut taken.reader) {
            Next::Done => orphans.give_back(self.index, taken, true),
            // It is another journal's turn.
            Next::Unreadable => orphans.let_go(self.index),
            Next::Batch(batch, brought) => {
                self.count(&brought);
                if brought.is_err() {
                    self.orphan_backoff.fail(Instant::now(), None);
                    orphans.give_back(self.index, taken, false);
                    return false;
                }
                self.orphan_backoff.succeed();
                self.shared.journal.count_damage(&batch);
                orphans.note_passed(self.index, &taken, &batch);
                self.orphan = Some(taken);
            }
        }
        true
    }

    /// Whether another process delivers on behalf of this one.
    fn follows(&self) -> bool {
        self.is_left && self.shared.journal.is_handed_off()
    }

    /// Reads the position that another process reached on behalf of this one.
    fn follow(&mut self) -> Own {
        if self.reader.follow(&self.shared.journal) {
            self.shared.set_progress(self.index, self.reader.position(), None);
            // Count the remaining records, because the other process does not tell how many it passed.
            let left = self.reader.backlog(&self.shared.journal);
            let counts = self.shared.journal.counts();
            let stats = &mut lock(&self.shared.stats)[self.index];
            stats.own = counts.appended.saturating_sub(left.0);
            stats.own_bytes = counts.appended_bytes.saturating_sub(left.1);
        }
        Own::Drained
    }

    fn stop(&mut self) {
        let (was_answered, leftovers_until, stop_wait) = {
            let control = lock(&self.shared.control);
            (control.answered[self.index] >= control.asked, control.leftovers_until, control.stop_wait)
        };
        self.shared.journal.close();
        // If the last flush was answered, only few events came after it. If not, the journal is left to the next process.
        if was_answered && !self.follows() {
            let deadline = Instant::now() + stop_wait;
            let mut next = || self.deliver_own(self.last_urgent_flush + 1);
            while matches!(next(), Own::Moved | Own::CaughtUp) && Instant::now() < deadline {}
            let until = leftovers_until.unwrap_or_else(Instant::now);
            while Instant::now() < until && (self.deliver_orphan() || self.may_adopt_more(until)) {
                self.shared.orphans.refill();
            }
        }
        if let Some(taken) = self.orphan.take() {
            self.shared.orphans.give_back(self.index, taken, false);
        }
        self.sink.close_idle();
        self.shared.reclaim();
    }

    /// Whether there may be more orphan journals, after a short wait for the thread that searches for them.
    fn may_adopt_more(&self, until: Instant) -> bool {
        const WAIT: Duration = Duration::from_millis(2);
        let may = self.shared.orphans.may_have(self.index) && !self.orphan_backoff.is_waiting(Instant::now());
        if may {
            std::thread::sleep(WAIT.min(until.saturating_duration_since(Instant::now())));
        }
        may
    }
}
