//! Descriptors that belong to this process alone: a forked child closes its copies before it does anything else.
//!
//! A lock of an open file description (`F_OFD_SETLK`, `flock`) lasts until the last copy of the descriptor is closed, and a fork
//! copies all of them. Without this table a child that knows nothing of a journal or a ledger would keep them locked after its
//! parent died.
//!
//! Every descriptor that holds such a lock is in one table, and the table has one lock. `pthread_atfork` handlers take that lock
//! before a fork and free it after; the child's handler closes what is in the table. Opening and registering happen under the lock,
//! so no fork falls between them.
//!
//! A bare `clone` system call runs no handlers. Such a child notices by its fork generation when it first uses the table. It
//! closes its copies of process locks then. It must not close SQLite's, for another SQLite of that child may hold POSIX locks of the
//! same file by then, which any `close` would drop; the parent's locks then last until the child ends.

use std::cell::{Cell, UnsafeCell};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::gate;
use crate::sys::fork::fork_generation;

/// Device and inode: what tells a file from every other.
pub(super) type Identity = (u64, u64);

/// What the system says of a file.
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

/// The file behind a descriptor; `None` when the number is not open.
#[expect(unsafe_code, reason = "the number may not be open, so it cannot be borrowed as a descriptor")]
pub(super) fn info_of(fd: RawFd) -> Option<FileInfo> {
    let mut data = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a whole `stat` to the pointer or answers an error; any number may be asked about.
    let is_known = unsafe { libc::fstat(fd, data.as_mut_ptr()) } == 0;
    // SAFETY: filled in when the call succeeded.
    is_known.then(|| unsafe { data.assume_init() }.into())
}

/// Closes a number when it is still the file that it was registered as. Something else in the process may have closed it
/// (`os.closerange`), and the number may be another file's by now.
#[expect(unsafe_code, reason = "descriptors in the table are owned by it as numbers")]
fn close_if(fd: RawFd, identity: Identity) {
    if info_of(fd).is_some_and(|info| info.identity == identity) {
        // SAFETY: the table owns this descriptor; its users have given it up or are threads of the parent process.
        unsafe { libc::close(fd) };
    }
}

/// A file that SQLite has open: one descriptor for each file and kind of access, shared by all connections of this process.
pub(super) struct Shared {
    pub(super) fd: RawFd,
    pub(super) identity: Identity,
    pub(super) is_writable: bool,
    /// How often SQLite has it open. At 0 it rests, unlocked, for the next open.
    pub(super) users: u32,
}

impl Shared {
    /// Whether the number is still this file.
    pub(super) fn is_intact(&self) -> bool {
        info_of(self.fd).is_some_and(|info| info.identity == self.identity)
    }
}

/// All descriptors that no child keeps.
pub(super) struct Table {
    /// Of [`PrivateFile`](crate::sys::private::PrivateFile)s.
    private: Vec<(RawFd, Identity)>,
    /// Of SQLite.
    pub(super) shared: Vec<Shared>,
    is_registered: bool,
    /// Whether SQLite's system calls were replaced; `None` until that was tried.
    pub(super) protects_sqlite: Option<bool>,
}

struct Static(UnsafeCell<Table>);

#[expect(unsafe_code, reason = "a std mutex cannot be freed in a fork handler")]
// SAFETY: the table is reached through `Guard` only, and at most one exists: see `lock`.
unsafe impl Sync for Static {}

static TABLE: Static = Static(UnsafeCell::new(Table {
    private: Vec::new(),
    shared: Vec::new(),
    is_registered: false,
    protects_sqlite: None,
}));

/// Fork generation of who took the table last, times 2, plus 1 while it is taken.
static LOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread holds the table over a fork, in case the handlers are registered twice.
    static IS_FORKING: Cell<bool> = const { Cell::new(false) };
}

/// The right to use the table.
pub(super) struct Guard(());

/// Waits for the table. It is held for a few system calls at a time, so waiting is yielding.
pub(super) fn lock() -> Guard {
    let generation = fork_generation();
    loop {
        let seen = LOCK.load(Ordering::Acquire);
        let (owner, is_taken) = (seen >> 1, seen & 1 == 1);
        if is_taken && owner == generation {
            std::thread::yield_now();
            continue;
        }
        // Free, or taken by a thread of the parent at a fork that ran no handler.
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

    #[expect(unsafe_code, reason = "a std mutex cannot be freed in a fork handler")]
    fn deref(&self) -> &Table {
        // SAFETY: one guard exists at a time in a process (`lock`), and the borrow ends with it.
        unsafe { &*TABLE.0.get() }
    }
}

impl DerefMut for Guard {
    #[expect(unsafe_code, reason = "a std mutex cannot be freed in a fork handler")]
    fn deref_mut(&mut self) -> &mut Table {
        // SAFETY: one guard exists at a time in a process (`lock`), and the borrow of it is exclusive.
        unsafe { &mut *TABLE.0.get() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        LOCK.store(fork_generation() << 1, Ordering::Release);
    }
}

impl Table {
    /// Registers the fork handlers, once; `false` when the system has no memory for it.
    #[expect(unsafe_code, reason = "no safe interface to pthread_atfork exists")]
    pub(super) fn registers_forks(&mut self) -> bool {
        if !self.is_registered {
            // SAFETY: the handlers are functions of this library, which is never unloaded (Python unloads no extension module).
            let outcome = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
            self.is_registered = outcome == 0;
        }
        self.is_registered
    }

    fn close_private(&mut self) {
        self.private.drain(..).for_each(|(fd, identity)| close_if(fd, identity));
    }

    /// Closes a descriptor of SQLite's and forgets it.
    pub(super) fn remove_shared(&mut self, index: usize) {
        let shared = self.shared.remove(index);
        close_if(shared.fd, shared.identity);
    }
}

extern "C" fn before_fork() {
    if !IS_FORKING.get() {
        // Before the table is taken: a use of SQLite may need it to end.
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

/// The copies in the table are the parent's: while they are open here, its locks outlive it. No memory is freed or taken, as another
/// thread of the parent may have been doing so.
extern "C" fn in_child() {
    if IS_FORKING.replace(false) {
        let mut guard = Guard(());
        guard.shared.drain(..).for_each(|shared| close_if(shared.fd, shared.identity));
        guard.close_private();
        gate::open_in_child(guard.protects_sqlite == Some(true));
    }
}

/// A descriptor's place in the table.
pub(in crate::sys) struct Registration {
    fd: RawFd,
    identity: Identity,
}

/// Opens a file with `open` and registers it, such that no fork falls in between.
///
/// # Errors
/// Those of `open`; `OutOfMemory` when the fork handlers cannot be registered.
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
    /// Whether the number is still the file that was opened.
    pub(in crate::sys) fn is_intact(&self) -> bool {
        info_of(self.fd).is_some_and(|info| info.identity == self.identity)
    }

    /// Closes the file, unless its number is another file's by now.
    pub(in crate::sys) fn close(&self, file: File) {
        // It is closed by number, after that was checked.
        std::mem::forget(file);
        let entry = (self.fd, self.identity);
        let mut table = lock();
        if let Some(index) = table.private.iter().position(|known| *known == entry) {
            table.private.swap_remove(index);
            close_if(self.fd, self.identity);
        }
    }
}
