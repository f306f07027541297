//! The ledger: the embedded destination, one SQLite file that reports, the command line and any SQL tool read.
//!
//! Several processes write one file. An event is stored once, by its id, however often it is delivered. Amounts are decimal
//! text, so that nothing is rounded; `hourly` keeps sums beside the events, in the same transaction, so that the usual reports
//! do not read every event. The schema is in [`schema`] and documented in `docs/ledger.md`.
//!
//! SQLite's state does not survive a fork: see [`unusable_after_fork`].

mod dimension;
mod error;
mod file;
mod filter;
mod lease;
mod reader;
mod record;
mod report;
mod reprice;
mod schema;
mod writer;

pub use dimension::Dimension;
pub use error::LedgerError;
pub use filter::Filter;
pub use lease::unusable_after_fork;
pub use reader::Reader;
pub use report::{ReportRow, Totals};
pub use reprice::{NewPrice, Repriced, RepricedModel};
pub use writer::Writer;
