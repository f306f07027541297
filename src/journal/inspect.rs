//! The state of all journals under a state directory, for an operator, and the deletion of a journal.
//!
//! [`inspect`] changes nothing. While it reads a journal, it holds the journal's lock, so that no process delivers or deletes it. It
//! reads a megabyte at a time.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::cursor::{CursorFile, Position};
use super::owner::{Claim, claim_for, remove_journal, subscribers};
use super::scan::{Writer, read_batch};
use super::segment::index_of;
use super::view::{View, segment_files};
use crate::sys::fs::{check_private_dir, list_dir};

/// How many bytes of records to read at a time.
const READ_AT_ONCE: usize = 1 << 20;

/// The state of the process that writes a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStatus {
    /// This process writes it.
    This,
    /// Another live process writes it.
    Live,
    /// The process has ended. Other processes deliver its events.
    Dead,
    /// Unknown, because the journal has no lock file. No process delivers it.
    Unknown,
}

impl WriterStatus {
    /// The name shown to operators.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::This => "this",
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// The records of one journal that wait for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The destination's name.
    pub destination: String,
    /// The number of records.
    pub records: u64,
    /// The bytes of the records.
    pub bytes: u64,
    /// When the oldest record was appended, in nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// The number of damaged records.
    pub damaged: u64,
    /// Whether some segments cannot be read now, so that there may be more records.
    pub is_incomplete: bool,
}

/// The state of one journal.
#[derive(Clone, Debug)]
pub struct JournalReport {
    /// The name of its directory.
    pub name: String,
    /// The state of the process that writes it.
    pub writer: WriterStatus,
    /// The waiting records of each destination.
    pub destinations: Vec<Waiting>,
    /// Bytes of its segments.
    pub disk_bytes: u64,
    /// Why the journal cannot be read; `None` if it can.
    pub error: Option<String>,
}

/// The journals under `root`, sorted by name.
///
/// # Errors
/// If the directory cannot be listed, or is not private to this user.
pub fn inspect(root: &Path) -> io::Result<Vec<JournalReport>> {
    let mut found = Vec::new();
    for name in names(root)? {
        let path = root.join(&name);
        let claimed = claim_for(&path);
        let writer = writer(&claimed);
        let mut report =
            JournalReport { name, writer, destinations: Vec::new(), disk_bytes: disk_bytes(&path), error: None };
        if let Err(error) = read(&path, &mut report) {
            if error.kind() == io::ErrorKind::NotFound {
                // Another process has delivered and deleted it in the meantime.
                continue;
            }
            report.error = Some(error.to_string());
        }
        found.push(report);
    }
    Ok(found)
}

fn writer(claimed: &io::Result<Claim>) -> WriterStatus {
    match claimed {
        Ok(Claim::Held) => WriterStatus::This,
        Ok(Claim::Taken) => WriterStatus::Live,
        Ok(Claim::Acquired(orphan)) if orphan.is_owner_alive() => WriterStatus::Live,
        Ok(Claim::Acquired(_)) => WriterStatus::Dead,
        Err(_) => WriterStatus::Unknown,
    }
}

/// The names of the journals under a directory; none if it does not exist.
fn names(root: &Path) -> io::Result<Vec<String>> {
    root.parent().map_or(Ok(()), check_private_dir)?;
    check_private_dir(root)?;
    let listed = match list_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut names = BTreeSet::new();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_name(&name) && entry.file_type()?.is_dir() {
            names.insert(name);
        }
    }
    Ok(names.into_iter().collect())
}

/// Whether a text can be the name of a journal: a single path component that is not a draft.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

fn disk_bytes(path: &Path) -> u64 {
    let files = list_dir(path).into_iter().flatten().flatten();
    let of_segment = |file: &std::fs::DirEntry| file.file_name().to_str().and_then(index_of).is_some();
    files.filter(of_segment).filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn read(path: &Path, report: &mut JournalReport) -> io::Result<()> {
    let views = segment_files(path)?;
    let writer = if report.writer == WriterStatus::Dead { Writer::Dead } else { Writer::Live };
    for destination in subscribers(path)?.unwrap_or_default() {
        let position = CursorFile::position(&path.join(CursorFile::name(&destination)))?;
        report.destinations.push(count(destination, &views, position, writer).0);
    }
    Ok(())
}

/// The records after a position, and the position after them.
fn count(destination: String, views: &[View], mut position: Position, writer: Writer) -> (Waiting, Position) {
    let mut waiting = Waiting { destination, ..Waiting::default() };
    loop {
        let batch = read_batch(views, &position, READ_AT_ONCE, writer);
        waiting.records += batch.len() as u64;
        waiting.bytes += batch.byte_len() as u64;
        waiting.damaged += batch.corrupt;
        waiting.is_incomplete = batch.is_incomplete;
        waiting.oldest = waiting.oldest.into_iter().chain(batch.appended_at()).min();
        if batch.position == position {
            return (waiting, position);
        }
        position = batch.position;
    }
}

/// Drops the waiting records of a journal whose process has ended, for one destination or for all. For all, this deletes the journal.
/// Returns the number of records; for all, that of the destination with the most.
///
/// # Errors
/// `NotFound` if the journal or the destination does not exist; `ResourceBusy` if the process that writes or delivers the journal is
/// alive; I/O errors.
pub fn drop_journal(root: &Path, name: &str, destination: Option<&str>) -> io::Result<u64> {
    let path = root.join(name);
    if !names(root)?.iter().any(|known| known == name) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no journal {name:?}")));
    }
    let busy =
        || io::Error::new(io::ErrorKind::ResourceBusy, "the process that writes or delivers this journal is alive");
    let _orphan = match claim_for(&path) {
        Ok(Claim::Acquired(orphan)) if !orphan.is_owner_alive() => Some(orphan),
        Ok(_) => return Err(busy()),
        // A journal without a lock file is neither delivered nor held by any process.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let views = segment_files(&path)?;
    let subscribed = subscribers(&path)?.unwrap_or_default();
    let position_of = |name: &str| CursorFile::position(&path.join(CursorFile::name(name)));
    let Some(destination) = destination else {
        let mut most = 0;
        for name in subscribed {
            most = most.max(count(name.clone(), &views, position_of(&name)?, Writer::Dead).0.records);
        }
        remove_journal(&path)?;
        return Ok(most);
    };
    if !subscribed.contains(destination) {
        let why = format!("{name} has no events for {destination:?}");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    let (waiting, end) = count(destination.to_owned(), &views, position_of(destination)?, Writer::Dead);
    if waiting.is_incomplete {
        return Err(io::Error::other("some segments cannot be read now, or only by a newer version"));
    }
    CursorFile::open_or_create(&path.join(CursorFile::name(destination)))?.save(&end)?;
    Ok(waiting.records)
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Journal, Settings};
    use super::*;

    const NAMES: [&str; 2] = ["ledger", "http-1"];

    /// Creates a journal with records and closes it.
    fn leave(root: &Path, count: u64) -> String {
        let destinations = NAMES.map(str::to_owned).to_vec();
        let settings = Settings { root: Some(root.to_owned()), backend: Backend::Written, budget: None, destinations };
        let journal = Journal::<()>::open(settings);
        for number in 0..count {
            journal.append(1000 + number, |out, ()| out.extend_from_slice(b"record")).unwrap();
        }
        journal.close();
        let name = journal.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        journal.finish(false);
        name
    }

    fn waiting(report: &JournalReport) -> Vec<(String, u64, Option<u64>)> {
        report.destinations.iter().map(|one| (one.destination.clone(), one.records, one.oldest)).collect()
    }

    #[test]
    fn reports_count_per_destination_and_dropped_records_are_not_counted_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state").join("journal");
        assert!(inspect(&root).unwrap().is_empty());
        let name = leave(&root, 7);
        let found = inspect(&root).unwrap();
        assert_eq!((found.len(), found[0].name.as_str(), found[0].writer), (1, name.as_str(), WriterStatus::Dead));
        let all = [("http-1".to_owned(), 7, Some(1000)), ("ledger".to_owned(), 7, Some(1000))];
        assert_eq!(waiting(&found[0]), all);
        assert_eq!(drop_journal(&root, &name, Some("ledger")).unwrap(), 7);
        let left = waiting(&inspect(&root).unwrap()[0]);
        assert_eq!(left, [("http-1".to_owned(), 7, Some(1000)), ("ledger".to_owned(), 0, None)]);
        assert_eq!(drop_journal(&root, &name, Some("other")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(drop_journal(&root, &name, None).unwrap(), 7);
        assert_eq!(drop_journal(&root, &name, None).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    }
}
