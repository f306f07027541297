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
const TABLE: usize = 1 << 16;
/// The numbers of texts below this find the groups of one field in a table, of at most 16 MB.
const DIRECT: usize = 1 << 22;

/// Finds the number of a group by its key.
enum Index {
    /// Of one field: by the number of its text, 0 for none and else one more than the group; and those beyond the table.
    One(Vec<u32>, ByText<u32>),
    /// Of two fields, in one number.
    Two(HashMap<u64, u32, RandomState>),
    Many(HashMap<Key, u32, RandomState>),
}

/// The groups that calls have fallen in, numbered from 0.
pub(super) struct Groups<'c> {
    connection: &'c Connection,
    dimensions: &'c [Dimension],
    index: Index,
    count: usize,
    /// The keys of the groups, one after the other.
    keys: Vec<u32>,
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
        let index = match dimensions.len() {
            1 => Index::One(Vec::new(), ByText::default()),
            2 => Index::Two(HashMap::default()),
            _ => Index::Many(HashMap::default()),
        };
        Self {
            connection,
            dimensions,
            index,
            count: 0,
            keys: Vec::new(),
            own: HashMap::default(),
            own_texts: Vec::new(),
            tags: vec![ByText::default(); dimensions.len()],
            has_texts,
        }
    }

    /// Whether blocks have all fields.
    pub(super) fn is_packed(&self) -> bool {
        self.dimensions.iter().all(is_packed)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn group(&mut self, key: &[u32]) -> u32 {
        let next = self.count as u32;
        let number = match (&mut self.index, key) {
            (Index::One(table, _), [number]) if (*number as usize) < DIRECT => {
                let place = *number as usize;
                if place >= table.len() {
                    table.resize((place + 1).next_power_of_two(), 0);
                }
                if table[place] == 0 {
                    table[place] = next + 1;
                }
                table[place] - 1
            }
            (Index::One(_, others), [number]) => *others.entry(*number).or_insert(next),
            (Index::Two(map), [first, second]) => {
                *map.entry(u64::from(*first) << 32 | u64::from(*second)).or_insert(next)
            }
            (Index::Many(map), key) => match map.get(key) {
                Some(number) => *number,
                None => *map.entry(Key::from_slice(key)).or_insert(next),
            },
            // The index has the form for the number of fields.
            (Index::One(..) | Index::Two(_), _) => next,
        };
        if number == next {
            self.count += 1;
            self.keys.extend_from_slice(key);
        }
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
        if let ([(dimension, values)], Rows::All(_)) = (&varying[..], rows)
            && !matches!(dimensions[*dimension], Dimension::Time(_))
        {
            // Each of these values occurs. Of the parts of time between the first and the last, some may not.
            let groups: Vec<u32> = (values.values.iter())
                .map(|value| {
                    key[*dimension] = *value;
                    self.group(&key)
                })
                .collect();
            return Ok(values.rows.iter().map(|row| groups[*row as usize]).collect());
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

    /// The values of a group: numbers of texts, or indexes of parts of time.
    pub(super) fn key(&self, group: u32) -> &[u32] {
        let (size, first) = (self.dimensions.len(), group as usize * self.dimensions.len());
        &self.keys[first..first + size]
    }

    /// The indexes of the dimensions that are times.
    pub(super) fn times(&self) -> Vec<usize> {
        let is_time = |index: &usize| matches!(self.dimensions[*index], Dimension::Time(_));
        (0..self.dimensions.len()).filter(is_time).collect()
    }

    /// The texts with these numbers.
    fn texts(&self, mut numbers: Vec<u32>) -> Result<ByText<String>, LedgerError> {
        let lowest_own = u32::MAX - self.own_texts.len() as u32;
        numbers.sort_unstable();
        numbers.dedup();
        let own = numbers.partition_point(|number| *number <= lowest_own);
        let own = numbers.split_off(own);
        let is_absent = numbers.first() == Some(&texts::ABSENT);
        let stored = &numbers[usize::from(is_absent)..];
        let mut found = if self.has_texts { texts::many(self.connection, stored)? } else { HashMap::default() };
        if found.len() < stored.len() {
            return Err(LedgerError::BadBlock);
        }
        found.extend(is_absent.then(|| (texts::ABSENT, String::new())));
        found.extend(own.into_iter().map(|number| (number, self.own_texts[(u32::MAX - number) as usize].clone())));
        Ok(found)
    }

    /// The values of these groups. A part of time is its index.
    pub(super) fn values_of(&self, groups: &[u32]) -> Result<Vec<Vec<String>>, LedgerError> {
        let is_text: Vec<_> = self.dimensions.iter().map(|field| !matches!(field, Dimension::Time(_))).collect();
        let numbers = groups.iter().flat_map(|group| {
            self.key(*group).iter().zip(&is_text).filter_map(|(number, is_text)| is_text.then_some(*number))
        });
        let texts = self.texts(numbers.collect())?;
        let value = |(number, is_text): (&u32, &bool)| {
            if *is_text { texts.get(number).cloned().ok_or(LedgerError::BadBlock) } else { Ok(number.to_string()) }
        };
        groups.iter().map(|group| self.key(*group).iter().zip(&is_text).map(value).collect()).collect()
    }

    /// The place of each group in the order of one of its fields: of times by time, of texts by text with absent ones last.
    pub(super) fn ranks(&self, field: usize) -> Result<Vec<u32>, LedgerError> {
        let numbers = || (0..self.count as u32).map(|group| self.key(group)[field]);
        if matches!(self.dimensions[field], Dimension::Time(_)) {
            return Ok(numbers().collect());
        }
        let mut texts: Vec<(u32, String)> = self.texts(numbers().collect())?.into_iter().collect();
        texts.sort_unstable_by(|one, other| (one.1.is_empty(), &one.1).cmp(&(other.1.is_empty(), &other.1)));
        let ranks: ByText<u32> = texts.into_iter().zip(0..).map(|((number, _), rank)| (number, rank)).collect();
        Ok(numbers().map(|number| ranks[&number]).collect())
    }
}

/// The index of the part of time with a moment.
fn part(edges: &[u64], time: u64) -> u32 {
    edges.partition_point(|edge| *edge <= time).saturating_sub(1) as u32
}
