//! The calls that journal, cursors and the files beside them ask of a file system, as a trait: tests put one in its place that fails.
//!
//! Stores to mapped memory do not come by here.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, ReadDir};
use std::io::{self, Write};
use std::path::Path;

/// A file system: each method is one system call, and does what the real one does unless it is overridden.
pub(super) trait Filesystem {
    /// Opens or makes a file.
    fn open(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        options.open(path)
    }

    /// Reads at an offset; how much, which may be less than asked for.
    fn read_at(&self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(file, into, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(file, into, offset);
    }

    /// Writes at an offset; how much, which may be less than asked for.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(file, bytes, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(file, bytes, offset);
    }

    /// Writes where a file that was opened to append ends; how much, which may be less than asked for.
    fn append(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    /// Cuts a file off, or makes it longer.
    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    /// Waits until what was written to a file is on its disk.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Gives a file another name, in the place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Gives a file a second name, which must not be in use.
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

    /// Makes a directory.
    fn make_dir(&self, path: &Path, builder: &DirBuilder) -> io::Result<()> {
        builder.create(path)
    }

    /// Deletes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    /// Says what stands at a path; a link is not followed.
    fn path_metadata(&self, path: &Path) -> io::Result<Metadata> {
        std::fs::symlink_metadata(path)
    }

    /// Says what an open file is.
    fn file_metadata(&self, file: &File) -> io::Result<Metadata> {
        file.metadata()
    }

    /// Reserves the blocks of a file that is to be mapped.
    #[cfg(target_os = "linux")]
    fn reserve(&self, file: &File, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
    }
}

/// The one of the operating system.
struct Real;

impl Filesystem for Real {}

/// Asks the file system: the real one.
#[cfg(not(test))]
pub(super) fn ask<R>(call: impl FnOnce(&dyn Filesystem) -> R) -> R {
    call(&Real)
}

#[cfg(test)]
pub(super) use faulty::ask;
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

    /// How many bytes this thread has asked files for.
    pub(crate) fn bytes_read() -> u64 {
        READ.with(Cell::get)
    }

    /// The real one, which counts.
    struct Counting;

    impl Filesystem for Counting {
        fn read_at(&self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
            READ.with(|count| count.set(count.get() + into.len() as u64));
            Real.read_at(file, into, offset)
        }
    }

    /// What fails, in this thread, from now on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// `EIO` of reads, those of directories included.
        Read,
        /// `EIO` of writes and when they are synced.
        Write,
        /// `EIO` when files are renamed or linked, and when directories are made.
        Names,
        /// `EIO` when files and directories are deleted or files cut off.
        Delete,
        /// `ESTALE` of reads and of every call that takes a path.
        Stale,
        /// `EIO` of metadata, of paths and of open files.
        Metadata,
        /// `EACCES` when files and directories are made.
        Forbidden,
        /// `EMFILE` when files and directories are opened.
        Descriptors,
        /// `ENOSPC` of writes, for a name more in a directory, and when space is reserved.
        Space,
        /// `ENOSPC` of writes after some bytes of each, at a boundary of 512.
        Torn(usize),
        /// Reads and writes of at most so many bytes at once.
        Short(usize),
    }

    /// Has the calls of this thread fail, or no longer.
    pub(crate) fn break_files(fault: Option<Fault>) {
        FAULT.with(|slot| *slot.borrow_mut() = fault);
    }

    pub(in super::super) fn ask<R>(call: impl FnOnce(&dyn Filesystem) -> R) -> R {
        match FAULT.with(|slot| *slot.borrow()) {
            Some(fault) => call(&fault),
            None => call(&Counting),
        }
    }

    fn error<T>(errno: rustix::io::Errno) -> io::Result<T> {
        Err(errno.into())
    }

    /// What of a write reaches the disk: its first part, to a boundary of sectors. The next call finds that there is no more space.
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
