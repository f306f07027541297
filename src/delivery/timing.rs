//! The intervals and timeouts of delivery.

use std::time::Duration;

/// How often a thread checks for work while events come: often enough that two spare segments last until the next check at full rate.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// How often an idle thread wakes up.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often the maintenance thread runs while chunks are being used up: at a million events per second, 5 ms are 1.5 MB.
pub(super) const MAINTAIN: Duration = Duration::from_millis(5);
/// How often it runs while few chunks are used. Until then the chunks that are kept ready last for 40,000 events a second.
pub(super) const RELAXED: Duration = Duration::from_millis(100);
/// How long after the last time that several chunks were used at once it runs more often than that.
pub(super) const BUSY_FOR: Duration = Duration::from_secs(1);
/// After this time without events, a thread sleeps until an event wakes it, and closes its files.
pub(super) const IDLE_AFTER: Duration = Duration::from_millis(500);
/// The bytes of records in one batch for a local destination: some 4,000 events.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// The longest interval between searches for orphan journals. The shortest is half of it.
pub(super) const ADOPT_EVERY: Duration = Duration::from_secs(20);
/// The shortest time between two searches for orphan journals.
pub(super) const ADOPT_PAUSE: Duration = Duration::from_secs(1);
/// After this time without progress, an orphan journal is released, because another process may be able to deliver it.
pub(super) const RELEASE_AFTER: Duration = Duration::from_secs(20);
/// No orphan journal is held for a destination that has accepted nothing for this long. After a shorter backoff, another search is
/// not worth it.
pub(super) const REFUSING_FOR: Duration = Duration::from_secs(5);
/// How long a thread searches for orphan journals before it does other work. The current journal is read to its end.
pub(super) const SEARCH_SLICE: Duration = Duration::from_millis(50);
/// How long requests in flight may take after delivery was stopped.
pub(super) const STOP_WAIT: Duration = Duration::from_millis(500);
/// The same, if no caller waits for the end.
pub(super) const UNATTENDED_STOP_WAIT: Duration = Duration::from_secs(10);
/// How often changed counts are published for other processes.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// How often a waiting caller checks whether to continue. Signal handlers run within this time.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a drain waits for a destination to accept anything.
pub(super) const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long a drain waits until another part of this process stops reading orphan journals.
pub(super) const FIND_WAIT: Duration = Duration::from_secs(3);
pub(super) const DRAIN_POLL: Duration = Duration::from_millis(50);
/// A destination that fails for this long causes a warning.
pub(super) const FAILING_AFTER: Duration = Duration::from_mins(1);
