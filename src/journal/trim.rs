//! Frees the unused space in the segments of dead processes.
//!
//! A segment is allocated whole, 4 MiB, so that a full disk is noticed before an event is written to it. A process that ends truncates
//! its segments; a killed one cannot. Each killed process thus leaves two segments, even for a few events, and a hundred of them use up
//! the disk budget of the state directory. Then new processes keep events in memory only, where `kill -9` loses them. So the processes
//! that search for orphan journals truncate the segments, and so does a process that finds no space for a segment of its own.
//!
//! A journal is locked while it is truncated, for some milliseconds. That needs no right to adopt journals, which another thread of
//! this process may have for long.

use std::io;
use std::path::{Path, PathBuf};

use super::owner::{Claim, Orphan, claim_for, names_in};
use super::segment::{CHUNK, CHUNKS, PAGE, SEGMENT, index_of, truncate};
use super::segment_file::SegmentFile;
use crate::sys::fs::{allocated, list_dir, open_private, path_metadata};

/// The journals under a directory whose unused space was not freed yet.
pub struct Untrimmed {
    root: PathBuf,
    names: Vec<std::ffi::OsString>,
}

impl Untrimmed {
    /// Lists the journals under `root`; none if the directory does not exist.
    ///
    /// # Errors
    /// I/O errors, and those of the check that the directory is private to this user.
    pub fn begin(root: &Path) -> io::Result<Self> {
        let mut names = names_in(root)?;
        // The search for orphans begins with the first one.
        names.sort();
        Ok(Self { root: root.to_owned(), names })
    }

    /// Frees the unused space of the next journal, if its owner is dead and nothing else has it locked. Returns how many bytes were
    /// freed; `None` if all journals were examined.
    pub fn free_next(&mut self) -> Option<u64> {
        let path = self.root.join(self.names.pop()?);
        // Most journals have no whole segment. This costs fewer system calls than their locks.
        if whole_segments(&path).is_empty() {
            return Some(0);
        }
        match claim_for(&path) {
            Ok(Claim::Acquired(orphan)) => Some(orphan.free_unused_space()),
            _ => Some(0),
        }
    }
}

impl Orphan {
    /// Truncates the segments of a dead owner after their last used chunk. Returns how many bytes that freed. A segment that cannot be
    /// truncated stays as it is, because truncation only saves space.
    #[expect(clippy::must_use_candidate, reason = "most callers only want the space")]
    pub fn free_unused_space(&self) -> u64 {
        if self.is_owner_alive() {
            return 0;
        }
        whole_segments(self.path()).iter().map(|segment| truncate_unused(segment).unwrap_or(0)).sum()
    }
}

/// The segments in a directory that have their full length. A shorter one was truncated before.
fn whole_segments(dir: &Path) -> Vec<PathBuf> {
    let is_whole = |path: &Path| path_metadata(path).is_ok_and(|data| data.is_file() && data.len() == SEGMENT as u64);
    let entries = list_dir(dir).into_iter().flatten().flatten();
    let segments = entries.filter(|entry| entry.file_name().to_str().and_then(index_of).is_some());
    segments.map(|entry| entry.path()).filter(|path| is_whole(path)).collect()
}

/// Returns how many bytes were freed.
fn truncate_unused(path: &Path) -> io::Result<u64> {
    let Some(file) = SegmentFile::open(path)?.filter(|file| !file.is_header_damaged) else { return Ok(0) };
    let mut bytes = vec![0; CHUNK];
    let used = (0..CHUNKS).rev().find(|chunk| !is_unused(&file, *chunk, &mut bytes));
    let end = used.map_or(2 * PAGE, |chunk| (chunk + 1) * CHUNK);
    if end == SEGMENT {
        return Ok(0);
    }
    let before = allocated(&path_metadata(path)?);
    truncate(&open_private(path, true)?, end as u64);
    Ok(before.saturating_sub(allocated(&path_metadata(path)?)))
}

/// Whether a chunk has only zeros and its tally counts no records. Both are checked, because after a power failure either may be an
/// old page. `bytes` is a buffer of a chunk's size.
fn is_unused(file: &SegmentFile, chunk: usize, bytes: &mut [u8]) -> bool {
    const ZEROS: [u8; PAGE] = [0; PAGE];
    if file.tally(chunk).is_none_or(|tally| tally.count > 0) {
        return false;
    }
    let from = file.first_record(chunk);
    let read = file.read_into(chunk, from, &mut bytes[from..]);
    // Compared in pages, which is fast in a debug build, too.
    read.is_ok_and(|read| bytes[from..from + read].chunks(PAGE).all(|page| page == &ZEROS[..page.len()]))
}
