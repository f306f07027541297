//! Budgets: limits that hold over all threads and processes of a state directory.
//!
//! The state is a file of words that every process maps. A lock serializes operations, and a redo log makes each of them happen as a
//! whole, even if its process is killed. `reserve` holds the estimate of a call in all of its budgets or in none; `settle` charges what
//! the call cost and frees its holds.

mod budgets;
mod checkpoint;
mod crossing;
mod defining;
mod definition;
mod error;
mod gate;
mod growth;
mod history;
mod hold;
mod keys;
mod layout;
mod matching;
mod operations;
mod owner;
mod period;
mod process;
mod quote;
mod reading;
mod rebuild;
mod run;
mod settlement;
mod slot;
mod standing;
mod state;
mod stored;
mod transaction;
mod window;
mod window_list;
mod words;

#[cfg(test)]
mod tests;

pub use budgets::{Admitted, Budgets, Refused};
pub use crossing::Crossing;
pub use definition::{Action, Definition, DefinitionError, Rule, Unit};
pub use error::Unavailable;
pub use gate::{Charge, Decision, Gate, Restore, Settled, Share, Ticket, Used};
pub use history::History;
pub use matching::{Facts, Match, Matches};
pub use process::Patience;
pub use quote::{Amounts, Outcome, Quote};
pub use rebuild::{Recover, Spent};
pub use run::{NoRoom, Run, RunHold};
pub use slot::{Counts, Period};
pub use standing::{Crossed, Standing};
pub use stored::DefineError;
