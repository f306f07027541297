//! Texts that occur often, each stored once in the table `texts` under a number.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::error::LedgerError;
use crate::event::CostNotes;
use crate::event::json::TagMap;

/// The number of an absent text. It is not in the table.
pub(super) const ABSENT: u32 = 0;
/// The most texts of a generation of the cache: some megabytes.
const MOST: usize = 65_536;

/// Finds and adds numbers of texts.
#[derive(Default)]
pub(super) struct Texts {
    /// Those that were looked up since the last change of generations.
    recent: HashMap<Box<str>, u32, RandomState>,
    older: HashMap<Box<str>, u32, RandomState>,
}

impl Texts {
    /// The number of a text, which is added if it has none. If the transaction is rolled back, [`Self::clear`] has to follow.
    pub(super) fn number(&mut self, transaction: &Transaction<'_>, text: &str) -> Result<u32, LedgerError> {
        if text.is_empty() {
            return Ok(ABSENT);
        }
        if let Some(number) = self.recent.get(text) {
            return Ok(*number);
        }
        let number = if let Some(number) = self.older.get(text) {
            *number
        } else if let Some(number) = find(transaction, text)? {
            number
        } else {
            let mut insert = transaction.prepare_cached("INSERT INTO texts (hash, text) VALUES (?1, ?2)")?;
            let number = insert.insert(params![hash(text), text])?;
            u32::try_from(number).map_err(|_| LedgerError::BadBlock)?
        };
        if self.recent.len() >= MOST {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(text.into(), number);
        Ok(number)
    }

    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.older.clear();
    }
}

/// The number of a text; `None` if it has none, so that no block contains it.
pub(super) fn find(connection: &Connection, text: &str) -> Result<Option<u32>, LedgerError> {
    let mut select = connection.prepare_cached("SELECT id FROM texts WHERE hash = ?1 AND text = ?2")?;
    Ok(select.query_row(params![hash(text), text], |row| row.get(0)).optional()?)
}

/// The text with a number.
pub(super) fn text(connection: &Connection, number: u32) -> Result<String, LedgerError> {
    if number == ABSENT {
        return Ok(String::new());
    }
    known(connection, number)?.ok_or(LedgerError::BadBlock)
}

/// Reads the text that has this number, or returns `None` if no text has it.
pub(super) fn known(connection: &Connection, number: u32) -> Result<Option<String>, LedgerError> {
    let mut select = connection.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
    Ok(select.query_row([number], |row| row.get(0)).optional()?)
}

/// FNV-1a with 32 bits. It is stored, so it never changes. Equal values of different texts cost time only.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The texts with these numbers, ascending. Numbers without a text are left out.
pub(super) fn many(connection: &Connection, numbers: &[u32]) -> Result<HashMap<u32, String, RandomState>, LedgerError> {
    /// From this share of all texts on, reading all of them is faster than finding each.
    const SHARE: i64 = 8;
    let mut found = HashMap::default();
    let all: i64 = connection.query_row("SELECT ifnull(max(id), 0) FROM texts", (), |row| row.get(0))?;
    if numbers.len() as i64 * SHARE < all {
        let mut select = connection.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
        for number in numbers {
            if let Some(text) = select.query_row([number], |row| row.get(0)).optional()? {
                found.insert(*number, text);
            }
        }
        return Ok(found);
    }
    let mut select = connection.prepare("SELECT id, text FROM texts ORDER BY id")?;
    let mut rows = select.query(())?;
    let mut numbers = numbers.iter().peekable();
    while let (Some(row), Some(next)) = (rows.next()?, numbers.peek()) {
        let number: u32 = row.get(0)?;
        let mut next = **next;
        while next < number {
            numbers.next();
            let Some(following) = numbers.peek() else { return Ok(found) };
            next = **following;
        }
        if next == number {
            found.insert(number, row.get(1)?);
            numbers.next();
        }
    }
    Ok(found)
}

/// The names of the remarks, separated by commas; `None` without remarks.
pub(super) fn notes_text(notes: CostNotes) -> Option<String> {
    (!notes.is_empty()).then(|| notes.names().collect::<Vec<_>>().join(","))
}

/// The tags as a JSON object; `None` without tags.
pub(super) fn tags_text(tags: &[(&str, &str)]) -> Option<String> {
    (!tags.is_empty()).then(|| serde_json::to_string(&TagMap(tags)).unwrap_or_default())
}
