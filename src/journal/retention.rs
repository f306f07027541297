//! Retention: segments are kept until every reader has passed them, as long as the budget allows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::cursor::Position;
use super::disk_budget::DiskBudget;
use super::pool::MEMORY_BUDGET;
use super::quarantine;
use super::scan::{Writer, count};
use super::segment::{CHUNKS, Segment};
use super::view::View;
use super::writer::Journal;
use crate::sys::fs::remove_file;
use crate::sys::mutex::lock;

impl<S> Journal<S> {
    pub(super) fn note_damage(&self, batch: &Batch) {
        if batch.corrupt > 0 {
            self.count_damage(batch);
            lock(&self.damaged).extend(batch.damaged());
        }
    }

    /// Counts the damaged and missing records of a batch from any journal.
    pub fn count_damage(&self, batch: &Batch) {
        self.corrupt.fetch_add(batch.corrupt, Ordering::Relaxed);
        self.lost.fetch_add(batch.lost, Ordering::Relaxed);
    }

    /// Deletes the segments that every reader has passed, and unmaps the sealed ones.
    pub fn reclaim(&self, positions: &[&Position]) {
        if positions.is_empty() {
            // Without readers, everything is kept for readers that may come.
            return;
        }
        let mut passed = Vec::new();
        let linked = self.sealed_and_linked();
        let mut views = lock(&self.pool.views);
        views.retain_mut(|view| {
            if let View::Live(segment) = view
                && linked.contains(&segment.index)
                && let Some(path) = segment.path.clone()
            {
                *view = View::File { index: segment.index, path, is_expected: true };
            }
            // A live segment without a path is in memory. One whose file was deleted is read from the open file to the end.
            let is_sealed = !matches!(view, View::Live(segment) if !segment.is_sealed());
            if is_sealed && positions.iter().all(|position| view.is_passed_by(position)) {
                passed.push(view.clone());
                return false;
            }
            true
        });
        drop(views);
        for view in &passed {
            self.discard(view);
        }
    }

    /// Evicts the oldest segment that some reader has not passed. This is the last resort, used when the budget and half of the
    /// memory ring are used up or, without a disk, when the whole memory ring is. `positions` are those of the readers. Returns how
    /// many records and bytes each reader loses, or `None` if nothing was evicted, because it is not necessary or because it would
    /// not help (others filled the disk).
    pub fn evict(&self, positions: &[&Position]) -> Option<Vec<(u64, u64)>> {
        if positions.is_empty() || self.is_handed_off.load(Ordering::Relaxed) || !self.is_in_need() {
            return None;
        }
        let helps = self.pool.disk_budget().is_some_and(DiskBudget::eviction_helps);
        let may_go = |view: &View| helps || (view.path().is_none() && self.pool.is_memory_used_up());
        let oldest = {
            let mut views = lock(&self.pool.views);
            let place = views.iter().position(|view| match view {
                View::File { .. } => true,
                View::Live(segment) => segment.path.is_none() && segment.is_sealed(),
            })?;
            if !may_go(&views[place]) {
                return None;
            }
            views.remove(place)
        };
        let lost = |position: &&Position| {
            let lost = count(std::slice::from_ref(&oldest), position, Writer::This);
            (lost.records, lost.bytes)
        };
        let lost = positions.iter().map(lost).collect();
        self.discard(&oldest);
        Some(lost)
    }

    /// The indexes of the sealed segments whose files exist; none if other processes deliver them. The files are queried without the lock,
    /// for which writers would wait.
    fn sealed_and_linked(&self) -> Vec<u64> {
        if self.is_handed_off.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let is_sealed = |view: &View| match view {
            View::Live(segment) if segment.is_sealed() => Some(Arc::clone(segment)),
            View::Live(_) | View::File { .. } => None,
        };
        let sealed: Vec<_> = lock(&self.pool.views).iter().filter_map(is_sealed).collect();
        sealed.iter().filter(|segment| segment.store.is_linked()).map(|segment| segment.index).collect()
    }

    /// Whether half of the memory ring is used, the segment that is being written is nearly full, and no other is ready.
    fn is_in_need(&self) -> bool {
        let is_last = self.pool.is_memory_used_up();
        let queue = lock(&self.pool.queue);
        let is_running_out = |segment: &Arc<Segment>| {
            let left = segment.chunks() - segment.claimed();
            let is_memory = segment.path.is_none();
            left <= CHUNKS / 8 || (is_memory && is_last)
        };
        2 * self.pool.memory() >= MEMORY_BUDGET
            && queue.spares.is_empty()
            && queue.current.as_ref().is_some_and(is_running_out)
    }

    /// The number of records that are only in memory and that a reader has not passed: the maximum over all readers.
    #[must_use]
    pub fn unread_in_memory(&self, positions: &[&Position]) -> u64 {
        let views = lock(&self.pool.views);
        let in_memory: Vec<_> = views.iter().filter(|view| view.path().is_none()).cloned().collect();
        drop(views);
        let unread = |position: &&Position| count(&in_memory, position, Writer::This).records;
        // Without readers, all of them count.
        positions.iter().map(unread).max().unwrap_or_else(|| unread(&&Position::default()))
    }

    /// Deletes a segment that no reader needs.
    fn discard(&self, view: &View) {
        let Some(path) = view.path() else {
            self.pool.memory_segments.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        if lock(&self.damaged).remove(&view.index())
            && let Some(root) = &self.pool.settings.root
        {
            quarantine::keep(root, path);
        }
        if let Some(list) = &mut *lock(&self.pool.list) {
            list.remove([view.index()]);
        }
        self.pool.disk_segments.fetch_sub(1, Ordering::Relaxed);
        let _ = remove_file(path);
    }

    /// Whether every reader has passed everything, after the journal was closed.
    #[must_use]
    pub fn is_drained(&self, positions: &[&Position]) -> bool {
        let views = lock(&self.pool.views);
        views.iter().all(|view| positions.iter().all(|position| view.is_passed_by(position)))
    }
}
