//! The journal: a queue on disk that is its own write-ahead log.
//!
//! Writers append records to chunks of mapped segments; each destination reads them with a cursor of its own; a segment is
//! deleted when every cursor has passed it. What was appended survives the death of the process, because the kernel holds the
//! page, and is found again from the segments alone.
//!
//! Invariants:
//! - A record is visible when its commit is; below a chunk's committed mark no byte changes.
//! - Appending makes no system call and waits for no disk, except when no prepared segment is left.
//! - Segments get their index in the order in which they come into use, so a cursor's floor never passes one that will be used.
//! - Locks are taken in the order shard, making, dir, queue, views, list, and none is held while a segment is made but `making`. Nothing
//!   made before a fork is used after it: the child leaves it all alone and makes its own (see [`crate::sys::fork`]).
//!
//! The journal knows bytes: neither events nor destinations. `docs/journal.md` states the formats.

mod batch;
mod claims;
mod cursor;
mod disk_budget;
mod foreign;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod inspect;
mod lock;
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
pub use writer::Journal;

#[cfg(test)]
mod tests;
