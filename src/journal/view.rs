//! The segments of a journal, as readers see them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{CHUNK_DONE, Position};
use super::segment::{CHUNKS, Segment, file_name, first_record, index_of};
use super::segment_list::listed;
use crate::sys::fs::list_dir;

/// A segment that can be read.
#[derive(Clone)]
pub(super) enum View {
    /// A segment that this process writes.
    Live(Arc<Segment>),
    /// A file that no process writes, or that another live process writes.
    File {
        index: u64,
        path: PathBuf,
        /// Whether the file must exist. If it is missing, its records are lost.
        is_expected: bool,
    },
}

impl View {
    pub(super) fn index(&self) -> u64 {
        match self {
            Self::Live(segment) => segment.index,
            Self::File { index, .. } => *index,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Live(segment) => segment.path.as_deref(),
            Self::File { path, .. } => Some(path),
        }
    }

    /// Whether a destination at this position has read everything that the segment will ever have.
    pub(super) fn is_passed_by(&self, position: &Position) -> bool {
        let index = self.index();
        index < position.floor
            || match self {
                // Only the owner can know that a chunk is complete. A process that reads for a live owner cannot.
                Self::Live(segment) => {
                    segment.is_sealed()
                        && (0..segment.chunks()).all(|chunk| {
                            let mark = (position.mark(index, chunk) as usize).max(first_record(chunk));
                            mark >= segment.committed(chunk)
                        })
                }
                Self::File { .. } => (0..CHUNKS).all(|chunk| position.mark(index, chunk) == CHUNK_DONE),
            }
    }
}

/// The segments of a directory, in order: its files, and the files that are on its list but missing.
///
/// # Errors
/// I/O errors. A directory that cannot be read now (no descriptors or memory left) is not treated as empty.
pub(super) fn segment_files(dir: &Path) -> io::Result<Vec<View>> {
    // Read the list first: a segment is removed from it before it is deleted, so that none deleted in between looks missing.
    let mut missing: BTreeSet<_> = listed(dir)?.into_iter().collect();
    let mut views = Vec::new();
    for entry in list_dir(dir)? {
        let entry = entry?;
        if let Some(index) = entry.file_name().to_str().and_then(index_of) {
            let is_expected = missing.remove(&index);
            views.push(View::File { index, path: entry.path(), is_expected });
        }
    }
    let missing = missing.into_iter().map(|index| (index, dir.join(file_name(index))));
    views.extend(missing.map(|(index, path)| View::File { index, path, is_expected: true }));
    views.sort_by_key(View::index);
    Ok(views)
}
