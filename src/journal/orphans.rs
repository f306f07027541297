//! The journals that ended processes left: read for each destination, and deleted once all destinations have passed them.

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
            is_saved: true,
            damaged: BTreeSet::new(),
        }))
    }

    /// Deletes the journal if its owner is dead and every destination has passed it, be it that this is only known in memory; says
    /// whether it did.
    ///
    /// # Errors
    /// Those of the operating system. What cannot be read now is not deleted.
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

/// One destination's reader of another process's journal. It holds no descriptor between calls.
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

/// How far destinations have come in orphan journals where their cursor files could not be written, by cursor file: on a full disk, what
/// was delivered is not delivered again with each search.
#[derive(Default)]
pub struct UnsavedPositions(HashMap<PathBuf, Position>);

impl UnsavedPositions {
    /// Keeps a reader's position as long as it is not saved.
    pub fn note(&mut self, reader: &OrphanReader) {
        if reader.is_saved {
            self.0.remove(&reader.cursor);
        } else {
            self.0.insert(reader.cursor.clone(), reader.position.clone());
        }
    }

    /// Moves a new reader to the position that was kept, and saves it if that is possible now.
    pub fn resume(&mut self, reader: &mut OrphanReader) {
        if let Some(position) = self.0.get(&reader.cursor) {
            // Another process may have come further meanwhile.
            reader.position.merge(position);
            let _ = reader.save();
            self.note(reader);
        }
    }

    /// Tries once more to save the positions in a journal that is about to be released.
    pub fn save(&mut self, journal: &Path) {
        self.0.retain(|cursor, position| {
            let save = || CursorFile::open_or_create(cursor)?.save(position);
            cursor.parent() != Some(journal) || save().is_err()
        });
    }

    /// Whether some position in a journal is not saved.
    #[must_use]
    pub fn has(&self, journal: &Path) -> bool {
        self.0.keys().any(|cursor| cursor.parent() == Some(journal))
    }

    /// Forgets the positions in journals that are gone.
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

    /// Records after this reader's position, some `limit` bytes of them.
    #[must_use]
    pub fn read(&self, limit: usize) -> Batch {
        read_batch(&self.views, &self.position, limit, self.writer)
    }

    /// How many records are left, damaged ones included. Reads the tallies of the segments, not the records.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let Counted { records, oldest, is_incomplete, .. } = count_by_tallies(&self.views, &self.position, self.writer);
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

    /// Moves past a batch, in memory and, if that is possible, on disk.
    ///
    /// # Errors
    /// Those of the operating system when the cursor file could not be written. The reader has moved all the same: its position is to be
    /// kept in [`UnsavedPositions`], or the events are delivered again.
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
        let saved = self.save();
        for index in batch.damaged() {
            // Where it is it stays until the journal is deleted: other destinations have not passed it.
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
