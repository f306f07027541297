//! Readers: one's own journal with a cursor for each destination, and the journals that others left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::owner::{Adopting, Foreign, foreign_dirs};
use super::recovery::segment_files;
use super::segment::{CHUNKS, Segment};
use super::{
    Batch, CursorFile, Journal, MEMORY_BUDGET, Owner, Position, QUARANTINE_BUDGET, Room, View, lock, read_batch,
};

/// One destination's reader of its own process's journal.
pub struct Tail {
    destination: String,
    position: Position,
    file: Option<CursorFile>,
    of_dir: u64,
}

impl Tail {
    /// A reader at the beginning.
    #[must_use]
    pub fn new(destination: &str) -> Self {
        Self { destination: destination.to_owned(), position: Position::default(), file: None, of_dir: 0 }
    }

    /// Records after this reader's position, some `limit` bytes of them.
    #[must_use]
    pub fn read(&self, journal: &Journal, limit: usize) -> Batch {
        // The list is cloned as handles, so that reading holds no lock.
        let views: Vec<_> = lock(&journal.views).iter().map(View::handle).collect();
        read_batch(&views, &self.position, limit, Owner::Myself)
    }

    /// Records of the segment that is being written, when older ones are left as well: what is new does not wait for a backlog.
    #[must_use]
    pub fn read_newest(&self, journal: &Journal, limit: usize) -> Option<Batch> {
        let views: Vec<_> = lock(&journal.views).iter().map(View::handle).collect();
        let (newest, older) = views.split_last()?;
        if older.iter().all(|view| view.is_passed_by(&self.position)) {
            return None;
        }
        let batch = read_batch(std::slice::from_ref(newest), &self.position, limit, Owner::Myself);
        (!batch.is_empty()).then_some(batch)
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Moves past a batch that has no records: there is nothing to keep on disk.
    pub fn advance_in_memory(&mut self, batch: &Batch) {
        self.position = batch.position.clone();
    }

    /// Moves past a batch. What is on disk follows as it can; memory decides.
    pub fn advance(&mut self, journal: &Journal, batch: &Batch) {
        self.position = batch.position.clone();
        journal.note_damage(batch);
        let serial = journal.dir_serial.load(Ordering::Acquire);
        if self.of_dir != serial {
            self.of_dir = serial;
            let path = journal.path().map(|dir| dir.join(CursorFile::name(&self.destination)));
            self.file = path.and_then(|path| CursorFile::open(&path).ok()).map(|(file, _)| file);
        }
        if let Some(file) = &mut self.file {
            let _ = file.save(&self.position);
        }
    }

    /// Takes over how far another process came on behalf of this one (see [`Journal::hand_off`]); whether it came further.
    pub fn follow(&mut self, journal: &Journal) -> bool {
        let path = journal.path().map(|dir| dir.join(CursorFile::name(&self.destination)));
        if let Some(Ok((_, position))) = path.map(|path| CursorFile::open(&path)) {
            let before = std::mem::replace(&mut self.position, position);
            self.position.prune(before.floor);
            return self.position != before;
        }
        false
    }

    /// Forgets segments that are gone.
    pub fn prune(&mut self, first_left: u64) {
        self.position.prune(first_left);
    }
}

impl View {
    fn handle(&self) -> Self {
        match self {
            Self::Live(segment) => Self::Live(Arc::clone(segment)),
            Self::File { index, path } => Self::File { index: *index, path: path.clone() },
        }
    }
}

impl Journal {
    fn note_damage(&self, batch: &Batch) {
        if batch.corrupt > 0 {
            self.count_corrupt(batch.corrupt);
            lock(&self.damaged).extend(batch.damaged());
        }
    }

    /// Counts damaged records, wherever they were found.
    pub fn count_corrupt(&self, records: u64) {
        self.corrupt.fetch_add(records, Ordering::Relaxed);
    }

    /// Deletes the segments that every reader has passed, and lets go of the maps of sealed ones. Returns the first index that
    /// is left.
    pub fn reclaim(&self, tails: &[&Tail]) -> u64 {
        let mut views = lock(&self.views);
        if tails.is_empty() {
            // Nobody reads: then everything is kept for who may.
            return 0;
        }
        let mut passed = Vec::new();
        let mut first_left = None;
        let mut last = 0;
        views.retain_mut(|view| {
            last = last.max(view.index());
            if let View::Live(segment) = view
                && !self.is_handed_off.load(Ordering::Relaxed)
                && segment.is_sealed()
                && segment.store.is_linked()
                && let Some(path) = segment.path.clone()
            {
                *view = View::File { index: segment.index, path };
            }
            // A live one without a path is memory, and one that lost its name is read from its open file to the end.
            let is_sealed = !matches!(view, View::Live(segment) if !segment.is_sealed());
            if is_sealed && tails.iter().all(|tail| view.is_passed_by(&tail.position)) {
                passed.push(view.handle());
                return false;
            }
            first_left.get_or_insert(view.index());
            true
        });
        let first_left = first_left.unwrap_or(if last > 0 { last + 1 } else { 0 });
        drop(views);
        for view in &passed {
            self.discard(view);
        }
        first_left
    }

    /// Gives up the oldest segment that some reader has not passed, as the last resort: when the budget is used up, and half of the
    /// memory that stands in for it; without a disk, when all of the memory is. `positions` are those of the readers; returns how many
    /// records and bytes each of them loses, or `None` when nothing had to go, or nothing would be gained, because others filled the
    /// disk.
    pub fn evict(&self, positions: &[&Position]) -> Option<Vec<(u64, u64)>> {
        if positions.is_empty() || self.is_handed_off.load(Ordering::Relaxed) || !self.is_in_need() {
            return None;
        }
        let would_gain = self.room().is_some_and(Room::would_gain);
        let may_go = |view: &View| would_gain || (view.path().is_none() && self.is_memory_used_up());
        let oldest = {
            let mut views = lock(&self.views);
            let place = views.iter().position(|view| match view {
                View::File { .. } => true,
                View::Live(segment) => segment.path.is_none() && segment.is_sealed(),
            })?;
            if !may_go(&views[place]) {
                return None;
            }
            views.remove(place)
        };
        let lost = |position: &&Position| {
            let batch = read_batch(std::slice::from_ref(&oldest), position, usize::MAX, Owner::Myself);
            (batch.len() as u64, batch.byte_len() as u64)
        };
        let lost = positions.iter().map(lost).collect();
        self.discard(&oldest);
        Some(lost)
    }

    /// Whether half of the memory is used, and little is left of the segment that is being written, with no other ready.
    fn is_in_need(&self) -> bool {
        let is_last = self.is_memory_used_up();
        let pool = lock(&self.pool);
        let is_running_out = |segment: &Arc<Segment>| {
            let left = segment.chunks() - segment.claimed();
            let is_memory = segment.path.is_none();
            left <= CHUNKS / 8 || (is_memory && is_last)
        };
        2 * self.memory() >= MEMORY_BUDGET
            && pool.spares.is_empty()
            && pool.current.as_ref().is_some_and(is_running_out)
    }

    /// How many records only memory holds that a reader has not passed; of the reader that lacks most.
    #[must_use]
    pub fn unread_in_memory(&self, tails: &[&Tail]) -> u64 {
        let views = lock(&self.views);
        let in_memory: Vec<_> = views.iter().filter(|view| view.path().is_none()).map(View::handle).collect();
        drop(views);
        let unread = |tail: &&Tail| read_batch(&in_memory, &tail.position, usize::MAX, Owner::Myself).len() as u64;
        tails.iter().map(unread).max().unwrap_or(0)
    }

    /// Deletes a segment that nobody reads any more.
    fn discard(&self, view: &View) {
        let Some(path) = view.path() else {
            self.memory_segments.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        self.disk_segments.fetch_sub(1, Ordering::Relaxed);
        let is_damaged = lock(&self.damaged).remove(&view.index());
        delete(path, self.settings.root.as_deref().filter(|_| is_damaged));
    }

    /// Whether every reader has everything, once the journal is closed.
    #[must_use]
    pub fn is_drained(&self, tails: &[&Tail]) -> bool {
        let views = lock(&self.views);
        views.iter().all(|view| tails.iter().all(|tail| view.is_passed_by(&tail.position)))
    }
}

/// Deletes a segment; one with damage is kept for inspection beside the journals, as long as those take little.
fn delete(path: &Path, keep_beside: Option<&Path>) {
    let kept = keep_beside.and_then(Path::parent).is_some_and(|state| {
        let quarantine = state.join("quarantine");
        let bytes = |dir: &Path| -> u64 {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
        };
        let dir = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        crate::sys::fs::create_private_dir(&quarantine).is_ok()
            && bytes(&quarantine) + path.metadata().map_or(0, |data| data.len()) <= QUARANTINE_BUDGET
            && std::fs::rename(path, quarantine.join(format!("{dir}-{file}"))).is_ok()
    });
    if !kept {
        let _ = std::fs::remove_file(path);
    }
}

/// The journals of other processes that may be read now, as long as this value lives. Only one part of a process at a time.
pub struct Foreigners {
    found: Vec<Foreign>,
    _only: Adopting,
}

impl Foreigners {
    /// Looks for journals under `root`; `None` while another part of this process does.
    #[must_use]
    pub fn find(root: &Path) -> Option<Self> {
        let only = Adopting::begin()?;
        Some(Self { found: foreign_dirs(root, &[]).collect(), _only: only })
    }

    /// Looks for journals that have come since; how many there were before.
    pub fn look_again(&mut self, root: &Path) -> usize {
        let known: Vec<_> = self.found.iter().map(|foreign| foreign.path.clone()).collect();
        self.found.extend(foreign_dirs(root, &known));
        known.len()
    }

    /// A reader of each journal after the first `known` that has something for `destination`.
    #[must_use]
    pub fn tails(&self, destination: &str, known: usize) -> Vec<ForeignTail> {
        let tail = |foreign: &Foreign| {
            let path = foreign.path.join(CursorFile::name(destination));
            let views = segment_files(&foreign.path).ok()?;
            if foreign.destinations().is_empty() && !views.is_empty() {
                // All cursors are lost: then everything is for everybody, from the beginning.
                CursorFile::create(&path).ok()?;
            }
            let (file, position) = CursorFile::open(&path).ok()?;
            Some(ForeignTail {
                views,
                owner: if foreign.is_owner_alive { Owner::Alive } else { Owner::Gone },
                root: foreign.path.parent()?.to_owned(),
                file,
                position,
                damaged: BTreeSet::new(),
            })
        };
        self.found.iter().skip(known).filter_map(tail).collect()
    }

    /// Deletes the journals of the dead that all their destinations have passed.
    pub fn remove_finished(self) {
        for foreign in self.found {
            // What cannot be listed now is not deleted: it comes again.
            let Ok(views) = segment_files(&foreign.path) else { continue };
            let has_passed = |destination: &String| {
                let cursor = CursorFile::open(&foreign.path.join(CursorFile::name(destination)));
                cursor.is_ok_and(|(_, position)| views.iter().all(|view| view.is_passed_by(&position)))
            };
            let destinations = foreign.destinations();
            let is_known = !destinations.is_empty() || views.is_empty();
            if !foreign.is_owner_alive && is_known && destinations.iter().all(has_passed) {
                foreign.remove();
            }
        }
    }
}

/// One destination's reader of another process's journal.
pub struct ForeignTail {
    views: Vec<View>,
    owner: Owner,
    root: std::path::PathBuf,
    file: CursorFile,
    position: Position,
    damaged: BTreeSet<u64>,
}

impl ForeignTail {
    /// Records after this reader's position.
    #[must_use]
    pub fn read(&self, limit: usize) -> Batch {
        read_batch(&self.views, &self.position, limit, self.owner)
    }

    /// Whether a batch moves the reader, be it past damage only.
    #[must_use]
    pub fn moves(&self, batch: &Batch) -> bool {
        batch.position != self.position
    }

    /// Moves past a batch, in memory and on disk.
    ///
    /// # Errors
    /// Those of the operating system; the events would be delivered again.
    pub fn advance(&mut self, batch: &Batch) -> std::io::Result<()> {
        self.position = batch.position.clone();
        // Marks of what is behind are dropped, so that those that are left fit the file.
        let first_left = match self.owner {
            Owner::Gone | Owner::Myself => {
                self.views.iter().find(|view| !view.is_passed_by(&self.position)).map(View::index)
            }
            // The owner deletes what is passed, and may still write to the rest.
            Owner::Alive => self.views.first().map(View::index),
        };
        self.position.prune(first_left.or_else(|| Some(self.views.last()?.index() + 1)).unwrap_or(0));
        self.file.save(&self.position)?;
        self.damaged.extend(batch.damaged());
        if self.owner == Owner::Gone {
            let position = &self.position;
            let passed =
                self.views.iter().filter(|view| view.is_passed_by(position) && self.damaged.contains(&view.index()));
            passed.filter_map(View::path).filter(|path| path.exists()).for_each(|path| delete(path, Some(&self.root)));
        }
        Ok(())
    }
}
