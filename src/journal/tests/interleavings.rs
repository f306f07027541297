//! Runs every order in which threads can claim, write, release, retire and read a segment, with loom.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use self::claims::Claims;

/// The atomics that the file under test uses.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../claims.rs"]
#[allow(clippy::duplicate_mod, reason = "with the atomics of loom in place of the usual ones")]
mod claims;

/// Runs every order with at most three preemptions. Known errors show with two, and a run with all preemptions takes ten seconds.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

struct Segment {
    claims: Claims<2>,
    /// The content of each chunk. Only [`Claims`] orders the access to it.
    bytes: [AtomicU32; 2],
}

impl Segment {
    fn new() -> Arc<Self> {
        Arc::new(Self { claims: Claims::new(2, |_| 0), bytes: [AtomicU32::new(0), AtomicU32::new(0)] })
    }

    /// Does what a writer does. Returns whether there was a free chunk.
    fn write(&self) -> bool {
        let Some(chunk) = self.claims.claim() else { return false };
        self.bytes[chunk].store(7, Ordering::Relaxed);
        self.claims.commit(chunk, 8);
        self.claims.release();
        true
    }

    /// Does what a reader does, and checks that committed data is visible. Returns the number of records.
    fn read(&self) -> u32 {
        let mut found = 0;
        for chunk in 0..self.claims.chunks() {
            if self.claims.committed(chunk) == 8 {
                assert_eq!(self.bytes[chunk].load(Ordering::Relaxed), 7);
                found += 1;
            }
        }
        found
    }
}

#[test]
fn a_sealed_segment_is_complete() {
    model(|| {
        let segment = Segment::new();
        let writer = thread::spawn({
            let segment = Arc::clone(&segment);
            move || segment.write()
        });
        let retiring = thread::spawn({
            let segment = Arc::clone(&segment);
            move || segment.claims.retire()
        });
        let sealed = segment.claims.is_sealed();
        let found = segment.read();
        let has_written = writer.join().unwrap();
        retiring.join().unwrap();
        if sealed {
            assert_eq!(found, u32::from(has_written), "a record was written after the segment was sealed");
        }
        assert!(segment.claims.is_sealed());
        assert_eq!(segment.read(), u32::from(has_written));
    });
}

#[test]
fn each_chunk_is_claimed_exactly_once() {
    model(|| {
        let segment = Segment::new();
        let claim = |segment: &Arc<Segment>| {
            let segment = Arc::clone(segment);
            move || segment.claims.claim()
        };
        let others = [thread::spawn(claim(&segment)), thread::spawn(claim(&segment))];
        let mut taken: Vec<_> =
            others.into_iter().map(|other| other.join().unwrap()).chain([segment.claims.claim()]).collect();
        taken.sort_unstable();
        assert_eq!(taken, [None, Some(0), Some(1)]);
        assert!(!segment.claims.is_sealed());
        segment.claims.release();
        assert!(!segment.claims.is_sealed());
        segment.claims.release();
        assert!(segment.claims.is_sealed());
        assert_eq!(segment.claims.claimed(), 2);
    });
}
