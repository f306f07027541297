//! Delivery: background threads that send every event of the journal to every destination.
//!
//! The first event starts the threads. They never run Python. Each destination has its own cursor, so that one that is down or slow
//! does not delay the others. Each local destination has a thread; all HTTP destinations share one. The threads also adopt the
//! journals of ended processes. One more thread, the maintenance thread, keeps the journal's pages ready.

mod backoff;
mod bring;
mod classify;
mod dead_letter;
mod destination;
mod drain;
mod event_journal;
mod handle;
mod in_flight;
mod ledger_sink;
mod local_thread;
mod locked_file;
mod network_loop;
mod notices;
mod orphans;
mod policy;
mod remote;
mod requeue;
mod response_log;
mod shared;
mod spill;
mod stats;
mod sub_batch;
mod timing;

pub use dead_letter::{drop_dead_letters, retry_dead_letters};
pub use destination::{Delivered, Destination, Failure, LocalSink};
pub use drain::{Drained, drain_orphans};
pub use event_journal::EventJournal;
pub use handle::{Flushed, Sender};
pub use ledger_sink::LedgerSink;
pub use notices::{Notice, NoticeKind};
pub use remote::{Remote, RemoteSettings, Service};
pub use response_log::{Answered, ResponseLog};
pub use shared::Upkeep;
pub use stats::DestinationStats;

#[cfg(test)]
mod tests;
