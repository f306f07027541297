//! Writes events as JSON lines or CSV, in blocks.

use std::io::Write;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde::de::IgnoredAny;
use serde_json::value::Value as Json;

use super::error::LedgerError;
use super::filter::Filter;
use super::reader::Reader;
use super::rows::Columns as Source;
use crate::event::json::time_text;

/// The characters with which a spreadsheet lets a formula begin.
const FORMULA: &[u8] = b"=+-@\t\r";
const NANOSECONDS: u64 = 1_000_000_000;

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

/// How the values of a column are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The number of the row, which is not written.
    Sequence,
    Time,
    Flag,
    /// Names by comma, which become a list.
    Names,
    /// A text with JSON in it.
    Nested,
    /// Written even if it is absent.
    Cost,
    Plain,
}

impl Kind {
    fn of(column: &str) -> Self {
        match column {
            "seq" => Self::Sequence,
            "started_at" => Self::Time,
            "batch" => Self::Flag,
            "cost_notes" => Self::Names,
            "usage" | "provider_usage" | "tags" => Self::Nested,
            "cost_usd" => Self::Cost,
            _ => Self::Plain,
        }
    }
}

/// A column of the statement, and what is written before its value.
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
        let mut connection = self.connection()?;
        // One transaction, so that rows and their texts are of the same moment.
        let connection = connection.transaction()?;
        let source = Source::of(&connection, None)?;
        let mut values = Vec::new();
        let clause = source.clause(&connection, filter, &mut values)?;
        let joint = if clause.is_empty() { " WHERE" } else { " AND" };
        let query = format!("SELECT {} FROM {}{clause}{joint} seq > ? ORDER BY seq LIMIT ?", source.list, source.table);
        values.extend([after, i64::try_from(limit).unwrap_or(i64::MAX)].map(Value::Integer));
        let mut statement = connection.prepare(&query)?;
        let sequence = source.names.iter().position(|name| name == "seq");
        let mut encoder = Encoder::new(source, format);
        let mut block = Block { last: after, ..Block::default() };
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if let Some(sequence) = sequence {
                block.last = row.get(sequence)?;
            }
            encoder.row(&connection, row, &mut block.bytes)?;
            block.events += 1;
        }
        Ok(block)
    }
}

struct Encoder {
    source: Source,
    /// `None` for a column of CSV that the ledger does not have.
    columns: Vec<Option<Column>>,
    is_csv: bool,
    is_raw: bool,
    clock: Clock,
    cell: Vec<u8>,
}

impl Encoder {
    fn new(source: Source, format: &Format) -> Self {
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
        Self { source, columns, is_csv, is_raw, clock: Clock::default(), cell: Vec::new() }
    }

    fn row(&mut self, connection: &Connection, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        if self.is_csv { self.csv(connection, row, out) } else { self.json(connection, row, out) }
    }

    fn json(&mut self, connection: &Connection, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), LedgerError> {
        let begin = out.len();
        for column in self.columns.iter().flatten() {
            let value = self.source.value(connection, row, column.index)?;
            if value != ValueRef::Null {
                out.extend_from_slice(&column.key);
                json_value(column.kind, value, &mut self.clock, out);
            } else if column.kind == Kind::Cost {
                out.extend_from_slice(&column.key);
                out.extend_from_slice(b"null");
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
            match (column.kind, self.source.value(connection, row, column.index)?) {
                (_, ValueRef::Null) => {}
                (Kind::Time, ValueRef::Integer(ns)) => self.clock.write(ns.max(0) as u64, out),
                (Kind::Flag, ValueRef::Integer(flag)) => {
                    out.extend_from_slice(if flag == 0 { b"False" } else { b"True" });
                }
                (Kind::Plain | Kind::Cost, ValueRef::Text(text)) => cell(text, self.is_raw, out),
                (Kind::Names | Kind::Nested, value) => {
                    self.cell.clear();
                    json_value(column.kind, value, &mut self.clock, &mut self.cell);
                    cell(&self.cell, self.is_raw, out);
                }
                (kind, value) => json_value(kind, value, &mut self.clock, out),
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

fn json_value(kind: Kind, value: ValueRef<'_>, clock: &mut Clock, out: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Time, ValueRef::Integer(ns)) => {
            out.push(b'"');
            clock.write(ns.max(0) as u64, out);
            out.push(b'"');
        }
        (Kind::Flag, ValueRef::Integer(flag)) => out.extend_from_slice(if flag == 0 { b"false" } else { b"true" }),
        (Kind::Names, ValueRef::Text(names)) => {
            let names: Json = String::from_utf8_lossy(names).split(',').collect();
            write_json(&names, out);
        }
        (Kind::Nested, ValueRef::Text(text)) => nested(text, out),
        (_, ValueRef::Integer(number)) => write_json(&number, out),
        (_, ValueRef::Real(number)) => write_json(&number, out),
        (_, ValueRef::Text(text)) => match std::str::from_utf8(text) {
            Ok(text) => write_json(text, out),
            Err(_) => write_json(&*String::from_utf8_lossy(text), out),
        },
        (_, ValueRef::Null | ValueRef::Blob(_)) => out.extend_from_slice(b"null"),
    }
}

/// Writes a value. Writing into memory does not fail, and these values have no keys that could be invalid.
fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}

/// Writes a stored JSON text as it is, if it is one and has no line breaks. Other tools may have written something else.
fn nested(text: &[u8], out: &mut Vec<u8>) {
    let is_one_line = text.iter().all(|byte| *byte >= b' ');
    if is_one_line && std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
        out.extend_from_slice(text);
    } else {
        write_json(&serde_json::from_slice::<Json>(text).unwrap_or(Json::Null), out);
    }
}

/// Writes a text as a cell of CSV: safe for a terminal and a spreadsheet, unless it is to stay as it is.
fn cell(text: &[u8], is_raw: bool, out: &mut Vec<u8>) {
    let begin = out.len();
    if !is_raw && text.first().is_some_and(|first| FORMULA.contains(first)) {
        out.push(b'\'');
    }
    if is_raw || text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        match std::str::from_utf8(text) {
            Ok(_) => out.extend_from_slice(text),
            Err(_) => out.extend_from_slice(String::from_utf8_lossy(text).as_bytes()),
        }
    } else {
        String::from_utf8_lossy(text).chars().for_each(|character| printable(character, out));
    }
    if out[begin..].iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        let plain = out.split_off(begin);
        out.push(b'"');
        for byte in plain {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// Writes a character, or an escape such as `\x1b` if it is not printable: as `taximeter.sanitize.printable`.
fn printable(character: char, out: &mut Vec<u8>) {
    let code = u32::from(character);
    let is_printable = match character {
        ' '..='~' => true,
        '\0'..='\u{a0}' => false,
        // As part of a text, marks that combine with the character before are not escaped.
        _ => {
            let mut buffer = [b'.', 0, 0, 0, 0];
            let length = 1 + character.encode_utf8(&mut buffer[1..]).len();
            let text = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
            text.escape_debug().nth(1) != Some('\\')
        }
    };
    let mut utf8 = [0; 4];
    let _ = match character {
        _ if is_printable => out.write(character.encode_utf8(&mut utf8).as_bytes()).map(drop),
        '\n' => out.write_all(b"\\n"),
        '\r' => out.write_all(b"\\r"),
        '\t' => out.write_all(b"\\t"),
        _ if code <= 0xff => write!(out, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Writes times. Neighbours have most digits in common.
#[derive(Default)]
struct Clock {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Clock {
    fn write(&mut self, unix_ns: u64, out: &mut Vec<u8>) {
        let second = unix_ns / NANOSECONDS;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = time_text(second * NANOSECONDS).into_bytes();
            // Without the fraction.
            self.text.truncate(20);
        }
        out.extend_from_slice(&self.text);
        let mut digits = [b'0'; 9];
        let mut rest = unix_ns % NANOSECONDS;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}
