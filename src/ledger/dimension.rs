//! The fields by which reports group and filter, and their SQL expressions.

use rusqlite::types::Value;

use super::block::{PLAIN, TEXTS};
use super::error::LedgerError;

pub(super) const HOUR_NS: u64 = 3_600_000_000_000;

/// A field by which reports group and filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A text column of the event.
    Column(&'static str),
    /// A part of time, such as a day of a zone. The value is the index of the part. Each begins at an edge, in nanoseconds since the Unix
    /// epoch, and ends at the next one.
    Time(Vec<u64>),
    /// The value of a tag, from `tag:KEY`.
    Tag(String),
}

/// Fields of a call that every row of `hourly` has.
pub(super) const HOURLY_OWN: [&str; 5] = ["provider", "model", "operation", "status", "cost_status"];
const OTHERS: [&str; 15] = [
    "agent",
    "feature",
    "team",
    "customer",
    "user",
    "session",
    "usage_status",
    "service_tier",
    "region",
    "error",
    "finish_reason",
    "catalog",
    "cost_notes",
    "trace_id",
    "call_id",
];

/// Fields that are numbers. Conditions compare them; reports do not group by them.
const NUMBERS: [&str; 8] = [
    "latency_ms",
    "ttft_ms",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

/// Whether a column of `calls` has the number of a text. Blocks do not have `priced_as`.
pub(super) fn is_numbered(name: &str) -> bool {
    name == "priced_as" || (TEXTS.contains(&name) && !PLAIN.contains(&name))
}

/// Whether a field is a number.
pub(super) fn is_number(dimension: &Dimension) -> bool {
    matches!(dimension, Dimension::Column(name) if NUMBERS.contains(name))
}

impl Dimension {
    /// The field of a condition with this name.
    ///
    /// # Errors
    /// If the name is unknown. The message lists the known names.
    pub(super) fn parse_filter(name: &str) -> Result<Self, LedgerError> {
        match NUMBERS.iter().find(|number| **number == name) {
            Some(number) => Ok(Self::Column(number)),
            None => Self::parse(name).map_err(|error| match error {
                LedgerError::Query(rule) => LedgerError::Query(format!("{rule}; or a number: {}", NUMBERS.join(", "))),
                other => other,
            }),
        }
    }

    /// The dimension with this name.
    ///
    /// # Errors
    /// If the name is unknown. The message lists the known names.
    pub fn parse(name: &str) -> Result<Self, LedgerError> {
        let column = || HOURLY_OWN.iter().chain(&OTHERS).find(|column| **column == name);
        match (name.strip_prefix("tag:"), column()) {
            (Some(key), _) if !key.is_empty() => Ok(Self::Tag(key.to_owned())),
            (_, Some(column)) => Ok(Self::Column(column)),
            _ => Err(LedgerError::Query(format!(
                "{name:?} is not a field of reports; use {}, {}, hour, day, week, month or tag:KEY",
                HOURLY_OWN.join(", "),
                OTHERS.join(", "),
            ))),
        }
    }

    /// The SQL expression over `events`. Tag keys become bound parameters and are never written into the SQL text.
    pub(super) fn over_events(&self, values: &mut Vec<Value>) -> String {
        match self {
            Self::Column(name) if NUMBERS.contains(name) => (*name).into(),
            Self::Column(name) => format!("ifnull({name}, '')"),
            Self::Time(_) => "started_at".into(),
            Self::Tag(key) => {
                values.push(Value::Text(key.clone()));
                "ifnull((SELECT value FROM json_each(events.tags) WHERE key = ?), '')".into()
            }
        }
    }

    /// The SQL expression over `calls`, with the same value.
    pub(super) fn over_calls(&self, values: &mut Vec<Value>) -> String {
        match self {
            Self::Column("latency_ms") => "latency_us / 1000.0".into(),
            Self::Column("ttft_ms") => "ttft_us / 1000.0".into(),
            Self::Column(name) if is_numbered(name) => {
                format!("ifnull((SELECT text FROM texts WHERE texts.id = calls.{name}), '')")
            }
            Self::Tag(key) => {
                values.push(Value::Text(key.clone()));
                let tags = "(SELECT text FROM texts WHERE texts.id = calls.tags)";
                format!("ifnull((SELECT value FROM json_each({tags}) WHERE key = ?), '')")
            }
            Self::Column(_) | Self::Time(_) => self.over_events(values),
        }
    }

    /// The SQL expression over `hourly`.
    pub(super) fn over_hours(&self) -> String {
        match self {
            Self::Column(name) => (*name).into(),
            Self::Time(_) | Self::Tag(_) => format!("hour * {HOUR_NS}"),
        }
    }
}
