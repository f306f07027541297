//! The retry policy of a remote destination: when to send again, and how many requests at the same time.
//!
//! - After a failure: full jitter under an exponential limit, and no sooner than a Retry-After.
//! - A circuit breaker opens after five failures in a row, or if more than one request in ten is a retry. It then allows one request
//!   at a time.
//! - If an operator has to change something: a pause.
//! - The number of concurrent requests grows slowly, and is halved when the destination is overloaded.

use std::time::{Duration, Instant};

use super::backoff::full_jitter;

const FIRST: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// The number of failures in a row that open the circuit breaker.
const OPENS_AT: u32 = 5;
/// How often a paused destination is tried.
const PAUSE: Duration = Duration::from_mins(5);
/// The number of successes in a row for one more concurrent request.
const GROWS_AFTER: u32 = 10;
/// The cost of a retry. Each success adds 1 to the credit, so at most one request in ten is a retry while the breaker is closed.
const RETRY_COST: u32 = 10;
const MAX_CREDIT: u32 = 10 * RETRY_COST;

/// The state of one remote destination.
pub(super) struct Policy {
    failures: u32,
    successes: u32,
    concurrency: u32,
    /// The limit of concurrent requests.
    max_concurrency: u32,
    /// The credit for retries: successes fill it and retries use it up.
    credit: u32,
    /// No request before this time, unless a flush waits.
    backoff: Option<Instant>,
    /// No request before this time, even if a flush waits, because the destination asked for it.
    asked: Option<Instant>,
    is_paused: bool,
}

impl Policy {
    pub(super) fn new(max_concurrency: u32) -> Self {
        Self {
            failures: 0,
            successes: 0,
            concurrency: 1,
            max_concurrency,
            credit: MAX_CREDIT,
            backoff: None,
            asked: None,
            is_paused: false,
        }
    }

    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        [self.backoff, self.asked].into_iter().flatten().any(|until| now < until)
    }

    /// How many requests may run at the same time.
    pub(super) fn concurrency(&self) -> usize {
        if self.failures > 0 || self.is_open() { 1 } else { self.concurrency as usize }
    }

    /// Ends the backoff, because a flush wants an immediate retry. A Retry-After of the destination still counts.
    pub(super) fn retry_now(&mut self) {
        self.backoff = None;
    }

    pub(super) fn succeed(&mut self) {
        let successes = self.successes + 1;
        let grown = if successes.is_multiple_of(GROWS_AFTER) { self.concurrency + 1 } else { self.concurrency };
        // A response that was already on its way does not cancel the Retry-After of another one.
        let asked = self.asked.filter(|until| !self.is_paused && Instant::now() < *until);
        // The failures of an outage are not retries to a healthy destination, so after it there is credit for at least one retry.
        let least = if self.failures >= OPENS_AT { RETRY_COST } else { 0 };
        let credit = (self.credit + 1).clamp(least, MAX_CREDIT);
        *self = Self {
            successes,
            concurrency: grown.min(self.max_concurrency),
            credit,
            asked,
            ..Self::new(self.max_concurrency)
        };
    }

    fn is_open(&self) -> bool {
        self.failures >= OPENS_AT || self.credit < RETRY_COST
    }

    /// Records a failure. `is_overload` if there may have been too many requests at once.
    pub(super) fn fail(&mut self, now: Instant, at_least: Option<Duration>, is_overload: bool) {
        self.backoff = Some(now + full_jitter(FIRST, self.failures, MAX_BACKOFF));
        // While the breaker is open, it limits the rate itself.
        let cost = if self.is_open() { 0 } else { RETRY_COST };
        self.credit = self.credit.saturating_sub(cost);
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        if is_overload {
            self.concurrency = (self.concurrency / 2).max(1);
        }
        self.is_paused = false;
        let asked = at_least.map(|asked| now + asked.mul_f64(1.0 + 0.1 * fastrand::f64()));
        self.asked = self.asked.max(asked);
    }

    /// Records a response that only an operator can change.
    pub(super) fn pause(&mut self, now: Instant) {
        self.is_paused = true;
        self.failures = self.failures.saturating_add(1);
        self.asked = Some(now + PAUSE.mul_f64(1.0 + 0.1 * fastrand::f64()));
    }

    /// The name of the state in `stats()`.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self { is_paused: true, .. } => "paused",
            _ if self.is_open() => "open",
            _ => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_CONCURRENCY: u32 = 4;

    #[test]
    fn waits_are_jittered_bounded_and_ended_by_a_flush() {
        let now = Instant::now();
        let mut policy = Policy::new(MAX_CONCURRENCY);
        for _ in 0..100 {
            policy.fail(now, None, false);
            assert!(!policy.is_waiting(now + MAX_BACKOFF));
        }
        assert_eq!((policy.state(), policy.concurrency()), ("open", 1));
        policy.retry_now();
        assert!(!policy.is_waiting(now));
        policy.succeed();
        assert_eq!(policy.state(), "closed");
    }

    #[test]
    fn more_than_one_retry_in_ten_opens_the_breaker_until_enough_successes() {
        let now = Instant::now();
        let times_open = |successes_per_failure: u32| {
            let mut policy = Policy::new(MAX_CONCURRENCY);
            let round = |_: &u32| {
                policy.fail(now, None, false);
                let is_open = policy.state() == "open";
                (0..successes_per_failure).for_each(|_| policy.succeed());
                is_open
            };
            (0..100).filter(round).count()
        };
        assert_eq!((times_open(12), times_open(10)), (0, 0));
        assert!(times_open(5) > 50, "{}", times_open(5));
    }

    /// A thousand clients get the same Retry-After of one minute from a collector.
    #[test]
    fn clients_with_the_same_retry_after_come_back_at_different_times() {
        let now = Instant::now();
        let minute = Duration::from_mins(1);
        let mut seconds = [0; 7];
        for _ in 0..1000 {
            let mut policy = Policy::new(MAX_CONCURRENCY);
            policy.fail(now, Some(minute), true);
            assert!(policy.is_waiting(now + minute));
            let first = (0..7).find(|second| !policy.is_waiting(now + minute + Duration::from_secs(second + 1)));
            seconds[first.unwrap() as usize] += 1;
        }
        let most = seconds.into_iter().max().unwrap();
        assert!(most <= 3 * 1000 / 6, "{seconds:?}");
    }

    #[test]
    fn a_retry_after_counts_even_if_a_flush_waits() {
        let now = Instant::now();
        let mut policy = Policy::new(MAX_CONCURRENCY);
        policy.fail(now, Some(Duration::from_secs(9)), true);
        policy.retry_now();
        policy.succeed();
        policy.fail(now, Some(Duration::ZERO), true);
        policy.retry_now();
        assert!(policy.is_waiting(now + Duration::from_secs(9)) && !policy.is_waiting(now + Duration::from_secs(10)));
        let mut paused = Policy::new(MAX_CONCURRENCY);
        paused.pause(now);
        paused.retry_now();
        assert!(paused.is_waiting(now + PAUSE) && paused.state() == "paused");
    }

    #[test]
    fn the_concurrency_grows_slowly_and_is_halved() {
        let mut policy = Policy::new(MAX_CONCURRENCY);
        for _ in 0..100 {
            policy.succeed();
        }
        assert_eq!(policy.concurrency(), MAX_CONCURRENCY as usize);
        policy.fail(Instant::now(), None, true);
        assert_eq!(policy.concurrency(), 1);
        policy.succeed();
        assert_eq!(policy.concurrency(), 2);
    }
}
