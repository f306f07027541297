//! Where everything is in the state file. All indexes are in words of 8 bytes.
//!
//! ```text
//! 0                header
//! REDO             the redo log: pairs of a word's index and its new value
//! SLOTS            slots: one counter for each budget and key, an open-addressing table
//! holds            holds: amounts of calls in flight
//! windows          the buckets of rolling budgets
//! ```

use std::io;

use super::words::{Words, damaged};

/// The first word: `tmbudget` as little-endian bytes.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"tmbudget");
/// The version of this layout.
pub(super) const VERSION: u64 = 2;

/// The words of the header.
pub(super) mod header {
    /// [`super::MAGIC`].
    pub(crate) const MAGIC: usize = 0;
    /// [`super::VERSION`].
    pub(crate) const VERSION: usize = 1;
    /// The kernel's id of the boot that wrote this file, two words.
    pub(crate) const BOOT: usize = 2;
    /// Changes when the definitions of budgets change.
    pub(crate) const DEFINITIONS: usize = 4;
    /// Capacities.
    pub(crate) const SLOTS: usize = 5;
    pub(crate) const HOLDS: usize = 6;
    pub(crate) const WINDOWS: usize = 7;
    /// Not 0 when a larger file has replaced this one.
    pub(crate) const MOVED: usize = 8;
    /// The number in the name of the file of keys, and the valid bytes of that file.
    pub(crate) const KEYS_FILE: usize = 9;
    pub(crate) const KEYS_BYTES: usize = 10;
    /// Slots in use.
    pub(crate) const SLOTS_USED: usize = 11;
    /// The first free hold, plus 1; holds that were ever used.
    pub(crate) const HOLDS_FREE: usize = 12;
    pub(crate) const HOLDS_MADE: usize = 13;
    /// The first free window, plus 1; windows that were ever used.
    pub(crate) const WINDOWS_FREE: usize = 14;
    pub(crate) const WINDOWS_MADE: usize = 15;
    /// The random key of the hash of slots, two words.
    pub(crate) const HASH_KEY: usize = 16;
    /// The number of pairs in a committed redo log; otherwise 0.
    pub(crate) const COMMIT: usize = 18;
}

/// The words of the header, most of them reserved.
const HEADER: usize = 64;
/// The first pair of the redo log.
pub(super) const REDO: usize = HEADER;
/// The most pairs. 16 budgets of a call take at most 29 each.
pub(super) const MAX_PAIRS: usize = 512;
/// The first slot.
const SLOTS: usize = REDO + 2 * MAX_PAIRS;
/// The words of a slot, a hold and a window.
pub(super) const SLOT: usize = 16;
pub(super) const HOLD: usize = 8;
pub(super) const WINDOW: usize = 104;

/// The first word of a slot.
pub(super) fn slot(index: usize) -> usize {
    SLOTS + index * SLOT
}

/// The capacities of a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// A power of two.
    pub(super) slots: usize,
    pub(super) holds: usize,
    pub(super) windows: usize,
    /// Whether nearly all slots may be used, because a larger file would exceed the limit. This process has found so; it is not in the
    /// file.
    pub(super) is_dense: bool,
}

impl Layout {
    /// 2 MiB of slots and holds.
    pub(super) const FIRST: Self = Self { slots: 8_192, holds: 16_384, windows: 64, is_dense: false };

    /// The words of the file.
    pub(super) fn len(self) -> usize {
        self.window(self.windows)
    }

    /// The first word of a hold.
    pub(super) fn hold(self, index: usize) -> usize {
        slot(self.slots) + index * HOLD
    }

    /// The first word of a window.
    pub(super) fn window(self, index: usize) -> usize {
        self.hold(self.holds) + index * WINDOW
    }

    /// Reads the capacities from the header, and checks them against the length of the file.
    ///
    /// # Errors
    /// `InvalidData` if this is not a state file or its length is wrong; `Unsupported` if its version is newer; I/O errors.
    pub(super) fn read(words: &Words) -> io::Result<Self> {
        if words.load(header::MAGIC)? != MAGIC {
            return Err(damaged("it does not begin with its mark"));
        }
        let version = words.load(header::VERSION)?;
        if version > VERSION {
            let why = format!(
                "the budget state has version {version}, and this version of taximeter reads {VERSION}; upgrade"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if version < VERSION {
            return Err(damaged(&format!("an earlier version of taximeter wrote it ({version})")));
        }
        let capacity = |index| -> io::Result<usize> {
            let value = words.load(index)?;
            // Every index fits in 32 bits, as the redo log and the holds store them.
            usize::try_from(value)
                .ok()
                .filter(|value| *value < 1 << 28)
                .ok_or_else(|| damaged("a capacity is too large"))
        };
        let layout = Self {
            slots: capacity(header::SLOTS)?,
            holds: capacity(header::HOLDS)?,
            windows: capacity(header::WINDOWS)?,
            is_dense: false,
        };
        if !layout.slots.is_power_of_two() || layout.len() != words.len() {
            return Err(damaged("its length does not fit its capacities"));
        }
        Ok(layout)
    }
}
