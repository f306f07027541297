//! The ledger as a destination.

use std::path::Path;
use std::time::Duration;

use super::destination::{Delivered, Failure, LocalSink};
use crate::event::UsageEvent;
use crate::ledger::{Spending, Writer, unusable_after_fork};

/// Writes events to the ledger file.
pub struct LedgerSink {
    writer: Writer,
    linger: Duration,
}

impl LedgerSink {
    /// The name of its cursor.
    pub const NAME: &str = "ledger";

    /// The ledger at `path`. The first batch opens it. Events wait up to `linger` for others, so that one transaction stores them.
    /// `spending` tells which budgets an event counts for.
    #[must_use]
    pub fn new(path: &Path, linger: Duration, spending: Option<Spending>) -> Self {
        Self { writer: Writer::new(path).with_spending(spending), linger }
    }
}

impl LocalSink for LedgerSink {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn deliver(&mut self, events: &[UsageEvent<'_>]) -> Result<Delivered, Failure> {
        match self.writer.write(events) {
            Ok(written) => Ok(Delivered { accepted: written.new, duplicates: written.known }),
            Err(error) => Err(Failure { is_busy: error.is_busy(), reason: error.to_string(), retry_after: None }),
        }
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    fn close_idle(&mut self) {
        self.writer.close_idle();
    }

    fn is_unusable_after_fork(&self) -> bool {
        unusable_after_fork()
    }
}
