//! The table of descriptors that only this process may keep. A forked child closes its copies before it does anything else.
//!
//! A lock of an open file description (`F_OFD_SETLK`, `flock`) lasts until the last copy of the descriptor is closed, and a fork
//! copies all descriptors. Without this table, a child that does not even use journals or ledgers would keep them locked after its
//! parent ended.
//!
//! One table holds every descriptor with such a lock, and one lock protects the table. `pthread_atfork` handlers take that lock
//! before a fork and release it afterwards. The child's handler closes what is in the table. Opening and registering happen under the
//! lock, so that no fork happens between them.
//!
//! A bare `clone` system call runs no handlers. Such a child recognizes its new fork generation when it first uses the table, and
//! then closes its copies of process locks. It must not close SQLite's descriptors: another SQLite of the child may hold POSIX locks
//! on the same file by then, and any `close` would release them. The parent's locks then last until the child ends.

use std::cell::{Cell, UnsafeCell};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::gate;
use crate::sys::fork::fork_generation;

/// Device and inode, which identify a file.
pub(super) type Identity = (u64, u64);

/// Facts about a file.
#[derive(Clone, Copy)]
pub(super) struct FileInfo {
    pub(super) identity: Identity,
    pub(super) is_regular: bool,
    pub(super) is_linked: bool,
}

impl From<libc::stat> for FileInfo {
    fn from(data: libc::stat) -> Self {
        Self {
            identity: (data.st_dev, data.st_ino),
            is_regular: data.st_mode & libc::S_IFMT == libc::S_IFREG,
            is_linked: data.st_nlink > 0,
        }
    }
}

/// The facts about the file behind a descriptor; `None` if the number is not open.
#[expect(unsafe_code, reason = "the number may not be open, so it cannot be borrowed as a descriptor")]
pub(super) fn info_of(fd: RawFd) -> Option<FileInfo> {
    let mut data = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a whole `stat` to the pointer or returns an error. Any number is allowed as the descriptor.
    let is_known = unsafe { libc::fstat(fd, data.as_mut_ptr()) } == 0;
    // SAFETY: the successful call has filled in the struct.
    is_known.then(|| unsafe { data.assume_init() }.into())
}

/// Closes a descriptor if it still is the file that was registered. Something else in the process may have closed it
/// (`os.closerange`), and the number may now belong to another file.
#[expect(unsafe_code, reason = "descriptors in the table are owned by it as numbers")]
fn close_if(fd: RawFd, identity: Identity) {
    if info_of(fd).is_some_and(|info| info.identity == identity) {
        // SAFETY: the table owns this descriptor. Its users no longer use it, or are threads of the parent process.
        unsafe { libc::close(fd) };
    }
}

/// A file that SQLite has open. All connections of this process share one descriptor per file and kind of access.
pub(super) struct Shared {
    pub(super) fd: RawFd,
    pub(super) identity: Identity,
    pub(super) is_writable: bool,
    /// How many times SQLite has it open. At 0 it is idle and unlocked, and kept for the next open.
    pub(super) users: u32,
}

impl Shared {
    /// Whether the number still is this file.
    pub(super) fn is_intact(&self) -> bool {
        info_of(self.fd).is_some_and(|info| info.identity == self.identity)
    }
}

/// All descriptors that a child must close.
pub(super) struct Table {
    /// Those of [`PrivateFile`](crate::sys::private::PrivateFile)s.
    private: Vec<(RawFd, Identity)>,
    /// Those of SQLite.
    pub(super) shared: Vec<Shared>,
    is_registered: bool,
    /// Whether SQLite's system calls were replaced; `None` before the first attempt.
    pub(super) protects_sqlite: Option<bool>,
}

struct Static(UnsafeCell<Table>);

#[expect(unsafe_code, reason = "a std mutex cannot be unlocked in a fork handler")]
// SAFETY: the table is accessed only through `Guard`, and at most one guard exists: see `lock`.
unsafe impl Sync for Static {}

static TABLE: Static = Static(UnsafeCell::new(Table {
    private: Vec::new(),
    shared: Vec::new(),
    is_registered: false,
    protects_sqlite: None,
}));

/// The fork generation of the last owner of the table, times 2, plus 1 while the table is locked.
static LOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread holds the table during a fork. Needed in case the handlers are registered twice.
    static IS_FORKING: Cell<bool> = const { Cell::new(false) };
}

/// The right to use the table. Dropping it unlocks the table.
pub(super) struct Guard(());

/// Locks the table. It is only held for a few system calls, so a waiter yields.
pub(super) fn lock() -> Guard {
    let generation = fork_generation();
    loop {
        let seen = LOCK.load(Ordering::Acquire);
        let (owner, is_taken) = (seen >> 1, seen & 1 == 1);
        if is_taken && owner == generation {
            std::thread::yield_now();
            continue;
        }
        // The table is free, or it was locked by a thread of the parent during a fork that ran no handlers.
        if LOCK.compare_exchange(seen, generation << 1 | 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let mut guard = Guard(());
            if owner != generation && owner != 0 {
                guard.shared.clear();
                guard.close_private();
            }
            return guard;
        }
    }
}

impl Deref for Guard {
    type Target = Table;

    #[expect(unsafe_code, reason = "a std mutex cannot be unlocked in a fork handler")]
    fn deref(&self) -> &Table {
        // SAFETY: a process has at most one guard (`lock`), and the borrow ends with it.
        unsafe { &*TABLE.0.get() }
    }
}

impl DerefMut for Guard {
    #[expect(unsafe_code, reason = "a std mutex cannot be unlocked in a fork handler")]
    fn deref_mut(&mut self) -> &mut Table {
        // SAFETY: a process has at most one guard (`lock`), and it is borrowed exclusively.
        unsafe { &mut *TABLE.0.get() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        LOCK.store(fork_generation() << 1, Ordering::Release);
    }
}

impl Table {
    /// Registers the fork handlers, once; `false` if the system has no memory for them.
    #[expect(unsafe_code, reason = "no safe interface to pthread_atfork exists")]
    pub(super) fn registers_forks(&mut self) -> bool {
        if !self.is_registered {
            // SAFETY: the handlers are functions of this library, which is never unloaded: Python does not unload extension modules.
            let outcome = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
            self.is_registered = outcome == 0;
        }
        self.is_registered
    }

    fn close_private(&mut self) {
        self.private.drain(..).for_each(|(fd, identity)| close_if(fd, identity));
    }

    /// Closes a descriptor of SQLite and removes it from the table.
    pub(super) fn remove_shared(&mut self, index: usize) {
        let shared = self.shared.remove(index);
        close_if(shared.fd, shared.identity);
    }
}

extern "C" fn before_fork() {
    if !IS_FORKING.get() {
        // This comes before locking the table, because a running use of SQLite may need the table to finish.
        gate::close();
        std::mem::forget(lock());
        IS_FORKING.set(true);
    }
}

extern "C" fn in_parent() {
    if IS_FORKING.replace(false) {
        drop(Guard(()));
        gate::open_in_parent();
    }
}

/// Closes the copies of the parent's descriptors: while they are open in the child, the parent's locks outlive the parent. It must
/// not allocate or free memory, because another thread of the parent may have been doing so during the fork.
extern "C" fn in_child() {
    if IS_FORKING.replace(false) {
        let mut guard = Guard(());
        guard.shared.drain(..).for_each(|shared| close_if(shared.fd, shared.identity));
        guard.close_private();
        gate::open_in_child(guard.protects_sqlite == Some(true));
    }
}

/// An entry of the table.
pub(in crate::sys) struct Registration {
    fd: RawFd,
    identity: Identity,
}

/// Opens a file with `open` and registers it. No fork can happen in between.
///
/// # Errors
/// Those of `open`; `OutOfMemory` if the fork handlers cannot be registered.
pub(in crate::sys) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<(File, Registration)> {
    let mut table = lock();
    if !table.registers_forks() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let file = open()?;
    let fd = file.as_raw_fd();
    let identity = info_of(fd).ok_or_else(io::Error::last_os_error)?.identity;
    table.private.push((fd, identity));
    Ok((file, Registration { fd, identity }))
}

impl Registration {
    /// Whether the number still is the file that was opened.
    pub(in crate::sys) fn is_intact(&self) -> bool {
        info_of(self.fd).is_some_and(|info| info.identity == self.identity)
    }

    /// Closes the file, unless its number now belongs to another file.
    pub(in crate::sys) fn close(&self, file: File) {
        // `close_if` closes the file by number, after checking the number.
        std::mem::forget(file);
        let entry = (self.fd, self.identity);
        let mut table = lock();
        if let Some(index) = table.private.iter().position(|known| *known == entry) {
            table.private.swap_remove(index);
            close_if(self.fd, self.identity);
        }
    }
}
