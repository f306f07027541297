//! Owners of holds. A hold of a process that was killed is released when the lock of its owner file can be taken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::sys::fork::fork_generation;
use crate::sys::fs::{list_dir, remove_file};
use crate::sys::held::HeldLocks;
use crate::sys::lock::ProcessLock;
use crate::sys::random::random_word;

const SUFFIX: &str = ".owner";

/// The owner file of this process. Created and removed by the holder of the state's lock, so that no other process takes its lock in
/// between.
pub(super) struct Owner {
    token: u64,
    path: PathBuf,
    generation: u64,
    /// `None` only during `drop`.
    lock: Mutex<Option<ProcessLock>>,
}

/// The tokens of this process.
static OWN: HeldLocks<u64> = HeldLocks::new();

impl Owner {
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        // 0 marks a free hold.
        let token = random_word().max(1);
        let path = dir.join(format!("{token:016x}{SUFFIX}"));
        let lock = ProcessLock::create(&path)?.ok_or(io::ErrorKind::WouldBlock)?;
        OWN.add(&token);
        Ok(Self { token, path, generation: fork_generation(), lock: Mutex::new(Some(lock)) })
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Takes the lock again, if something has closed the file or deleted it.
    pub(super) fn retake(&self) {
        let Ok(mut lock) = self.lock.try_lock() else { return };
        if self.generation == fork_generation() && !lock.as_ref().is_some_and(ProcessLock::is_linked) {
            let taken = ProcessLock::open(&self.path).or_else(|_| ProcessLock::create(&self.path));
            if let Ok(Some(taken)) = taken {
                *lock = Some(taken);
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A child that was forked leaves the file to its parent.
        if self.generation == fork_generation() {
            let _ = remove_file(&self.path);
            *self.lock.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
            OWN.remove(|token| *token == self.token);
        }
    }
}

/// An owner whose process has ended. Its file stays locked while this value lives.
pub(super) struct Dead {
    pub(super) token: u64,
    path: PathBuf,
    _lock: ProcessLock,
}

impl Dead {
    /// Deletes the file, because none of its holds is left.
    pub(super) fn forget(self) {
        let _ = remove_file(&self.path);
    }
}

/// The owners whose processes have ended.
pub(super) fn dead(dir: &Path) -> Vec<Dead> {
    let entries = list_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let owners = entries.filter_map(|entry| {
        let token = u64::from_str_radix(entry.file_name().to_str()?.strip_suffix(SUFFIX)?, 16).ok()?;
        (!OWN.any(|own| *own == token)).then(|| (token, entry.path()))
    });
    // A file that cannot be opened now is looked at again later.
    owners
        .filter_map(|(token, path)| {
            ProcessLock::open(&path).ok().flatten().map(|lock| Dead { token, path, _lock: lock })
        })
        .collect()
}
