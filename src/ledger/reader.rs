//! Reading a ledger file while others write it.

use std::path::Path;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::{Map, value::Value as Json};

use super::error::LedgerError;
use super::filter::Filter;
use super::lease::Leased;
use super::schema;
use crate::event::json::time_text;

/// Reads a ledger file while others write it.
pub struct Reader {
    open: Leased,
}

impl Reader {
    /// Opens a ledger. One that does not exist yet reads as empty.
    ///
    /// # Errors
    /// When the file is no ledger, is newer than this version, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        // A reader of a write-ahead log has to write to the files beside it; a file on a read-only disk is read as it stands.
        let mut open = if path.exists() {
            Leased::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
                .or_else(|_| Leased::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY))?
        } else {
            Leased::open(Path::new(":memory:"), OpenFlags::SQLITE_OPEN_READ_WRITE)?
        };
        let connection = open.connection()?;
        schema::migrate(connection)?;
        // Scanning through a map saves copying each page; 1 GiB of address space, not of memory.
        connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
        Ok(Self { open })
    }

    /// # Errors
    /// In a process that was forked from the one that opened it.
    pub(super) fn connection(&mut self) -> Result<&Connection, LedgerError> {
        self.open.connection().map(|connection| &*connection)
    }

    /// The last sequence number, 0 when there are no events.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_sequence(&mut self) -> Result<i64, LedgerError> {
        Ok(self.connection()?.query_row("SELECT ifnull(max(seq), 0) FROM events", (), |row| row.get(0))?)
    }

    /// Events after a sequence number in order of arrival, at most `limit`, each as a JSON object, and the last one's number.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events(&mut self, filter: &Filter, after: i64, limit: usize) -> Result<(Vec<String>, i64), LedgerError> {
        let mut values = Vec::new();
        let clause = filter.clause(&mut values)?;
        let joint = if clause.is_empty() { " WHERE" } else { " AND" };
        let query = format!("SELECT * FROM events{clause}{joint} seq > ? ORDER BY seq LIMIT ?");
        values.extend([Value::Integer(after), Value::Integer(limit as i64)]);
        let mut statement = self.connection()?.prepare(&query)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query(params_from_iter(values))?;
        let (mut events, mut last) = (Vec::new(), after);
        while let Some(row) = rows.next()? {
            let mut object = Map::new();
            for (column, name) in names.iter().enumerate() {
                let value = row.get_ref(column)?;
                match (name.as_str(), value) {
                    ("seq", ValueRef::Integer(seq)) => last = seq,
                    ("cost_usd", ValueRef::Null) => drop(object.insert(name.clone(), Json::Null)),
                    (_, ValueRef::Null) => {}
                    _ => drop(object.insert(name.clone(), json(name, value))),
                }
            }
            events.push(Json::Object(object).to_string());
        }
        Ok((events, last))
    }
}

fn json(column: &str, value: ValueRef<'_>) -> Json {
    match (column, value) {
        ("started_at", ValueRef::Integer(ns)) => time_text(ns.max(0) as u64).into(),
        ("batch", ValueRef::Integer(flag)) => (flag != 0).into(),
        ("cost_notes", ValueRef::Text(names)) => String::from_utf8_lossy(names).split(',').collect(),
        ("usage" | "provider_usage" | "tags", ValueRef::Text(text)) => {
            serde_json::from_slice(text).unwrap_or(Json::Null)
        }
        (_, ValueRef::Integer(number)) => number.into(),
        (_, ValueRef::Real(number)) => number.into(),
        (_, ValueRef::Text(text)) => String::from_utf8_lossy(text).into(),
        (_, ValueRef::Null | ValueRef::Blob(_)) => Json::Null,
    }
}
