//! The ledger: the embedded destination, one SQLite file for reports, the command line and any SQL tool.
//!
//! Several processes write to one file. An event is stored once, identified by its id, however often it is delivered. Amounts are decimal
//! texts, so that nothing is rounded. The table `hourly` keeps sums, updated in the same transaction as the events, so that most reports
//! need not read every event. The schema is in [`schema`] and documented in `docs/ledger.md`.
//!
//! A forked child cannot use SQLite's state: see [`unusable_after_fork`].

mod addends;
mod answer;
mod arrow;
mod backup;
mod block;
mod cells;
mod check;
mod column;
mod deleted;
mod dimension;
mod encoded;
mod error;
mod export;
mod file;
mod filter;
mod fold;
mod functions;
mod groups;
mod hours;
mod insert;
mod latency;
mod lease;
mod order;
mod packing;
mod prune;
mod query;
mod ranking;
mod reader;
mod record;
mod report;
mod reprice;
mod rows;
mod scan;
mod schema;
mod spend;
#[cfg(test)]
mod tests;
mod texts;
mod unpacked;
mod upgrade;
mod watch;
mod writer;

pub use answer::answered;
pub use arrow::{Cells, Scan, scan_columns, table};
pub use backup::{Copied, backup, restore};
pub use check::{Checked, Compacted, compact};
pub use dimension::Dimension;
pub use error::LedgerError;
pub use export::Format;
pub use filter::{Condition, Filter, Op};
pub use latency::{Duration, Durations};
pub use lease::unusable_after_fork;
pub use order::{COUNT_NAMES, Order, Page, ReportPage, ReportRow, Sum, Totals};
pub use prune::{Pruned, Pruning};
pub use query::{Parameters, Rows};
pub use ranking::Measure;
pub use reader::Reader;
pub use reprice::{NewPrice, Repriced, RepricedModel};
pub use spend::{Spend, Spending, Spent};
pub use watch::Watch;
pub use writer::Writer;
