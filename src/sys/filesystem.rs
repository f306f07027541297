//! The file system calls of the journal, the cursors and the files beside them, as a trait. Tests replace it with one that fails.
//!
//! Stores to mapped memory are not file system calls and do not go through it.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, ReadDir};
use std::io::{self, Write};
use std::path::Path;

/// A file system. Each method is one system call. The default implementations use the real file system.
pub(super) trait Filesystem {
    /// Opens or creates a file.
    fn open(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        options.open(path)
    }

    /// Reads at an offset. Returns the number of bytes, which may be less than the buffer holds.
    fn read_at(&self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(file, into, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(file, into, offset);
    }

    /// Writes at an offset. Returns the number of bytes, which may be less than requested.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(file, bytes, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(file, bytes, offset);
    }

    /// Writes at the end of a file that was opened to append. Returns the number of bytes, which may be less than requested.
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    /// Truncates or extends a file.
    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Waits until the data of a file is on disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Waits until the names in a directory are on disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Renames a file. Replaces a file that already has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Adds a second name to a file. Fails if the name is in use.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    /// Deletes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Opens a directory to list it.
    fn list_dir(&self, path: &Path) -> io::Result<ReadDir> {
        std::fs::read_dir(path)
    }

    /// Creates a directory.
    fn make_dir(&self, path: &Path, builder: &DirBuilder) -> io::Result<()> {
        builder.create(path)
    }

    /// Deletes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    /// The metadata of a path. A link is not followed.
    fn path_metadata(&self, path: &Path) -> io::Result<Metadata> {
        std::fs::symlink_metadata(path)
    }

    /// The metadata of an open file.
    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        file.metadata()
    }

    /// Reserves the blocks of a file, before it is mapped.
    #[cfg(target_os = "linux")]
    fn reserve(&self, file: &File, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
    }
}

/// The file system of the operating system.
struct Real;

impl Filesystem for Real {}

/// Calls the real file system.
#[cfg(not(test))]
pub(super) fn with_filesystem<R>(call: impl FnOnce(&dyn Filesystem) -> R) -> R {
    call(&Real)
}

#[cfg(test)]
pub(super) use faulty::with_filesystem;
#[cfg(test)]
pub(crate) use faulty::{Fault, break_files, bytes_read};

#[cfg(test)]
mod faulty {
    use super::{DirBuilder, File, Filesystem, Metadata, OpenOptions, Path, ReadDir, Real, io};
    use std::cell::{Cell, RefCell};

    thread_local! {
        static FAULT: RefCell<Option<Fault>> = const { RefCell::new(None) };
        static READ: Cell<u64> = const { Cell::new(0) };
    }

    /// How many bytes this thread has requested from files.
    pub(crate) fn bytes_read() -> u64 {
        READ.with(Cell::get)
    }

    /// The real file system, which counts the requested bytes.
    struct Counting;

    impl Filesystem for Counting {
        fn read_at(&self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
            READ.with(|count| count.set(count.get() + into.len() as u64));
            Real.read_at(file, into, offset)
        }
    }

    /// What fails in this thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Reads fail with `EIO`, also those of directories.
        Read,
        /// Writes and syncs fail with `EIO`.
        Write,
        /// Renaming and linking files, and creating directories, fails with `EIO`.
        Names,
        /// Deleting files and directories, and truncating files, fails with `EIO`.
        Delete,
        /// Reads, and all calls that take a path, fail with `ESTALE`.
        Stale,
        /// Reading metadata, of paths and of open files, fails with `EIO`.
        Metadata,
        /// Creating files and directories fails with `EACCES`.
        Forbidden,
        /// Opening files and directories fails with `EMFILE`.
        Descriptors,
        /// Writes, new names in a directory and reserving space fail with `ENOSPC`.
        Space,
        /// Each write stores up to this many bytes, ending at a multiple of 512 in the file; without a full sector it fails with
        /// `ENOSPC`.
        Torn(usize),
        /// Reads and writes handle at most this many bytes at once.
        Short(usize),
    }

    /// Sets or removes the fault of this thread.
    pub(crate) fn break_files(fault: Option<Fault>) {
        FAULT.with(|slot| *slot.borrow_mut() = fault);
    }

    pub(in super::super) fn with_filesystem<R>(call: impl FnOnce(&dyn Filesystem) -> R) -> R {
        match FAULT.with(|slot| *slot.borrow()) {
            Some(fault) => call(&fault),
            None => call(&Counting),
        }
    }

    fn error<T>(errno: rustix::io::Errno) -> io::Result<T> {
        Err(errno.into())
    }

    /// The first part of a write, up to a sector boundary, that reaches the disk. The next call then fails because the disk is full.
    fn torn(bytes: &[u8], offset: u64, most: usize) -> io::Result<&[u8]> {
        let end = (offset + most as u64) / 512 * 512;
        match end.saturating_sub(offset) as usize {
            count if count > 0 && count < bytes.len() => Ok(&bytes[..count]),
            _ => error(rustix::io::Errno::NOSPC),
        }
    }

    impl Fault {
        fn check_new_name(&self) -> io::Result<()> {
            match self {
                Self::Names => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                Self::Space => error(rustix::io::Errno::NOSPC),
                Self::Forbidden => error(rustix::io::Errno::ACCESS),
                _ => Ok(()),
            }
        }
    }

    impl Filesystem for Fault {
        fn open(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
            match self {
                Self::Stale => error(rustix::io::Errno::STALE),
                Self::Descriptors => error(rustix::io::Errno::MFILE),
                Self::Forbidden if !path.exists() => error(rustix::io::Errno::ACCESS),
                _ => Real.open(path, options),
            }
        }

        fn read_at(&self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
            match self {
                Self::Read => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                Self::Short(most) => {
                    let most = into.len().min(*most);
                    Real.read_at(file, &mut into[..most], offset)
                }
                _ => Real.read_at(file, into, offset),
            }
        }

        fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
            match self {
                Self::Write => error(rustix::io::Errno::IO),
                Self::Space => error(rustix::io::Errno::NOSPC),
                Self::Torn(most) => Real.write_at(file, torn(bytes, offset, *most)?, offset),
                Self::Short(most) => Real.write_at(file, &bytes[..bytes.len().min(*most)], offset),
                _ => Real.write_at(file, bytes, offset),
            }
        }

        fn append(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
            match self {
                Self::Write => error(rustix::io::Errno::IO),
                Self::Space => error(rustix::io::Errno::NOSPC),
                Self::Torn(most) => Real.append(file, torn(bytes, file.metadata()?.len(), *most)?),
                Self::Short(most) => Real.append(file, &bytes[..bytes.len().min(*most)]),
                _ => Real.append(file, bytes),
            }
        }

        fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
            match self {
                Self::Delete => error(rustix::io::Errno::IO),
                _ => Real.set_len(file, length),
            }
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            match self {
                Self::Write => error(rustix::io::Errno::IO),
                _ => Real.sync(file),
            }
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            match self {
                Self::Write => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                Self::Descriptors => error(rustix::io::Errno::MFILE),
                _ => Real.sync_dir(path),
            }
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.check_new_name()?;
            Real.rename(from, to)
        }

        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.check_new_name()?;
            Real.link(from, to)
        }

        fn remove_file(&self, path: &Path) -> io::Result<()> {
            match self {
                Self::Delete => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                _ => Real.remove_file(path),
            }
        }

        fn list_dir(&self, path: &Path) -> io::Result<ReadDir> {
            match self {
                Self::Read => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                Self::Descriptors => error(rustix::io::Errno::MFILE),
                _ => Real.list_dir(path),
            }
        }

        fn make_dir(&self, path: &Path, builder: &DirBuilder) -> io::Result<()> {
            if !path.exists() {
                self.check_new_name()?;
            }
            Real.make_dir(path, builder)
        }

        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            match self {
                Self::Delete => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                _ => Real.remove_dir(path),
            }
        }

        fn path_metadata(&self, path: &Path) -> io::Result<Metadata> {
            match self {
                Self::Metadata => error(rustix::io::Errno::IO),
                Self::Stale => error(rustix::io::Errno::STALE),
                _ => Real.path_metadata(path),
            }
        }

        // Not stale: that would say that the file has lost its name.
        fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
            match self {
                Self::Metadata => error(rustix::io::Errno::IO),
                _ => Real.file_metadata(file),
            }
        }

        #[cfg(target_os = "linux")]
        fn reserve(&self, file: &File, length: u64) -> io::Result<()> {
            match self {
                Self::Space | Self::Torn(_) => error(rustix::io::Errno::NOSPC),
                _ => Real.reserve(file, length),
            }
        }
    }
}
