//! Requeues dead letters and spilled events.

use std::io;
use std::path::Path;

use super::event_journal::EventJournal;
use crate::event::id::IdSource;
use crate::journal::{self, Backend};
use crate::sys::clock::unix_ns;

/// Writes events to a new journal under `state` without an owner. They are delivered from there like the events of ended processes.
///
/// # Errors
/// If the journal cannot store all of them. Then it is deleted.
pub(super) fn requeue<T>(
    state: &Path,
    destination: &str,
    events: &[T],
    write: impl Fn(&T, &mut Vec<u8>, &mut IdSource),
) -> io::Result<()> {
    let journal = EventJournal::open(journal::Settings {
        root: Some(state.join("journal")),
        // No limit: the events are already on the disk, and their old copies are deleted once they are in the journal.
        budget: Some(u64::MAX),
        backend: Backend::Written,
        destinations: vec![destination.to_owned()],
    });
    let is_written = events.iter().all(|event| {
        journal.append(unix_ns(), |out, ids| write(event, out, ids)).is_ok() && journal.tier() != journal::Tier::Memory
    });
    journal.close();
    journal.finish(!is_written);
    if is_written {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::StorageFull, "the journal has no space on disk"))
    }
}
