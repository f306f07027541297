//! Compares the journal with a model: under file system faults, and after crashes of the process or the machine.

use super::*;
use crate::sys::filesystem::{Fault, break_files};
use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Clone, Debug)]
enum Step {
    Append { count: u64, length: usize },
    Read { limit: usize },
    Break(Option<Fault>),
    Maintain,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::Read),
        Just(Fault::Write),
        Just(Fault::Names),
        Just(Fault::Delete),
        Just(Fault::Stale),
        Just(Fault::Metadata),
        Just(Fault::Forbidden),
        Just(Fault::Descriptors),
        Just(Fault::Space),
        (1_usize..2000).prop_map(Fault::Torn),
        (1_usize..100).prop_map(|most| Fault::Short(most * 8 + 1)),
    ];
    prop_oneof![
        4 => (1_u64..120, 0_usize..3000).prop_map(|(count, length)| Step::Append { count, length }),
        3 => (1_usize..200_000).prop_map(|limit| Step::Read { limit }),
        2 => prop::option::of(fault).prop_map(Step::Break),
        1 => Just(Step::Maintain),
    ]
}

/// Removes the faults of this thread, however a test ends.
struct ClearFaults;

impl Drop for ClearFaults {
    fn drop(&mut self) {
        break_files(None);
    }
}

/// The state of one run of a process.
struct Run {
    journal: Journal,
    reader: Reader,
    /// The acknowledged records, and those of them that were on disk.
    appended: HashSet<u64>,
    safe: HashSet<u64>,
    read: Vec<u64>,
    next: u64,
}

impl Run {
    fn new(root: &Path, backend: Backend) -> Self {
        let journal = Journal::open(Settings { backend, ..settings(root) });
        let (appended, safe) = (HashSet::new(), HashSet::new());
        Self { journal, reader: Reader::new(DESTINATION), appended, safe, read: Vec::new(), next: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append { count, length } => {
                for _ in 0..*count {
                    if append(&self.journal, &numbered(self.next, *length)).is_ok() {
                        self.appended.insert(self.next);
                        if self.journal.tier() != Tier::Memory {
                            self.safe.insert(self.next);
                        }
                    }
                    self.next += 1;
                }
            }
            Step::Read { limit } => {
                let batch = self.reader.read(&self.journal, *limit);
                assert!(batch.byte_len() <= limit + CHUNK);
                check(&batch);
                self.read.extend(numbers(&batch));
                self.reader.advance(&self.journal, &batch);
            }
            Step::Break(fault) => break_files(*fault),
            Step::Maintain => {
                self.journal.maintain(1);
                self.journal.reclaim(&[self.reader.position()]);
            }
        }
    }
}

/// Checks that every payload was written by the test.
fn check(batch: &Batch) {
    for payload in batch.payloads() {
        let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
        assert!(payload[8..].iter().all(|byte| *byte == number as u8), "record {number} was never written");
    }
}

/// The records of a dead process's journal after its cursor, and the number of records counted as damaged.
fn recover(dead: &Path) -> (Vec<u64>, u64) {
    let (mut position, mut found, mut corrupt) =
        (CursorFile::position(&dead.join("sink.cursor")).unwrap(), Vec::new(), 0);
    let views = view::segment_files(dead).unwrap();
    loop {
        let batch = read_batch(&views, &position, 1 << 20, Writer::Dead);
        assert!(!batch.is_incomplete);
        check(&batch);
        found.extend(numbers(&batch));
        corrupt += batch.corrupt;
        if batch.position == position {
            return (found, corrupt);
        }
        position = batch.position;
    }
}

fn unique(numbers: &[u64]) -> HashSet<u64> {
    let set: HashSet<_> = numbers.iter().copied().collect();
    assert_eq!(set.len(), numbers.len(), "a record came twice");
    set
}

/// The files of a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (PathBuf::from(path.file_name().unwrap()), std::fs::read(path).unwrap())).collect()
}

/// The range of each record of a segment.
fn ranges(segment: &[u8]) -> Vec<(u64, Range<usize>)> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment[32..48]);
    hasher.update(&segment[24..32]);
    let seed = hasher.finalize();
    let mut all = Vec::new();
    for (index, chunk) in segment.chunks(CHUNK).enumerate() {
        let mut at = segment::first_record(index);
        while let Some((from, record::Parsed::Record { payload, next, .. })) = record::find(chunk, at, seed) {
            let number = u64::from_le_bytes(chunk[payload.start..payload.start + 8].try_into().unwrap());
            all.push((number, index * CHUNK + from..index * CHUNK + next));
            at = next;
        }
    }
    all
}

proptest! {
    #![proptest_config(cases(40))]

    /// Whatever fails while a process runs, everything that it acknowledged is read once, and nothing is counted as damaged. If it is
    /// killed at the end, the next process finds everything that was acknowledged on disk.
    #[test]
    fn file_system_faults_lose_and_invent_no_records(
        steps in prop::collection::vec(step(), 1..40), is_mapped in any::<bool>(),
    ) {
        let _clear = ClearFaults;
        let dir = TempDir::new().unwrap();
        let mut run = Run::new(&dir.path().join("journal"), if is_mapped { Backend::Mapped } else { Backend::Written });
        for step in &steps {
            run.take(step);
        }
        break_files(None);
        let (found, corrupt) = recover(&copy_as_dead(&run.journal));
        prop_assert_eq!(corrupt, 0);
        // If a cursor could not be saved, its records are repeated.
        let all: HashSet<_> = unique(&found).into_iter().chain(run.read.iter().copied()).collect();
        prop_assert!(run.safe.is_subset(&all), "{} of {}", run.safe.intersection(&all).count(), run.safe.len());
        prop_assert!(all.is_subset(&run.appended));
        run.read.extend(read_all(&run.journal, &mut run.reader));
        prop_assert_eq!(unique(&run.read), run.appended);
        prop_assert_eq!(run.journal.counts().corrupt, 0);
    }

    /// The machine crashes. Each block of 512 or 4,096 bytes that changed since the last write-back is old, new or garbage. Every
    /// record in valid blocks is found, none is found twice, and none is found that was not written.
    #[test]
    fn a_machine_crash_loses_only_unwritten_blocks_and_invents_no_records(
        before in prop::collection::vec(step(), 1..10), after in prop::collection::vec(step(), 1..10),
        is_mapped in any::<bool>(), is_sector in any::<bool>(), seed in any::<u64>(),
    ) {
        let dir = TempDir::new().unwrap();
        let mut run = Run::new(&dir.path().join("journal"), if is_mapped { Backend::Mapped } else { Backend::Written });
        let take = |run: &mut Run, steps: &[Step]| {
            steps.iter().filter(|step| matches!(step, Step::Append { .. })).for_each(|step| run.take(step));
        };
        take(&mut run, &before);
        let path = run.journal.path().unwrap();
        let old = files(&path);
        take(&mut run, &after);
        let dead = copy_as_dead(&run.journal);
        let block = if is_sector { 512 } else { 4096 };
        let mut random = fastrand::Rng::with_seed(seed);
        let mut whole = HashSet::new();
        for (name, new) in files(&path) {
            let mut bytes = new.clone();
            let mut damaged = Vec::new();
            let was = old.get(&name).cloned().unwrap_or_default();
            for from in (0..bytes.len()).step_by(block) {
                let range = from..(from + block).min(bytes.len());
                let before = was.get(range.clone()).map_or_else(|| vec![0; range.len()], <[u8]>::to_vec);
                if before == new[range.clone()] {
                    continue;
                }
                match random.u8(0..3) {
                    0 => {}
                    1 => {
                        bytes[range.clone()].copy_from_slice(&before);
                        damaged.push(range);
                    }
                    _ => {
                        random.fill(&mut bytes[range.clone()]);
                        damaged.push(range);
                    }
                }
            }
            if name.extension().is_some_and(|end| end == "seg") {
                let is_hit = |record: &Range<usize>| damaged.iter().any(|hit| hit.start < record.end && record.start < hit.end);
                let has_header = damaged.first().is_none_or(|hit| hit.start >= 4096);
                let records = ranges(&new).into_iter().filter(|(_, record)| has_header && !is_hit(record));
                whole.extend(records.map(|(number, _)| number));
            }
            std::fs::write(dead.join(name), bytes).unwrap();
        }
        let found = unique(&recover(&dead).0);
        prop_assert!(whole.is_subset(&found), "{} of {}", whole.intersection(&found).count(), whole.len());
        prop_assert!(found.is_subset(&run.appended));
    }
}

#[test]
fn temporary_errors_are_not_damage_and_their_records_come_later() {
    let _clear = ClearFaults;
    let dir = TempDir::new().unwrap();
    let journal = journal_in(&dir);
    (0..20_000).for_each(|number| append(&journal, &numbered(number, 300)).unwrap());
    let dead = view::segment_files(&copy_as_dead(&journal)).unwrap();
    for fault in [Fault::Read, Fault::Stale, Fault::Descriptors] {
        break_files(Some(fault));
        let batch = read_batch(&dead, &Position::default(), 1 << 20, Writer::Dead);
        assert!(batch.is_nothing() && batch.is_incomplete && batch.position == Position::default(), "{fault:?}");
        let batch = Reader::new(DESTINATION).read(&journal, 1 << 20);
        // This process has its files open, so it needs no descriptors.
        assert!(
            batch.corrupt == 0 && (fault == Fault::Descriptors || (batch.is_empty() && batch.is_incomplete)),
            "{fault:?}"
        );
        break_files(None);
    }
    assert_eq!(read_batch(&dead, &Position::default(), usize::MAX, Writer::Dead).len(), 20_000);
    assert_eq!(read_all(&journal, &mut Reader::new(DESTINATION)).len(), 20_000);
}
