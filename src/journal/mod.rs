//! The journal: a queue on disk that is its own write-ahead log.
//!
//! Writers append records to chunks of mapped segments. Each destination reads the records with its own cursor. A segment is deleted
//! when every cursor has passed it. Appended records survive the death of the process, because the kernel holds their pages. They can
//! be read from the segments alone.
//!
//! Invariants:
//! - A record becomes visible with its commit. The bytes before a chunk's committed mark never change.
//! - Appending makes no system call and does not wait for a disk, unless no prepared segment is left.
//! - Segments get their indexes in the order in which they come into use, so the floor of a cursor never passes a segment that will
//!   be used.
//! - The lock order is: shard, making, `hand_off`, dir, queue, views, list, damaged. While a segment is created, only `making` is held,
//!   and while one is copied, `hand_off`, too. While `others` or `left` is held, no other lock is taken.
//! - Nothing created before a fork is used after it. The child leaves everything alone and creates its own (see
//!   [`crate::sys::fork`]).
//!
//! The journal stores bytes. It does not know events or destinations. `docs/journal.md` specifies the file formats.

mod batch;
mod claims;
mod cursor;
mod disk_budget;
mod foreign;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod inspect;
mod memory_copy;
mod orphans;
mod owner;
mod pool;
mod probe;
pub mod quarantine;
mod reader;
mod record;
mod retention;
mod scan;
mod segment;
mod segment_file;
mod segment_list;
mod settings;
mod store;
mod sync;
mod totals;
mod trim;
mod view;
mod writer;

pub use batch::Batch;
pub use cursor::Position;
pub use disk_budget::MAX_DISK_BUDGET;
pub use inspect::{JournalReport, Waiting, WriterStatus, drop_journal, inspect};
#[cfg(test)]
pub(crate) use orphans::adopt_all;
pub use orphans::{Backlog, OrphanReader, UnsavedPositions};
pub use owner::{Adopting, Orphan, OrphanScan, subscribers};
pub use probe::probe;
pub use reader::Reader;
pub use scan::Counted;
pub use segment::Backend;
pub use settings::{AppendError, Counts, MAX_PAYLOAD, Settings, Tier};
pub use trim::Untrimmed;
pub use writer::Journal;

#[cfg(test)]
mod tests;
