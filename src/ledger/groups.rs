//! The groups of a report: a number for each combination of values.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use smallvec::SmallVec;

use super::block::{Block, Values};
use super::dimension::Dimension;
use super::error::LedgerError;
use super::scan::{ByText, Rows, column_of, is_packed, value_in};
use super::texts;

/// The values of a group: numbers of texts, or indexes of parts of time.
type Key = SmallVec<[u32; 4]>;
/// The most combinations of a block for which a table is made.
const TABLE: usize = 1 << 18;

/// The groups that calls have fallen in, numbered from 0.
pub(super) struct Groups<'c> {
    connection: &'c Connection,
    dimensions: &'c [Dimension],
    numbers: HashMap<Key, u32, RandomState>,
    /// Texts that have no number in the file get one from the highest downward.
    own: HashMap<String, u32, RandomState>,
    own_texts: Vec<String>,
    /// For each dimension that is a tag: its value in the texts of all tags.
    tags: Vec<ByText<u32>>,
    has_texts: bool,
}

impl<'c> Groups<'c> {
    /// No groups yet. `has_texts` tells whether the file has the table `texts`.
    pub(super) fn new(connection: &'c Connection, dimensions: &'c [Dimension], has_texts: bool) -> Self {
        let tags = vec![ByText::default(); dimensions.len()];
        let (own, own_texts) = (HashMap::default(), Vec::new());
        Self { connection, dimensions, numbers: HashMap::default(), own, own_texts, tags, has_texts }
    }

    /// Whether blocks have all fields.
    pub(super) fn is_packed(&self) -> bool {
        self.dimensions.iter().all(is_packed)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn group(&mut self, key: &Key) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(key.clone(), number);
        number
    }

    /// The group of a row of SQL, whose values begin at a column.
    pub(super) fn of_row(&mut self, row: &Row<'_>, first: usize) -> Result<u32, LedgerError> {
        let mut key = Key::new();
        for (column, dimension) in self.dimensions.iter().enumerate() {
            key.push(match (dimension, row.get_ref(first + column)?) {
                (Dimension::Time(edges), ValueRef::Integer(time)) => part(edges, time.max(0) as u64),
                (_, ValueRef::Text(text)) => self.number(&String::from_utf8_lossy(text))?,
                _ => texts::ABSENT,
            });
        }
        Ok(self.group(&key))
    }

    /// The group of each call of a block. Only those of `rows` are right.
    pub(super) fn of_calls(&mut self, block: &Block, rows: &Rows) -> Result<Vec<u32>, LedgerError> {
        let dimensions = self.dimensions;
        let all = (0..dimensions.len()).map(|index| self.values(block, index)).collect::<Result<Vec<_>, _>>()?;
        let mut key: Key = all.iter().map(|values| values.values[0]).collect();
        let varying: Vec<_> = all.iter().enumerate().filter(|(_, values)| !values.rows.is_empty()).collect();
        if varying.is_empty() {
            return Ok(vec![self.group(&key); block.calls]);
        }
        let size = varying.iter().try_fold(1_usize, |size, (_, values)| size.checked_mul(values.values.len()));
        let mut found = vec![0; block.calls];
        let mut table = vec![u32::MAX; size.filter(|size| *size <= TABLE).unwrap_or(0)];
        rows.for_each(|row| {
            let mut group = |key: &mut Key| {
                for (dimension, values) in &varying {
                    key[*dimension] = values.values[values.rows[row] as usize];
                }
                self.group(key)
            };
            if table.is_empty() {
                found[row] = group(&mut key);
                return;
            }
            let code = varying.iter().fold(0, |code, (_, one)| code * one.values.len() + one.rows[row] as usize);
            if table[code] == u32::MAX {
                table[code] = group(&mut key);
            }
            found[row] = table[code];
        });
        Ok(found)
    }

    fn values(&mut self, block: &Block, index: usize) -> Result<Values, LedgerError> {
        let dimension = &self.dimensions[index];
        let Dimension::Time(edges) = dimension else {
            let column = column_of(dimension).ok_or(LedgerError::BadBlock)?;
            let mut texts = block.texts(self.connection, column)?;
            if matches!(dimension, Dimension::Tag(_)) {
                for number in &mut texts.values {
                    if !self.tags[index].contains_key(number) {
                        let text = texts::text(self.connection, *number)?;
                        let value = self.number(&value_in(dimension, &text))?;
                        self.tags[index].insert(*number, value);
                    }
                    *number = self.tags[index][number];
                }
            }
            return Ok(texts);
        };
        let (first, last) = (part(edges, block.since), part(edges, block.until));
        if first == last {
            return Ok(Values { values: vec![first], rows: Vec::new() });
        }
        let begin = |part: u32| edges.get(part as usize).copied().unwrap_or(u64::MAX);
        let (mut at, mut from, mut to) = (first, 0, 0);
        let rows = block.times(self.connection)?.into_iter().map(|time| {
            // Neighbours are mostly in the same part.
            if time < from || time >= to {
                at = part(edges, time);
                (from, to) = (if at == 0 { 0 } else { begin(at) }, begin(at + 1));
            }
            u64::from(at - first)
        });
        Ok(Values { values: (first..=last).collect(), rows: rows.collect() })
    }

    /// The number of a text.
    fn number(&mut self, text: &str) -> Result<u32, LedgerError> {
        if text.is_empty() {
            return Ok(texts::ABSENT);
        }
        if let Some(number) = self.own.get(text) {
            return Ok(*number);
        }
        let found = if self.has_texts { texts::find(self.connection, text)? } else { None };
        let number = found.unwrap_or_else(|| {
            self.own_texts.push(text.to_owned());
            u32::MAX - (self.own_texts.len() - 1) as u32
        });
        self.own.insert(text.to_owned(), number);
        Ok(number)
    }

    /// The values of each group, in the order of their numbers. A part of time is its index.
    pub(super) fn keys(&self) -> Result<Vec<Vec<String>>, LedgerError> {
        let is_text: Vec<_> = self.dimensions.iter().map(|field| !matches!(field, Dimension::Time(_))).collect();
        let texts = self.numbers.keys().flat_map(|key| key.iter().zip(&is_text).filter_map(|(n, is)| is.then_some(*n)));
        let lowest_own = u32::MAX - self.own_texts.len() as u32;
        let mut stored: Vec<u32> = texts.filter(|number| *number != texts::ABSENT && *number <= lowest_own).collect();
        stored.sort_unstable();
        stored.dedup();
        let stored = if self.has_texts { texts::many(self.connection, &stored)? } else { HashMap::default() };
        let name = |number: u32| match number {
            texts::ABSENT => Ok(String::new()),
            number if number > lowest_own => Ok(self.own_texts[(u32::MAX - number) as usize].clone()),
            number => stored.get(&number).cloned().ok_or(LedgerError::BadBlock),
        };
        let mut keys = vec![Vec::new(); self.numbers.len()];
        for (key, number) in &self.numbers {
            let values = key.iter().zip(&is_text).map(|(n, is)| if *is { name(*n) } else { Ok(n.to_string()) });
            keys[*number as usize] = values.collect::<Result<_, _>>()?;
        }
        Ok(keys)
    }
}

/// The index of the part of time with a moment.
fn part(edges: &[u64], time: u64) -> u32 {
    edges.partition_point(|edge| *edge <= time).saturating_sub(1) as u32
}
