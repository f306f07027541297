//! Which events a report, a page or a repricing is about.

use rusqlite::types::Value;

use super::dimension::Dimension;
use super::error::LedgerError;

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Started at or after, in nanoseconds of the Unix epoch.
    pub since: Option<u64>,
    /// Started before.
    pub until: Option<u64>,
    /// With these values; an empty text means absent.
    pub equal: Vec<(Dimension, String)>,
}

impl Filter {
    /// As a WHERE clause over `events`, its values appended in order.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub(super) fn clause(&self, values: &mut Vec<Value>) -> Result<String, LedgerError> {
        let mut parts = Vec::new();
        let nanoseconds = |time: u64| Value::Integer(i64::try_from(time).unwrap_or(i64::MAX));
        if let Some(since) = self.since {
            parts.push("started_at >= ?".to_owned());
            values.push(nanoseconds(since));
        }
        if let Some(until) = self.until {
            parts.push("started_at < ?".to_owned());
            values.push(nanoseconds(until));
        }
        for (dimension, value) in &self.equal {
            parts.push(format!("{} = ?", dimension.over_events(values)));
            values.push(dimension.value(value)?);
        }
        Ok(if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) })
    }
}
