//! What a response of `ClickHouse` means. Its own code decides, never the status alone: a table that is read-only and a row that is cut
//! off both get 500.

use super::super::verdict::{Answer, Verdict, by_status, wait_of};

/// A request with more events than this is split when the server has too little memory for it.
const SPLIT_ABOVE: u64 = 1_000;
/// The beginning of the table's path in words, for the operator.
const INIT: &str = "run `taximeter clickhouse init` with the URL of this destination";
const KEYS: &str = "check user and token of the destination";
const GRANTS: &str = "create the table with `taximeter clickhouse init`, and grant INSERT on it to this user";
const TABLE: &str = "the table has other columns or types: run `taximeter clickhouse check`, then alter the table or use another database";
const READONLY: &str = "this user or table is read-only: use a user without the setting readonly, and a writable table";
const ELSEWHERE: &str =
    "this is not an answer of ClickHouse: check the host and the port of the URL, and proxies in between";
const ROWS: &str = "see `taximeter clickhouse check`";

/// The code of `ClickHouse` in a response: in its header or, from old servers, at the beginning of the body. `None` if another server
/// answered, such as a proxy.
pub(super) fn code_of(answer: &Answer<'_>) -> Option<u32> {
    let in_header = answer.code.and_then(|code| code.trim().parse().ok());
    in_header.or_else(|| {
        let rest = answer.body.trim_ascii_start().strip_prefix(b"Code: ")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    })
}

fn says(answer: &Answer<'_>, words: &str) -> bool {
    answer.body.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()))
}

/// The verdict about a request with `sent` events.
pub(super) fn verdict(answer: &Answer<'_>, sent: u64) -> Verdict {
    let Some(code) = code_of(answer) else { return without_code(answer) };
    let busy = || Verdict::Busy(wait_of(answer));
    match code {
        // Wrong keys, missing grants, a read-only user or table, a disabled or unknown user.
        164 | 192..=194 | 497 | 516
        // No such table, database, column, setting or type; a statement that this version does not understand.
        | 16 | 36 | 47 | 48 | 50 | 53 | 60 | 62 | 73 | 81 | 115 => Verdict::Pause,
        // The table has another type for a column.
        117 if says(answer, "reading header") => Verdict::Pause,
        252 if says(answer, "too many partitions") => Verdict::Split,
        241 if sent > SPLIT_ABOVE => Verdict::Split,
        159 | 202 | 203 | 209 | 210 | 225 | 236 | 241..=243 | 252 | 285 | 319 | 394 | 425 | 745 | 999 => busy(),
        // Bytes that are not rows of this table.
        6 | 27 | 33 | 69 | 117 | 128 | 131 | 349 => Verdict::BisectOrPause,
        271 | 354 => Verdict::Uncompressed,
        // Of an unknown code, the table may be the cause, for example a materialized view beside it.
        _ => match by_status(answer) {
            Verdict::Bisect | Verdict::Dead => Verdict::BisectOrPause,
            other => other,
        },
    }
}

/// The verdict about an answer without a code: the request succeeded, or a proxy answered, or the port is one of another protocol. Those
/// know nothing of events, so none is given up because of them.
fn without_code(answer: &Answer<'_>) -> Verdict {
    match by_status(answer) {
        Verdict::Bisect | Verdict::Dead => Verdict::Pause,
        other => other,
    }
}

/// The code in words, with what an operator can do; `None` if there is nothing to say.
pub(super) fn message(answer: &Answer<'_>) -> Option<String> {
    let Some(code) = code_of(answer) else {
        let is_refusal = matches!(by_status(answer), Verdict::Bisect | Verdict::Dead) || answer.status == 404;
        return is_refusal.then(|| ELSEWHERE.to_owned());
    };
    let (name, remedy) = match code {
        16 => ("NO_SUCH_COLUMN_IN_TABLE", INIT),
        60 => ("UNKNOWN_TABLE", INIT),
        81 => ("UNKNOWN_DATABASE", INIT),
        115 => ("UNKNOWN_SETTING", "this server is older than 23.8: use a newer one"),
        36 | 47 | 48 | 50 | 53 | 62 | 73 => ("the statement does not fit the table or the server", TABLE),
        117 if says(answer, "reading header") => ("INCORRECT_DATA", TABLE),
        164 => ("READONLY", READONLY),
        192..=194 | 516 => ("AUTHENTICATION_FAILED", KEYS),
        497 => ("ACCESS_DENIED", GRANTS),
        252 => ("TOO_MANY_PARTS", "it is merging; send larger batches, or use Destination(server_batches=True)"),
        241 => ("MEMORY_LIMIT_EXCEEDED", "give the server or its user more memory"),
        6 | 27 | 33 | 69 | 117 | 128 | 131 | 349 => ("it refuses rows", ROWS),
        _ => return Some(format!("ClickHouse's code {code}")),
    };
    Some(format!("ClickHouse's code {code}, {name}; {remedy}"))
}
