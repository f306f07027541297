//! Reads a ledger file while other processes write it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::{Map, value::Value as Json};

use super::dimension::HOUR_NS;
use super::encoded::Encoded;
use super::error::LedgerError;
use super::file::LedgerFile;
use super::lease::{InUse, Leased};
use super::record::Record;
use super::schema;
use super::watch::Watch;
use crate::event::json::time_text;
use crate::sys::identity::FileIdentity;

/// Reads a ledger file while other processes write it. If the file is replaced, moved or recreated, the reader continues with the new one.
pub struct Reader {
    path: PathBuf,
    open: Option<Open>,
    /// The identity of the file that was read last.
    last: Option<Record>,
    /// How many different files were read.
    files: u64,
    /// What may stop statements.
    watch: Option<Arc<Watch>>,
    /// Texts that the last export wrote. The next page needs most of them again.
    pub(super) encoded: Encoded,
}

enum Open {
    File(LedgerFile),
    /// An empty database in memory, used while the file does not exist or is empty.
    Empty(Leased),
}

impl Open {
    fn new(path: &Path, replaced: Option<FileIdentity>) -> Result<Self, LedgerError> {
        if let Some(file) = if is_empty(path) { None } else { LedgerFile::open_to_read(path, replaced)? } {
            return Ok(Self::File(file));
        }
        Self::empty()
    }

    fn empty() -> Result<Self, LedgerError> {
        let mut empty = Leased::open(Path::new(":memory:"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::migrate(&mut *empty.connection()?)?;
        Ok(Self::Empty(empty))
    }

    fn is_current(&mut self, path: &Path) -> Result<bool, LedgerError> {
        match self {
            Self::File(file) => file.is_current(),
            Self::Empty(_) => Ok(is_empty(path)),
        }
    }
}

/// The time of an event if `is_it` says so or there is nothing else, or else the beginning of an hour.
fn end_of(event: Option<i64>, hour: Option<i64>, is_it: impl Fn(i64, i64) -> bool) -> Option<i64> {
    match (event, hour) {
        (Some(event), Some(hour)) => Some(if is_it(event, hour) { event } else { hour }),
        (event, hour) => event.or(hour),
    }
}

fn is_empty(path: &Path) -> bool {
    path.metadata().map_or(true, |data| data.len() == 0)
}

impl Reader {
    /// Opens a ledger. A file that does not exist reads as empty.
    ///
    /// # Errors
    /// If the file is not a ledger, was created by a newer version, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let mut reader =
            Self { path: path.to_owned(), open: None, last: None, files: 0, watch: None, encoded: Encoded::default() };
        reader.refresh()?;
        Ok(reader)
    }

    /// Closes the file until the next read. While it is open, forked children cannot use the ledger, and other programs cannot do what
    /// needs exclusive access, such as changing the journal mode.
    pub fn close_idle(&mut self) {
        self.open = None;
        self.watch = None;
    }

    /// Lets a watch stop what the reader does until it closes the file.
    pub fn watch(&mut self, watch: Arc<Watch>) {
        self.open = None;
        self.watch = Some(watch);
    }

    /// The watch, for loops that are not statements.
    pub(super) fn watched_by(&self) -> Option<Arc<Watch>> {
        self.watch.clone()
    }

    /// Opens the file that is now at the path, unless it is already open.
    ///
    /// # Errors
    /// Those of [`Self::open`], and if this process was forked from the one that opened the file.
    pub(super) fn refresh(&mut self) -> Result<(), LedgerError> {
        let mut replaced = None;
        if let Some(open) = &mut self.open {
            if open.is_current(&self.path)? {
                return Ok(());
            }
            if let Open::File(file) = open {
                replaced = file.retire();
            }
        }
        // Close the old file first: closing the last connection must not affect the log of the new file.
        self.open = None;
        let open = Open::new(&self.path, replaced)?;
        let seen = match &open {
            Open::File(file) => Some(file.seen()),
            Open::Empty(_) => None,
        };
        let is_same = self.files > 0
            && match (self.last, seen) {
                (Some(last), Some(seen)) => last.file == seen.file && last.changes <= seen.changes,
                (last, seen) => last == seen,
            };
        self.files += u64::from(!is_same);
        (self.open, self.last) = (Some(open), seen);
        if let Some(watch) = self.watch.clone() {
            watch.guard(&mut *self.connection()?)?;
        }
        Ok(())
    }

    /// # Errors
    /// If this process was forked from the one that opened the file.
    pub(super) fn connection(&mut self) -> Result<InUse<'_>, LedgerError> {
        match &mut self.open {
            Some(Open::File(file)) => file.connection(),
            Some(Open::Empty(empty)) => empty.connection(),
            None => Err(LedgerError::Replaced),
        }
    }

    /// How many different files were read. If the number changes, the ledger is another file with its own sequence numbers.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// The highest sequence number of the events with ids up to `id`; 0 if there are none. Ids are in order of time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn sequence_of(&mut self, id: &str) -> Result<i64, LedgerError> {
        self.refresh()?;
        let query = "SELECT ifnull(max(seq), 0) FROM events WHERE id <= ?1";
        Ok(self.connection()?.query_row(query, [id], |row| row.get(0))?)
    }

    /// When the first and the last event began, in nanoseconds since the Unix epoch; `None` if there are no events. Of events that were
    /// deleted and whose sums were kept, the hour counts.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn period(&mut self) -> Result<Option<(u64, u64)>, LedgerError> {
        self.refresh()?;
        // Two queries, because SQLite uses the index for one of both only.
        let connection = self.connection()?;
        let mut ends = [None; 2];
        for (end, function) in ends.iter_mut().zip(["min", "max"]) {
            let query = format!("SELECT {function}(started_at) FROM events");
            *end = connection.query_row(&query, (), |row| row.get::<_, Option<i64>>(0))?;
        }
        let mut hours = [None; 2];
        for (hour, function) in hours.iter_mut().zip(["min", "max"]) {
            let query = format!("SELECT {function}(hour) FROM hourly");
            let found = connection.query_row(&query, (), |row| row.get::<_, Option<i64>>(0))?;
            *hour = found.map(|hour| hour.saturating_mul(HOUR_NS as i64));
        }
        let first = end_of(ends[0], hours[0], |event, hour| event - event % HOUR_NS as i64 <= hour);
        let last = end_of(ends[1], hours[1], |event, hour| event >= hour);
        Ok(first.zip(last).map(|(first, last)| (first.max(0) as u64, last.max(0) as u64)))
    }

    /// The highest sequence number; 0 if there are no events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last_sequence(&mut self) -> Result<i64, LedgerError> {
        self.refresh()?;
        Ok(self.connection()?.query_row("SELECT ifnull(max(seq), 0) FROM events", (), |row| row.get(0))?)
    }

    /// The newest event whose id begins with `id`, as a JSON object.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&mut self, id: &str) -> Result<Option<String>, LedgerError> {
        self.refresh()?;
        // Ids are of hexadecimal digits and dashes, so every id with this beginning is less than the beginning and a tilde.
        let query = "SELECT * FROM events WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1";
        let values = vec![Value::Text(id.to_owned()), Value::Text(format!("{id}~"))];
        Ok(self.select(query, values)?.0.pop())
    }

    fn select(&mut self, query: &str, values: Vec<Value>) -> Result<(Vec<String>, Option<i64>), LedgerError> {
        select(&*self.connection()?, query, values)
    }
}

/// The events of a query, each as a JSON object, and the sequence number of the last one.
pub(super) fn select(
    connection: &Connection,
    query: &str,
    values: Vec<Value>,
) -> Result<(Vec<String>, Option<i64>), LedgerError> {
    let mut statement = connection.prepare_cached(query)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut events, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let mut object = Map::new();
        for (column, name) in names.iter().enumerate() {
            let value = row.get_ref(column)?;
            match (name.as_str(), value) {
                ("seq", ValueRef::Integer(seq)) => last = Some(seq),
                ("cost_usd", ValueRef::Null) => drop(object.insert(name.clone(), Json::Null)),
                (_, ValueRef::Null) => {}
                _ => drop(object.insert(name.clone(), json(name, value))),
            }
        }
        events.push(Json::Object(object).to_string());
    }
    Ok((events, last))
}

/// The events with these sequence numbers, each as a JSON object, in the order of the numbers.
pub(super) fn rows_of(connection: &Connection, seqs: &[i64]) -> Result<Vec<String>, LedgerError> {
    let mut events = Vec::with_capacity(seqs.len());
    for seq in seqs {
        events.extend(select(connection, "SELECT * FROM events WHERE seq = ?", vec![Value::Integer(*seq)])?.0);
    }
    Ok(events)
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
