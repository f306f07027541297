use super::cursor::CursorFile;
use super::pool::MEMORY_BUDGET;
use super::scan::{Writer, read_batch};
use super::segment::{CHUNK, SEGMENT};
use super::view::View;
use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod budget;
mod damage;
mod interleavings;
mod memory;
mod model;
mod reading;

type Journal = super::Journal<()>;

const DESTINATION: &str = "sink";

/// The number of cases, unless the soak test sets another one.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().map(|count| count.parse().unwrap());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

fn settings(root: &Path) -> Settings {
    Settings {
        root: Some(root.to_owned()),
        backend: Backend::Mapped,
        budget: Some(1 << 30),
        destinations: vec![DESTINATION.into()],
    }
}

fn journal_in(dir: &TempDir) -> Journal {
    Journal::open(settings(&dir.path().join("journal")))
}

fn append(journal: &Journal, payload: &[u8]) -> Result<(), AppendError> {
    journal.append(1, |out, ()| out.extend_from_slice(payload))
}

/// A payload of about this length that begins with its number.
fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + length, number as u8);
    payload
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.payloads().map(|payload| u64::from_le_bytes(payload[..8].try_into().unwrap())).collect()
}

/// Everything a new reader finds, batch by batch.
fn read_all(journal: &Journal, reader: &mut Reader) -> Vec<u64> {
    let mut found = Vec::new();
    loop {
        let batch = reader.read(journal, 1 << 16);
        if batch.is_empty() {
            return found;
        }
        assert_eq!(batch.corrupt, 0);
        found.extend(numbers(&batch));
        reader.advance(journal, &batch);
    }
}

/// Copies the journal's files under a name that no process holds, unlocked: the state after the death of its process.
fn copy_as_dead(journal: &Journal) -> PathBuf {
    let source = journal.path().unwrap();
    let dead = source.parent().unwrap().join("00000000000000de-ad");
    std::fs::create_dir(&dead).unwrap();
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dead.join(entry.file_name())).unwrap();
    }
    dead
}

fn adopt(root: &Path) -> (Vec<u64>, u64) {
    adopt_for(DESTINATION, root)
}

fn adopt_for(destination: &str, root: &Path) -> (Vec<u64>, u64) {
    let (_adopting, orphans) = adopt_all(root);
    let (mut found, mut corrupt) = (Vec::new(), 0);
    for orphan in &orphans {
        let Some(mut reader) = orphan.reader(destination).unwrap() else { continue };
        loop {
            let batch = reader.read(1 << 16);
            if !reader.moves(&batch) {
                break;
            }
            found.extend(numbers(&batch));
            corrupt += batch.corrupt;
            reader.advance(&batch).unwrap();
        }
    }
    for orphan in orphans {
        orphan.remove_if_passed(&UnsavedPositions::default()).unwrap();
    }
    (found, corrupt)
}

#[test]
fn appended_records_are_read_once_and_in_order() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    for round in 0..3 {
        for number in 0..5_000 {
            append(&journal, &numbered(round * 5_000 + number, 100)).unwrap();
        }
        journal.maintain(1);
        let expected: Vec<_> = (round * 5_000..(round + 1) * 5_000).collect();
        assert_eq!(read_all(&journal, &mut reader), expected);
    }
    assert_eq!(journal.tier(), if cfg!(target_os = "linux") { Tier::Mapped } else { Tier::Written });
    assert_eq!(journal.counts().appended, 15_000);
}

#[test]
fn many_writers_lose_nothing_and_repeat_nothing() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let journal = &journal;
                scope.spawn(move || {
                    (0..20_000).for_each(|n| append(journal, &numbered(writer * 20_000 + n, 50)).unwrap());
                })
            })
            .collect();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            journal.maintain(1);
            found.extend(read_all(&journal, &mut reader));
            journal.reclaim(&[reader.position()]);
        }
    });
    found.extend(read_all(&journal, &mut reader));
    assert_eq!(found.len(), 160_000);
    assert_eq!(found.into_iter().collect::<HashSet<_>>().len(), 160_000);
}

#[test]
fn passed_segments_are_deleted_and_only_those() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let (mut fast, slow) = (Reader::new("fast"), Reader::new("slow"));
    for number in 0..40_000 {
        append(&journal, &numbered(number, 300)).unwrap();
    }
    read_all(&journal, &mut fast);
    let before = journal.counts().disk_bytes;
    journal.reclaim(&[fast.position(), slow.position()]);
    assert_eq!(journal.counts().disk_bytes, before, "the slow reader still needs all of it");
    read_all(&journal, &mut fast);
    journal.reclaim(&[fast.position()]);
    assert!(journal.counts().disk_bytes <= 2 * SEGMENT as u64);
}

#[test]
fn the_next_process_reads_everything_of_a_dead_one() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    (0..1_000).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let batch = reader.read(&journal, 1 << 30);
    reader.advance(&journal, &batch);
    (1_000..30_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    let dead = copy_as_dead(&journal);
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), (1_000..30_000).collect());
    assert_eq!(corrupt, 0);
    assert!(!dead.exists());
}

#[test]
fn a_lost_cursor_repeats_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::write(dead.join(CursorFile::name(DESTINATION)), b"").unwrap();
    assert_eq!(adopt(dead.parent().unwrap()).0, (0..500).collect::<Vec<_>>());
}

#[test]
fn without_any_cursor_everything_is_delivered_again() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(dead.join(CursorFile::name(DESTINATION))).unwrap();
    assert_eq!(adopt(dead.parent().unwrap()).0, (0..500).collect::<Vec<_>>());
    assert!(!dead.exists());
}

#[test]
fn an_interrupted_deletion_is_finished() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(dead.join(segment_list::NAME)).unwrap();
    std::fs::remove_file(segment_path(&dead)).unwrap();
    std::fs::remove_file(dead.join(CursorFile::name(DESTINATION))).unwrap();
    assert_eq!(adopt(dead.parent().unwrap()), (vec![], 0));
    assert!(!dead.exists());
    std::fs::create_dir(&dead).unwrap();
    assert_eq!(adopt(dead.parent().unwrap()), (vec![], 0));
    assert!(!dead.exists());
}

/// Files that a user or another program put into a journal's directory are not deleted with it.
#[test]
fn files_that_taximeter_did_not_write_are_kept() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(1, 8)).unwrap();
    let dead = copy_as_dead(&journal);
    std::fs::write(dead.join("status.json"), "{}").unwrap();
    std::fs::write(dead.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(dead.join("backup")).unwrap();
    std::fs::write(dead.join("backup").join("ledger.db"), "mine too").unwrap();
    assert_eq!(adopt(dead.parent().unwrap()), (vec![1], 0));
    assert!(!dead.exists());
    let kept = dir.path().join("quarantine");
    let read = |name: &str| std::fs::read_to_string(kept.join(format!("00000000000000de-ad-{name}"))).unwrap();
    assert_eq!(
        (read("notes.txt.0.foreign").as_str(), read("backup.0.foreign/ledger.db").as_str()),
        ("mine", "mine too")
    );
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2);
    assert!(quarantine::list(dir.path()).unwrap().is_empty());
}

/// A cursor that could not be opened, for example without descriptors, is saved later.
#[test]
fn a_cursor_that_could_not_be_opened_is_opened_again() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let path = journal.path().unwrap().join(CursorFile::name(DESTINATION));
    std::fs::rename(&path, path.with_extension("aside")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut tail = Reader::new(DESTINATION);
    append(&journal, &numbered(1, 8)).unwrap();
    assert_eq!(read_all(&journal, &mut tail), [1]);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(path.with_extension("aside"), &path).unwrap();
    append(&journal, &numbered(2, 8)).unwrap();
    assert_eq!(read_all(&journal, &mut tail), [2]);
    assert_eq!(&CursorFile::position(&path).unwrap(), tail.position());
}

#[test]
fn a_journal_of_more_segments_than_a_cursor_holds_is_adopted_once() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(0, 8)).unwrap();
    let dead = copy_as_dead(&journal);
    // The same segment under many names: its header identifies it.
    let first = segment_path(&dead);
    for index in 2..70 {
        std::fs::copy(&first, dead.join(segment::file_name(index))).unwrap();
    }
    let (found, _) = adopt(dead.parent().unwrap());
    assert_eq!(found.len(), 69);
    assert!(!dead.exists());
}

#[test]
fn a_record_larger_than_a_chunk_is_refused_and_destroys_no_other() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    // Larger than the first chunk can hold, and the largest possible.
    let lengths = [CHUNK - 5_000, 10, MAX_PAYLOAD - 8, 10, MAX_PAYLOAD - 8];
    for (number, length) in lengths.into_iter().enumerate() {
        append(&journal, &numbered(number as u64, length)).unwrap();
        let refused = append(&journal, &numbered(99, MAX_PAYLOAD - 7)).unwrap_err();
        assert_eq!(refused, AppendError::TooLarge { payload: MAX_PAYLOAD + 1 });
        assert!(refused.to_string().contains("at most 65504"), "{refused}");
    }
    let mut found = read_all(&journal, &mut Reader::new(DESTINATION));
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4]);
    assert_eq!((journal.counts().appended, journal.counts().refused), (5, 0));
}

#[test]
fn a_closed_journal_rejects_records_with_an_error() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(1, 8)).unwrap();
    journal.close();
    assert_eq!(append(&journal, &numbered(2, 8)), Err(AppendError::Closed));
    assert_eq!(journal.maintain(1), 0);
    let mut reader = Reader::new(DESTINATION);
    assert!(!journal.is_drained(&[reader.position()]));
    assert_eq!(read_all(&journal, &mut reader), [1]);
    assert!(journal.is_drained(&[reader.position()]));
    assert_eq!(journal.counts().refused, 0);
}

#[test]
fn closing_does_not_deadlock_with_waiting_writers() {
    let dir = TempDir::new().unwrap();
    for _ in 0..100 {
        let mut settings = settings(&dir.path().join("journal"));
        settings.backend = Backend::Written;
        let journal = Journal::open(settings);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let journal = &journal;
                // Two records fill a chunk, so that writers claim chunks all the time.
                scope.spawn(move || while append(journal, &numbered(writer, 25_000)) != Err(AppendError::Closed) {});
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            journal.close();
        });
        journal.finish(true);
    }
}

#[test]
fn a_process_adopts_a_journal_that_it_closed_itself() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let root = journal.path().unwrap().parent().unwrap().to_owned();
    append(&journal, &numbered(1, 8)).unwrap();
    assert!(adopt(&root).0.is_empty());
    journal.close();
    journal.finish(false);
    assert_eq!(adopt(&root).0, [1]);
}

#[test]
fn a_segment_of_a_newer_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(1, 8)).unwrap();
    let dead = copy_as_dead(&journal);
    let path = segment_path(&dead);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    // A newer version keeps the position of the checksum, whatever else it changes.
    let crc = crc32fast::hash(&bytes[..56]).to_le_bytes();
    bytes[56..60].copy_from_slice(&crc);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(adopt(dead.parent().unwrap()), (vec![], 0));
    assert!(path.exists());
}

#[test]
fn the_journal_of_a_live_process_is_not_adopted() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(1, 9)).unwrap();
    assert_eq!(adopt(journal.path().unwrap().parent().unwrap()), (vec![], 0));
}

#[test]
fn over_budget_memory_fills_then_the_newest_are_refused_and_counted() {
    let dir = TempDir::new().unwrap();
    let mut settings = settings(&dir.path().join("journal"));
    settings.budget = Some(SEGMENT as u64);
    let journal = Journal::open(settings);
    let accepted = (0..100_000).filter(|number| append(&journal, &numbered(*number, 200)).is_ok()).count();
    let counts = journal.counts();
    assert_eq!((counts.appended, counts.refused), (accepted as u64, 100_000 - accepted as u64));
    assert!(counts.refused > 0);
    assert_eq!((counts.disk_bytes, counts.memory_bytes), (SEGMENT as u64, MEMORY_BUDGET as u64));
    // Delivery frees both, and the journal uses the disk again.
    let mut reader = Reader::new(DESTINATION);
    assert_eq!(read_all(&journal, &mut reader).len(), accepted);
    journal.release_idle_regions(true);
    read_all(&journal, &mut reader);
    let batch = reader.read(&journal, 1);
    reader.advance_in_memory(&journal, &batch);
    journal.reclaim(&[reader.position()]);
    journal.maintain(1);
    assert!(append(&journal, &numbered(1, 200)).is_ok());
    assert_eq!(journal.counts().memory_bytes, 0);
    assert_eq!(journal.tier(), Tier::Mapped);
}

#[test]
fn without_a_disk_events_are_kept_in_memory() {
    let journal = Journal::open(Settings { root: None, backend: Backend::Mapped, budget: None, destinations: vec![] });
    assert_eq!(journal.tier(), Tier::Memory);
    (0..1_000).for_each(|number| append(&journal, &numbered(number, 10)).unwrap());
    assert_eq!(read_all(&journal, &mut Reader::new(DESTINATION)).len(), 1_000);
}

#[test]
fn the_written_backend_gives_the_same_guarantees() {
    let dir = TempDir::new().unwrap();
    let mut settings = settings(&dir.path().join("journal"));
    settings.backend = Backend::Written;
    let journal = Journal::open(settings);
    (0..20_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    assert_eq!(journal.tier(), Tier::Written);
    let dead = copy_as_dead(&journal);
    assert_eq!(read_all(&journal, &mut Reader::new(DESTINATION)), (0..20_000).collect::<Vec<_>>());
    assert_eq!(adopt(dead.parent().unwrap()).0.len(), 20_000);
}

#[test]
fn a_finished_journal_leaves_no_directory_and_an_unfinished_one_its_events() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    append(&journal, &numbered(1, 10)).unwrap();
    let path = journal.path().unwrap();
    journal.close();
    journal.finish(false);
    assert!(path.exists());
    let journal = journal_in(&dir);
    let path = journal.path().unwrap();
    journal.close();
    journal.finish(true);
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(cases(64))]

    /// Compares the journal with a list, under appends, reads, restarts of the reader, maintenance and reclaiming in any order.
    #[test]
    fn the_journal_is_a_queue(steps in prop::collection::vec((0_u8..5, 1_usize..400), 1..60)) {
        let dir = TempDir::new().unwrap();
        let journal = journal_in(&dir);
        let mut reader = Reader::new(DESTINATION);
        let (mut written, mut read) = (0_u64, Vec::new());
        for (step, size) in steps {
            match step {
                0 | 1 => for _ in 0..size {
                    append(&journal, &numbered(written, size)).unwrap();
                    written += 1;
                },
                2 => {
                    let batch = reader.read(&journal, size * 100);
                    read.extend(numbers(&batch));
                    reader.advance(&journal, &batch);
                }
                3 => { journal.maintain(1); }
                _ => {
                    journal.reclaim(&[reader.position()]);
                }
            }
        }
        read.extend(read_all(&journal, &mut reader));
        prop_assert_eq!(read, (0..written).collect::<Vec<_>>());
    }
}

fn segment_path(dir: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files.swap_remove(0)
}

/// A destination that is more segments ahead of another than an earlier cursor file could hold repeats nothing after a crash.
#[test]
fn a_reader_far_ahead_of_another_repeats_nothing() {
    let dir = TempDir::new().unwrap();
    let mut settings = settings(&dir.path().join("journal"));
    settings.destinations = vec!["fast".into(), "slow".into()];
    let journal = Journal::open(settings);
    let (mut fast, slow) = (Reader::new("fast"), Reader::new("slow"));
    let total = 80 * 64;
    let mut seen = 0;
    for number in 0..total {
        append(&journal, &numbered(number, 50_000)).unwrap();
        if number % 64 == 63 || number + 1 == total {
            journal.maintain(1);
            seen += read_all(&journal, &mut fast).len() as u64;
            journal.reclaim(&[fast.position(), slow.position()]);
        }
    }
    assert_eq!(seen, total);
    let dead = copy_as_dead(&journal);
    assert_eq!(adopt_for("fast", dead.parent().unwrap()).0, Vec::<u64>::new());
    assert_eq!(adopt_for("slow", dead.parent().unwrap()).0.len() as u64, total);
    assert!(!dead.exists());
}

/// The cursor tells how far a destination has read. The list of destinations is a separate file.
#[test]
fn a_missing_cursor_means_the_beginning() {
    for lost in [&["fast"][..], &["fast", "slow"][..]] {
        let dir = TempDir::new().unwrap();
        let mut settings = settings(&dir.path().join("journal"));
        settings.destinations = vec!["fast".into(), "slow".into()];
        let journal = Journal::open(settings);
        (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
        let dead = copy_as_dead(&journal);
        for name in lost {
            std::fs::remove_file(dead.join(CursorFile::name(name))).unwrap();
        }
        let root = dead.parent().unwrap();
        assert_eq!(adopt_for("other", root).0.len(), 0);
        assert_eq!(adopt_for("slow", root).0.len(), 500);
        assert!(dead.exists(), "the other destination has nothing yet");
        assert_eq!(adopt_for("fast", root).0.len(), 500);
        assert!(!dead.exists());
    }
}
