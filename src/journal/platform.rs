//! Everything the operating system does differently: mapped files, locks, private directories, free space, fork detection.
//!
//! The only file of the crate with `unsafe` code and with platform conditions. Linux has mapped segments; other systems get
//! [`map`] answers of `Unsupported` and write records through the file, behind the same [`super::store::Store`].
//!
//! A mapped file is reached as a slice of atomic words, so that no race between threads, processes or a misbehaving copy of the
//! file is undefined behaviour. What no code can prevent is SIGBUS: another process that truncates a segment under the map. The
//! directory is private to its owner, pages are populated before use, and readers use `pread`, never the map.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How often this process has been forked on the way to here, counted from the first call. A value that has changed says: the
/// threads, locks and files of everything made under the old value belong to another process.
///
/// Costs two loads. It sees forks that bypass libc and Python (`clone`, `syscall(SYS_fork)`), because the kernel itself wipes
/// the page it watches.
#[must_use]
pub fn fork_generation() -> u64 {
    fork::generation()
}

/// Nanoseconds since the Unix epoch.
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Opens a file for reading and writing that only its owner can read; it must not exist.
///
/// # Errors
/// Those of the operating system.
pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a file that only its owner can read, to append to it; makes it where it is not there.
///
/// # Errors
/// Those of the operating system.
pub fn append_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    options.open(path)
}

/// Makes a directory, and those above it, that only its owner can enter. One that is there already has to pass
/// [`check_private_dir`].
///
/// # Errors
/// Those of the operating system, and those of the check.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    // Before it is made: making one where a link to nowhere stands says only that something is there.
    check_private_dir(path)?;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // And after: whoever was quicker may not be its owner.
    check_private_dir(path)
}

/// Whether a directory is this user's own: no symbolic link, nobody else's, not writable by everybody. In any other, somebody could
/// put files in the place of those that are written and read here. One that does not exist passes.
///
/// # Errors
/// `PermissionDenied` with the path and the rule it breaks; those of the operating system.
pub fn check_private_dir(path: &Path) -> io::Result<()> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display())));
    let data = match std::fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if data.is_symlink() {
        return refused("is a symbolic link; name the directory that it leads to");
    }
    if !data.is_dir() {
        return refused("is not a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if data.uid() != rustix::process::geteuid().as_raw() {
            return refused("belongs to another user; name a directory of your own, or one to be made in it");
        }
        if data.mode() & 0o002 != 0 {
            return refused("can be written by everybody; take that right away, or name another");
        }
    }
    Ok(())
}

/// Reads at an offset; the number of bytes read is short only at the end of the file.
pub(super) fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !into.is_empty() {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, into, offset);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, into, offset);
        match read {
            Ok(0) => break,
            Ok(count) => {
                total += count;
                offset += count as u64;
                into = &mut into[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Writes all bytes at an offset.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_write(file, &bytes[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += count,
            }
        }
        Ok(())
    }
}

/// Takes the lock of a file for this process, without waiting; `false` when another process has it.
///
/// On Unix a record lock (`fcntl`): unlike `flock` it is not inherited by a fork, so a child that never learns of the journal
/// cannot keep a dead parent's journal from being adopted. It ends with the process, or when the process closes any handle of
/// the file; so a process never opens its own lock file twice.
pub(super) fn lock_for_process(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(unix))]
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a file that is open still has a name.
#[must_use]
pub fn is_linked(file: &File) -> bool {
    #[cfg(unix)]
    return file.metadata().is_ok_and(|data| std::os::unix::fs::MetadataExt::nlink(&data) > 0);
    #[cfg(not(unix))]
    return file.metadata().is_ok();
}

/// What tells a file from another of the same name; `None` when there is none. Does not open it: closing a handle would drop the
/// record locks that SQLite holds on it.
#[must_use]
pub fn file_identity(path: &Path) -> Option<(u64, u64)> {
    let data = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((data.dev(), data.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = data;
        Some((0, 0))
    }
}

/// Bytes of a file system: all of it, and what an ordinary user may still fill.
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
}

/// The space of the file system that holds `path`; `None` where the system does not tell.
pub(super) fn space(path: &Path) -> Option<Space> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

pub(super) use mapping::{Mapping, map};

#[cfg(target_os = "linux")]
mod mapping {
    use super::{AtomicU64, File, io};
    use memmap2::{Advice, MmapOptions, MmapRaw};

    /// A file in memory, shared with the kernel's page cache: what is stored survives the death of the process.
    pub(in super::super) struct Mapping(MmapRaw);

    /// Reserves the blocks of a new file and maps it.
    ///
    /// Raw `fallocate(2)`: reserved blocks cannot run out under a store, which a sparse file would answer with SIGBUS. File
    /// systems that do not have it (some network and FUSE ones) answer an error, and the caller writes through the file.
    pub(in super::super) fn map(file: &File, length: u64) -> io::Result<Mapping> {
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?;
        Ok(Mapping(MmapOptions::new().len(length as usize).map_raw(file)?))
    }

    impl Mapping {
        /// Makes the pages of a range present and writable, so that the first store to each is no fault (5 to 9 µs, at worst
        /// tens of milliseconds). A page that cannot be had is an error here instead of a signal there.
        ///
        /// Kernels before 5.14 have no such call; their pages stay untouched and fault when written.
        pub(in super::super) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
            match self.0.advise_range(Advice::PopulateWrite, offset, length) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            }
        }

        /// The file as words.
        #[expect(unsafe_code, reason = "a mapped file is reached through a raw pointer")]
        #[expect(clippy::cast_ptr_alignment, reason = "maps begin at a page")]
        pub(in super::super) fn words(&self) -> &[AtomicU64] {
            // SAFETY: the pointer is page-aligned and maps `len()` bytes, readable and writable, for as long as `self.0` lives,
            // which the lifetime of the slice does not exceed. Any bit pattern is a u64, and all access from this process goes
            // through these atomics, so concurrent stores are no data race.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), self.0.len() / 8) }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod mapping {
    use super::{AtomicU64, File, io};

    pub(in super::super) enum Mapping {}

    pub(in super::super) fn map(_file: &File, _length: u64) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    impl Mapping {
        pub(in super::super) fn populate(&self, _offset: usize, _length: usize) -> io::Result<()> {
            match *self {}
        }

        pub(in super::super) fn words(&self) -> &[AtomicU64] {
            match *self {}
        }
    }
}

mod fork {
    use super::{AtomicU64, Ordering};

    static GENERATION: AtomicU64 = AtomicU64::new(1);

    #[cfg(target_os = "linux")]
    pub(super) fn generation() -> u64 {
        use std::sync::OnceLock;
        static WATCH: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();

        const SEEN: u64 = 1;
        const CHANGING: u64 = 2;

        let Some(word) = WATCH.get_or_init(wiped_on_fork) else {
            return generation_by_pid();
        };
        // Acquire pairs with the Release below: whoever sees SEEN in a child also sees the child's generation.
        while word.load(Ordering::Acquire) != SEEN {
            if word.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Acquire).is_ok() {
                GENERATION.fetch_add(1, Ordering::Relaxed);
                word.store(SEEN, Ordering::Release);
            }
            std::hint::spin_loop();
        }
        GENERATION.load(Ordering::Relaxed)
    }

    /// One word of a page that the kernel hands to a forked child as zeros, set to 1 here; `None` before Linux 4.14.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "no safe interface to MADV_WIPEONFORK exists")]
    fn wiped_on_fork() -> Option<&'static AtomicU64> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        const PAGE: usize = 4096;
        // SAFETY: a fresh private mapping at an address of the kernel's choice aliases nothing.
        let page = unsafe {
            mmap_anonymous(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).ok()?
        };
        // SAFETY: the range is the whole mapping made above; the advice changes what a child sees, nothing here.
        unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork).ok()? };
        // SAFETY: the page is never unmapped, is aligned for a u64, zeroed, and reached only through this reference.
        let word = unsafe { &*page.cast::<AtomicU64>() };
        word.store(1, Ordering::Release);
        Some(word)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn generation() -> u64 {
        generation_by_pid()
    }

    /// Compares process ids: a system call, and blind to a child that got the id of its dead parent.
    fn generation_by_pid() -> u64 {
        static PID: AtomicU64 = AtomicU64::new(0);
        let pid = u64::from(std::process::id());
        let known = PID.swap(pid, Ordering::AcqRel);
        if known != pid && known != 0 {
            GENERATION.fetch_add(1, Ordering::AcqRel);
        }
        GENERATION.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_fork_the_generation_stays() {
        assert_eq!(fork_generation(), fork_generation());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_have_a_hand_in_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| create_private_dir(path).unwrap_err().to_string();
        let (own, link, dangling) = (dir.path().join("own"), dir.path().join("link"), dir.path().join("dangling"));
        create_private_dir(&own.join("deep")).unwrap();
        assert_eq!(own.join("deep").metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&own, &link).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &dangling).unwrap();
        assert!(refused(&link).contains("symbolic link") && refused(&dangling).contains("symbolic link"));
        assert!(append_private(&link).is_err());
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(refused(&own).contains("written by everybody"));
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(refused(&dir.path().join("file")).contains("not a directory"));
        // Whoever runs this does not own the root of the file system, unless as root.
        if !rustix::process::geteuid().is_root() {
            assert!(refused(Path::new("/")).contains("another user"));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn stores_to_a_map_are_read_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = create_private_file(&dir.path().join("segment")).unwrap();
        let mapping = map(&file, 1 << 16).unwrap();
        mapping.populate(0, 1 << 16).unwrap();
        mapping.words()[3].store(42, Ordering::Release);
        let mut bytes = [0; 8];
        assert_eq!(read_at(&file, &mut bytes, 24).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(bytes), 42);
    }
}
