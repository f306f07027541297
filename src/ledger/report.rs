//! Reports: exact sums of events, grouped by any of their fields.
//!
//! A report by the call's own fields uses `hourly` for the whole hours of its period. Any other report, and the partial hours, read the
//! columns of blocks, and the latest calls, which are in no block yet, from `events`. Few fields, such as trace ids, are in no block: a
//! report by them reads all events of its period.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::addends::{Addends, add_up};
use super::block::{self, Block, COUNTS};
use super::dimension::{Dimension, HOUR_NS, HOURLY_OWN};
use super::error::LedgerError;
use super::filter::Filter;
use super::groups::Groups;
use super::order::{Page, ReportPage, Sums, page_of};
use super::reader::Reader;
use super::scan::{Rows, Scan, column_of};
use super::watch::Watch;
use super::{schema, texts};
use crate::money::Usd;

/// Above this many parts of a period that `hourly` cannot answer, the report reads blocks only.
const MOST_CUTS: usize = 8;

impl Reader {
    /// Sums events by `dimensions`, and makes a page of the rows.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn report(&mut self, dimensions: &[Dimension], filter: &Filter, page: Page) -> Result<ReportPage, LedgerError> {
        self.refresh()?;
        let watch = self.watched_by();
        let mut connection = self.connection()?;
        // One transaction, so that blocks, sums and events are of the same moment.
        let transaction = connection.transaction()?;
        let mut report = Report::new(&transaction, dimensions, watch.as_deref())?;
        report.add(filter)?;
        page_of(&report.groups, &report.sums, page)
    }

    /// Sums all events by `fields` in three ways, at one moment: as reports by `fields`, as reports by another field, too, and from the
    /// rows of the calls. `hourly` has `fields`, and not the other one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn sums_in_three_ways(
        &mut self,
        fields: &[Dimension],
        other: &Dimension,
    ) -> Result<[ReportPage; 3], LedgerError> {
        self.refresh()?;
        let watch = self.watched_by();
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let more: Vec<_> = fields.iter().chain([other]).cloned().collect();
        let all = Filter::default();
        let sums = |dimensions, are_rows: bool| {
            let mut report = Report::new(&transaction, dimensions, watch.as_deref())?;
            if are_rows {
                report.add_events(&all, None)?;
            } else {
                report.add(&all)?;
            }
            page_of(&report.groups, &report.sums, Page::default())
        };
        Ok([sums(fields, false)?, sums(&more, false)?, sums(fields, true)?])
    }
}

/// A report that is being made.
struct Report<'c> {
    connection: &'c Connection,
    dimensions: &'c [Dimension],
    groups: Groups<'c>,
    sums: Vec<Sums>,
    has_blocks: bool,
    watch: Option<&'c Watch>,
}

impl<'c> Report<'c> {
    fn new(
        connection: &'c Connection,
        dimensions: &'c [Dimension],
        watch: Option<&'c Watch>,
    ) -> Result<Self, LedgerError> {
        let has_blocks = schema::has_blocks(connection)?;
        let groups = Groups::new(connection, dimensions, has_blocks);
        Ok(Self { connection, dimensions, groups, sums: Vec::new(), has_blocks, watch })
    }

    /// Adds the events of the filter: whole hours from `hourly` if that has all fields, else calls.
    fn add(&mut self, filter: &Filter) -> Result<(), LedgerError> {
        let (first, last) = whole_hours(filter);
        let cuts = cut_hours(self.dimensions, first, last);
        let uses_hours = uses_hours(self.dimensions, filter) && first < last && cuts.len() <= MOST_CUTS;
        if !uses_hours || !self.has_blocks {
            return self.add_calls(filter);
        }
        let hour = |hour: u64| Some(hour.saturating_mul(HOUR_NS));
        let mut next = first;
        for cut in cuts {
            self.add_hours(filter, next, cut)?;
            let (since, until) = (hour(cut), hour(cut + 1));
            self.add_calls(&Filter { since, until, ..filter.clone() })?;
            next = cut + 1;
        }
        self.add_hours(filter, next, last)?;
        for (since, until) in [(filter.since, hour(first)), (hour(last), filter.until)] {
            if since.is_some() && until.is_some() && since < until {
                self.add_calls(&Filter { since, until, ..filter.clone() })?;
            }
        }
        Ok(())
    }

    fn add_hours(&mut self, filter: &Filter, first: u64, last: u64) -> Result<(), LedgerError> {
        if first >= last {
            return Ok(());
        }
        let mut values = vec![clamp(first), clamp(last)];
        let mut query = format!(
            "SELECT status = 'error', cost_status = 'unpriced', calls, {}, cost_usd, cache_saved_usd",
            COUNTS.join(", ")
        );
        for dimension in self.dimensions {
            query.extend([", ".to_owned(), dimension.over_hours()]);
        }
        query.push_str(" FROM hourly WHERE hour >= ? AND hour < ?");
        for condition in &filter.conditions {
            query.extend([" AND ".to_owned(), condition.over(&condition.field.over_hours(), &mut values)]);
        }
        self.add_rows(&query, values)
    }

    /// Adds calls: those of blocks from their columns, the others from `events`.
    fn add_calls(&mut self, filter: &Filter) -> Result<(), LedgerError> {
        let scan = if self.has_blocks && self.groups.is_packed() { Scan::new(filter) } else { None };
        let Some(mut scan) = scan else { return self.add_events(filter, None) };
        let blocks = block::all(self.connection)?;
        let sums = add_up(blocks.len(), |add| {
            for block in &blocks {
                self.watch.map_or(Ok(()), Watch::check)?;
                let rows = scan.select(self.connection, block)?;
                if !rows.is_empty() {
                    add(self.addends(block, rows)?);
                }
            }
            Ok(())
        })?;
        self.sums.resize(self.groups.len(), Sums::default());
        self.sums.iter_mut().zip(&sums).for_each(|(all, sums)| all.add(sums));
        let covered = block::covered(self.connection)?;
        self.add_events(filter, Some(covered))
    }

    fn addends(&mut self, block: &Block, rows: Rows) -> Result<Addends, LedgerError> {
        let groups = self.groups.of_calls(block, &rows)?;
        let mut columns = Vec::new();
        for (index, counts) in (0..COUNTS.len()).map(|column| (3 + column, block.counts(self.connection, column))) {
            columns.extend(counts?.map(|counts| (index, counts)));
        }
        for (index, field, value) in [(1, "status", "error"), (2, "cost_status", "unpriced")] {
            columns.extend(self.flags(block, field, value)?.map(|flags| (index, flags)));
        }
        let (costs, saved) = (block.costs(self.connection)?, block.saved(self.connection)?);
        Ok(Addends { count: self.groups.len(), groups, rows, columns, costs, saved })
    }

    /// For each call 1 if a field has a value, else 0; `None` if no call has it.
    fn flags(&self, block: &Block, field: &'static str, value: &str) -> Result<Option<Vec<u64>>, LedgerError> {
        let column = column_of(&Dimension::Column(field)).ok_or(LedgerError::BadBlock)?;
        let texts = block.texts(self.connection, column)?;
        let Some(number) = texts::find(self.connection, value)? else { return Ok(None) };
        let Some(index) = texts.values.iter().position(|value| *value == number) else { return Ok(None) };
        if texts.rows.is_empty() {
            return Ok(Some(vec![1; block.calls]));
        }
        Ok(Some(texts.rows.iter().map(|row| u64::from(*row == index as u64)).collect()))
    }

    /// Adds calls from `events`: those after a sequence number, or all.
    fn add_events(&mut self, filter: &Filter, after: Option<i64>) -> Result<(), LedgerError> {
        let mut values = Vec::new();
        let saved = if self.has_blocks { "ifnull(cache_saved_usd, '0')" } else { "'0'" };
        let mut query = format!(
            "SELECT status = 'error', cost_status = 'unpriced', 1, {}, ifnull(cost_usd, '0'), {saved}",
            COUNTS.join(", ")
        );
        for dimension in self.dimensions {
            query.extend([", ".to_owned(), dimension.over_events(&mut values)]);
        }
        // The index of times would be slower for the calls after a sequence number.
        query.push_str(if after.is_some() { " FROM events NOT INDEXED" } else { " FROM events" });
        query.push_str(&match after {
            Some(after) => filter.clause_after(after, &mut values),
            None => filter.clause(&mut values),
        });
        self.add_rows(&query, values)
    }

    fn add_rows(&mut self, query: &str, values: Vec<Value>) -> Result<(), LedgerError> {
        const FIRST_DIMENSION: usize = 10;
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let count = |column: usize| row.get::<_, i64>(column).map(|count| count.max(0) as u64);
            let amount = |column: usize| -> Result<i128, LedgerError> {
                Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?.parse::<Usd>()?.units())
            };
            let calls = count(2)?;
            let mut sums = Sums { counts: [0; 8], cost: amount(8)?, saved: amount(9)? };
            sums.counts =
                [calls, count(0)? * calls, count(1)? * calls, count(3)?, count(4)?, count(5)?, count(6)?, count(7)?];
            let group = self.groups.of_row(row, FIRST_DIMENSION)? as usize;
            if group == self.sums.len() {
                self.sums.push(Sums::default());
            }
            self.sums[group].add(&sums);
        }
        Ok(())
    }
}

/// Whether `hourly` has all fields of the report.
fn uses_hours(dimensions: &[Dimension], filter: &Filter) -> bool {
    dimensions.iter().chain(filter.conditions.iter().map(|condition| &condition.field)).all(|field| match field {
        Dimension::Time(_) => true,
        Dimension::Column(name) => HOURLY_OWN.contains(name),
        Dimension::Tag(_) => false,
    })
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
