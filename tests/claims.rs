//! Every order in which threads can claim, write, release, retire and read a segment, tried by loom.

/// What the file under test takes its atomics from.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../src/journal/claims.rs"]
mod claims;

mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    use super::claims::Claims;

    /// Every order in which no more than three threads are interrupted: what is wrong shows with two, and all take ten seconds.
    fn model(test: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(test);
    }

    struct Segment {
        claims: Claims<2>,
        /// What is stored in a chunk: nothing but [`Claims`] orders it.
        bytes: [AtomicU32; 2],
    }

    impl Segment {
        fn new() -> Arc<Self> {
            Arc::new(Self { claims: Claims::new(2, |_| 0), bytes: [AtomicU32::new(0), AtomicU32::new(0)] })
        }

        /// As a writer does; whether there was a chunk.
        fn write(&self) -> bool {
            let Some(chunk) = self.claims.claim() else { return false };
            self.bytes[chunk].store(7, Ordering::Relaxed);
            self.claims.commit(chunk, 8);
            self.claims.release();
            true
        }

        /// As a reader does: what is committed is there.
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
    fn what_is_sealed_is_whole() {
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
                assert_eq!(found, u32::from(has_written), "a record came after the segment was seen sealed");
            }
            assert!(segment.claims.is_sealed());
            assert_eq!(segment.read(), u32::from(has_written));
        });
    }

    #[test]
    fn no_chunk_is_claimed_twice_and_none_is_lost() {
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
}
