//! How often delivery looks, and how long it waits.

use std::time::Duration;

/// How often a thread looks while events come: often enough that two spare segments outlast the pause at full rate.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// How often threads look after themselves when no events come.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How often the maintenance thread looks while chunks are used up: at a million events a second, 5 ms are 1.5 MB.
pub(super) const MAINTAIN: Duration = Duration::from_millis(5);
/// Without events for this long, a thread sleeps until an event wakes it, and files are closed.
pub(super) const IDLE_AFTER: Duration = Duration::from_millis(500);
/// Bytes of records in one batch for a local destination: some 4,000 events.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// How often orphan journals are looked for; half as long at the least.
pub(super) const ADOPT_EVERY: Duration = Duration::from_secs(20);
/// The least time between two searches for orphan journals.
pub(super) const ADOPT_PAUSE: Duration = Duration::from_secs(1);
/// After this long without progress an orphan journal is released, for another process that may do better.
pub(super) const RELEASE_AFTER: Duration = Duration::from_secs(20);
/// A destination that has accepted nothing for this long keeps no orphan journal. A shorter backoff is not worth a search of the directory.
pub(super) const REFUSING_FOR: Duration = Duration::from_secs(5);
/// How long a thread searches for orphan journals before it looks after other work. The journal in hand is read to its end.
pub(super) const SEARCH_SLICE: Duration = Duration::from_millis(50);
/// How long requests that are in flight may take when delivery ends.
pub(super) const STOP_WAIT: Duration = Duration::from_millis(500);
/// Likewise where no caller waits for the end.
pub(super) const UNATTENDED_STOP_WAIT: Duration = Duration::from_secs(10);
/// How often counts that changed are written for other processes.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// How often a caller that waits is asked whether to go on: a signal's handler runs within this time.
pub(super) const SLICE: Duration = Duration::from_millis(50);
/// How long a drain waits for a destination to accept anything.
pub(super) const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long a drain waits for another part of this process that reads orphan journals.
pub(super) const FIND_WAIT: Duration = Duration::from_secs(3);
pub(super) const DRAIN_POLL: Duration = Duration::from_millis(50);
/// A destination that fails for this long is worth a warning.
pub(super) const FAILING_AFTER: Duration = Duration::from_mins(1);
