//! The segments of a journal, as a reader sees them.

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
    /// Being written by this process.
    Live(Arc<Segment>),
    /// A file that no process writes, or that another live process does.
    File {
        index: u64,
        path: PathBuf,
        /// Whether it has to be there: its records are lost if it is not.
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

    /// Whether a destination at this position has all that will ever be in it.
    pub(super) fn is_passed_by(&self, position: &Position) -> bool {
        let index = self.index();
        index < position.floor
            || match self {
                // A process that reads for a living owner cannot know that a chunk is complete; the owner can.
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

/// The segments of a directory, in order: its files, and those that are on its list and missing.
///
/// # Errors
/// Those of the operating system: a directory that cannot be read now (out of descriptors or memory) is not one without segments.
pub(super) fn segment_files(dir: &Path) -> io::Result<Vec<View>> {
    // The list first: what is deleted meanwhile is off the list when it goes, and missed for no time.
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
