//! The journals that ended processes left: found, read for each destination, and deleted once all destinations have passed them.

use std::collections::BTreeSet;
use std::path::Path;

use super::owner::{Adopting, Foreign, foreign_dirs};
use super::retention::delete;
use super::view::segment_files;
use super::{Batch, CursorFile, Owner, Position, View, read_batch};

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
