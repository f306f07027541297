//! Ownership of journal directories: which process writes a journal, and which may read or delete it.
//!
//! ```text
//! <state>/journal/<token>-<random>/   one directory per process (and per forked process), mode 0700
//!     owner.lock      locked while the writing process lives
//!     destinations    the names of the destinations that read this journal, one per line
//!     <name>.cursor   how far the destination <name> has read; if the file is missing, nothing
//!     reader.lock     locked by the process that delivers for a live owner that cannot deliver (see `handed-off`)
//!     handed-off      the destinations that a live owner leaves to other processes, one per line; if empty, all of them
//!     <index>.seg     segments
//! ```
//!
//! Process ids are never used, because the system reuses them. A directory is complete before it gets its final name, so its lock
//! alone tells other processes its state. The token is a random number of this process (a forked child draws a new one), by which the
//! process recognizes its own drafts. A process must not open the lock files that it holds: on systems other than Linux, closing a
//! second handle would release the lock.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;

use super::cursor::CursorFile;
use super::segment::index_of;
use super::{foreign, segment_list, totals};
use crate::sys::fork::fork_generation;
use crate::sys::fs::{
    RENAMES_WITH_OPEN_FILES, check_private_dir, create_private_dir, create_private_file, is_out_of_resources, list_dir,
    open_private, path_metadata, read_at, remove_dir, remove_file, rename, write_at,
};
use crate::sys::held::HeldLocks;
use crate::sys::lock::ProcessLock;
use crate::sys::random::random_word;

const OWNER_LOCK: &str = "owner.lock";
const READER_LOCK: &str = "reader.lock";
const HANDED_OFF: &str = "handed-off";
const DESTINATIONS: &str = "destinations";
/// The status that delivery writes for other processes, and its draft.
const STATUS: [&str; 2] = ["status.json", "status.tmp"];
const DRAFT: &str = ".draft-";
/// An unlocked draft older than this was left by a process that died between two system calls.
const DRAFT_AGE: Duration = Duration::from_mins(10);
/// The most bytes of a file of names that are read: some 300 destinations.
const MAX_NAMES_BYTES: usize = 16 << 10;

/// A random number that identifies this process. A forked child draws a new one.
fn process_token() -> u64 {
    static TOKEN: OnceBox<ArcSwap<(u64, u64)>> = OnceBox::new();
    let token = TOKEN.get_or_init(Box::default);
    let generation = fork_generation();
    loop {
        let current = token.load();
        if current.0 == generation {
            return current.1;
        }
        token.compare_and_swap(&current, Arc::new((generation, random_word())));
    }
}

/// The directories that this process holds.
static HELD: HeldLocks<OsString> = HeldLocks::new();

fn is_held(name: &OsStr) -> bool {
    HELD.any(|held| held == name)
}

/// The journals of other processes that this process has locked, by path. Where locks belong to the whole process, a second lock of
/// the same journal would succeed, and its end would release the first.
static CLAIMED: HeldLocks<PathBuf> = HeldLocks::new();

/// How long a search waits for a journal whose unused space another thread of this process frees. That takes some milliseconds.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The right of one part of this process to lock the journal at a path.
struct Claimed(PathBuf);

impl Claimed {
    /// Takes the right; `None` if another part of this process has it.
    fn begin(path: &Path) -> Option<Self> {
        let path = path.to_owned();
        CLAIMED.try_add(&path).then_some(Self(path))
    }

    /// Waits until no other part of this process has the right, at most [`MAX_WAIT`].
    fn wait_for(path: &Path) {
        let deadline = Instant::now() + MAX_WAIT;
        while CLAIMED.any(|claimed| claimed == path) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        CLAIMED.remove(|claimed| *claimed == self.0);
    }
}

/// A journal directory of this process.
pub(super) struct OwnedDir {
    path: PathBuf,
    /// `None` only during `drop`.
    lock: Option<ProcessLock>,
}

impl OwnedDir {
    /// Creates a directory under `root` with a cursor for each destination.
    pub(super) fn create(root: &Path, destinations: &[String]) -> io::Result<Self> {
        // Create the state directory, too. It contains the directory of journals.
        root.parent().map_or(Ok(()), create_private_dir)?;
        create_private_dir(root)?;
        let name = format!("{:016x}-{:016x}", process_token(), random_word());
        let (path, draft) = (root.join(&name), root.join(format!("{DRAFT}{name}")));
        let made = Self::fill(&draft, destinations).and_then(|lock| {
            HELD.add(&OsString::from(&name));
            rename(&draft, &path)?;
            // Between these two calls the directory has no lock. To other processes it looks like one that is being deleted.
            lock.map_or_else(|| Self::make_lock(&path), Ok)
        });
        match made {
            Ok(lock) => Ok(Self { path, lock: Some(lock) }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&draft);
                Err(error)
            }
        }
    }

    fn make_lock(dir: &Path) -> io::Result<ProcessLock> {
        ProcessLock::create(&dir.join(OWNER_LOCK))?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Fills a draft directory. Its lock is in it, unless the system cannot rename a directory with an open file.
    fn fill(draft: &Path, destinations: &[String]) -> io::Result<Option<ProcessLock>> {
        create_private_dir(draft)?;
        let lock = RENAMES_WITH_OPEN_FILES.then(|| Self::make_lock(draft)).transpose()?;
        write_names(&draft.join(DESTINATIONS), destinations)?;
        for destination in destinations {
            CursorFile::create(&draft.join(CursorFile::name(destination)))?;
        }
        Ok(lock)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory still has its name. Another program may have deleted it.
    pub(super) fn is_linked(&self) -> bool {
        self.lock.as_ref().is_some_and(ProcessLock::is_linked)
    }

    /// Leaves delivery to these destinations to other processes while this one lives.
    pub(super) fn hand_off(&self, destinations: &[String]) -> io::Result<()> {
        match create_private_file(&self.path.join(READER_LOCK)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = self.path.join(HANDED_OFF);
        write_names(&path, destinations).inspect_err(|_| {
            // An empty file would leave all destinations to other processes.
            let _ = remove_file(&path);
        })
    }

    /// Deletes the directory. The next process deletes what cannot be deleted now.
    pub(super) fn remove(self) {
        let _ = remove_journal(&self.path);
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        // Release the lock first. From here on any process, including this one, may adopt the directory.
        self.lock = None;
        let name = self.path.file_name();
        HELD.remove(|held| Some(held.as_os_str()) == name);
    }
}

/// Writes the names of destinations to a new file, one per line.
fn write_names(path: &Path, names: &[String]) -> io::Result<()> {
    let text: String = names.iter().flat_map(|name| [name, "\n"]).collect();
    write_at(&create_private_file(path)?, text.as_bytes(), 0)
}

/// Reads the names in a file, if it exists. The last line of a truncated file has no line end and is ignored.
fn read_names(path: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let mut bytes = vec![0; MAX_NAMES_BYTES];
    let file = match open_private(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = read_at(&file, &mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(Some(whole.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect()))
}

/// Whether taximeter writes files with this name to a journal.
fn is_of_a_journal(name: &str) -> bool {
    matches!(name, OWNER_LOCK | READER_LOCK | HANDED_OFF | DESTINATIONS | segment_list::NAME)
        || STATUS.contains(&name)
        || index_of(name).is_some()
        || name.strip_suffix(".tmp").is_some_and(|stem| index_of(&format!("{stem}.seg")).is_some())
        || CursorFile::destination(name).is_some()
}

/// Deletes a journal whose events are all delivered: first its segments, then the cursors, then the lock. If the process dies in
/// between, the next one can finish the deletion. Files that taximeter did not write are moved to the quarantine first.
pub(super) fn remove_journal(path: &Path) -> io::Result<()> {
    let rank = |file: &Path| match file.extension().and_then(OsStr::to_str) {
        // Delete the list of segments first, or the deleted segments would count as missing.
        _ if file.ends_with(segment_list::NAME) => 0,
        Some("seg" | "tmp") => 1,
        Some("cursor") => 2,
        _ if file.ends_with(OWNER_LOCK) => 4,
        _ => 3,
    };
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for entry in list_dir(path)? {
        let entry = entry?;
        let is_ours = !entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(is_of_a_journal);
        if is_ours { &mut files } else { &mut others }.push(entry.path());
    }
    others.iter().try_for_each(|file| foreign::keep(path, file))?;
    // A count that cannot be kept must not keep the journal.
    let _ = totals::keep(path, STATUS[0]);
    files.sort_by_key(|file| rank(file));
    files.iter().try_for_each(|file| remove_file(file))?;
    remove_dir(path)
}

/// The names of what is in the directory of all journals; none if it does not exist.
///
/// # Errors
/// I/O errors, and those of the check that the directory is private to this user.
pub(super) fn names_in(root: &Path) -> io::Result<Vec<OsString>> {
    root.parent().map_or(Ok(()), check_private_dir)?;
    check_private_dir(root)?;
    match list_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.file_name())).collect(),
    }
}

/// A journal of another process that this process may read while this value lives.
pub struct Orphan {
    /// Whether the owner is alive and may still write.
    is_owner_alive: bool,
    /// Held while this process reads.
    _locks: [Option<ProcessLock>; 2],
    /// Dropped after the locks.
    claimed: Claimed,
}

/// A scan of the journals of other processes, a few at a time, sorted by name.
pub struct OrphanScan {
    root: PathBuf,
    /// The directories that existed when the scan began, without those that were already handled.
    names: VecDeque<OsString>,
    refused: Vec<(PathBuf, io::Error)>,
}

impl OrphanScan {
    /// Lists the journals under `root`; none if the directory does not exist.
    ///
    /// # Errors
    /// I/O errors, and those of the check that the directory is private to this user. A directory that cannot be listed is not
    /// treated as empty.
    pub fn begin(root: &Path) -> io::Result<Self> {
        let mut names = names_in(root)?;
        names.sort();
        Ok(Self { root: root.to_owned(), names: names.into(), refused: Vec::new() })
    }

    /// The scan without the journals that this process has already locked.
    #[must_use]
    pub fn without(mut self, held: &[PathBuf]) -> Self {
        self.names.retain(|name| held.iter().all(|path| path.file_name() != Some(name)));
        self
    }

    /// The journals found since the last call that this process cannot read, with the reasons.
    pub fn take_refused(&mut self) -> Vec<(PathBuf, io::Error)> {
        std::mem::take(&mut self.refused)
    }

    /// Whether every journal that existed when the scan began was handled.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.names.is_empty()
    }

    /// The next journals that this process may read, at most `most`. Each keeps up to two descriptors open.
    ///
    /// # Errors
    /// If the system has run out of descriptors or memory. The next call tries the same journal again.
    pub fn next(&mut self, most: usize) -> io::Result<Vec<Orphan>> {
        let own = format!("{:016x}-", process_token());
        let mut found = Vec::new();
        while found.len() < most
            && let Some(name) = self.names.pop_front()
        {
            let path = self.root.join(&name);
            let draft_of = name.to_str().and_then(|name| name.strip_prefix(DRAFT));
            if is_held(&name) || draft_of.is_some_and(|name| name.starts_with(&own)) {
                continue;
            }
            let claimed = if draft_of.is_some() {
                remove_stale_draft(&path).map(|()| None)
            } else {
                Claimed::wait_for(&path);
                claim(&path)
            };
            match claimed {
                Ok(orphan) => found.extend(orphan),
                // A process that died while deleting the directory left it empty and without a lock.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if remove_dir(&path).is_err() {
                        self.refuse(path, io::Error::new(io::ErrorKind::NotFound, "its lock file is missing"));
                    }
                }
                Err(error) if is_out_of_resources(&error) => {
                    self.names.push_front(name);
                    return if found.is_empty() { Err(error) } else { Ok(found) };
                }
                Err(error) => self.refuse(path, error),
            }
        }
        Ok(found)
    }

    /// Records a journal that cannot be read, unless it was deleted in the meantime. Files beside the journals are ignored.
    fn refuse(&mut self, path: PathBuf, error: io::Error) {
        if path_metadata(&path).is_ok_and(|data| data.is_dir()) {
            self.refused.push((path, error));
        }
    }
}

/// Deletes a draft that was never finished. Its creator locks it almost immediately, so an old draft without a lock will never be
/// finished.
fn remove_stale_draft(path: &Path) -> io::Result<()> {
    match lock_in(path, OWNER_LOCK) {
        Ok(Some(_lock)) => std::fs::remove_dir_all(path),
        Ok(None) => Ok(()),
        // The creator is about to create the lock, or died before it could.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_older_than(path, DRAFT_AGE) => {
            std::fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_older_than(path: &Path, age: Duration) -> bool {
    let modified = path_metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// The result of claiming a journal.
pub(super) enum Claim {
    /// This process writes it.
    Held,
    /// Another process writes or reads it.
    Taken,
    /// This process may read it.
    Acquired(Orphan),
}

/// Claims the journal in a directory.
///
/// # Errors
/// I/O errors; `NotFound` if it has no lock.
pub(super) fn claim_for(path: &Path) -> io::Result<Claim> {
    if path.file_name().is_some_and(is_held) {
        return Ok(Claim::Held);
    }
    Ok(claim(path)?.map_or(Claim::Taken, Claim::Acquired))
}

fn claim(path: &Path) -> io::Result<Option<Orphan>> {
    check_private_dir(path)?;
    let Some(claimed) = Claimed::begin(path) else { return Ok(None) };
    // Lock the reader's lock first, if there is one: its holder reads the journal, whether the owner is alive or not.
    let is_handed_off = path.join(HANDED_OFF).try_exists()?;
    let reader = if is_handed_off { lock_in(path, READER_LOCK)? } else { None };
    if is_handed_off && reader.is_none() {
        return Ok(None);
    }
    let owner = lock_in(path, OWNER_LOCK)?;
    let is_owner_alive = owner.is_none();
    let may_read = reader.is_some() || owner.is_some();
    Ok(may_read.then(|| Orphan { is_owner_alive, _locks: [reader, owner], claimed }))
}

/// Locks a lock file in a directory; `None` if another process has locked it or has deleted the directory.
fn lock_in(dir: &Path, name: &str) -> io::Result<Option<ProcessLock>> {
    Ok(ProcessLock::open(&dir.join(name))?.filter(ProcessLock::is_linked))
}

impl Orphan {
    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.claimed.0
    }

    /// Whether the owner is alive and may still write.
    #[must_use]
    pub fn is_owner_alive(&self) -> bool {
        self.is_owner_alive
    }

    /// The destinations to which this process may deliver the journal's events; `None` if neither a list nor a cursor names any.
    ///
    /// # Errors
    /// I/O errors.
    pub fn destinations(&self) -> io::Result<Option<BTreeSet<String>>> {
        let all = subscribers(self.path())?;
        if !self.is_owner_alive {
            return Ok(all);
        }
        let left = read_names(&self.path().join(HANDED_OFF))?.filter(|left| !left.is_empty());
        Ok(left.or(all))
    }

    /// Writes the list of destinations again, after it was lost.
    ///
    /// # Errors
    /// I/O errors.
    pub fn record_destinations(&self, names: &[String]) -> io::Result<()> {
        let path = self.path().join(DESTINATIONS);
        let _ = remove_file(&path);
        write_names(&path, names)
    }

    /// Deletes the directory of a dead owner. Later scans delete what cannot be deleted now.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn remove(self) -> io::Result<()> {
        debug_assert!(!self.is_owner_alive);
        remove_journal(self.path())
    }
}

/// The destinations of a journal: those in its list, and those that have a cursor. `None` if there are none.
///
/// # Errors
/// I/O errors.
pub fn subscribers(dir: &Path) -> io::Result<Option<BTreeSet<String>>> {
    let mut names = read_names(&dir.join(DESTINATIONS))?.unwrap_or_default();
    for entry in list_dir(dir)? {
        names.extend(entry?.file_name().to_str().and_then(CursorFile::destination).map(str::to_owned));
    }
    Ok(Some(names).filter(|names| !names.is_empty()))
}

/// The right of one part of this process to read orphan journals. It is needed where locks belong to the whole process and do not
/// exclude its threads from each other. A forked child can take the right, because its generation differs from the holder's.
pub struct Adopting(());

static ADOPTING: AtomicU64 = AtomicU64::new(0);

impl Adopting {
    /// Takes the right; `None` if another part of this process has it.
    #[must_use]
    pub fn begin() -> Option<Self> {
        let generation = fork_generation();
        let holder = ADOPTING.load(Ordering::Acquire);
        let is_free = holder != generation
            && ADOPTING.compare_exchange(holder, generation, Ordering::AcqRel, Ordering::Acquire).is_ok();
        is_free.then_some(Self(()))
    }
}

impl Drop for Adopting {
    fn drop(&mut self) {
        ADOPTING.store(0, Ordering::Release);
    }
}
