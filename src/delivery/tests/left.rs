//! Undelivered events are left to other processes, and this is reported.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Delivered, Destination, Failure, LocalSink, Notice, NoticeKind, Sender, drain_orphans};
use super::threads::{journal_for, sink, usage, waited};
use super::*;

/// A destination without a thread, because the system had none left, does not block flushes and reports why its events wait.
#[test]
fn a_destination_without_a_thread_does_not_block_flushes() {
    let dir = TempDir::new().unwrap();
    let ((lost, lost_taken), (one, taken)) = (sink("lost", Duration::ZERO), sink("one", Duration::ZERO));
    let root = dir.path().join("journal");
    let journal = journal_for(&root, &[&lost, &one]);
    let count = AtomicU64::new(0);
    let sender = Sender::start_with(Arc::clone(&journal), None, vec![lost, one], None, &move |name, work| {
        (count.fetch_add(1, Ordering::Relaxed) > 0)
            .then(|| std::thread::Builder::new().name(name.to_owned()).spawn(work).unwrap())
    });
    journal.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
    sender.notify();
    let begun = Instant::now();
    let report = sender.flush(Duration::from_mins(2), &|| true);
    assert!(begun.elapsed() < Duration::from_mins(1));
    assert_eq!((report.delivered, report.pending), (0, 1));
    assert_eq!((taken.load(Ordering::Relaxed), lost_taken.load(Ordering::Relaxed)), (1, 0));
    assert!(sender.stats()[0].last_error.as_ref().unwrap().contains("no thread"));
    assert!(sender.has_notices());
    let _ = sender.close(Duration::from_secs(5), &|| true);
    drop((sender, journal));
    let (lost, _) = sink("lost", Duration::ZERO);
    assert_eq!(drain_orphans(&root, vec![lost], &|| true).delivered, 1);
}

/// A drain that finds something it cannot deliver never reports that nothing is left.
#[test]
fn a_drain_reports_what_it_cannot_read() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let leave = || {
        let (one, _) = sink("one", Duration::ZERO);
        let dead = journal_for(&root, &[&one]);
        dead.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
        let path = dead.path().unwrap();
        dead.close();
        dead.finish(false);
        path
    };
    let drain = || drain_orphans(&root, vec![sink("one", Duration::ZERO).0], &|| true);
    // Neither the list of destinations nor a cursor is left: the events are for every destination.
    let path = leave();
    std::fs::remove_file(path.join("destinations")).unwrap();
    std::fs::remove_file(path.join("one.cursor")).unwrap();
    assert_eq!((drain().delivered, path.exists()), (1, false));
    // A lock file is missing, or other users can write to the directory.
    let path = leave();
    std::fs::remove_file(path.join("owner.lock")).unwrap();
    let drained = drain();
    assert_eq!((drained.delivered, drained.reasons.len()), (0, 1), "{drained:?}");
    assert!(drained.reasons[0].contains("lock"), "{drained:?}");
    std::fs::remove_dir_all(&path).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let allow = |mode| std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
        leave();
        allow(0o770);
        let drained = drain();
        assert_eq!((drained.delivered, drained.reasons.len()), (0, 1), "{drained:?}");
        allow(0o700);
        assert_eq!(drain().delivered, 1);
    }
}

/// A segment that only a newer version can read is left, and a drain of an HTTP destination reports it.
#[test]
fn a_drain_over_http_reports_what_only_a_newer_version_can_read() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let collector = Collector::start();
    let address = Address::new(&format!("http://127.0.0.1:{}/", collector.port), &[], false).unwrap();
    let remote = Destination::Remote(Box::new(Remote::new(address, Box::new(CloudEvents), None, None)));
    let dead = journal_for(&root, &[&remote]);
    dead.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
    let path = dead.path().unwrap();
    dead.close();
    dead.finish(false);
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let segment = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).find(is_segment).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..56]).to_le_bytes();
    bytes[56..60].copy_from_slice(&crc);
    std::fs::write(&segment, &bytes).unwrap();
    let drained = drain_orphans(&root, vec![remote], &|| true);
    assert_eq!(drained.delivered, 0);
    assert!(drained.reasons.iter().any(|reason| reason.contains("newer version")), "{drained:?}");
    assert!(segment.exists());
}

/// If no delivery thread could be started, closing does not wait, counts what is lost, and leaves the rest to another process.
#[test]
fn closing_without_threads_leaves_the_events_to_another_process() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    for (at, is_lost) in [(Some(root.clone()), false), (None, true)] {
        let (one, taken) = sink("one", Duration::ZERO);
        let destinations = vec!["one".to_owned()];
        let settings = Settings { root: at.clone(), backend: Backend::Mapped, budget: Some(1 << 30), destinations };
        let journal = Arc::new(Journal::open(settings));
        for _ in 0..3 {
            journal.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
        }
        let sender = Sender::start_with(Arc::clone(&journal), at, vec![one], None, &|_, _| None);
        let named = |notice: Notice| (notice.kind, notice.destination);
        let expected = ["one", "journal"].map(|name| (NoticeKind::NoThread, name.to_owned()));
        assert_eq!(sender.take_notices().into_iter().map(named).collect::<Vec<_>>(), expected);
        let report = sender.close(Duration::from_mins(2), &|| true);
        let (pending, lost) = if is_lost { (0, 3) } else { (3, 0) };
        assert_eq!((report.pending, report.lost, report.lost_in_memory), (pending, lost, lost));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
    // The status names the destinations of the remaining events, even if the process lived only for a moment.
    let left = std::fs::read_dir(&root).unwrap().next().unwrap().unwrap().path();
    let status: serde_json::Value = serde_json::from_slice(&std::fs::read(left.join("status.json")).unwrap()).unwrap();
    assert_eq!((&status["tracked"], &status["destinations"][0]["pending"]), (&3.into(), &3.into()));
    // This process is still alive, but the journal no longer belongs to it.
    assert_eq!(drain_orphans(&root, vec![sink("one", Duration::ZERO).0], &|| true).delivered, 3);
}

/// A destination that panics whenever delivery pauses or stops.
struct Panicking;

impl LocalSink for Panicking {
    fn name(&self) -> &'static str {
        "one"
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        Ok(Delivered { accepted: events.len() as u64, duplicates: 0 })
    }

    fn close_idle(&mut self) {
        panic!("a fault, as this test asks for");
    }
}

/// A thread that panics each time it stops still ends, and its journal is released.
#[test]
fn a_thread_that_panics_while_stopping_ends() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let one = Destination::Local(Box::new(Panicking));
    let journal = journal_for(&root, &[&one]);
    journal.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
    let sender = Sender::start(Arc::clone(&journal), None, vec![one]);
    let _ = sender.close(Duration::from_mins(1), &|| true);
    assert!(waited(|| std::fs::read_dir(&root).unwrap().count() == 0));
    assert!(sender.stats()[0].panics >= 3, "{:?}", sender.stats());
}

/// A handed-off journal is handed off again in the directory that replaces a lost one.
#[test]
fn a_replaced_directory_is_handed_off_again() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (one, two) = (sink("one", Duration::ZERO).0, sink("two", Duration::ZERO).0);
    let journal = journal_for(&root, &[&one, &two]);
    journal.hand_off(&["one".to_owned()]).unwrap();
    let lost = journal.path().unwrap();
    std::fs::remove_dir_all(&lost).unwrap();
    assert!(waited(|| {
        journal.maintain(1);
        journal.path().is_some_and(|path| path != lost)
    }));
    let path = journal.path().unwrap();
    assert_eq!(std::fs::read_to_string(path.join("handed-off")).unwrap(), "one\n");
    assert!(path.join("reader.lock").exists() && journal.is_handed_off());
}
