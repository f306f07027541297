//! Delivery with threads, and drains: how destinations affect each other, and what is left at the end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Delivered, Destination, Failure, LocalSink, NoticeKind, Sender, drain_orphans};
use super::*;
use crate::event::Outgoing;
use crate::protocol::Verbatim;

/// A slow local destination.
struct SlowSink {
    name: &'static str,
    pause: Duration,
    taken: Arc<AtomicU64>,
}

impl LocalSink for SlowSink {
    fn name(&self) -> &str {
        self.name
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        std::thread::sleep(self.pause);
        self.taken.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(Delivered { accepted: events.len() as u64, duplicates: 0 })
    }
}

pub(in super::super) fn sink(name: &'static str, pause: Duration) -> (Destination, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    (Destination::Local(Box::new(SlowSink { name, pause, taken: Arc::clone(&taken) })), taken)
}

pub(in super::super) fn usage() -> Vec<u8> {
    let mut payload = Vec::new();
    encode(&UsageEvent { provider: "p", model: "m", ..UsageEvent::default() }, &[], &mut payload);
    payload
}

pub(in super::super) fn journal_for(root: &std::path::Path, destinations: &[&Destination]) -> Arc<Journal> {
    Arc::new(Journal::open(Settings {
        root: Some(root.to_owned()),
        backend: Backend::Mapped,
        budget: Some(1 << 30),
        destinations: destinations.iter().map(|destination| destination.name().to_owned()).collect(),
    }))
}

pub(super) fn waited(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !condition() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}

/// A destination that takes half a minute for a batch does not delay others.
#[test]
fn a_slow_destination_does_not_delay_others() {
    let dir = TempDir::new().unwrap();
    let ((slow, slow_taken), (quick, quick_taken)) =
        (sink("slow", Duration::from_secs(30)), sink("quick", Duration::ZERO));
    let journal = journal_for(&dir.path().join("journal"), &[&slow, &quick]);
    let sender = Sender::start(Arc::clone(&journal), None, vec![slow, quick]);
    let payload = usage();
    // Three segments: the slow destination is delivering one batch, and gets no other before the quick one has everything.
    for _ in 0..100_000 {
        journal.append(1, |out, _| out.extend_from_slice(&payload)).unwrap();
    }
    sender.notify();
    assert!(waited(|| quick_taken.load(Ordering::Relaxed) == 100_000));
    assert!(slow_taken.load(Ordering::Relaxed) < 100_000);
    let _ = sender.close(Duration::ZERO, &|| true);
}

/// Requests continue while orphan journals are delivered to a slow local destination.
#[test]
fn adoption_by_a_slow_destination_does_not_stop_requests() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (slow, taken) = sink("slow", Duration::from_secs(2));
    let dead = journal_for(&root, &[&slow]);
    let payload = usage();
    for _ in 0..100_000 {
        dead.append(1, |out, _| out.extend_from_slice(&payload)).unwrap();
    }
    dead.close();
    dead.finish(false);
    let collector = Collector::start();
    let address = Address::new(&format!("http://127.0.0.1:{}/", collector.port), &[], false).unwrap();
    let remote = Destination::Remote(Box::new(Remote::new(address, Box::new(CloudEvents), None, None)));
    let journal = journal_for(&root, &[&slow, &remote]);
    let sender = Sender::start(Arc::clone(&journal), Some(root), vec![slow, remote]);
    assert!(waited(|| taken.load(Ordering::Relaxed) > 0));
    journal.append(crate::sys::clock::unix_ns(), |out, _| out.extend_from_slice(&payload)).unwrap();
    sender.notify();
    assert!(waited(|| collector.kept.lock().unwrap().received == 1));
    assert!(taken.load(Ordering::Relaxed) < 100_000, "adoption went on meanwhile");
    let _ = sender.close(Duration::ZERO, &|| true);
}

/// A service that does not recognize event ids counts a resent event twice, so closing waits for requests in flight.
#[test]
fn closing_waits_for_requests_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read) = stream.read(&mut bytes)
                    && read > 0
                {
                    if bytes[..read].ends_with(b"{}") {
                        count.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(200));
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let destination = || {
        let address = Address::new(&url, &[], false).unwrap();
        Destination::Remote(Box::new(Remote::new(address, Box::new(Verbatim::default()), None, None)))
    };
    let one = destination();
    let journal = journal_for(&root, &[&one]);
    let sender = Sender::start(Arc::clone(&journal), None, vec![one]);
    for _ in 0..8 {
        let requests = vec![Outgoing { path: "", body: "{}" }];
        let event = UsageEvent { requests, ..UsageEvent::default() };
        journal.append(crate::sys::clock::unix_ns(), |out, _| encode(&event, &[], out)).unwrap();
        sender.notify();
    }
    assert!(waited(|| received.load(Ordering::Relaxed) > 0));
    let _ = sender.close(Duration::from_millis(50), &|| true);
    drop((sender, journal));
    let drained = drain_orphans(&root, vec![destination()], &|| true);
    assert_eq!(drained.reasons, Vec::<String>::new());
    assert_eq!(received.load(Ordering::Relaxed), 8);
}

/// A flush ends when the destination has failed, not when its time is up.
#[test]
fn a_flush_ends_when_a_destination_fails() {
    let dir = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = Address::new(&format!("http://127.0.0.1:{port}/"), &[], false).unwrap();
    let remote = Destination::Remote(Box::new(Remote::new(address, Box::new(CloudEvents), None, None)));
    let journal = journal_for(&dir.path().join("journal"), &[&remote]);
    let sender = Sender::start(Arc::clone(&journal), None, vec![remote]);
    journal.append(crate::sys::clock::unix_ns(), |out, _| out.extend_from_slice(&usage())).unwrap();
    sender.notify();
    let begun = Instant::now();
    let report = sender.flush(Duration::from_mins(2), &|| true);
    assert_eq!((report.delivered, report.pending), (0, 1));
    assert!(begun.elapsed() < Duration::from_mins(1));
    let _ = sender.close(Duration::ZERO, &|| true);
}

/// Thousands of journals are adopted with a few descriptors, and closing does not wait for them.
#[test]
fn many_orphans_are_adopted_a_few_at_a_time() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let payload = usage();
    for _ in 0..200 {
        let (one, _) = sink("one", Duration::ZERO);
        let dead = Journal::open(Settings {
            root: Some(root.clone()),
            backend: Backend::Written,
            budget: Some(1 << 40),
            // The other destination is not configured any more. Its journals are kept, and do not block the others.
            destinations: vec!["one".to_owned(), "gone".to_owned()],
        });
        dead.append(1, |out, _| out.extend_from_slice(&payload)).unwrap();
        dead.close();
        dead.finish(false);
        drop(one);
    }
    let (one, taken) = sink("one", Duration::ZERO);
    let journal = journal_for(&root, &[&one]);
    let sender = Sender::start(Arc::clone(&journal), Some(root.clone()), vec![one]);
    assert!(waited(|| taken.load(Ordering::Relaxed) == 200), "{}", taken.load(Ordering::Relaxed));
    assert!(waited(|| sender.stats()[0].orphaned == 0));
    let _ = sender.close(Duration::from_mins(1), &|| true);
    drop((sender, journal));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 200, "the events of the other one are kept");
    let (gone, taken) = sink("gone", Duration::ZERO);
    let drained = drain_orphans(&root, vec![gone], &|| true);
    assert_eq!((drained.delivered, drained.left, taken.load(Ordering::Relaxed)), (200, 0, 200));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

/// A changed clock does not make events too old: one clock was off by years when events were tracked, another when they are
/// delivered.
#[cfg(target_os = "linux")]
#[test]
fn a_changed_clock_expires_no_events() {
    const WEEK: Duration = Duration::from_hours(7 * 24);
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let collector = Collector::start();
    let destination = |max_age| {
        let address = Address::new(&format!("http://127.0.0.1:{}/", collector.port), &[], false).unwrap();
        Destination::Remote(Box::new(Remote::new(address, Box::new(CloudEvents), None, Some(max_age))))
    };
    let leave = || {
        let dead = journal_for(&root, &[&destination(WEEK)]);
        let now = crate::sys::clock::unix_ns();
        for at in [0, now - 8 * 86_400 * 1_000_000_000, now] {
            dead.append(at, |out, _| out.extend_from_slice(&usage())).unwrap();
        }
        dead.close();
        dead.finish(false);
    };
    leave();
    let drained = drain_orphans(&root, vec![destination(WEEK)], &|| true);
    assert_eq!((drained.delivered, drained.expired, drained.left), (3, 0, 0), "{drained:?}");
    // Events that have waited that long by the time since boot expire.
    leave();
    std::thread::sleep(Duration::from_millis(20));
    let drained = drain_orphans(&root, vec![destination(Duration::from_millis(10))], &|| true);
    assert_eq!((drained.delivered, drained.expired, drained.left), (1, 2, 0), "{drained:?}");
}

/// A damaged record of an orphan journal costs only that record, is counted, and is reported once.
#[test]
fn damage_is_reported_once() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let (one, taken) = sink("one", Duration::ZERO);
    let dead = journal_for(&root, &[&one]);
    for _ in 0..100 {
        dead.append(1, |out, _| out.extend_from_slice(&usage())).unwrap();
    }
    dead.close();
    let path = dead.path().unwrap();
    dead.finish(false);
    drop(dead);
    let segment =
        std::fs::read_dir(path).unwrap().flatten().find(|entry| entry.path().extension() == Some("seg".as_ref()));
    let segment = segment.unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the payload of one of the first records, after the pages of the header and the tallies.
    bytes[2 * 4096 + 200] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let journal = journal_for(&root, &[&one]);
    let sender = Sender::start(Arc::clone(&journal), Some(root), vec![one]);
    assert!(waited(|| taken.load(Ordering::Relaxed) == 99));
    assert!(waited(|| sender.has_notices()));
    let notices = sender.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((notices[0].kind, notices[0].detail.as_str()), (NoticeKind::Damaged, "1 record"));
    let _ = sender.close(Duration::ZERO, &|| true);
}
