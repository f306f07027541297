//! Damaged files: all valid records in them are found, and nothing else.

use super::super::scan::count_by_tallies;
use super::*;

/// A dead journal with `count` records of about this length, beside the live journal of which it is a copy, in their state directory.
fn dead_journal(count: u64, length: usize) -> (TempDir, Journal, PathBuf) {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..count).for_each(|number| append(&journal, &numbered(number, length)).unwrap());
    let dead = copy_as_dead(&journal);
    (dir, journal, dead)
}

#[test]
fn empty_and_invalid_files_do_not_hide_others() {
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

/// A directory that cannot be read (here: that does not exist) is not empty. Otherwise, an unread journal would be deleted.
#[test]
fn an_unreadable_directory_is_not_treated_as_empty() {
    let dir = TempDir::new().unwrap();
    assert!(view::segment_files(dir.path()).unwrap().is_empty());
    assert!(view::segment_files(&dir.path().join("missing")).is_err());
    assert!(view::segment_files(Path::new("/dev/null")).is_err());
}

/// The offsets of `count` records with payloads of this length in the first segment, if one writer wrote them.
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

/// Applies `damage` to the bytes of the only segment of a dead journal with 3,000 records. Returns the records found, and how many
/// are counted as damaged.
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
    // If the file is not a segment any more, the number of its records is unknown.
    assert!(counted.records == found.len() as u64 + corrupt || found.is_empty());
    (unique, corrupt)
}

#[test]
fn a_damaged_header_costs_no_records() {
    assert_eq!(after_damage(|bytes| bytes[3] ^= 1).0.len(), 3_000);
    assert_eq!(after_damage(|bytes| bytes[8] ^= 4).0.len(), 3_000, "a newer version counts only with a valid checksum");
    assert_eq!(after_damage(|bytes| bytes[..4096].fill(0)).0.len(), 3_000);
    // Without the tallies, the seed comes from the stream id.
    let (found, _) = after_damage(|bytes| {
        bytes[0] ^= 1;
        bytes[4096..8192].fill(0);
    });
    assert_eq!(found.len(), 3_000);
    let (found, corrupt) = after_damage(|bytes| bytes[..8192].fill(0));
    assert_eq!((found.len(), corrupt), (0, 1), "its seed is unknown");
}

#[test]
fn a_deleted_segment_is_noticed_and_counted() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..40_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(dead.join(segment::file_name(2))).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert!(found.len() < 31_000 && corrupt == 1, "{} {corrupt}", found.len());
    assert!(!dead.exists());
    // The only segment.
    let journal = journal_in(&dir);
    append(&journal, &numbered(0, 300)).unwrap();
    let dead = copy_as_dead(&journal);
    std::fs::remove_file(segment_path(&dead)).unwrap();
    let batch = read_batch(&view::segment_files(&dead).unwrap(), &Position::default(), 1 << 20, Writer::Dead);
    journal.count_damage(&batch);
    assert_eq!((journal.counts().corrupt, journal.counts().lost), (1, 1));
    assert_eq!(adopt(dead.parent().unwrap()), (vec![], 1));
    // Delivered and deleted segments are not missing, even if the cursor is lost.
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
fn damage_found_by_one_destination_does_not_affect_the_others() {
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
fn records_in_quarantine_are_requeued_for_their_destinations() {
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
    // As version 1 left it after a read error that it took for damage: the data on disk are valid.
    let kept = state.join("quarantine").join(&listed[0].name);
    std::fs::write(&kept, &whole).unwrap();
    let expected = quarantine::Requeued { requeued: 500, damaged: 0, left: 0 };
    assert_eq!(quarantine::requeue(state).unwrap(), expected);
    assert!(!kept.exists());
    let (mut found, corrupt) = adopt(dead.parent().unwrap());
    found.sort_unstable();
    assert_eq!((found, corrupt), ((0..500).collect(), 0));
    // The readable records of a damaged segment are requeued only once.
    std::fs::write(&kept, &bytes).unwrap();
    let expected = quarantine::Requeued { requeued: 499, damaged: 1, left: 0 };
    assert_eq!(quarantine::requeue(state).unwrap(), expected);
    assert_eq!(quarantine::requeue(state).unwrap(), quarantine::Requeued::default());
    assert!(quarantine::list(state).unwrap()[0].is_requeued);
    // Without a list of its destinations, the segment stays.
    std::fs::write(state.join("quarantine").join("other-0000000000000001.seg"), &bytes).unwrap();
    assert_eq!(quarantine::requeue(state).unwrap(), quarantine::Requeued { requeued: 0, damaged: 1, left: 499 });
}

#[test]
fn a_journal_that_cannot_be_read_now_is_read_later() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    // ENOTDIR is an example of an error that says nothing about the content of the file.
    let path = dir.path().join("file").join(segment::file_name(1));
    for writer in [Writer::Dead, Writer::Live, Writer::This] {
        let view = View::File { index: 1, path: path.clone(), is_expected: true };
        let batch = read_batch(&[view], &Position::default(), 1 << 20, writer);
        assert!(batch.is_incomplete && batch.is_nothing());
        assert_eq!(batch.position, Position::default());
    }
}

#[test]
fn irregular_files_are_counted_and_quarantined() {
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

    /// One flipped bit, or 16 zeroed bytes, anywhere in the records costs one record, and it is counted.
    #[test]
    fn damage_to_one_record_costs_one_record(
        record in 0_usize..3_000, place in any::<prop::sample::Index>(), bit in 0_u8..8, is_zeroed in any::<bool>(),
    ) {
        // Nothing covers the padding and the flags, and they have no meaning.
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
        // The payload is one repeated byte, which may be zero.
        if is_changed {
            prop_assert_eq!(corrupt, 1);
            prop_assert_eq!(found, (0..3_000).filter(|number| *number != record as u64).collect::<HashSet<_>>());
        } else {
            prop_assert_eq!((found.len(), corrupt), (3_000, 0));
        }
    }

    /// However many pages of the records are zeroed, or however much is cut off, each missing record is counted.
    #[test]
    fn each_zeroed_or_truncated_record_is_counted(
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

    /// Bit flips, truncation and zeroed pages in the files of a dead process: reading finishes, no damaged record is read as valid,
    /// and every record of an undamaged chunk is found.
    #[test]
    fn damage_is_skipped(
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
    fn the_records_in_a_truncated_file_are_read(length in 0_u64..600_000) {
        let (_dir, _journal, dead) = dead_journal(3_000, 150);
        std::fs::OpenOptions::new().write(true).open(segment_path(&dead)).unwrap().set_len(length).unwrap();
        let (found, _) = adopt(dead.parent().unwrap());
        let whole = length.saturating_sub(8192) as usize / record::framed_length(158);
        prop_assert!(found.len() + 2 + length as usize / segment::CHUNK >= whole.min(3_000), "{} of {whole}", found.len());
        prop_assert_eq!(found.iter().copied().collect::<HashSet<_>>().len(), found.len());
    }
}
