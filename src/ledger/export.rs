//! Writes events as JSON lines or CSV, in blocks.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::value::Value as Json;

use super::block::covered;
use super::cells::{Clock, Kind, cell, csv_value, json_value, write_counts};
use super::encoded::Encoded;
use super::error::LedgerError;
use super::filter::Filter;
use super::reader::Reader;
use super::rows::{Columns as Source, Field};
use super::schema;
use super::texts::ABSENT;
use crate::event::json::write_milliseconds;

/// The form of exported events.
#[derive(Clone, Debug)]
pub enum Format {
    /// A JSON object a line. Absent fields are left out, except the cost.
    JsonLines,
    /// A row a line.
    Csv {
        /// The columns in their order. A column that the ledger does not have is empty.
        columns: Vec<String>,
        /// Whether texts stay as they are, even if a spreadsheet would run them as formulas.
        is_raw: bool,
    },
}

impl Format {
    /// A number below 4 that differs where texts are written differently.
    fn code(&self) -> u64 {
        match self {
            Self::JsonLines => 0,
            Self::Csv { is_raw, .. } => 1 + u64::from(*is_raw),
        }
    }
}

/// A column, and what is written before its value.
struct Column {
    index: usize,
    kind: Kind,
    /// `,"name":` in JSON.
    key: Vec<u8>,
}

/// A block of exported events.
#[derive(Debug, Default)]
pub struct Block {
    /// The lines.
    pub bytes: Vec<u8>,
    /// How many events they have.
    pub events: u64,
    /// The sequence number of the last one.
    pub last: i64,
}

impl Reader {
    /// The next events after a sequence number, in order of arrival: at most `limit`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn export(&mut self, filter: &Filter, format: &Format, after: i64, limit: usize) -> Result<Block, LedgerError> {
        self.refresh()?;
        let mut encoded = std::mem::take(&mut self.encoded);
        let of = self.files() << 2 | format.code();
        let block = self.export_with(&mut encoded, of, filter, format, after, limit);
        if block.is_ok() {
            self.encoded = encoded;
        }
        block
    }

    /// At most `limit` events after a sequence number, in order of arrival, each as a JSON object, and the sequence number of the last one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn events(&mut self, filter: &Filter, after: i64, limit: usize) -> Result<(Vec<String>, i64), LedgerError> {
        let block = self.export(filter, &Format::JsonLines, after, limit)?;
        let lines = String::from_utf8_lossy(&block.bytes);
        Ok((lines.lines().map(str::to_owned).collect(), block.last))
    }

    fn export_with(
        &mut self,
        encoded: &mut Encoded,
        of: u64,
        filter: &Filter,
        format: &Format,
        after: i64,
        limit: usize,
    ) -> Result<Block, LedgerError> {
        let mut connection = self.connection()?;
        // One transaction, so that blocks, rows and their texts are of the same moment.
        let connection = connection.transaction()?;
        encoded.begin(&connection, of)?;
        let mut block = Block { last: after, ..Block::default() };
        let mut from = after;
        if schema::has_calls(&connection)? {
            let covered = covered(&connection)?;
            if after < covered {
                let source = Source::of_blocks(&connection, after)?;
                Encoder::new(source, format, encoded).page(&connection, filter, (after, covered), limit, &mut block)?;
                from = covered;
            }
        }
        let left = limit.saturating_sub(block.events as usize);
        // The calls after them are in no block.
        if left > 0 {
            let source = Source::of(&connection, None)?;
            Encoder::new(source, format, encoded).page(&connection, filter, (from, i64::MAX), left, &mut block)?;
        }
        Ok(block)
    }
}

struct Encoder<'e> {
    source: Source,
    /// `None` for a column of CSV that the ledger does not have.
    columns: Vec<Option<Column>>,
    is_csv: bool,
    is_raw: bool,
    clock: Clock,
    cell: Vec<u8>,
    encoded: &'e mut Encoded,
}

impl<'e> Encoder<'e> {
    fn new(source: Source, format: &Format, encoded: &'e mut Encoded) -> Self {
        let names = &source.names;
        let column = |name: &String, index: usize| Column {
            index,
            kind: Kind::of(name),
            key: format!(",{}:", Json::from(name.as_str())).into_bytes(),
        };
        let columns = match format {
            Format::JsonLines => {
                let mut sorted: Vec<_> = names.iter().enumerate().filter(|(_, name)| *name != "seq").collect();
                sorted.sort_by_key(|(_, name)| *name);
                sorted.into_iter().map(|(index, name)| Some(column(name, index))).collect()
            }
            Format::Csv { columns, .. } => {
                let place = |wanted: &String| names.iter().position(|name| name == wanted);
                columns.iter().map(|wanted| place(wanted).map(|index| column(wanted, index))).collect()
            }
        };
        let (is_csv, is_raw) = match format {
            Format::JsonLines => (false, true),
            Format::Csv { is_raw, .. } => (true, *is_raw),
        };
        Self { source, columns, is_csv, is_raw, clock: Clock::default(), cell: Vec::new(), encoded }
    }

    /// Writes the events after a sequence number up to another one: at most `limit`.
    fn page(
        &mut self,
        connection: &Connection,
        filter: &Filter,
        (after, end): (i64, i64),
        limit: usize,
        block: &mut Block,
    ) -> Result<(), LedgerError> {
        let mut values = Vec::new();
        let clause = self.source.clause(connection, filter, &mut values)?;
        let joint = if clause.is_empty() { " WHERE" } else { " AND" };
        let (list, table) = (&self.source.list, self.source.table);
        let query = format!("SELECT {list} FROM {table}{clause}{joint} seq > ? AND seq <= ? ORDER BY seq LIMIT ?");
        values.extend([after, end, i64::try_from(limit).unwrap_or(i64::MAX)].map(Value::Integer));
        let mut statement = connection.prepare(&query)?;
        let sequence = self.source.names.iter().position(|name| name == "seq");
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if let Some(sequence) = sequence {
                block.last = row.get(sequence)?;
            }
            self.source.begin(connection, row)?;
            if self.is_csv {
                self.csv(connection, row, &mut block.bytes)
            } else {
                self.json(connection, row, &mut block.bytes)
            }?;
            block.events += 1;
        }
        Ok(())
    }

    fn json(&mut self, connection: &Connection, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        let begin = out.len();
        for (place, column) in self.columns.iter().enumerate() {
            let Some(column) = column else { continue };
            match self.source.field(row, column.index)? {
                Field::Value(ValueRef::Null) if column.kind == Kind::Cost => {
                    out.extend_from_slice(&column.key);
                    out.extend_from_slice(b"null");
                }
                Field::Value(ValueRef::Null) | Field::Text { number: ABSENT, is_required: false } => {}
                Field::Value(value) => {
                    out.extend_from_slice(&column.key);
                    json_value(column.kind, value, &mut self.clock, out);
                }
                Field::Text { number: ABSENT, is_required: true } => {
                    out.extend_from_slice(&column.key);
                    out.extend_from_slice(b"\"\"");
                }
                Field::Text { number, .. } => {
                    let clock = &mut self.clock;
                    let encode = |text: &str, out: &mut Vec<u8>| {
                        out.extend_from_slice(&column.key);
                        json_value(column.kind, ValueRef::Text(text.as_bytes()), clock, out);
                    };
                    self.encoded.write(connection, place, number, encode, out)?;
                }
                Field::Microseconds(us) => {
                    out.extend_from_slice(&column.key);
                    write_milliseconds(out, us);
                }
                Field::Counts(counts) => {
                    out.extend_from_slice(&column.key);
                    write_counts(&counts, out);
                }
            }
        }
        // The comma before the first key.
        match out.get_mut(begin) {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn csv(&mut self, connection: &Connection, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        for (place, column) in self.columns.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let Some(column) = column else { continue };
            match self.source.field(row, column.index)? {
                Field::Value(value) => csv_value(column.kind, value, self.is_raw, &mut self.clock, &mut self.cell, out),
                Field::Text { number: ABSENT, .. } => {}
                Field::Text { number, .. } => {
                    let (is_raw, clock, scratch) = (self.is_raw, &mut self.clock, &mut self.cell);
                    let encode = |text: &str, out: &mut Vec<u8>| {
                        csv_value(column.kind, ValueRef::Text(text.as_bytes()), is_raw, clock, scratch, out);
                    };
                    self.encoded.write(connection, place, number, encode, out)?;
                }
                Field::Microseconds(us) => write_milliseconds(out, us),
                Field::Counts(counts) => {
                    self.cell.clear();
                    write_counts(&counts, &mut self.cell);
                    cell(&self.cell, self.is_raw, out);
                }
            }
        }
        out.push(b'\n');
        Ok(())
    }
}
