//! Reads the columns of `events` where they are stored. The view `events` looks up each text of each row; this looks up each text once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;

use foldhash::fast::RandomState;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::block::COUNTS;
use super::dimension::is_numbered;
use super::error::LedgerError;
use super::filter::Filter;
use super::hours::USAGE_NAMES;
use super::schema;

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

/// How a value of `calls` becomes one of `events`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Plain,
    /// The number of a text.
    Text {
        is_required: bool,
    },
    Microseconds,
    Usage,
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
    texts: HashMap<u32, Box<str>, RandomState>,
    usage: String,
}

impl Columns {
    /// The columns with these names, or all. One that a file of an earlier version does not have is absent in all rows.
    pub(super) fn of(connection: &Connection, wanted: Option<&[&str]>) -> Result<Self, LedgerError> {
        if schema::has_calls(connection)? { Ok(Self::of_calls(wanted)) } else { Self::of_events(connection, wanted) }
    }

    fn of_calls(wanted: Option<&[&str]>) -> Self {
        let names = owned(wanted.unwrap_or(&NAMES));
        let sources: Vec<_> = names.iter().map(|name| source(name)).collect();
        let stored = names.iter().zip(&sources).map(|(name, source)| match source {
            Source::Microseconds => name.replace("_ms", "_us"),
            _ => name.clone(),
        });
        // The counts, from which the usage is made if it has only those.
        let further = if sources.contains(&Source::Usage) { owned(&COUNTS) } else { Vec::new() };
        let list = stored.chain(further).collect::<Vec<_>>().join(", ");
        Self { names, list, table: "calls", sources, texts: HashMap::default(), usage: String::new() }
    }

    fn of_events(connection: &Connection, wanted: Option<&[&str]>) -> Result<Self, LedgerError> {
        let mut present = connection.prepare("SELECT name FROM pragma_table_info('events')")?;
        let present: Vec<String> = present.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        let column = |name: &String| if present.contains(name) { name.clone() } else { "NULL".to_owned() };
        let names = wanted.map_or_else(|| present.clone(), owned);
        let list = names.iter().map(column).collect::<Vec<_>>().join(", ");
        let sources = vec![Source::Plain; names.len()];
        Ok(Self { names, list, table: "events", sources, texts: HashMap::default(), usage: String::new() })
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

    /// The value of a row in the column with this index.
    pub(super) fn value<'a>(
        &'a mut self,
        connection: &Connection,
        row: &'a Row<'_>,
        index: usize,
    ) -> Result<ValueRef<'a>, LedgerError> {
        let value = row.get_ref(index)?;
        Ok(match (self.sources[index], value) {
            (Source::Text { is_required }, ValueRef::Integer(number)) => match self.text(connection, number)? {
                None if is_required => ValueRef::Text(b""),
                text => text.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
            },
            (Source::Microseconds, ValueRef::Integer(us)) => ValueRef::Real(us as f64 / 1000.0),
            (Source::Usage, ValueRef::Null) => {
                self.make_usage(row)?;
                ValueRef::Text(self.usage.as_bytes())
            }
            (Source::Plain | Source::Usage, value) => value,
            (Source::Text { .. } | Source::Microseconds, _) => ValueRef::Null,
        })
    }

    fn text(&mut self, connection: &Connection, number: i64) -> Result<Option<&str>, LedgerError> {
        let Some(number) = u32::try_from(number).ok().filter(|number| *number > 0) else { return Ok(None) };
        if self.texts.len() >= MOST {
            self.texts.clear();
        }
        Ok(match self.texts.entry(number) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => {
                let mut select = connection.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
                let text = select.query_row([number], |row| row.get::<_, Box<str>>(0)).optional()?;
                text.map(|text| &**unknown.insert(text))
            }
        })
    }

    /// Makes the usage of a call from its counts, which are the last columns: the same text as the view's.
    fn make_usage(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        self.usage.clear();
        for (offset, name) in USAGE_NAMES.iter().enumerate() {
            let count: i64 = row.get(self.names.len() + offset)?;
            if count != 0 {
                self.usage.push_str(if self.usage.is_empty() { "{\"" } else { ",\"" });
                self.usage.push_str(name);
                self.usage.push_str("\":");
                let _ = write!(self.usage, "{count}");
            }
        }
        self.usage.push_str(if self.usage.is_empty() { "{}" } else { "}" });
        Ok(())
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn source(name: &str) -> Source {
    match name {
        "latency_ms" | "ttft_ms" => Source::Microseconds,
        "usage" => Source::Usage,
        name if is_numbered(name) => Source::Text { is_required: REQUIRED.contains(&name) },
        _ => Source::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::super::filter::{Condition, Op};
    use super::*;
    use crate::event::{Attribution, Unit, UsageEvent};

    /// Values of `events` as the view has them, and as this module has them.
    fn both(connection: &Connection, filter: &Filter) -> [Vec<Vec<Value>>; 2] {
        let mut values = Vec::new();
        let clause = filter.clause(&mut values);
        let mut select = connection.prepare(&format!("SELECT * FROM events{clause} ORDER BY seq")).unwrap();
        let width = select.column_count();
        assert_eq!(select.column_names().collect::<Vec<_>>(), NAMES);
        let rows = select.query_map(rusqlite::params_from_iter(values), |row| (0..width).map(|i| row.get(i)).collect());
        let of_view = rows.unwrap().collect::<Result<_, _>>().unwrap();
        let mut columns = Columns::of(connection, None).unwrap();
        let mut values = Vec::new();
        let clause = columns.clause(connection, filter, &mut values).unwrap();
        let query = format!("SELECT {} FROM {}{clause} ORDER BY seq", columns.list, columns.table);
        let mut select = connection.prepare(&query).unwrap();
        let mut rows = select.query(rusqlite::params_from_iter(values)).unwrap();
        let mut own = Vec::new();
        while let Some(row) = rows.next().unwrap() {
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
        for number in 1..50_u64 {
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
        Writer::new(&path).write(&events).unwrap();
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
            let [of_view, own] = both(&connection, &filter);
            assert_eq!(of_view, own, "{filter:?}");
            assert_eq!(of_view.is_empty(), number == 7, "{filter:?}");
        }
    }
}
