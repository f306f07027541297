//! Requeues events that were given up for a while, dead letters among them.

use std::io;
use std::path::Path;

use super::event_journal::EventJournal;
use crate::event::id::IdSource;
use crate::journal::{self, Backend};
use crate::sys::clock::unix_ns;

/// Writes events into a journal under `state` without an owner, from which they are delivered like those of a process that ended.
///
/// # Errors
/// When the journal cannot take all of them; then it has none.
pub(super) fn requeue<T>(
    state: &Path,
    destination: &str,
    events: &[T],
    write: impl Fn(&T, &mut Vec<u8>, &mut IdSource),
) -> io::Result<()> {
    let journal = EventJournal::open(journal::Settings {
        root: Some(state.join("journal")),
        // No budget: they are on a disk already, and leave it as soon as they are in the journal.
        budget: Some(u64::MAX),
        backend: Backend::Written,
        destinations: vec![destination.to_owned()],
    });
    let is_written = events.iter().all(|event| {
        journal.append(unix_ns(), |out, ids| write(event, out, ids)).is_ok() && journal.tier() != journal::Tier::Memory
    });
    journal.close();
    journal.finish(!is_written);
    if is_written { Ok(()) } else { Err(io::Error::new(io::ErrorKind::StorageFull, "the journal cannot take them")) }
}
