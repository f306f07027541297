//! The reader of a destination in its own process's journal.

use std::sync::atomic::Ordering;

use super::batch::Batch;
use super::cursor::{CursorFile, Position};
use super::scan::{Counted, Writer, count, read_batch};
use super::view::View;
use super::writer::Journal;
use crate::sys::mutex::lock;

/// The reader of one destination in its own process's journal.
pub struct Reader {
    destination: String,
    position: Position,
    file: Option<CursorFile>,
    of_dir: u64,
}

impl Reader {
    /// A reader at the beginning.
    #[must_use]
    pub fn new(destination: &str) -> Self {
        Self { destination: destination.to_owned(), position: Position::default(), file: None, of_dir: 0 }
    }

    /// The records after this reader's position, about `limit` bytes.
    #[must_use]
    pub fn read<S>(&self, journal: &Journal<S>, limit: usize) -> Batch {
        // The list of segments is cloned, so that no lock is held while reading.
        let views = lock(&journal.pool.views).clone();
        read_batch(&views, &self.position, limit, Writer::This)
    }

    /// Counts the records after this reader's position.
    #[must_use]
    pub fn count<S>(&self, journal: &Journal<S>) -> Counted {
        let views = lock(&journal.pool.views).clone();
        count(&views, &self.position, Writer::This)
    }

    /// The records of the segment that is being written, if older ones are left too. New events then need not wait for the backlog.
    #[must_use]
    pub fn read_newest<S>(&self, journal: &Journal<S>, limit: usize) -> Option<Batch> {
        let views = lock(&journal.pool.views).clone();
        let (newest, older) = views.split_last()?;
        if older.iter().all(|view| view.is_passed_by(&self.position)) {
            return None;
        }
        let batch = read_batch(std::slice::from_ref(newest), &self.position, limit, Writer::This);
        (!batch.is_empty()).then_some(batch)
    }

    /// The current position.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Advances past a batch without records. The cursor file is not written, unless a new directory has none with this position.
    pub fn advance_in_memory<S>(&mut self, journal: &Journal<S>, batch: &Batch) {
        self.position = batch.position.clone();
        self.raise_floor(journal);
        if self.position != Position::default() && self.of_dir != journal.pool.dir_serial.load(Ordering::Acquire) {
            self.save(journal);
        }
    }

    /// Raises the floor to the first segment that is not passed. A destination that is far ahead of another then has few marks, and
    /// its cursor file holds all of them.
    fn raise_floor<S>(&mut self, journal: &Journal<S>) {
        let views = lock(&journal.pool.views);
        let left = views.iter().find(|view| !view.is_passed_by(&self.position)).map(View::index);
        let first_left = left.or_else(|| Some(views.last()?.index() + 1));
        drop(views);
        self.position.raise_floor(first_left.unwrap_or(0));
    }

    /// Advances past a batch in memory, and on disk if possible. The position in memory counts.
    pub fn advance<S>(&mut self, journal: &Journal<S>, batch: &Batch) {
        self.position = batch.position.clone();
        self.raise_floor(journal);
        journal.note_damage(batch);
        self.save(journal);
    }

    /// Writes the position to the cursor file of the current directory, if possible.
    fn save<S>(&mut self, journal: &Journal<S>) {
        let serial = journal.pool.dir_serial.load(Ordering::Acquire);
        if self.of_dir != serial || self.file.is_none() {
            self.of_dir = serial;
            let path = journal.path().map(|dir| dir.join(CursorFile::name(&self.destination)));
            // If the process has no descriptors left, this fails now, and the next batch tries again.
            self.file = path.and_then(|path| CursorFile::open_or_create(&path).ok());
        }
        if let Some(file) = &mut self.file {
            let _ = file.save(&self.position);
        }
    }

    /// Reads the position that another process reached on behalf of this one (see [`Journal::hand_off`]). Returns whether it has
    /// changed.
    pub fn follow<S>(&mut self, journal: &Journal<S>) -> bool {
        let path = journal.path().map(|dir| dir.join(CursorFile::name(&self.destination)));
        if let Some(Ok((_, position))) = path.map(|path| CursorFile::open(&path)) {
            let before = std::mem::replace(&mut self.position, position);
            self.position.prune(before.floor);
            return self.position != before;
        }
        false
    }

    /// The number of records that are left, and their bytes. Reads them a megabyte at a time.
    #[must_use]
    pub fn backlog<S>(&self, journal: &Journal<S>) -> (u64, u64) {
        const COUNTED_AT_ONCE: usize = 1 << 20;
        let mut ahead = Self { position: self.position.clone(), ..Self::new(&self.destination) };
        let (mut records, mut bytes) = (0, 0);
        loop {
            let batch = ahead.read(journal, COUNTED_AT_ONCE);
            records += batch.len() as u64;
            bytes += batch.byte_len() as u64;
            if batch.position == ahead.position {
                return (records, bytes);
            }
            ahead.position = batch.position;
        }
    }
}
