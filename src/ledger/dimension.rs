//! The fields by which reports group and filter, and their SQL expressions.

use std::time::UNIX_EPOCH;

use rusqlite::types::{Value, ValueRef};

use super::error::LedgerError;

pub(super) const HOUR_NS: u64 = 3_600_000_000_000;

/// A field by which reports group and filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A text column of the event.
    Column(&'static str),
    /// The UTC day, as `2026-11-22`.
    Day,
    /// The UTC hour, as `2026-11-22T09:00Z`.
    Hour,
    /// The value of a tag, from `tag:KEY`.
    Tag(String),
}

/// Fields of a call that every row of `hourly` has.
pub(super) const HOURLY_OWN: [&str; 5] = ["provider", "model", "operation", "status", "cost_status"];
/// Fields by which `hourly` keeps sums. Each row has the value of one of them.
pub(super) const HOURLY_ATTRIBUTION: [&str; 4] = ["agent", "feature", "team", "customer"];
const OTHERS: [&str; 11] = [
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

impl Dimension {
    /// The dimension with this name.
    ///
    /// # Errors
    /// If the name is unknown. The message lists the known names.
    pub fn parse(name: &str) -> Result<Self, LedgerError> {
        let column = || HOURLY_OWN.iter().chain(&HOURLY_ATTRIBUTION).chain(&OTHERS).find(|column| **column == name);
        match name {
            "day" => Ok(Self::Day),
            "hour" => Ok(Self::Hour),
            _ => match (name.strip_prefix("tag:"), column()) {
                (Some(key), _) if !key.is_empty() => Ok(Self::Tag(key.to_owned())),
                (_, Some(column)) => Ok(Self::Column(column)),
                _ => Err(LedgerError::Query(format!(
                    "by: {name:?} is not a field that reports group by; use {}, {}, {}, day, hour or tag:KEY",
                    HOURLY_OWN.join(", "),
                    HOURLY_ATTRIBUTION.join(", "),
                    OTHERS.join(", "),
                ))),
            },
        }
    }

    /// The SQL expression over `events`. Tag keys become bound parameters and are never written into the SQL text.
    pub(super) fn over_events(&self, values: &mut Vec<Value>) -> String {
        match self {
            Self::Column(name) => format!("ifnull({name}, '')"),
            Self::Day => "started_at / 86400000000000".into(),
            Self::Hour => "started_at / 3600000000000".into(),
            Self::Tag(key) => {
                values.push(Value::Text(key.clone()));
                "ifnull((SELECT value FROM json_each(events.tags) WHERE key = ?), '')".into()
            }
        }
    }

    /// The SQL expression over `hourly`.
    pub(super) fn over_hours(&self) -> String {
        match self {
            Self::Column(name) if HOURLY_ATTRIBUTION.contains(name) => "value".into(),
            Self::Column(name) => (*name).into(),
            Self::Day => "hour / 24".into(),
            Self::Hour | Self::Tag(_) => "hour".into(),
        }
    }

    /// Converts a value from the form that reports show to the form that SQL compares with.
    pub(super) fn value(&self, text: &str) -> Result<Value, LedgerError> {
        let hours = |form: &str, full: String| {
            let seconds = humantime::parse_rfc3339(&full).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let seconds =
                seconds.ok_or_else(|| LedgerError::Query(format!("where: {text:?} does not have the form {form}")))?;
            Ok::<_, LedgerError>(seconds.as_secs() as i64 / 3600)
        };
        Ok(match self {
            Self::Day => Value::Integer(hours("2026-11-22", format!("{text}T00:00:00Z"))? / 24),
            Self::Hour => {
                let full = format!("{}:00Z", text.strip_suffix('Z').unwrap_or(text));
                Value::Integer(hours("2026-11-22T09:00Z", full)?)
            }
            Self::Column(_) | Self::Tag(_) => Value::Text(text.to_owned()),
        })
    }

    /// Converts a value from SQL to the form that reports show.
    pub(super) fn text(&self, value: ValueRef<'_>) -> String {
        let time = |hours: i64| crate::event::json::time_text(hours as u64 * HOUR_NS);
        match (self, value) {
            (Self::Day, ValueRef::Integer(days)) => time(days * 24)[..10].to_owned(),
            (Self::Hour, ValueRef::Integer(hours)) => format!("{}Z", &time(hours)[..16]),
            (_, ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        }
    }
}
