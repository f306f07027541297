//! Texts of calls as an export writes them, so that each is read and escaped once, and not for each of its calls.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::Connection;

use super::error::LedgerError;
use super::texts;

/// The most texts that are kept.
const MOST: usize = 100_000;
/// The most bytes that are kept.
const MOST_BYTES: usize = 16 << 20;

/// Where a text is in the bytes: from, to.
type Place = (u32, u32);

/// The texts of a column.
#[derive(Default)]
struct Texts {
    places: HashMap<u32, Place, RandomState>,
    /// The number of the last one, because neighbours often have the same, and its place.
    last: (u32, Place),
}

/// Texts as they are written, by their column and number.
#[derive(Default)]
pub(super) struct Encoded {
    columns: Vec<Texts>,
    bytes: Vec<u8>,
    /// What the texts were read for.
    of: u64,
    /// The highest number that was found, and its text.
    highest: Option<(u32, String)>,
}

impl Encoded {
    /// Forgets all texts unless they are of the same file and form as `of` says. Has to be called in each transaction.
    ///
    /// The numbers of texts grow, and the last one is never deleted, so a number always has the same text. If the content of the file was
    /// replaced by other means, the last number probably has another text.
    pub(super) fn begin(&mut self, connection: &Connection, of: u64) -> Result<(), LedgerError> {
        let is_same = match &self.highest {
            Some((number, text)) => self.of == of && texts::known(connection, *number)?.as_ref() == Some(text),
            None => false,
        };
        if !is_same {
            *self = Self { of, ..Self::default() };
        }
        Ok(())
    }

    /// Appends a text as it is written in a column. The number is not that of an absent text. Returns false if no text has it.
    #[inline]
    pub(super) fn write(
        &mut self,
        connection: &Connection,
        column: usize,
        number: u32,
        encode: impl FnOnce(&str, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<bool, LedgerError> {
        if let Some(texts) = self.columns.get_mut(column) {
            if texts.last.0 != number
                && let Some(place) = texts.places.get(&number)
            {
                texts.last = (number, *place);
            }
            if texts.last.0 == number {
                let (from, to) = texts.last.1;
                out.extend_from_slice(&self.bytes[from as usize..to as usize]);
                return Ok(true);
            }
        }
        self.write_new(connection, column, number, encode, out)
    }

    #[cold]
    fn write_new(
        &mut self,
        connection: &Connection,
        column: usize,
        number: u32,
        encode: impl FnOnce(&str, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<bool, LedgerError> {
        let Some(text) = texts::known(connection, number)? else { return Ok(false) };
        let count: usize = self.columns.iter().map(|texts| texts.places.len()).sum();
        if count >= MOST || self.bytes.len() >= MOST_BYTES {
            self.columns.clear();
            self.bytes.clear();
        }
        if column >= self.columns.len() {
            self.columns.resize_with(column + 1, Texts::default);
        }
        let from = self.bytes.len();
        encode(&text, &mut self.bytes);
        out.extend_from_slice(&self.bytes[from..]);
        if let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(self.bytes.len())) {
            self.columns[column].places.insert(number, (from, to));
        }
        if self.highest.as_ref().is_none_or(|(highest, _)| *highest < number) {
            self.highest = Some((number, text));
        }
        Ok(true)
    }
}
