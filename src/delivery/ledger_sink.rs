//! The ledger as a destination.

use std::path::Path;
use std::time::{Duration, Instant};

use super::destination::{Delivered, Failure, LocalSink, Upkeep};
use crate::event::{Savings, UsageEvent};
use crate::ledger::{LedgerError, Spending, Writer, unusable_after_fork};
use crate::sys::clock::unix_ns;

/// Writes events to the ledger file.
pub struct LedgerSink {
    writer: Writer,
    linger: Duration,
    retention: Option<Retention>,
    upkeep: Upkeep,
}

/// The rule by which old calls are deleted.
struct Retention {
    /// The age at which calls are deleted.
    age: Duration,
    /// When old calls are looked for again.
    next: Instant,
}

/// How often old calls are looked for, and how long after the start first.
const LOOK_EVERY: Duration = Duration::from_hours(1);
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The most calls that are deleted after a batch, unless the batch has more: then as many. So the ledger does not grow.
const DELETED: usize = 1_000;

impl LedgerSink {
    /// The name of its cursor.
    pub const NAME: &str = "ledger";

    /// The ledger at `path`. The first batch opens it. Events wait up to `linger` for others, so that one transaction stores them.
    /// `spending` tells which budgets an event counts for, and `savings` what caching saved in it.
    #[must_use]
    pub fn new(path: &Path, linger: Duration, spending: Option<Spending>, savings: Option<Savings>) -> Self {
        let writer = Writer::new(path).with_spending(spending).with_savings(savings);
        Self { writer, linger, retention: None, upkeep: Upkeep::default() }
    }

    /// The same destination, which deletes calls of this age.
    #[must_use]
    pub fn with_retention(self, age: Option<Duration>) -> Self {
        let retention = age.map(|age| Retention { age, next: Instant::now() + FIRST_LOOK });
        Self { retention, ..self }
    }

    /// Notes what failed after a batch was stored. The next batch tries again.
    fn keep_up(&mut self, delivered: usize) {
        let unpacked = self.writer.unpacked().map(|error| format!("calls cannot be packed: {error}"));
        let retained = self.retain(delivered).map_err(|error| format!("old calls cannot be deleted: {error}"));
        self.upkeep.last_error = unpacked.or(retained.err());
        self.upkeep.failures += u64::from(self.upkeep.last_error.is_some());
    }

    /// Deletes some of the old calls, if it is time to.
    fn retain(&mut self, delivered: usize) -> Result<(), LedgerError> {
        let now = Instant::now();
        let Some(retention) = self.retention.as_mut().filter(|retention| now >= retention.next) else { return Ok(()) };
        let before = unix_ns().saturating_sub(u64::try_from(retention.age.as_nanos()).unwrap_or(u64::MAX));
        let most = delivered.max(DELETED);
        if self.writer.prune_some(before, most)? < most as u64 {
            retention.next = now + LOOK_EVERY;
        }
        Ok(())
    }
}

impl LocalSink for LedgerSink {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        match self.writer.write(events) {
            Ok(written) => {
                self.keep_up(events.len());
                Ok(Delivered { accepted: written.new, duplicates: written.known })
            }
            Err(error) => Err(Failure { is_busy: error.is_busy(), reason: error.to_string(), retry_after: None }),
        }
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    fn upkeep(&self) -> Upkeep {
        self.upkeep.clone()
    }

    fn close_idle(&mut self) {
        self.writer.close_idle();
    }

    fn is_unusable_after_fork(&self) -> bool {
        unusable_after_fork()
    }
}
