//! `ClickHouse`: rows of one table, which many processes and hosts write and reports read with `FINAL`.
//!
//! One request is one synchronous `INSERT` in `RowBinaryWithNamesAndTypes`. Its token, made of the events' ids, makes the server drop a
//! request that it has stored already. Events that are sent again in other requests are stored twice until a merge; reports count them
//! once. The sender never creates or changes a table: `taximeter clickhouse init` does.

mod columns;
mod encode;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

pub use self::columns::{COLUMNS, Column, REVISION};
use super::format::{Credentials, Format, OptionError, Options, Protocol};
use super::limits::BatchLimits;
use super::request::HttpRequest;
use super::verdict::{Answer, Verdict};
use crate::event::{Savings, UsageEvent};

/// The table, unless the URL names another one.
const TABLE: &str = "taximeter_events";
const DATABASE: &str = "default";
const CONTENT_TYPE: &str = "application/octet-stream";
/// The header of a response with the code of an error.
const CODE_HEADER: &str = "x-clickhouse-exception-code";
/// Two requests at a time keep the server busy; four are no faster.
const CONCURRENCY: u32 = 2;
/// The server makes a part of each request and merges parts later, so large requests are cheaper for it.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;
/// Records of about three full requests.
const BATCH_BYTES: usize = 4 << 20;
/// Settings that are sent with each request, because their defaults differ between versions of the server. Without the third one, a
/// repeated request counts twice in a materialized view. With the default of the last one, a batch with events of more than 100 months
/// would be refused.
const SETTINGS: [(&str, &str); 3] = [
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("throw_on_max_partitions_per_insert_block", "0"),
];

/// The entry of this format in the table.
pub(super) const FORMAT: Format = Format {
    name: "clickhouse",
    has_scheme: true,
    make: |options| Box::new(ClickHouse::new(options)),
    check,
    has_users: true,
    headers,
};

/// The wire format.
struct ClickHouse {
    database: String,
    statement: String,
    header: Vec<u8>,
    /// Whether the server collects the rows of many small senders before it stores them.
    is_async: bool,
    savings: Option<Savings>,
}

impl ClickHouse {
    fn new(options: &Options) -> Self {
        let (database, table) = place(&options.url_path).unwrap_or((DATABASE, TABLE));
        let names = COLUMNS.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
        Self {
            database: database.to_owned(),
            statement: format!("INSERT INTO `{table}` ({names}) FORMAT RowBinaryWithNamesAndTypes"),
            header: encode::header(),
            is_async: options.server_batches,
            savings: None,
        }
    }
}

impl Protocol for ClickHouse {
    fn encode(&self, events: &[UsageEvent<'_>]) -> Vec<HttpRequest> {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut query: Vec<_> =
            [("database", self.database.as_str()), ("query", &self.statement)].into_iter().map(pair).collect();
        query.extend(insert_settings(events.iter().map(|event| event.id), self.is_async));
        let request = HttpRequest::post(CONTENT_TYPE, encode::encode(&self.header, events, self.savings.as_ref()));
        vec![HttpRequest { query, is_at_root: true, path: "/".to_owned(), ..request }]
    }

    fn set_savings(&mut self, savings: &Savings) {
        self.savings = Some(Savings::clone(savings));
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_events: MAX_EVENTS,
            ceiling: MAX_EVENTS,
            max_bytes: MAX_BYTES,
            batch_bytes: BATCH_BYTES,
            linger: Duration::from_secs(1),
            concurrency: CONCURRENCY,
            ..BatchLimits::default()
        }
    }

    fn code_header(&self) -> Option<&'static str> {
        Some(CODE_HEADER)
    }

    fn verdict(&self, answer: &Answer<'_>, sent: u64) -> Verdict {
        verdict::verdict(answer, sent)
    }

    fn message(&self, answer: &Answer<'_>) -> Option<String> {
        verdict::message(answer)
    }
}

/// The settings of an `INSERT` of events with these ids. `is_async`: the server collects the rows of many small senders.
#[must_use]
pub fn insert_settings(ids: impl IntoIterator<Item = [u8; 16]>, is_async: bool) -> Vec<(String, String)> {
    let mut settings = vec![("insert_deduplication_token".to_owned(), encode::token(ids))];
    let fixed = [("async_insert", if is_async { "1" } else { "0" })].into_iter();
    // Without waiting, the server accepts rows that it loses when it crashes.
    let fixed = fixed.chain(is_async.then_some(("wait_for_async_insert", "1"))).chain(SETTINGS);
    settings.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    settings
}

/// Whether a text can be the name of a database or a table.
fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// The database and the table in the path of a URL; `None` if the path is invalid.
#[must_use]
pub fn place(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (database, table) = path.strip_suffix('/').unwrap_or(path).split_once('/').unwrap_or_else(|| {
        let only = path.strip_suffix('/').unwrap_or(path);
        (if only.is_empty() { DATABASE } else { only }, TABLE)
    });
    (is_name(database) && is_name(table)).then_some((database, table))
}

fn check(options: &Options) -> Result<(), OptionError> {
    place(&options.url_path).map(drop).ok_or(OptionError::Database)
}

/// `ClickHouse` has users with passwords, and refuses bearer tokens.
fn headers(keys: &Credentials<'_>) -> Vec<(&'static str, String)> {
    let pairs = [("x-clickhouse-user", keys.user), ("x-clickhouse-key", keys.token)];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect()
}
