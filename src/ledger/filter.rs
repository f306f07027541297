//! The selection of events for a report, a page of events or a repricing.

use rusqlite::types::Value;

use super::dimension::Dimension;

/// A selection of events.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only events that started at this time or later, in nanoseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Only events that started before this time.
    pub until: Option<u64>,
    /// Only events with these values. An empty text selects events without a value.
    pub equal: Vec<(Dimension, String)>,
}

impl Filter {
    /// The WHERE clause over `events`. Appends its parameters to `values` in order.
    pub(super) fn clause(&self, values: &mut Vec<Value>) -> String {
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
            values.push(Value::Text(value.clone()));
        }
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
    }
}
