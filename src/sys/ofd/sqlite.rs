//! Five system calls of SQLite's unix VFS, replaced so that its locks hold beside another SQLite in the same process.
//!
//! SQLite's POSIX record locks belong to the pair of process and inode: closing *any* descriptor of the file in the process drops
//! them all. So Python's `sqlite3`, which is another SQLite, drops ours by closing, and ours drops Python's. Both then write at once
//! and delete the write-ahead log under each other. Locks of open file descriptions belong to the descriptor instead.
//!
//! - `fcntl` asks for locks of the description.
//! - `open` gives all connections of this process the same descriptor of a file, for SQLite counts its locks by inode and expects
//!   that no two of its connections exclude each other in the kernel.
//! - `close` never closes such a descriptor, for that would drop the other SQLite's locks. It takes our locks away (SQLite frees the
//!   one on `-shm` only by closing) and keeps the descriptor for the next `open`.
//! - `fstat` tells a child's files from those that SQLite knows from the parent: see `gate.rs`.
//! - `mmap` keeps maps out of forked children: a map holds the description, and so its locks, as a descriptor does.
//!
//! The write-ahead log and rollback journals are never locked, and deleted when they are closed: they pass through unchanged, as do
//! files that SQLite creates exclusively. Each call leaves `errno` as the system set it when it fails.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::os::fd::{AsRawFd, RawFd};

use rusqlite::ffi;

use super::gate;
use super::lock::{is_locked_elsewhere, set};
use super::table::{FileInfo, Identity, Shared, Table, info_of, lock};

/// Descriptors that are kept for files that no connection has open. A ledger has two: the file and `-shm`.
const RESTING_MAX: usize = 32;

type SystemCall = unsafe extern "C" fn();

/// Replaces the calls, once. Nothing is replaced, and `false` returned, where the kernel has no such locks (before Linux 3.15, or a
/// sandbox that answers `EINVAL`).
pub(in crate::sys) fn protect_sqlite() -> bool {
    let mut table = lock();
    if let Some(protects) = table.protects_sqlite {
        return protects;
    }
    let protects = table.registers_forks() && is_supported() && replace_calls();
    table.protects_sqlite = Some(protects);
    protects
}

fn is_supported() -> bool {
    std::fs::File::open("/").is_ok_and(|any| is_locked_elsewhere(any.as_raw_fd()).is_some())
}

#[expect(unsafe_code, reason = "the table of system calls is C")]
fn replace_calls() -> bool {
    // SAFETY: the name ends with a zero byte; the answer is null or a VFS that lives as long as the process.
    let Some(vfs) = (unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()).as_mut() }) else { return false };
    let (Some(set_call), Some(get_call)) = (vfs.xSetSystemCall, vfs.xGetSystemCall) else { return false };
    // SAFETY: a function of this VFS, called with it and a name that ends with a zero byte.
    let mut has = |name: &CStr| unsafe { get_call(vfs, name.as_ptr()) }.is_some();
    // Connections that share a descriptor share its offset, so none of them may read or write by it.
    if !has(c"pread") && !has(c"pread64") {
        return false;
    }
    let replacements: [(&CStr, *const ()); 5] = [
        (c"open", open as *const ()),
        (c"close", close as *const ()),
        (c"mmap", mmap as *const ()),
        (c"fstat", fstat as *const ()),
        (c"fcntl", fcntl as *const ()),
    ];
    let mut is_replaced = true;
    for (name, call) in replacements {
        // SAFETY: SQLite keeps any function under this one type, and calls each with the arguments of the system call of its
        // name, which those below take. `fcntl` is variadic there: on 64-bit Linux the third argument is passed alike.
        let call = unsafe { transmute::<*const (), SystemCall>(call) };
        // SAFETY: no connection is open yet, so no other thread reads the table of calls.
        is_replaced &= unsafe { set_call(vfs, name.as_ptr(), Some(call)) } == ffi::SQLITE_OK;
    }
    if !is_replaced {
        // SAFETY: as above; a null name puts the system's own calls back.
        unsafe { set_call(vfs, std::ptr::null(), None) };
    }
    is_replaced
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut libc::flock) -> c_int {
    let command = match command {
        libc::F_SETLK => libc::F_OFD_SETLK,
        libc::F_SETLKW => libc::F_OFD_SETLKW,
        libc::F_GETLK => libc::F_OFD_GETLK,
        // SAFETY: passed on as it came; commands without an argument ignore it.
        _ => return unsafe { libc::fcntl(fd, command, argument) },
    };
    // SAFETY: SQLite passes a `flock` of its own with these commands. It leaves `l_pid` as it was on the stack, and the kernel
    // refuses all but 0.
    unsafe { (*argument).l_pid = 0 };
    // SAFETY: the same `flock`.
    unsafe { libc::fcntl(fd, command, argument) }
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn fstat(fd: c_int, data: *mut libc::stat) -> c_int {
    // SAFETY: passed on as it came.
    let answer = unsafe { libc::fstat(fd, data) };
    if answer == 0 {
        // The kernel's device numbers have 32 bits. SQLite compares them with each other only.
        // SAFETY: filled in by the call that succeeded.
        unsafe { (*data).st_dev ^= gate::depth() << 32 };
    }
    answer
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn mmap(
    at: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // No fork falls between the two calls.
    let _table = lock();
    // SAFETY: passed on as it came.
    let map = unsafe { libc::mmap(at, length, protection, flags, fd, offset) };
    if map != libc::MAP_FAILED {
        // SAFETY: the range is the map made above; the advice changes what a child gets, nothing here.
        unsafe { libc::madvise(map, length, libc::MADV_DONTFORK) };
    }
    map
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite passes a path that ends with a zero byte, and no system call here keeps it.
    let name = unsafe { CStr::from_ptr(path) };
    // SAFETY: passed on as it came.
    let really = || unsafe { libc::open(path, flags, mode as libc::mode_t) };
    if is_never_locked(name, flags) {
        let fd = really();
        if fd >= 0 {
            lock().forget(fd);
        }
        return fd;
    }
    let mut table = lock();
    table.sweep();
    let is_writable = flags & libc::O_ACCMODE == libc::O_RDWR;
    if let Some(fd) = info_of_path(name).and_then(|info| table.share(info.identity, is_writable)) {
        return fd;
    }
    take_standard_numbers();
    let fd = really();
    if fd >= 0 {
        table.forget(fd);
    }
    // SQLite closes one of the first three numbers at once and opens again.
    if fd > 2
        && let Some(info) = info_of(fd)
        && info.is_regular
    {
        table.shared.push(Shared { fd, identity: info.identity, is_writable, users: 1 });
    }
    fd
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut table = lock();
    let Some(index) = table.shared.iter().position(|shared| shared.fd == fd && shared.users > 0) else {
        drop(table);
        // SAFETY: SQLite's own descriptor, which it has done with.
        return unsafe { libc::close(fd) };
    };
    table.leave(index);
    0
}

fn is_never_locked(name: &CStr, flags: c_int) -> bool {
    let name = name.to_bytes();
    flags & (libc::O_EXCL | libc::O_TRUNC) != 0 || name.ends_with(b"-wal") || name.ends_with(b"-journal")
}

/// The file that a path names, not the one that a link there leads to.
#[expect(unsafe_code, reason = "std takes no C strings")]
fn info_of_path(path: &CStr) -> Option<FileInfo> {
    let mut data = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path ends with a zero byte; the kernel writes a whole `stat` to the pointer or answers an error.
    let is_known = unsafe { libc::lstat(path.as_ptr(), data.as_mut_ptr()) } == 0;
    // SAFETY: filled in when the call succeeded.
    is_known.then(|| unsafe { data.assume_init() }.into())
}

/// Makes sure that none of the first three descriptors is free, in a process that closed some of them: SQLite would not keep one,
/// and closing it would drop locks of another SQLite. SQLite does the same, but only after that.
#[expect(unsafe_code, reason = "the descriptors stay open, as SQLite leaves them")]
fn take_standard_numbers() {
    for _ in 0..3 {
        // SAFETY: opens a device that is always there; no Rust object owns the number.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd > 2 {
            // SAFETY: opened just above, and not used.
            unsafe { libc::close(fd) };
        }
        if !(0..=2).contains(&fd) {
            return;
        }
    }
}

impl Table {
    /// A descriptor of this file with enough access, and one more user of it.
    fn share(&mut self, identity: Identity, is_writable: bool) -> Option<RawFd> {
        let fits = |shared: &&mut Shared| {
            shared.identity == identity && (shared.is_writable || !is_writable) && shared.is_intact()
        };
        let shared = self.shared.iter_mut().find(fits)?;
        shared.users += 1;
        Some(shared.fd)
    }

    /// Ends one use of a descriptor.
    fn leave(&mut self, index: usize) {
        let shared = &mut self.shared[index];
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        if shared.is_intact() {
            // What closing would have done to our locks, and not to those of another SQLite.
            let _ = set(shared.fd, libc::F_UNLCK);
        }
        // The one that rests longest comes first.
        let shared = self.shared.remove(index);
        self.shared.push(shared);
        self.sweep();
        self.close_oldest();
    }

    /// A number that the system has just given out is no longer what it was registered as.
    fn forget(&mut self, fd: RawFd) {
        self.shared.retain(|shared| shared.fd != fd);
    }

    /// Closes resting descriptors whose file has no name any more, which frees its space, and forgets numbers that something else
    /// in the process has closed.
    fn sweep(&mut self) {
        let mut index = 0;
        while let Some(shared) = self.shared.get(index) {
            let info = info_of(shared.fd).filter(|info| info.identity == shared.identity);
            if shared.users > 0 || info.is_some_and(|info| info.is_linked) {
                index += 1;
            } else {
                self.remove_shared(index);
            }
        }
    }

    /// Keeps the number of resting descriptors bounded in a process that opens many ledgers, sparing files that another SQLite of
    /// this process may have locked.
    fn close_oldest(&mut self) {
        let is_resting = |shared: &Shared| shared.users == 0;
        while self.shared.iter().filter(|shared| is_resting(shared)).count() > RESTING_MAX {
            let is_free = |shared: &Shared| is_resting(shared) && is_locked_elsewhere(shared.fd) == Some(false);
            let Some(index) = self.shared.iter().position(is_free) else { return };
            self.remove_shared(index);
        }
    }
}
