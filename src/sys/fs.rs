//! Private files and directories, positioned reads and writes, and the space of a file system.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, ReadDir};
use std::io;
use std::path::Path;

use super::filesystem::ask;

/// Whether a directory can be renamed while a file in it is open. NTFS refuses that.
pub const RENAMES_WITH_OPEN_FILES: bool = cfg!(not(windows));

/// Opens a file for reading and writing that only its owner can read; it must not exist.
///
/// # Errors
/// Those of the operating system.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    ask(|files| files.open(path, &options))
}

/// Opens a file that only its owner can read, to append to it; makes it where it is not there. Refuses what [`open_private`] refuses.
///
/// # Errors
/// Those of the operating system, and those of [`open_private`].
pub fn append_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    open_regular(path, &mut options)
}

/// Opens a file that is there: for reading, or for reading and writing.
///
/// Opens regular files of this user only. A symbolic link in the last place of `path` is not followed, and the call never waits, as it
/// would for the other end of a FIFO.
///
/// # Errors
/// `InvalidData` with the path when it is a link, FIFO, socket, device or directory; `PermissionDenied` when it belongs to another
/// user; those of the operating system.
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
        // FILE_FLAG_OPEN_REPARSE_POINT: opens a link itself, which is no regular file then.
        std::os::windows::fs::OpenOptionsExt::custom_flags(options, 0x0020_0000);
    }
    let irregular = || {
        let what =
            format!("{} is not a regular file (a link, FIFO, socket, device or directory); remove it", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    let file = ask(|files| files.open(path, options))
        .map_err(|error| if is_of_irregular(&error) { irregular() } else { error })?;
    let data = metadata(&file)?;
    if !data.is_file() {
        return Err(irregular());
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::uid(&data) != rustix::process::geteuid().as_raw() {
        let why = format!("{} belongs to another user; change its owner or remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}

/// Whether a file could not be opened for being a link (`ELOOP`), a socket or a FIFO without a reader (`ENXIO`), a device without a
/// driver (`ENODEV`), or a directory.
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

/// Makes a directory, and those above it, that only its owner can enter. One that is there already has to pass
/// [`check_private_dir`].
///
/// # Errors
/// Those of the operating system, and those of the check.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    // Before it is made: making one where a link to nowhere stands says only that something is there.
    check_private_dir(path)?;
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    ask(|files| files.make_dir(path, &builder))?;
    // And after: another user may have made it first.
    check_private_dir(path)
}

/// Checks that only this user can write to a directory: it is no symbolic link, it belongs to this user, and neither its group nor
/// everybody may write to it. In any other directory, another user could put files in the place of those that are written and read
/// here. One that does not exist passes.
///
/// # Errors
/// `PermissionDenied` with the path and the rule it breaks; those of the operating system.
pub fn check_private_dir(path: &Path) -> io::Result<()> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display())));
    let data = match path_metadata(path) {
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
            return refused("can be written by everybody; run `chmod o-w` on it, or name another directory");
        }
        if data.mode() & 0o020 != 0 {
            return refused("can be written by its group; run `chmod g-w` on it, or name another directory");
        }
    }
    Ok(())
}

/// Reads at an offset; the number of bytes read is short only at the end of the file.
///
/// # Errors
/// Those of the operating system.
pub fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut total = 0;
    while !into.is_empty() {
        let read = ask(|files| files.read_at(file, into, offset));
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
/// Those of the operating system.
pub fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match ask(|files| files.write_at(file, bytes, offset)) {
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

/// Reads from an offset to the end of a file, at most so many bytes.
///
/// # Errors
/// `OutOfMemory` when there is no memory for them; those of the operating system.
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

/// Writes all bytes where a file that was opened to append ends.
///
/// # Errors
/// Those of the operating system; some of the bytes may be written then.
pub fn append_all(file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match ask(|files| files.append(file, bytes)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Cuts a file off, or makes it longer with zeros.
///
/// # Errors
/// Those of the operating system.
pub fn set_len(file: &File, length: u64) -> io::Result<()> {
    ask(|files| files.set_len(file, length))
}

/// Waits until what was written to a file is on its disk.
///
/// # Errors
/// Those of the operating system.
pub fn sync(file: &File) -> io::Result<()> {
    ask(|files| files.sync(file))
}

/// Gives a file or a directory another name, in the place of a file that has it.
///
/// # Errors
/// Those of the operating system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(|files| files.rename(from, to))
}

/// Gives a file a second name.
///
/// # Errors
/// `AlreadyExists` when that name is in use; those of the operating system.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    ask(|files| files.link(from, to))
}

/// Deletes a file.
///
/// # Errors
/// Those of the operating system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    ask(|files| files.remove_file(path))
}

/// Deletes an empty directory.
///
/// # Errors
/// Those of the operating system.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    ask(|files| files.remove_dir(path))
}

/// Says what stands at a path; a link is not followed.
///
/// # Errors
/// Those of the operating system.
pub fn path_metadata(path: &Path) -> io::Result<Metadata> {
    ask(|files| files.path_metadata(path))
}

/// Says what an open file is.
///
/// # Errors
/// Those of the operating system.
pub fn metadata(file: &File) -> io::Result<Metadata> {
    ask(|files| files.file_metadata(file))
}

/// Lists a directory.
///
/// # Errors
/// Those of the operating system.
pub fn list_dir(path: &Path) -> io::Result<ReadDir> {
    ask(|files| files.list_dir(path))
}

/// Whether a call failed because this process, or the system, has no descriptors or no memory left: it may go well later.
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

/// Whether a file that is open still has a name. An error of the disk does not say that it has none; `ESTALE` does.
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

/// Bytes that a file takes on its disk: fewer than its length where it has holes, more where it is small.
#[must_use]
pub fn allocated(data: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(data) * 512;
    #[cfg(not(unix))]
    return data.len();
}

/// What tells a file from another of the same name; `None` without such a file. Does not open it: closing a handle would drop the
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
pub struct Space {
    /// Bytes of all of it.
    pub total: u64,
    /// Bytes that an ordinary user may still fill.
    pub free: u64,
}

/// The space of the file system that holds `path`; `None` where the system does not tell.
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

/// Whether blocks reserved for a file (`fallocate`) are those that a later store changes. On copy-on-write file systems a store takes
/// a new block, which a full disk does not have: then a process that stores through a map gets SIGBUS. An overlay does not tell what
/// lies below it, and counts as a file system that keeps its blocks.
#[cfg(target_os = "linux")]
#[must_use]
pub fn keeps_its_blocks(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| !is_copy_on_write(stat.f_type.cast_unsigned() as u32))
}

/// By the magic number of `statfs(2)`.
#[cfg(target_os = "linux")]
fn is_copy_on_write(magic: u32) -> bool {
    const BTRFS: u32 = 0x9123_683E;
    const ZFS: u32 = 0x2FC1_2FC1;
    const BCACHEFS: u32 = 0xCA45_1A4E;
    const NILFS: u32 = 0x3434;
    [BTRFS, ZFS, BCACHEFS, NILFS].contains(&magic)
}

/// Makes a FIFO and a link to a device, or directories on systems without them: files that are not to be opened.
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
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o770)).unwrap();
        assert!(refused(&own).contains("chmod g-w"), "{}", refused(&own));
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o750)).unwrap();
        create_private_dir(&own).unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(refused(&dir.path().join("file")).contains("not a directory"));
        // Whoever runs this does not own the root of the file system, unless as root.
        if !rustix::process::geteuid().is_root() {
            assert!(refused(Path::new("/")).contains("another user"));
        }
    }

    /// A disk that fails does not say that a directory was deleted: its journal would be given up while it is written.
    #[test]
    fn only_a_file_without_a_name_has_lost_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = create_private_file(&dir.path().join("file")).unwrap();
        break_files(Some(Fault::Metadata));
        let answer = is_linked(&file);
        break_files(None);
        assert!(answer && is_linked(&file));
        remove_file(&dir.path().join("file")).unwrap();
        assert!(!is_linked(&file));
    }

    /// Without the flags, opening the FIFO would wait for ever.
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
    fn copy_on_write_file_systems_are_told() {
        const EXT4: u32 = 0xEF53;
        const XFS: u32 = 0x5846_5342;
        const TMPFS: u32 = 0x0102_1994;
        assert!([0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E, 0x3434].into_iter().all(is_copy_on_write));
        assert!(![EXT4, XFS, TMPFS].into_iter().any(is_copy_on_write));
        let file = tempfile::tempfile().unwrap();
        let magic = rustix::fs::fstatfs(&file).unwrap().f_type.cast_unsigned() as u32;
        assert_eq!(keeps_its_blocks(&file), !is_copy_on_write(magic));
    }
}
