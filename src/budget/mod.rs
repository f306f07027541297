//! Budgets: limits that hold over all threads and processes of a state directory.
//!
//! The state is a file of words that every process maps. A lock serializes operations, and a redo log makes each of them happen as a
//! whole, even if its process is killed. `reserve` holds the estimate of a call in all of its budgets or in none; `settle` charges what
//! the call cost and frees its holds.

mod error;
mod gate;
mod growth;
mod hold;
mod keys;
mod layout;
mod operations;
mod owner;
mod process;
mod settlement;
mod slot;
mod state;
mod transaction;
mod window;
mod window_list;
mod words;

#[cfg(test)]
mod tests;

pub use error::Unavailable;
pub use gate::{Charge, Decision, Gate, Restore, Settled, Share, Ticket, Used};
pub use process::Patience;
pub use settlement::Crossing;
pub use slot::{Counts, Period};
