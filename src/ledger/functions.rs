//! The functions that taximeter adds to SQLite, which has no decimals and folds the case of ASCII letters only.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};

use super::error::LedgerError;
use crate::money::{AmountError, Usd};

/// Adds the functions to a connection: `usd_sum`, the exact sum of two amounts; `usd_order`, negative if the first is less; and
/// `contains_any`, whether the first text contains one of the others, in any case of letters.
pub(super) fn add(connection: &Connection) -> Result<(), LedgerError> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("usd_sum", 2, flags, |context| {
        Ok(amount(context, 0)?.zip(amount(context, 1)?).map(|(one, other)| (one + other).to_string()))
    })?;
    connection.create_scalar_function("usd_order", 2, flags, |context| {
        Ok(amount(context, 0)?.zip(amount(context, 1)?).map(|(one, other)| one.cmp(&other) as i64))
    })?;
    connection.create_scalar_function("contains_any", -1, flags, |context| {
        let text = context.get_raw(0).as_str()?.to_lowercase();
        for index in 1..context.len() {
            if text.contains(&context.get_raw(index).as_str()?.to_lowercase()) {
                return Ok(true);
            }
        }
        Ok(false)
    })?;
    Ok(())
}

fn amount(context: &Context<'_>, index: usize) -> rusqlite::Result<Option<Usd>> {
    let text = context.get_raw(index).as_str_or_null()?;
    text.map(str::parse).transpose().map_err(|error: AmountError| rusqlite::Error::UserFunctionError(error.into()))
}
