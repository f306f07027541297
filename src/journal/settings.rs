//! The settings, counts and errors of a journal.

use std::path::PathBuf;

use super::record;
use super::segment::{Backend, CHUNK};

/// The most bytes of a record's payload.
pub const MAX_PAYLOAD: usize = CHUNK - record::HEADER;

/// The settings of a journal.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all journals; `None` keeps events in memory.
    pub root: Option<PathBuf>,
    /// How segments are written.
    pub backend: Backend,
    /// The most bytes that all journals under `root` take on disk. `None` means 512 MiB or a twentieth of the free space, whichever
    /// is less.
    pub budget: Option<u64>,
    /// The destinations that will read the journal.
    pub destinations: Vec<String>,
}

/// How safe newly appended records are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// In a memory-mapped file: they survive the death of the process.
    Mapped,
    /// Written to a file: they survive the death of the process.
    Written,
    /// In memory: they are lost with the process.
    Memory,
}

impl Tier {
    /// The name in `stats()`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Written => "written",
            Self::Memory => "memory",
        }
    }
}

/// Why a record was not appended.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// There is no space for another segment: the disk or the budget is full, and so is the memory ring.
    #[error("the journal is full")]
    Full,
    /// The journal is closed. Append to another one.
    #[error("the journal is closed")]
    Closed,
    /// The record does not fit in a chunk.
    #[error("a record of {payload} bytes is too large for the journal: at most {MAX_PAYLOAD} fit in a chunk")]
    TooLarge {
        /// The bytes of its payload.
        payload: usize,
    },
}

/// The counts of one journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records appended.
    pub appended: u64,
    /// Records that were not appended because there was no space.
    pub refused: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// Bytes of segments in memory.
    pub memory_bytes: u64,
    /// Bytes of records appended.
    pub appended_bytes: u64,
    /// Appended records that were damaged or are missing.
    pub corrupt: u64,
    /// How many of these are missing entirely. A missing segment counts as one.
    pub lost: u64,
}
