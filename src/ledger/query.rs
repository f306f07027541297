//! Answers SQL statements that only read.
//!
//! SQLite itself refuses everything else: an authorizer rejects statements that write, attach files, load extensions or change settings
//! while they are prepared, and `query_only` rejects what would still write.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};

use super::error::LedgerError;
use super::reader::Reader;
use super::watch::Watch;
use crate::money::{AmountError, Usd};

/// The most rows and bytes of a block.
const BLOCK_ROWS: usize = 1_000;
const BLOCK_BYTES: usize = 1 << 20;
/// The most bytes of one value. SQLite's own limit of 1 GB would let one statement take all memory.
const LARGEST_VALUE: i32 = 64 << 20;
/// The pragmas that only tell something.
const TELLING: [&str; 12] = [
    "application_id",
    "compile_options",
    "encoding",
    "foreign_key_list",
    "freelist_count",
    "index_info",
    "index_list",
    "index_xinfo",
    "page_count",
    "page_size",
    "table_info",
    "table_xinfo",
];
/// Functions that could run code or read memory.
const REFUSED: [&str; 3] = ["fts3_tokenizer", "load_extension", "sqlite_log"];

/// The values of a statement's parameters.
#[derive(Debug)]
pub enum Parameters {
    /// In the order of the question marks.
    Positional(Vec<Value>),
    /// By name, without the colon.
    Named(Vec<(String, Value)>),
}

/// A block of rows.
pub type Rows = Vec<Vec<Value>>;

impl Reader {
    /// Answers a statement. Gives the names of the columns to `head`, then the rows to `each` in blocks. If one of them returns `false`,
    /// nothing more is read.
    ///
    /// # Errors
    /// [`LedgerError::Query`] if the statement is invalid or not only reads; [`LedgerError::TimedOut`] and [`LedgerError::Stopped`].
    pub fn query(
        &mut self,
        sql: &str,
        parameters: &Parameters,
        watch: &Arc<Watch>,
        head: impl FnOnce(Vec<String>) -> bool,
        mut each: impl FnMut(Rows) -> bool,
    ) -> Result<(), LedgerError> {
        self.refresh()?;
        let mut connection = self.connection()?;
        restrict(&mut connection, watch)?;
        let invalid = |error: rusqlite::Error| match watch.explain(error) {
            LedgerError::Sqlite(error) => LedgerError::Query(format!("sql: {}", message(&error))),
            other => other,
        };
        let mut statement = connection.prepare(sql).map_err(invalid)?;
        if statement.column_count() == 0 {
            return Err(LedgerError::Query("sql: only statements that read are allowed, such as SELECT".into()));
        }
        bind(&mut statement, parameters)?;
        let columns = statement.column_names().map(str::to_owned).collect::<Vec<_>>();
        let width = columns.len();
        if !head(columns) {
            return Ok(());
        }
        let mut rows = statement.raw_query();
        let (mut block, mut bytes) = (Rows::new(), 0);
        while let Some(row) = rows.next().map_err(invalid)? {
            let mut values = Vec::with_capacity(width);
            for column in 0..width {
                let value = row.get_ref(column)?;
                bytes += size(value);
                values.push(owned(value));
            }
            block.push(values);
            if block.len() >= BLOCK_ROWS || bytes >= BLOCK_BYTES {
                if watch.is_over() {
                    return Err(watch.reason());
                }
                if !each(std::mem::take(&mut block)) {
                    return Ok(());
                }
                bytes = 0;
            }
        }
        each(block);
        Ok(())
    }
}

fn restrict(connection: &mut Connection, watch: &Arc<Watch>) -> Result<(), LedgerError> {
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_aggregate_function("decimal_sum", 1, flags, DecimalSum)?;
    watch.guard(connection)?;
    // The last step, because the authorizer refuses the others.
    Ok(connection.authorizer(Some(
        |context: AuthContext<'_>| {
            if may(&context.action) { Authorization::Allow } else { Authorization::Deny }
        },
    ))?)
}

fn may(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !REFUSED.iter().any(|refused| refused.eq_ignore_ascii_case(function_name))
        }
        AuthAction::Pragma { pragma_name, .. } => {
            TELLING.iter().any(|telling| telling.eq_ignore_ascii_case(pragma_name))
        }
        _ => false,
    }
}

/// SQLite's message, without the code that rusqlite adds.
fn message(error: &rusqlite::Error) -> String {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::MultipleStatement => "give one statement".to_owned(),
        other => other.to_string(),
    };
    match text.as_str() {
        "not authorized" => "only statements that read are allowed, such as SELECT".to_owned(),
        _ => text,
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, parameters: &Parameters) -> Result<(), LedgerError> {
    let invalid = |message: String| Err(LedgerError::Query(format!("parameters: {message}")));
    let count = statement.parameter_count();
    match parameters {
        Parameters::Positional(values) => {
            if values.len() != count {
                return invalid(format!("the statement takes {count}, and {} are given", values.len()));
            }
            for (index, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, value)?;
            }
        }
        Parameters::Named(values) => {
            for index in 1..=count {
                let name = statement.parameter_name(index).unwrap_or("?").to_owned();
                let value = values.iter().find(|(given, _)| *given == name[1..]);
                let Some((_, value)) = value else { return invalid(format!("{name} has no value")) };
                statement.raw_bind_parameter(index, value)?;
            }
        }
    }
    Ok(())
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => 32 + bytes.len(),
        _ => 32,
    }
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        // A text may not be UTF-8, because other tools write to the file.
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// `decimal_sum(cost_usd)`: the exact sum of amounts, as a text. NULL counts as unknown and is left out.
struct DecimalSum;

impl Aggregate<Option<Usd>, Option<String>> for DecimalSum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Option<Usd>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Option<Usd>) -> rusqlite::Result<()> {
        let failed = |error: AmountError| rusqlite::Error::UserFunctionError(error.into());
        let amount: Usd = match context.get_raw(0) {
            ValueRef::Null => return Ok(()),
            ValueRef::Integer(whole) => whole.to_string().parse().map_err(failed)?,
            value => value.as_str()?.parse().map_err(failed)?,
        };
        *sum = Some(sum.unwrap_or_default() + amount);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Option<Usd>>) -> rusqlite::Result<Option<String>> {
        Ok(sum.flatten().map(|sum| sum.to_string()))
    }
}
