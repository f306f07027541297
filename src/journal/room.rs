//! What a journal may take of a disk, and what is left for others.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::segment::{HEAP_SEGMENT, SEGMENT};
use super::{Journal, MAX_DISK_BUDGET, MEMORY_BUDGET, lock};
use crate::sys::fs::space;

/// A journal on a small disk may still have this many segments.
const MIN_SEGMENTS: u64 = 3;

/// What segments on disk take and may take.
#[derive(Clone, Copy)]
pub(super) struct Room {
    used: u64,
    limit: u64,
    /// Whether the file system has not enough left, whoever filled it.
    is_disk_short: bool,
}

impl Room {
    /// Of the file system of `path`, where a journal takes `used` bytes and may take `budget`.
    pub(super) fn of(path: &Path, used: u64, budget: Option<u64>) -> Self {
        const GIB: u64 = 1 << 30;
        let Some(space) = space(path) else {
            return Self { used, limit: budget.unwrap_or(MAX_DISK_BUDGET), is_disk_short: false };
        };
        // A share of what is free, so that others keep the greater part of a small or a full disk.
        let fair = ((space.free + used) / 20).clamp(MIN_SEGMENTS * SEGMENT as u64, MAX_DISK_BUDGET);
        let keep_free = GIB.min(space.total / 10);
        Self { used, limit: budget.unwrap_or(fair), is_disk_short: space.free < keep_free + SEGMENT as u64 }
    }

    pub(super) fn may_grow(self) -> bool {
        self.used + SEGMENT as u64 <= self.limit && !self.is_disk_short
    }

    /// Whether segments less make room for another: on a disk that others filled, they do not.
    pub(super) fn would_gain(self) -> bool {
        !self.is_disk_short && self.used + SEGMENT as u64 > self.limit
    }
}

impl Journal {
    /// What segments on disk may take; `None` without a directory.
    pub(super) fn room(&self) -> Option<Room> {
        let path = lock(&self.dir).as_ref()?.path().to_owned();
        let used = self.disk_segments.load(Ordering::Relaxed) * SEGMENT as u64;
        Some(Room::of(&path, used, self.settings.budget))
    }

    /// Bytes of segments in memory.
    pub(super) fn memory(&self) -> usize {
        self.memory_segments.load(Ordering::Relaxed) * HEAP_SEGMENT
    }

    /// Whether memory has no room for another segment.
    pub(super) fn is_memory_used_up(&self) -> bool {
        self.memory() + HEAP_SEGMENT > MEMORY_BUDGET
    }

    /// Bytes that segments may take on disk now; `None` without a disk. Asks the file system.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        self.room().map(|room| room.limit)
    }
}
