//! Private files and directories, reads and writes at offsets, and the space of a file system.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, ReadDir};
use std::io;
use std::path::Path;

use super::filesystem::with_filesystem;
use super::owner;

/// Whether a directory can be renamed while a file in it is open. NTFS does not allow that.
pub const RENAMES_WITH_OPEN_FILES: bool = cfg!(not(windows));

/// Creates a file that only its owner can access, opened for reading and writing. Fails if it exists.
///
/// # Errors
/// I/O errors.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = with_filesystem(|files| files.open(path, &options))?;
    owner::give(path, &file)?;
    Ok(file)
}

/// Opens a file to append to it. If it does not exist, creates it so that only its owner can access it. Rejects the same files as
/// [`open_private`].
///
/// # Errors
/// I/O errors, and those of [`open_private`].
pub fn append_private(path: &Path) -> io::Result<File> {
    if owner::gives(path) {
        match create_private_file(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Opened again below, to append.
            created => drop(created?),
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    open_regular(path, &mut options)
}

/// Opens an existing file for reading, or for reading and writing.
///
/// Opens only regular files of this user. It does not follow a symbolic link in the last component of `path`, and does not block, as
/// opening a FIFO otherwise could.
///
/// # Errors
/// `InvalidData` with the path if it is a link, FIFO, socket, device or directory; `PermissionDenied` if it belongs to another user;
/// I/O errors.
pub fn open_private(path: &Path, write: bool) -> io::Result<File> {
    open_regular(path, OpenOptions::new().read(true).write(write))
}

fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.bits().cast_signed());
    }
    #[cfg(windows)]
    {
        // FILE_FLAG_OPEN_REPARSE_POINT opens a link itself, which is then not a regular file.
        std::os::windows::fs::OpenOptionsExt::custom_flags(options, 0x0020_0000);
    }
    let irregular = || {
        let what =
            format!("{} is not a regular file (a link, FIFO, socket, device or directory); remove it", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    let file = with_filesystem(|files| files.open(path, options))
        .map_err(|error| if is_of_irregular(&error) { irregular() } else { error })?;
    let data = metadata(&file)?;
    if !data.is_file() {
        return Err(irregular());
    }
    #[cfg(unix)]
    if !owner::may_use(path, std::os::unix::fs::MetadataExt::uid(&data)) {
        let why = format!("{} belongs to another user; change its owner or remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}

/// Whether opening failed because the path is a link (`ELOOP`), a socket or a FIFO without a reader (`ENXIO`), a device without a
/// driver (`ENODEV`), or a directory (`EISDIR`).
fn is_of_irregular(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let code = error.raw_os_error();
        [Errno::LOOP, Errno::NXIO, Errno::NODEV, Errno::ISDIR].iter().any(|errno| code == Some(errno.raw_os_error()))
    }
    #[cfg(not(unix))]
    {
        error.kind() == io::ErrorKind::IsADirectory
    }
}

/// Creates a directory and its missing parents, accessible to their owner only. An existing directory must pass
/// [`check_private_dir`].
///
/// # Errors
/// I/O errors, and those of the check.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    // Check before creating: creating a directory in place of a dangling link only fails with "exists".
    check_private_dir(path)?;
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing =
        path.ancestors().take_while(|part| owner::is_set() && path_metadata(part).is_err()).collect::<Vec<_>>();
    with_filesystem(|files| files.make_dir(path, &builder))?;
    missing.iter().rev().try_for_each(|part| owner::give_dir(part))?;
    // Check again: another user may have created the directory first.
    check_private_dir(path)
}

/// Checks that only this user can write to a directory: it is not a symbolic link, belongs to this user, and is not writable by its
/// group or by everyone. In any other directory, another user could replace the files that are written and read there. A directory
/// that does not exist passes.
///
/// # Errors
/// `PermissionDenied` with the path and the broken rule; I/O errors.
pub fn check_private_dir(path: &Path) -> io::Result<()> {
    let denied = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display())));
    let data = match path_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if data.is_symlink() {
        return denied("is a symbolic link; name the directory that it points to");
    }
    if !data.is_dir() {
        return denied("is not a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if !owner::is_trusted(data.uid()) {
            return denied("belongs to another user; name a directory that you own, or a new one inside it");
        }
        if data.mode() & 0o002 != 0 {
            return denied("can be written by everyone; run `chmod o-w` on it, or name another directory");
        }
        if data.mode() & 0o020 != 0 {
            return denied("can be written by its group; run `chmod g-w` on it, or name another directory");
        }
    }
    Ok(())
}

/// Reads at an offset. The number of bytes is less than requested only at the end of the file.
///
/// # Errors
/// I/O errors.
pub fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !into.is_empty() {
        let read = with_filesystem(|files| files.read_at(file, into, offset));
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
///
/// # Errors
/// I/O errors.
pub fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match with_filesystem(|files| files.write_at(file, bytes, offset)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads from an offset to the end of a file, at most `limit` bytes.
///
/// # Errors
/// `OutOfMemory` if the bytes do not fit in memory; I/O errors.
pub fn read_from(file: &File, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    let length = metadata(file)?.len().saturating_sub(offset).min(limit);
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(length, 0);
    let read = read_at(file, &mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes all bytes at the end of a file that was opened to append.
///
/// # Errors
/// I/O errors. Some of the bytes may then be written.
pub fn append_all(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match with_filesystem(|files| files.append(file, bytes)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Truncates a file, or extends it with zeros.
///
/// # Errors
/// I/O errors.
pub fn set_len(file: &File, length: u64) -> io::Result<()> {
    with_filesystem(|files| files.set_len(file, length))
}

/// Waits until the data of a file is on disk.
///
/// # Errors
/// I/O errors.
pub fn sync(file: &File) -> io::Result<()> {
    with_filesystem(|files| files.sync(file))
}

/// Waits until the names in a directory are on disk: a new file, or one that was renamed.
///
/// # Errors
/// I/O errors. Systems other than Unix refuse it.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    with_filesystem(|files| files.sync_dir(path))
}

/// Renames a file or a directory. Replaces a file that already has the new name.
///
/// # Errors
/// I/O errors.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    with_filesystem(|files| files.rename(from, to))
}

/// Adds a second name to a file.
///
/// # Errors
/// `AlreadyExists` if the name is in use; I/O errors.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    with_filesystem(|files| files.link(from, to))
}

/// Deletes a file.
///
/// # Errors
/// I/O errors.
pub fn remove_file(path: &Path) -> io::Result<()> {
    with_filesystem(|files| files.remove_file(path))
}

/// Deletes an empty directory.
///
/// # Errors
/// I/O errors.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    with_filesystem(|files| files.remove_dir(path))
}

/// The metadata of a path. A link is not followed.
///
/// # Errors
/// I/O errors.
pub fn path_metadata(path: &Path) -> io::Result<Metadata> {
    with_filesystem(|files| files.path_metadata(path))
}

/// The metadata of an open file.
///
/// # Errors
/// I/O errors.
pub fn metadata(file: &File) -> io::Result<Metadata> {
    with_filesystem(|files| files.file_metadata(file))
}

/// Lists a directory.
///
/// # Errors
/// I/O errors.
pub fn list_dir(path: &Path) -> io::Result<ReadDir> {
    with_filesystem(|files| files.list_dir(path))
}

/// Whether a call failed because the process or the system has run out of descriptors, memory or locks. A retry may succeed.
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOLCK))
    }
    #[cfg(not(unix))]
    {
        matches!(error.kind(), io::ErrorKind::OutOfMemory)
    }
}

/// Whether an open file still has a name. An I/O error does not mean that it has none, except `ESTALE`.
#[must_use]
pub fn is_linked(file: &File) -> bool {
    #[cfg(unix)]
    return match metadata(file) {
        Ok(data) => std::os::unix::fs::MetadataExt::nlink(&data) > 0,
        Err(error) => error.raw_os_error() != Some(rustix::io::Errno::STALE.raw_os_error()),
    };
    #[cfg(not(unix))]
    return metadata(file).is_ok();
}

/// The space that a file takes on disk in bytes: less than its length if it has holes, more if it is small.
#[must_use]
pub fn allocated(data: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(data) * 512;
    #[cfg(not(unix))]
    return data.len();
}

/// Device and inode, which identify a file; `None` if the file does not exist. Does not open the file: closing it would release the
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

/// The space of a file system.
pub struct Space {
    /// The size in bytes.
    pub total: u64,
    /// The bytes that an ordinary user can still write.
    pub free: u64,
}

/// The space of the file system that contains `path`; `None` if the system does not report it.
#[must_use]
pub fn space(path: &Path) -> Option<Space> {
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

/// Whether a store to reserved blocks (`fallocate`) reuses these blocks. On copy-on-write file systems each store takes a new block.
/// If the disk is full, a process that stores through a map then gets SIGBUS. An overlay file system hides the one below it, and is
/// treated as one that reuses blocks.
#[cfg(target_os = "linux")]
#[must_use]
pub fn reuses_reserved_blocks(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| !is_copy_on_write(stat.f_type.cast_unsigned() as u32))
}

/// Decides by the magic number from `statfs(2)`.
#[cfg(target_os = "linux")]
fn is_copy_on_write(magic: u32) -> bool {
    const BTRFS: u32 = 0x9123_683E;
    const ZFS: u32 = 0x2FC1_2FC1;
    const BCACHEFS: u32 = 0xCA45_1A4E;
    const NILFS: u32 = 0x3434;
    [BTRFS, ZFS, BCACHEFS, NILFS].contains(&magic)
}

/// Creates a FIFO and a link to a device, or directories on systems without them: files that must not be opened.
#[cfg(test)]
pub(crate) fn make_irregular(fifo: &Path, link: &Path) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", link).unwrap();
    }
    #[cfg(not(target_os = "linux"))]
    [fifo, link].map(|path| std::fs::create_dir(path).unwrap());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::filesystem::{Fault, break_files};

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_change_is_rejected() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let denied = |path: &Path| create_private_dir(path).unwrap_err().to_string();
        let (own, link, dangling) = (dir.path().join("own"), dir.path().join("link"), dir.path().join("dangling"));
        create_private_dir(&own.join("deep")).unwrap();
        assert_eq!(own.join("deep").metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&own, &link).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &dangling).unwrap();
        assert!(denied(&link).contains("symbolic link") && denied(&dangling).contains("symbolic link"));
        assert!(append_private(&link).is_err());
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(denied(&own).contains("written by everyone"));
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(denied(&own).contains("chmod g-w"), "{}", denied(&own));
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o750)).unwrap();
        create_private_dir(&own).unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(denied(&dir.path().join("file")).contains("not a directory"));
        // Unless the test runs as root, the root directory belongs to another user.
        if !rustix::process::geteuid().is_root() {
            assert!(denied(Path::new("/")).contains("another user"));
        }
    }

    /// A disk error does not mean that a directory was deleted. Otherwise its journal would be abandoned while it is being written.
    #[test]
    fn only_a_deleted_file_counts_as_unlinked() {
        let dir = tempfile::tempdir().unwrap();
        let file = create_private_file(&dir.path().join("file")).unwrap();
        break_files(Some(Fault::Metadata));
        let is_linked_despite_error = is_linked(&file);
        break_files(None);
        assert!(is_linked_despite_error && is_linked(&file));
        remove_file(&dir.path().join("file")).unwrap();
        assert!(!is_linked(&file));
    }

    #[cfg(unix)]
    #[test]
    fn the_names_in_a_directory_are_synced_through_the_file_system_that_tests_break() {
        let dir = tempfile::tempdir().unwrap();
        sync_dir(dir.path()).unwrap();
        for fault in [Fault::Write, Fault::Stale, Fault::Descriptors] {
            break_files(Some(fault));
            let outcome = sync_dir(dir.path());
            break_files(None);
            assert!(outcome.is_err(), "{fault:?}");
        }
        assert!(sync_dir(&dir.path().join("missing")).is_err());
    }

    /// Without the open flags, opening the FIFO would block forever.
    #[cfg(target_os = "linux")]
    #[test]
    fn only_regular_files_are_opened() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), b"text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert_eq!(open_private(&path("file"), true).unwrap().metadata().unwrap().len(), 4);
        for write in [false, true] {
            for name in ["link", "directory", "socket", "fifo"] {
                let error = open_private(&path(name), write).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}: {error}");
                assert!(error.to_string().contains(name) && error.to_string().contains("remove it"), "{error}");
                assert!(append_private(&path(name)).is_err(), "{name}");
            }
            assert_eq!(open_private(&path("missing"), write).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert_eq!(open_private(Path::new("/dev/null"), true).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn copy_on_write_file_systems_are_recognized() {
        const EXT4: u32 = 0xEF53;
        const XFS: u32 = 0x5846_5342;
        const TMPFS: u32 = 0x0102_1994;
        assert!([0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E, 0x3434].into_iter().all(is_copy_on_write));
        assert!(![EXT4, XFS, TMPFS].into_iter().any(is_copy_on_write));
        let file = tempfile::tempfile().unwrap();
        let magic = rustix::fs::fstatfs(&file).unwrap().f_type.cast_unsigned() as u32;
        assert_eq!(reuses_reserved_blocks(&file), !is_copy_on_write(magic));
    }
}
