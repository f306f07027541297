//! Backoff: full jitter under an exponential limit.

use std::time::{Duration, Instant};

/// The first limit of the waiting time.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait. The ledger is local, so a disk that has space again is noticed within about a second.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The backoff of one destination.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Ends the wait, because a flush wants an immediate retry.
    pub(super) fn retry_now(&mut self) {
        self.until = None;
    }

    pub(super) fn fail(&mut self, now: Instant, at_least: Option<Duration>) {
        let wait = full_jitter(FIRST, self.failures, MAX_WAIT).max(at_least.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }
}

/// A random time below a limit that doubles with each failure, up to `longest`.
pub(super) fn full_jitter(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(10)).min(longest).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_jittered_bounded_and_end() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(!backoff.is_waiting(now));
        for _ in 0..100 {
            backoff.fail(now, None);
            assert!(!backoff.is_waiting(now + MAX_WAIT));
        }
        backoff.fail(now, Some(Duration::from_secs(9)));
        assert!(backoff.is_waiting(now + Duration::from_secs(8)));
        backoff.retry_now();
        assert!(!backoff.is_waiting(now));
    }
}
