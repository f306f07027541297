//! Copies segments in memory to the disk, once it has space again.
//!
//! A copy has the index of its segment, so positions in it stay valid. Its file gets its name when it is complete. If the process is
//! killed before, the events are lost with its memory; if it is killed after, the events are in the file only.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::disk_budget::DiskBudget;
use super::pool::Pool;
use super::view::View;
use crate::sys::fs::remove_file;
use crate::sys::mutex::lock;

/// The time until the next attempt after a segment could not be copied.
const COPY_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Pool {
    /// Copies the sealed segments in memory to the disk while it has space, so that their events survive the death of the process.
    /// After the journal was closed, only if this is the `last` time.
    pub(super) fn copy_memory_to_disk(&self, now: u64, is_last: bool) {
        // Writers may wait for the lock, so it is released after each segment.
        while self.memory_segments.load(Ordering::Relaxed) > 0 && self.copies_a_segment(now, is_last) {}
    }

    /// Copies the oldest sealed segment in memory to the disk. Returns whether there was one, and space for it.
    fn copies_a_segment(&self, now: u64, is_last: bool) -> bool {
        let mut making = lock(&self.making);
        // A process that delivers for this one passes what it does not see. It would not see a segment that comes later.
        let hand_off = lock(&self.hand_off);
        let may_try = is_last || making.next_copy.is_none_or(|next| next <= Instant::now());
        if !hand_off.destinations.is_empty() || !may_try || (self.is_closed.load(Ordering::Acquire) && !is_last) {
            return false;
        }
        let in_memory = |view: &View| match view {
            View::Live(segment) if segment.path.is_none() && segment.is_sealed() => Some(Arc::clone(segment)),
            View::Live(_) | View::File { .. } => None,
        };
        let oldest = lock(&self.views).iter().find_map(in_memory);
        let (Some(dir), Some(segment)) = (self.path(), oldest) else { return false };
        if !(self.disk_budget().is_some_and(DiskBudget::may_grow) || self.finds_space(&mut making)) {
            return false;
        }
        let Ok(path) = segment.copy_to_file(&dir, self.stream, now) else {
            making.next_copy = Some(Instant::now() + COPY_AGAIN_AFTER);
            return false;
        };
        let index = segment.index;
        if let Some(list) = &mut *lock(&self.list) {
            list.add(index);
        }
        let mut views = lock(&self.views);
        if let Some(view) = views.iter_mut().find(|view| view.index() == index) {
            // Counted before another thread can delete it.
            self.disk_segments.fetch_add(1, Ordering::Relaxed);
            self.memory_segments.fetch_sub(1, Ordering::Relaxed);
            *view = View::File { index, path, is_expected: true };
        } else {
            // Every destination has passed it in the meantime.
            drop(views);
            if let Some(list) = &mut *lock(&self.list) {
                list.remove([index]);
            }
            let _ = remove_file(&path);
        }
        true
    }
}
