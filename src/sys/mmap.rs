//! Memory-mapped files.
//!
//! Segments are mapped on Linux. On other systems [`map`] returns `Unsupported`, and records are written through the file.
//!
//! A mapped file is accessed as a slice of atomic words, so that races between threads or processes are not undefined behaviour. No
//! code can prevent SIGBUS if another process truncates the file under the map. To make that unlikely, the directory is private to
//! its owner, pages are populated before use, and readers use `pread`, never the map.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

pub use mapping::{Mapping, map};

#[cfg(target_os = "linux")]
mod mapping {
    use super::{AtomicU64, File, io};
    use crate::sys::filesystem::with_filesystem;
    use crate::sys::fs::reuses_reserved_blocks;
    use memmap2::{Advice, MmapOptions, MmapRaw};

    /// A memory-mapped file, shared with the kernel's page cache: stores survive the death of the process.
    pub struct Mapping(MmapRaw);

    /// Reserves the blocks of a new file and maps it.
    ///
    /// It calls `fallocate(2)` directly. A store to reserved blocks cannot run out of space, whereas a store to a sparse file can
    /// raise SIGBUS. File systems without `fallocate` (some network and FUSE ones) return an error, and the caller writes through the
    /// file instead. The same happens on copy-on-write file systems (btrfs, ZFS), where reserving does not help.
    ///
    /// # Errors
    /// I/O errors, for example that the file system is full.
    pub fn map(file: &File, length: u64) -> io::Result<Mapping> {
        if !reuses_reserved_blocks(file) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        with_filesystem(|files| files.reserve(file, length))?;
        Ok(Mapping(MmapOptions::new().len(length as usize).map_raw(file)?))
    }

    impl Mapping {
        /// Makes the pages of a range present and writable, so that the first store to a page does not fault (5 to 9 µs, at worst
        /// tens of milliseconds). If a page cannot be allocated, this returns an error; the store would raise a signal.
        ///
        /// Kernels before 5.14 do not have this call. Their pages fault at the first store.
        ///
        /// # Errors
        /// I/O errors, for example that the file system is full.
        pub fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
            match self.0.advise_range(Advice::PopulateWrite, offset, length) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            }
        }

        /// The content as words.
        #[must_use]
        #[expect(unsafe_code, reason = "a mapped file is reached through a raw pointer")]
        #[expect(clippy::cast_ptr_alignment, reason = "maps begin at a page")]
        pub fn words(&self) -> &[AtomicU64] {
            // SAFETY: the pointer is page-aligned and maps `len()` bytes, readable and writable, while `self.0` lives, and the slice
            // does not outlive it. Any bit pattern is a valid u64. All access from this process goes through these atomics, so
            // concurrent stores are not a data race.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), self.0.len() / 8) }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod mapping {
    use super::{AtomicU64, File, io};

    pub enum Mapping {}

    pub fn map(_file: &File, _length: u64) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    impl Mapping {
        pub fn populate(&self, _offset: usize, _length: usize) -> io::Result<()> {
            match *self {}
        }

        pub fn words(&self) -> &[AtomicU64] {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::fs::{create_private_file, read_at};
    use super::*;
    use std::sync::atomic::Ordering;

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
