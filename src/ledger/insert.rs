//! Inserts the events of a batch.
//!
//! Neighbours have most values in common, and binding a text copies it. So only the values that differ from the event before are bound
//! again: SQLite keeps the others.

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection};

use super::block::{COUNTS, PLAIN, TEXTS};
use super::error::LedgerError;
use super::fold::Numbered;
use crate::event::id::with_id_text;
use crate::event::{Unit, Usage, UsageEvent};
use crate::money::Usd;

/// The fields that are numbers of texts in `calls`: their indexes in [`TEXTS`]. The catalog entry follows them.
const NUMBERS: usize = TEXTS.len() - PLAIN.len();
/// The first parameters of some values.
const FIRST_NUMBER: usize = 6;
const PRICED_AS: usize = FIRST_NUMBER + NUMBERS;
const FIRST_COUNT: usize = PRICED_AS + 1;
const AFTER_COUNTS: usize = FIRST_COUNT + COUNTS.len();

/// The columns of `calls`, in the order of the parameters of an INSERT.
pub(super) const COLUMNS: [&str; 40] = [
    "seq",
    "id",
    "started_at",
    "status",
    "cost_status",
    "provider",
    "model",
    "operation",
    "usage_status",
    "error",
    "finish_reason",
    "service_tier",
    "region",
    "catalog",
    "cost_notes",
    "agent",
    "feature",
    "team",
    "customer",
    "user",
    "session",
    "tags",
    "priced_as",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cache_saved_usd",
    "computed_cost_usd",
    "latency_us",
    "ttft_us",
    "batch",
    "usage",
    "trace_id",
    "span_id",
    "parent_span_id",
    "call_id",
    "provider_usage",
];

/// The statement that inserts a row with a value for each column. `verb` begins it.
pub(super) fn insert_sql(verb: &str) -> String {
    let marks = ["?"; COLUMNS.len()].join(", ");
    format!("{verb} INTO calls ({}) VALUES ({marks})", COLUMNS.join(", "))
}

/// The statement, and the event whose values are bound.
pub(super) struct Insert<'c, 'b, 'e> {
    statement: CachedStatement<'c>,
    bound: Option<(&'b UsageEvent<'e>, Numbered)>,
}

impl<'c, 'b, 'e> Insert<'c, 'b, 'e> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, LedgerError> {
        Ok(Self { statement: connection.prepare_cached(&insert_sql("INSERT OR IGNORE"))?, bound: None })
    }

    /// Inserts an event whose texts are numbered. Returns false if its id is already stored.
    pub(super) fn insert(&mut self, event: &'b UsageEvent<'e>, numbered: Numbered) -> Result<bool, LedgerError> {
        // If a value cannot be bound, the next event binds all of its own.
        let before = self.bound.take();
        self.bind_numbers(&numbered, before.as_ref().map(|(_, before)| before))?;
        let mut row = Row { statement: &mut self.statement, before: before.map(|(before, _)| before), event };
        row.bind_event()?;
        with_id_text(event.id, |id| self.statement.raw_bind_parameter(2, id))?;
        self.statement.raw_bind_parameter(3, event.started_at as i64)?;
        let inserted = self.statement.raw_execute()?;
        self.bound = Some((event, numbered));
        Ok(inserted == 1)
    }

    /// Binds the numbers of texts, and what else an event does not have itself.
    fn bind_numbers(&mut self, new: &Numbered, before: Option<&Numbered>) -> Result<(), LedgerError> {
        self.statement.raw_bind_parameter(1, new.call.seq)?;
        let numbers = TEXTS.iter().zip(new.call.texts).enumerate().filter(|(_, (name, _))| !PLAIN.contains(name));
        for (parameter, (column, (_, number))) in (FIRST_NUMBER..).zip(numbers) {
            if before.is_none_or(|before| before.call.texts[column] != number) {
                self.statement.raw_bind_parameter(parameter, number)?;
            }
        }
        if before.is_none_or(|before| before.priced_as != new.priced_as) {
            self.statement.raw_bind_parameter(PRICED_AS, new.priced_as)?;
        }
        if before.is_none_or(|before| before.call.saved != new.call.saved) {
            self.statement.raw_bind_parameter(AFTER_COUNTS + 1, new.call.saved.map(|saved| saved.to_string()))?;
        }
        for (index, count) in new.call.counts.iter().enumerate() {
            if before.is_none_or(|before| before.call.counts[index] != *count) {
                self.statement.raw_bind_parameter(FIRST_COUNT + index, *count as i64)?;
            }
        }
        Ok(())
    }
}

/// One event, whose values are being bound.
struct Row<'s, 'c, 'b, 'e> {
    statement: &'s mut CachedStatement<'c>,
    before: Option<&'b UsageEvent<'e>>,
    event: &'b UsageEvent<'e>,
}

impl<'b, 'e> Row<'_, '_, 'b, 'e> {
    /// Binds the value of a column, made from the part of the event on which it depends.
    #[inline]
    fn bind<P: PartialEq, V: ToSql>(
        &mut self,
        column: usize,
        part: impl Fn(&'b UsageEvent<'e>) -> P,
        value: impl FnOnce(P) -> V,
    ) -> Result<(), LedgerError> {
        let own = part(self.event);
        if self.before.is_none_or(|before| part(before) != own) {
            self.statement.raw_bind_parameter(column, value(own))?;
        }
        Ok(())
    }

    #[inline]
    fn bind_text(
        &mut self,
        column: usize,
        text: impl Fn(&'b UsageEvent<'e>) -> Option<&'b str>,
    ) -> Result<(), LedgerError> {
        self.bind(column, text, |text| text)
    }

    fn bind_event(&mut self) -> Result<(), LedgerError> {
        let amount = |amount: Option<Usd>| amount.map(|amount| amount.to_string());
        self.bind_text(4, |event| Some(event.status.name()))?;
        self.bind_text(5, |event| Some(event.cost_status.name()))?;
        self.bind(AFTER_COUNTS, |event| event.cost, amount)?;
        self.bind(AFTER_COUNTS + 2, |event| event.computed_cost, amount)?;
        let microseconds = |us: Option<u64>| us.map(|us| us as i64);
        self.bind(AFTER_COUNTS + 3, |event| event.latency_us, microseconds)?;
        self.bind(AFTER_COUNTS + 4, |event| event.ttft_us, microseconds)?;
        self.bind(AFTER_COUNTS + 5, |event| event.batch, |batch| batch)?;
        self.bind(AFTER_COUNTS + 6, |event| &event.usage, further_usage)?;
        self.bind_text(AFTER_COUNTS + 7, |event| event.trace_id)?;
        self.bind_text(AFTER_COUNTS + 8, |event| event.span_id)?;
        self.bind_text(AFTER_COUNTS + 9, |event| event.parent_span_id)?;
        self.bind_text(AFTER_COUNTS + 10, |event| event.call_id)?;
        self.bind_text(AFTER_COUNTS + 11, |event| event.provider_usage)
    }
}

/// The usage as JSON; `None` if the view `events` can make it from the counts: if it has only those, and none is 0.
pub(super) fn further_usage(usage: &Usage) -> Option<String> {
    const COUNTED: u64 = Unit::INPUT_TOKENS.bit()
        | Unit::OUTPUT_TOKENS.bit()
        | Unit::CACHE_READ_TOKENS.bit()
        | Unit::CACHE_WRITE_TOKENS.bit()
        | Unit::REASONING_TOKENS.bit();
    let is_counted =
        usage.present() & !COUNTED == 0 && usage.iter().all(|(_, count)| count > 0 && i64::try_from(count).is_ok());
    (!is_counted).then(|| serde_json::to_string(usage).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bound_to_their_columns() {
        let numbers: Vec<_> = TEXTS.into_iter().filter(|name| !PLAIN.contains(name)).collect();
        assert_eq!(COLUMNS[FIRST_NUMBER - 1..PRICED_AS - 1], numbers);
        assert_eq!(COLUMNS[PRICED_AS - 1], "priced_as");
        assert_eq!(COLUMNS[FIRST_COUNT - 1..AFTER_COUNTS - 1], COUNTS);
        assert_eq!(COLUMNS[AFTER_COUNTS - 1], "cost_usd");
    }
}
