//! The journal of a process. Several writers append to it, each in its own chunk.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::disk_budget::DiskBudget;
use super::pool::Pool;
use super::record;
use super::segment::{CHUNK, CHUNKS, Region, SEGMENT};
use super::settings::{AppendError, Counts, Settings, Tier};
use crate::sys::mutex::lock;

/// Chunks that are kept ready for idle writers: 1 MiB.
const MIN_CHUNKS_AHEAD: usize = 16;

/// A journal of so many bytes is delivered in a few batches, so that its cursor hardly moves before the journal is deleted.
const SMALL: u64 = 1 << 20;

/// A writer. One thread uses it at a time.
#[derive(Default)]
struct Shard<S> {
    region: Option<Region>,
    frame: Vec<u8>,
    /// State that the user of the journal keeps per writer.
    scratch: S,
    /// The sequence of the next record.
    sequence: u64,
}

/// Aligned to two cache lines, so that neighbours do not slow each other down.
#[repr(align(128))]
#[derive(Default)]
struct AlignedShard<S> {
    shard: Mutex<Shard<S>>,
    /// Written by the thread that holds the shard, and read without locking it, so that reading the counts does not make writers
    /// switch chunks.
    appended: AtomicU64,
    appended_bytes: AtomicU64,
    refused: AtomicU64,
}

impl<S: Default> AlignedShard<S> {
    fn new(writer: u8) -> Self {
        let shard = Shard { sequence: record::first_sequence(writer), ..Shard::default() };
        Self { shard: Mutex::new(shard), ..Self::default() }
    }
}

/// Adds to a count that only one thread writes at a time.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// The journal of one process. `S` is the state that its user keeps per writer. All writers are created with the journal.
pub struct Journal<S> {
    shards: Box<[AlignedShard<S>]>,
    pub(super) pool: Pool,
    pub(super) damaged: Mutex<BTreeSet<u64>>,
    pub(super) corrupt: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) is_handed_off: AtomicBool,
}

impl<S: Default> Journal<S> {
    /// Opens a journal. It never fails: the journal appends to disk if possible, and else to memory.
    #[must_use]
    pub fn open(settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            shards: (0..(2 * cores).clamp(4, 64)).map(|writer| AlignedShard::new(writer as u8)).collect(),
            pool: Pool::open(settings),
            damaged: Mutex::default(),
            corrupt: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_handed_off: AtomicBool::new(false),
        }
    }
}

impl<S> Journal<S> {
    /// Appends one record. `write` appends the payload to the given bytes, whose first 32 are reserved. It also gets the state of the
    /// writer, which no other thread uses at that time.
    ///
    /// # Errors
    /// [`AppendError::Full`] if neither the disk nor memory has space (this is counted), [`AppendError::Closed`], and
    /// [`AppendError::TooLarge`] for more than [`MAX_PAYLOAD`] bytes.
    pub fn append<R>(&self, now: u64, write: impl FnOnce(&mut Vec<u8>, &mut S) -> R) -> Result<R, AppendError> {
        let (home, mut guard) = self.shard();
        let shard = &mut *guard;
        shard.frame.clear();
        shard.frame.resize(record::HEADER, 0);
        let answer = write(&mut shard.frame, &mut shard.scratch);
        let payload = shard.frame.len() - record::HEADER;
        if record::framed_length(payload) > CHUNK {
            return Err(AppendError::TooLarge { payload });
        }
        if self.pool.is_out_of_space() && self.pool.return_to_disk(now) {
            shard.region = None;
            self.release_idle_regions(true);
        }
        // Two attempts: if a file cannot be written, the second one uses memory.
        for _ in 0..2 {
            // Two claims: the first chunk of a segment has less space, because it holds the header.
            for _ in 0..2 {
                if shard.region.as_ref().is_none_or(|region| !region.has_room(payload)) {
                    self.pool.leave(shard.region.take());
                    shard.region = self.pool.claim(now);
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
        if self.pool.is_closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        add(&home.refused, 1);
        Err(AppendError::Full)
    }

    /// The calling thread's shard, or the next free one.
    fn shard(&self) -> (&AlignedShard<S>, MutexGuard<'_, Shard<S>>) {
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

    /// Does the background work of appending: prepares pages and a spare segment, seals the chunks of idle writers, replaces a
    /// directory that was deleted, and creates one when a disk is usable again. Returns how many chunks were claimed since the last
    /// call. Call it every few milliseconds while several are, and less often otherwise.
    pub fn maintain(&self, now: u64) -> usize {
        if self.pool.is_closed.load(Ordering::Acquire) {
            return 0;
        }
        self.pool.drop_left();
        if self.pool.leave_lost_dir() {
            self.release_idle_regions(true);
        }
        if lock(&self.pool.dir).is_none() {
            self.pool.make_dir();
        }
        // If this fails, the next round tries again.
        let _ = self.pool.renew_hand_off();
        let claimed = self.pool.chunks_claimed.swap(0, Ordering::Relaxed);
        // While chunks are being used up, keep a whole spare segment ready, or four times the chunks of a round if that is more.
        let ahead = if claimed > 1 { CHUNKS.max(4 * claimed) + MIN_CHUNKS_AHEAD } else { MIN_CHUNKS_AHEAD };
        self.pool.prepare(ahead, now);
        self.release_idle_regions(false);
        self.pool.copy_memory_to_disk(now, false);
        claimed
    }

    /// Takes chunks back from writers: those of segments that are no longer current, or `all` of them.
    pub(super) fn release_idle_regions(&self, all: bool) {
        let current = self.pool.current();
        for shard in &self.shards {
            if let Ok(mut shard) = shard.shard.try_lock() {
                let is_idle = |region: &Region| all || Some(region.segment().index) != current;
                if shard.region.as_ref().is_some_and(is_idle) {
                    shard.region = None;
                }
            }
        }
    }

    /// Stops writing. All segments are sealed, and nothing more can be appended.
    pub fn close(&self) {
        self.pool.close();
        // No lock of the pool is held here, because a writer that holds its shard may be waiting for it.
        self.shards.iter().for_each(|shard| lock(&shard.shard).region = None);
        self.pool.free_unused_space();
    }

    /// Copies the events that are only in memory to the disk, if it has space. Called once, after [`Journal::close`].
    pub fn save_memory(&self, now: u64) {
        self.pool.copy_memory_to_disk(now, true);
    }

    /// Releases the directory after [`Journal::close`]: deletes it if everything `is_delivered`, else leaves it to be adopted.
    pub fn finish(&self, is_delivered: bool) {
        self.pool.finish(is_delivered, self.counts().appended_bytes <= SMALL);
    }

    /// The bytes that this journal's segments may currently take on disk; `None` without a disk. Queries the file system.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        self.pool.disk_budget().map(DiskBudget::own_limit)
    }

    /// Whether the disk budget is half used up, to a large part by other journals. Queries the file system.
    #[must_use]
    pub fn is_space_short(&self) -> bool {
        self.pool.disk_budget().is_some_and(DiskBudget::is_short_because_of_others)
    }

    /// Leaves delivery to some of its destinations to other processes while this one lives.
    ///
    /// # Errors
    /// I/O errors, and `NotFound` without a directory.
    pub fn hand_off(&self, destinations: &[String]) -> std::io::Result<()> {
        self.is_handed_off.store(true, Ordering::Relaxed);
        self.pool.hand_off(destinations)
    }

    /// Whether other processes can see what [`Journal::hand_off`] left to them. False while the directory is missing or cannot be
    /// written.
    #[must_use]
    pub fn is_handed_off(&self) -> bool {
        self.pool.is_handed_off()
    }

    /// Whether events are kept in memory although there is a directory, because the disk or the budget has no space for a segment.
    /// Costs one load.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.pool.is_out_of_space()
    }

    /// How safe newly appended records are.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.pool.tier()
    }

    /// The current counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            disk_bytes: self.pool.disk_segments.load(Ordering::Relaxed) * SEGMENT as u64,
            memory_bytes: self.pool.memory() as u64,
            corrupt: self.corrupt.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for shard in &self.shards {
            counts.appended += shard.appended.load(Ordering::Relaxed);
            counts.appended_bytes += shard.appended_bytes.load(Ordering::Relaxed);
            counts.refused += shard.refused.load(Ordering::Relaxed);
        }
        counts
    }

    /// The current directory.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.pool.path()
    }
}
