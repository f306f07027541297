//! What cannot be delivered is left, and said.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Destination, Sender, drain_orphans};
use super::threads::{journal_for, sink, usage};
use super::*;

/// A destination without a thread, because the system had none left, keeps no flush waiting, and says why its events wait.
#[test]
fn a_destination_without_a_thread_keeps_no_flush_waiting() {
    let dir = TempDir::new().unwrap();
    let ((lost, lost_taken), (one, taken)) = (sink("lost", Duration::ZERO), sink("one", Duration::ZERO));
    let root = dir.path().join("journal");
    let journal = journal_for(&root, &[&lost, &one]);
    let count = AtomicU64::new(0);
    let sender = Sender::start_with(Arc::clone(&journal), None, vec![lost, one], &move |name, work| {
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

/// A drain that finds something it cannot deliver never says that nothing is left.
#[test]
fn a_drain_says_what_it_cannot_read() {
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
    // Neither the record of destinations nor a cursor is left: the events are for every destination.
    let path = leave();
    std::fs::remove_file(path.join("destinations")).unwrap();
    std::fs::remove_file(path.join("one.cursor")).unwrap();
    assert_eq!((drain().delivered, path.exists()), (1, false));
    // A lock is missing, or the directory may be written by others.
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

/// A segment that only a later version reads is left, and the drain of a destination over HTTP says so.
#[test]
fn a_drain_over_http_says_what_only_a_later_version_reads() {
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
    assert!(drained.reasons.iter().any(|reason| reason.contains("later version")), "{drained:?}");
    assert!(segment.exists());
}
