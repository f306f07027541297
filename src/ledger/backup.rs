//! Copies a ledger to a file, and puts such a copy in the ledger's place, while other processes write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use super::file::LedgerFile;
use super::lease::Leased;
use super::record::{RecordFile, beside};
use super::watch::Watch;
use crate::sys::clock::unix_ns;
use crate::sys::fs::{create_private_dir, create_private_file, hard_link, path_metadata, remove_file, rename, sync};
use crate::sys::identity::FileIdentity;

/// Pages that are copied between two looks at the watch: 4 MB.
const PAGES: i32 = 1_024;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The number of events.
    pub events: u64,
    /// The bytes of the copy.
    pub bytes: u64,
    /// Where the replaced ledger is kept, if there was one.
    pub kept: Option<PathBuf>,
}

/// Copies the ledger to a file that only its owner can access, as it is at one moment. Writers go on meanwhile.
///
/// # Errors
/// If there is no ledger, if the file exists and may not be replaced, or if one of both cannot be used. Then the file is not changed.
pub fn backup(ledger: &Path, target: &Path, may_replace: bool, watch: &Arc<Watch>) -> Result<Copied, LedgerError> {
    if path_metadata(ledger).is_err() {
        return Err(LedgerError::Query(format!("there is no ledger at {}", ledger.display())));
    }
    if FileIdentity::of(ledger) == FileIdentity::of(target) {
        return Err(LedgerError::Query(format!("{} is the ledger itself; name another file", target.display())));
    }
    if path_metadata(target).is_ok() && !may_replace {
        let why = "exists; name another file, or replace it with --force (replace=True)";
        return Err(LedgerError::Query(format!("{} {why}", target.display())));
    }
    let draft = Draft::create(beside(target, ".partial"))?;
    let copied = copy(ledger, &draft.0, watch)?;
    rename(&draft.0, target)?;
    Ok(copied)
}

/// Puts a copy of a backup in the place of the ledger. Programs that write go on with the new file, and lose no event that they track
/// from then on. The replaced ledger is kept beside it.
///
/// # Errors
/// If the backup is not a ledger, was made by a newer version or is damaged, or if the ledger cannot be replaced. Then nothing is changed.
pub fn restore(ledger: &Path, source: &Path, watch: &Arc<Watch>) -> Result<Copied, LedgerError> {
    if path_metadata(source).is_err() {
        return Err(LedgerError::Query(format!("there is no file {}", source.display())));
    }
    if FileIdentity::of(ledger).is_some_and(|ledger| FileIdentity::of(source) == Some(ledger)) {
        return Err(LedgerError::Query(format!("{} is the ledger itself; name a backup", source.display())));
    }
    ledger.parent().map_or(Ok(()), create_private_dir)?;
    let draft = Draft::create(beside(ledger, "-restoring"))?;
    let copied = copy(source, &draft.0, watch)?;
    check_copy(&draft.0, watch)?;
    let kept = replace(ledger, &draft.0)?;
    Ok(Copied { kept, ..copied })
}

/// A file that is deleted unless it is renamed.
struct Draft(PathBuf);

impl Draft {
    fn create(path: PathBuf) -> Result<Self, LedgerError> {
        // What an interrupted run has left.
        let _ = remove_file(&path);
        create_private_file(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let _ = remove_file(&beside(&self.0, suffix));
        }
    }
}

/// Copies a ledger into an empty file, and waits until the copy is on disk.
fn copy(from: &Path, to: &Path, watch: &Arc<Watch>) -> Result<Copied, LedgerError> {
    let events = copy_pages(from, to, watch)?;
    let file = File::open(to)?;
    sync(&file)?;
    Ok(Copied { events, bytes: file.metadata()?.len(), kept: None })
}

/// Copies the pages of a ledger. Returns the number of its events.
fn copy_pages(from: &Path, to: &Path, watch: &Arc<Watch>) -> Result<u64, LedgerError> {
    let empty = || LedgerError::Query(format!("{} is empty, and no ledger", from.display()));
    let mut source = LedgerFile::open_to_read(from, None)?.ok_or_else(empty)?;
    let mut target = Leased::open(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let source = source.connection()?;
    let mut target = target.connection()?;
    // The transaction keeps the state of one moment: without it, each commit of another process would start the copy anew.
    let moment = source.unchecked_transaction()?;
    moment.query_row("SELECT count(*) FROM sqlite_master", (), |_| Ok(()))?;
    {
        let copying = Backup::new(&moment, &mut target)?;
        loop {
            let step = copying.step(PAGES)?;
            let progress = copying.progress();
            let (total, left) = (progress.pagecount.max(0) as u64, progress.remaining.max(0) as u64);
            watch.note(total - left.min(total), total)?;
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                _ => return Err(LedgerError::Replaced),
            }
        }
    }
    drop(moment);
    // One file without a log, which any tool can read from any disk.
    target.query_row("PRAGMA journal_mode = delete", (), |_| Ok(()))?;
    Ok(target.query_row("SELECT count(*) FROM events", (), |row| row.get::<_, i64>(0))? as u64)
}

/// Checks that the pages of a copy are sound.
fn check_copy(copy: &Path, watch: &Arc<Watch>) -> Result<(), LedgerError> {
    let mut leased = Leased::open(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut connection = leased.connection()?;
    watch.guard(&mut connection)?;
    let verdict = quick_check(&connection).map_err(|error| watch.explain(error))?;
    if verdict == "ok" { Ok(()) } else { Err(LedgerError::Damaged(verdict)) }
}

fn quick_check(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
}

/// Gives the name of the ledger to another file. Returns the new name of the ledger that had it.
fn replace(ledger: &Path, new: &Path) -> Result<Option<PathBuf>, LedgerError> {
    if path_metadata(ledger).is_err() {
        let _lock = RecordFile::lock(ledger)?;
        set_log_aside(ledger, &beside(ledger, &suffix()))?;
        rename(new, ledger)?;
        return Ok(None);
    }
    // Writes the log back into the old ledger. That fails if the ledger is damaged, and then its log is kept beside it.
    let is_sound = LedgerFile::open_to_write(ledger, None).is_ok();
    let _lock = RecordFile::lock(ledger)?;
    let kept = beside(ledger, &suffix());
    // With a second name, the ledger is never without a file. Not every file system has links.
    if hard_link(ledger, &kept).is_err() {
        rename(ledger, &kept)?;
    }
    if !is_sound {
        set_log_aside(ledger, &kept)?;
    }
    rename(new, ledger)?;
    Ok(Some(kept))
}

fn suffix() -> String {
    format!(".replaced-{}", unix_ns() / 1_000_000)
}

/// Renames the log of a ledger, and deletes its index.
fn set_log_aside(ledger: &Path, kept: &Path) -> Result<(), LedgerError> {
    if path_metadata(&beside(ledger, "-wal")).is_ok() {
        rename(&beside(ledger, "-wal"), &beside(kept, "-wal"))?;
        let _ = remove_file(&beside(ledger, "-shm"));
    }
    Ok(())
}
