//! The journal: a queue on disk that is its own write-ahead log.
//!
//! Writers append records to chunks of mapped segments; each destination reads them with a cursor of its own; a segment is
//! deleted when every cursor has passed it. What was appended survives the death of the process, because the kernel holds the
//! page, and is found again from the segments alone.
//!
//! Invariants:
//! - A record is visible when its commit is; below a chunk's committed mark no byte changes.
//! - Appending makes no system call and waits for no disk, except when no prepared segment is left.
//! - Segments get their index in the order in which they come into use, so a cursor's floor never passes one that will be used.
//! - Locks are taken in the order shard, making, pool, views, and none is held while a segment is made but `making`. Nothing
//!   made before a fork is used after it: the child leaves it all alone and makes its own (see [`crate::sys::fork`]).
//!
//! The journal knows bytes: neither events nor destinations. [`record`], [`segment`], [`cursor`] and [`owner`] state the formats.

mod batch;
mod cursor;
mod disk_budget;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod lock;
mod orphans;
mod owner;
mod probe;
pub mod quarantine;
mod reader;
mod record;
mod retention;
mod scan;
mod segment;
mod segment_file;
mod segment_list;
mod store;
mod view;

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use batch::Batch;
pub use cursor::Position;
pub use disk_budget::MAX_DISK_BUDGET;
#[cfg(test)]
pub(crate) use orphans::adopt_all;
pub use orphans::{Backlog, OrphanReader};
pub use owner::{Adopting, Orphan, OrphanScan, subscribers};
pub use probe::probe;
pub use reader::Reader;
pub use scan::Counted;
pub use segment::Backend;

use crate::event::id::IdSource;
use cursor::CursorFile;
use disk_budget::{DiskBudget, Others};
use lock::lock;
use owner::{OwnedDir, random_bytes};
use scan::{Owner, read_batch};
use segment::{CHUNK, CHUNKS, HEAP_SEGMENT, Identity, Region, SEGMENT, Segment};
use segment_list::SegmentList;
use store::Store;
use view::View;

/// Most bytes of a record's payload.
pub const MAX_PAYLOAD: usize = CHUNK - record::HEADER;
/// Bytes of the ring in memory, for when the disk is full or there is none.
const MEMORY_BUDGET: usize = 8 << 20;
/// Chunks kept ready ahead of idle writers: 1 MiB.
const MIN_CHUNKS_AHEAD: usize = 16;

/// What a journal is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all journals; `None` keeps events in memory.
    pub root: Option<PathBuf>,
    /// How segments are written.
    pub backend: Backend,
    /// Most bytes that all journals under `root` take on disk; `None` for the lesser of 512 MiB and a twentieth of the free space.
    pub budget: Option<u64>,
    /// The destinations that will read.
    pub destinations: Vec<String>,
}

/// How safe what is appended now is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// In a mapped file: survives the death of the process.
    Mapped,
    /// Written to a file: survives the death of the process.
    Written,
    /// In memory: lost with the process.
    Memory,
}

impl Tier {
    /// Its name in `stats()`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Written => "written",
            Self::Memory => "memory",
        }
    }
}

/// Why a record was not appended.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// No segment could be had: the disk or the budget is full, and the ring in memory too.
    #[error("the journal is full")]
    Full,
    /// The journal was closed; another one has to take it.
    #[error("the journal is closed")]
    Closed,
    /// A record has to fit a chunk.
    #[error("a record of {payload} bytes is too large for the journal: at most {MAX_PAYLOAD} fit a chunk")]
    TooLarge {
        /// Bytes of its payload.
        payload: usize,
    },
}

/// Counts of one journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records appended.
    pub appended: u64,
    /// Records refused because no space was left.
    pub refused: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// Bytes of segments in memory.
    pub memory_bytes: u64,
    /// Bytes of records appended.
    pub appended_bytes: u64,
    /// Records that were damaged or lost after they were appended.
    pub corrupt: u64,
}

/// A place to write for one thread at a time.
#[derive(Default)]
struct Shard {
    region: Option<Region>,
    frame: Vec<u8>,
    /// Seeded with the journal, so that the first event of a shard asks the system for nothing.
    ids: IdSource,
    /// Of the next record.
    sequence: u64,
}

/// Aligned to a pair of cache lines, so that neighbours do not slow each other down.
#[repr(align(128))]
#[derive(Default)]
struct AlignedShard {
    shard: Mutex<Shard>,
    /// Written by whoever holds the shard, and read without it: who counts is not to send a writer to another chunk.
    appended: AtomicU64,
    appended_bytes: AtomicU64,
    refused: AtomicU64,
}

impl AlignedShard {
    fn new(writer: u8) -> Self {
        let shard = Shard { sequence: record::first_sequence(writer), ..Shard::default() };
        Self { shard: Mutex::new(shard), ..Self::default() }
    }
}

/// Adds to a count that nobody else writes at this time.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// Where segments come from.
struct Pool {
    current: Option<Arc<Segment>>,
    spares: VecDeque<Arc<Segment>>,
    next_index: u64,
}

/// One process's journal.
pub struct Journal {
    settings: Settings,
    stream: [u8; 16],
    shards: Box<[AlignedShard]>,
    /// Held while a segment is made, so that indexes come into use in order.
    making: Mutex<()>,
    pool: Mutex<Pool>,
    views: Mutex<Vec<View>>,
    dir: Mutex<Option<OwnedDir>>,
    /// Of the segments in that directory.
    list: Mutex<Option<SegmentList>>,
    others: Others,
    /// Changes when the directory does.
    dir_serial: AtomicU64,
    damaged: Mutex<BTreeSet<u64>>,
    disk_segments: AtomicU64,
    memory_segments: AtomicUsize,
    corrupt: AtomicU64,
    is_mapping_trusted: AtomicBool,
    is_handed_off: AtomicBool,
    is_closed: AtomicBool,
    chunks_claimed: AtomicUsize,
}

impl Journal {
    /// A journal that appends to disk where it can and to memory where it cannot: opening never fails.
    #[must_use]
    pub fn open(settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let journal = Self {
            stream: random_bytes(),
            shards: (0..(2 * cores).clamp(4, 64)).map(|writer| AlignedShard::new(writer as u8)).collect(),
            making: Mutex::default(),
            pool: Mutex::new(Pool { current: None, spares: VecDeque::new(), next_index: 0 }),
            views: Mutex::default(),
            dir: Mutex::default(),
            list: Mutex::default(),
            others: Others::default(),
            dir_serial: AtomicU64::new(0),
            damaged: Mutex::default(),
            disk_segments: AtomicU64::new(0),
            memory_segments: AtomicUsize::new(0),
            corrupt: AtomicU64::new(0),
            is_mapping_trusted: AtomicBool::new(true),
            is_handed_off: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            chunks_claimed: AtomicUsize::new(0),
            settings,
        };
        journal.make_dir();
        journal
    }

    /// Appends one record. `write` appends the payload to the bytes it is given, whose first 32 are not its own.
    ///
    /// # Errors
    /// [`AppendError::Full`] when neither disk nor memory has room, which is counted, [`AppendError::Closed`], and
    /// [`AppendError::TooLarge`] for more than [`MAX_PAYLOAD`] bytes.
    pub fn append<R>(&self, now: u64, write: impl FnOnce(&mut Vec<u8>, &mut IdSource) -> R) -> Result<R, AppendError> {
        let (home, mut guard) = self.shard();
        let shard = &mut *guard;
        shard.frame.clear();
        shard.frame.resize(record::HEADER, 0);
        let answer = write(&mut shard.frame, &mut shard.ids);
        let payload = shard.frame.len() - record::HEADER;
        if record::framed_length(payload) > CHUNK {
            return Err(AppendError::TooLarge { payload });
        }
        // Two rounds: a file that cannot be written makes way for memory.
        for _ in 0..2 {
            // Two claims: the first chunk of a segment has less room, for the segment's header.
            for _ in 0..2 {
                if shard.region.as_ref().is_none_or(|region| !region.has_room(payload)) {
                    shard.region = None;
                    shard.region = self.claim(now);
                }
            }
            let Some(region) = shard.region.as_mut().filter(|region| region.has_room(payload)) else { break };
            record::seal(&mut shard.frame, region.seed(), shard.sequence, now);
            if region.append(&shard.frame, shard.sequence).is_ok() {
                shard.sequence += 1;
                add(&home.appended, 1);
                add(&home.appended_bytes, shard.frame.len() as u64);
                return Ok(answer);
            }
            region.segment().retire();
            shard.region = None;
            shard.frame.truncate(record::HEADER + payload);
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        add(&home.refused, 1);
        Err(AppendError::Full)
    }

    /// The calling thread's shard, or the next that is free.
    fn shard(&self) -> (&AlignedShard, MutexGuard<'_, Shard>) {
        thread_local!(static HOME: Cell<usize> = const { Cell::new(usize::MAX) });
        static NEXT_HOME: AtomicUsize = AtomicUsize::new(0);
        let mut home = HOME.try_with(Cell::get).unwrap_or(0);
        if home == usize::MAX {
            home = NEXT_HOME.fetch_add(1, Ordering::Relaxed);
            let _ = HOME.try_with(|cell| cell.set(home));
        }
        let count = self.shards.len();
        for step in 0..count {
            let aligned = &self.shards[(home + step) % count];
            match aligned.shard.try_lock() {
                Ok(guard) => return (aligned, guard),
                Err(std::sync::TryLockError::Poisoned(error)) => return (aligned, error.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => {}
            }
        }
        let aligned = &self.shards[home % count];
        (aligned, lock(&aligned.shard))
    }

    /// A chunk to write: of the current segment, of a spare, of one made now, or of one in memory.
    fn claim(&self, now: u64) -> Option<Region> {
        if let Some(region) = self.claim_prepared() {
            return Some(region);
        }
        let _making = lock(&self.making);
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        // Whoever held the lock before may have made one.
        if let Some(region) = self.claim_prepared() {
            return Some(region);
        }
        let segment = self.make_segment(now).or_else(|| self.make_memory_segment())?;
        lock(&self.pool).spares.push_back(segment);
        self.claim_prepared()
    }

    fn claim_prepared(&self) -> Option<Region> {
        let mut pool = lock(&self.pool);
        loop {
            if let Some(region) = pool.current.as_ref().and_then(Segment::claim) {
                self.chunks_claimed.fetch_add(1, Ordering::Relaxed);
                return Some(region);
            }
            let next = pool.spares.pop_front()?;
            lock(&self.views).push(View::Live(Arc::clone(&next)));
            pool.current = Some(next);
        }
    }

    /// Makes a segment on disk; `None` when there is no directory, no budget or no space.
    fn make_segment(&self, now: u64) -> Option<Arc<Segment>> {
        let path = lock(&self.dir).as_ref()?.path().to_owned();
        if self.is_closed.load(Ordering::Acquire) || !self.disk_budget()?.may_grow() {
            return None;
        }
        let trusted = self.is_mapping_trusted.load(Ordering::Relaxed);
        let backend = if trusted { self.settings.backend } else { Backend::Written };
        let segment = Segment::create(&path, self.next_identity(), backend, now).ok()?;
        self.disk_segments.fetch_add(1, Ordering::Relaxed);
        if let Some(list) = &mut *lock(&self.list) {
            list.add(segment.index);
        }
        Some(Arc::new(segment))
    }

    fn make_memory_segment(&self) -> Option<Arc<Segment>> {
        if self.is_memory_used_up() {
            return None;
        }
        self.memory_segments.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Segment::in_memory(self.next_identity())))
    }

    fn next_identity(&self) -> Identity {
        let mut pool = lock(&self.pool);
        pool.next_index += 1;
        Identity { index: pool.next_index, stream: self.stream }
    }

    fn make_dir(&self) {
        let Some(root) = &self.settings.root else { return };
        let made = OwnedDir::create(root, &self.settings.destinations)
            .or_else(|_| OwnedDir::create(root, &self.settings.destinations));
        if let Ok(dir) = made {
            // Without a list, a segment that is deleted from outside is not missed.
            *lock(&self.list) = SegmentList::create(dir.path()).ok();
            *lock(&self.dir) = Some(dir);
            self.dir_serial.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Does what appending leaves to the background: keeps pages and a spare segment ready, seals what idle writers hold,
    /// finds a new directory when the old one was deleted, and one at all when a disk came back. To be called every few
    /// milliseconds while it answers `true`, for then chunks are being used up, and less often otherwise.
    pub fn tend(&self, now: u64) -> bool {
        if self.is_closed.load(Ordering::Acquire) {
            return false;
        }
        self.leave_lost_dir();
        if lock(&self.dir).is_none() {
            self.make_dir();
        }
        let claimed = self.chunks_claimed.swap(0, Ordering::Relaxed);
        // While chunks are used up, a whole spare segment stands by, and more than what four such rounds would take.
        let ahead = if claimed > 1 { CHUNKS.max(4 * claimed) + MIN_CHUNKS_AHEAD } else { MIN_CHUNKS_AHEAD };
        self.prepare(ahead, now);
        self.release_idle_regions(false);
        claimed > 0
    }

    fn prepare(&self, ahead: usize, now: u64) {
        let mut ready = self.ready();
        while let Some(current) = ready.first() {
            let is_memory = current.path.is_none();
            let on_disk = ready.iter().filter(|segment| segment.path.is_some());
            let left: usize = on_disk.map(|segment| segment.chunks() - segment.claimed()).sum();
            if left >= ahead {
                break;
            }
            let _making = lock(&self.making);
            let Some(segment) = self.make_segment(now) else { break };
            if is_memory {
                // A disk is there again: what is still unclaimed in memory is given up for it.
                ready.iter().filter(|segment| segment.path.is_none()).for_each(|segment| segment.retire());
            }
            lock(&self.pool).spares.push_back(segment);
            ready = self.ready();
            if is_memory {
                break;
            }
        }
        let mut wanted = ahead;
        for segment in ready {
            let claimed = segment.claimed();
            if segment.populate(claimed + wanted).is_err() {
                // The file system cannot give its pages: write through files from now on.
                self.is_mapping_trusted.store(false, Ordering::Relaxed);
                segment.retire();
            }
            wanted = wanted.saturating_sub(segment.chunks() - claimed);
        }
    }

    /// The segments that writers claim from, in order; none before the first event.
    fn ready(&self) -> Vec<Arc<Segment>> {
        let pool = lock(&self.pool);
        pool.current.iter().chain(pool.spares.iter().filter(|_| pool.current.is_some())).cloned().collect()
    }

    /// Takes chunks back from writers: those of segments that are no longer current, or `all` of them.
    fn release_idle_regions(&self, all: bool) {
        let current = lock(&self.pool).current.as_ref().map(|segment| segment.index);
        for shard in &self.shards {
            if let Ok(mut shard) = shard.shard.try_lock() {
                let is_idle = |region: &Region| all || Some(region.segment().index) != current;
                if shard.region.as_ref().is_some_and(is_idle) {
                    shard.region = None;
                }
            }
        }
    }

    /// Leaves a directory that something deleted, so that new events are safe again. Those in it are still delivered, from open
    /// files, as long as the process lives.
    fn leave_lost_dir(&self) {
        let mut dir = lock(&self.dir);
        if dir.as_ref().is_none_or(OwnedDir::is_linked) {
            return;
        }
        *dir = None;
        drop(dir);
        *lock(&self.list) = None;
        let mut pool = lock(&self.pool);
        pool.current.iter().chain(&pool.spares).for_each(|segment| segment.retire());
        let on_disk = pool.spares.iter().filter(|segment| segment.path.is_some()).count();
        self.disk_segments.fetch_sub(on_disk as u64, Ordering::Relaxed);
        pool.spares.clear();
        drop(pool);
        self.release_idle_regions(true);
    }

    /// Ends writing: everything is sealed, and nothing is appended any more.
    pub fn close(&self) {
        {
            // What is being made is waited for, and nothing is made after it.
            let _making = lock(&self.making);
            self.is_closed.store(true, Ordering::Release);
            let pool = lock(&self.pool);
            pool.current.iter().chain(&pool.spares).for_each(|segment| segment.retire());
        }
        // Without that lock: a writer that holds its shard may be waiting for it.
        self.shards.iter().for_each(|shard| lock(&shard.shard).region = None);
        self.give_space_back();
    }

    /// Deletes the segments that were made ahead, and cuts the others behind their last record. Called when no writer has a region.
    fn give_space_back(&self) {
        let spares = std::mem::take(&mut lock(&self.pool).spares);
        if let Some(list) = &mut *lock(&self.list) {
            list.remove(spares.iter().map(|segment| segment.index));
        }
        for path in spares.iter().filter_map(|segment| segment.path.as_ref()) {
            self.disk_segments.fetch_sub(1, Ordering::Relaxed);
            let _ = std::fs::remove_file(path);
        }
        for view in &*lock(&self.views) {
            if let View::Live(segment) = view {
                segment.cut_off_rest();
            }
        }
    }

    /// Gives the directory up after [`Journal::close`]: deletes it when everything `is_delivered`, else leaves it to be adopted.
    pub fn finish(&self, is_delivered: bool) {
        let Some(dir) = lock(&self.dir).take() else { return };
        if is_delivered {
            dir.remove();
        } else {
            // A cursor at the beginning needs no file of its full size.
            for destination in &self.settings.destinations {
                let _ = CursorFile::shrink(&dir.path().join(CursorFile::name(destination)));
            }
        }
    }

    /// What segments on disk take and may take; `None` without a directory.
    fn disk_budget(&self) -> Option<DiskBudget> {
        let path = lock(&self.dir).as_ref()?.path().to_owned();
        let own = self.disk_segments.load(Ordering::Relaxed) * SEGMENT as u64;
        Some(self.others.budget(&path, own, self.settings.budget))
    }

    /// Bytes that this journal's segments may take on disk now; `None` without a disk. Asks the file system.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        self.disk_budget().map(DiskBudget::own_limit)
    }

    /// Bytes of segments in memory.
    fn memory(&self) -> usize {
        self.memory_segments.load(Ordering::Relaxed) * HEAP_SEGMENT
    }

    /// Whether memory has no room for another segment.
    fn is_memory_used_up(&self) -> bool {
        self.memory() + HEAP_SEGMENT > MEMORY_BUDGET
    }

    /// Leaves delivery to some of its destinations to other processes while this one lives.
    ///
    /// # Errors
    /// Those of the operating system, and `NotFound` without a directory.
    pub fn hand_off(&self, destinations: &[String]) -> std::io::Result<()> {
        self.is_handed_off.store(true, Ordering::Relaxed);
        lock(&self.dir).as_ref().map_or(Err(std::io::ErrorKind::NotFound.into()), |dir| dir.hand_off(destinations))
    }

    /// How safe what is appended now is.
    #[must_use]
    pub fn tier(&self) -> Tier {
        let pool = lock(&self.pool);
        match pool.current.as_ref().map(|segment| &segment.store) {
            Some(Store::Mapped { .. }) => Tier::Mapped,
            Some(Store::Heap(_)) => Tier::Memory,
            None if lock(&self.dir).is_none() => Tier::Memory,
            None if cfg!(target_os = "linux") && self.settings.backend == Backend::Mapped => Tier::Mapped,
            Some(Store::Written(_)) | None => Tier::Written,
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            disk_bytes: self.disk_segments.load(Ordering::Relaxed) * SEGMENT as u64,
            memory_bytes: self.memory() as u64,
            corrupt: self.corrupt.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for shard in &self.shards {
            counts.appended += shard.appended.load(Ordering::Relaxed);
            counts.appended_bytes += shard.appended_bytes.load(Ordering::Relaxed);
            counts.refused += shard.refused.load(Ordering::Relaxed);
        }
        counts
    }

    /// The directory it writes to now.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        lock(&self.dir).as_ref().map(|dir| dir.path().to_owned())
    }
}

#[cfg(test)]
mod tests;
