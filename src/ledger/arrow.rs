//! The events of a ledger as batches of Arrow arrays, for data frames and databases.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::column::{Builder, COLUMNS, Kind, invalid};
use super::error::LedgerError;
use super::filter::Filter;
use super::reader::Reader;
use super::rows::Columns;
use crate::money::Usd;

/// The names of the columns of an event, in order.
pub fn scan_columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(name, _)| *name)
}

/// The events of a ledger, batch by batch. Each batch is read when it is asked for.
pub struct Scan {
    reader: Reader,
    /// The files that the reader had read when the scan began. Another one has other sequence numbers.
    files: u64,
    filter: Filter,
    /// Whether the events are in the order of time, which the ledger has an index of, instead of the order of arrival.
    by_time: bool,
    /// The time and the sequence number of the last event that was read.
    after: (i64, i64),
    /// The last sequence number when the scan began. Later events are not part of it.
    last: i64,
    /// The rows of a batch.
    rows: usize,
    is_done: bool,
    columns: Vec<(&'static str, Kind)>,
    schema: SchemaRef,
}

impl Scan {
    /// Begins to read the events of a ledger: in the order of time if the filter has a time, else in the order of arrival.
    ///
    /// # Errors
    /// If a column is unknown, or the file is not a ledger or cannot be read.
    pub fn open(path: &Path, names: &[String], mut filter: Filter, rows: usize) -> Result<Self, LedgerError> {
        let column = |name: &String| COLUMNS.iter().find(|(known, _)| known == name).copied();
        let unknown = |name: &String| LedgerError::Query(format!("columns: there is no {name:?}"));
        let columns =
            names.iter().map(|name| column(name).ok_or_else(|| unknown(name))).collect::<Result<Vec<_>, _>>()?;
        let schema = columns.iter().map(|(name, kind)| Field::new(*name, kind.data_type(), true)).collect::<Vec<_>>();
        let mut reader = Reader::open(path)?;
        let last = reader.last_sequence()?;
        reader.close_idle();
        let by_time = filter.since.is_some() || filter.until.is_some();
        // A batch begins after an event, so the beginning of the period is an event that does not exist.
        let since = filter.since.take().map_or(0, |since| i64::try_from(since).unwrap_or(i64::MAX));
        Ok(Self {
            files: reader.files(),
            reader,
            filter,
            by_time,
            after: (since, -1),
            last,
            rows,
            is_done: false,
            columns,
            schema: Arc::new(Schema::new(schema)),
        })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, LedgerError> {
        let batch = self.read();
        // While the file is open, other programs cannot do what needs exclusive access.
        self.reader.close_idle();
        batch
    }

    fn read(&mut self) -> Result<Option<RecordBatch>, LedgerError> {
        self.reader.refresh()?;
        if self.reader.files() != self.files {
            return Err(LedgerError::Query("the ledger's file was replaced during the scan; begin a new one".into()));
        }
        let mut builders: Vec<Builder> = self.columns.iter().map(|(_, kind)| Builder::new(*kind)).collect();
        let (mut count, mut after) = (0, self.after);
        {
            let mut connection = self.reader.connection()?;
            // One transaction, so that rows and their texts are of the same moment.
            let connection = connection.transaction()?;
            let names: Vec<_> =
                ["seq", "started_at"].into_iter().chain(self.columns.iter().map(|(name, _)| *name)).collect();
            let mut source = Columns::of(&connection, Some(&names))?;
            let mut values = Vec::new();
            let clause = source.clause(&connection, &self.filter, &mut values)?;
            let joint = if clause.is_empty() { " WHERE" } else { " AND" };
            let (position, order) = if self.by_time {
                values.push(Value::Integer(self.after.0));
                ("(started_at, seq) > (?, ?)", "started_at, seq")
            } else {
                ("seq > ?", "seq")
            };
            let (list, table) = (&source.list, source.table);
            let query =
                format!("SELECT {list} FROM {table}{clause}{joint} {position} AND seq <= ? ORDER BY {order} LIMIT ?");
            let limit = i64::try_from(self.rows).unwrap_or(i64::MAX);
            values.extend([self.after.1, self.last, limit].map(Value::Integer));
            let mut statement = connection.prepare(&query)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                after = (row.get(1)?, row.get(0)?);
                for (index, builder) in builders.iter_mut().enumerate() {
                    builder.append(source.value(&connection, row, index + 2)?)?;
                }
                count += 1;
            }
        }
        self.after = after;
        self.is_done = count < self.rows;
        if count == 0 {
            return Ok(None);
        }
        let arrays = builders.iter_mut().map(Builder::finish).collect();
        RecordBatch::try_new(self.schema.clone(), arrays).map(Some).map_err(invalid)
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let batch = self.batch();
        self.is_done |= batch.is_err();
        batch.map_err(|error| ArrowError::ExternalError(Box::new(error))).transpose()
    }
}

impl RecordBatchReader for Scan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Cells of a column of a report.
pub enum Cells {
    /// Values of a field.
    Words(Vec<Option<String>>),
    /// Counts.
    Counts(Vec<i64>),
    /// Amounts; `None` is unknown.
    Money(Vec<Option<Usd>>),
}

/// The rows of a report as one batch.
///
/// # Errors
/// If the columns have different lengths, or an amount has more than 38 digits.
pub fn table(columns: Vec<(String, Cells)>) -> Result<RecordBatch, LedgerError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, cells) in columns {
        let kind = match cells {
            Cells::Words(_) => Kind::Word,
            Cells::Counts(_) => Kind::Count,
            Cells::Money(_) => Kind::Money,
        };
        fields.push(Field::new(name, kind.data_type(), true));
        let mut builder = Builder::new(kind);
        match cells {
            Cells::Words(words) => words.iter().for_each(|word| builder.append_word(word.as_deref())),
            Cells::Counts(counts) => counts.iter().for_each(|count| builder.append_count(*count)),
            Cells::Money(amounts) => {
                amounts.iter().try_for_each(|amount| builder.append_money(*amount))?;
            }
        }
        arrays.push(builder.finish());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(invalid)
}
