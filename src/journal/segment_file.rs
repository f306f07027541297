//! A segment file that is only read: sealed by this process, or written by another.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::record;
use super::segment::{BOOT_TIME, CHUNK, CHUNKS, HEADER_FIELDS, Identity, PAGE, SEGMENT, Tally, VERSION, index_of};
use crate::sys::clock::BootTime;
use crate::sys::fs::{list_dir, metadata, open_private, read_at};

/// A segment file whose header is valid, or whose seed was found elsewhere.
pub(super) struct SegmentFile {
    file: File,
    pub(super) seed: u32,
    version: u32,
    /// The page of tallies, as much as the file has.
    tallies: Vec<u8>,
    /// No record in it is older than this; `None` if the age is unknown.
    pub(super) age: Option<Duration>,
    /// The end of the file, if it is shorter than its header says.
    pub(super) cut_at: Option<u64>,
    /// Whether the header is damaged.
    pub(super) is_header_damaged: bool,
}

/// The records of a chunk according to its tally.
pub(super) struct TallyCount {
    pub(super) records: u64,
    /// When the first record was appended, in nanoseconds since the Unix epoch.
    pub(super) oldest: Option<u64>,
}

impl SegmentFile {
    /// Opens a file and checks its header; `Ok(None)` if it is not a readable segment.
    ///
    /// # Errors
    /// `Unsupported` if a newer version wrote it, `InvalidData` if it is not a regular file, and I/O errors.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = open_private(path, false)?;
        let mut pages = vec![0; 2 * PAGE];
        let read = read_at(&file, &mut pages, 0)?;
        pages.truncate(read);
        let Some(header) = pages.get(..PAGE) else { return Ok(None) };
        let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let stream = header[32..48].try_into().unwrap_or_default();
        let (length, index, created) = (long(16), long(24), long(48));
        let (version, identity) = (long(8) as u32, Identity { index, stream });
        let is_whole = identity.header(version, length, created)[..HEADER_FIELDS + 4] == header[..HEADER_FIELDS + 4];
        if is_whole && version > VERSION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let age = BootTime::decode(&header[BOOT_TIME..]).and_then(|created| created.elapsed());
        let has_tallies = !(is_whole && version == 1);
        let tallies = if has_tallies { pages[PAGE..].to_vec() } else { Vec::new() };
        let mut this = Self { file, seed: 0, version, tallies, age, cut_at: None, is_header_damaged: !is_whole };
        if is_whole {
            this.seed = identity.seed();
            let end = metadata(&this.file)?.len();
            this.cut_at = (end < length.min(SEGMENT as u64)).then_some(end);
            return Ok(Some(this));
        }
        // A damaged header costs no records if the seed can be found elsewhere.
        let in_tallies = this.tallies.chunks_exact(8).step_by(8).find_map(Tally::seed_in);
        let index = path.file_name().and_then(|name| index_of(name.to_str()?)).unwrap_or(index);
        let from_streams =
            [stream].into_iter().chain(sibling_streams(path)?).map(|stream| Identity { index, stream }.seed());
        let seeds: Vec<_> = in_tallies.into_iter().chain(from_streams).collect();
        this.find_seed(&seeds)
    }

    /// The file with the first of these seeds with which a chunk has a valid record.
    fn find_seed(mut self, seeds: &[u32]) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        for chunk in 0..CHUNKS {
            bytes.clear();
            self.read_chunk(chunk, 0, &mut bytes)?;
            for seed in seeds {
                if let Some((at, _)) = record::find(&bytes, 0, *seed) {
                    self.seed = *seed;
                    self.version = if chunk == 0 && at < 2 * PAGE { 1 } else { VERSION };
                    return Ok(Some(self));
                }
            }
        }
        Ok(None)
    }

    /// The offset of the first record in a chunk.
    pub(super) fn first_record(&self, chunk: usize) -> usize {
        match (chunk, self.version) {
            (0, 1) => PAGE,
            (0, _) => 2 * PAGE,
            _ => 0,
        }
    }

    /// The tally of a chunk, if it is valid.
    pub(super) fn tally(&self, chunk: usize) -> Option<Tally> {
        let at = Tally::offset(chunk) - PAGE;
        Tally::decode(self.tallies.get(at..)?, self.seed)
    }

    /// The number of records of a chunk and the time of the first, by its tally and the header of that record. `None` if these do not
    /// agree; then the chunk must be read.
    pub(super) fn tally_count(&self, chunk: usize) -> Option<TallyCount> {
        let tally = self.tally(chunk)?;
        let mut header = [0; record::HEADER];
        let read = read_at(&self.file, &mut header, (chunk * CHUNK + self.first_record(chunk)) as u64).ok()?;
        if tally.count == 0 {
            // In a written segment, a chunk has no tally before its writer has left it.
            return header[..read].iter().all(|byte| *byte == 0).then_some(TallyCount { records: 0, oldest: None });
        }
        let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        (header[..2] == record::MAGIC.to_le_bytes() && long(16)? == tally.first)
            .then_some(TallyCount { records: u64::from(tally.count), oldest: long(24) })
    }

    /// Reads bytes of a chunk from an offset. Returns how many the file has.
    pub(super) fn read_into(&self, chunk: usize, from: usize, into: &mut [u8]) -> io::Result<usize> {
        read_at(&self.file, into, (chunk * CHUNK + from) as u64)
    }

    /// Reads a chunk from an offset to its end, or to the end of the file.
    pub(super) fn read_chunk(&self, chunk: usize, from: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let start = into.len();
        into.resize(start + CHUNK - from, 0);
        match self.read_into(chunk, from, &mut into[start..]) {
            Ok(read) => {
                into.truncate(start + read);
                Ok(())
            }
            Err(error) => {
                into.truncate(start);
                Err(error)
            }
        }
    }
}

/// The stream ids of the other segments in a directory. The segments of one process usually have the same one.
fn sibling_streams(path: &Path) -> io::Result<Vec<[u8; 16]>> {
    let mut streams: Vec<[u8; 16]> = Vec::new();
    for entry in list_dir(path.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if entry.path() == path || entry.file_name().to_str().and_then(index_of).is_none() {
            continue;
        }
        let mut header = [0; HEADER_FIELDS + 4];
        match open_private(&entry.path(), false).and_then(|file| read_at(&file, &mut header, 0)) {
            Ok(_) => {}
            Err(error) if is_transient(&error) => return Err(error),
            Err(_) => continue,
        }
        let crc = header[HEADER_FIELDS..].try_into().map_or(0, u32::from_le_bytes);
        let stream: [u8; 16] = header[32..48].try_into().unwrap_or_default();
        if crc32fast::hash(&header[..HEADER_FIELDS]) == crc && !streams.contains(&stream) {
            streams.push(stream);
        }
    }
    Ok(streams)
}

/// Whether an error says nothing about the file itself, so that a later attempt may succeed. Damage is only what the file shows.
pub(super) fn is_transient(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
}
