//! Private files and directories, positioned reads and writes, and the space of a file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for reading and writing that only its owner can read; it must not exist.
///
/// # Errors
/// Those of the operating system.
pub fn create_private_file(path: &Path) -> io::Result<File> {
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
///
/// # Errors
/// Those of the operating system.
pub fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<usize> {
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
///
/// # Errors
/// Those of the operating system.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
