//! Reports: exact sums of events, grouped by any of their fields.
//!
//! A report by the call's own fields and at most one of agent, feature, team and customer uses `hourly` for the whole hours of its period,
//! and reads events only for the partial hours at its ends. Any other report reads all events of its period.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::Value;

use super::dimension::{Dimension, GroupValue, HOUR_NS, HOURLY_ATTRIBUTION, HOURLY_OWN};
use super::error::LedgerError;
use super::filter::Filter;
use super::reader::Reader;
use crate::money::Usd;

/// The sums of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of events.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them have an unknown cost. Failed calls that used nothing do not count.
    pub unpriced: u64,
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The sum of the known costs.
    pub cost: Usd,
}

/// One row: the values of the dimensions, with an empty text for an absent value, and the sums.
pub type ReportRow = (Vec<String>, Totals);

impl Totals {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.unpriced += other.unpriced;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.cost = self.cost + other.cost;
    }
}

type Groups = HashMap<Vec<GroupValue>, (Vec<String>, Totals)>;

impl Reader {
    /// Sums events by `dimensions`. The group with the highest cost comes first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn report(&mut self, dimensions: &[Dimension], filter: &Filter) -> Result<Vec<ReportRow>, LedgerError> {
        self.refresh()?;
        let mut groups = Groups::new();
        match rollup(dimensions, filter) {
            Some(attribution) => {
                let (first, last) = whole_hours(filter);
                if first < last {
                    let hour = |hour: u64| Some(hour.saturating_mul(HOUR_NS));
                    let mut next = first;
                    for cut in cut_hours(dimensions, first, last) {
                        self.add_hours(&mut groups, dimensions, filter, attribution, next, cut)?;
                        let (since, until) = (hour(cut), hour(cut + 1));
                        self.add_events(&mut groups, dimensions, &Filter { since, until, ..filter.clone() })?;
                        next = cut + 1;
                    }
                    self.add_hours(&mut groups, dimensions, filter, attribution, next, last)?;
                    let edges = [(filter.since, hour(first)), (hour(last), filter.until)];
                    for (since, until) in edges {
                        let is_cut = since.is_some() && until.is_some() && since < until;
                        if is_cut {
                            self.add_events(&mut groups, dimensions, &Filter { since, until, ..filter.clone() })?;
                        }
                    }
                } else {
                    self.add_events(&mut groups, dimensions, filter)?;
                }
            }
            None => self.add_events(&mut groups, dimensions, filter)?,
        }
        let mut rows: Vec<_> = groups.into_values().collect();
        rows.sort_by(|a, b| b.1.cost.cmp(&a.1.cost).then(b.1.calls.cmp(&a.1.calls)).then(a.0.cmp(&b.0)));
        Ok(rows)
    }

    fn add_hours(
        &mut self,
        groups: &mut Groups,
        dimensions: &[Dimension],
        filter: &Filter,
        attribution: &str,
        first: u64,
        last: u64,
    ) -> Result<(), LedgerError> {
        if first >= last {
            return Ok(());
        }
        let mut values = vec![Value::Text(attribution.to_owned()), clamp(first), clamp(last)];
        let mut query = String::from(
            "SELECT status = 'error', cost_status = 'unpriced', calls, input_tokens, output_tokens,
            cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd",
        );
        for dimension in dimensions {
            query.extend([", ".to_owned(), dimension.over_hours()]);
        }
        query.push_str(" FROM hourly WHERE dimension = ? AND hour >= ? AND hour < ?");
        for condition in &filter.conditions {
            query.extend([" AND ".to_owned(), condition.over(&condition.field.over_hours(), &mut values)]);
        }
        self.add_rows(groups, dimensions, &query, values)
    }

    fn add_events(
        &mut self,
        groups: &mut Groups,
        dimensions: &[Dimension],
        filter: &Filter,
    ) -> Result<(), LedgerError> {
        let mut values = Vec::new();
        let mut query = String::from(
            "SELECT status = 'error', cost_status = 'unpriced', 1, input_tokens, output_tokens,
            cache_read_tokens, cache_write_tokens, reasoning_tokens, ifnull(cost_usd, '0')",
        );
        for dimension in dimensions {
            query.extend([", ".to_owned(), dimension.over_events(&mut values)]);
        }
        query.push_str(" FROM events");
        query.push_str(&filter.clause(&mut values));
        self.add_rows(groups, dimensions, &query, values)
    }

    fn add_rows(
        &mut self,
        groups: &mut Groups,
        dimensions: &[Dimension],
        query: &str,
        values: Vec<Value>,
    ) -> Result<(), LedgerError> {
        const FIRST_DIMENSION: usize = 9;
        let connection = self.connection()?;
        let mut statement = connection.prepare(query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut key = Vec::with_capacity(dimensions.len());
        while let Some(row) = rows.next()? {
            let count = |column: usize| row.get::<_, i64>(column).map(|count| count.max(0) as u64);
            let calls = count(2)?;
            let cost = row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?.parse()?;
            let totals = Totals {
                calls,
                errors: count(0)? * calls,
                unpriced: count(1)? * calls,
                input_tokens: count(3)?,
                output_tokens: count(4)?,
                cache_read_tokens: count(5)?,
                cache_write_tokens: count(6)?,
                reasoning_tokens: count(7)?,
                cost,
            };
            key.clear();
            for (column, dimension) in dimensions.iter().enumerate() {
                key.push(dimension.group(row.get_ref(FIRST_DIMENSION + column)?));
            }
            if let Some((_, sums)) = groups.get_mut(&key) {
                sums.add(&totals);
                continue;
            }
            groups.insert(key.clone(), (key.iter().map(GroupValue::text).collect(), totals));
        }
        Ok(())
    }
}

/// The dimension of `hourly` that answers the report ('' if it uses no attribution); `None` if `hourly` cannot answer it.
fn rollup<'a>(dimensions: &'a [Dimension], filter: &'a Filter) -> Option<&'a str> {
    let mut attribution = "";
    for dimension in dimensions.iter().chain(filter.conditions.iter().map(|condition| &condition.field)) {
        match dimension {
            Dimension::Time(_) => {}
            Dimension::Column(name) if HOURLY_OWN.contains(name) => {}
            Dimension::Column(name)
                if HOURLY_ATTRIBUTION.contains(name) && (attribution.is_empty() || attribution == *name) =>
            {
                attribution = name;
            }
            Dimension::Column(_) | Dimension::Tag(_) => return None,
        }
    }
    Some(attribution)
}

/// The hours from `first` to `last` in which a part of time begins: `hourly` cannot tell which of their events belong to which part.
fn cut_hours(dimensions: &[Dimension], first: u64, last: u64) -> BTreeSet<u64> {
    let edges = dimensions.iter().filter_map(|dimension| match dimension {
        Dimension::Time(edges) => Some(edges),
        Dimension::Column(_) | Dimension::Tag(_) => None,
    });
    let cut = edges.flatten().filter(|edge| *edge % HOUR_NS != 0).map(|edge| edge / HOUR_NS);
    cut.filter(|hour| (first..last).contains(hour)).collect()
}

/// The first and the last whole hour of the period; the last is exclusive.
fn whole_hours(filter: &Filter) -> (u64, u64) {
    let first = filter.since.map_or(0, |since| since.div_ceil(HOUR_NS));
    let last = filter.until.map_or(i64::MAX as u64, |until| until / HOUR_NS);
    (first, last)
}

fn clamp(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
