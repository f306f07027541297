//! The user in whose directory root works.
//!
//! A file that root creates in a service user's directory would be useless to that user's programs, or even stop them. So root gives it
//! to the user. It gives away only what it has just created, and uses only files of that user there, because the user could have linked
//! files of others into the directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const NONE: u64 = u64::MAX;
/// The user's number in the upper half, that of the group in the lower one.
static OWNER: AtomicU64 = AtomicU64::new(NONE);

/// Lets this process work in directories of another user. Only root can.
///
/// # Errors
/// `PermissionDenied` if this process is not root's, or if the system has no such users.
pub fn work_for(user: u32, group: u32) -> io::Result<()> {
    #[cfg(unix)]
    if rustix::process::geteuid().is_root() {
        OWNER.store(u64::from(user) << 32 | u64::from(group), Ordering::Release);
        return Ok(());
    }
    let _ = (user, group);
    Err(io::ErrorKind::PermissionDenied.into())
}

/// Whether root works for another user.
pub(super) fn is_set() -> bool {
    owner().is_some()
}

/// The user and group for which root works.
fn owner() -> Option<(u32, u32)> {
    match OWNER.load(Ordering::Acquire) {
        NONE => None,
        both => Some(((both >> 32) as u32, both as u32)),
    }
}

/// Whether a directory of this user may be used.
#[cfg(unix)]
pub(super) fn is_trusted(user: u32) -> bool {
    user == rustix::process::geteuid().as_raw() || owner().is_some_and(|(owner, _)| owner == user)
}

/// Whether a file of this user may be used. In a directory of the user for which root works, only that user's.
#[cfg(unix)]
pub(super) fn may_use(path: &Path, user: u32) -> bool {
    owner_of(path).map_or_else(|| user == rustix::process::geteuid().as_raw(), |(owner, _)| owner == user)
}

/// The user and group to which a new file at this path belongs, if they are not this process's own.
fn owner_of(path: &Path) -> Option<(u32, u32)> {
    let found = owner()?;
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let data = std::fs::metadata(parent).ok()?;
        (std::os::unix::fs::MetadataExt::uid(&data) == found.0).then_some(found)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Some(found)
    }
}

/// Whether new files at this path are given away.
pub(super) fn gives(path: &Path) -> bool {
    owner_of(path).is_some()
}

/// Gives a file that this process has just created to the user in whose directory it is.
pub(super) fn give(path: &Path, file: &File) -> io::Result<()> {
    let Some((user, group)) = owner_of(path) else { return Ok(()) };
    #[cfg(unix)]
    {
        use rustix::fs::{Gid, Uid};
        rustix::fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    }
    let _ = (user, group, file);
    Ok(())
}

/// Gives a directory that this process has just created, as [`give`] does.
pub(super) fn give_dir(path: &Path) -> io::Result<()> {
    if !gives(path) {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        // The user may have put a link in its place.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    give(path, &options.open(path)?)
}
