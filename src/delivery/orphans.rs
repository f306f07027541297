//! The orphan journals of a state directory, shared out to the threads of this process's destinations.
//!
//! A journal is held while its events are delivered: it is locked, which takes two descriptors, so few are held at a time. Thousands of
//! journals are adopted within [`MOST_HELD`] times two descriptors. A journal whose remaining destinations accept nothing now is
//! released, so that it keeps no other from its turn; it comes again with the next search.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use super::lock::lock;
use super::timing::{ADOPT_EVERY, ADOPT_PAUSE, RELEASE_AFTER};
use crate::journal::{Adopting, Backlog, Batch, Orphan, OrphanReader, OrphanScan};

/// Journals that are held at a time.
const MOST_HELD: usize = 32;

/// What the destinations take orphan journals from.
pub(super) struct OrphanPool {
    root: Option<PathBuf>,
    /// The names of each destination's cursors, its own first.
    names: Vec<Vec<String>>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The right to read orphans, while any is held.
    right: Option<Adopting>,
    /// Journals of the search that goes on.
    scan: Option<OrphanScan>,
    held: BTreeMap<u64, Held>,
    next_number: u64,
    /// By destination, those it has not begun.
    waiting: Vec<VecDeque<Taken>>,
    is_accepting: Vec<bool>,
    next_search: Instant,
    has_searched: bool,
    /// What is left of journals, by directory and destination.
    backlogs: HashMap<PathBuf, Vec<Backlog>>,
    /// Journals seen by the search that goes on: what is known of others is forgotten at its end.
    seen: Vec<PathBuf>,
    is_closed: bool,
}

struct Held {
    orphan: Orphan,
    /// Readers that wait or were taken.
    open: usize,
    taken: usize,
    touched: Instant,
}

/// A reader that a destination has taken.
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
                scan: None,
                held: BTreeMap::new(),
                next_number: 0,
                waiting: (0..count).map(|_| VecDeque::new()).collect(),
                is_accepting: vec![true; count],
                next_search: Instant::now(),
                has_searched: root.is_none(),
                backlogs: HashMap::new(),
                seen: Vec::new(),
                is_closed: root.is_none(),
            }),
            root,
            names,
        }
    }

    /// Goes on with the search for journals, as far as there is room for more. Skipped while another thread does.
    pub(super) fn refill(&self) {
        let Some(root) = &self.root else { return };
        let Ok(mut inner) = self.inner.try_lock() else { return };
        if inner.is_closed {
            return;
        }
        inner.release_stuck();
        let now = Instant::now();
        if inner.scan.is_none() && now >= inner.next_search && !inner.begin_search(root) {
            inner.next_search = now + ADOPT_PAUSE;
            inner.has_searched = true;
        }
        while inner.scan.is_some() && inner.held.len() < MOST_HELD {
            self.next_page(&mut inner);
        }
        if inner.held.is_empty() && inner.scan.is_none() {
            inner.right = None;
        }
    }

    /// Takes the next journals of the search.
    fn next_page(&self, inner: &mut Inner) {
        let room = MOST_HELD - inner.held.len();
        let Some(scan) = &mut inner.scan else { return };
        let found = scan.next(room);
        let is_done = scan.is_done() || found.is_err();
        for orphan in found.unwrap_or_default() {
            self.hold(inner, orphan);
        }
        inner.has_searched = true;
        if is_done {
            inner.scan = None;
            inner.next_search = Instant::now() + ADOPT_EVERY.mul_f64(0.5 + 0.5 * fastrand::f64());
            let seen = std::mem::take(&mut inner.seen);
            inner.backlogs.retain(|path, _| seen.contains(path));
        }
    }

    /// Holds a journal for the destinations that have not passed it; one that all have passed is deleted.
    fn hold(&self, inner: &mut Inner, orphan: Orphan) {
        let path = orphan.path().to_owned();
        inner.seen.push(path.clone());
        if orphan.destinations().is_ok_and(|names| names.is_none()) {
            // Neither the record nor a cursor is left: the events are for every destination, from the beginning.
            let all: Vec<String> = self.names.iter().filter_map(|names| names.first().cloned()).collect();
            let _ = orphan.record_destinations(&all);
        }
        let number = inner.next_number;
        inner.next_number += 1;
        let mut open = 0;
        let mut backlogs = Vec::with_capacity(self.names.len());
        for (index, names) in self.names.iter().enumerate() {
            let mut backlog = Backlog::default();
            for name in names {
                // What cannot be read now comes again with the next search.
                let Ok(Some(reader)) = orphan.reader(name) else { continue };
                let left = reader.backlog();
                backlog.records += left.records;
                backlog.oldest = backlog.oldest.into_iter().chain(left.oldest).min();
                if !orphan.is_owner_alive() || left.records > 0 {
                    open += 1;
                    inner.waiting[index].push_back(Taken { number, reader });
                }
            }
            backlogs.push(backlog);
        }
        if !orphan.is_owner_alive() {
            inner.backlogs.insert(path.clone(), backlogs);
        }
        if open > 0 {
            inner.held.insert(number, Held { orphan, open, taken: 0, touched: Instant::now() });
        } else if orphan.remove_if_passed().unwrap_or(false) {
            inner.backlogs.remove(&path);
        }
    }

    /// The next journal for a destination.
    pub(super) fn take(&self, index: usize) -> Option<Taken> {
        let mut inner = lock(&self.inner);
        let taken = inner.waiting[index].pop_front()?;
        if let Some(held) = inner.held.get_mut(&taken.number) {
            held.taken += 1;
            held.touched = Instant::now();
        }
        Some(taken)
    }

    /// Says that a destination moved past a batch of a journal.
    pub(super) fn note_passed(&self, index: usize, taken: &Taken, batch: &Batch) {
        let mut inner = lock(&self.inner);
        if let Some(held) = inner.held.get_mut(&taken.number) {
            held.touched = Instant::now();
        }
        if let Some(backlog) = inner.backlogs.get_mut(taken.reader.journal()).and_then(|all| all.get_mut(index)) {
            backlog.records = backlog.records.saturating_sub(batch.len() as u64);
        }
    }

    /// Gives a journal back: `is_done` when the destination has all of it, else it waits for another turn.
    pub(super) fn give_back(&self, index: usize, taken: Taken, is_done: bool) {
        let mut inner = lock(&self.inner);
        let number = taken.number;
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
            inner.waiting[index].push_back(taken);
        }
    }

    /// Says whether a destination accepts anything now: while it does not, journals do not wait for it.
    pub(super) fn set_accepting(&self, index: usize, is_accepting: bool) {
        let mut inner = lock(&self.inner);
        if is_accepting && !std::mem::replace(&mut inner.is_accepting[index], is_accepting) {
            inner.search_soon();
        }
        inner.is_accepting[index] = is_accepting;
    }

    /// Looks for journals again as soon as may be: one was made just now.
    pub(super) fn search_soon(&self) {
        lock(&self.inner).search_soon();
    }

    /// What a destination has not passed of orphan journals, as far as they were seen.
    pub(super) fn backlog(&self, index: usize) -> Backlog {
        let inner = lock(&self.inner);
        let all = inner.backlogs.values().filter_map(|all| all.get(index));
        all.fold(Backlog::default(), |sum, one| Backlog {
            records: sum.records + one.records,
            oldest: sum.oldest.into_iter().chain(one.oldest.filter(|_| one.records > 0)).min(),
        })
    }

    /// Events of orphan journals that some destination has not passed.
    pub(super) fn pending(&self) -> u64 {
        let inner = lock(&self.inner);
        inner.backlogs.values().filter_map(|all| all.iter().map(|one| one.records).max()).sum()
    }

    /// Whether the state directory was looked through, or a first page of it.
    pub(super) fn has_searched(&self) -> bool {
        lock(&self.inner).has_searched
    }

    /// Whether a destination has journals to deliver, or may have.
    pub(super) fn may_have(&self, index: usize) -> bool {
        let inner = lock(&self.inner);
        !inner.is_closed && (!inner.waiting[index].is_empty() || inner.scan.is_some())
    }

    /// Whether no journal is held and the search is over; one that was put off is begun.
    #[cfg(test)]
    pub(super) fn is_finished(&self) -> bool {
        let inner = lock(&self.inner);
        inner.held.is_empty() && inner.scan.is_none() && inner.next_search > Instant::now() + ADOPT_PAUSE
    }

    /// Looks for journals at once.
    #[cfg(test)]
    pub(super) fn search_now(&self) {
        lock(&self.inner).next_search = Instant::now();
    }

    /// Releases everything, for other processes. Readers that are taken stay locked until they are given back.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.is_closed = true;
        inner.scan = None;
        inner.waiting.iter_mut().for_each(VecDeque::clear);
        inner.held.retain(|_, held| held.taken > 0);
        if inner.held.is_empty() {
            inner.right = None;
        }
    }
}

impl Inner {
    fn begin_search(&mut self, root: &Path) -> bool {
        if self.right.is_none() {
            self.right = Adopting::begin();
        }
        self.scan = self.right.as_ref().and_then(|_| OrphanScan::begin(root).ok());
        self.scan.is_some()
    }

    fn search_soon(&mut self) {
        self.next_search = self.next_search.min(Instant::now() + ADOPT_PAUSE);
    }

    /// Releases journals whose remaining readers wait for destinations that accept nothing, or that came no further for long.
    fn release_stuck(&mut self) {
        let has_turn = |number: u64| {
            self.waiting
                .iter()
                .zip(&self.is_accepting)
                .any(|(waiting, accepts)| *accepts && waiting.iter().any(|taken| taken.number == number))
        };
        let stuck: Vec<u64> = self
            .held
            .iter()
            .filter(|(number, held)| {
                held.taken == 0 && (!has_turn(**number) || held.touched.elapsed() >= RELEASE_AFTER)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in stuck {
            self.release(number);
        }
    }

    /// Lets a journal go; deletes it when every destination has passed it.
    fn release(&mut self, number: u64) {
        self.waiting.iter_mut().for_each(|waiting| waiting.retain(|taken| taken.number != number));
        let Some(held) = self.held.remove(&number) else { return };
        let path = held.orphan.path().to_owned();
        if held.open == 0 && held.orphan.remove_if_passed().unwrap_or(false) {
            self.backlogs.remove(&path);
        }
        if self.held.is_empty() && self.scan.is_none() {
            self.right = None;
        }
    }
}
