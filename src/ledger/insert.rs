//! Inserts the events of a batch.
//!
//! Neighbours have most values in common, and binding a text copies it. So only the values that differ from the event before are bound
//! again: SQLite keeps the others.

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection};

use super::error::LedgerError;
use super::hours::token_columns;
use crate::event::id::with_id_text;
use crate::event::json::TagMap;
use crate::event::{CostNotes, UsageEvent};
use crate::money::Usd;

const INSERT: &str = "INSERT OR IGNORE INTO events (id, started_at, provider, model, operation, status, error, finish_reason,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, usage, usage_status,
    cost_usd, cost_status, computed_cost_usd, priced_as, catalog, latency_ms, ttft_ms, service_tier, region, batch,
    agent, feature, team, customer, user, session, tags, trace_id, span_id, parent_span_id,
    cost_notes, provider_usage, call_id, seq, cache_saved_usd)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
    ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40)";

/// The statement, and the event whose values are bound.
pub(super) struct Insert<'c, 'b, 'e> {
    statement: CachedStatement<'c>,
    bound: Option<&'b UsageEvent<'e>>,
}

impl<'c, 'b, 'e> Insert<'c, 'b, 'e> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, LedgerError> {
        Ok(Self { statement: connection.prepare_cached(INSERT)?, bound: None })
    }

    /// Inserts an event under a sequence number, with what caching saved. Returns false if its id is already stored.
    pub(super) fn insert(
        &mut self,
        event: &'b UsageEvent<'e>,
        seq: i64,
        saved: Option<Usd>,
    ) -> Result<bool, LedgerError> {
        // If a value cannot be bound, the next event binds all of its own.
        let mut row = Row { statement: &mut self.statement, before: self.bound.take(), event };
        row.bind_texts()?;
        row.bind_numbers()?;
        row.bind(16, |event| event.cost, |cost| cost.map(|cost| cost.to_string()))?;
        row.bind(18, |event| event.computed_cost, |cost| cost.map(|cost| cost.to_string()))?;
        row.bind(32, |event| event.attribution.tags.as_slice(), tags_text)?;
        row.bind(36, |event| event.cost_notes, notes_text)?;
        with_id_text(event.id, |id| self.statement.raw_bind_parameter(1, id))?;
        self.statement.raw_bind_parameter(2, event.started_at as i64)?;
        self.statement.raw_bind_parameter(39, seq)?;
        self.statement.raw_bind_parameter(40, saved.map(|saved| saved.to_string()))?;
        let inserted = self.statement.raw_execute()?;
        self.bound = Some(event);
        Ok(inserted == 1)
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

    fn bind_texts(&mut self) -> Result<(), LedgerError> {
        self.bind_text(3, |event| Some(event.provider))?;
        self.bind_text(4, |event| Some(event.model))?;
        self.bind_text(5, |event| Some(event.operation))?;
        self.bind_text(6, |event| Some(event.status.name()))?;
        self.bind_text(7, |event| event.error)?;
        self.bind_text(8, |event| event.finish_reason)?;
        self.bind_text(15, |event| Some(event.usage_status.name()))?;
        self.bind_text(17, |event| Some(event.cost_status.name()))?;
        self.bind_text(19, |event| event.priced_as)?;
        self.bind_text(20, |event| event.catalog)?;
        self.bind_text(23, |event| event.service_tier)?;
        self.bind_text(24, |event| event.region)?;
        self.bind_text(26, |event| event.attribution.agent)?;
        self.bind_text(27, |event| event.attribution.feature)?;
        self.bind_text(28, |event| event.attribution.team)?;
        self.bind_text(29, |event| event.attribution.customer)?;
        self.bind_text(30, |event| event.attribution.user)?;
        self.bind_text(31, |event| event.attribution.session)?;
        self.bind_text(33, |event| event.trace_id)?;
        self.bind_text(34, |event| event.span_id)?;
        self.bind_text(35, |event| event.parent_span_id)?;
        self.bind_text(37, |event| event.provider_usage)?;
        self.bind_text(38, |event| event.call_id)
    }

    fn bind_numbers(&mut self) -> Result<(), LedgerError> {
        if self.before.is_none_or(|before| before.usage != self.event.usage) {
            for (column, count) in (9..14).zip(token_columns(self.event)) {
                self.statement.raw_bind_parameter(column, count)?;
            }
            self.statement.raw_bind_parameter(14, serde_json::to_string(&self.event.usage).unwrap_or_default())?;
        }
        let milliseconds = |us: Option<u64>| us.map(|us| us as f64 / 1000.0);
        self.bind(21, |event| event.latency_us, milliseconds)?;
        self.bind(22, |event| event.ttft_us, milliseconds)?;
        self.bind(25, |event| event.batch, |batch| batch)
    }
}

/// The names of the remarks, separated by commas; `None` without remarks.
pub(super) fn notes_text(notes: CostNotes) -> Option<String> {
    (!notes.is_empty()).then(|| notes.names().collect::<Vec<_>>().join(","))
}

/// The tags as a JSON object; `None` without tags.
pub(super) fn tags_text(tags: &[(&str, &str)]) -> Option<String> {
    (!tags.is_empty()).then(|| serde_json::to_string(&TagMap(tags)).unwrap_or_default())
}
