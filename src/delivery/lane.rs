//! One destination: what it is, its place in the journal, and how a batch gets there.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::backoff::Backoff;
use super::in_flight::Source;
use super::remote::{Feed, Remote, Step, Urgency};
use super::sender::BATCH_BYTES;
use super::shared::{Shared, lock};
use super::{Delivered, Destination, DestinationStats, Failure};
use crate::event::binary::{DecodeError, decode, is_known_version};
use crate::journal::{Batch, ForeignTail, Foreigners, Journal, Position, Reader};

/// How long a drain waits for a destination to accept anything.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long a drain waits for another part of this process that reads what was left.
const FIND_WAIT: Duration = Duration::from_secs(3);
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Where events go.
pub enum Outlet {
    /// A place on this machine, brought a batch at a time while everything else waits.
    Local(Box<dyn Destination>),
    /// A place over HTTP, asked while everything else goes on.
    Remote(Box<Remote>),
}

impl Outlet {
    /// A name that stays the same from run to run: a cursor is kept under it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Local(destination) => destination.name(),
            Self::Remote(remote) => remote.name(),
        }
    }

    /// Its counts, at the beginning.
    pub(super) fn stats(&self) -> DestinationStats {
        let host = match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote.host().to_owned()),
        };
        DestinationStats { name: self.name().to_owned(), host, ..DestinationStats::default() }
    }

    pub(super) fn is_barred(&self) -> bool {
        matches!(self, Self::Local(destination) if destination.is_barred())
    }

    pub(super) fn rest(&mut self) {
        if let Self::Local(destination) = self {
            destination.rest();
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self, Self::Remote(remote) if remote.is_in_flight())
    }
}

/// One destination and its place in the journal.
pub(super) struct Lane {
    pub(super) outlet: Outlet,
    pub(super) tail: Reader,
    /// Of a local one.
    pub(super) backoff: Backoff,
}

impl Lane {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { tail: Reader::new(outlet.name()), outlet, backoff: Backoff::default() }
    }

    /// How far it will have come when what it is bringing is done.
    pub(super) fn reaches(&self) -> &Position {
        match &self.outlet {
            Outlet::Remote(remote) => remote.reaches().unwrap_or(self.tail.position()),
            Outlet::Local(_) => self.tail.position(),
        }
    }

    pub(super) fn is_remote(&self) -> bool {
        matches!(self.outlet, Outlet::Remote(_))
    }

    pub(super) fn awaits_foreign(&self) -> bool {
        matches!(&self.outlet, Outlet::Remote(remote) if remote.awaits_foreign())
    }

    /// Whether events came out of its fallback since this was asked last.
    pub(super) fn has_recovered(&mut self) -> bool {
        match &mut self.outlet {
            Outlet::Remote(remote) => remote.has_recovered(),
            Outlet::Local(_) => false,
        }
    }

    /// Whether it brings nothing until somebody has mended something.
    pub(super) fn is_paused(&self) -> bool {
        matches!(&self.outlet, Outlet::Remote(remote) if remote.is_paused())
    }

    /// What of its batch of such a journal is done so far.
    pub(super) fn done_so_far(&self, source: Source) -> Option<Batch> {
        match &self.outlet {
            Outlet::Remote(remote) => remote.done_so_far(source),
            Outlet::Local(_) => None,
        }
    }

    pub(super) fn drop_foreign(&mut self) {
        if let Outlet::Remote(remote) = &mut self.outlet {
            remote.drop_foreign();
        }
    }
}

/// What requests run in. Made by the first one, in the thread that waits for them.
pub(super) struct Network {
    pub(super) runtime: Runtime,
    /// Told by every request that ends.
    pub(super) done: Arc<Notify>,
}

impl Network {
    fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        Some(Self { runtime, done: Arc::default() })
    }

    pub(super) fn get(slot: &mut Option<Self>) -> Option<&Self> {
        if slot.is_none() {
            *slot = Self::new();
        }
        slot.as_ref()
    }

    /// Lets requests go on until one ends, at most for a time.
    pub(super) fn wait(&self, pause: Duration) {
        let _ = self.runtime.block_on(async { tokio::time::timeout(pause, self.done.notified()).await });
    }
}

/// Takes over what another process delivered of this one's journal.
pub(super) fn follow(shared: &Shared, lane: &mut Lane, index: usize) {
    if !lane.tail.follow(&shared.journal) {
        return;
    }
    // What is left is counted, not summed up: the other process does not tell how many records it passed.
    let left = lane.tail.read(&shared.journal, usize::MAX);
    let counts = shared.journal.counts();
    let stats = &mut lock(&shared.stats)[index];
    stats.own = counts.appended.saturating_sub(left.len() as u64);
    stats.own_bytes = counts.appended_bytes.saturating_sub(left.byte_len() as u64);
}

/// What dead processes left for destinations over HTTP, journal by journal.
pub(super) struct Foreign {
    foreigners: Foreigners,
    /// By lane.
    tails: Vec<VecDeque<ForeignTail>>,
    has_moved: bool,
}

impl Foreign {
    pub(super) fn new(foreigners: Foreigners, lanes: &[Lane]) -> Self {
        let mut this = Self { tails: lanes.iter().map(|_| VecDeque::new()).collect(), foreigners, has_moved: false };
        this.take_from(lanes, 0);
        this
    }

    /// Looks for journals that were left behind meanwhile.
    pub(super) fn look_again(&mut self, root: &Path, lanes: &[Lane]) {
        let known = self.foreigners.look_again(root);
        self.take_from(lanes, known);
    }

    fn take_from(&mut self, lanes: &[Lane], known: usize) {
        for (tails, lane) in self.tails.iter_mut().zip(lanes) {
            if let Outlet::Remote(remote) = &lane.outlet {
                tails.extend(remote.names().flat_map(|name| self.foreigners.tails(name, known)));
            }
        }
    }

    /// Readers of every journal for a local destination.
    pub(super) fn local_tails(&self, name: &str) -> Vec<ForeignTail> {
        self.foreigners.tails(name, 0)
    }

    /// Moves the journal that a lane reads past what is done of a batch that was given up, and puts it behind the others.
    fn pass_on(&mut self, index: usize, progress: Option<&Batch>) {
        if let Some(batch) = progress {
            self.advance(index, batch);
        }
        if let Some(tails) = self.tails.get_mut(index)
            && !tails.is_empty()
        {
            tails.rotate_left(1);
        }
    }

    /// The next batch for a lane.
    fn read(&mut self, index: usize, bytes: usize) -> Option<Batch> {
        let tails = self.tails.get_mut(index)?;
        while let Some(tail) = tails.front() {
            let batch = tail.read(bytes);
            let is_readable = batch.payloads().all(is_known_version);
            if tail.moves(&batch) && is_readable {
                return Some(batch);
            }
            tails.pop_front();
        }
        None
    }

    pub(super) fn advance(&mut self, index: usize, batch: &Batch) {
        self.has_moved = true;
        let Some(tails) = self.tails.get_mut(index) else { return };
        if tails.front_mut().is_some_and(|tail| tail.advance(batch).is_err()) {
            tails.pop_front();
        }
    }

    /// Whether it came further since this was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.tails.iter().all(VecDeque::is_empty)
    }

    /// Deletes the journals that everybody has passed.
    pub(super) fn finish(self) {
        self.foreigners.remove_finished();
    }
}

/// What a destination over HTTP is fed with.
struct LaneFeed<'a> {
    journal: Option<&'a Journal>,
    tail: &'a Reader,
    foreign: Option<&'a mut Foreign>,
    index: usize,
    /// Most bytes of a batch.
    bytes: usize,
}

impl Feed for LaneFeed<'_> {
    fn oldest(&mut self) -> Batch {
        self.journal.map(|journal| self.tail.read(journal, self.bytes)).unwrap_or_default()
    }

    fn newest(&mut self) -> Option<Batch> {
        self.tail.read_newest(self.journal?, self.bytes)
    }

    fn foreign(&mut self) -> Option<Batch> {
        self.foreign.as_mut()?.read(self.index, self.bytes)
    }
}

/// Goes on with a destination over HTTP, without waiting. Returns whether something was brought, and whether nothing is left.
pub(super) fn remote_pass(
    shared: &Shared,
    lane: &mut Lane,
    index: usize,
    network: &Network,
    urgency: Urgency,
    mut foreign: Option<&mut Foreign>,
) -> (bool, bool) {
    let Outlet::Remote(remote) = &mut lane.outlet else { return (false, true) };
    let mut moved = false;
    let bytes = remote.limits().batch_bytes;
    if urgency != Urgency::None && remote.source() == Some(Source::Foreign) && !is_read(shared, &mut lane.tail) {
        // Somebody waits for this process's events: those that others left wait for them.
        remote.park_foreign();
    }
    loop {
        // A copy, so that `stats()` does not wait for a body to be written; only this thread writes it.
        let mut stats = lock(&shared.stats)[index].clone();
        let mut feed = LaneFeed {
            journal: Some(&shared.journal),
            tail: &lane.tail,
            foreign: foreign.as_deref_mut(),
            index,
            bytes,
        };
        let urgency = if moved { urgency.min(Urgency::Known) } else { urgency };
        let step = remote.step(&network.runtime, &network.done, &mut stats, urgency, &mut feed);
        match &step {
            Step::Done(batch, Source::Own) => {
                stats.note_passed(batch);
                lane.tail.advance(&shared.journal, batch);
            }
            Step::Done(batch, Source::Foreign) => {
                shared.journal.count_corrupt(batch.corrupt);
                if let Some(foreign) = &mut foreign {
                    foreign.advance(index, batch);
                }
            }
            Step::GivenUp(progress, Source::Own) => {
                if let Some(batch) = progress {
                    stats.note_passed(batch);
                    lane.tail.advance(&shared.journal, batch);
                }
            }
            Step::GivenUp(progress, Source::Foreign) => {
                if let Some(foreign) = &mut foreign {
                    foreign.pass_on(index, progress.as_ref());
                }
            }
            // Chunks that were sealed without a new record.
            Step::Idle(batch) => lane.tail.advance_in_memory(&shared.journal, batch),
            Step::Busy => {}
        }
        lock(&shared.stats)[index] = stats;
        match step {
            Step::Done(..) => moved = true,
            Step::GivenUp(..) => {}
            // What others left is no reason to keep a flush waiting.
            Step::Busy => return (moved, remote.source() != Some(Source::Own) && is_read(shared, &mut lane.tail)),
            Step::Idle(_) => return (moved, true),
        }
    }
}

/// Whether nothing of this process's journal is left.
fn is_read(shared: &Shared, tail: &mut Reader) -> bool {
    let batch = tail.read(&shared.journal, 1);
    if batch.is_nothing() {
        // Chunks that were sealed without a new record.
        tail.advance_in_memory(&shared.journal, &batch);
    }
    batch.is_nothing() && !batch.is_incomplete
}

/// Brings a local destination what is there. Returns whether something was brought, and whether nothing is left.
pub(super) fn local_pass(shared: &Shared, lane: &mut Lane, index: usize) -> (bool, bool) {
    let mut moved = false;
    loop {
        if lane.backoff.is_waiting(Instant::now()) {
            return (moved, false);
        }
        let batch = lane.tail.read(&shared.journal, BATCH_BYTES);
        lock(&shared.stats)[index].oldest = batch.appended_at().min();
        if batch.is_nothing() {
            // Chunks that were sealed without a new record.
            lane.tail.advance_in_memory(&shared.journal, &batch);
            return (moved, !batch.is_incomplete);
        }
        let is_last = batch.byte_len() < BATCH_BYTES;
        if !deliver(shared, lane, index, &batch, true) {
            return (moved, false);
        }
        lane.tail.advance(&shared.journal, &batch);
        moved = true;
        if is_last {
            return (true, !batch.is_incomplete);
        }
        let control = lock(&shared.control);
        if control.is_stopping && control.done < control.asked {
            // Whoever closes did not wait for so much.
            return (true, false);
        }
    }
}

/// Brings a batch to a destination. Returns what became of it, and how many of its records are no events.
///
/// A record that a later version wrote is a failure: that version is to deliver it.
fn bring(destination: &mut dyn Destination, batch: &Batch) -> Result<(Delivered, u64), Failure> {
    let mut events = Vec::with_capacity(batch.len());
    let mut others = 0;
    for payload in batch.payloads() {
        match decode(payload) {
            Ok(event) if event.is_usage() => events.push(event),
            Ok(_) => others += 1,
            Err(error @ DecodeError::Version(_)) => {
                return Err(Failure { reason: error.to_string(), retry_after: None });
            }
            Err(DecodeError::Truncated | DecodeError::Text) => {}
        }
    }
    let unreadable = (batch.len() - events.len() - others) as u64;
    let delivered = if events.is_empty() { Delivered::default() } else { destination.deliver(&events)? };
    Ok((delivered, unreadable))
}

/// Brings a batch to a destination and counts what became of it.
pub(super) fn deliver(shared: &Shared, lane: &mut Lane, index: usize, batch: &Batch, is_own: bool) -> bool {
    let Outlet::Local(destination) = &mut lane.outlet else { return false };
    let outcome = bring(&mut **destination, batch);
    let mut all = lock(&shared.stats);
    let stats = &mut all[index];
    match outcome {
        Ok((delivered, unreadable)) => {
            lane.backoff.succeed();
            stats.delivered += delivered.accepted;
            stats.duplicates += delivered.duplicates;
            stats.unreadable += unreadable;
            if is_own {
                stats.note_passed(batch);
            }
            stats.last_error = None;
            true
        }
        Err(failure) => {
            lane.backoff.fail(Instant::now(), failure.retry_after);
            stats.failures += 1;
            stats.last_error = Some(failure.reason);
            false
        }
    }
}

/// Delivers, in the calling thread, what dead processes left under `root`. Returns how many events the first destination took.
///
/// # Errors
/// The reasons of those destinations that did not take everything; what they took is delivered, and the rest is kept.
pub fn drain_foreign(root: &Path, outlets: Vec<Outlet>) -> Result<u64, String> {
    let foreigners = find_foreigners(root).ok_or("this process is delivering them already; try again")?;
    let mut lanes: Vec<_> = outlets.into_iter().map(Lane::new).collect();
    let (mut taken, mut reasons) = (0, Vec::new());
    for (index, lane) in lanes.iter_mut().enumerate() {
        if let Outlet::Local(destination) = &mut lane.outlet {
            for mut tail in foreigners.tails(destination.name(), 0) {
                loop {
                    let batch = tail.read(BATCH_BYTES);
                    if !tail.moves(&batch) {
                        break;
                    }
                    match bring(&mut **destination, &batch) {
                        Ok((delivered, _)) => taken += if index == 0 { delivered.accepted } else { 0 },
                        Err(failure) => {
                            reasons.push(failure.reason);
                            break;
                        }
                    }
                    tail.advance(&batch).map_err(|error| error.to_string())?;
                }
            }
            destination.rest();
        }
    }
    let mut foreign = Foreign::new(foreigners, &lanes);
    if !foreign.is_finished() {
        let network = Network::new().ok_or("requests cannot be made now")?;
        for (index, lane) in lanes.iter_mut().enumerate() {
            let mut stats = DestinationStats::default();
            let is_done = drain_remote(lane, index, &network, &mut foreign, &mut stats);
            taken += if index == 0 { stats.delivered } else { 0 };
            if !is_done {
                reasons
                    .push(stats.last_error.unwrap_or_else(|| format!("{} did not answer in time", lane.outlet.name())));
            }
        }
        network.runtime.shutdown_background();
    }
    foreign.finish();
    if reasons.is_empty() { Ok(taken) } else { Err(reasons.join("; ")) }
}

/// The journals of others, once no other part of this process reads them.
fn find_foreigners(root: &Path) -> Option<Foreigners> {
    let deadline = Instant::now() + FIND_WAIT;
    loop {
        if let Some(foreigners) = Foreigners::find(root) {
            return Some(foreigners);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(DRAIN_POLL);
    }
}

/// Brings a destination over HTTP what is left for it; says whether that is everything.
fn drain_remote(
    lane: &mut Lane,
    index: usize,
    network: &Network,
    foreign: &mut Foreign,
    stats: &mut DestinationStats,
) -> bool {
    let Outlet::Remote(remote) = &mut lane.outlet else { return true };
    let bytes = remote.limits().batch_bytes;
    let mut deadline = Instant::now() + DRAIN_WAIT;
    while Instant::now() < deadline {
        let mut feed = LaneFeed { journal: None, tail: &lane.tail, foreign: Some(foreign), index, bytes };
        match remote.step(&network.runtime, &network.done, stats, Urgency::Known, &mut feed) {
            Step::Done(batch, _) => {
                foreign.advance(index, &batch);
                deadline = Instant::now() + DRAIN_WAIT;
            }
            Step::GivenUp(progress, _) => foreign.pass_on(index, progress.as_ref()),
            Step::Busy => {
                network.wait(DRAIN_POLL);
                if remote.has_progressed() {
                    deadline = Instant::now() + DRAIN_WAIT;
                }
            }
            Step::Idle(_) => return true,
        }
    }
    false
}
