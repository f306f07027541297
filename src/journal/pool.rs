//! The segments of a journal: created ahead of writers, handed out in chunks, and released.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cursor::CursorFile;
use super::disk_budget::{DiskBudget, Others};
use super::owner::OwnedDir;
use super::segment::{Backend, HEAP_SEGMENT, Identity, Region, SEGMENT, Segment};
use super::segment_list::SegmentList;
use super::settings::{Settings, Tier};
use super::store::Store;
use super::trim::Untrimmed;
use super::view::View;
use crate::sys::fs::remove_file;
use crate::sys::mutex::lock;
use crate::sys::random::random_bytes;

/// The bytes of the ring in memory that is used if the disk is full or unusable.
pub(super) const MEMORY_BUDGET: usize = 8 << 20;

/// How long the first event of a process may wait for space that dead journals do not use.
const MAX_FREEING: Duration = Duration::from_millis(200);
/// How long a later event may wait for it.
const MAX_FREEING_AGAIN: Duration = Duration::from_millis(20);
/// The shortest time until the next attempt, if one found no space.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Attempts take at most this part of the time.
const ATTEMPT_SHARE: u32 = 20;

/// The segments that writers claim from.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) current: Option<Arc<Segment>>,
    pub(super) spares: VecDeque<Arc<Segment>>,
    next_index: u64,
}

/// The search for space that dead journals do not use.
#[derive(Default)]
pub(super) struct SpaceSearch {
    /// The journals that were not examined yet, if the last attempt took too long.
    untrimmed: Option<Untrimmed>,
    /// When the next attempt may begin, if the last one found no space.
    next: Option<Instant>,
    /// When segments in memory may be copied to the disk again, if that failed.
    pub(super) next_copy: Option<Instant>,
}

/// The destinations that are left to other processes while this one lives.
#[derive(Default)]
pub(super) struct HandOff {
    pub(super) destinations: Vec<String>,
    /// The serial of the directory in which this was recorded.
    of_dir: Option<u64>,
}

/// The source and the list of all segments.
pub(super) struct Pool {
    pub(super) settings: Settings,
    pub(super) stream: [u8; 16],
    /// Held while a segment is created, so that indexes come into use in order.
    pub(super) making: Mutex<SpaceSearch>,
    pub(super) queue: Mutex<Queue>,
    pub(super) views: Mutex<Vec<View>>,
    pub(super) dir: Mutex<Option<OwnedDir>>,
    /// Incremented when the directory changes.
    pub(super) dir_serial: AtomicU64,
    /// The list of the segments in the current directory.
    pub(super) list: Mutex<Option<SegmentList>>,
    others: Others,
    pub(super) disk_segments: AtomicU64,
    pub(super) memory_segments: AtomicUsize,
    is_mapping_trusted: AtomicBool,
    pub(super) is_closed: AtomicBool,
    pub(super) hand_off: Mutex<HandOff>,
    /// Whether events are kept in memory although there is a directory: the budget or the disk has no space for a segment.
    is_out_of_space: AtomicBool,
    /// Chunks claimed since the last call of `maintain`.
    pub(super) chunks_claimed: AtomicUsize,
    /// Segments that only a writer held when it left them. Dropping one unmaps it, which the maintenance does.
    left: Mutex<Vec<Arc<Segment>>>,
}

/// The most segments that wait to be unmapped, in case there is no maintenance.
const MAX_LEFT: usize = 4;

impl SpaceSearch {
    fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }
}

impl Pool {
    pub(super) fn open(settings: Settings) -> Self {
        let pool = Self {
            settings,
            stream: random_bytes(),
            making: Mutex::default(),
            queue: Mutex::default(),
            views: Mutex::default(),
            dir: Mutex::default(),
            dir_serial: AtomicU64::new(0),
            list: Mutex::default(),
            others: Others::default(),
            disk_segments: AtomicU64::new(0),
            memory_segments: AtomicUsize::new(0),
            is_mapping_trusted: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
            hand_off: Mutex::default(),
            is_out_of_space: AtomicBool::new(false),
            chunks_claimed: AtomicUsize::new(0),
            left: Mutex::default(),
        };
        pool.make_dir();
        pool
    }

    /// Releases the chunk of a writer, without a system call if possible.
    pub(super) fn leave(&self, region: Option<Region>) {
        let Some(segment) = region.as_ref().map(|region| Arc::clone(region.segment())) else { return };
        drop(region);
        if Arc::strong_count(&segment) == 1
            && let Ok(mut left) = self.left.try_lock()
            && left.len() < MAX_LEFT
        {
            left.push(segment);
        }
    }

    /// Unmaps the segments that writers left.
    pub(super) fn drop_left(&self) {
        let left = std::mem::take(&mut *lock(&self.left));
        drop(left);
    }

    /// Claims a chunk to write: of the current segment, of a spare one, of a new one, or of one in memory.
    pub(super) fn claim(&self, now: u64) -> Option<Region> {
        if let Some(region) = self.claim_prepared() {
            return Some(region);
        }
        let mut making = lock(&self.making);
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        // The previous holder of the lock may have created a segment.
        if let Some(region) = self.claim_prepared() {
            return Some(region);
        }
        let on_disk = self.make_segment(now, &mut making);
        if on_disk.is_none() {
            self.is_out_of_space.store(lock(&self.dir).is_some(), Ordering::Relaxed);
        }
        let segment = on_disk.or_else(|| self.make_memory_segment())?;
        lock(&self.queue).spares.push_back(segment);
        self.claim_prepared()
    }

    fn claim_prepared(&self) -> Option<Region> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(region) = queue.current.as_ref().and_then(Segment::claim) {
                self.chunks_claimed.fetch_add(1, Ordering::Relaxed);
                return Some(region);
            }
            let next = queue.spares.pop_front()?;
            self.begin_in(&mut queue, next);
        }
    }

    /// Creates a segment on disk; `None` if there is no directory, no budget or no space.
    fn make_segment(&self, now: u64, search: &mut SpaceSearch) -> Option<Arc<Segment>> {
        let path = lock(&self.dir).as_ref()?.path().to_owned();
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        if !(self.disk_budget()?.may_grow() || self.finds_space(search)) {
            return None;
        }
        let trusted = self.is_mapping_trusted.load(Ordering::Relaxed);
        let backend = if trusted { self.settings.backend } else { Backend::Written };
        let segment = Segment::create(&path, self.next_identity(), backend, now).ok()?;
        self.is_out_of_space.store(false, Ordering::Relaxed);
        self.disk_segments.fetch_add(1, Ordering::Relaxed);
        if let Some(list) = &mut *lock(&self.list) {
            list.add(segment.index);
        }
        Some(Arc::new(segment))
    }

    /// Frees the unused space of dead journals until there is space for a segment. Returns whether there is now.
    ///
    /// The search for orphan journals does the same, but processes that are killed within a second never come to it. Without this,
    /// fifty of them would use up the budget, and the events of all that follow would be in memory only.
    pub(super) fn finds_space(&self, search: &mut SpaceSearch) -> bool {
        let begun = Instant::now();
        let Some(root) = self.settings.root.as_deref().filter(|_| search.is_due(begun)) else { return false };
        let is_first = lock(&self.queue).next_index == 0;
        let patience = if is_first { MAX_FREEING } else { MAX_FREEING_AGAIN };
        let mut untrimmed = search.untrimmed.take().or_else(|| Untrimmed::begin(root).ok());
        let may_grow = || self.disk_budget().is_some_and(DiskBudget::may_grow);
        let found = loop {
            let Some(freed) = untrimmed.as_mut().and_then(Untrimmed::free_next) else {
                // Other processes may have freed the space in the meantime.
                self.others.measure_again();
                break may_grow();
            };
            self.others.subtract(freed);
            if freed > 0 && may_grow() {
                break true;
            }
            if begun.elapsed() >= patience {
                search.untrimmed = untrimmed;
                break false;
            }
        };
        search.next = (!found).then(|| begun + begun.elapsed() + RETRY_AFTER.max(ATTEMPT_SHARE * begun.elapsed()));
        found
    }

    /// Whether events are kept in memory because the disk or the budget has no space for a segment.
    #[inline]
    pub(super) fn is_out_of_space(&self) -> bool {
        self.is_out_of_space.load(Ordering::Relaxed)
    }

    /// Tries again to create a segment on disk while events are kept in memory, if an attempt is due. If this returns true, writers
    /// must release their regions.
    pub(super) fn return_to_disk(&self, now: u64) -> bool {
        let Ok(mut making) = self.making.try_lock() else { return false };
        let begun = Instant::now();
        if !making.is_due(begun) {
            return false;
        }
        let Some(segment) = self.make_segment(now, &mut making) else {
            making.next = making.next.max(Some(begun + RETRY_AFTER));
            return false;
        };
        self.go_on_in(segment);
        true
    }

    /// Goes on in a segment on disk after some in memory, which are sealed once their writers have left them.
    fn go_on_in(&self, segment: Arc<Segment>) {
        let mut queue = lock(&self.queue);
        queue.spares.push_back(segment);
        while let Some(current) = queue.current.as_ref().filter(|current| current.path.is_none()) {
            current.retire();
            let Some(next) = queue.spares.pop_front() else { return };
            self.begin_in(&mut queue, next);
        }
    }

    /// Lets writers claim from a segment. From now on, readers see it.
    fn begin_in(&self, queue: &mut Queue, segment: Arc<Segment>) {
        lock(&self.views).push(View::Live(Arc::clone(&segment)));
        queue.current = Some(segment);
    }

    fn make_memory_segment(&self) -> Option<Arc<Segment>> {
        if self.is_memory_used_up() {
            return None;
        }
        self.memory_segments.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Segment::in_memory(self.next_identity())))
    }

    fn next_identity(&self) -> Identity {
        let mut queue = lock(&self.queue);
        queue.next_index += 1;
        Identity { index: queue.next_index, stream: self.stream }
    }

    pub(super) fn make_dir(&self) {
        let Some(root) = &self.settings.root else { return };
        let made = OwnedDir::create(root, &self.settings.destinations)
            .or_else(|_| OwnedDir::create(root, &self.settings.destinations));
        if let Ok(dir) = made {
            // The list is optional: without it, a segment deleted by another program is not noticed.
            *lock(&self.list) = SegmentList::create(dir.path()).ok();
            *lock(&self.dir) = Some(dir);
            self.dir_serial.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Leaves delivery to some destinations to other processes, in this directory and in one that replaces it.
    pub(super) fn hand_off(&self, destinations: &[String]) -> io::Result<()> {
        *lock(&self.hand_off) = HandOff { destinations: destinations.to_vec(), of_dir: None };
        self.renew_hand_off()
    }

    /// Records in a new directory what is left to other processes.
    pub(super) fn renew_hand_off(&self) -> io::Result<()> {
        let mut hand_off = lock(&self.hand_off);
        let serial = self.dir_serial.load(Ordering::Acquire);
        if hand_off.destinations.is_empty() || hand_off.of_dir == Some(serial) {
            return Ok(());
        }
        let dir = lock(&self.dir);
        dir.as_ref().map_or(Err(io::ErrorKind::NotFound.into()), |dir| dir.hand_off(&hand_off.destinations))?;
        hand_off.of_dir = Some(serial);
        Ok(())
    }

    /// Whether the current directory records what is left to other processes.
    pub(super) fn is_handed_off(&self) -> bool {
        lock(&self.hand_off).of_dir == Some(self.dir_serial.load(Ordering::Acquire))
    }

    pub(super) fn prepare(&self, ahead: usize, now: u64) {
        let mut ready = self.ready();
        while let Some(current) = ready.first() {
            let is_memory = current.path.is_none();
            let on_disk = ready.iter().filter(|segment| segment.path.is_some());
            let left: usize = on_disk.map(|segment| segment.chunks() - segment.claimed()).sum();
            if left >= ahead {
                break;
            }
            let mut making = lock(&self.making);
            let Some(segment) = self.make_segment(now, &mut making) else { break };
            // If the current one is in memory, the disk is usable again.
            self.go_on_in(segment);
            ready = self.ready();
            if is_memory {
                break;
            }
        }
        let mut wanted = ahead;
        for segment in ready {
            let claimed = segment.claimed();
            if segment.populate(claimed + wanted).is_err() {
                // The file system cannot provide the pages. From now on, write through files.
                self.is_mapping_trusted.store(false, Ordering::Relaxed);
                segment.retire();
            }
            wanted = wanted.saturating_sub(segment.chunks() - claimed);
        }
    }

    /// The segments from which writers claim chunks, in order; none before the first event.
    fn ready(&self) -> Vec<Arc<Segment>> {
        let queue = lock(&self.queue);
        queue.current.iter().chain(queue.spares.iter().filter(|_| queue.current.is_some())).cloned().collect()
    }

    /// Deletes the spare segments, and truncates the others after their last record. Called when no writer has a region.
    pub(super) fn free_unused_space(&self) {
        let spares = std::mem::take(&mut lock(&self.queue).spares);
        if let Some(list) = &mut *lock(&self.list) {
            list.remove(spares.iter().map(|segment| segment.index));
        }
        for path in spares.iter().filter_map(|segment| segment.path.as_ref()) {
            self.disk_segments.fetch_sub(1, Ordering::Relaxed);
            let _ = remove_file(path);
        }
        for view in &*lock(&self.views) {
            if let View::Live(segment) = view {
                segment.cut_off_rest();
            }
        }
    }

    /// Releases the directory after the journal was closed: deletes it if everything `is_delivered`, else leaves it to be adopted.
    pub(super) fn finish(&self, is_delivered: bool, is_small: bool) {
        let Some(dir) = lock(&self.dir).take() else { return };
        if is_delivered {
            dir.remove();
        } else if is_small {
            // The file of a cursor at the beginning can be truncated. On a full disk it then cannot be saved, so that events come again
            // if the process that delivers them is killed. The space of a large journal's cursor is kept.
            for destination in &self.settings.destinations {
                let _ = CursorFile::shrink(&dir.path().join(CursorFile::name(destination)));
            }
        }
    }

    /// How many bytes segments on disk take and may take; `None` without a directory.
    pub(super) fn disk_budget(&self) -> Option<DiskBudget> {
        let path = lock(&self.dir).as_ref()?.path().to_owned();
        let own = self.disk_segments.load(Ordering::Relaxed) * SEGMENT as u64;
        Some(self.others.budget(&path, own, self.settings.budget))
    }

    /// The bytes of segments in memory.
    pub(super) fn memory(&self) -> usize {
        self.memory_segments.load(Ordering::Relaxed) * HEAP_SEGMENT
    }

    /// Whether there is no room in memory for another segment.
    pub(super) fn is_memory_used_up(&self) -> bool {
        self.memory() + HEAP_SEGMENT > MEMORY_BUDGET
    }

    /// How safe newly appended records are.
    pub(super) fn tier(&self) -> Tier {
        let queue = lock(&self.queue);
        match queue.current.as_ref().map(|segment| &segment.store) {
            Some(Store::Mapped { .. }) => Tier::Mapped,
            Some(Store::Heap(_)) => Tier::Memory,
            None if lock(&self.dir).is_none() => Tier::Memory,
            None if cfg!(target_os = "linux") && self.settings.backend == Backend::Mapped => Tier::Mapped,
            Some(Store::Written(_)) | None => Tier::Written,
        }
    }

    /// The current directory.
    pub(super) fn path(&self) -> Option<PathBuf> {
        lock(&self.dir).as_ref().map(|dir| dir.path().to_owned())
    }

    /// Abandons a directory that another program deleted, so that new events are safe again. The events in it are still delivered
    /// from the open files while the process lives. If this returns true, writers must release their regions.
    pub(super) fn leave_lost_dir(&self) -> bool {
        let mut dir = lock(&self.dir);
        if dir.as_ref().is_none_or(OwnedDir::is_linked) {
            return false;
        }
        *dir = None;
        drop(dir);
        *lock(&self.list) = None;
        let mut queue = lock(&self.queue);
        queue.current.iter().chain(&queue.spares).for_each(|segment| segment.retire());
        let on_disk = queue.spares.iter().filter(|segment| segment.path.is_some()).count();
        self.disk_segments.fetch_sub(on_disk as u64, Ordering::Relaxed);
        queue.spares.clear();
        drop(queue);
        true
    }

    /// The index of the segment that is being written.
    pub(super) fn current(&self) -> Option<u64> {
        lock(&self.queue).current.as_ref().map(|segment| segment.index)
    }

    /// Stops creating segments and retires unclaimed chunks. Waits for a segment that is being created.
    pub(super) fn close(&self) {
        let _making = lock(&self.making);
        self.is_closed.store(true, Ordering::Release);
        let queue = lock(&self.queue);
        queue.current.iter().chain(&queue.spares).for_each(|segment| segment.retire());
    }
}
