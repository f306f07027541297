//! The pool of orphan journals of a state directory, shared by the threads of this process's destinations.
//!
//! A journal is held, that is locked, while its events are delivered. This takes two descriptors, so at most [`MAX_HELD`] journals
//! are held at a time, even if there are thousands. A journal is released if its remaining destinations accept nothing now or if it
//! cannot be read now, so that other journals get their turn. The next search finds it again. If a cursor file cannot be written, as
//! on a full disk, the pool keeps the position.
//!
//! Searching thousands of journals takes seconds. The search has its own lock, and no thread waits for it. The lock order is: search,
//! inner.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use super::timing::{ADOPT_EVERY, ADOPT_PAUSE, REFUSING_FOR, RELEASE_AFTER, SEARCH_SLICE};
use crate::journal::{Adopting, Backlog, Batch, Orphan, OrphanReader, OrphanScan, UnsavedPositions, Untrimmed};
use crate::sys::mutex::lock;

/// The most journals that the delivery threads, or a drain, hold at a time.
pub(super) const MAX_HELD: usize = 32;

/// The pool of orphan journals.
pub(super) struct OrphanPool {
    root: Option<PathBuf>,
    /// The names of each destination's cursors. The destination's own name is the first.
    names: Vec<Vec<String>>,
    search: Mutex<Search>,
    inner: Mutex<Inner>,
    has_searched: AtomicBool,
    /// Whether the disk budget is half used up, partly by other journals. Then the unused space of dead journals is freed without
    /// waiting for a search.
    is_space_short: AtomicBool,
}

/// The current search.
#[derive(Default)]
struct Search {
    /// The journals that were not examined yet.
    scan: Option<OrphanScan>,
    /// The journals that the search has found. At its end, what is known about other journals is discarded.
    seen: Vec<PathBuf>,
    /// The journals whose unused space is freed. Listed with each search and, while space is short, anew in between, because a search
    /// lasts as long as the backlog of the journals that it finds, and each process that is killed in the meantime leaves whole
    /// segments.
    untrimmed: Option<Untrimmed>,
    /// When they may be listed again while space is short.
    next_trim: Option<Instant>,
}

struct Inner {
    /// The right to read orphan journals, while any is held.
    right: Option<Adopting>,
    is_searching: bool,
    held: BTreeMap<u64, Held>,
    next_number: u64,
    /// For each destination, the journals that it has not started.
    waiting: Vec<VecDeque<Taken>>,
    /// For each destination, the number of the journal that it is reading.
    in_hand: Vec<Option<u64>>,
    /// For each destination, since when it has accepted nothing.
    refusing_since: Vec<Option<Instant>>,
    next_search: Instant,
    /// The remaining records of journals, by directory and destination.
    backlogs: HashMap<PathBuf, Vec<Backlog>>,
    /// When a destination last tried and failed to deliver a journal. Other journals go first, also in later searches.
    turns: HashMap<PathBuf, Instant>,
    unsaved: UnsavedPositions,
    is_closed: bool,
}

struct Held {
    orphan: Orphan,
    /// The number of readers whose destination has not passed the journal.
    open: usize,
    /// How many of them a destination is reading.
    taken: usize,
    /// When the journal was held, or a destination last advanced in it.
    moved: Instant,
}

/// A reader that a destination has taken from the pool.
pub(super) struct Taken {
    number: u64,
    pub(super) reader: OrphanReader,
}

impl OrphanPool {
    pub(super) fn new(root: Option<PathBuf>, names: Vec<Vec<String>>) -> Self {
        let count = names.len();
        Self {
            inner: Mutex::new(Inner {
                right: None,
                is_searching: false,
                held: BTreeMap::new(),
                next_number: 0,
                waiting: (0..count).map(|_| VecDeque::new()).collect(),
                in_hand: vec![None; count],
                refusing_since: vec![None; count],
                next_search: Instant::now(),
                backlogs: HashMap::new(),
                turns: HashMap::new(),
                unsaved: UnsavedPositions::default(),
                is_closed: root.is_none(),
            }),
            search: Mutex::default(),
            has_searched: AtomicBool::new(root.is_none()),
            is_space_short: AtomicBool::new(false),
            root,
            names,
        }
    }

    /// Continues the search for a short time, if there is room for more journals. Does nothing while another thread searches.
    pub(super) fn refill(&self) {
        let Some(root) = &self.root else { return };
        let mut search = match self.search.try_lock() {
            Ok(search) => search,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let begun = Instant::now();
        let may_begin = {
            let mut inner = lock(&self.inner);
            if inner.is_closed {
                return;
            }
            inner.release_stuck(begun);
            search.scan.is_none() && inner.may_begin(begun)
        };
        if may_begin {
            let scan = OrphanScan::begin(root);
            let mut inner = lock(&self.inner);
            let held: Vec<_> = inner.held.values().map(|held| held.orphan.path().to_owned()).collect();
            inner.is_searching = scan.is_ok();
            if scan.is_err() {
                inner.next_search = begun + ADOPT_PAUSE;
            }
            // Journals that are already held need not be found again.
            (search.scan, search.seen) = (scan.ok().map(|scan| scan.without(&held)), held);
            search.untrimmed = Untrimmed::begin(root).ok();
        }
        while search.scan.is_some() && lock(&self.inner).held.len() < MAX_HELD && begun.elapsed() < SEARCH_SLICE {
            self.search_on(&mut search);
        }
        self.trim(&mut search, root, begun);
        lock(&self.inner).give_right_back();
        self.has_searched.store(true, Ordering::Release);
    }

    /// Frees the unused space of dead journals that wait for their turn: until `begun` is a [`SEARCH_SLICE`] ago and, while space is
    /// short, for at most another one.
    fn trim(&self, search: &mut Search, root: &Path, begun: Instant) {
        let mut deadline = begun + SEARCH_SLICE;
        if self.is_space_short.load(Ordering::Relaxed) {
            deadline = Instant::now() + SEARCH_SLICE;
            if search.untrimmed.is_none() && search.next_trim.is_none_or(|next| next <= begun) {
                search.untrimmed = Untrimmed::begin(root).ok();
                search.next_trim = Some(begun + ADOPT_PAUSE);
            }
        }
        while Instant::now() < deadline
            && let Some(untrimmed) = &mut search.untrimmed
        {
            if untrimmed.free_next().is_none() {
                search.untrimmed = None;
            }
        }
    }

    /// Sets whether the unused space of dead journals is needed now.
    pub(super) fn set_space_short(&self, is_short: bool) {
        self.is_space_short.store(is_short, Ordering::Relaxed);
    }

    /// Examines the next journal of the search.
    fn search_on(&self, search: &mut Search) {
        let Some(scan) = &mut search.scan else { return };
        let found = scan.next(1);
        let is_complete = scan.is_done() && found.is_ok();
        let is_over = is_complete || found.is_err();
        for orphan in found.unwrap_or_default() {
            search.seen.push(orphan.path().to_owned());
            self.hold(orphan);
        }
        if is_over {
            search.scan = None;
            let mut inner = lock(&self.inner);
            inner.is_searching = false;
            inner.next_search = Instant::now() + ADOPT_EVERY.mul_f64(0.5 + 0.5 * fastrand::f64());
            let seen = std::mem::take(&mut search.seen);
            if is_complete {
                inner.backlogs.retain(|path, _| seen.contains(path));
                inner.turns.retain(|path, _| seen.contains(path));
                inner.unsaved.retain(|path| seen.iter().any(|seen| seen == path));
            }
        }
    }

    /// Holds a journal for the destinations that have not passed it. Deletes it if all have.
    fn hold(&self, orphan: Orphan) {
        let path = orphan.path().to_owned();
        orphan.free_unused_space();
        subscribe_all(&orphan, self.names.iter().filter_map(|names| names.first()));
        let mut readers = Vec::new();
        let mut backlogs = Vec::with_capacity(self.names.len());
        for (index, names) in self.names.iter().enumerate() {
            let mut backlog = Backlog::default();
            for name in names {
                // A journal that cannot be read now is found again by the next search.
                let Ok(Some(mut reader)) = orphan.reader(name) else { continue };
                lock(&self.inner).unsaved.resume(&mut reader);
                let left = reader.backlog();
                backlog.records += left.records;
                backlog.is_incomplete |= left.is_incomplete;
                backlog.oldest = backlog.oldest.into_iter().chain(left.oldest).min();
                if !orphan.is_owner_alive() || left.records > 0 {
                    readers.push((index, reader));
                }
            }
            backlogs.push(backlog);
        }
        if readers.is_empty() {
            let is_known = !orphan.is_owner_alive();
            let mut inner = lock(&self.inner);
            let is_gone = orphan.remove_if_passed(&inner.unsaved).unwrap_or(false);
            if is_gone {
                inner.backlogs.remove(&path);
            } else if is_known {
                inner.backlogs.insert(path, backlogs);
            }
            return;
        }
        let mut inner = lock(&self.inner);
        if inner.is_closed {
            return;
        }
        let number = inner.next_number;
        inner.next_number += 1;
        if !orphan.is_owner_alive() {
            inner.backlogs.insert(path, backlogs);
        }
        inner.held.insert(number, Held { orphan, open: readers.len(), taken: 0, moved: Instant::now() });
        for (index, reader) in readers {
            let turn = inner.turns.get(reader.journal()).copied();
            let waiting = &inner.waiting[index];
            let place = waiting.partition_point(|other| inner.turns.get(other.reader.journal()).copied() <= turn);
            inner.waiting[index].insert(place, Taken { number, reader });
        }
    }

    /// Takes the next journal for a destination.
    pub(super) fn take(&self, index: usize) -> Option<Taken> {
        let mut inner = lock(&self.inner);
        let taken = inner.waiting[index].pop_front()?;
        inner.in_hand[index] = Some(taken.number);
        if let Some(held) = inner.held.get_mut(&taken.number) {
            held.taken += 1;
        }
        Some(taken)
    }

    /// Advances a destination past a batch of a journal.
    pub(super) fn advance(&self, index: usize, taken: &mut Taken, batch: &Batch) {
        // If the position cannot be saved, `note_passed` keeps it.
        let _ = taken.reader.advance(batch);
        self.note_passed(index, taken, batch);
    }

    /// Records that the reader of a destination has advanced past a batch.
    pub(super) fn note_passed(&self, index: usize, taken: &Taken, batch: &Batch) {
        let mut inner = lock(&self.inner);
        inner.unsaved.note(&taken.reader);
        if let Some(held) = inner.held.get_mut(&taken.number) {
            held.moved = Instant::now();
        }
        if let Some(backlog) = inner.backlogs.get_mut(taken.reader.journal()).and_then(|all| all.get_mut(index)) {
            backlog.records = backlog.records.saturating_sub(batch.len() as u64 + batch.corrupt);
        }
    }

    /// Returns a journal to the pool. If the destination has not passed it (`is_done`), it waits for another turn.
    pub(super) fn give_back(&self, index: usize, taken: Taken, is_done: bool) {
        let mut inner = lock(&self.inner);
        let number = taken.number;
        inner.in_hand[index] = None;
        let Some(held) = inner.held.get_mut(&number) else { return };
        held.taken -= 1;
        if is_done {
            held.open -= 1;
            let is_finished = held.open == 0;
            if let Some(backlog) = inner.backlogs.get_mut(taken.reader.journal()).and_then(|all| all.get_mut(index)) {
                *backlog = Backlog::default();
            }
            if is_finished {
                inner.release(number);
            }
        } else {
            // The destination failed to deliver it, and tries the other journals first.
            held.moved = Instant::now();
            inner.turns.insert(taken.reader.journal().to_owned(), Instant::now());
            inner.waiting[index].push_back(taken);
        }
    }

    /// Releases the journal that a destination is reading, if any, because it cannot be read now or by this version, or because the
    /// thread panicked. The next search finds it again.
    pub(super) fn let_go(&self, index: usize) {
        let mut inner = lock(&self.inner);
        let number = inner.in_hand[index].take();
        if let Some(held) = number.and_then(|number| inner.held.get_mut(&number)) {
            // It stays open, so that it is not deleted. Without a waiting reader it will be released.
            held.taken -= 1;
        }
    }

    /// Sets whether a destination accepts anything now. If it has not for some seconds, journals are not held for it.
    pub(super) fn set_accepting(&self, index: usize, is_accepting: bool) {
        let now = Instant::now();
        let mut inner = lock(&self.inner);
        if !is_accepting {
            inner.refusing_since[index].get_or_insert(now);
        } else if inner.refusing_since[index].take().is_some_and(|since| is_long(since, now)) {
            // Find the journals that were released in the meantime.
            inner.search_soon();
        }
    }

    /// Searches for journals again as soon as possible, because one was just created.
    pub(super) fn search_soon(&self) {
        lock(&self.inner).search_soon();
    }

    /// The records that a destination has not passed, in the orphan journals found so far.
    pub(super) fn backlog(&self, index: usize) -> Backlog {
        let inner = lock(&self.inner);
        let all = inner.backlogs.values().filter_map(|all| all.get(index));
        all.fold(Backlog::default(), |sum, one| Backlog {
            records: sum.records + one.records,
            is_incomplete: sum.is_incomplete || one.is_incomplete,
            oldest: sum.oldest.into_iter().chain(one.oldest.filter(|_| one.records > 0)).min(),
        })
    }

    /// The events of orphan journals that some destination has not passed.
    pub(super) fn pending(&self) -> u64 {
        let inner = lock(&self.inner);
        inner.backlogs.values().filter_map(|all| all.iter().map(|one| one.records).max()).sum()
    }

    /// Whether the state directory was searched, at least in part.
    pub(super) fn has_searched(&self) -> bool {
        self.has_searched.load(Ordering::Acquire)
    }

    /// Whether a destination has journals to deliver, or the search may still find some.
    pub(super) fn may_have(&self, index: usize) -> bool {
        let inner = lock(&self.inner);
        !inner.is_closed && (!inner.waiting[index].is_empty() || inner.is_searching)
    }

    /// Whether no journal is held and the search is over. Starts a search that was postponed.
    #[cfg(test)]
    pub(super) fn is_finished(&self) -> bool {
        let inner = lock(&self.inner);
        inner.held.is_empty() && !inner.is_searching && inner.next_search > Instant::now() + ADOPT_PAUSE
    }

    /// Starts a search at once.
    #[cfg(test)]
    pub(super) fn search_now(&self) {
        lock(&self.inner).next_search = Instant::now();
    }

    /// Releases all journals for other processes. Readers that are in use stay locked until they are returned.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.is_closed = true;
        inner.is_searching = false;
        inner.waiting.iter_mut().for_each(VecDeque::clear);
        let Inner { held, unsaved, .. } = &mut *inner;
        for held in held.values() {
            unsaved.save(held.orphan.path());
        }
        inner.held.retain(|_, held| held.taken > 0);
        inner.give_right_back();
    }
}

/// Writes the list of destinations if neither it nor a cursor is left. The events then go to every destination from the beginning.
pub(super) fn subscribe_all<'a>(orphan: &Orphan, destinations: impl Iterator<Item = &'a String>) {
    if orphan.destinations().is_ok_and(|names| names.is_none()) {
        let _ = orphan.record_destinations(&destinations.cloned().collect::<Vec<_>>());
    }
}

/// Whether a destination has accepted nothing for so long that no journal is held for it.
fn is_long(refusing_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(refusing_since) >= REFUSING_FOR
}

impl Inner {
    /// Whether a search is due and this part of the process has the right to read orphan journals.
    fn may_begin(&mut self, now: Instant) -> bool {
        if now < self.next_search {
            return false;
        }
        self.is_searching = self.may_read();
        if !self.is_searching {
            self.next_search = now + ADOPT_PAUSE;
        }
        self.is_searching
    }

    /// Takes the right to read orphan journals, unless another part of this process has it.
    fn may_read(&mut self) -> bool {
        if self.right.is_none() {
            self.right = Adopting::begin();
        }
        self.right.is_some()
    }

    /// Gives up the right to read orphan journals while none is held.
    fn give_right_back(&mut self) {
        if self.held.is_empty() && !self.is_searching {
            self.right = None;
        }
    }

    fn search_soon(&mut self) {
        self.next_search = self.next_search.min(Instant::now() + ADOPT_PAUSE);
    }

    /// Releases journals whose remaining readers wait for destinations that accept nothing, or that have not advanced for long.
    fn release_stuck(&mut self, now: Instant) {
        let has_turn = |number: u64| {
            self.waiting.iter().zip(&self.refusing_since).any(|(waiting, refusing_since)| {
                refusing_since.is_none_or(|since| !is_long(since, now))
                    && waiting.iter().any(|taken| taken.number == number)
            })
        };
        let stuck: Vec<u64> = self
            .held
            .iter()
            .filter(|(number, held)| held.taken == 0 && (!has_turn(**number) || held.moved.elapsed() >= RELEASE_AFTER))
            .map(|(number, _)| *number)
            .collect();
        for number in stuck {
            self.release(number);
        }
    }

    /// Releases a journal. Deletes it if every destination has passed it.
    fn release(&mut self, number: u64) {
        self.waiting.iter_mut().for_each(|waiting| waiting.retain(|taken| taken.number != number));
        let Some(held) = self.held.remove(&number) else { return };
        let path = held.orphan.path().to_owned();
        self.unsaved.save(&path);
        if held.open == 0 && held.orphan.remove_if_passed(&self.unsaved).unwrap_or(false) {
            self.backlogs.remove(&path);
        }
        self.give_right_back();
    }
}

#[cfg(test)]
mod tests;
