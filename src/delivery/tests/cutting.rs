//! Events that are too large for full requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::protocol::BatchLimits;

/// How many events were written.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// A destination whose requests hold half as many events as they may.
struct Small;

impl Protocol for Small {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        WRITTEN.fetch_add(events.len(), Ordering::Relaxed);
        CloudEvents.encode(events)
    }

    fn limits(&self) -> BatchLimits {
        let event = CloudEvents.encode(&[UsageEvent { provider: "openai", model: "gpt-4o", ..UsageEvent::default() }]);
        BatchLimits { max_events: 100, max_bytes: event[0].body.len() * 60, ..BatchLimits::default() }
    }
}

#[test]
fn large_events_are_written_once() {
    const TRACKED: usize = 2_000;
    let mut world = World::new(|| Box::new(Small));
    world.track(TRACKED, false);
    world.settle().unwrap();
    // Each tenth full request tries whether a larger one is possible.
    let written = WRITTEN.load(Ordering::Relaxed);
    assert!((TRACKED..TRACKED * 3 / 2).contains(&written), "{written} for {TRACKED}");
}
