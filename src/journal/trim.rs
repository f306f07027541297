//! Frees the unused space in the segments of a dead process.
//!
//! A segment is allocated whole, 4 MiB, so that a full disk is noticed before an event is written to it. A process that ends truncates
//! its segments; a killed one cannot. Each killed process thus leaves two segments, even for a few events, and a hundred of them use up
//! the disk budget of the state directory. Then new processes keep events in memory only, where `kill -9` loses them. So the processes
//! that search for orphan journals truncate the segments.

use std::io;
use std::path::Path;

use super::owner::Orphan;
use super::segment::{CHUNK, CHUNKS, PAGE, SEGMENT, index_of, truncate};
use super::segment_file::SegmentFile;
use crate::sys::fs::{list_dir, open_private};

impl Orphan {
    /// Truncates the segments of a dead owner after their last used chunk. A segment that cannot be truncated stays as it is, because
    /// truncation only saves space.
    pub fn free_unused_space(&self) {
        if self.is_owner_alive() {
            return;
        }
        for entry in list_dir(self.path()).into_iter().flatten().flatten() {
            let is_segment = entry.file_name().to_str().and_then(index_of).is_some();
            // A shorter segment was truncated before.
            if is_segment && entry.metadata().is_ok_and(|data| data.is_file() && data.len() == SEGMENT as u64) {
                let _ = truncate_unused(&entry.path());
            }
        }
    }
}

fn truncate_unused(path: &Path) -> io::Result<()> {
    let Some(file) = SegmentFile::open(path)? else { return Ok(()) };
    if file.is_header_damaged {
        return Ok(());
    }
    let used = (0..CHUNKS).rev().find(|chunk| !is_unused(&file, *chunk));
    let end = used.map_or(2 * PAGE, |chunk| (chunk + 1) * CHUNK);
    if end < SEGMENT {
        truncate(&open_private(path, true)?, end as u64);
    }
    Ok(())
}

/// Whether a chunk has only zeros and its tally counts no records. Both are checked, because after a power failure either may be an
/// old page.
fn is_unused(file: &SegmentFile, chunk: usize) -> bool {
    if file.tally(chunk).is_none_or(|tally| tally.count > 0) {
        return false;
    }
    let mut bytes = Vec::new();
    let is_read = file.read_chunk(chunk, file.first_record(chunk), &mut bytes).is_ok();
    is_read && bytes.iter().all(|byte| *byte == 0)
}
