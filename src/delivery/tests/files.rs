//! Compares dead letters and spill files with a model: under file system faults, and after crashes of a process or the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::dead_letter::{DeadLetters, Kept, drop_dead_letters, retry_dead_letters};
use super::super::spill::Spill;
use crate::event::UsageEvent;
use crate::event::binary::{decode, encode};
use crate::journal::adopt_all;
use crate::protocol::{Options, format_named};
use crate::sys::filesystem::{Fault, break_files};
use crate::sys::fs::create_private_dir;

const NAME: &str = "http-1";
const SPILLS: &str = "token_trackr-1";

fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().map(|count| count.parse().unwrap());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::Read)),
        1 => Just(Some(Fault::Write)),
        1 => Just(Some(Fault::Names)),
        1 => Just(Some(Fault::Delete)),
        1 => Just(Some(Fault::Stale)),
        1 => Just(Some(Fault::Metadata)),
        1 => Just(Some(Fault::Forbidden)),
        1 => Just(Some(Fault::Descriptors)),
        1 => Just(Some(Fault::Space)),
        2 => (1_usize..5000).prop_map(|most| Some(Fault::Torn(most))),
        1 => (1_usize..300).prop_map(|most| Some(Fault::Short(most))),
    ]
}

/// Removes the faults of this thread, however a test ends.
struct ClearFaults;

impl Drop for ClearFaults {
    fn drop(&mut self) {
        break_files(None);
    }
}

/// Creates a directory in another thread, which has no faults.
fn make_dir(path: &Path) {
    std::thread::scope(|scope| scope.spawn(|| create_private_dir(path)).join()).unwrap().unwrap();
}

/// The payloads of all journals under `state`.
fn requeued(state: &Path, destination: &str) -> Vec<Vec<u8>> {
    let (_adopting, orphans) = adopt_all(&state.join("journal"));
    let mut payloads = Vec::new();
    for reader in orphans.iter().filter_map(|orphan| orphan.reader(destination).unwrap()) {
        let batch = reader.read(64 << 20);
        assert!(batch.corrupt == 0 && !batch.is_incomplete);
        payloads.extend(batch.payloads().map(<[u8]>::to_vec));
    }
    payloads
}

#[derive(Clone, Debug)]
enum Step {
    Keep {
        writer: usize,
        first: u8,
        count: u8,
    },
    Retry,
    Drop,
    Break(Option<Fault>),
    /// A process dies while it writes a line.
    Kill {
        writer: usize,
        id: u8,
        part: usize,
    },
    /// The machine crashes: a block of the file is not on disk.
    Crash {
        block: usize,
        back: usize,
        becomes: Becomes,
        seed: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// The file ends before this offset.
    End,
    Zeros,
    Garbage,
}

fn step() -> impl Strategy<Value = Step> {
    let becomes = prop_oneof![Just(Becomes::End), Just(Becomes::Zeros), Just(Becomes::Garbage)];
    let block = prop_oneof![Just(512), Just(4096)];
    prop_oneof![
        6 => (0_usize..2, 1_u8..25, 1_u8..6).prop_map(|(writer, first, count)| Step::Keep { writer, first, count }),
        1 => Just(Step::Retry),
        1 => Just(Step::Drop),
        4 => fault().prop_map(Step::Break),
        1 => (0_usize..2, 1_u8..25, 0_usize..=1000).prop_map(|(writer, id, part)| Step::Kill { writer, id, part }),
        1 => (block, 0_usize..20_000, becomes, any::<u64>())
            .prop_map(|(block, back, becomes, seed)| Step::Crash { block, back, becomes, seed }),
    ]
}

/// Calls `take` with an event and its record. Different ids have different lengths.
fn with_event<R>(id: u8, take: impl FnOnce(&UsageEvent<'_>, &[u8]) -> R) -> R {
    let model = "m".repeat(usize::from(id) * 37);
    let event = UsageEvent { id: [id; 16], provider: "p", model: &model, ..UsageEvent::default() };
    let mut record = Vec::new();
    encode(&event, &[], &mut record);
    take(&event, &record)
}

/// The lines of a file: the ids of those that hold an event, in order, and the other lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    ids: Vec<u8>,
    damaged: Vec<Vec<u8>>,
}

impl Lines {
    fn of(path: &Path) -> Self {
        let mut lines = Self::default();
        let bytes = std::fs::read(path).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let letter: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            let record = letter.and_then(|letter| BASE64.decode(letter.get("record")?.as_str()?).ok());
            match record {
                Some(record) => {
                    let id = decode(&record).unwrap().id[0];
                    with_event(id, |_, whole| assert_eq!(record, whole, "the letter of {id} is another event's"));
                    lines.ids.push(id);
                }
                None => lines.damaged.push(line.to_vec()),
            }
        }
        lines
    }

    fn set(&self) -> BTreeSet<u8> {
        self.ids.iter().copied().collect()
    }
}

/// Two processes that write the dead letters of one destination, and the state of the events that they gave up.
struct Letters {
    state: PathBuf,
    path: PathBuf,
    writers: [DeadLetters; 2],
    is_broken: bool,
    given_up: BTreeSet<u8>,
    requeued: BTreeSet<u8>,
    /// How many of these were rejected again.
    requeued_before: BTreeSet<u8>,
    dropped: BTreeSet<u8>,
    /// Events in lines that a crash damaged.
    hit: BTreeSet<u8>,
}

impl Letters {
    fn new(state: &Path) -> Self {
        let none = BTreeSet::new;
        Self {
            state: state.to_owned(),
            path: state.join("dead").join(format!("{NAME}.jsonl")),
            writers: [(); 2].map(|()| DeadLetters::new(Some(state), NAME)),
            is_broken: false,
            given_up: none(),
            requeued: none(),
            requeued_before: none(),
            dropped: none(),
            hit: none(),
        }
    }

    fn take(&mut self, step: &Step) {
        let before = Lines::of(&self.path);
        match *step {
            Step::Keep { writer, first, count } => (first..first + count).for_each(|id| self.keep(writer, id)),
            Step::Retry => {
                let outcome = retry_dead_letters(&self.state, &[NAME.to_owned()]);
                let after = Lines::of(&self.path);
                if let Ok(count) = outcome {
                    assert_eq!(count, before.set().len() as u64);
                    assert_eq!(after, Lines { ids: Vec::new(), damaged: before.damaged.clone() });
                    self.requeued.extend(&before.ids);
                } else {
                    assert!(self.is_broken && after == before, "{outcome:?}");
                }
            }
            Step::Drop => {
                let outcome = drop_dead_letters(&self.state);
                let after = Lines::of(&self.path);
                if let Ok(count) = outcome {
                    assert_eq!(count, (before.ids.len() + before.damaged.len()) as u64);
                    assert_eq!(after, Lines::default());
                    self.dropped.extend(&before.ids);
                } else {
                    assert!(self.is_broken && after == before, "{outcome:?}");
                }
            }
            Step::Break(fault) => {
                self.is_broken = fault.is_some();
                break_files(fault);
            }
            Step::Kill { writer, id, part } => {
                self.writers[writer] = DeadLetters::new(Some(&self.state), NAME);
                if !before.ids.contains(&id) {
                    let line = line_of(id);
                    self.append(&line[..(line.len() * part / 1000).min(line.len() - 1)]);
                    assert!(before.set().is_subset(&Lines::of(&self.path).set()));
                }
            }
            Step::Crash { block, back, becomes, seed } => {
                self.writers = [(); 2].map(|()| DeadLetters::new(Some(&self.state), NAME));
                let Ok(mut bytes) = std::fs::read(&self.path) else { return };
                let from = bytes.len().saturating_sub(back + 1) / block * block;
                let end = (from + block).min(bytes.len());
                match becomes {
                    Becomes::End => bytes.truncate(from),
                    Becomes::Zeros => bytes[from..end].fill(0),
                    Becomes::Garbage => fastrand::Rng::with_seed(seed).fill(&mut bytes[from..end]),
                }
                std::fs::write(&self.path, bytes).unwrap();
                self.hit.extend(before.set().difference(&Lines::of(&self.path).set()));
            }
        }
    }

    /// Gives up an event, as a batch does that drops it once it is kept.
    fn keep(&mut self, writer: usize, id: u8) {
        let mut before = Lines::of(&self.path);
        let kept = with_event(id, |event, record| self.writers[writer].keep(NAME, event, record, 400, "no"));
        let after = Lines::of(&self.path);
        match kept {
            Ok(Kept::Written) => {
                assert!(!before.ids.contains(&id), "{id} has two lines");
                before.ids.push(id);
                assert_eq!(after, before);
                self.note_line(id);
            }
            Ok(Kept::Known) => {
                assert!(before.ids.contains(&id), "{id} has no line");
                assert_eq!(after, before);
                self.note_line(id);
            }
            Ok(Kept::NoRoom) => panic!("there is room"),
            // The event stays in the batch.
            Err(error) => assert!(self.is_broken && after == before, "{error}"),
        }
    }

    /// Whatever happened to the event before, it now has a line.
    fn note_line(&mut self, id: u8) {
        self.dropped.remove(&id);
        self.hit.remove(&id);
        self.requeued_before.extend(self.requeued.take(&id));
        self.given_up.insert(id);
    }

    /// Appends the beginning of a line to the file.
    fn append(&self, part: &[u8]) {
        make_dir(self.path.parent().unwrap());
        let mut bytes = std::fs::read(&self.path).unwrap_or_default();
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend(part);
        std::fs::write(&self.path, bytes).unwrap();
    }
}

/// The line that is written for an event.
fn line_of(id: u8) -> Vec<u8> {
    let record = with_event(id, |_, record| BASE64.encode(record));
    let id = crate::event::id::id_text([id; 16]);
    format!("{{\"at\":\"\",\"status\":400,\"event\":{{\"id\":\"{id}\"}},\"record\":\"{record}\"}}\n").into_bytes()
}

#[derive(Clone, Debug)]
enum SpillStep {
    Save {
        count: u32,
        length: usize,
    },
    Requeue,
    Break(Option<Fault>),
    /// Another process continues with the files.
    Restart,
    /// A crash leaves a draft and a truncated file.
    Crash {
        length: usize,
    },
}

fn spill_step() -> impl Strategy<Value = SpillStep> {
    prop_oneof![
        4 => (1_u32..20, 0_usize..600).prop_map(|(count, length)| SpillStep::Save { count, length }),
        3 => Just(SpillStep::Requeue),
        4 => fault().prop_map(SpillStep::Break),
        1 => Just(SpillStep::Restart),
        1 => (1_usize..2000).prop_map(|length| SpillStep::Crash { length }),
    ]
}

fn new_spill(dir: &Path, state: &Path) -> Spill {
    let options = Options { accounts: vec!["1".to_owned()], spill_dir: Some(dir.to_owned()), ..Options::default() };
    let protocol = (format_named("token_trackr").unwrap().make)(&options);
    Spill::new(protocol.spill().unwrap(), state, SPILLS)
}

fn number_in(body: &str) -> u32 {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["n"].as_u64().unwrap() as u32
}

fn body_of(number: u32, length: usize) -> Vec<u8> {
    format!("{{\"n\": {number}, \"pad\": \"{}\"}}", "x".repeat(length)).into_bytes()
}

/// A process that spills and requeues.
struct Spilling {
    files: PathBuf,
    state: PathBuf,
    spill: Spill,
    fault: Option<Fault>,
    next: u32,
    saved: Vec<u32>,
    /// The total of the returned numbers of requeued events.
    counted: u64,
    /// Events in files that could not be deleted after that.
    undeleted: BTreeSet<u32>,
    may_repeat: bool,
    /// Files without a valid list of events, with their texts.
    torn: Vec<(PathBuf, Vec<u8>)>,
}

impl Spilling {
    fn new(dir: &Path) -> Self {
        let (files, state) = (dir.join("files"), dir.join("state"));
        let spill = new_spill(&files, &state);
        Self {
            files,
            state,
            spill,
            fault: None,
            next: 0,
            saved: Vec::new(),
            counted: 0,
            undeleted: BTreeSet::new(),
            may_repeat: false,
            torn: Vec::new(),
        }
    }

    /// The events in valid files.
    fn spilled(&self) -> BTreeSet<u32> {
        let paths = std::fs::read_dir(&self.files).into_iter().flatten().map(|entry| entry.unwrap().path());
        let own = paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events_"));
        let lists =
            own.filter_map(|path| serde_json::from_slice::<Vec<serde_json::Value>>(&std::fs::read(path).unwrap()).ok());
        lists.flatten().map(|event| event["n"].as_u64().unwrap() as u32).collect()
    }

    fn take(&mut self, step: &SpillStep) {
        let before = self.spilled();
        match *step {
            SpillStep::Save { count, length } => {
                let numbers = self.next..self.next + count;
                self.next += count;
                let bodies: Vec<_> = numbers.clone().map(|number| body_of(number, length)).collect();
                let outcome = self.spill.save(&bodies);
                let mut expected = before;
                if outcome.is_ok() {
                    self.saved.extend(numbers.clone());
                    expected.extend(numbers);
                }
                // If saving fails, they stay in the batch.
                assert_eq!(self.spilled(), expected);
                assert!(outcome.is_ok() || self.fault.is_some(), "{outcome:?}");
            }
            SpillStep::Requeue => {
                let left = before.difference(&self.undeleted).count() as u64;
                let (count, outcome) = self.spill.requeue();
                let after = self.spilled();
                self.counted += count;
                assert!(outcome.is_ok() || self.fault.is_some(), "{outcome:?}");
                if self.fault.is_none() {
                    assert!(count == left && after.is_empty(), "{count} of {left}, {after:?}");
                } else if self.fault == Some(Fault::Delete) {
                    assert!(count == left && after == before);
                    self.undeleted = after;
                } else if count == 0 {
                    // Files whose events were requeued before may be deleted now.
                    assert!(before.difference(&after).all(|number| self.undeleted.contains(number)));
                } else {
                    assert!(count == left && after.is_empty());
                }
                self.undeleted = self.undeleted.intersection(&self.spilled()).copied().collect();
            }
            SpillStep::Break(fault) => {
                self.fault = fault;
                break_files(fault);
            }
            SpillStep::Restart => {
                self.may_repeat |= !self.undeleted.is_empty();
                self.undeleted.clear();
                self.spill = new_spill(&self.files, &self.state);
            }
            SpillStep::Crash { length } => {
                make_dir(&self.files);
                let whole = [b"[".to_vec(), body_of(u32::MAX, 2000), b"]\n".to_vec()].concat();
                let path = self.files.join(format!("events_{}-1.json", self.torn.len()));
                std::fs::write(&path, &whole[..length]).unwrap();
                std::fs::write(self.files.join(format!(".{}.tmp", self.torn.len())), &whole[..length]).unwrap();
                self.torn.push((path, whole[..length].to_vec()));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// Whatever fails, an event that was given up has a line, is in a journal again, or was dropped and counted. A damaged line does
    /// not damage others, and the counts are right.
    #[test]
    fn rejected_events_are_kept_requeued_or_counted_as_dropped(steps in prop::collection::vec(step(), 1..40)) {
        let _clear = ClearFaults;
        let dir = TempDir::new().unwrap();
        let mut letters = Letters::new(&dir.path().join("state"));
        for step in &steps {
            letters.take(step);
            let at: BTreeSet<_> = [&letters.requeued, &letters.dropped, &letters.hit].into_iter().flatten().copied().collect();
            let lines = Lines::of(&letters.path).set();
            prop_assert!(letters.given_up.iter().all(|id| at.contains(id) || lines.contains(id)));
        }
        letters.take(&Step::Break(None));
        let last = Lines::of(&letters.path).set();
        letters.take(&Step::Retry);
        let found: BTreeSet<_> = requeued(&letters.state, NAME).iter().map(|record| decode(record).unwrap().id[0]).collect();
        prop_assert!(letters.requeued.is_subset(&found) && last.is_subset(&found));
    }

    /// Whatever fails, events are in a file, in a journal again, or still in their batch. They come twice only if their file could
    /// not be deleted and its process ended.
    #[test]
    fn spilled_events_are_in_a_file_or_requeued(steps in prop::collection::vec(spill_step(), 1..40)) {
        let _clear = ClearFaults;
        let dir = TempDir::new().unwrap();
        let mut spilling = Spilling::new(dir.path());
        for step in &steps {
            spilling.take(step);
        }
        spilling.take(&SpillStep::Break(None));
        spilling.take(&SpillStep::Requeue);
        let payloads = requeued(&spilling.state, SPILLS);
        let found: Vec<_> = payloads.iter().map(|payload| number_in(decode(payload).unwrap().requests[0].body)).collect();
        prop_assert_eq!(spilling.counted, found.len() as u64);
        let unique: BTreeSet<_> = found.iter().copied().collect();
        prop_assert!(spilling.may_repeat || unique.len() == found.len());
        prop_assert_eq!(unique, spilling.saved.iter().copied().collect());
        for (path, text) in &spilling.torn {
            prop_assert_eq!(&std::fs::read(path).unwrap(), text);
        }
    }
}
