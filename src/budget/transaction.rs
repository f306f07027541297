//! The redo log: an operation changes all of its words or none, whatever instruction a process is killed at.
//!
//! An operation first collects its new words. Then it writes them to the log, commits the log by one store, writes them to their
//! places, and clears the log. The next holder of the lock repeats a committed log; an uncommitted one has changed nothing.

use std::io;

use smallvec::SmallVec;

use super::layout::{MAX_PAIRS, REDO, header};
use super::words::{Words, damaged};

/// The new words of one operation. Reads see them.
pub(super) struct Transaction<'a> {
    words: &'a Words,
    /// Index and value, each index once.
    changed: SmallVec<[(u32, u64); 64]>,
    /// A bit for each remainder of a changed index. Most words were not changed, and need no search then.
    filter: [u64; FILTER],
}

/// The words of the filter. With 256 bits, the neighbouring words of a few slots and holds have different ones.
const FILTER: usize = 4;

/// The filter's word and the bit in it for an index.
fn bit(index: usize) -> (usize, u64) {
    (index / 64 % FILTER, 1 << (index % 64))
}

impl<'a> Transaction<'a> {
    pub(super) fn new(words: &'a Words) -> Self {
        Self { words, changed: SmallVec::new(), filter: [0; FILTER] }
    }

    /// The place of a changed word.
    #[inline]
    fn place(&self, index: usize) -> Option<usize> {
        let (word, bit) = bit(index);
        if self.filter[word] & bit == 0 {
            return None;
        }
        self.changed.iter().rposition(|(changed, _)| *changed as usize == index)
    }

    /// Reads a word, as this operation changed it.
    pub(super) fn load(&self, index: usize) -> io::Result<u64> {
        match self.place(index) {
            Some(place) => Ok(self.changed[place].1),
            None => self.words.load(index),
        }
    }

    /// Whether this operation changes a word.
    pub(super) fn has_changed(&self, index: usize) -> bool {
        self.place(index).is_some()
    }

    /// Changes a word at once, without the redo log: only one that nothing refers to yet.
    pub(super) fn store_now(&self, index: usize, value: u64) -> io::Result<()> {
        self.words.store(index, value)
    }

    /// Changes a word. One that has the value already does not go to the log.
    pub(super) fn store(&mut self, index: usize, value: u64) {
        match self.place(index) {
            Some(place) => self.changed[place].1 = value,
            None if self.words.load(index).is_ok_and(|old| old == value) => {}
            None => {
                let (word, bit) = bit(index);
                self.filter[word] |= bit;
                self.changed.push((index as u32, value));
            }
        }
    }

    /// Reads an amount, which takes two words.
    pub(super) fn load_amount(&self, index: usize) -> io::Result<i128> {
        let (low, high) = (self.load(index)?, self.load(index + 1)?);
        Ok(((u128::from(high) << 64) | u128::from(low)).cast_signed())
    }

    /// Changes an amount.
    pub(super) fn store_amount(&mut self, index: usize, amount: i128) {
        let bits = amount.cast_unsigned();
        self.store(index, bits as u64);
        self.store(index + 1, (bits >> 64) as u64);
    }

    /// Makes all changes.
    ///
    /// # Errors
    /// I/O errors. Nothing is changed then.
    pub(super) fn commit(self) -> io::Result<()> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if self.changed.len() > MAX_PAIRS {
            return Err(io::Error::other("one operation changes too many words of the budget state"));
        }
        for (pair, (index, value)) in self.changed.iter().enumerate() {
            self.words.store(REDO + 2 * pair, u64::from(*index))?;
            self.words.store(REDO + 2 * pair + 1, *value)?;
        }
        self.words.store(header::COMMIT, self.changed.len() as u64)?;
        // From here on the operation has happened. If one of these stores fails, the next operation repeats the log.
        let stored = self.changed.iter().try_for_each(|(index, value)| self.words.store(*index as usize, *value));
        let _ = stored.and_then(|()| self.words.store(header::COMMIT, 0));
        Ok(())
    }
}

/// Repeats a committed log that a killed process left. Returns whether there was one.
///
/// # Errors
/// `InvalidData` if the log is damaged; I/O errors.
pub(super) fn redo(words: &Words) -> io::Result<bool> {
    let pairs = words.load(header::COMMIT)?;
    if pairs == 0 {
        return Ok(false);
    }
    if pairs > MAX_PAIRS as u64 {
        return Err(damaged("its redo log is too long"));
    }
    for pair in 0..pairs as usize {
        let index = words.load(REDO + 2 * pair)?;
        let value = words.load(REDO + 2 * pair + 1)?;
        words.store(usize::try_from(index).unwrap_or(usize::MAX), value)?;
    }
    words.store(header::COMMIT, 0)?;
    Ok(true)
}
