//! Files in memory.
//!
//! Linux has mapped segments; other systems get [`map`] answers of `Unsupported` and write records through the file.
//!
//! A mapped file is reached as a slice of atomic words, so that no race between threads, processes or a misbehaving copy of the
//! file is undefined behaviour. What no code can prevent is SIGBUS: another process that truncates a file under the map. The
//! directory is private to its owner, pages are populated before use, and readers use `pread`, never the map.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

pub use mapping::{Mapping, map};

#[cfg(target_os = "linux")]
mod mapping {
    use super::{AtomicU64, File, io};
    use crate::sys::filesystem::ask;
    use crate::sys::fs::keeps_its_blocks;
    use memmap2::{Advice, MmapOptions, MmapRaw};

    /// A file in memory, shared with the kernel's page cache: what is stored survives the death of the process.
    pub struct Mapping(MmapRaw);

    /// Reserves the blocks of a new file and maps it.
    ///
    /// Raw `fallocate(2)`: reserved blocks cannot run out under a store, which a sparse file would answer with SIGBUS. File
    /// systems that do not have it (some network and FUSE ones) answer an error, and the caller writes through the file. So it does on
    /// those that take new blocks for each store (btrfs, ZFS), where reserving does not help.
    ///
    /// # Errors
    /// Those of the operating system, among them a full file system.
    pub fn map(file: &File, length: u64) -> io::Result<Mapping> {
        if !keeps_its_blocks(file) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ask(|files| files.reserve(file, length))?;
        Ok(Mapping(MmapOptions::new().len(length as usize).map_raw(file)?))
    }

    impl Mapping {
        /// Makes the pages of a range present and writable, so that the first store to each is no fault (5 to 9 µs, at worst
        /// tens of milliseconds). A page that cannot be had is an error here instead of a signal there.
        ///
        /// Kernels before 5.14 have no such call; their pages stay untouched and fault when written.
        ///
        /// # Errors
        /// Those of the operating system, among them a full file system.
        pub fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
            match self.0.advise_range(Advice::PopulateWrite, offset, length) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                other => other,
            }
        }

        /// The file as words.
        #[must_use]
        #[expect(unsafe_code, reason = "a mapped file is reached through a raw pointer")]
        #[expect(clippy::cast_ptr_alignment, reason = "maps begin at a page")]
        pub fn words(&self) -> &[AtomicU64] {
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
