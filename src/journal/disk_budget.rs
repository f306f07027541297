//! What the journals of a state directory may take of a disk, all together, and what is left for others.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock::lock;
use super::segment::{SEGMENT, index_of};
use crate::sys::fs::{allocated, list_dir, space};

/// Most bytes of segments that the journals of a state directory take.
pub const MAX_DISK_BUDGET: u64 = 512 << 20;
/// Journals on a small disk may still have this many segments.
const MIN_SEGMENTS: u64 = 3;
/// How long the bytes of other processes are believed to be what they were.
const BELIEVED: Duration = Duration::from_secs(1);
/// And when the budget is nearly used up: by so many segments.
const BELIEVED_WHEN_SHORT: Duration = Duration::from_millis(20);
const SHORT: u64 = 16 * SEGMENT as u64;

/// What segments on disk take and may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskBudget {
    /// Of this journal.
    own: u64,
    /// Of the other journals of the state directory, and of its quarantine.
    others: u64,
    limit: u64,
    /// Whether the file system has too little space left, whichever program filled it.
    is_disk_short: bool,
}

impl DiskBudget {
    /// Of the file system of `path`, where a journal takes `own` bytes, `others` take theirs, and all may take `limit`.
    pub(super) fn of(path: &Path, own: u64, others: u64, limit: Option<u64>) -> Self {
        const GIB: u64 = 1 << 30;
        let Some(space) = space(path) else {
            return Self { own, others, limit: limit.unwrap_or(MAX_DISK_BUDGET), is_disk_short: false };
        };
        // A share of what is free, so that other programs keep the greater part of a small or a full disk.
        let fair = ((space.free + own + others) / 20).clamp(MIN_SEGMENTS * SEGMENT as u64, MAX_DISK_BUDGET);
        let keep_free = GIB.min(space.total / 10);
        Self { own, others, limit: limit.unwrap_or(fair), is_disk_short: space.free < keep_free + SEGMENT as u64 }
    }

    /// Whether another segment may be made. A journal's first one may take a quarter more than the budget: a process that starts while
    /// another's backlog uses it up keeps its events on disk as well.
    pub(super) fn may_grow(self) -> bool {
        let reserve = if self.own == 0 { self.limit / 4 } else { 0 };
        self.own + self.others + SEGMENT as u64 <= self.limit.saturating_add(reserve) && !self.is_disk_short
    }

    /// Whether another segment could be made if this journal gave up some of its own: not on a disk that other programs filled, and not
    /// when other journals use up the budget.
    pub(super) fn eviction_helps(self) -> bool {
        !self.may_grow() && !self.is_disk_short && self.own > 0 && self.others + SEGMENT as u64 <= self.limit
    }

    /// What this journal may take.
    pub(super) fn own_limit(self) -> u64 {
        self.limit.saturating_sub(self.others)
    }

    fn is_nearly_used_up(self) -> bool {
        self.own + self.others + SHORT > self.limit
    }
}

/// What the journals of a state directory take but for one, asked for again when it may have changed.
#[derive(Default)]
pub(super) struct Others(Mutex<Option<(Instant, u64)>>);

impl Others {
    /// The budget of the journal in `own_dir`, which takes `own` bytes.
    pub(super) fn budget(&self, own_dir: &Path, own: u64, limit: Option<u64>) -> DiskBudget {
        let mut known = lock(&self.0);
        if let Some((at, others)) = *known {
            let budget = DiskBudget::of(own_dir, own, others, limit);
            let believed = if budget.is_nearly_used_up() { BELIEVED_WHEN_SHORT } else { BELIEVED };
            if at.elapsed() < believed {
                return budget;
            }
        }
        let others = own_dir.parent().map_or(0, |root| taken(root, Some(own_dir)));
        *known = Some((Instant::now(), others));
        DiskBudget::of(own_dir, own, others, limit)
    }
}

/// Bytes of all segments of the journals under `root`, but for those in one directory, and of the quarantine beside them. What cannot
/// be read now counts nothing.
pub(super) fn taken(root: &Path, but: Option<&Path>) -> u64 {
    let dirs = entries(root).filter(|(path, data)| data.is_dir() && Some(path.as_path()) != but);
    let segments = dirs.flat_map(|(dir, _)| entries(&dir).filter(|(path, _)| is_segment(path)).collect::<Vec<_>>());
    let in_journals: u64 = segments.map(|(_, data)| allocated(&data)).sum();
    in_journals + quarantined(root)
}

fn quarantined(root: &Path) -> u64 {
    root.parent().map_or(0, |state| entries(&state.join("quarantine")).map(|(_, data)| allocated(&data)).sum())
}

fn is_segment(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| index_of(name).is_some())
}

fn entries(dir: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = list_dir(dir).into_iter().flatten().flatten();
    // Of a link, this is the link's own.
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = SEGMENT as u64;

    fn budget(own: u64, others: u64, limit: u64) -> DiskBudget {
        DiskBudget { own: own * ONE, others: others * ONE, limit: limit * ONE, is_disk_short: false }
    }

    #[test]
    fn eviction_helps_only_where_it_makes_room() {
        assert!(budget(1, 1, 3).may_grow() && !budget(1, 1, 3).eviction_helps());
        assert!(!budget(2, 1, 3).may_grow() && budget(2, 1, 3).eviction_helps());
        assert!(!budget(1, 3, 3).eviction_helps(), "other journals have all of it");
        assert!(!budget(0, 2, 2).eviction_helps(), "nothing of its own");
        assert!(!DiskBudget { is_disk_short: true, ..budget(3, 0, 3) }.eviction_helps());
        assert_eq!(budget(1, 2, 3).own_limit(), ONE);
        assert!(DiskBudget { limit: u64::MAX, ..budget(0, 4, 4) }.may_grow(), "no limit");
        assert!(budget(0, 4, 4).may_grow() && !budget(1, 4, 4).may_grow() && !budget(0, 5, 4).may_grow());
    }
}
