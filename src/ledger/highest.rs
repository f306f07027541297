//! The calls that cost most or took longest.

use rusqlite::types::Value;

use super::error::LedgerError;
use super::filter::Filter;
use super::reader::Reader;

/// What calls are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cost. As floating point, which tells amounts of 15 digits apart.
    Cost,
    /// The time to the last byte.
    Latency,
}

impl Measure {
    /// The measure with this name of a column.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cost_usd" => Some(Self::Cost),
            "latency_ms" => Some(Self::Latency),
            _ => None,
        }
    }

    fn expression(self) -> &'static str {
        match self {
            Self::Cost => "CAST(cost_usd AS REAL)",
            Self::Latency => "latency_ms",
        }
    }
}

impl Reader {
    /// At most `limit` events after the first `offset` ones, those with the highest values first, each as a JSON object. Events without
    /// the value are last. Reads every event of the filter.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn highest(
        &mut self,
        filter: &Filter,
        measure: Measure,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<String>, LedgerError> {
        self.refresh()?;
        let mut values = Vec::new();
        let clause = filter.clause(&mut values);
        values.extend([limit, offset].map(|count| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))));
        let order = measure.expression();
        let query = format!("SELECT * FROM events{clause} ORDER BY {order} DESC, seq DESC LIMIT ? OFFSET ?");
        Ok(self.select(&query, values)?.0)
    }
}
