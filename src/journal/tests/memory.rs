//! Events in memory are copied to the disk once it has space.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ONE: u64 = SEGMENT as u64;

/// The journal of another process that uses up the budget while it exists.
struct Foreign(PathBuf);

impl Foreign {
    fn new(root: &Path) -> Self {
        let dir = root.join("00000000000000aa-00000000000000aa");
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir.join("0000000000000001.seg"))
    }

    fn take_space(&self) {
        std::fs::write(&self.0, vec![1; 4 * SEGMENT]).unwrap();
    }

    fn free_space(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A journal whose first records are in memory, because another process uses up the budget.
fn journal_in_memory(root: &Path, records: u64) -> (Journal, Foreign) {
    std::fs::create_dir_all(root).unwrap();
    let foreign = Foreign::new(root);
    foreign.take_space();
    let journal = Journal::open(Settings { budget: Some(3 * ONE), ..settings(root) });
    (0..records).for_each(|number| append(&journal, &numbered(number, 100)).unwrap());
    assert_eq!(journal.unread_in_memory(&[]), records);
    (journal, foreign)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A process that has few events would keep them in memory for hours, if only its next ones led to the disk.
#[test]
fn maintenance_alone_copies_the_events_in_memory_to_the_disk() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (journal, foreign) = journal_in_memory(&root, 3_000);
    journal.maintain(1);
    assert_eq!(journal.unread_in_memory(&[]), 3_000, "there is no space");
    foreign.free_space();
    wait_until("the events stay in memory", || {
        journal.maintain(1);
        journal.unread_in_memory(&[]) == 0
    });
    append(&journal, &numbered(3_000, 100)).unwrap();
    assert_eq!((journal.unread_in_memory(&[]), journal.counts().memory_bytes), (0, 0));
    // The process is killed while it copies another segment.
    let dead = copy_as_dead(&journal);
    std::fs::write(dead.join("0000000000000002.tmp"), vec![1; 5_000]).unwrap();
    let (found, corrupt) = adopt(&root);
    assert_eq!((found, corrupt), ((0..=3_000).collect(), 0));
    assert!(!dead.exists());
}

/// A destination that has read a part in memory goes on in the file, and both destinations release the space.
#[test]
fn positions_stay_valid_in_a_copy() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (journal, foreign) = journal_in_memory(&root, 3_000);
    let (mut ahead, mut behind) = (Reader::new(DESTINATION), Reader::new("other"));
    let all = ahead.read(&journal, usize::MAX);
    ahead.advance(&journal, &all);
    let some = behind.read(&journal, usize::MAX).prefix(1_000);
    behind.advance(&journal, &some);
    // What was read before the copy is a batch in flight.
    let in_flight = behind.read(&journal, 1).prefix(100);
    foreign.free_space();
    wait_until("the events stay in memory", || {
        journal.maintain(1);
        journal.counts().memory_bytes == 0
    });
    behind.advance(&journal, &in_flight);
    assert_eq!(read_all(&journal, &mut ahead), [] as [u64; 0]);
    assert_eq!(read_all(&journal, &mut behind), (1_100..3_000).collect::<Vec<_>>());
    journal.close();
    for reader in [&mut ahead, &mut behind] {
        assert_eq!(read_all(&journal, reader), [] as [u64; 0]);
        let rest = reader.read(&journal, usize::MAX);
        reader.advance(&journal, &rest);
    }
    assert!(journal.is_drained(&[ahead.position(), behind.position()]));
    journal.reclaim(&[ahead.position(), behind.position()]);
    assert_eq!(journal.counts().disk_bytes, 0);
}

/// A copy that fails loses nothing and leaves nothing behind.
#[test]
fn events_stay_in_memory_while_they_cannot_be_copied() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (journal, foreign) = journal_in_memory(&root, 3_000);
    let in_the_way = journal.path().unwrap().join("0000000000000001.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    foreign.free_space();
    wait_until("new events stay in memory", || {
        journal.maintain(1);
        !journal.is_out_of_space()
    });
    assert_eq!(journal.unread_in_memory(&[]), 3_000);
    append(&journal, &numbered(3_000, 100)).unwrap();
    assert_eq!(journal.unread_in_memory(&[]), 3_000, "the new one is on disk");
    // At the end, the copy is tried once more without a pause.
    std::fs::remove_dir(&in_the_way).unwrap();
    journal.close();
    journal.save_memory(1);
    assert_eq!(journal.unread_in_memory(&[]), 0);
    copy_as_dead(&journal);
    assert_eq!(adopt(&root), ((0..=3_000).collect(), 0));
}

/// The maintenance may still run when the journal is closed. Only the last copy is made after that.
#[test]
fn a_closed_journal_is_not_changed_by_maintenance() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (journal, foreign) = journal_in_memory(&root, 100);
    journal.close();
    foreign.free_space();
    journal.pool.copy_memory_to_disk(1, false);
    assert_eq!(journal.unread_in_memory(&[]), 100);
    std::thread::sleep(std::time::Duration::from_millis(30));
    journal.save_memory(1);
    assert_eq!(journal.unread_in_memory(&[]), 0);
}

/// While the budget is used up and freed again and again, each record is delivered exactly once.
#[test]
fn copies_neither_lose_nor_repeat_what_is_delivered_meanwhile() {
    const EACH: u64 = 15_000;
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (journal, foreign) = journal_in_memory(&root, 10);
    let is_over = AtomicBool::new(false);
    let mut found = std::thread::scope(|scope| {
        for writer in 0..2 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..EACH {
                    // Memory is used up until the reader has read some of it, or it was copied.
                    while append(journal, &numbered(10 + writer * EACH + number, 500)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                journal.maintain(1);
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                foreign.free_space();
                std::thread::sleep(std::time::Duration::from_millis(3));
                foreign.take_space();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        let mut reader = Reader::new(DESTINATION);
        let mut found = Vec::new();
        while found.len() < (10 + 2 * EACH) as usize {
            let batch = reader.read(&journal, 1 << 18);
            assert_eq!(batch.corrupt, 0);
            found.extend(numbers(&batch));
            reader.advance(&journal, &batch);
            journal.reclaim(&[reader.position()]);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        is_over.store(true, Ordering::Release);
        found
    });
    found.sort_unstable();
    assert_eq!(found, (0..10 + 2 * EACH).collect::<Vec<_>>());
    assert!(journal.counts().disk_bytes <= 3 * ONE);
}
