//! Why the state of budgets cannot be used.

use std::io;

/// Why the gate cannot tell whether a call fits.
#[derive(thiserror::Error, Debug)]
pub enum Unavailable {
    /// Another thread or process has held the lock for too long.
    #[error("another process has held the lock of the budget state for too long")]
    Busy,
    /// There is no room for another key or call in flight.
    #[error("the budget state is full: it would need more than budget_state_mb")]
    Full,
    /// The state's file cannot be used.
    #[error("the budget state cannot be used: {0}")]
    State(#[from] io::Error),
}
