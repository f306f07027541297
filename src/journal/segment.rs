//! Segments: files of chunks, each chunk claimed by one writer at a time.
//!
//! ```text
//! segment   4 MiB = 64 chunks of 64 KiB
//! chunk 0   one page of segment header, then records; every other chunk: records from its first byte
//! header    "TAXIJRNL" | version u32 = 1 | chunk size u32 | segment length u64 | index u64 | stream id 16 bytes
//!           | created u64, nanoseconds since the epoch | CRC-32 of all before u32
//! ```
//!
//! A chunk is written front to back and never again. So the bytes below a chunk's committed mark never change, chunks are read
//! independently of each other, and a writer that stops leaves a hole in its own chunk only. A file is made under a temporary
//! name and renamed when its header is in it: a segment with its name is valid, whenever its maker died.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::record::framed_length;
use super::store::Store;
use crate::sys::fs::{create_private_file, open_private, read_at, write_at};
use crate::sys::mmap::map;

/// Bytes of a chunk: some 250 events, so that claiming one is rare.
pub(super) const CHUNK: usize = 64 * 1024;
/// Chunks of a segment on disk.
pub(super) const CHUNKS: usize = 64;
/// Bytes of a segment on disk: small enough to be made in milliseconds and to free space as it is delivered.
pub(super) const SEGMENT: usize = CHUNK * CHUNKS;
/// Bytes of a segment in memory: eight of them are the memory ring.
pub(super) const HEAP_SEGMENT: usize = 16 * CHUNK;
/// Bytes of the header, one page.
const HEADER: usize = 4096;
const MAGIC: &[u8; 8] = b"TAXIJRNL";
const VERSION: u32 = 1;
const HEADER_FIELDS: usize = 56;

/// How segments on disk are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Through a map; the default where there is one.
    Mapped,
    /// Through the file.
    Written,
}

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) index: u64,
    pub(super) stream: [u8; 16],
}

impl Identity {
    /// Where the checksums of its records begin.
    fn seed(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.stream);
        hasher.update(&self.index.to_le_bytes());
        hasher.finalize()
    }

    fn header(&self, created: u64) -> [u8; HEADER] {
        let mut page = [0; HEADER];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&(CHUNK as u32).to_le_bytes());
        page[16..24].copy_from_slice(&(SEGMENT as u64).to_le_bytes());
        page[24..32].copy_from_slice(&self.index.to_le_bytes());
        page[32..48].copy_from_slice(&self.stream);
        page[48..56].copy_from_slice(&created.to_le_bytes());
        let crc = crc32fast::hash(&page[..HEADER_FIELDS]);
        page[HEADER_FIELDS..HEADER_FIELDS + 4].copy_from_slice(&crc.to_le_bytes());
        page
    }
}

/// Where records begin in a chunk.
pub(super) const fn first_record(chunk: usize) -> usize {
    if chunk == 0 { HEADER } else { 0 }
}

/// The file name of a segment.
pub(super) fn file_name(index: u64) -> String {
    format!("{index:016x}.seg")
}

/// The index in a segment's file name.
pub(super) fn index_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".seg")?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok()).flatten()
}

/// A segment that this process writes.
pub(super) struct Segment {
    pub(super) index: u64,
    pub(super) seed: u32,
    /// `None` in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) store: Store,
    chunks: usize,
    claimed: AtomicU32,
    populated: AtomicU32,
    /// Regions that writers hold.
    open: AtomicU32,
    committed: [AtomicU32; CHUNKS],
}

impl Segment {
    /// Makes a segment file.
    ///
    /// # Errors
    /// Those of the operating system, among them a full disk. Nothing is left behind.
    pub(super) fn create(dir: &Path, identity: Identity, backend: Backend, now: u64) -> io::Result<Self> {
        let path = dir.join(file_name(identity.index));
        let draft = path.with_extension("tmp");
        let made = Self::draft(&draft, identity, backend, now).and_then(|store| {
            std::fs::rename(&draft, &path)?;
            Ok(store)
        });
        match made {
            Ok(store) => Ok(Self::over(store, identity, CHUNKS, Some(path))),
            Err(error) => {
                let _ = std::fs::remove_file(&draft);
                Err(error)
            }
        }
    }

    fn draft(path: &Path, identity: Identity, backend: Backend, now: u64) -> io::Result<Store> {
        let file = create_private_file(path)?;
        let store = match backend {
            Backend::Mapped => match map(&file, SEGMENT as u64) {
                Ok(mapping) => Store::Mapped { mapping, file },
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
                Err(_) => Store::Written(file),
            },
            Backend::Written => Store::Written(file),
        };
        let (Store::Mapped { file, .. } | Store::Written(file)) = &store else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        write_at(file, &identity.header(now), 0)?;
        store.populate(0, CHUNK)?;
        Ok(store)
    }

    /// Makes a segment in memory.
    pub(super) fn in_memory(identity: Identity) -> Self {
        Self::over(Store::heap(HEAP_SEGMENT), identity, HEAP_SEGMENT / CHUNK, None)
    }

    fn over(store: Store, identity: Identity, chunks: usize, path: Option<PathBuf>) -> Self {
        Self {
            index: identity.index,
            seed: identity.seed(),
            path,
            store,
            chunks,
            claimed: AtomicU32::new(0),
            populated: AtomicU32::new(1),
            open: AtomicU32::new(0),
            committed: std::array::from_fn(|chunk| AtomicU32::new(first_record(chunk) as u32)),
        }
    }

    /// Takes the next chunk, if one is left.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Region> {
        // Counted as open before the claim shows, so that the segment is at no time seen as sealed in between.
        self.open.fetch_add(1, Ordering::AcqRel);
        let chunks = self.chunks as u32;
        let taken = self
            .claimed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |claimed| (claimed < chunks).then_some(claimed + 1));
        if let Ok(chunk) = taken {
            let chunk = chunk as usize;
            return Some(Region { segment: Arc::clone(self), chunk, at: first_record(chunk) });
        }
        self.open.fetch_sub(1, Ordering::AcqRel);
        None
    }

    /// Gives up the chunks that are not claimed, so that the segment can be sealed.
    pub(super) fn retire(&self) {
        // A read-modify-write: a plain store would end the release sequence of the claims before it, and whoever then sees all chunks
        // claimed in `is_sealed` might not see that the regions of those claims are still open.
        self.claimed.swap(self.chunks as u32, Ordering::AcqRel);
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    pub(super) fn claimed(&self) -> usize {
        self.claimed.load(Ordering::Acquire) as usize
    }

    /// Whether nothing will be written any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.claimed() == self.chunks && self.open.load(Ordering::Acquire) == 0
    }

    /// How far a chunk is written. Below it, bytes never change.
    pub(super) fn committed(&self, chunk: usize) -> usize {
        self.committed[chunk].load(Ordering::Acquire) as usize
    }

    /// Makes the chunks below `until` ready to be written without a fault.
    pub(super) fn populate(&self, until: usize) -> io::Result<()> {
        let (from, until) = (self.populated.load(Ordering::Relaxed) as usize, until.min(self.chunks));
        if from < until {
            self.store.populate(from * CHUNK, (until - from) * CHUNK)?;
            self.populated.store(until as u32, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The right to write one chunk.
pub(super) struct Region {
    segment: Arc<Segment>,
    chunk: usize,
    at: usize,
}

impl Region {
    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(super) fn seed(&self) -> u32 {
        self.segment.seed
    }

    /// Whether a record with a payload of this length still fits.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.at + framed_length(payload) <= CHUNK
    }

    /// Writes a sealed record and commits it.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.segment.store.write(self.chunk * CHUNK + self.at, frame)?;
        self.at += frame.len();
        self.segment.committed[self.chunk].store(self.at as u32, Ordering::Release);
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.segment.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A segment file that is only read: sealed by this process, or left by another.
pub(super) struct SegmentFile {
    file: File,
    pub(super) seed: u32,
}

impl SegmentFile {
    /// Opens a file and checks its header; `Ok(None)` when it has none, as after a crash of the system.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = open_private(path, false)?;
        let mut page = [0; HEADER];
        let read = read_at(&file, &mut page, 0)?;
        let index = u64::from_le_bytes(page[24..32].try_into().unwrap_or_default());
        let stream = page[32..48].try_into().unwrap_or_default();
        let created = u64::from_le_bytes(page[48..56].try_into().unwrap_or_default());
        let identity = Identity { index, stream };
        let version = u32::from_le_bytes(page[8..12].try_into().unwrap_or_default());
        if read == HEADER && page[..8] == *MAGIC && version > VERSION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let is_valid = read == HEADER && identity.header(created)[..HEADER_FIELDS + 4] == page[..HEADER_FIELDS + 4];
        Ok(is_valid.then(|| Self { file, seed: identity.seed() }))
    }

    /// Reads a chunk from a place in it to its end, or to the end of the file.
    pub(super) fn read_chunk(&self, chunk: usize, from: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let start = into.len();
        into.resize(start + CHUNK - from, 0);
        let read = read_at(&self.file, &mut into[start..], (chunk * CHUNK + from) as u64)?;
        into.truncate(start + read);
        Ok(())
    }
}
