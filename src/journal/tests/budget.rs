//! The shared disk budget of the journals of a state directory, and the files of a closed journal.

use super::disk_budget::taken;
use super::*;

const ONE: u64 = SEGMENT as u64;

/// The bytes on disk of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        data if data.is_dir() => bytes_below(&entry.path()),
        data => crate::sys::fs::allocated(&data),
    };
    entries.map(bytes).sum()
}

#[test]
fn all_journals_of_a_state_directory_share_one_budget() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let open = || Journal::open(Settings { budget: Some(3 * ONE), ..settings(&root) });
    let journals: Vec<_> = (0..6).map(|_| open()).collect();
    for journal in &journals {
        (0..4_000).for_each(|number| append(journal, &numbered(number, 1000)).unwrap());
    }
    let on_disk: u64 = journals.iter().map(|journal| journal.counts().disk_bytes).sum();
    assert!(on_disk <= 3 * ONE && taken(&root, None) <= 3 * ONE, "{on_disk}");
    // The last journal cannot evict the segments of the first one. It rejects new records and counts them.
    let last = &journals[5];
    assert_eq!(last.counts().disk_bytes, 0);
    let accepted = (0..20_000).filter(|number| append(last, &numbered(*number, 1000)).is_ok()).count() as u64;
    assert_eq!(last.counts().refused, 20_000 - accepted);
    assert!(accepted < 20_000);
    let first = &journals[0];
    assert_eq!(first.budget(), Some(3 * ONE - (taken(&root, first.path().as_deref()))));
    // When one process is done, the others can use its share.
    journals[0].close();
    journals[0].finish(true);
    std::thread::sleep(std::time::Duration::from_millis(40));
    last.maintain(1);
    assert_eq!(last.counts().disk_bytes, ONE);
}

#[test]
fn the_quarantine_counts_towards_the_budget() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    std::fs::create_dir_all(dir.path().join("quarantine")).unwrap();
    std::fs::write(dir.path().join("quarantine").join("x-0000000000000001.seg"), vec![1; 2 * SEGMENT]).unwrap();
    let journal = Journal::open(Settings { budget: Some(2 * ONE), ..settings(&root) });
    append(&journal, b"12345678").unwrap();
    assert_eq!(journal.counts().disk_bytes, 0);
    assert_eq!(journal.budget(), Some(0));
}

#[test]
fn short_programs_leave_little_and_lose_nothing() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    for number in 0..40 {
        let backend = if number % 2 == 0 { Backend::Mapped } else { Backend::Written };
        let journal = Journal::open(Settings { backend, ..settings(&root) });
        append(&journal, &numbered(number, 300)).unwrap();
        journal.maintain(1);
        journal.close();
        journal.finish(false);
    }
    let bytes = bytes_below(dir.path());
    // Five blocks of 4 KiB per journal: three of the segment, one of the list of segments and one of the list of destinations.
    assert!(bytes <= 40 * 5 * 4096, "{bytes}");
    let (mut found, corrupt) = adopt(&root);
    found.sort_unstable();
    assert_eq!((found, corrupt), ((0..40).collect(), 0));
}

/// On a full disk, a truncated cursor cannot be saved, and events come again if the process that delivers them is killed.
#[test]
fn the_cursor_of_a_large_journal_keeps_its_space() {
    for (records, has_space) in [(2_000, false), (6_000, true)] {
        let dir = TempDir::new().unwrap();
        let journal = journal_in(&dir);
        (0..records).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
        let cursor = journal.path().unwrap().join(CursorFile::name(DESTINATION));
        journal.close();
        journal.finish(false);
        assert_eq!(std::fs::metadata(cursor).unwrap().len() > 0, has_space);
    }
}

#[test]
fn a_closed_journal_is_truncated_after_its_last_record_and_still_readable() {
    for backend in [Backend::Mapped, Backend::Written] {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("journal");
        let journal = Journal::open(Settings { backend, ..settings(&root) });
        (0..25_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
        journal.close();
        let (records, taken) = (journal.counts().appended_bytes, taken(&root, None));
        assert!(taken < records + records / 50 + 100_000, "{taken} for {records}");
        assert_eq!(journal.counts().disk_bytes, 3 * ONE, "no spare segment is left");
        let mut reader = Reader::new(DESTINATION);
        assert_eq!(read_all(&journal, &mut reader).len(), 25_000);
        assert!(journal.is_drained(&[reader.position()]));
        // A truncation after that is noticed.
        let dead = copy_as_dead(&journal);
        std::fs::write(dead.join(CursorFile::name(DESTINATION)), b"").unwrap();
        let last = std::fs::read_dir(&dead).unwrap().map(|entry| entry.unwrap().path());
        let last = last.filter(|path| path.extension().is_some_and(|end| end == "seg")).max().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&last).unwrap();
        file.set_len(file.metadata().unwrap().len() - 5_000).unwrap();
        let (found, corrupt) = adopt(&root);
        assert!((14..17).contains(&corrupt), "{corrupt}");
        assert_eq!(found.len() as u64 + corrupt, 25_000);
    }
}

/// Without it, a process that adopts the journal would deliver what was in memory again.
#[test]
fn a_position_is_saved_in_a_new_directory_although_nothing_comes() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    append(&journal, b"12345678").unwrap();
    assert_eq!(read_all(&journal, &mut reader).len(), 1);
    std::fs::remove_dir_all(journal.path().unwrap()).unwrap();
    journal.maintain(1);
    let batch = reader.read(&journal, 1);
    assert!(batch.is_nothing());
    reader.advance_in_memory(&journal, &batch);
    let saved = CursorFile::position(&journal.path().unwrap().join(CursorFile::name(DESTINATION))).unwrap();
    assert_eq!(&saved, reader.position());
}

#[test]
fn a_deleted_directory_is_replaced() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    (0..100).for_each(|number| append(&journal, &numbered(number, 10)).unwrap());
    let old = journal.path().unwrap();
    std::fs::remove_dir_all(&old).unwrap();
    journal.maintain(1);
    (100..200).for_each(|number| append(&journal, &numbered(number, 10)).unwrap());
    assert_ne!(journal.path().unwrap(), old);
    let dead = copy_as_dead(&journal);
    assert_eq!(read_all(&journal, &mut reader), (0..200).collect::<Vec<_>>());
    assert_eq!(adopt(dead.parent().unwrap()).0, (100..200).collect::<Vec<_>>());
}

#[test]
fn without_a_disk_eviction_starts_when_the_whole_memory_is_used() {
    let journal = Journal::open(Settings { root: None, backend: Backend::Mapped, budget: None, destinations: vec![] });
    let reader = Reader::new(DESTINATION);
    let mut number = 0;
    let lost = loop {
        assert!(journal.counts().memory_bytes < MEMORY_BUDGET as u64);
        append(&journal, &numbered(number, 1000)).unwrap();
        number += 1;
        if let Some(lost) = journal.evict(&[reader.position()]) {
            break lost[0].0;
        }
    };
    assert_eq!(journal.unread_in_memory(&[reader.position()]), number - lost);
    let mut reader = reader;
    assert_eq!(read_all(&journal, &mut reader), (lost..number).collect::<Vec<_>>());
}

#[test]
fn eviction_drops_the_oldest_segment_and_counts_it_for_each_reader() {
    let dir = TempDir::new().unwrap();
    let mut settings = settings(&dir.path().join("journal"));
    settings.budget = Some(2 * SEGMENT as u64);
    let journal = Journal::open(settings);
    let (mut fast, slow) = (Reader::new("fast"), Reader::new("slow"));
    let mut number = 0;
    let mut fill = |count: u64| {
        for _ in 0..count {
            append(&journal, &numbered(number, 1000)).unwrap();
            number += 1;
        }
        number
    };
    let reach = |reader: &Reader| reader.position().clone();
    fill(6_000);
    journal.reclaim(&[fast.position(), slow.position()]);
    assert_eq!(journal.evict(&[fast.position(), slow.position()]), None, "the budget is not used up");
    let tracked = fill(6_640);
    // Now half of the memory is used, too. The fast reader has passed the first half of the oldest segment.
    let batch = fast.read(&journal, SEGMENT / 2);
    fast.advance(&journal, &batch);
    let had = batch.len() as u64;
    journal.reclaim(&[fast.position(), slow.position()]);
    let lost = journal.evict(&[&reach(&fast), &reach(&slow)]).unwrap();
    assert_eq!(lost[0].0 + had, lost[1].0);
    assert_eq!(journal.evict(&[&reach(&fast), &reach(&slow)]), None, "one made room");
    assert_eq!(journal.counts().disk_bytes, SEGMENT as u64);
    // Nothing else is evicted until the freed space is used.
    for _ in 0..20 {
        journal.maintain(1);
        assert_eq!(journal.evict(&[&reach(&fast), &reach(&slow)]), None);
        assert_eq!(journal.counts().disk_bytes, 2 * SEGMENT as u64);
    }
    let mut slow = slow;
    let left = read_all(&journal, &mut slow);
    assert_eq!(left, (lost[1].0..tracked).collect::<Vec<_>>());
}

/// A killed process leaves whole segments: one in use, and spare ones.
#[test]
fn the_segments_of_a_killed_process_are_truncated_and_lose_nothing() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let journal = Journal::open(settings(&root));
    // A little more than two chunks.
    (0..200).for_each(|number| append(&journal, &numbered(number, 800)).unwrap());
    journal.maintain(1);
    let dead = copy_as_dead(&journal);
    let (adopting, orphans) = adopt_all(&root);
    assert!(bytes_below(&dead) >= ONE);
    assert!(orphans.iter().map(super::super::Orphan::free_unused_space).sum::<u64>() > ONE / 2);
    assert!(bytes_below(&dead) <= 5 * 64 * 1024, "{}", bytes_below(&dead));
    drop((adopting, orphans));
    let (mut found, corrupt) = adopt(&root);
    found.sort_unstable();
    assert_eq!((found, corrupt), ((0..200).collect(), 0));
}

/// Leaves the files of processes that were killed after one event. Each has an unused segment.
fn leave_killed_ones(root: &Path, count: usize) {
    let killed = journal_with(root, None);
    append(&killed, &numbered(0, 100)).unwrap();
    for number in 0..count {
        std::fs::rename(copy_as_dead(&killed), root.join(format!("{number:016x}-00000000000000ad"))).unwrap();
    }
    killed.close();
    killed.finish(true);
}

fn journal_with(root: &Path, budget: Option<u64>) -> Journal {
    Journal::open(Settings { budget: budget.or(Some(1 << 30)), ..settings(root) })
}

/// Processes that are killed at once never come to the search for orphan journals.
#[test]
fn a_new_process_takes_the_space_that_killed_ones_do_not_use() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    leave_killed_ones(&root, 16);
    // Another thread of this process has the right to adopt journals, but holds none.
    let (_adopting, _) = adopt_all(&dir.path().join("nothing"));
    for number in 0..3 {
        let next = journal_with(&root, Some(4 * ONE));
        append(&next, &numbered(number, 100)).unwrap();
        assert_eq!((next.unread_in_memory(&[]), next.is_out_of_space()), (0, false));
        std::mem::forget(next);
    }
}

/// While other processes use the space, events are in memory. As soon as it is free, the next ones are on disk.
#[test]
fn a_process_that_found_no_space_goes_to_the_disk_when_there_is_some() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    leave_killed_ones(&root, 8);
    // Locked journals are not truncated.
    let held = adopt_all(&root);
    assert_eq!(held.1.len(), 8);
    let next = journal_with(&root, Some(4 * ONE));
    append(&next, &numbered(0, 100)).unwrap();
    assert!(next.is_out_of_space());
    drop(held);
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let mut in_memory = 1;
    while next.is_out_of_space() {
        assert!(std::time::Instant::now() < deadline, "the events stay in memory");
        in_memory = next.unread_in_memory(&[]);
        append(&next, &numbered(in_memory, 100)).unwrap();
        std::thread::yield_now();
    }
    assert_eq!(next.unread_in_memory(&[]), in_memory, "the last one is on disk");
    assert_ne!(next.tier(), Tier::Memory);
    let appended: Vec<_> = (0..=in_memory).collect();
    let mut reader = Reader::new(DESTINATION);
    let some = reader.read(&next, 1).prefix(1);
    reader.advance(&next, &some);
    next.maintain(1);
    assert_eq!((next.unread_in_memory(&[]), next.counts().memory_bytes), (0, 0), "the others were copied");
    // A process that adopts the journal finds all of them after its cursor.
    let dead = copy_as_dead(&next);
    let (mut found, corrupt) = adopt(&root);
    found.retain(|number| *number > 0);
    assert_eq!((found, corrupt), (appended[1..].to_vec(), 0));
    assert!(!dead.exists());
    assert_eq!(read_all(&next, &mut reader), appended[1..]);
    let before = next.counts().disk_bytes;
    next.reclaim(&[reader.position()]);
    assert_eq!(next.counts().disk_bytes, before - ONE, "the copy was deleted");
}

/// A chunk that looks unused only by its tally, or only by its bytes, may be in use: after a power failure either can be an old page.
#[test]
fn a_chunk_with_a_tally_or_with_bytes_is_not_truncated() {
    for (offset, bytes) in [(segment::Tally::offset(40), [1; 8]), (40 * segment::CHUNK + 30_000, [1; 8]), (20, [1; 8])]
    {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("journal");
        let journal = Journal::open(settings(&root));
        append(&journal, b"12345678").unwrap();
        let dead = copy_as_dead(&journal);
        let path = segment_path(&dead);
        let mut all = std::fs::read(&path).unwrap();
        all[offset..offset + 8].copy_from_slice(&bytes);
        std::fs::write(&path, &all).unwrap();
        let (_adopting, orphans) = adopt_all(&root);
        for orphan in &orphans {
            orphan.free_unused_space();
        }
        assert!(std::fs::metadata(&path).unwrap().len() >= 41 * segment::CHUNK as u64, "{offset}");
    }
}
