//! Files that something damaged: what is whole in them is found, and nothing else.

use super::super::scan::count_by_tallies;
use super::*;

/// A dead journal of so many records of a length, beside the live one that it is a copy of, in their state directory.
fn dead_journal(count: u64, length: usize) -> (TempDir, Journal, PathBuf) {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..count).for_each(|number| append(&journal, &numbered(number, length)).unwrap());
    let dead = copy_as_dead(&journal);
    (dir, journal, dead)
}

#[test]
fn a_file_that_is_empty_or_not_a_segment_hides_no_other() {
    let (dir, _journal, dead) = dead_journal(500, 90);
    std::fs::write(dead.join(segment::file_name(7)), b"").unwrap();
    std::fs::write(dead.join(segment::file_name(8)), vec![0xab; 5000]).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert_eq!((found.len(), corrupt), (500, 2));
    assert!(!dead.exists());
    assert_eq!(in_quarantine(dir.path()), 2);
}

fn in_quarantine(state: &Path) -> usize {
    let entries = std::fs::read_dir(state.join("quarantine")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).count()
}

/// Cannot be read (here: is gone) is not the same as empty, or a journal would be deleted that was not read.
#[test]
fn a_directory_that_cannot_be_read_is_not_one_without_segments() {
    let dir = TempDir::new().unwrap();
    assert!(view::segment_files(dir.path()).unwrap().is_empty());
    assert!(view::segment_files(&dir.path().join("missing")).is_err());
    assert!(view::segment_files(Path::new("/dev/null")).is_err());
}

/// Where the records of so many payloads of this length stand in the first segment, if one writer wrote them.
fn places(count: usize, length: usize) -> Vec<usize> {
    let framed = record::framed_length(8 + length);
    let (mut chunk, mut at) = (0, segment::first_record(0));
    let place = |_| {
        if at + framed > CHUNK {
            chunk += 1;
            at = segment::first_record(chunk);
        }
        at += framed;
        chunk * CHUNK + at - framed
    };
    (0..count).map(place).collect()
}

/// A dead journal of 3,000 records, and its only segment after `damage` to its bytes: what is found, and how many are counted.
fn after_damage(damage: impl FnOnce(&mut Vec<u8>)) -> (HashSet<u64>, u64) {
    let (_dir, _journal, dead) = dead_journal(3_000, 150);
    let path = segment_path(&dead);
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    let counted = count_by_tallies(&view::segment_files(&dead).unwrap(), &Position::default(), Writer::Dead);
    let (found, corrupt) = adopt(dead.parent().unwrap());
    let unique: HashSet<_> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "a record came twice");
    // Of a file that is no segment any more, it is not known how many it had.
    assert!(counted.records == found.len() as u64 + corrupt || found.is_empty());
    (unique, corrupt)
}

#[test]
fn a_header_that_is_damaged_costs_no_record() {
    assert_eq!(after_damage(|bytes| bytes[3] ^= 1).0.len(), 3_000);
    assert_eq!(
        after_damage(|bytes| bytes[8] ^= 4).0.len(),
        3_000,
        "a version of later is only believed with its checksum"
    );
    assert_eq!(after_damage(|bytes| bytes[..4096].fill(0)).0.len(), 3_000);
    // Without the tallies, from the stream id.
    let (found, _) = after_damage(|bytes| {
        bytes[0] ^= 1;
        bytes[4096..8192].fill(0);
    });
    assert_eq!(found.len(), 3_000);
    let (found, corrupt) = after_damage(|bytes| bytes[..8192].fill(0));
    assert_eq!((found.len(), corrupt), (0, 1), "nothing says what its seed was");
}

#[test]
fn a_segment_that_was_deleted_is_missed_and_counted() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..40_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(dead.join(segment::file_name(2))).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert!(found.len() < 31_000 && corrupt == 1, "{} {corrupt}", found.len());
    assert!(!dead.exists());
    // The only one.
    let journal = journal_in(&dir);
    append(&journal, &numbered(0, 300)).unwrap();
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(segment_path(&dead)).unwrap();
    let batch = read_batch(&view::segment_files(&dead).unwrap(), &Position::default(), 1 << 20, Writer::Dead);
    journal.count_damage(&batch);
    assert_eq!((journal.counts().corrupt, journal.counts().lost), (1, 1));
    assert_eq!(adopt(dead.parent().unwrap()), (vec![], 1));
    // What was delivered and deleted is not missed, though its cursor is lost.
    let mut reader = Reader::new(DESTINATION);
    (0..40_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    read_all(&journal, &mut reader);
    journal.reclaim(&[reader.position()]);
    let dead = copy_as_dead(&journal);
    std::fs::write(dead.join(CursorFile::name(DESTINATION)), b"").unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert!(found.len() < 20_000 && corrupt == 0, "{} {corrupt}", found.len());
}

#[test]
fn damage_that_one_destination_found_costs_no_other_the_rest() {
    let dir = TempDir::new().unwrap();
    let mut settings = settings(&dir.path().join("journal"));
    settings.destinations = vec![DESTINATION.into(), "other".into()];
    let journal = Journal::open(settings);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    let mut bytes = std::fs::read(segment_path(&dead)).unwrap();
    bytes[2 * 4096 + 40] ^= 1;
    std::fs::write(segment_path(&dead), bytes).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert_eq!((found.len(), corrupt), (499, 1));
    let views = view::segment_files(&dead).unwrap();
    assert_eq!(read_batch(&views, &Position::default(), usize::MAX, Writer::Dead).len(), 499);
}

#[test]
fn records_in_quarantine_are_put_back_for_the_destinations_they_were_for() {
    let dir = TempDir::new().unwrap();
    let state = dir.path();
    assert_eq!(quarantine::requeue(state).unwrap(), quarantine::Requeued::default());
    let journal = journal_in(&dir);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    let path = segment_path(&dead);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[2 * 4096 + 40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(adopt(dead.parent().unwrap()).1, 1);
    let listed = quarantine::list(state).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].readable, listed[0].damaged, listed[0].is_requeued), (499, 1, false));
    assert_eq!(listed[0].destinations, [DESTINATION]);
    // As an error of reading left it that version 1 took for damage: on the disk it is whole.
    let kept = state.join("quarantine").join(&listed[0].name);
    std::fs::write(&kept, &whole).unwrap();
    let expected = quarantine::Requeued { requeued: 500, damaged: 0, left: 0 };
    assert_eq!(quarantine::requeue(state).unwrap(), expected);
    assert!(!kept.exists());
    let (mut found, corrupt) = adopt(dead.parent().unwrap());
    found.sort_unstable();
    assert_eq!((found, corrupt), ((0..500).collect(), 0));
    // One that is damaged gives up what can be read, once.
    std::fs::write(&kept, &bytes).unwrap();
    let expected = quarantine::Requeued { requeued: 499, damaged: 1, left: 0 };
    assert_eq!(quarantine::requeue(state).unwrap(), expected);
    assert_eq!(quarantine::requeue(state).unwrap(), quarantine::Requeued::default());
    assert!(quarantine::list(state).unwrap()[0].is_requeued);
    // Without a record of its destinations it stays.
    std::fs::write(state.join("quarantine").join("other-0000000000000001.seg"), &bytes).unwrap();
    assert_eq!(quarantine::requeue(state).unwrap(), quarantine::Requeued { requeued: 0, damaged: 1, left: 499 });
}

#[test]
fn a_journal_that_cannot_be_read_now_is_read_another_time() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    // ENOTDIR, as an example of an error that says nothing of what is in the file.
    let path = dir.path().join("file").join(segment::file_name(1));
    for writer in [Writer::Dead, Writer::Live, Writer::This] {
        let view = View::File { index: 1, path: path.clone(), is_expected: true };
        let batch = read_batch(&[view], &Position::default(), 1 << 20, writer);
        assert!(batch.is_incomplete && batch.is_nothing());
        assert_eq!(batch.position, Position::default());
    }
}

#[test]
fn what_is_no_regular_file_is_counted_and_put_aside() {
    let (dir, _journal, dead) = dead_journal(500, 90);
    crate::sys::fs::make_irregular(&dead.join(segment::file_name(7)), &dead.join(segment::file_name(8)));
    std::fs::create_dir(dead.join(segment::file_name(9))).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert_eq!((found.len(), corrupt), (500, 3));
    assert_eq!(in_quarantine(dir.path()), 3);
    assert!(!dead.exists());
}

proptest! {
    #![proptest_config(cases(48))]

    /// One flipped bit, or 16 bytes of zeros, anywhere in the records cost one record, which is counted.
    #[test]
    fn damage_to_one_record_costs_one_record(
        record in 0_usize..3_000, place in any::<prop::sample::Index>(), bit in 0_u8..8, is_zeroed in any::<bool>(),
    ) {
        // Padding and flags are covered by nothing, and mean nothing.
        let at = places(3_000, 150)[record] + place.index(if is_zeroed { 174 } else { 190 });
        prop_assume!(at % 8 != 3 || at != places(3_000, 150)[record] + 3);
        let mut is_changed = true;
        let (found, corrupt) = after_damage(|bytes| {
            if is_zeroed {
                is_changed = bytes[at..at + 16].iter().any(|byte| *byte != 0);
                bytes[at..at + 16].fill(0);
            } else {
                bytes[at] ^= 1 << bit;
            }
        });
        // The payload is one byte, repeated, which may be zero.
        if is_changed {
            prop_assert_eq!(corrupt, 1);
            prop_assert_eq!(found, (0..3_000).filter(|number| *number != record as u64).collect::<HashSet<_>>());
        } else {
            prop_assert_eq!((found.len(), corrupt), (3_000, 0));
        }
    }

    /// However many pages of the records are zeroed, or how much is cut off: what is not found is counted, one by one.
    #[test]
    fn what_is_zeroed_or_cut_off_is_counted_one_by_one(
        from in 2_usize..150, pages in 1_usize..40, is_cut in any::<bool>(),
    ) {
        let (found, corrupt) = after_damage(|bytes| {
            if is_cut {
                bytes.truncate(from * 4096 + pages);
            } else {
                bytes[from * 4096..(from + pages) * 4096].fill(0);
            }
        });
        prop_assert_eq!(found.len() as u64 + corrupt, 3_000);
        prop_assert!(corrupt > 0 || from > 140);
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// Bit rot, truncation and zeroed pages in the files of a dead process: reading ends, no damaged record passes for a whole
    /// one, and every record of an untouched chunk is found.
    #[test]
    fn damage_is_stepped_over(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..5_000, 0_u8..3), 1..6),
    ) {
        let (_dir, _journal, dead) = dead_journal(3_000, 150);
        let path = segment_path(&dead);
        let mut bytes = std::fs::read(&path).unwrap();
        let used = 3_000 * record::framed_length(158) + 8192 + 64 * 1024;
        let mut touched = HashSet::new();
        for (place, length, kind) in damage {
            let at = 8192 + place.index(used - 8192);
            let end = (at + length).min(bytes.len());
            touched.extend(at / segment::CHUNK..=(end - 1) / segment::CHUNK);
            match kind {
                0 => bytes[at] ^= 0x10,
                1 => bytes[at..end].fill(0),
                _ => bytes[at..end].fill(0xff),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let found: HashSet<_> = adopt(dead.parent().unwrap()).0.into_iter().collect();
        prop_assert!(found.iter().all(|number| *number < 3_000));
        let per_chunk = |chunk: usize| (segment::CHUNK - segment::first_record(chunk)) / record::framed_length(158);
        let mut first = 0;
        for chunk in 0.. {
            let count = per_chunk(chunk);
            if first >= 3_000 { break; }
            if !touched.contains(&chunk) {
                for number in first..(first + count).min(3_000) {
                    prop_assert!(found.contains(&(number as u64)), "record {number} of untouched chunk {chunk}");
                }
            }
            first += count;
        }
    }

    #[test]
    fn a_truncated_file_keeps_what_is_left(length in 0_u64..600_000) {
        let (_dir, _journal, dead) = dead_journal(3_000, 150);
        std::fs::OpenOptions::new().write(true).open(segment_path(&dead)).unwrap().set_len(length).unwrap();
        let (found, _) = adopt(dead.parent().unwrap());
        let whole = length.saturating_sub(8192) as usize / record::framed_length(158);
        prop_assert!(found.len() + 2 + length as usize / segment::CHUNK >= whole.min(3_000), "{} of {whole}", found.len());
        prop_assert_eq!(found.iter().copied().collect::<HashSet<_>>().len(), found.len());
    }
}
