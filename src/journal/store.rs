//! The storage of a segment: a memory-mapped file, a file that is written record by record or, without a usable disk, memory.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::fs::{is_linked, read_at, write_at};
use crate::sys::mmap::Mapping;

/// The bytes of one segment.
pub(super) enum Store {
    /// Stores to memory, which the kernel keeps: 40 to 50 ns per record. They survive the death of the process.
    Mapped { mapping: Mapping, file: File },
    /// One `pwrite` per record: 1.5 to 2 µs, equally safe. For systems and file systems without mapped segments.
    Written(File),
    /// Memory of the process, lost when it dies.
    Heap(Box<[AtomicU64]>),
}

impl Store {
    pub(super) fn heap(length: usize) -> Self {
        Self::Heap((0..length / 8).map(|_| AtomicU64::new(0)).collect())
    }

    /// Writes a sealed record (see [`super::record`]) at an offset that is a multiple of 8. Stores the commit last.
    pub(super) fn write(&self, offset: usize, frame: &[u8]) -> io::Result<()> {
        let words = match self {
            Self::Mapped { mapping, .. } => mapping.words(),
            Self::Heap(words) => words,
            Self::Written(file) => return write_at(file, frame, offset as u64),
        };
        let target = &words[offset / 8..][..frame.len() / 8];
        let (source, _) = frame.as_chunks::<8>();
        let ([first, commit, target @ ..], [first_source, commit_source, source @ ..]) = (target, source) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // Blocks of four: the bounds are checked once for each.
        let (blocks, rest) = target.as_chunks::<4>();
        let (source_blocks, source_rest) = source.as_chunks::<4>();
        for (block, bytes) in blocks.iter().zip(source_blocks) {
            for place in 0..4 {
                block[place].store(u64::from_ne_bytes(bytes[place]), Ordering::Relaxed);
            }
        }
        for (word, bytes) in rest.iter().zip(source_rest) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        first.store(u64::from_ne_bytes(*first_source), Ordering::Relaxed);
        // Release: a thread that sees the commit sees the whole record.
        commit.store(u64::from_ne_bytes(*commit_source), Ordering::Release);
        Ok(())
    }

    /// Stores one word at an offset that is a multiple of 8. Does nothing in a written file, where it would be a system call.
    pub(super) fn set_word(&self, offset: usize, value: u64) {
        if let Some(words) = self.words() {
            words[offset / 8].store(value.to_le(), Ordering::Relaxed);
        }
    }

    /// The words in memory, if the segment is in memory or mapped.
    pub(super) fn words(&self) -> Option<&[AtomicU64]> {
        match self {
            Self::Mapped { mapping, .. } => Some(mapping.words()),
            Self::Heap(words) => Some(words),
            Self::Written(_) => None,
        }
    }

    /// Reads bytes at an offset that is a multiple of 8. Mapped files are read through the file, so that a file truncated by another
    /// program gives a short read instead of SIGBUS. Returns the number of bytes read.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> io::Result<usize> {
        let file = match self {
            Self::Mapped { file, .. } | Self::Written(file) => file,
            Self::Heap(words) => {
                for (word, bytes) in words[offset / 8..].iter().zip(into.chunks_exact_mut(8)) {
                    bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
                }
                return Ok(into.len());
            }
        };
        read_at(file, into, offset as u64)
    }

    /// Prepares a range, so that writing to it does not fault.
    pub(super) fn populate(&self, offset: usize, length: usize) -> io::Result<()> {
        match self {
            Self::Mapped { mapping, .. } => mapping.populate(offset, length),
            Self::Written(_) | Self::Heap(_) => Ok(()),
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        match self {
            Self::Mapped { file, .. } | Self::Written(file) => is_linked(file),
            Self::Heap(_) => true,
        }
    }
}
