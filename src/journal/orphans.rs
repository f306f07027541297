//! Orphan journals, which ended processes left: they are read for each destination, and deleted when all destinations have passed
//! them.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::cursor::{CursorFile, Position};
use super::owner::Orphan;
use super::quarantine;
use super::scan::{Counted, Writer, count_by_tallies, read_batch};
use super::view::{View, segment_files};
use crate::sys::fs::remove_file;

/// The records of a journal that a destination has not passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The number of records.
    pub records: u64,
    /// When the oldest record was appended, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Whether something could not be read now, so that there may be more records.
    pub is_incomplete: bool,
}

impl Orphan {
    /// A reader for one destination; `None` if the journal has no events for it.
    ///
    /// # Errors
    /// I/O errors. The journal will be scanned again later.
    pub fn reader(&self, destination: &str) -> io::Result<Option<OrphanReader>> {
        if !self.destinations()?.is_some_and(|names| names.contains(destination)) {
            return Ok(None);
        }
        let cursor = self.path().join(CursorFile::name(destination));
        let position = match CursorFile::position(&cursor) {
            // A link or a device has taken the place of the cursor. It is not followed, so the position is unknown.
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
            is_saved: true,
            damaged: BTreeSet::new(),
        }))
    }

    /// Deletes the journal if its owner is dead and every destination has passed it, even if some positions are only in memory.
    /// Returns whether it was deleted.
    ///
    /// # Errors
    /// I/O errors. A journal that cannot be read now is not deleted.
    pub fn remove_if_passed(self, unsaved: &UnsavedPositions) -> io::Result<bool> {
        if self.is_owner_alive() {
            return Ok(false);
        }
        let views = segment_files(self.path())?;
        let destinations = self.destinations()?;
        let Some(names) = destinations.or_else(|| views.is_empty().then(BTreeSet::new)) else { return Ok(false) };
        for name in names {
            let cursor = self.path().join(CursorFile::name(&name));
            let mut position = CursorFile::position(&cursor)?;
            unsaved.add_to(&mut position, &cursor);
            if !views.iter().all(|view| view.is_passed_by(&position)) {
                return Ok(false);
            }
        }
        self.remove().map(|()| true)
    }
}

/// A reader of another process's journal for one destination. It keeps no descriptor open between calls.
pub struct OrphanReader {
    views: Vec<View>,
    writer: Writer,
    root: PathBuf,
    dir: PathBuf,
    cursor: PathBuf,
    position: Position,
    /// Whether the position is in the cursor file.
    is_saved: bool,
    damaged: BTreeSet<u64>,
}

/// The positions in orphan journals that could not be written to their cursor files, by cursor file. With these, events are not
/// delivered again in each scan while the disk is full.
#[derive(Default)]
pub struct UnsavedPositions(HashMap<PathBuf, Position>);

impl UnsavedPositions {
    /// Keeps a reader's position while it is not saved.
    pub fn note(&mut self, reader: &OrphanReader) {
        if reader.is_saved {
            self.0.remove(&reader.cursor);
        } else {
            self.0.insert(reader.cursor.clone(), reader.position.clone());
        }
    }

    /// Moves a new reader to the position that was kept, and saves it if possible.
    pub fn resume(&mut self, reader: &mut OrphanReader) {
        if let Some(position) = self.0.get(&reader.cursor) {
            // Another process may have advanced further in the meantime.
            reader.position.merge(position);
            let _ = reader.save();
            self.note(reader);
        }
    }

    /// Tries again to save the positions in a journal that is about to be released.
    pub fn save(&mut self, journal: &Path) {
        self.0.retain(|cursor, position| {
            let save = || CursorFile::open_or_create(cursor)?.save(position);
            cursor.parent() != Some(journal) || save().is_err()
        });
    }

    /// Whether a position in this journal is not saved.
    #[must_use]
    pub fn has(&self, journal: &Path) -> bool {
        self.0.keys().any(|cursor| cursor.parent() == Some(journal))
    }

    /// Discards the positions in journals that no longer exist.
    pub fn retain(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.0.retain(|cursor, _| cursor.parent().is_some_and(&is_there));
    }

    fn add_to(&self, position: &mut Position, cursor: &Path) {
        if let Some(known) = self.0.get(cursor) {
            position.merge(known);
        }
    }
}

impl OrphanReader {
    /// The journal's directory.
    #[must_use]
    pub fn journal(&self) -> &Path {
        &self.dir
    }

    /// The records after this reader's position, about `limit` bytes.
    #[must_use]
    pub fn read(&self, limit: usize) -> Batch {
        read_batch(&self.views, &self.position, limit, self.writer)
    }

    /// The number of records that are left, including damaged ones. Reads the tallies of the segments, not the records.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let Counted { records, oldest, is_incomplete, .. } = count_by_tallies(&self.views, &self.position, self.writer);
        Backlog { records, oldest, is_incomplete }
    }

    /// Whether a batch advances the reader, at least past damage.
    #[must_use]
    pub fn moves(&self, batch: &Batch) -> bool {
        batch.position != self.position
    }

    /// Lists the segments again, because a live owner continues to write.
    ///
    /// # Errors
    /// I/O errors.
    pub fn look_again(&mut self) -> io::Result<()> {
        self.views = segment_files(&self.dir)?;
        Ok(())
    }

    /// Whether the owner is alive.
    #[must_use]
    pub fn is_owner_alive(&self) -> bool {
        self.writer == Writer::Live
    }

    /// Advances past a batch, in memory and, if possible, on disk.
    ///
    /// # Errors
    /// I/O errors if the cursor file could not be written. The reader has advanced nevertheless. Keep its position in
    /// [`UnsavedPositions`], or the events will be delivered again.
    pub fn advance(&mut self, batch: &Batch) -> io::Result<()> {
        self.position = batch.position.clone();
        // Remove the marks of passed segments, so that the others fit in the file.
        let first_left = match self.writer {
            Writer::Dead | Writer::This => {
                self.views.iter().find(|view| !view.is_passed_by(&self.position)).map(View::index)
            }
            // The owner deletes what is passed, and may still write to the rest.
            Writer::Live => self.views.first().map(View::index),
        };
        self.position.prune(first_left.or_else(|| Some(self.views.last()?.index() + 1)).unwrap_or(0));
        let saved = self.save();
        for index in batch.damaged() {
            // The segment also stays where it is until the journal is deleted, because other destinations have not passed it.
            if self.damaged.insert(index)
                && let Some(path) = self.views.iter().find(|view| view.index() == index).and_then(View::path)
            {
                quarantine::keep(&self.root, path);
            }
        }
        saved
    }

    fn save(&mut self) -> io::Result<()> {
        let saved = CursorFile::open_or_create(&self.cursor).and_then(|mut file| file.save(&self.position));
        self.is_saved = saved.is_ok();
        saved
    }
}

/// All journals under `root` that can be read now. Tests run as threads of one process, and only one of them may adopt journals at a
/// time.
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
