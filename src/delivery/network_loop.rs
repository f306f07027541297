//! The thread of all HTTP destinations. It starts requests and handles responses, and never blocks on a single destination.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::in_flight::Source;
use super::notices::{Notice, NoticeKind, Watch};
use super::orphans::Taken;
use super::remote::{Feed, Remote, Scope, Step, Urgency};
use super::shared::Shared;
use super::timing::{IDLE_AFTER, POLL};
use crate::event::binary::is_known_version;
use crate::journal::{Batch, Reader};
use crate::sys::mutex::lock;

/// The runtime of the requests.
pub(super) struct Network {
    pub(super) runtime: Runtime,
    /// Notified by every request that ends.
    pub(super) done: Arc<Notify>,
}

impl Network {
    pub(super) fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self { runtime, done: Arc::default() })
    }

    /// Runs requests until one ends, at most for this time.
    pub(super) fn wait(&self, pause: Duration) {
        let _ = self.runtime.block_on(async { tokio::time::timeout(pause, self.done.notified()).await });
    }
}

/// An HTTP destination, its position in this process's journal, and the orphan journal that it is reading.
pub(super) struct RemoteState {
    pub(super) index: usize,
    pub(super) remote: Box<Remote>,
    pub(super) reader: Reader,
    orphan: Option<Taken>,
    watch: Watch,
}

/// The result of a pass over one or all destinations.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    pub(super) moved: bool,
    pub(super) is_drained: bool,
}

/// The source of batches for an HTTP destination.
struct RemoteFeed<'a> {
    shared: &'a Shared,
    reader: &'a Reader,
    orphan: &'a mut Option<Taken>,
    index: usize,
    /// The most bytes of a batch.
    bytes: usize,
}

impl Feed for RemoteFeed<'_> {
    fn oldest(&mut self) -> Batch {
        self.reader.read(&self.shared.journal, self.bytes)
    }

    fn newest(&mut self) -> Option<Batch> {
        self.reader.read_newest(&self.shared.journal, self.bytes)
    }

    fn next_orphan(&mut self) -> Option<Batch> {
        loop {
            let taken = self.orphan.take().or_else(|| self.shared.orphans.take(self.index))?;
            let batch = taken.reader.read(self.bytes);
            let is_readable = batch.payloads().all(is_known_version);
            if taken.reader.moves(&batch) && is_readable {
                *self.orphan = Some(taken);
                return Some(batch);
            }
            if is_readable && !batch.is_incomplete {
                self.shared.orphans.give_back(self.index, taken, true);
            } else {
                // The next search finds it again, or a newer version reads it. Now it is another journal's turn.
                self.shared.orphans.let_go(self.index);
            }
        }
    }
}

impl RemoteState {
    pub(super) fn new(index: usize, remote: Box<Remote>) -> Self {
        Self { index, reader: Reader::new(remote.name()), remote, orphan: None, watch: Watch::default() }
    }

    /// Does everything that is possible without waiting.
    pub(super) fn pass(&mut self, shared: &Shared, network: &Network, urgency: Urgency) -> Pass {
        let outcome = self.steps(shared, network, urgency);
        shared.set_progress(self.index, self.reader.position(), self.remote.reaches());
        shared.orphans.set_accepting(self.index, !self.remote.is_waiting());
        let stats = lock(&shared.stats)[self.index].clone();
        let is_settled = outcome.is_drained || !self.remote.is_in_flight();
        self.watch.look(&stats, Instant::now(), &shared.notices, is_settled);
        outcome
    }

    fn steps(&mut self, shared: &Shared, network: &Network, urgency: Urgency) -> Pass {
        let mut moved = false;
        let bytes = self.remote.limits().batch_bytes;
        if urgency != Urgency::None && self.remote.source() == Some(Source::Orphan) && !self.is_read(shared) {
            // A flush waits for this process's events, so batches of orphan journals are set aside.
            self.remote.park_orphan();
        }
        loop {
            // Work on a copy, so that `stats()` need not wait while a body is written. Only this thread changes these counts.
            let mut stats = lock(&shared.stats)[self.index].clone();
            let mut feed =
                RemoteFeed { shared, reader: &self.reader, orphan: &mut self.orphan, index: self.index, bytes };
            let urgency = if moved { urgency.min(Urgency::Known) } else { urgency };
            let step = self.remote.step(&network.runtime, &network.done, &mut stats, urgency, &mut feed);
            match &step {
                Step::Done(batch, Source::Own) => {
                    stats.note_passed(batch);
                    self.reader.advance(&shared.journal, batch);
                }
                Step::Done(batch, Source::Orphan) => {
                    shared.journal.count_damage(batch);
                    self.pass_orphan(shared, batch);
                }
                Step::GivenUp(progress, Source::Own) => {
                    if let Some(batch) = progress {
                        stats.note_passed(batch);
                        self.reader.advance(&shared.journal, batch);
                    }
                }
                Step::GivenUp(progress, Source::Orphan) => {
                    if let Some(batch) = progress {
                        self.pass_orphan(shared, batch);
                    }
                    // It is another journal's turn.
                    if let Some(taken) = self.orphan.take() {
                        shared.orphans.give_back(self.index, taken, false);
                    }
                }
                // Some chunks were sealed without new records.
                Step::Idle(batch) => self.reader.advance_in_memory(&shared.journal, batch),
                Step::Busy => {}
            }
            stats.finished = self.remote.finished();
            // Only this thread changes the counts, except those of evictions.
            let mut all = lock(&shared.stats);
            let kept = &mut all[self.index];
            stats.keep_evicted(kept);
            *kept = stats;
            drop(all);
            match step {
                Step::Done(..) => moved = true,
                Step::GivenUp(..) => {}
                // A flush does not wait for orphan journals.
                Step::Busy => {
                    let is_drained = self.remote.source() != Some(Source::Own) && self.is_read(shared);
                    return Pass { moved, is_drained };
                }
                Step::Idle(_) => return Pass { moved, is_drained: true },
            }
        }
    }

    /// Advances past a batch of the current orphan journal.
    fn pass_orphan(&mut self, shared: &Shared, batch: &Batch) {
        if let Some(taken) = &mut self.orphan {
            shared.orphans.advance(self.index, taken, batch);
        }
    }

    /// Whether nothing of this process's journal is left.
    fn is_read(&mut self, shared: &Shared) -> bool {
        let batch = self.reader.read(&shared.journal, 1);
        if batch.is_nothing() {
            // Some chunks were sealed without new records.
            self.reader.advance_in_memory(&shared.journal, &batch);
        }
        batch.is_nothing() && !batch.is_incomplete
    }

    /// Releases the current orphan journal after a panic. The next search finds it again.
    fn forget_orphan(&mut self, shared: &Shared) {
        self.remote.drop_orphan();
        self.orphan = None;
        shared.orphans.let_go(self.index);
    }

    /// Saves the finished part of the batches in flight, so that the next process does not send it again.
    pub(super) fn release(&mut self, shared: &Shared) {
        if let Some(batch) = self.remote.done_so_far(Source::Own) {
            shared.note_passed(self.index, &batch);
            self.reader.advance(&shared.journal, &batch);
        }
        if let Some(batch) = self.remote.done_so_far(Source::Orphan) {
            self.pass_orphan(shared, &batch);
        }
        self.remote.drop_orphan();
        if let Some(taken) = self.orphan.take() {
            shared.orphans.give_back(self.index, taken, false);
        }
        shared.set_progress(self.index, self.reader.position(), None);
    }
}

/// The state of the thread.
pub(super) struct NetworkLoop {
    shared: Arc<Shared>,
    remotes: Vec<RemoteState>,
    network: Option<Network>,
    /// The last flush for which the backoff was skipped.
    last_urgent_flush: u64,
}

impl NetworkLoop {
    pub(super) fn new(shared: Arc<Shared>, remotes: Vec<(usize, Box<Remote>)>) -> Self {
        let remotes = remotes.into_iter().map(|(index, remote)| RemoteState::new(index, remote)).collect();
        Self { shared, remotes, network: None, last_urgent_flush: 0 }
    }

    /// Runs until delivery stops. After a panic, which would be a bug, it counts the panic, pauses and restarts.
    pub(super) fn run(mut self) {
        let mut panics_at_end = 0;
        while catch_unwind(AssertUnwindSafe(|| self.rounds())).is_err() {
            for state in &mut self.remotes {
                state.forget_orphan(&self.shared);
                lock(&self.shared.stats)[state.index].panics += 1;
                self.shared.notices.push(Notice {
                    kind: NoticeKind::Panicked,
                    destination: state.remote.host().to_owned(),
                    detail: "the delivery thread was restarted".to_owned(),
                });
            }
            if !self.shared.may_restart(&mut panics_at_end) {
                break;
            }
        }
        if let Some(network) = self.network.take() {
            // Do not wait for a running name lookup.
            network.runtime.shutdown_background();
        }
        self.shared.end_thread();
    }

    fn rounds(&mut self) {
        let mut last_event = Instant::now();
        loop {
            let (asked, is_stopping) = {
                let control = lock(&self.shared.control);
                (control.asked, control.is_stopping)
            };
            if is_stopping {
                return self.stop();
            }
            let outcome = self.round(asked);
            if outcome.moved {
                last_event = Instant::now();
            }
            self.pause(asked, outcome, last_event);
        }
    }

    /// Delivers what was appended so far, and answers the flushes that began before.
    fn round(&mut self, asked: u64) -> Pass {
        let is_new = asked > self.last_urgent_flush;
        self.last_urgent_flush = asked;
        let mut outcome = Pass { moved: false, is_drained: true };
        for place in 0..self.remotes.len() {
            let state = &mut self.remotes[place];
            if self.network.is_none() {
                self.network = Network::new();
            }
            let Some(network) = &self.network else {
                lock(&self.shared.stats)[state.index].last_error = Some("requests cannot be made now".to_owned());
                self.shared.answer(state.index, asked);
                outcome.is_drained = false;
                continue;
            };
            let (_, is_awaited, _) = self.shared.asked(state.index);
            // Skip the backoff only once per flush: a failing flush must not make requests to a destination that is down without
            // pauses.
            let urgency = match (is_awaited, is_new) {
                (false, _) => Urgency::None,
                (true, true) => Urgency::New,
                (true, false) => Urgency::Known,
            };
            let pass = state.pass(&self.shared, network, urgency);
            if pass.is_drained || state.remote.is_refusing() {
                self.shared.answer(state.index, asked);
            }
            if state.remote.has_recovered() {
                self.shared.orphans.search_soon();
            }
            outcome.moved |= pass.moved;
            outcome.is_drained &= pass.is_drained;
        }
        self.shared.orphans.refill();
        self.shared.reclaim();
        self.shared.make_room();
        self.shared.publish();
        outcome
    }

    fn is_in_flight(&self) -> bool {
        self.remotes.iter().any(|state| state.remote.is_in_flight())
    }

    fn pause(&self, asked: u64, outcome: Pass, last_event: Instant) {
        if let Some(network) = &self.network
            && self.is_in_flight()
        {
            return network.wait(POLL);
        }
        let control = lock(&self.shared.control);
        // If a flush has begun in the meantime, answer it at once.
        if control.asked > asked || control.is_stopping || outcome.moved {
            return;
        }
        let is_idle = last_event.elapsed() >= IDLE_AFTER;
        let has_orphans = self.remotes.iter().any(|state| self.shared.orphans.may_have(state.index));
        // The bit after those of the local threads.
        let bit = lock(&self.shared.progress).len();
        self.shared.pause(control, bit, is_idle && outcome.is_drained && !has_orphans);
    }

    fn stop(&mut self) {
        let (answered, asked, leftovers_until, stop_wait) = {
            let control = lock(&self.shared.control);
            (control.answered.clone(), control.asked, control.leftovers_until, control.stop_wait)
        };
        self.shared.journal.close();
        let now = Instant::now();
        let until = leftovers_until.unwrap_or(now);
        let latest = until.max(now + stop_wait);
        // Delivery may stop before the first round.
        if self.network.is_none() && !self.remotes.is_empty() {
            self.network = Network::new();
        }
        if let Some(network) = &self.network {
            let mut urgency = Urgency::New;
            loop {
                let mut is_done = true;
                self.shared.orphans.refill();
                for state in &mut self.remotes {
                    // If the last flush failed, the journal is left to the next process. Orphan journals get the rest of the flush's
                    // time.
                    let now = Instant::now();
                    let may_begin = answered[state.index] >= asked && now < latest;
                    state.remote.set_scope(match may_begin {
                        true if now < until => Scope::Everything,
                        true => Scope::OwnJournal,
                        false => Scope::Nothing,
                    });
                    let pass = state.pass(&self.shared, network, urgency);
                    let has_orphans = now < until && self.shared.orphans.may_have(state.index);
                    let is_left = may_begin && (!pass.is_drained || has_orphans) && !state.remote.is_waiting();
                    is_done &= !state.remote.is_in_flight() && !is_left;
                }
                urgency = Urgency::Known;
                if is_done || Instant::now() >= latest {
                    break;
                }
                network.wait(POLL);
            }
        }
        for state in &mut self.remotes {
            state.release(&self.shared);
        }
        self.shared.reclaim();
    }
}
