//! Selects calls of blocks by a filter.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::Connection;

use super::block::{Block, COUNTS, text_column};
use super::dimension::{Dimension, is_number};
use super::error::LedgerError;
use super::filter::{Condition, Filter, Op};
use super::texts;
use crate::money::Usd;

/// A map from the number of a text.
pub(super) type ByText<V> = HashMap<u32, V, RandomState>;

/// Calls of a block.
pub(super) enum Rows {
    All(usize),
    Some(Vec<u32>),
}

impl Rows {
    #[inline]
    pub(super) fn for_each(&self, mut work: impl FnMut(usize)) {
        match self {
            Self::All(count) => (0..*count).for_each(work),
            Self::Some(rows) => rows.iter().for_each(|row| work(*row as usize)),
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        match self {
            Self::All(count) => *self = Self::Some((0..*count as u32).filter(|row| keep(*row as usize)).collect()),
            Self::Some(rows) => rows.retain(|row| keep(*row as usize)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::All(0)) || matches!(self, Self::Some(rows) if rows.is_empty())
    }
}

/// A filter, with what it has found out about texts.
pub(super) struct Scan<'f> {
    filter: &'f Filter,
    /// For each condition: which texts meet it.
    tests: Vec<Test>,
}

/// Which texts meet a condition.
#[derive(Clone, Default)]
struct Test {
    /// The numbers of the condition's values, if it compares whole texts.
    values: Option<Vec<u32>>,
    /// What was found out about texts.
    met: ByText<bool>,
}

impl Test {
    fn meets(&mut self, connection: &Connection, condition: &Condition, number: u32) -> Result<bool, LedgerError> {
        if self.values.is_none() && condition.compares_texts() {
            let numbers = condition.values.iter().map(|value| match value.as_deref() {
                None | Some("") => Ok(Some(texts::ABSENT)),
                Some(value) => texts::find(connection, value),
            });
            self.values = Some(numbers.filter_map(Result::transpose).collect::<Result<_, _>>()?);
        }
        if let Some(values) = &self.values {
            return Ok(values.contains(&number) == (condition.op == Op::Is));
        }
        if let Some(is_met) = self.met.get(&number) {
            return Ok(*is_met);
        }
        let text = texts::text(connection, number)?;
        let is_met = condition.meets(&value_in(&condition.field, &text));
        self.met.insert(number, is_met);
        Ok(is_met)
    }
}

/// Whether blocks have a field.
pub(super) fn is_packed(field: &Dimension) -> bool {
    match field {
        Dimension::Time(_) | Dimension::Tag(_) => true,
        Dimension::Column(name) => text_column(name).is_some() || is_number(field),
    }
}

/// The index of the column that has the texts of a field.
pub(super) fn column_of(field: &Dimension) -> Option<usize> {
    match field {
        Dimension::Column(name) => text_column(name),
        Dimension::Tag(_) => text_column("tags"),
        Dimension::Time(_) => None,
    }
}

/// The value of a field in a text of its column; empty if it has none.
pub(super) fn value_in<'t>(field: &Dimension, text: &'t str) -> std::borrow::Cow<'t, str> {
    let Dimension::Tag(key) = field else { return text.into() };
    let tags: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    match tags.get(key) {
        Some(serde_json::Value::String(value)) => value.clone().into(),
        _ => "".into(),
    }
}

impl<'f> Scan<'f> {
    /// `None` if blocks do not have a field of the filter.
    pub(super) fn new(filter: &'f Filter) -> Option<Self> {
        let is_possible = filter.conditions.iter().all(|condition| is_packed(&condition.field));
        is_possible.then(|| Self { filter, tests: vec![Test::default(); filter.conditions.len()] })
    }

    /// The calls of a block that the filter selects.
    pub(super) fn select(&mut self, connection: &Connection, block: &Block) -> Result<Rows, LedgerError> {
        let mut rows = Rows::All(block.calls);
        let (since, until) = (self.filter.since.unwrap_or(0), self.filter.until.unwrap_or(u64::MAX));
        if block.until < since || block.since >= until {
            return Ok(Rows::All(0));
        }
        if block.since < since || block.until >= until {
            let times = block.times(connection)?;
            rows.retain(|row| (since..until).contains(&times[row]));
        }
        for (condition, test) in self.filter.conditions.iter().zip(&mut self.tests) {
            if rows.is_empty() {
                break;
            }
            match column_of(&condition.field) {
                Some(column) => {
                    let meets = |number| test.meets(connection, condition, number);
                    let Some(meeting) = block.meeting(connection, column, meets)? else { return Ok(Rows::All(0)) };
                    if !meeting.is_all() {
                        rows.retain(|row| meeting.has(row));
                    }
                }
                None => retain_numbers(connection, block, condition, &mut rows)?,
            }
        }
        Ok(rows)
    }
}

fn retain_numbers(
    connection: &Connection,
    block: &Block,
    condition: &Condition,
    rows: &mut Rows,
) -> Result<(), LedgerError> {
    let Dimension::Column(name) = condition.field else { return Ok(()) };
    let milliseconds = |us: Option<u64>| us.map(|us| us as f64 / 1000.0);
    match name {
        "cost_usd" => {
            let costs = block.costs(connection)?;
            let cost = |row| costs.as_ref().and_then(|costs| costs.get(row)).map(Usd::from_units);
            rows.retain(|row| condition.meets_amount(cost(row)));
        }
        "latency_ms" | "ttft_ms" => {
            let found = if name == "ttft_ms" { block.ttfts(connection)? } else { block.latencies(connection)? };
            rows.retain(|row| condition.meets_number(milliseconds(found.as_ref().and_then(|all| all.get(row)))));
        }
        _ => {
            let column = COUNTS.iter().position(|count| *count == name).ok_or(LedgerError::BadBlock)?;
            let counts = block.counts(connection, column)?;
            rows.retain(|row| condition.meets_number(Some(counts.as_ref().map_or(0, |counts| counts[row]) as f64)));
        }
    }
    Ok(())
}
