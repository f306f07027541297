//! What readers get, in which order, and how much at once.

use super::super::scan::{count, count_by_tallies};
use super::*;
use crate::sys::filesystem::bytes_read;

#[test]
fn reads_are_bounded_and_counting_keeps_no_payloads() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..30_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    let mut reader = Reader::new(DESTINATION);
    let (mut records, mut bytes) = (0, 0);
    for limit in [1, 10_000, CHUNK, 10 * CHUNK, usize::MAX] {
        let batch = reader.read(&journal, limit);
        assert!(batch.byte_len() <= limit.saturating_add(CHUNK), "{} of {limit}", batch.byte_len());
        let whole = reader.count(&journal);
        assert_eq!(whole.records + records, 30_000);
        (records, bytes) = (records + batch.len() as u64, bytes + batch.byte_len() as u64);
        reader.advance(&journal, &batch);
    }
    assert_eq!((records, bytes), (30_000, journal.counts().appended_bytes));
    assert_eq!(reader.count(&journal), Counted::default());
}

/// A process delivers for a live owner: a record that is being written is not damage.
#[test]
fn reading_while_the_owner_writes_finds_no_damage() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let path = journal.path().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..60_000).for_each(|number| append(&journal, &numbered(number, 100)).unwrap()));
        let (mut position, mut found) = (Position::default(), Vec::new());
        loop {
            let is_last = writer.is_finished();
            let views = view::segment_files(&path).unwrap();
            let batch = read_batch(&views, &position, usize::MAX, Writer::Live);
            assert_eq!((batch.corrupt, batch.is_incomplete), (0, false));
            found.extend(numbers(&batch));
            position = batch.position;
            if is_last {
                break;
            }
        }
        // The rest of a chunk that was read before it was full comes after the next chunk, which was started in the meantime.
        found.sort_unstable();
        assert!(found == (0..60_000).collect::<Vec<_>>(), "{} records", found.len());
    });
}

#[test]
fn new_records_can_be_read_before_a_backlog_without_loss_or_repetition() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    (0..100).for_each(|number| append(&journal, &numbered(number, 1000)).unwrap());
    assert!(reader.read_newest(&journal, 1 << 20).is_none(), "one segment is not a backlog");
    (100..10_000).for_each(|number| append(&journal, &numbered(number, 1000)).unwrap());
    let newest = reader.read_newest(&journal, 1 << 20).unwrap();
    let mut found = numbers(&newest);
    assert!(found[0] > 7_000, "{}", found[0]);
    reader.advance(&journal, &newest);
    // After a crash now, no passed record is repeated.
    let (adopted, _) = adopt(copy_as_dead(&journal).parent().unwrap());
    assert_eq!(adopted.len() + found.len(), 10_000);
    found.extend(read_all(&journal, &mut reader));
    found.sort_unstable();
    assert_eq!(found, (0..10_000).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(cases(32))]

    /// Whatever part of a batch is confirmed, exactly the rest is read again, from the own journal and from a dead one.
    #[test]
    fn a_batch_can_be_confirmed_up_to_any_record(
        count in 1_u64..600, length in 0_usize..300, cuts in prop::collection::vec(0_usize..700, 1..8),
    ) {
        let dir = TempDir::new().unwrap();
        let journal = journal_in(&dir);
        for number in 0..count {
            append(&journal, &numbered(number, length)).unwrap();
        }
        let mut reader = Reader::new(DESTINATION);
        let mut found = Vec::new();
        for cut in cuts {
            let part = reader.read(&journal, 1 << 20).prefix(cut);
            found.extend(numbers(&part));
            reader.advance(&journal, &part);
        }
        let (position, confirmed) = (reader.position().clone(), found.len());
        found.extend(read_all(&journal, &mut reader));
        found.sort_unstable();
        prop_assert_eq!(&found, &(0..count).collect::<Vec<_>>());
        let rest = read_batch(&view::segment_files(&copy_as_dead(&journal)).unwrap(), &position, usize::MAX, Writer::Dead);
        prop_assert_eq!(rest.len(), found.len() - confirmed);
    }
}

/// The records of a large dead journal are counted with a few reads per segment, correctly from any position.
#[test]
fn a_large_journal_is_counted_without_reading_its_records() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    let mut reader = Reader::new(DESTINATION);
    for number in 0..40_000 {
        journal.append(1000 + number, |out, ()| out.extend_from_slice(&numbered(number, 300))).unwrap();
    }
    let dead = view::segment_files(&copy_as_dead(&journal)).unwrap();
    assert!(dead.len() > 3);
    let mut left = 40_000;
    while left > 0 {
        let before = bytes_read();
        let counted = count_by_tallies(&dead, reader.position(), Writer::Dead);
        // Chunks of the segment that its owner was writing are partly filled and are read.
        let most = if left == 40_000 { 1 << 20 } else { 6 << 20 };
        assert!(bytes_read() - before < most, "{} of {most}", bytes_read() - before);
        let all = count(&dead, reader.position(), Writer::Dead);
        assert_eq!((counted.records, counted.oldest, counted.is_incomplete), (all.records, all.oldest, false));
        assert_eq!(counted.records, left);
        let batch = reader.read(&journal, 3 << 20);
        left -= batch.len() as u64;
        reader.advance(&journal, &batch);
    }
}
