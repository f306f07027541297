//! The words of the state file: mapped where the system allows it, read and written through the file elsewhere.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use crate::sys::fs::{metadata, read_at, set_len, write_at};
use crate::sys::mmap::{Mapping, map};

/// The bytes of a word.
pub(super) const WORD: usize = 8;

/// A file as an array of u64 words. Only the holder of the state's lock uses it.
pub(super) enum Words {
    /// Stores survive the death of the process, because the kernel holds the pages.
    Mapped(Mapping),
    /// Each store is a system call.
    Written {
        /// The file.
        file: File,
        /// Its length in words.
        len: usize,
    },
    /// Memory that fails after a number of stores, as a process that is killed there.
    #[cfg(test)]
    Failing(super::tests::FailingWords),
}

impl Words {
    /// Makes a file of `len` words of zeros.
    ///
    /// # Errors
    /// I/O errors, for example that the disk is full.
    pub(super) fn create(file: File, len: usize) -> io::Result<Self> {
        match map(&file, (len * WORD) as u64) {
            Ok(mapping) => {
                mapping.populate(0, len * WORD)?;
                Ok(Self::Mapped(mapping))
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                set_len(&file, (len * WORD) as u64)?;
                Ok(Self::Written { file, len })
            }
            Err(error) => Err(error),
        }
    }

    /// Uses an existing file.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let bytes = metadata(&file)?.len();
        let len = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)? / WORD;
        if len == 0 {
            return Err(damaged("it is empty"));
        }
        match map(&file, (len * WORD) as u64) {
            Ok(mapping) => Ok(Self::Mapped(mapping)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Self::Written { file, len }),
            Err(error) => Err(error),
        }
    }

    /// The number of words.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Mapped(mapping) => mapping.words().len(),
            Self::Written { len, .. } => *len,
            #[cfg(test)]
            Self::Failing(words) => words.len(),
        }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// `InvalidData` if the file is shorter; I/O errors.
    pub(super) fn load(&self, index: usize) -> io::Result<u64> {
        match self {
            Self::Mapped(mapping) => {
                let word = mapping.words().get(index).ok_or_else(|| damaged("an index is out of range"))?;
                Ok(word.load(Ordering::Acquire))
            }
            Self::Written { file, .. } => {
                let mut bytes = [0; WORD];
                if read_at(file, &mut bytes, (index * WORD) as u64)? < WORD {
                    return Err(damaged("an index is out of range"));
                }
                Ok(u64::from_le_bytes(bytes))
            }
            #[cfg(test)]
            Self::Failing(words) => words.load(index),
        }
    }

    /// Writes a word. Other processes see stores in their order, also if this process is killed between two of them.
    ///
    /// # Errors
    /// `InvalidData` if the file is shorter; I/O errors.
    pub(super) fn store(&self, index: usize, value: u64) -> io::Result<()> {
        match self {
            Self::Mapped(mapping) => {
                let word = mapping.words().get(index).ok_or_else(|| damaged("an index is out of range"))?;
                // Release keeps the compiler and the processor from moving earlier stores behind this one.
                word.store(value, Ordering::Release);
                Ok(())
            }
            Self::Written { file, len } => {
                if index >= *len {
                    return Err(damaged("an index is out of range"));
                }
                write_at(file, &value.to_le_bytes(), (index * WORD) as u64)
            }
            #[cfg(test)]
            Self::Failing(words) => words.store(index, value),
        }
    }
}

/// The error for a state file that does not follow its format.
pub(super) fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the budget state is damaged: {why}"))
}
