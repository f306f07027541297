//! The pool of orphan journals without threads: turns, counts and positions.

use std::path::Path;

use super::*;
use crate::delivery::EventJournal;
use crate::delivery::bring::{Next, bring_next};
use crate::delivery::{Delivered, Failure, LocalSink};
use crate::event::UsageEvent;
use crate::event::binary::encode;
use crate::journal::{Backend, Settings};
use crate::sys::filesystem::{Fault, break_files};

const NAME: &str = "one";

fn pool(root: &Path) -> OrphanPool {
    OrphanPool::new(Some(root.to_owned()), vec![vec![NAME.to_owned()]])
}

/// Creates the journal of an ended process with one record. Returns its directory.
fn leave(root: &Path) -> PathBuf {
    leave_for(root, &[NAME], b"record")
}

fn leave_for(root: &Path, names: &[&str], record: &[u8]) -> PathBuf {
    let journal = EventJournal::open(Settings {
        root: Some(root.to_owned()),
        backend: Backend::Written,
        budget: Some(1 << 40),
        destinations: names.iter().map(|name| (*name).to_owned()).collect(),
    });
    journal.append(1, |out, _| out.extend_from_slice(record)).unwrap();
    let path = journal.path().unwrap();
    journal.close();
    journal.finish(false);
    path
}

/// Changes the version of the segment to a newer one, which this version cannot read.
fn make_unreadable(journal: &Path) {
    let segment = segment_of(journal);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..56]).to_le_bytes();
    bytes[56..60].copy_from_slice(&crc);
    std::fs::write(&segment, &bytes).unwrap();
}

fn segment_of(journal: &Path) -> PathBuf {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path()).find(is_segment).unwrap()
}

/// Refills until `is_so`, because another test of this process may hold the right to read orphan journals for a while.
fn refilled(pool: &OrphanPool, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + std::time::Duration::from_mins(1);
    while Instant::now() < deadline {
        pool.refill();
        if is_so() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

/// More unreadable journals than can be held at a time do not block the others.
#[test]
fn unreadable_journals_do_not_delay_others() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    for _ in 0..MAX_HELD + 8 {
        let path = leave(&root);
        make_unreadable(&path);
        // By name, they come before the readable one.
        std::fs::rename(&path, root.join(format!("0-{}", path.file_name().unwrap().to_string_lossy()))).unwrap();
    }
    let path = leave(&root);
    std::fs::rename(&path, root.join("z-good")).unwrap();
    let pool = pool(&root);
    let is_found = refilled(&pool, || {
        let Some(taken) = pool.take(0) else { return false };
        if taken.reader.journal().ends_with("z-good") {
            return true;
        }
        let batch = taken.reader.read(1 << 20);
        assert!(batch.is_incomplete && !taken.reader.moves(&batch));
        pool.let_go(0);
        false
    });
    assert!(is_found);
}

/// While space is short, the whole segments of a killed process are truncated although a search that began before cannot go on.
#[test]
fn segments_of_killed_processes_are_truncated_while_space_is_short() {
    const SEGMENT: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    (0..=MAX_HELD).for_each(|_| drop(leave(&root)));
    let pool = pool(&root);
    assert!(refilled(&pool, || lock(&pool.inner).held.len() == MAX_HELD));
    // The files of a process that was killed now.
    let live = EventJournal::open(Settings {
        root: Some(dir.path().join("live")),
        backend: Backend::Mapped,
        budget: Some(1 << 40),
        destinations: vec![NAME.to_owned()],
    });
    live.append(1, |out, _| out.extend_from_slice(b"record")).unwrap();
    let (from, dead) = (live.path().unwrap(), root.join("killed"));
    crate::sys::fs::create_private_dir(&dead).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dead.join(entry.file_name())).unwrap();
    }
    let segment = segment_of(&dead);
    pool.refill();
    assert_eq!(segment.metadata().unwrap().len(), SEGMENT);
    pool.set_space_short(true);
    assert!(refilled(&pool, || segment.metadata().unwrap().len() < SEGMENT));
}

/// The records of a journal are counted while it is held, however many searches end in the meantime.
#[test]
fn another_search_keeps_the_counts_of_held_journals() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    leave(&root);
    let pool = pool(&root);
    let mut taken = None;
    assert!(refilled(&pool, || {
        taken = taken.take().or_else(|| pool.take(0));
        taken.is_some()
    }));
    assert_eq!(pool.pending(), 1);
    lock(&pool.inner).next_search = Instant::now();
    assert!(refilled(&pool, || lock(&pool.inner).next_search > Instant::now() + ADOPT_PAUSE));
    assert_eq!((pool.pending(), pool.backlog(0).records), (1, 1));
    // A thread that panicked has lost its reader: the journal is released, and is found again.
    drop(taken);
    pool.let_go(0);
    assert!(refilled(&pool, || lock(&pool.inner).held.is_empty()));
    lock(&pool.inner).next_search = Instant::now();
    assert!(refilled(&pool, || pool.take(0).is_some()));
}

/// A search that takes seconds blocks neither `flush()` nor `stats()` nor requests.
#[test]
fn a_search_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pool = pool(&dir.path().join("journal"));
    let _searching = lock(&pool.search);
    pool.refill();
    pool.set_accepting(0, true);
    assert!(pool.take(0).is_none() && !pool.may_have(0) && !pool.has_searched());
    assert_eq!((pool.pending(), pool.backlog(0).records), (0, 0));
}

/// A destination that counts the delivered events.
#[derive(Default)]
struct Counting(u64);

impl LocalSink for Counting {
    fn name(&self) -> &str {
        NAME
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        self.0 += events.len() as u64;
        Ok(Delivered { accepted: events.len() as u64, duplicates: 0 })
    }
}

/// Removes the faults of this thread, however a test ends.
struct ClearFaults;

impl Drop for ClearFaults {
    fn drop(&mut self) {
        break_files(None);
    }
}

/// Delivers everything that a search finds to one destination.
fn bring_all(pool: &OrphanPool, sink: &mut Counting) {
    lock(&pool.inner).next_search = Instant::now();
    assert!(refilled(pool, || {
        while let Some(mut taken) = pool.take(0) {
            while let Next::Batch(batch, _) = bring_next(sink, &mut taken.reader) {
                pool.note_passed(0, &taken, &batch);
            }
            pool.give_back(0, taken, true);
        }
        pool.is_finished()
    }));
}

/// On a full disk no cursor can be written. Delivered events are still not delivered again, and a finished journal is deleted.
#[test]
fn on_a_full_disk_delivered_events_are_not_delivered_again() {
    let _clear = ClearFaults;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    let mut record = Vec::new();
    encode(&UsageEvent { provider: "p", model: "m", ..UsageEvent::default() }, &[], &mut record);
    let (own, shared) = (leave_for(&root, &[NAME], &record), leave_for(&root, &[NAME, "other"], &record));
    // As after a crash: without a cursor, which cannot be created now either.
    std::fs::remove_file(shared.join("one.cursor")).unwrap();
    let (pool, mut sink) = (pool(&root), Counting::default());
    break_files(Some(Fault::Space));
    for _ in 0..3 {
        bring_all(&pool, &mut sink);
        assert_eq!((sink.0, pool.pending()), (2, 0));
    }
    assert_eq!((own.exists(), shared.exists()), (false, true));
    // When there is space again, the next search saves the position for other processes.
    break_files(None);
    bring_all(&pool, &mut sink);
    pool.close();
    drop(pool);
    let pool = self::pool(&root);
    bring_all(&pool, &mut sink);
    assert_eq!(sink.0, 2);
}

/// A short backoff keeps the held journals, because another search would only find the same ones.
#[test]
fn a_short_backoff_keeps_the_held_journals() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    leave(&root);
    let pool = pool(&root);
    assert!(refilled(&pool, || pool.may_have(0) && !lock(&pool.inner).is_searching));
    let next_search = lock(&pool.inner).next_search;
    pool.set_accepting(0, false);
    pool.refill();
    assert_eq!(lock(&pool.inner).held.len(), 1);
    pool.set_accepting(0, true);
    assert_eq!(lock(&pool.inner).next_search, next_search);
    // A long backoff releases them for other processes.
    lock(&pool.inner).refusing_since[0] = Instant::now().checked_sub(REFUSING_FOR);
    pool.refill();
    assert_eq!(lock(&pool.inner).held.len(), 0);
    pool.set_accepting(0, true);
    assert!(lock(&pool.inner).next_search <= Instant::now() + ADOPT_PAUSE);
}

/// There are more journals of killed processes than can be held at a time. The unused space of the waiting ones is freed as well.
#[test]
fn journals_that_wait_take_no_more_space_than_their_events() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("journal");
    let journals: Vec<_> = (0..MAX_HELD + 6)
        .map(|_| {
            let journal = EventJournal::open(Settings {
                root: Some(root.clone()),
                backend: Backend::Mapped,
                budget: Some(1 << 40),
                destinations: vec![NAME.to_owned()],
            });
            journal.append(1, |out, _| out.extend_from_slice(b"record")).unwrap();
            // The directory of a killed process, which closed nothing.
            let (path, dead) = (journal.path().unwrap(), root.join(format!("dead-{}", fastrand::u64(..))));
            std::fs::create_dir(&dead).unwrap();
            for entry in std::fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), dead.join(entry.file_name())).unwrap();
            }
            journal.close();
            journal.finish(true);
            dead
        })
        .collect();
    let bytes = |dir: &PathBuf| -> u64 {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(journals.iter().all(|dir| bytes(dir) > 4 << 20));
    let pool = pool(&root);
    assert!(refilled(&pool, || journals.iter().all(|dir| bytes(dir) < 1 << 20)));
    assert_eq!(lock(&pool.inner).held.len(), MAX_HELD);
    pool.close();
}
