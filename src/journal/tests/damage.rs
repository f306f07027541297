//! Files that something damaged: what is whole in them is found, and nothing else.

use super::*;

#[test]
fn a_file_that_is_empty_or_not_a_segment_hides_no_other() {
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..500).for_each(|number| append(&journal, &numbered(number, 90)).unwrap());
    let dead = copy_as_dead(&journal);
    std::fs::write(dead.join(segment::file_name(7)), b"").unwrap();
    std::fs::write(dead.join(segment::file_name(8)), vec![0xab; 5000]).unwrap();
    let (found, corrupt) = adopt(dead.parent().unwrap());
    assert_eq!((found.len(), corrupt), (500, 2));
    assert!(!dead.exists());
    assert_eq!(std::fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 2);
}

/// Cannot be read (here: is gone) is not the same as empty, or a journal would be deleted that was not read.
#[test]
fn a_directory_that_cannot_be_read_is_not_one_without_segments() {
    let dir = TempDir::new().unwrap();
    assert!(recovery::segment_files(dir.path()).unwrap().is_empty());
    assert!(recovery::segment_files(&dir.path().join("missing")).is_err());
    assert!(recovery::segment_files(Path::new("/dev/null")).is_err());
}

proptest! {
    #![proptest_config(cases(64))]

    /// Bit rot, truncation and zeroed pages in the files of a dead process: reading ends, no damaged record passes for a whole
    /// one, and every record of an untouched chunk is found.
    #[test]
    fn damage_is_stepped_over(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..5_000, 0_u8..3), 1..6),
    ) {
        let dir = TempDir::new().unwrap();
        let journal = journal_in(&dir);
        (0..3_000).for_each(|number| append(&journal, &numbered(number, 150)).unwrap());
        let dead = copy_as_dead(&journal);
        let path = segment_path(&dead);
        let mut bytes = std::fs::read(&path).unwrap();
        let used = 3_000 * record::framed_length(158) + 4096 + 64 * 1024;
        let mut touched = HashSet::new();
        for (place, length, kind) in damage {
            let at = 4096 + place.index(used - 4096);
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
        let dir = TempDir::new().unwrap();
        let journal = journal_in(&dir);
        (0..3_000).for_each(|number| append(&journal, &numbered(number, 150)).unwrap());
        let dead = copy_as_dead(&journal);
        std::fs::OpenOptions::new().write(true).open(segment_path(&dead)).unwrap().set_len(length).unwrap();
        let (found, _) = adopt(dead.parent().unwrap());
        let whole = length.saturating_sub(4096) as usize / record::framed_length(158);
        prop_assert!(found.len() + 2 + length as usize / segment::CHUNK >= whole.min(3_000), "{} of {whole}", found.len());
        prop_assert_eq!(found.iter().copied().collect::<HashSet<_>>().len(), found.len());
    }
}
