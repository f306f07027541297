//! Events that wait for others, so that one batch has all of them. The wait is an hour, so that only what should end it ends it.

use super::super::{Delivered, Destination, Failure, LocalSink, Sender};
use super::threads::{journal_for, usage, waited};
use super::*;
use crate::delivery::timing::BATCH_BYTES;

/// Keeps the sizes of its batches.
struct Patient(Arc<Mutex<Vec<usize>>>);

impl LocalSink for Patient {
    fn name(&self) -> &'static str {
        "one"
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        lock(&self.0).push(events.len());
        Ok(Delivered { accepted: events.len() as u64, duplicates: 0 })
    }

    fn linger(&self) -> Duration {
        Duration::from_hours(1)
    }
}

/// A journal that such a destination reads, and the sizes of its batches.
fn started(dir: &TempDir) -> (Arc<Journal>, Sender, Arc<Mutex<Vec<usize>>>) {
    let batches = Arc::default();
    let one = Destination::Local(Box::new(Patient(Arc::clone(&batches))));
    let journal = journal_for(&dir.path().join("journal"), &[&one]);
    let sender = Sender::start(Arc::clone(&journal), None, vec![one]);
    (journal, sender, batches)
}

fn append(journal: &Journal, sender: &Sender, count: usize) {
    for _ in 0..count {
        journal.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
        sender.notify();
    }
}

#[test]
fn events_wait_for_a_flush_or_a_close_and_are_then_one_batch() {
    let dir = TempDir::new().unwrap();
    let (journal, sender, batches) = started(&dir);
    for count in [3, 4] {
        append(&journal, &sender, count);
        assert_eq!(sender.flush(Duration::from_secs(30), &|| true).delivered, count as u64);
    }
    append(&journal, &sender, 5);
    assert_eq!(sender.close(Duration::from_secs(30), &|| true).delivered, 5);
    assert_eq!(*lock(&batches), [3, 4, 5]);
}

#[test]
fn a_full_batch_does_not_wait() {
    let dir = TempDir::new().unwrap();
    let (journal, sender, batches) = started(&dir);
    let record = journal.counts().appended_bytes;
    append(&journal, &sender, 1);
    let record = journal.counts().appended_bytes - record;
    append(&journal, &sender, BATCH_BYTES / record as usize + 1);
    assert!(waited(|| !lock(&batches).is_empty()));
    let _ = sender.close(Duration::ZERO, &|| true);
}
