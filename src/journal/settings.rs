//! What a journal is made with, and what it says of itself.

use std::path::PathBuf;

use super::record;
use super::segment::{Backend, CHUNK};

/// Most bytes of a record's payload.
pub const MAX_PAYLOAD: usize = CHUNK - record::HEADER;

/// What a journal is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all journals; `None` keeps events in memory.
    pub root: Option<PathBuf>,
    /// How segments are written.
    pub backend: Backend,
    /// Most bytes that all journals under `root` take on disk; `None` for the lesser of 512 MiB and a twentieth of the free space.
    pub budget: Option<u64>,
    /// The destinations that will read.
    pub destinations: Vec<String>,
}

/// How safe what is appended now is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// In a mapped file: survives the death of the process.
    Mapped,
    /// Written to a file: survives the death of the process.
    Written,
    /// In memory: lost with the process.
    Memory,
}

impl Tier {
    /// Its name in `stats()`.
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
    /// No segment could be had: the disk or the budget is full, and the ring in memory too.
    #[error("the journal is full")]
    Full,
    /// The journal was closed; another one has to take it.
    #[error("the journal is closed")]
    Closed,
    /// A record has to fit a chunk.
    #[error("a record of {payload} bytes is too large for the journal: at most {MAX_PAYLOAD} fit a chunk")]
    TooLarge {
        /// Bytes of its payload.
        payload: usize,
    },
}

/// Counts of one journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records appended.
    pub appended: u64,
    /// Records refused because no space was left.
    pub refused: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// Bytes of segments in memory.
    pub memory_bytes: u64,
    /// Bytes of records appended.
    pub appended_bytes: u64,
    /// Records that were damaged or lost after they were appended.
    pub corrupt: u64,
    /// Of these, records of which nothing is left; a missing segment counts as one.
    pub lost: u64,
}
