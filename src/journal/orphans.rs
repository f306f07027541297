//! The journals that ended processes left: read for each destination, and deleted once all destinations have passed them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::cursor::{CursorFile, Position};
use super::owner::Orphan;
use super::quarantine;
use super::scan::{Counted, Writer, count, read_batch};
use super::view::{View, segment_files};
use crate::sys::fs::remove_file;

/// What a destination has not passed of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Records.
    pub records: u64,
    /// When the oldest of them was appended, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Whether something could not be read now, so that there may be more.
    pub is_incomplete: bool,
}

impl Orphan {
    /// A reader for one destination; `None` when its events are not for it.
    ///
    /// # Errors
    /// Those of the operating system: the journal comes again later.
    pub fn reader(&self, destination: &str) -> io::Result<Option<OrphanReader>> {
        if !self.destinations()?.is_some_and(|names| names.contains(destination)) {
            return Ok(None);
        }
        let cursor = self.path().join(CursorFile::name(destination));
        let position = match CursorFile::position(&cursor) {
            // A link or a device in the place of the cursor: it is not followed, and what it says is not known.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                remove_file(&cursor)?;
                Position::default()
            }
            other => other?,
        };
        let views = segment_files(self.path())?;
        Ok(Some(OrphanReader {
            writer: if self.is_owner_alive() { Writer::Live } else { Writer::Dead },
            root: self.path().parent().map_or_else(PathBuf::new, Path::to_owned),
            dir: self.path().to_owned(),
            cursor,
            views,
            position,
            damaged: BTreeSet::new(),
        }))
    }

    /// Deletes the journal if its owner is dead and every destination has passed it; says whether it did.
    ///
    /// # Errors
    /// Those of the operating system. What cannot be read now is not deleted.
    pub fn remove_if_passed(self) -> io::Result<bool> {
        if self.is_owner_alive() {
            return Ok(false);
        }
        let views = segment_files(self.path())?;
        let destinations = self.destinations()?;
        let Some(names) = destinations.or_else(|| views.is_empty().then(BTreeSet::new)) else { return Ok(false) };
        for name in names {
            let position = CursorFile::position(&self.path().join(CursorFile::name(&name)))?;
            if !views.iter().all(|view| view.is_passed_by(&position)) {
                return Ok(false);
            }
        }
        self.remove().map(|()| true)
    }
}

/// One destination's reader of another process's journal. It holds no descriptor between calls.
pub struct OrphanReader {
    views: Vec<View>,
    writer: Writer,
    root: PathBuf,
    dir: PathBuf,
    cursor: PathBuf,
    position: Position,
    damaged: BTreeSet<u64>,
}

impl OrphanReader {
    /// The journal's directory.
    #[must_use]
    pub fn journal(&self) -> &Path {
        &self.dir
    }

    /// Records after this reader's position, some `limit` bytes of them.
    #[must_use]
    pub fn read(&self, limit: usize) -> Batch {
        read_batch(&self.views, &self.position, limit, self.writer)
    }

    /// How many records are left. Reads them, in the memory of one chunk.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let Counted { records, oldest, is_incomplete, .. } = count(&self.views, &self.position, self.writer);
        Backlog { records, oldest, is_incomplete }
    }

    /// Whether a batch moves the reader, be it past damage only.
    #[must_use]
    pub fn moves(&self, batch: &Batch) -> bool {
        batch.position != self.position
    }

    /// Lists the segments anew: an owner that lives goes on writing.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn look_again(&mut self) -> io::Result<()> {
        self.views = segment_files(&self.dir)?;
        Ok(())
    }

    /// Whether its owner lives.
    #[must_use]
    pub fn is_owner_alive(&self) -> bool {
        self.writer == Writer::Live
    }

    /// Moves past a batch, in memory and on disk.
    ///
    /// # Errors
    /// Those of the operating system; the events would be delivered again.
    pub fn advance(&mut self, batch: &Batch) -> io::Result<()> {
        self.position = batch.position.clone();
        // Marks of what is behind are dropped, so that those that are left fit the file.
        let first_left = match self.writer {
            Writer::Dead | Writer::This => {
                self.views.iter().find(|view| !view.is_passed_by(&self.position)).map(View::index)
            }
            // The owner deletes what is passed, and may still write to the rest.
            Writer::Live => self.views.first().map(View::index),
        };
        self.position.prune(first_left.or_else(|| Some(self.views.last()?.index() + 1)).unwrap_or(0));
        CursorFile::open_or_create(&self.cursor)?.save(&self.position)?;
        for index in batch.damaged() {
            // Where it is it stays until the journal is deleted: other destinations have not passed it.
            if self.damaged.insert(index)
                && let Some(path) = self.views.iter().find(|view| view.index() == index).and_then(View::path)
            {
                quarantine::keep(&self.root, path);
            }
        }
        Ok(())
    }
}

/// All journals under `root` that can be read now. Tests run in threads of one process, and only one of them may adopt at a time.
#[cfg(test)]
pub(crate) fn adopt_all(root: &Path) -> (super::Adopting, Vec<Orphan>) {
    let right = loop {
        if let Some(right) = super::Adopting::begin() {
            break right;
        }
        std::thread::yield_now();
    };
    let mut scan = super::OrphanScan::begin(root).unwrap();
    let found = scan.next(usize::MAX).unwrap();
    (right, found)
}
