//! When a remote destination may be asked again, and how often at once.
//!
//! Full jitter under an exponential bound after a failure; a Retry-After as a floor under it; a breaker that lets one request at a
//! time try after five failures, or when more than one request in ten had to be sent again; a pause where an operator has to change
//! something; and a number of requests at once that grows slowly and is halved when the destination says that it has too many.

use std::time::{Duration, Instant};

use super::backoff::full_jitter;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);
/// Failures in a row that open the breaker.
const OPENS_AT: u32 = 5;
/// How often a paused destination is asked whether that happened.
const PAUSE: Duration = Duration::from_mins(5);
/// Successes in a row for one request more at once.
const GROWS_AFTER: u32 = 10;
/// What one retry costs of the budget that successes fill: at most one request in ten is a retry while the breaker is closed.
const RETRY_COST: u32 = 10;
const MOST_CREDIT: u32 = 10 * RETRY_COST;

/// The state of one remote destination.
pub(super) struct Policy {
    failures: u32,
    successes: u32,
    at_once: u32,
    /// That many requests at once, and no more.
    most_at_once: u32,
    /// Filled by successes and used up by retries.
    credit: u32,
    /// Not before this, unless a flush waits.
    backoff: Option<Instant>,
    /// Not before this, also when a flush waits: the destination asked for it.
    asked: Option<Instant>,
    is_paused: bool,
}

impl Policy {
    pub(super) fn new(most_at_once: u32) -> Self {
        Self {
            failures: 0,
            successes: 0,
            at_once: 1,
            most_at_once,
            credit: MOST_CREDIT,
            backoff: None,
            asked: None,
            is_paused: false,
        }
    }

    pub(super) fn is_waiting(&self, now: Instant) -> bool {
        [self.backoff, self.asked].into_iter().flatten().any(|until| now < until)
    }

    /// How many requests there may be at once.
    pub(super) fn at_once(&self) -> usize {
        if self.failures > 0 || self.is_open() { 1 } else { self.at_once as usize }
    }

    /// Tries at once, as a flush asks for; what the destination asked for stands.
    pub(super) fn retry_now(&mut self) {
        self.backoff = None;
    }

    pub(super) fn succeed(&mut self) {
        let successes = self.successes + 1;
        let grown = if successes.is_multiple_of(GROWS_AFTER) { self.at_once + 1 } else { self.at_once };
        // An answer that was on its way does not take back what another asked for.
        let asked = self.asked.filter(|until| !self.is_paused && Instant::now() < *until);
        // After an outage, whose failures were no retries of a healthy destination, there is enough for one.
        let least = if self.failures >= OPENS_AT { RETRY_COST } else { 0 };
        let credit = (self.credit + 1).clamp(least, MOST_CREDIT);
        *self =
            Self { successes, at_once: grown.min(self.most_at_once), credit, asked, ..Self::new(self.most_at_once) };
    }

    fn is_open(&self) -> bool {
        self.failures >= OPENS_AT || self.credit < RETRY_COST
    }

    /// After a failure; `is_overload` when there may have been too much at once.
    pub(super) fn fail(&mut self, now: Instant, at_least: Option<Duration>, is_overload: bool) {
        self.backoff = Some(now + full_jitter(FIRST, self.failures, LONGEST));
        // While the breaker is open, its own pace is the limit.
        let cost = if self.is_open() { 0 } else { RETRY_COST };
        self.credit = self.credit.saturating_sub(cost);
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        if is_overload {
            self.at_once = (self.at_once / 2).max(1);
        }
        self.is_paused = false;
        let asked = at_least.map(|asked| now + asked.mul_f64(1.0 + 0.1 * fastrand::f64()));
        self.asked = self.asked.max(asked);
    }

    /// After an answer that only a person can change.
    pub(super) fn pause(&mut self, now: Instant) {
        self.is_paused = true;
        self.failures = self.failures.saturating_add(1);
        self.asked = Some(now + PAUSE.mul_f64(1.0 + 0.1 * fastrand::f64()));
    }

    /// Its name in `stats()`.
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

    const MOST_AT_ONCE: u32 = 4;

    #[test]
    fn waits_are_jittered_bounded_and_ended_by_a_flush() {
        let now = Instant::now();
        let mut policy = Policy::new(MOST_AT_ONCE);
        for _ in 0..100 {
            policy.fail(now, None, false);
            assert!(!policy.is_waiting(now + LONGEST));
        }
        assert_eq!((policy.state(), policy.at_once()), ("open", 1));
        policy.retry_now();
        assert!(!policy.is_waiting(now));
        policy.succeed();
        assert_eq!(policy.state(), "closed");
    }

    #[test]
    fn more_than_one_retry_in_ten_opens_the_breaker_until_successes_pay_for_them() {
        let now = Instant::now();
        let times_open = |successes_per_failure: u32| {
            let mut policy = Policy::new(MOST_AT_ONCE);
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

    /// A thousand clients of a collector that told them all to come back after a minute.
    #[test]
    fn clients_that_were_sent_away_together_do_not_come_back_together() {
        let now = Instant::now();
        let minute = Duration::from_mins(1);
        let mut seconds = [0; 7];
        for _ in 0..1000 {
            let mut policy = Policy::new(MOST_AT_ONCE);
            policy.fail(now, Some(minute), true);
            assert!(policy.is_waiting(now + minute));
            let first = (0..7).find(|second| !policy.is_waiting(now + minute + Duration::from_secs(second + 1)));
            seconds[first.unwrap() as usize] += 1;
        }
        let most = seconds.into_iter().max().unwrap();
        assert!(most <= 3 * 1000 / 6, "{seconds:?}");
    }

    #[test]
    fn what_the_destination_asks_for_stands_also_when_a_flush_waits() {
        let now = Instant::now();
        let mut policy = Policy::new(MOST_AT_ONCE);
        policy.fail(now, Some(Duration::from_secs(9)), true);
        policy.retry_now();
        policy.succeed();
        policy.fail(now, Some(Duration::ZERO), true);
        policy.retry_now();
        assert!(policy.is_waiting(now + Duration::from_secs(9)) && !policy.is_waiting(now + Duration::from_secs(10)));
        let mut paused = Policy::new(MOST_AT_ONCE);
        paused.pause(now);
        paused.retry_now();
        assert!(paused.is_waiting(now + PAUSE) && paused.state() == "paused");
    }

    #[test]
    fn requests_at_once_grow_slowly_and_are_halved() {
        let mut policy = Policy::new(MOST_AT_ONCE);
        for _ in 0..100 {
            policy.succeed();
        }
        assert_eq!(policy.at_once(), MOST_AT_ONCE as usize);
        policy.fail(Instant::now(), None, true);
        assert_eq!(policy.at_once(), 1);
        policy.succeed();
        assert_eq!(policy.at_once(), 2);
    }
}
