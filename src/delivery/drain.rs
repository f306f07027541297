//! Drain: delivers orphan journals in the calling thread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::DestinationStats;
use super::bring::{Next, bring_next};
use super::destination::{Destination, LocalSink};
use super::in_flight::Source;
use super::network_loop::Network;
use super::orphans::{MAX_HELD, subscribe_all};
use super::remote::{Feed, Remote, Step, Urgency};
use super::timing::{DRAIN_POLL, DRAIN_WAIT, FIND_WAIT};
use crate::event::binary::is_known_version;
use crate::journal::{Adopting, Batch, Orphan, OrphanReader, OrphanScan, UnsavedPositions};
use crate::sys::fork::fork_generation;

/// The result of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Events that the first destination did not have before.
    pub delivered: u64,
    /// Events that some destination has not accepted, in journals that could be read.
    pub left: u64,
    /// Events that waited longer than allowed and were dropped.
    pub expired: u64,
    /// Records that were damaged or are missing.
    pub damaged: u64,
    /// Why events are left.
    pub reasons: Vec<String>,
    /// Which events are left because their destinations are not in these settings.
    pub elsewhere: Vec<String>,
}

/// Delivers the events that ended processes left under `root`, while `should_continue` returns true. It is called a few times a
/// second.
#[must_use]
pub fn drain_orphans(root: &Path, destinations: Vec<Destination>, should_continue: &dyn Fn() -> bool) -> Drained {
    let mut drained = Drained::default();
    let Some(_right) = take_right(should_continue) else {
        drained.reasons.push("this process is already delivering these events; try again".to_owned());
        return drained;
    };
    // A signal handler may fork during the drain. The child leaves delivery to its parent.
    let generation = fork_generation();
    let should_continue = &|| should_continue() && fork_generation() == generation;
    let mut drain = Drain {
        destinations,
        network: None,
        should_continue,
        left: BTreeMap::new(),
        refused: Vec::new(),
        unsaved: UnsavedPositions::default(),
    };
    let mut scan = match OrphanScan::begin(root) {
        Ok(scan) => scan,
        Err(error) => {
            drained.reasons.push(format!("the journals cannot be listed: {error}"));
            return drained;
        }
    };
    while !scan.is_done() && should_continue() {
        match scan.next(MAX_HELD) {
            Ok(page) => {
                for (path, error) in scan.take_refused() {
                    drained.reasons.push(format!("{} cannot be read: {error}", path.display()));
                }
                drain.page(page, &mut drained);
            }
            Err(error) => {
                drained.reasons.push(format!("journals cannot be opened: {error}"));
                break;
            }
        }
    }
    if !should_continue() {
        drained.reasons.push("interrupted".to_owned());
    }
    drained.left = drain.left.values().sum();
    if let Some(network) = drain.network.take() {
        network.runtime.shutdown_background();
    }
    for reasons in [&mut drained.reasons, &mut drained.elsewhere] {
        reasons.sort();
        reasons.dedup();
    }
    drained
}

/// Takes the right to read orphan journals, when no other part of this process holds it.
fn take_right(should_continue: &dyn Fn() -> bool) -> Option<Adopting> {
    let deadline = Instant::now() + FIND_WAIT;
    loop {
        if let Some(right) = Adopting::begin() {
            return Some(right);
        }
        if Instant::now() >= deadline || !should_continue() {
            return None;
        }
        std::thread::sleep(DRAIN_POLL);
    }
}

fn unreadable(reader: &OrphanReader) -> String {
    format!("{} cannot be read now, or only by a newer version", reader.journal().display())
}

struct Drain<'a> {
    destinations: Vec<Destination>,
    network: Option<Network>,
    should_continue: &'a dyn Fn() -> bool,
    /// Remaining events by journal: the number of the destination with the most.
    left: BTreeMap<PathBuf, u64>,
    /// Destinations that accept nothing now. They get no further journals.
    refused: Vec<usize>,
    /// Positions in the held journals that could not be saved.
    unsaved: UnsavedPositions,
}

impl Drain<'_> {
    /// Delivers some journals to every destination, and deletes those that all destinations have passed.
    fn page(&mut self, page: Vec<Orphan>, drained: &mut Drained) {
        for orphan in &page {
            let names: Vec<_> = self.destinations.iter().map(|one| one.name().to_owned()).collect();
            subscribe_all(orphan, names.iter());
        }
        for index in 0..self.destinations.len() {
            let mut readers = Vec::new();
            for (name, orphan) in
                self.destinations[index].names().iter().flat_map(|name| page.iter().map(move |orphan| (name, orphan)))
            {
                match orphan.reader(name) {
                    Ok(reader) => readers.extend(reader),
                    Err(error) => drained.reasons.push(format!("{} cannot be read: {error}", orphan.path().display())),
                }
            }
            let left = if self.refused.contains(&index) { readers } else { self.deliver(index, readers, drained) };
            for reader in left {
                let backlog = reader.backlog();
                if backlog.is_incomplete {
                    drained.reasons.push(unreadable(&reader));
                }
                let known = self.left.entry(reader.journal().to_owned()).or_default();
                *known = backlog.records.max(*known);
            }
        }
        for orphan in page {
            let path = orphan.path().to_owned();
            self.count_for_others(&orphan, drained);
            match orphan.remove_if_passed(&self.unsaved) {
                Ok(true) => self.unsaved.retain(|journal| journal != path),
                Ok(false) if self.unsaved.has(&path) => drained.reasons.push(format!(
                    "{}: its cursors cannot be written; delivered events may be delivered again",
                    path.display()
                )),
                Ok(false) => {}
                Err(error) => drained.reasons.push(format!("{}: {error}", path.display())),
            }
        }
        self.left.retain(|_, count| *count > 0);
    }

    /// Counts the events of a journal for destinations that are not in the settings.
    fn count_for_others(&mut self, orphan: &Orphan, drained: &mut Drained) {
        let own: Vec<_> = self.destinations.iter().flat_map(Destination::names).collect();
        let names = orphan.destinations().ok().flatten().unwrap_or_default();
        for name in names.iter().filter(|name| !own.contains(name)) {
            let count = orphan.reader(name).ok().flatten().map_or(0, |reader| reader.backlog().records);
            if count > 0 {
                let known = self.left.entry(orphan.path().to_owned()).or_default();
                *known = count.max(*known);
                drained.elsewhere.push(format!(
                    "events wait for the destination {name}, which is not in the settings; see `taximeter journals list`"
                ));
            }
        }
    }

    /// Delivers journals to one destination. Returns the readers that are not done.
    fn deliver(&mut self, index: usize, readers: Vec<OrphanReader>, drained: &mut Drained) -> Vec<OrphanReader> {
        let is_first = index == 0;
        let should_continue = self.should_continue;
        match &mut self.destinations[index] {
            Destination::Local(sink) => {
                let mut left = Vec::new();
                for mut reader in readers {
                    let is_done = deliver_local(&mut **sink, &mut reader, is_first, drained, should_continue);
                    self.unsaved.note(&reader);
                    if !is_done {
                        left.push(reader);
                    }
                }
                sink.close_idle();
                left
            }
            Destination::Remote(remote) => {
                if readers.is_empty() {
                    return readers;
                }
                if self.network.is_none() {
                    self.network = Network::new();
                }
                let Some(network) = &self.network else {
                    drained.reasons.push("requests cannot be made now".to_owned());
                    return readers;
                };
                let mut stats = DestinationStats::default();
                let bytes = remote.limits().batch_bytes;
                let mut feed = DrainFeed { readers, done: Vec::new(), bytes, damaged: 0 };
                let is_done = deliver_remote(remote, network, &mut feed, &mut stats, should_continue);
                if let Some(batch) = remote.done_so_far(Source::Orphan) {
                    feed.advance(&batch);
                }
                remote.drop_orphan();
                drained.delivered += if is_first { stats.delivered } else { 0 };
                drained.expired += stats.expired;
                drained.damaged += feed.damaged;
                if !is_done {
                    self.refused.push(index);
                    let late = || format!("{} did not answer in time", remote.host());
                    drained.reasons.push(stats.last_error.unwrap_or_else(late));
                }
                feed.readers.extend(feed.done);
                feed.readers.iter().for_each(|reader| self.unsaved.note(reader));
                feed.readers
            }
        }
    }
}

/// Delivers a journal to a local destination. Returns whether it is done.
fn deliver_local(
    sink: &mut dyn LocalSink,
    reader: &mut OrphanReader,
    is_first: bool,
    drained: &mut Drained,
    should_continue: &dyn Fn() -> bool,
) -> bool {
    while should_continue() {
        match bring_next(sink, reader) {
            Next::Batch(batch, Ok((delivered, _))) => {
                drained.delivered += if is_first { delivered.accepted } else { 0 };
                drained.damaged += batch.corrupt;
            }
            Next::Batch(_, Err(failure)) => {
                drained.reasons.push(failure.reason);
                return false;
            }
            Next::Unreadable => {
                drained.reasons.push(unreadable(reader));
                return false;
            }
            Next::Done => return true,
        }
    }
    false
}

/// The source of batches for an HTTP destination in a drain: one journal after another.
struct DrainFeed {
    /// The journals that are left. The first one is being read.
    readers: Vec<OrphanReader>,
    /// The journals that have nothing more, or cannot be read by this version.
    done: Vec<OrphanReader>,
    bytes: usize,
    damaged: u64,
}

impl DrainFeed {
    fn advance(&mut self, batch: &Batch) {
        self.damaged += batch.corrupt;
        if let Some(reader) = self.readers.first_mut() {
            // If the position cannot be saved, the caller keeps it when the destination has had its turn.
            let _ = reader.advance(batch);
        }
    }
}

impl Feed for DrainFeed {
    fn oldest(&mut self) -> Batch {
        Batch::default()
    }

    fn newest(&mut self) -> Option<Batch> {
        None
    }

    fn next_orphan(&mut self) -> Option<Batch> {
        while let Some(reader) = self.readers.first() {
            let batch = reader.read(self.bytes);
            if reader.moves(&batch) && batch.payloads().all(is_known_version) {
                return Some(batch);
            }
            self.done.push(self.readers.remove(0));
        }
        None
    }
}

/// Delivers journals to an HTTP destination. Returns whether it is done.
fn deliver_remote(
    remote: &mut Remote,
    network: &Network,
    feed: &mut DrainFeed,
    stats: &mut DestinationStats,
    should_continue: &dyn Fn() -> bool,
) -> bool {
    let mut deadline = Instant::now() + DRAIN_WAIT;
    while Instant::now() < deadline && should_continue() {
        match remote.step(&network.runtime, &network.done, stats, Urgency::Known, feed) {
            Step::Done(batch, _) => {
                feed.advance(&batch);
                deadline = Instant::now() + DRAIN_WAIT;
            }
            Step::GivenUp(progress, _) => {
                if let Some(batch) = progress {
                    feed.advance(&batch);
                }
                if !feed.readers.is_empty() {
                    feed.readers.rotate_left(1);
                }
            }
            Step::Busy if remote.is_paused() => return false,
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
