//! The quarantine: damaged segments, kept beside the journals. They can be listed, and their readable records requeued.
//!
//! ```text
//! <state>/quarantine/<journal>-<segment file>        a segment in which something was damaged
//! <state>/quarantine/<journal>.destinations          the destinations of its records, one per line
//! <state>/quarantine/<journal>-<segment file>.read   a segment whose readable records were requeued; the damaged ones are still in
//! it <state>/quarantine/<journal>-<file>.<n>.foreign    a file that taximeter did not write, from a journal that was deleted
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::cursor::Position;
use super::foreign::DIR;
use super::owner::subscribers;
use super::scan::{Writer, read_batch};
use super::segment::{Backend, index_of};
use super::settings::{AppendError, Settings, Tier};
use super::view::View;
use super::writer::Journal;
use crate::sys::fs::{
    allocated, append_all, append_private, check_private_dir, create_private_dir, hard_link, list_dir, open_private,
    path_metadata, remove_file, rename,
};

/// The most bytes of damaged segments to keep for inspection. Others are deleted.
const BUDGET: u64 = 16 << 20;
const DONE: &str = ".read";
/// The suffix of the list of a journal's destinations.
const DESTINATIONS: &str = "destinations";
/// The bytes of a batch of records to requeue.
const BATCH: usize = 1 << 20;

/// Keeps a segment of a journal under `root` in the quarantine. If possible, it also stays where it is, for destinations that have
/// not passed it. Nothing is kept beyond the quarantine's budget.
pub(super) fn keep(root: &Path, segment: &Path) {
    let _ = try_keep(root, segment);
}

fn try_keep(root: &Path, segment: &Path) -> io::Result<()> {
    let quarantine = root.parent().ok_or(io::ErrorKind::NotFound)?.join(DIR);
    let (Some(dir), Some(file)) = (segment.parent(), segment.file_name()) else { return Ok(()) };
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept = quarantine.join(format!("{name}-{}", file.to_string_lossy()));
    create_private_dir(&quarantine)?;
    let taken: u64 = files(&quarantine)?.iter().filter_map(|path| Some(allocated(&path_metadata(path).ok()?))).sum();
    let data = path_metadata(segment)?;
    if taken + allocated(&data) > BUDGET {
        return Ok(());
    }
    match hard_link(segment, &kept) {
        // Directories cannot have a second name, and on some file systems files cannot either.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => rename(segment, &kept)?,
        _ => {}
    }
    let list = quarantine.join(format!("{name}.{DESTINATIONS}"));
    if path_metadata(&list).is_err()
        && let Some(names) = subscribers(dir)?
    {
        let names: Vec<_> = names.into_iter().collect();
        // A partial list would name too few destinations.
        append_all(&append_private(&list)?, names.join("\n").as_bytes()).inspect_err(|_| drop(remove_file(&list)))?;
    }
    Ok(())
}

fn read_list(path: &Path) -> io::Result<Vec<String>> {
    let mut text = String::new();
    io::Read::read_to_string(&mut open_private(path, false)?, &mut text)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A segment in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The name of its file.
    pub name: String,
    /// The bytes it takes.
    pub bytes: u64,
    /// The destinations of its records.
    pub destinations: Vec<String>,
    /// How many of its records can be read.
    pub readable: u64,
    /// How many of its records cannot be read.
    pub damaged: u64,
    /// Whether the readable records were already requeued.
    pub is_requeued: bool,
}

/// The result of requeuing the segments in quarantine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Records that were requeued.
    pub requeued: u64,
    /// Records that still cannot be read. Their segments stay.
    pub damaged: u64,
    /// Readable records that stay, because their destinations are unknown or no journal accepted them.
    pub left: u64,
}

/// The segments in quarantine under `state`.
///
/// # Errors
/// I/O errors.
pub fn list(state: &Path) -> io::Result<Vec<Quarantined>> {
    let quarantine = open(state)?;
    let mut all = Vec::new();
    for path in files(&quarantine)? {
        let Some((journal, is_requeued)) = journal_of(&path) else { continue };
        let (mut readable, mut damaged) = (0, 0);
        scan(&path, |batch| {
            (readable, damaged) = (readable + batch.len() as u64, damaged + batch.corrupt);
            Ok(())
        })?;
        all.push(Quarantined {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: path_metadata(&path).map_or(0, |data| allocated(&data)),
            destinations: read_list(&quarantine.join(format!("{journal}.{DESTINATIONS}"))).unwrap_or_default(),
            readable,
            damaged,
            is_requeued,
        });
    }
    Ok(all)
}

/// Requeues the readable records in quarantine: copies them into new journals for their destinations. They are delivered from there
/// like the records of ended processes.
///
/// A destination that already has some of the records gets these again, and can recognize them by their ids. If the process is killed
/// while it handles a segment, that segment is requeued again the next time.
///
/// # Errors
/// I/O errors. Segments that were not requeued stay.
pub fn requeue(state: &Path) -> io::Result<Requeued> {
    let quarantine = open(state)?;
    let mut by_journal: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files(&quarantine)? {
        if let Some((journal, false)) = journal_of(&path) {
            by_journal.entry(journal).or_default().push(path);
        }
    }
    let mut total = Requeued::default();
    for (journal, segments) in by_journal {
        let destinations = read_list(&quarantine.join(format!("{journal}.{DESTINATIONS}"))).unwrap_or_default();
        for segment in segments {
            let (count, damaged) = requeue_segment(state, &segment, &destinations)?;
            total.damaged += damaged;
            if destinations.is_empty() {
                total.left += count;
                continue;
            }
            total.requeued += count;
            if damaged == 0 {
                remove_file(&segment)?;
            } else {
                let mut name = segment.clone().into_os_string();
                name.push(DONE);
                rename(&segment, Path::new(&name))?;
            }
        }
    }
    Ok(total)
}

/// Copies the records of a segment to a journal. Returns the number of readable and of damaged records.
fn requeue_segment(state: &Path, segment: &Path, destinations: &[String]) -> io::Result<(u64, u64)> {
    let journal = (!destinations.is_empty()).then(|| {
        Journal::<()>::open(Settings {
            root: Some(state.join("journal")),
            backend: Backend::Written,
            // No limit: the records are already on the disk, and are deleted from the quarantine once they are in the journal.
            budget: Some(u64::MAX),
            destinations: destinations.to_vec(),
        })
    });
    let (mut count, mut damaged) = (0, 0);
    let done = scan(segment, |batch| {
        damaged += batch.corrupt;
        for (payload, time) in batch.payloads().zip(batch.appended_at()) {
            count += 1;
            let Some(journal) = &journal else { continue };
            let appended = journal.append(time, |out, ()| out.extend_from_slice(payload));
            let is_kept =
                !matches!(appended, Err(AppendError::Full | AppendError::Closed)) && journal.tier() != Tier::Memory;
            if !is_kept {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "the journal has no space on disk for the records in quarantine",
                ));
            }
        }
        Ok(())
    });
    if let Some(journal) = journal {
        journal.close();
        // If something failed, delete the copy. Otherwise its events would be delivered twice.
        journal.finish(done.is_err());
    }
    done.map(|()| (count, damaged))
}

/// Reads a segment batch by batch.
fn scan(path: &Path, mut take: impl FnMut(&Batch) -> io::Result<()>) -> io::Result<()> {
    let view = [View::File { index: 1, path: path.to_owned(), is_expected: true }];
    let mut position = Position::default();
    loop {
        let batch = read_batch(&view, &position, BATCH, Writer::Dead);
        if batch.is_incomplete {
            let why = format!("{} cannot be read now, or a newer version wrote it", path.display());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        take(&batch)?;
        if batch.position == position {
            return Ok(());
        }
        position = batch.position;
    }
}

fn open(state: &Path) -> io::Result<PathBuf> {
    let quarantine = state.join(DIR);
    check_private_dir(state)?;
    check_private_dir(&quarantine)?;
    Ok(quarantine)
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match list_dir(dir) {
        Ok(entries) => {
            let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The journal of a file in quarantine, and whether its records were requeued; `None` if the file is not a segment.
fn journal_of(path: &Path) -> Option<(String, bool)> {
    let name = path.file_name()?.to_str()?;
    let (name, is_requeued) = name.strip_suffix(DONE).map_or((name, false), |name| (name, true));
    let (journal, file) = name.rsplit_once('-')?;
    index_of(file)?;
    Some((journal.to_owned(), is_requeued))
}
