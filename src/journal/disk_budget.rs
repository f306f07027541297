//! The disk budget of all journals of a state directory, and the space left for other programs.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::segment::{SEGMENT, index_of};
use crate::sys::fs::{allocated, list_dir, space};
use crate::sys::mutex::lock;

/// The most bytes that the segments of all journals of a state directory take.
pub const MAX_DISK_BUDGET: u64 = 512 << 20;
/// Even on a small disk, journals may have this many segments.
const MIN_SEGMENTS: u64 = 3;
/// How long the measured bytes of other processes are used.
const REMEASURE_AFTER: Duration = Duration::from_secs(1);
/// The same, if fewer than `SHORT` bytes of the budget are left.
const REMEASURE_AFTER_WHEN_SHORT: Duration = Duration::from_millis(20);
const SHORT: u64 = 16 * SEGMENT as u64;

/// How many bytes segments on disk take, and how many they may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskBudget {
    /// The bytes of this journal.
    own: u64,
    /// The bytes of the other journals of the state directory and of its quarantine.
    others: u64,
    limit: u64,
    /// Whether the file system has too little free space, because of any program.
    is_disk_short: bool,
}

impl DiskBudget {
    /// The budget on the file system of `path`. This journal takes `own` bytes, the others take `others`, and all may take `limit`.
    pub(super) fn of(path: &Path, own: u64, others: u64, limit: Option<u64>) -> Self {
        const GIB: u64 = 1 << 30;
        let Some(space) = space(path) else {
            return Self { own, others, limit: limit.unwrap_or(MAX_DISK_BUDGET), is_disk_short: false };
        };
        // A share of the free space, so that most of it is left to other programs.
        let fair = ((space.free + own + others) / 20).clamp(MIN_SEGMENTS * SEGMENT as u64, MAX_DISK_BUDGET);
        let keep_free = GIB.min(space.total / 10);
        Self { own, others, limit: limit.unwrap_or(fair), is_disk_short: space.free < keep_free + SEGMENT as u64 }
    }

    /// Whether another segment may be created. The first segment of a journal may exceed the budget by a quarter, so that a new
    /// process keeps its events on disk even if the backlog of another one uses up the budget.
    pub(super) fn may_grow(self) -> bool {
        let reserve = if self.own == 0 { self.limit / 4 } else { 0 };
        self.own + self.others + SEGMENT as u64 <= self.limit.saturating_add(reserve) && !self.is_disk_short
    }

    /// Whether evicting segments of this journal would make room for another one. It does not if other programs filled the disk, or
    /// if other journals use up the budget.
    pub(super) fn eviction_helps(self) -> bool {
        !self.may_grow() && !self.is_disk_short && self.own > 0 && self.others + SEGMENT as u64 <= self.limit
    }

    /// The bytes that this journal may take.
    pub(super) fn own_limit(self) -> u64 {
        self.limit.saturating_sub(self.others)
    }

    /// Whether unused space in other journals could soon be missed: more than half of the budget is used up, or the disk is nearly
    /// full, and other journals take more than a quarter.
    pub(super) fn is_short_because_of_others(self) -> bool {
        let is_short = self.own + self.others > self.limit / 2 || self.is_disk_short;
        is_short && self.others > self.limit / 4
    }

    fn is_nearly_used_up(self) -> bool {
        self.own + self.others + SHORT > self.limit
    }
}

/// The bytes that the other journals of a state directory take, measured again when they may have changed.
#[derive(Default)]
pub(super) struct Others(Mutex<Option<(Instant, u64)>>);

impl Others {
    /// Forgets the measured bytes, because other processes may have changed them.
    pub(super) fn measure_again(&self) {
        *lock(&self.0) = None;
    }

    /// Subtracts bytes that this process has just freed, instead of measuring anew.
    pub(super) fn subtract(&self, freed: u64) {
        if let Some((at, others)) = &mut *lock(&self.0) {
            *at = Instant::now();
            *others = others.saturating_sub(freed);
        }
    }

    /// The budget of the journal in `own_dir`, which takes `own` bytes.
    pub(super) fn budget(&self, own_dir: &Path, own: u64, limit: Option<u64>) -> DiskBudget {
        let mut known = lock(&self.0);
        if let Some((at, others)) = *known {
            let budget = DiskBudget::of(own_dir, own, others, limit);
            let valid_for = if budget.is_nearly_used_up() { REMEASURE_AFTER_WHEN_SHORT } else { REMEASURE_AFTER };
            if at.elapsed() < valid_for {
                return budget;
            }
        }
        let others = own_dir.parent().map_or(0, |root| taken(root, Some(own_dir)));
        *known = Some((Instant::now(), others));
        DiskBudget::of(own_dir, own, others, limit)
    }
}

/// The bytes of the segments of all journals under `root`, except those in the directory `but`, and of the quarantine beside them.
/// Files that cannot be read now count as zero.
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
    // For a link, these are the metadata of the link itself.
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
    fn eviction_helps_only_if_it_makes_room() {
        assert!(budget(1, 1, 3).may_grow() && !budget(1, 1, 3).eviction_helps());
        assert!(!budget(2, 1, 3).may_grow() && budget(2, 1, 3).eviction_helps());
        assert!(!budget(1, 3, 3).eviction_helps(), "other journals have all of it");
        assert!(!budget(0, 2, 2).eviction_helps(), "nothing of its own");
        assert!(!DiskBudget { is_disk_short: true, ..budget(3, 0, 3) }.eviction_helps());
        assert_eq!(budget(1, 2, 3).own_limit(), ONE);
        assert!(budget(2, 3, 8).is_short_because_of_others() && !budget(1, 3, 8).is_short_because_of_others());
        assert!(!budget(6, 2, 8).is_short_because_of_others(), "its own backlog");
        assert!(DiskBudget { limit: u64::MAX, ..budget(0, 4, 4) }.may_grow(), "no limit");
        assert!(budget(0, 4, 4).may_grow() && !budget(1, 4, 4).may_grow() && !budget(0, 5, 4).may_grow());
    }
}
