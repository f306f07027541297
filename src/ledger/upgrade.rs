//! The upgrade of an older file: copies its calls from the table `events` to `calls`, whose texts are numbers.
//!
//! The file keeps its old schema until `calls` has everything, so that other processes read it meanwhile, and those of an earlier version
//! write it. The copy takes one transaction for each page of calls; what it has reached is the last call in `calls`, so after a kill the
//! next process goes on from there, and several processes share the work. Triggers copy the
//! changes of other processes to the part that is already copied. The last transaction copies the rest and changes the schema.

use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params_from_iter};

use super::block::COUNTS;
use super::dimension::is_numbered;
use super::error::LedgerError;
use super::hours::usage_columns;
use super::insert::{COLUMNS, further_usage, insert_sql};
use super::schema::{self, BEFORE_CALLS, CALLS};
use super::texts::Texts;
use super::watch::Watch;
use crate::event::Usage;

/// The calls of a transaction: other writers wait some 50 ms for it.
const PAGE: i64 = if cfg!(test) { 40 } else { 4_000 };
/// The shortest time between two transactions, for the transactions of other processes.
const PAUSE: Duration = Duration::from_millis(1);

/// Record the changes of other processes while calls are copied. `events_changed` has the calls to copy once more. Texts stay, because
/// earlier versions do not know that `calls` uses them.
const TRIGGERS: &str = "
CREATE TABLE events_changed (seq INTEGER PRIMARY KEY);
CREATE TRIGGER events_update AFTER UPDATE ON events BEGIN INSERT OR IGNORE INTO events_changed VALUES (OLD.seq); END;
CREATE TRIGGER events_remove AFTER DELETE ON events BEGIN DELETE FROM calls WHERE seq = OLD.seq; END;
CREATE TRIGGER texts_kept BEFORE DELETE ON texts BEGIN SELECT RAISE(IGNORE); END;
";

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    Done,
    /// The last call that is copied, and the last call.
    Reached(i64, i64),
}

/// Goes on with the upgrade until it is done or the time is over. The watch gets the calls that are copied and all calls.
pub(super) fn upgrade(
    connection: &mut Connection,
    until: Option<Instant>,
    watch: &Watch,
) -> Result<Upgrade, LedgerError> {
    let mut texts = Texts::default();
    let mut others_changes = None;
    loop {
        if schema::has_calls(connection)? {
            return Ok(Upgrade::Done);
        }
        let begun = Instant::now();
        match page(connection, &mut texts, &mut others_changes)? {
            Upgrade::Reached(reached, last) => {
                watch.note(reached.max(0) as u64, last.max(0) as u64)?;
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(Upgrade::Reached(reached, last));
                }
            }
            Upgrade::Done => return Ok(Upgrade::Done),
        }
        // As long as a tenth of the transaction, so that a waiting process gets its turn.
        std::thread::sleep((begun.elapsed() / 10).max(PAUSE));
    }
}

/// Copies the next page of calls, or the rest.
fn page(
    connection: &mut Connection,
    texts: &mut Texts,
    others_changes: &mut Option<i64>,
) -> Result<Upgrade, LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if schema::has_calls(&transaction)? {
        return Ok(Upgrade::Done);
    }
    let changes = transaction.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
    if others_changes.replace(changes) != Some(changes) {
        // Another process may have changed the numbers, or restored a backup.
        texts.clear();
    }
    if !exists(&transaction, "calls")? {
        transaction.execute_batch(CALLS)?;
        transaction.execute_batch(TRIGGERS)?;
    }
    let number = |query: &str| transaction.prepare_cached(query)?.query_row((), |row| row.get::<_, i64>(0));
    let after = number("SELECT ifnull(max(seq), 0) FROM calls")?;
    let outcome = copy(&transaction, texts, "seq > ?1 ORDER BY seq LIMIT ?2", &[after, PAGE]);
    if let Err(error) = outcome {
        texts.clear();
        return Err(error);
    }
    let (reached, last) =
        (number("SELECT ifnull(max(seq), 0) FROM calls")?, number("SELECT ifnull(max(seq), 0) FROM events")?);
    let is_done = reached >= last;
    if is_done {
        copy(&transaction, texts, "seq IN (SELECT seq FROM events_changed)", &[])?;
        schema::finish(&transaction, BEFORE_CALLS)?;
    }
    transaction.commit()?;
    Ok(if is_done { Upgrade::Done } else { Upgrade::Reached(reached, last) })
}

fn exists(connection: &Connection, table: &str) -> Result<bool, LedgerError> {
    let query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?1)";
    Ok(connection.prepare_cached(query)?.query_row([table], |row| row.get(0))?)
}

/// Copies calls.
fn copy(transaction: &Transaction<'_>, texts: &mut Texts, which: &str, values: &[i64]) -> Result<(), LedgerError> {
    let old = |column: &&str| match *column {
        "latency_us" => "latency_ms".to_owned(),
        "ttft_us" => "ttft_ms".to_owned(),
        column => column.to_owned(),
    };
    let list = COLUMNS.iter().map(old).collect::<Vec<_>>().join(", ");
    let mut select = transaction.prepare_cached(&format!("SELECT {list} FROM events WHERE {which}"))?;
    let mut insert = transaction.prepare_cached(&insert_sql("INSERT OR REPLACE"))?;
    let mut rows = select.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        for (index, column) in COLUMNS.iter().enumerate() {
            match *column {
                "usage" => insert.raw_bind_parameter(index + 1, usage(row, index)?)?,
                "latency_us" | "ttft_us" => {
                    let us = row.get::<_, Option<f64>>(index)?.map(|ms| (ms * 1000.0).round() as i64);
                    insert.raw_bind_parameter(index + 1, us)?;
                }
                name if is_numbered(name) => {
                    let text = row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from)?;
                    insert.raw_bind_parameter(index + 1, texts.number(transaction, text.unwrap_or_default())?)?;
                }
                _ => insert.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(row.get_ref(index)?))?,
            }
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// The usage of a call, unless the view makes the same from its counts.
fn usage(row: &Row<'_>, index: usize) -> Result<Option<String>, LedgerError> {
    let ValueRef::Text(text) = row.get_ref(index)? else { return Ok(Some("{}".to_owned())) };
    let text = String::from_utf8_lossy(text);
    let usage = Usage::from_json(&text);
    let is_same = further_usage(&usage).is_none() && {
        let first = COLUMNS.iter().position(|name| *name == COUNTS[0]).unwrap_or_default();
        let mut has_all = serde_json::to_string(&usage).is_ok_and(|written| written == text);
        for (offset, count) in usage_columns(&usage).iter().enumerate() {
            has_all &= row.get::<_, i64>(first + offset)? == *count;
        }
        has_all
    };
    Ok((!is_same).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::schema::STEPS;
    use super::super::{Reader, Writer};
    use super::*;
    use crate::event::UsageEvent;

    const CALLS_OF_TEST: i64 = 3 * PAGE + 7;

    /// A file of the last schema with a table `events`, with calls of all kinds of values.
    fn old_file(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        STEPS[..BEFORE_CALLS as usize].iter().for_each(|step| connection.execute_batch(step).unwrap());
        connection.pragma_update(None, "user_version", BEFORE_CALLS).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE row (number INTEGER PRIMARY KEY)").unwrap();
        let numbers = "INSERT INTO row WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?1) SELECT x FROM n";
        connection.execute(numbers, [CALLS_OF_TEST]).unwrap();
        let events = r#"INSERT INTO events SELECT number, printf('01990000-0000-7000-8000-%012d', number), 1790000000000000000 + number, 'openai',
            'model-' || (number % 3), 'chat', iif(number % 5, 'success', 'error'), iif(number % 5, NULL, 'Timeout'), iif(number % 2, 'stop', NULL),
            number, number % 4, number % 2, 0, number % 3,
            CASE number % 4 WHEN 0 THEN '{"input_tokens":' || number || ',"output_tokens":0}' WHEN 1 THEN '{"input_tokens":' || number
                || ',"output_tokens":1' || iif(number % 2, ',"cache_read_tokens":1', '')
                || iif(number % 3, ',"output_reasoning_tokens":' || (number % 3), '') || '}' WHEN 2 THEN '{"web_searches": 3}' ELSE '{}' END,
            'complete', iif(number % 7, '0.00' || number, NULL), iif(number % 7, 'priced', 'unpriced'), NULL, 'openai/model', 'catalog',
            iif(number % 2, number / 1000.0, NULL), NULL, 'default', NULL, number % 2, NULL, 'feature', 'team-' || (number % 9),
            'customer-' || number, 'user', 'session-' || (number / 3), '{"plan":"pro"}', 'trace', 'span', NULL, NULL, NULL, 'call', NULL
            FROM row"#;
        connection.execute(events, ()).unwrap();
        connection
    }

    fn all(connection: &Connection) -> Vec<Vec<rusqlite::types::Value>> {
        let mut select = connection.prepare("SELECT * FROM events ORDER BY seq").unwrap();
        let width = select.column_count();
        let rows = select.query_map((), |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn columns(connection: &Connection) -> Vec<String> {
        let select = connection.prepare("SELECT * FROM events").unwrap();
        select.column_names().map(str::to_owned).collect()
    }

    fn go_on(path: &Path, pages: usize) -> Upgrade {
        let mut connection = Connection::open(path).unwrap();
        let mut outcome = Upgrade::Done;
        for _ in 0..pages {
            outcome = page(&mut connection, &mut Texts::default(), &mut None).unwrap();
        }
        outcome
    }

    #[test]
    fn an_upgrade_goes_on_after_an_end_and_keeps_every_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let old = old_file(&path);
        let (names, before) = (columns(&old), all(&old));
        assert_eq!(go_on(&path, 2), Upgrade::Reached(2 * PAGE, CALLS_OF_TEST));
        // Readers still read the old table, and the next process goes on.
        assert_eq!(Reader::open(&path).unwrap().last_sequence().unwrap(), CALLS_OF_TEST);
        assert_eq!(go_on(&path, 2), Upgrade::Done);
        assert_eq!(schema::version(&old).unwrap(), STEPS.len() as u32);
        assert_eq!((columns(&old), all(&old)), (names, before));
        let derived = "SELECT count(*) FROM calls WHERE usage IS NULL";
        assert!(old.query_row(derived, (), |row| row.get::<_, i64>(0)).unwrap() > 10);
    }

    #[test]
    fn what_others_change_during_an_upgrade_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let old = old_file(&path);
        go_on(&path, 2);
        let changes = "UPDATE events SET cost_usd = '5', model = 'new' WHERE seq IN (3, 100); DELETE FROM events WHERE seq IN (4, 80, 90);
            UPDATE events SET seq = 900 WHERE seq = 121; DELETE FROM texts;
            UPDATE events SET team = 'gone' WHERE seq = 5; DELETE FROM events WHERE seq = 5;";
        old.execute_batch(changes).unwrap();
        let before = all(&old);
        Writer::new(&path).write(&[UsageEvent { provider: "late", ..UsageEvent::default() }]).unwrap();
        let mut after = all(&old);
        assert_eq!(after.pop().unwrap()[3], rusqlite::types::Value::Text("late".into()));
        assert_eq!(after, before);
        let left =
            "SELECT group_concat(name) FROM sqlite_master WHERE name LIKE 'events%' OR type = 'trigger' ORDER BY 1";
        let left: String = old.query_row(left, (), |row| row.get(0)).unwrap();
        assert_eq!(left, "events,events_delete");
    }

    #[test]
    fn a_batch_gives_up_its_time_and_a_later_one_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let mut connection = old_file(&path);
        let outcome = upgrade(&mut connection, Some(Instant::now()), &Watch::default()).unwrap();
        assert_eq!(outcome, Upgrade::Reached(PAGE, CALLS_OF_TEST));
        let stopped = Watch::default();
        stopped.stop();
        assert!(matches!(upgrade(&mut connection, None, &stopped), Err(LedgerError::Stopped)));
        assert_eq!(upgrade(&mut connection, None, &Watch::default()).unwrap(), Upgrade::Done);
    }
}
