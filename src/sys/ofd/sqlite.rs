//! Replacements for five system calls of SQLite's unix VFS, so that its locks are safe from another SQLite in the same process.
//!
//! SQLite uses POSIX record locks, which belong to the process and the inode: closing *any* descriptor of the file in the process
//! releases all of them. So if Python's `sqlite3`, which is another SQLite, closes a ledger, it releases our locks, and the other way
//! round. Both then write at the same time, and each deletes the write-ahead log that the other uses. Locks of open file descriptions
//! belong to the descriptor instead.
//!
//! - `fcntl` requests locks of the description.
//! - `open` gives all connections of this process the same descriptor of a file, because SQLite counts its locks by inode and expects
//!   that two of its own connections never exclude each other in the kernel.
//! - `close` never closes such a descriptor, because that would release the other SQLite's locks. It removes our locks (SQLite
//!   releases the one on `-shm` only by closing) and keeps the descriptor for the next `open`.
//! - `fstat` makes a child's files differ from those that SQLite knows from the parent: see `gate.rs`.
//! - `mmap` keeps maps out of forked children, because a map keeps the description and its locks alive, like a descriptor.
//!
//! The write-ahead log and rollback journals are never locked, and are deleted when they are closed. They are not affected, and
//! neither are files that SQLite creates exclusively. A call that fails leaves `errno` as the system set it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::os::fd::{AsRawFd, RawFd};

use rusqlite::ffi;

use super::gate;
use super::lock::{is_locked_elsewhere, set};
use super::table::{FileInfo, Identity, Shared, Table, info_of, lock};

/// The most idle descriptors, which no connection has open. A ledger has two: the file and `-shm`.
const MAX_IDLE: usize = 32;

type SystemCall = unsafe extern "C" fn();

/// Replaces the calls, once. Returns `false` and replaces nothing if the kernel has no such locks (before Linux 3.15, or a sandbox
/// that returns `EINVAL`).
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
    // SAFETY: the name ends with a zero byte. The result is null or a VFS that lives as long as the process.
    let Some(vfs) = (unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()).as_mut() }) else { return false };
    let (Some(set_call), Some(get_call)) = (vfs.xSetSystemCall, vfs.xGetSystemCall) else { return false };
    // SAFETY: a function of this VFS, called with the VFS and a name that ends with a zero byte.
    let mut has = |name: &CStr| unsafe { get_call(vfs, name.as_ptr()) }.is_some();
    // Connections that share a descriptor share its file offset, so none of them may use the offset to read or write.
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
        // SAFETY: SQLite stores all functions with this one type, and calls each with the arguments of the system call of that name.
        // The functions below take these arguments. `fcntl` is variadic in C: on 64-bit Linux its third argument is passed in the
        // same way.
        let call = unsafe { transmute::<*const (), SystemCall>(call) };
        // SAFETY: no connection is open yet, so no other thread reads the table of calls.
        is_replaced &= unsafe { set_call(vfs, name.as_ptr(), Some(call)) } == ffi::SQLITE_OK;
    }
    if !is_replaced {
        // SAFETY: as above. A null name restores the original calls.
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
        // SAFETY: the arguments are passed on unchanged. Commands without an argument ignore it.
        _ => return unsafe { libc::fcntl(fd, command, argument) },
    };
    // SAFETY: SQLite passes a valid `flock` with these commands. It leaves `l_pid` uninitialized, and the kernel rejects values
    // other than 0.
    unsafe { (*argument).l_pid = 0 };
    // SAFETY: the same `flock`.
    unsafe { libc::fcntl(fd, command, argument) }
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn fstat(fd: c_int, data: *mut libc::stat) -> c_int {
    // SAFETY: the arguments are passed on unchanged.
    let answer = unsafe { libc::fstat(fd, data) };
    if answer == 0 {
        // The kernel's device numbers have 32 bits, so the upper bits are free. SQLite only compares device numbers with each other.
        // SAFETY: the successful call has filled in the struct.
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
    // The table is locked so that no fork happens between the two calls.
    let _table = lock();
    // SAFETY: the arguments are passed on unchanged.
    let map = unsafe { libc::mmap(at, length, protection, flags, fd, offset) };
    if map != libc::MAP_FAILED {
        // SAFETY: the range is the map created above. The advice affects only what a child gets.
        unsafe { libc::madvise(map, length, libc::MADV_DONTFORK) };
    }
    map
}

#[expect(unsafe_code, reason = "called by SQLite in place of the system call")]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite passes a path that ends with a zero byte, and no call here keeps it.
    let name = unsafe { CStr::from_ptr(path) };
    // SAFETY: the arguments are passed on unchanged.
    let open_now = || unsafe { libc::open(path, flags, mode as libc::mode_t) };
    if is_never_locked(name, flags) {
        let fd = open_now();
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
    let fd = open_now();
    if fd >= 0 {
        table.forget(fd);
    }
    // SQLite closes a descriptor with one of the first three numbers at once and opens the file again.
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
        // SAFETY: the descriptor belongs to SQLite, which no longer uses it.
        return unsafe { libc::close(fd) };
    };
    table.leave(index);
    0
}

fn is_never_locked(name: &CStr, flags: c_int) -> bool {
    let name = name.to_bytes();
    flags & (libc::O_EXCL | libc::O_TRUNC) != 0 || name.ends_with(b"-wal") || name.ends_with(b"-journal")
}

/// The file at a path. A link is not followed.
#[expect(unsafe_code, reason = "std takes no C strings")]
fn info_of_path(path: &CStr) -> Option<FileInfo> {
    let mut data = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path ends with a zero byte. The kernel writes a whole `stat` to the pointer or returns an error.
    let is_known = unsafe { libc::lstat(path.as_ptr(), data.as_mut_ptr()) } == 0;
    // SAFETY: the successful call has filled in the struct.
    is_known.then(|| unsafe { data.assume_init() }.into())
}

/// Ensures that none of the first three descriptors is free, in a process that has closed some of them. SQLite would not keep a file
/// with such a number, and closing it would release locks of another SQLite. SQLite itself fills these numbers, but only afterwards.
#[expect(unsafe_code, reason = "the descriptors stay open, as SQLite leaves them")]
fn take_standard_numbers() {
    for _ in 0..3 {
        // SAFETY: opens a device that always exists. No Rust object owns the number.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd > 2 {
            // SAFETY: opened just above and not used.
            unsafe { libc::close(fd) };
        }
        if !(0..=2).contains(&fd) {
            return;
        }
    }
}

impl Table {
    /// Finds a descriptor of this file with sufficient access, and counts one more user of it.
    fn share(&mut self, identity: Identity, is_writable: bool) -> Option<RawFd> {
        let fits = |shared: &&mut Shared| {
            shared.identity == identity && (shared.is_writable || !is_writable) && shared.is_intact()
        };
        let shared = self.shared.iter_mut().find(fits)?;
        shared.users += 1;
        Some(shared.fd)
    }

    /// Ends one use of a shared descriptor.
    fn leave(&mut self, index: usize) {
        let shared = &mut self.shared[index];
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        if shared.is_intact() {
            // Release our locks, as closing would have done, but without releasing those of another SQLite.
            let _ = set(shared.fd, libc::F_UNLCK);
        }
        // Move it to the end, so that the descriptor that has been idle for longest comes first.
        let shared = self.shared.remove(index);
        self.shared.push(shared);
        self.sweep();
        self.close_oldest();
    }

    /// Removes the entry of a number that the system has just assigned to another file.
    fn forget(&mut self, fd: RawFd) {
        self.shared.retain(|shared| shared.fd != fd);
    }

    /// Closes idle descriptors of deleted files, which frees their space, and removes entries whose number something else in the
    /// process has closed.
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

    /// Limits the number of idle descriptors in a process that opens many ledgers. Skips files that another SQLite of this process
    /// may have locked.
    fn close_oldest(&mut self) {
        let is_idle = |shared: &Shared| shared.users == 0;
        while self.shared.iter().filter(|shared| is_idle(shared)).count() > MAX_IDLE {
            let is_free = |shared: &Shared| is_idle(shared) && is_locked_elsewhere(shared.fd) == Some(false);
            let Some(index) = self.shared.iter().position(is_free) else { return };
            self.remove_shared(index);
        }
    }
}
