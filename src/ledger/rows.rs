//! Reads the columns of `events` where they are stored. The view `events` looks up each text of each row; this looks up each text once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;

use foldhash::fast::RandomState;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};

use super::block::COUNTS;
use super::dimension::is_numbered;
use super::error::LedgerError;
use super::filter::Filter;
use super::hours::USAGE_NAMES;
use super::unpacked::{Part, Unpacked};
use super::{schema, texts};

/// The columns of `events`.
const NAMES: [&str; 40] = [
    "seq",
    "id",
    "started_at",
    "provider",
    "model",
    "operation",
    "status",
    "error",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "usage",
    "usage_status",
    "cost_usd",
    "cost_status",
    "computed_cost_usd",
    "priced_as",
    "catalog",
    "latency_ms",
    "ttft_ms",
    "service_tier",
    "region",
    "batch",
    "agent",
    "feature",
    "team",
    "customer",
    "user",
    "session",
    "tags",
    "trace_id",
    "span_id",
    "parent_span_id",
    "cost_notes",
    "provider_usage",
    "call_id",
    "cache_saved_usd",
];
/// The texts that every call has. An empty one has no number.
const REQUIRED: [&str; 4] = ["provider", "model", "operation", "usage_status"];
/// The most texts that are kept: some megabytes.
const MOST: usize = 100_000;

/// How a value of `events` is made. Numbers are those of the statement's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Plain(usize),
    /// The number of a text.
    Text {
        column: usize,
        is_required: bool,
    },
    Microseconds(usize),
    /// JSON, or made from the counts if it is absent.
    Usage(usize),
    /// A value of a block.
    Packed {
        part: Part,
        is_required: bool,
    },
}

/// A value of a row, before it is made.
pub(super) enum Field<'a> {
    Value(ValueRef<'a>),
    /// The number of a text. An absent one that is required is an empty text.
    Text {
        number: u32,
        is_required: bool,
    },
    /// A duration.
    Microseconds(u64),
    /// Usage that has only the counts of [`COUNTS`].
    Counts([u64; COUNTS.len()]),
}

/// Columns of `events`, and where their values are.
pub(super) struct Columns {
    /// Their names.
    pub(super) names: Vec<String>,
    /// What a statement selects for them.
    pub(super) list: String,
    /// The table from which it selects.
    pub(super) table: &'static str,
    sources: Vec<Source>,
    /// Where the counts are, if the usage may be made from them.
    counts: [usize; COUNTS.len()],
    /// Has the values that are not in the statement.
    unpacked: Option<Unpacked>,
    texts: HashMap<u32, Box<str>, RandomState>,
    usage: String,
}

impl Columns {
    /// The columns with these names, or all. One that a file of an earlier version does not have is absent in all rows.
    pub(super) fn of(connection: &Connection, wanted: Option<&[&str]>) -> Result<Self, LedgerError> {
        if schema::has_calls(connection)? { Ok(Self::of_calls(wanted)) } else { Self::of_events(connection, wanted) }
    }

    fn new(names: Vec<String>, list: String, table: &'static str, sources: Vec<Source>) -> Self {
        let (counts, texts, usage) = ([0; COUNTS.len()], HashMap::default(), String::new());
        Self { names, list, table, sources, counts, unpacked: None, texts, usage }
    }

    fn of_calls(wanted: Option<&[&str]>) -> Self {
        let names = owned(wanted.unwrap_or(&NAMES));
        let sources: Vec<_> = names.iter().enumerate().map(|(column, name)| source(name, column)).collect();
        let mut stored: Vec<_> = names.iter().zip(&sources).map(|(name, source)| stored_name(name, *source)).collect();
        let mut counts = [0; COUNTS.len()];
        if sources.iter().any(|source| matches!(source, Source::Usage(_))) {
            for (place, count) in counts.iter_mut().zip(COUNTS) {
                *place = stored.iter().position(|name| name == count).unwrap_or(stored.len());
                if *place == stored.len() {
                    stored.push(count.to_owned());
                }
            }
        }
        Self { counts, ..Self::new(names, stored.join(", "), "calls", sources) }
    }

    /// All columns, of calls after a sequence number that are in blocks, in the order of these numbers. The first is that number.
    pub(super) fn of_blocks(connection: &Connection, after: i64) -> Result<Self, LedgerError> {
        let names = owned(&NAMES);
        let (mut stored, mut parts) = (Vec::new(), Vec::new());
        let sources = names.iter().map(|name| {
            if let Some(part) = Part::of(name) {
                parts.push(part);
                return Source::Packed { part, is_required: REQUIRED.contains(&name.as_str()) };
            }
            let source = source(name, stored.len());
            stored.push(stored_name(name, source));
            source
        });
        let sources = sources.collect();
        let unpacked = Some(Unpacked::new(connection, after, parts)?);
        Ok(Self { unpacked, ..Self::new(names, stored.join(", "), "calls", sources) })
    }

    fn of_events(connection: &Connection, wanted: Option<&[&str]>) -> Result<Self, LedgerError> {
        let mut present = connection.prepare("SELECT name FROM pragma_table_info('events')")?;
        let present: Vec<String> = present.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        let column = |name: &String| if present.contains(name) { name.clone() } else { "NULL".to_owned() };
        let names = wanted.map_or_else(|| present.clone(), owned);
        let list = names.iter().map(column).collect::<Vec<_>>().join(", ");
        let sources = (0..names.len()).map(Source::Plain).collect();
        Ok(Self::new(names, list, "events", sources))
    }

    /// The WHERE clause of a filter over the table. Appends its parameters to `values`.
    pub(super) fn clause(
        &self,
        connection: &Connection,
        filter: &Filter,
        values: &mut Vec<Value>,
    ) -> Result<String, LedgerError> {
        if self.table == "calls" { filter.clause_over_calls(connection, values) } else { Ok(filter.clause(values)) }
    }

    /// Has to be called for each row of [`Self::of_blocks`] before its values are read.
    pub(super) fn begin(&mut self, connection: &Connection, row: &Row<'_>) -> Result<(), LedgerError> {
        match &mut self.unpacked {
            Some(unpacked) => unpacked.seek(connection, row.get(0)?),
            None => Ok(()),
        }
    }

    /// The value of a row in the column with this index, before it is made.
    #[inline]
    pub(super) fn field<'a>(&self, row: &'a Row<'_>, index: usize) -> Result<Field<'a>, LedgerError> {
        Ok(match self.sources[index] {
            Source::Plain(column) => Field::Value(row.get_ref(column)?),
            Source::Text { column, is_required } => match row.get_ref(column)? {
                ValueRef::Integer(number) => Field::Text { number: u32::try_from(number).unwrap_or(0), is_required },
                _ => Field::Value(ValueRef::Null),
            },
            Source::Microseconds(column) => match row.get_ref(column)? {
                ValueRef::Integer(us) => match u64::try_from(us) {
                    Ok(us) => Field::Microseconds(us),
                    Err(_) => Field::Value(ValueRef::Real(us as f64 / 1000.0)),
                },
                _ => Field::Value(ValueRef::Null),
            },
            Source::Usage(column) => match row.get_ref(column)? {
                ValueRef::Null => Field::Counts(self.counts(row)?),
                value => Field::Value(value),
            },
            Source::Packed { part, is_required } => match &self.unpacked {
                Some(unpacked) => packed(unpacked, part, is_required),
                None => Field::Value(ValueRef::Null),
            },
        })
    }

    fn counts(&self, row: &Row<'_>) -> Result<[u64; COUNTS.len()], LedgerError> {
        let mut counts = [0; COUNTS.len()];
        for (index, count) in counts.iter_mut().enumerate() {
            *count = match &self.unpacked {
                Some(unpacked) => unpacked.count(index),
                None => row.get::<_, i64>(self.counts[index])?.max(0) as u64,
            };
        }
        Ok(counts)
    }

    /// The value of a row in the column with this index.
    pub(super) fn value<'a>(
        &'a mut self,
        connection: &Connection,
        row: &'a Row<'_>,
        index: usize,
    ) -> Result<ValueRef<'a>, LedgerError> {
        Ok(match self.field(row, index)? {
            Field::Value(value) => value,
            Field::Text { number, is_required } => match self.text(connection, number)? {
                None if is_required => ValueRef::Text(b""),
                text => text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
            },
            Field::Microseconds(us) => ValueRef::Real(us as f64 / 1000.0),
            Field::Counts(counts) => {
                self.usage.clear();
                write_counts(&counts, &mut self.usage);
                ValueRef::Text(self.usage.as_bytes())
            }
        })
    }

    fn text(&mut self, connection: &Connection, number: u32) -> Result<Option<&str>, LedgerError> {
        if number == texts::ABSENT {
            return Ok(None);
        }
        if self.texts.len() >= MOST {
            self.texts.clear();
        }
        Ok(match self.texts.entry(number) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => {
                texts::known(connection, number)?.map(|text| &**unknown.insert(text.into_boxed_str()))
            }
        })
    }
}

fn packed<'a>(unpacked: &Unpacked, part: Part, is_required: bool) -> Field<'a> {
    match part {
        Part::Text(column) => Field::Text { number: unpacked.text(column), is_required },
        Part::Count(column) => Field::Value(ValueRef::Integer(unpacked.count(column) as i64)),
        Part::Time => Field::Value(ValueRef::Integer(unpacked.time() as i64)),
        Part::Latency | Part::FirstToken => match unpacked.duration(part) {
            Some(us) => Field::Microseconds(us),
            None => Field::Value(ValueRef::Null),
        },
    }
}

/// Writes the usage of a call that has only these counts: the same text as the view's.
fn write_counts(counts: &[u64; COUNTS.len()], usage: &mut String) {
    let mut comma = '{';
    for (name, count) in USAGE_NAMES.iter().zip(counts).filter(|(_, count)| **count != 0) {
        let _ = write!(usage, "{comma}\"{name}\":{count}");
        comma = ',';
    }
    usage.push_str(if comma == '{' { "{}" } else { "}" });
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn source(name: &str, column: usize) -> Source {
    match name {
        "latency_ms" | "ttft_ms" => Source::Microseconds(column),
        "usage" => Source::Usage(column),
        name if is_numbered(name) => Source::Text { column, is_required: REQUIRED.contains(&name) },
        _ => Source::Plain(column),
    }
}

/// The name in `calls` of a column of `events`.
fn stored_name(name: &str, source: Source) -> String {
    match source {
        Source::Microseconds(_) => name.replace("_ms", "_us"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::{Condition, Op};
    use super::super::{Watch, Writer};
    use super::*;
    use crate::event::{Attribution, Unit, UsageEvent};

    /// Values of `events` as the view has them, and as this module has them.
    fn both(connection: &Connection, filter: &Filter, is_packed: bool) -> [Vec<Vec<Value>>; 2] {
        let mut values = Vec::new();
        let clause = filter.clause(&mut values);
        let mut select = connection.prepare(&format!("SELECT * FROM events{clause} ORDER BY seq")).unwrap();
        let width = select.column_count();
        assert_eq!(select.column_names().collect::<Vec<_>>(), NAMES);
        let rows = select.query_map(rusqlite::params_from_iter(values), |row| (0..width).map(|i| row.get(i)).collect());
        let of_view = rows.unwrap().collect::<Result<_, _>>().unwrap();
        let mut columns =
            if is_packed { Columns::of_blocks(connection, 0) } else { Columns::of(connection, None) }.unwrap();
        let mut values = Vec::new();
        let clause = columns.clause(connection, filter, &mut values).unwrap();
        let query = format!("SELECT {} FROM {}{clause} ORDER BY seq", columns.list, columns.table);
        let mut select = connection.prepare(&query).unwrap();
        assert_eq!(select.column_count() < width, is_packed);
        let mut rows = select.query(rusqlite::params_from_iter(values)).unwrap();
        let mut own = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            columns.begin(connection, row).unwrap();
            let value = |index| columns.value(connection, row, index).unwrap().try_into().unwrap();
            own.push((0..width).map(value).collect());
        }
        [of_view, own]
    }

    #[test]
    fn rows_equal_those_of_the_view() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let mut events = vec![UsageEvent::default()];
        for number in 1..150_u64 {
            let mut event = UsageEvent {
                id: u128::from(number).to_be_bytes(),
                started_at: number,
                provider: if number % 9 == 0 { "" } else { "openai" },
                model: ["a", "b", "c"][number as usize % 3],
                priced_as: (number % 2 == 0).then_some("openai/a"),
                latency_us: (number % 5 != 0).then_some(number * 1_234_567),
                trace_id: (number % 4 == 0).then_some("trace"),
                attribution: Attribution {
                    customer: (number % 3 != 0).then_some(["x", "y", "Zed"][number as usize % 3]),
                    tags: if number % 2 == 0 { vec![("plan", "pro"), ("quo\"te", "ü")] } else { Vec::new() },
                    ..Attribution::default()
                },
                ..UsageEvent::default()
            };
            for (index, unit) in [Unit::INPUT_TOKENS, Unit::OUTPUT_TOKENS, Unit::REASONING_TOKENS, Unit::REQUESTS]
                .into_iter()
                .enumerate()
            {
                if number >> index & 1 == 1 {
                    event.usage.set(unit, number % 7);
                }
            }
            events.push(event);
        }
        let mut writer = Writer::new(&path);
        writer.write(&events).unwrap();
        writer.pack(&Watch::default()).unwrap();
        let connection = Connection::open(&path).unwrap();
        super::super::functions::add(&connection).unwrap();
        let condition = |field: &str, op, values: &[Option<&str>]| {
            let values = values.iter().map(|value| value.map(str::to_owned)).collect();
            Condition::new(field, op, values).unwrap()
        };
        let conditions = [
            Vec::new(),
            vec![condition("customer", Op::Is, &[Some("x"), None])],
            vec![condition("customer", Op::IsNot, &[Some("y"), Some("nobody")])],
            vec![
                condition("customer", Op::Contains, &[Some("ZE")]),
                condition("model", Op::Is, &[Some("a"), Some("c")]),
            ],
            vec![condition("tag:plan", Op::IsNot, &[Some("pro")]), condition("trace_id", Op::Is, &[None])],
            vec![condition("latency_ms", Op::Above, &[Some("30000")]), condition("status", Op::Is, &[Some("success")])],
            vec![condition("provider", Op::Is, &[None])],
            vec![condition("customer", Op::Is, &[Some("nobody")])],
        ];
        for (number, conditions) in conditions.into_iter().enumerate() {
            let filter = Filter { since: (number > 3).then_some(3), until: None, conditions };
            for is_packed in [false, true] {
                let [of_view, own] = both(&connection, &filter, is_packed);
                assert_eq!(of_view, own, "{filter:?}, of blocks: {is_packed}");
                assert_eq!(of_view.is_empty(), number == 7, "{filter:?}");
            }
        }
    }
}
