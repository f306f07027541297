//! Segments: files of chunks, each chunk claimed by one writer at a time.
//!
//! ```text
//! segment   at most 4 MiB = 64 chunks of 64 KiB
//! chunk 0   a page of 4 KiB with the header, a page with the tallies, then records; every other chunk has records from its first
//! byte header    "TAXIJRNL" | version u32 = 2 | chunk size u32 | segment length u64 | index u64 | stream id 16 bytes
//!           | created u64, nanoseconds since the epoch | CRC-32 of all before u32 | zero u32
//!           | created since boot: boot id 16 bytes, nanoseconds u64, CRC-32 of both u32 (zeros if the system does not have them)
//! tally     of chunk n, at 4096 + 64 n:
//!           number of records in the chunk u16 | that number inverted u16 | seed of the segment u32
//!           | sequence of the chunk's first record u64 | that sequence inverted u64 | zeros
//! ```
//!
//! Integers are little-endian. The seed of a segment is the CRC-32 of its stream id and its index.
//!
//! A chunk is written once, from front to back, by one writer. So the bytes before a chunk's committed mark never change, chunks can
//! be read independently, and a writer that stops leaves only its own chunk unfinished. A segment file is created under a temporary
//! name and renamed when its header is complete. A file with a segment's name is therefore valid, whenever its creator died.
//!
//! A tally tells how many records a chunk has had, so that records that are zeroed or cut off later are noticed. In mapped segments
//! it is stored after each record. In written segments the writer writes it when it leaves the chunk; before that it is zero. When a
//! process closes a segment that it used in part, it truncates the file after the last record and stores that length in the header.
//! Segments of version 1 have no page of tallies.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::claims::Claims;
use super::record::framed_length;
use super::store::Store;
use crate::sys::clock::BootTime;
use crate::sys::fs::{create_private_file, read_at, remove_file, rename, set_len, write_at};
use crate::sys::mmap::map;

/// The bytes of a chunk: some 250 events, so that claiming one is rare.
pub(super) const CHUNK: usize = 64 * 1024;
/// The chunks of a segment on disk.
pub(super) const CHUNKS: usize = 64;
/// The bytes of a segment on disk: small enough to be created in milliseconds, and to free space while events are delivered.
pub(super) const SEGMENT: usize = CHUNK * CHUNKS;
/// The bytes of a segment in memory. Eight of them are the memory ring.
pub(super) const HEAP_SEGMENT: usize = 16 * CHUNK;
/// The bytes of the header, and of the page of tallies.
pub(super) const PAGE: usize = 4096;
pub(super) const MAGIC: &[u8; 8] = b"TAXIJRNL";
pub(super) const VERSION: u32 = 2;
/// The bytes of the header before its checksum.
pub(super) const HEADER_FIELDS: usize = 56;
/// The offset of the creation time in the header, by a clock that cannot be set.
pub(super) const BOOT_TIME: usize = 64;
/// The bytes of a tally: a cache line, so that writers of neighbouring chunks do not slow each other down.
const TALLY: usize = 64;

/// How segments on disk are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Through a memory map; the default on systems that have it.
    Mapped,
    /// Through the file.
    Written,
}

/// The identity of a segment, from its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) index: u64,
    pub(super) stream: [u8; 16],
}

impl Identity {
    /// The initial value of the checksums of its records.
    pub(super) fn seed(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.stream);
        hasher.update(&self.index.to_le_bytes());
        hasher.finalize()
    }

    /// The header of a segment of this length.
    pub(super) fn header(&self, version: u32, length: u64, created: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(MAGIC);
        page[8..12].copy_from_slice(&version.to_le_bytes());
        page[12..16].copy_from_slice(&(CHUNK as u32).to_le_bytes());
        page[16..24].copy_from_slice(&length.to_le_bytes());
        page[24..32].copy_from_slice(&self.index.to_le_bytes());
        page[32..48].copy_from_slice(&self.stream);
        page[48..56].copy_from_slice(&created.to_le_bytes());
        let crc = crc32fast::hash(&page[..HEADER_FIELDS]);
        page[HEADER_FIELDS..HEADER_FIELDS + 4].copy_from_slice(&crc.to_le_bytes());
        page
    }
}

/// The content of a chunk's tally.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    /// The number of records that the chunk has had.
    pub(super) count: u16,
    /// The sequence of the first record.
    pub(super) first: u64,
}

impl Tally {
    /// Its offset in a segment.
    pub(super) const fn offset(chunk: usize) -> usize {
        PAGE + chunk * TALLY
    }

    /// Its first word. It contains the seed, so that a page of another segment is not valid here.
    pub(super) fn word(count: u16, seed: u32) -> u64 {
        u64::from(count) | u64::from(!count) << 16 | u64::from(seed) << 32
    }

    /// The seed in the bytes of a tally, if the tally is valid.
    pub(super) fn seed_in(bytes: &[u8]) -> Option<u32> {
        let word = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        (word as u16 == !((word >> 16) as u16)).then_some((word >> 32) as u32)
    }

    /// Decodes a tally of the segment with this seed; `None` if nothing or something else was written.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (count, first) = (long(0)? as u16, long(8)?);
        let is_whole = Self::word(count, seed) == long(0)? && (count == 0 || first == !long(16)?);
        is_whole.then_some(Self { count, first })
    }
}

/// The offset of the first record in a chunk, in a segment of this version.
pub(super) const fn first_record(chunk: usize) -> usize {
    if chunk == 0 { 2 * PAGE } else { 0 }
}

/// The file name of a segment.
pub(super) fn file_name(index: u64) -> String {
    format!("{index:016x}.seg")
}

/// The index in a segment's file name; `None` for other names.
pub(super) fn index_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".seg")?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok()).flatten()
}

/// A segment that this process writes.
pub(super) struct Segment {
    pub(super) index: u64,
    pub(super) seed: u32,
    /// `None` for a segment in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) store: Store,
    /// No record in it is older than this.
    pub(super) created: Instant,
    claims: Claims<CHUNKS>,
    populated: AtomicU32,
}

impl Segment {
    /// Creates a segment file.
    ///
    /// # Errors
    /// I/O errors, for example that the disk is full. Nothing is left behind.
    pub(super) fn create(dir: &Path, identity: Identity, backend: Backend, now: u64) -> io::Result<Self> {
        let path = dir.join(file_name(identity.index));
        let draft = path.with_extension("tmp");
        let made = Self::draft(&draft, identity, backend, now).and_then(|store| {
            rename(&draft, &path)?;
            Ok(store)
        });
        match made {
            Ok(store) => Ok(Self::over(store, identity, CHUNKS, Some(path))),
            Err(error) => {
                let _ = remove_file(&draft);
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
        // Written segments are sparse files of full length, so that a truncated file is recognized by its length. If that is not
        // possible, the header states no length.
        let length = if matches!(store, Store::Written(_)) && set_len(file, SEGMENT as u64).is_err() {
            0
        } else {
            SEGMENT as u64
        };
        let mut pages = [0; 2 * PAGE];
        pages[..PAGE].copy_from_slice(&identity.header(VERSION, length, now));
        if let Some(created) = BootTime::now() {
            pages[BOOT_TIME..][..BootTime::LENGTH].copy_from_slice(&created.encode());
        }
        if matches!(store, Store::Mapped { .. }) {
            let nothing = Tally::word(0, identity.seed()).to_le_bytes();
            (0..CHUNKS).for_each(|chunk| pages[Tally::offset(chunk)..][..8].copy_from_slice(&nothing));
        }
        write_at(file, &pages, 0)?;
        store.populate(0, CHUNK)?;
        Ok(store)
    }

    /// Creates a segment in memory.
    pub(super) fn in_memory(identity: Identity) -> Self {
        Self::over(Store::heap(HEAP_SEGMENT), identity, HEAP_SEGMENT / CHUNK, None)
    }

    fn over(store: Store, identity: Identity, chunks: usize, path: Option<PathBuf>) -> Self {
        Self {
            index: identity.index,
            seed: identity.seed(),
            path,
            store,
            created: Instant::now(),
            claims: Claims::new(chunks, first_record),
            populated: AtomicU32::new(1),
        }
    }

    /// Claims the next chunk, if there is one.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Region> {
        let chunk = self.claims.claim()?;
        Some(Region { segment: Arc::clone(self), chunk, at: first_record(chunk), count: 0, first: 0 })
    }

    /// Makes the unclaimed chunks unavailable, so that the segment can be sealed.
    pub(super) fn retire(&self) {
        self.claims.retire();
    }

    pub(super) fn chunks(&self) -> usize {
        self.claims.chunks()
    }

    pub(super) fn claimed(&self) -> usize {
        self.claims.claimed()
    }

    /// Whether nothing will be written to it any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.claims.is_sealed()
    }

    /// The current tally of a chunk; `None` if the store does not keep it up to date.
    pub(super) fn tally(&self, chunk: usize) -> Option<Tally> {
        let words = self.store.words()?;
        let bytes: Vec<_> = words[Tally::offset(chunk) / 8..][..3]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        Tally::decode(&bytes, self.seed)
    }

    /// How far a chunk is written. Bytes before this offset never change.
    pub(super) fn committed(&self, chunk: usize) -> usize {
        self.claims.committed(chunk)
    }

    /// Truncates the file after the last record, and stores its length in the header. Called when nothing writes to the segment any
    /// more, because a store after the end of a mapped file raises SIGBUS.
    pub(super) fn cut_off_rest(&self) {
        let (Store::Mapped { file, .. } | Store::Written(file)) = &self.store else { return };
        let end = self.end() as u64;
        if end < SEGMENT as u64 {
            truncate(file, end);
        }
    }

    /// Copies a sealed segment in memory to a file of the same index. Positions in it stay valid.
    ///
    /// # Errors
    /// I/O errors. Nothing is left behind.
    pub(super) fn copy_to_file(&self, dir: &Path, stream: [u8; 16], now: u64) -> io::Result<PathBuf> {
        let end = self.end();
        let mut bytes = vec![0; end];
        self.store.read(0, &mut bytes)?;
        let age = self.created.elapsed();
        let created = now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let identity = Identity { index: self.index, stream };
        bytes[..PAGE].copy_from_slice(&identity.header(VERSION, end as u64, created));
        if let Some(created) = BootTime::now() {
            bytes[BOOT_TIME..][..BootTime::LENGTH].copy_from_slice(&created.earlier_by(age).encode());
        }
        let nothing = Tally::word(0, self.seed).to_le_bytes();
        for chunk in (0..CHUNKS).filter(|chunk| self.tally(*chunk).is_none()) {
            bytes[Tally::offset(chunk)..][..8].copy_from_slice(&nothing);
        }
        let path = dir.join(file_name(self.index));
        let draft = path.with_extension("tmp");
        let written = create_private_file(&draft).and_then(|file| write_at(&file, &bytes, 0));
        written.and_then(|()| rename(&draft, &path)).inspect_err(|_| {
            let _ = remove_file(&draft);
        })?;
        Ok(path)
    }

    /// The end of the last record; of a segment without records, the end of the page of tallies.
    fn end(&self) -> usize {
        let used = (0..self.chunks()).filter(|chunk| self.committed(*chunk) > first_record(*chunk));
        used.map(|chunk| chunk * CHUNK + self.committed(chunk)).max().unwrap_or(2 * PAGE)
    }

    /// Prepares the chunks below `until`, so that writing to them does not fault.
    pub(super) fn populate(&self, until: usize) -> io::Result<()> {
        let (from, until) = (self.populated.load(Ordering::Relaxed) as usize, until.min(self.chunks()));
        if from < until {
            self.store.populate(from * CHUNK, (until - from) * CHUNK)?;
            self.populated.store(until as u32, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Truncates a segment file, if possible, and stores its length in the header. A file with a damaged header stays as it is.
pub(super) fn truncate(file: &File, end: u64) {
    let mut header = [0; PAGE];
    if read_at(file, &mut header, 0).is_ok_and(|read| read == PAGE) && header[..8] == *MAGIC {
        header[16..24].copy_from_slice(&end.to_le_bytes());
        let crc = crc32fast::hash(&header[..HEADER_FIELDS]);
        header[HEADER_FIELDS..HEADER_FIELDS + 4].copy_from_slice(&crc.to_le_bytes());
        // Write the header first: a file that is longer than its header says is valid.
        if write_at(file, &header, 0).is_ok() {
            let _ = set_len(file, end);
        }
    }
}

/// The right to write one chunk.
pub(super) struct Region {
    segment: Arc<Segment>,
    chunk: usize,
    at: usize,
    /// The number of records in the chunk, and the sequence of the first.
    count: u16,
    first: u64,
}

impl Region {
    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(super) fn seed(&self) -> u32 {
        self.segment.seed
    }

    /// Whether a record with a payload of this length fits.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.at + framed_length(payload) <= CHUNK
    }

    /// Writes and commits a sealed record with this sequence.
    pub(super) fn append(&mut self, frame: &[u8], sequence: u64) -> io::Result<()> {
        let segment = &*self.segment;
        segment.store.write(self.chunk * CHUNK + self.at, frame)?;
        self.at += frame.len();
        segment.claims.commit(self.chunk, self.at);
        let tally = Tally::offset(self.chunk);
        if self.count == 0 {
            self.first = sequence;
            segment.store.set_word(tally + 8, sequence);
            segment.store.set_word(tally + 16, !sequence);
        }
        self.count += 1;
        segment.store.set_word(tally, Tally::word(self.count, segment.seed));
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Store::Written(file) = &self.segment.store
            && self.count > 0
        {
            let words = [Tally::word(self.count, self.segment.seed), self.first, !self.first];
            let bytes: Vec<_> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            // Optional: without the tally, less damage to this chunk would be noticed.
            let _ = write_at(file, &bytes, Tally::offset(self.chunk) as u64);
        }
        self.segment.claims.release();
    }
}
