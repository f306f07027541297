//! Who may write a journal directory, who may read it, and what becomes of the directories of the dead.
//!
//! ```text
//! <state>/journal/<token>-<random>/   one directory a process (and a fork of it), mode 0700
//!     owner.lock      locked for as long as the writing process lives
//!     reader.lock     locked by the process that delivers for a living owner that cannot (see `handed-off`)
//!     handed-off      present when the owner leaves delivery to others: a fork of a process with an open ledger
//!     <name>.cursor   how far the destination <name> has come
//!     <index>.seg     segments
//! ```
//!
//! Process ids are never trusted: they are used again. A directory is complete before it gets its name, so whoever sees it can
//! judge it by its lock alone. The token is a random number of this process (a fork draws its own), by which it knows its own
//! drafts. A process does not open the lock files it holds: off Linux, closing a second handle would drop the lock.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use once_cell::race::OnceBox;

use super::cursor::CursorFile;
use crate::sys::fork::fork_generation;
use crate::sys::fs::{check_private_dir, create_private_dir, create_private_file};
use crate::sys::lock::ProcessLock;

const OWNER_LOCK: &str = "owner.lock";
const READER_LOCK: &str = "reader.lock";
const HANDED_OFF: &str = "handed-off";
const DRAFT: &str = ".draft-";

/// Random bytes from the operating system, or, where it has none, from the clock and this process.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        fastrand::fill(&mut bytes);
    }
    bytes
}

/// A number that this process has and no other: drawn anew after a fork.
fn process_token() -> u64 {
    static TOKEN: OnceBox<ArcSwap<(u64, u64)>> = OnceBox::new();
    let token = TOKEN.get_or_init(Box::default);
    let generation = fork_generation();
    loop {
        let current = token.load();
        if current.0 == generation {
            return current.1;
        }
        token.compare_and_swap(&current, Arc::new((generation, u64::from_le_bytes(random_bytes()))));
    }
}

/// The directories that this process holds, with the fork generation that made each: it must not open their locks. A list that is
/// replaced as a whole, for a lock around it could be inherited taken.
fn all_held() -> &'static ArcSwap<Vec<(u64, OsString)>> {
    static HELD: OnceBox<ArcSwap<Vec<(u64, OsString)>>> = OnceBox::new();
    HELD.get_or_init(Box::default)
}

fn is_held(name: &OsStr) -> bool {
    let generation = fork_generation();
    all_held().load().iter().any(|(by, held)| *by == generation && held == name)
}

/// A journal directory of this process.
pub(super) struct OwnedDir {
    path: PathBuf,
    /// `None` only while it is dropped.
    lock: Option<ProcessLock>,
}

impl OwnedDir {
    /// Makes a directory under `root` with a cursor for each destination.
    pub(super) fn create(root: &Path, destinations: &[String]) -> io::Result<Self> {
        // The state directory as well, which holds the directory of journals.
        root.parent().map_or(Ok(()), create_private_dir)?;
        create_private_dir(root)?;
        let name = format!("{:016x}-{:016x}", process_token(), u64::from_le_bytes(random_bytes()));
        let (path, draft) = (root.join(&name), root.join(format!("{DRAFT}{name}")));
        let made = Self::fill(&draft, destinations).and_then(|lock| {
            let held = (fork_generation(), OsString::from(&name));
            all_held().rcu(|all| all.iter().chain([&held]).cloned().collect::<Vec<_>>());
            std::fs::rename(&draft, &path)?;
            Ok(lock)
        });
        match made {
            Ok(lock) => Ok(Self { path, lock: Some(lock) }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&draft);
                Err(error)
            }
        }
    }

    fn fill(draft: &Path, destinations: &[String]) -> io::Result<ProcessLock> {
        create_private_dir(draft)?;
        let lock = ProcessLock::create(&draft.join(OWNER_LOCK))?.ok_or(io::ErrorKind::WouldBlock)?;
        for destination in destinations {
            CursorFile::create(&draft.join(CursorFile::name(destination)))?;
        }
        Ok(lock)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it still has its name; something may have cleaned it away.
    pub(super) fn is_linked(&self) -> bool {
        self.lock.as_ref().is_some_and(ProcessLock::is_linked)
    }

    /// Leaves delivery to other processes while this one lives.
    pub(super) fn hand_off(&self) -> io::Result<()> {
        create_private_file(&self.path.join(READER_LOCK))?;
        create_private_file(&self.path.join(HANDED_OFF)).map(drop)
    }

    /// Deletes the directory.
    pub(super) fn remove(self) {
        remove_journal(&self.path);
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        // The lock goes first; from here on the directory is anybody's, this process's too.
        self.lock = None;
        let name = self.path.file_name();
        all_held()
            .rcu(|all| all.iter().filter(|(_, held)| Some(held.as_os_str()) != name).cloned().collect::<Vec<_>>());
    }
}

/// Deletes a journal whose events are all delivered: its segments, then the cursors that say so, then the lock. Whoever dies in
/// between leaves a journal that the next can finish.
fn remove_journal(path: &Path) {
    let rank = |file: &Path| match file.extension().and_then(OsStr::to_str) {
        Some("seg" | "tmp") => 0,
        Some("cursor") => 1,
        _ if file.ends_with(OWNER_LOCK) => 3,
        _ => 2,
    };
    let mut files: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort_by_key(|file| rank(file));
    if files.iter().all(|file| std::fs::remove_file(file).is_ok()) {
        let _ = std::fs::remove_dir(path);
    }
}

/// A directory of another process that this one may read.
pub(super) struct Foreign {
    pub(super) path: PathBuf,
    /// Whether the owner lives, and so may still write.
    pub(super) is_owner_alive: bool,
    /// Held while this process reads.
    _locks: [Option<ProcessLock>; 2],
}

/// The directories under `root` of processes that died, and of those that left delivery to others, but for those that this process
/// reads already: opening their locks again would drop them.
pub(super) fn foreign_dirs(root: &Path, known: &[PathBuf]) -> impl Iterator<Item = Foreign> {
    let own = format!("{:016x}-", process_token());
    let is_ours = root.parent().is_none_or(|state| check_private_dir(state).is_ok()) && check_private_dir(root).is_ok();
    std::fs::read_dir(root).ok().filter(|_| is_ours).into_iter().flatten().flatten().filter_map(move |entry| {
        let name = entry.file_name();
        let path = entry.path();
        let is_draft = name.to_str()?.starts_with(DRAFT);
        if is_held(&name) || known.contains(&path) || (is_draft && name.to_str()?.contains(&own)) {
            return None;
        }
        if is_draft {
            // Its maker holds the lock from the first moments on; one that is old and has none will never be finished.
            if let Ok(Some(_lock)) = lock_in(&path, OWNER_LOCK) {
                let _ = std::fs::remove_dir_all(&path);
            }
            return None;
        }
        claim(path.clone()).unwrap_or_else(|_| {
            // No lock: its remover died before it removed the directory, which is empty then.
            let _ = std::fs::remove_dir(path);
            None
        })
    })
}

fn claim(path: PathBuf) -> io::Result<Option<Foreign>> {
    // The reader's lock first, where there is one: whoever has it reads, whether the owner lives or not.
    let reader = if path.join(HANDED_OFF).exists() {
        let Some(reader) = lock_in(&path, READER_LOCK)? else { return Ok(None) };
        Some(reader)
    } else {
        None
    };
    let owner = lock_in(&path, OWNER_LOCK)?;
    let is_owner_alive = owner.is_none();
    Ok((reader.is_some() || owner.is_some()).then_some(Foreign { path, is_owner_alive, _locks: [reader, owner] }))
}

/// Takes a lock of a directory; `None` when another process has it or deleted the directory meanwhile.
fn lock_in(dir: &Path, name: &str) -> io::Result<Option<ProcessLock>> {
    Ok(ProcessLock::open(&dir.join(name))?.filter(ProcessLock::is_linked))
}

impl Foreign {
    /// The destinations its owner meant its events for.
    pub(super) fn destinations(&self) -> Vec<String> {
        std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(CursorFile::destination(entry.file_name().to_str()?)?.to_owned()))
            .collect()
    }

    /// Deletes the directory of a dead owner.
    pub(super) fn remove(self) {
        debug_assert!(!self.is_owner_alive);
        remove_journal(&self.path);
    }
}

/// Says that this process, and no other part of it, reads foreign directories: off Linux, locks do not keep the threads of one
/// process apart. Survives a fork: the child's generation is not the holder's.
pub(super) struct Adopting(());

static ADOPTING: AtomicU64 = AtomicU64::new(0);

impl Adopting {
    pub(super) fn begin() -> Option<Self> {
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
