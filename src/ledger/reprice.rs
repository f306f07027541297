//! Prices stored events again, on request only.
//!
//! The cost of a stored event never changes by itself. A repricing saves the figures that it replaces in `repricings`, and updates the
//! sums in `hourly`. Each page of events is one transaction.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params, params_from_iter};

use super::block::{self, Packed};
use super::error::LedgerError;
use super::filter::Filter;
use super::hours::Hours;
use super::texts::{Texts, notes_text};
use super::writer::Writer;
use crate::event::{Attribution, CostNotes, CostStatus, Status, Usage, UsageEvent};
use crate::money::Usd;
use crate::sys::clock::unix_ns;

/// Events per transaction: enough to be fast, and few enough that other writers wait only for milliseconds.
const PAGE: usize = 2_000;

/// The price of an event at the current rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrice {
    /// The computed cost; `None` if it is unknown.
    pub usd: Option<Usd>,
    /// What caching saved, if that is known.
    pub saved: Option<Usd>,
    /// Where the cost comes from.
    pub status: CostStatus,
    /// Remarks about the cost.
    pub notes: CostNotes,
    /// The catalog entry whose rates were used.
    pub priced_as: Option<String>,
    /// The catalog of that entry.
    pub catalog: Option<String>,
}

/// The result of a repricing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// How many events were read.
    pub examined: u64,
    /// The changes by provider and model. Models without changes are left out.
    pub models: Vec<((String, String), RepricedModel)>,
}

/// The changes of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepricedModel {
    /// How many events got another computed cost or cost status.
    pub changed: u64,
    /// How many of them had an unknown cost before.
    pub newly_priced: u64,
    /// The sum of the known costs of the changed events before.
    pub before: Usd,
    /// The sum of the costs of the changed events now.
    pub after: Usd,
}

/// What a stored event says that prices and sums depend on.
pub(super) struct Stored {
    pub(super) seq: i64,
    pub(super) id: String,
    started_at: u64,
    provider: String,
    model: String,
    operation: String,
    is_error: bool,
    usage: Usage,
    cost: Option<Usd>,
    pub(super) saved: Option<Usd>,
    cost_status: CostStatus,
    computed_cost: Option<Usd>,
    cost_notes: Option<String>,
    priced_as: Option<String>,
    catalog: Option<String>,
    service_tier: Option<String>,
    region: Option<String>,
    batch: bool,
    attribution: [Option<String>; 4],
}

impl Writer {
    /// Prices the events of `filter` again. If `price` returns `None`, the event stays as it is. A dry run changes nothing.
    ///
    /// # Errors
    /// If the file cannot be read or written. Pages that were already repriced stay repriced.
    pub fn reprice(
        &mut self,
        filter: &Filter,
        is_dry_run: bool,
        mut price: impl FnMut(&UsageEvent<'_>) -> Option<NewPrice>,
    ) -> Result<Repriced, LedgerError> {
        if !self.exists() {
            return Ok(Repriced::default());
        }
        let mut connection = self.connection()?;
        let (mut after, mut examined, mut models) = (0, 0, BTreeMap::new());
        loop {
            let behavior = if is_dry_run { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
            let transaction = connection.transaction_with_behavior(behavior)?;
            let page = read_page(&transaction, filter, after, PAGE)?;
            let Some(last) = page.last() else { break };
            (after, examined) = (last.seq, examined + page.len() as u64);
            let mut hours = Hours::default();
            let mut packed = Vec::new();
            let mut numbers = Texts::default();
            let changed = page.iter().filter_map(|stored| {
                let event = stored.event();
                let new = price(&event)?;
                stored.differs_from(&new).then_some((stored, event, new))
            });
            for (stored, event, new) in changed {
                let after = stored.repriced(&event, &new);
                let model = (stored.provider.clone(), stored.model.clone());
                let sums: &mut RepricedModel = models.entry(model).or_default();
                sums.changed += 1;
                sums.newly_priced += u64::from(event.cost.is_none() && after.cost.is_some());
                sums.before = sums.before + event.cost.unwrap_or_default();
                sums.after = sums.after + after.cost.unwrap_or_default();
                if !is_dry_run {
                    hours.add(&event, stored.saved, -1);
                    hours.add(&after, new.saved, 1);
                    let repacked = Repacked::new(&transaction, &mut numbers, &after, &new)?;
                    let priced_as = numbers.number(&transaction, new.priced_as.as_deref().unwrap_or_default())?;
                    write(&transaction, stored, &after, &repacked, priced_as)?;
                    packed.push((stored.seq, repacked));
                }
            }
            if !is_dry_run {
                hours.merge(&transaction)?;
                let seqs: Vec<i64> = packed.iter().map(|(seq, _)| *seq).collect();
                block::change(&transaction, &seqs, |index, call| packed[index].1.apply(call))?;
            }
            transaction.commit()?;
        }
        if !is_dry_run && !models.is_empty() {
            connection.execute("DELETE FROM hourly WHERE calls = 0", ())?;
        }
        Ok(Repriced { examined, models: models.into_iter().collect() })
    }
}

/// What a repricing changes of a call in a block.
struct Repacked {
    cost: Option<Usd>,
    saved: Option<Usd>,
    /// The columns of texts, and the numbers of the new ones.
    texts: [(usize, u32); 3],
}

impl Repacked {
    fn new(
        transaction: &Transaction<'_>,
        numbers: &mut Texts,
        after: &UsageEvent<'_>,
        new: &NewPrice,
    ) -> Result<Self, LedgerError> {
        let mut text = |field: &str, text: &str| -> Result<(usize, u32), LedgerError> {
            let column = block::text_column(field).ok_or(LedgerError::BadBlock)?;
            Ok((column, numbers.number(transaction, text)?))
        };
        let texts = [
            text("cost_status", after.cost_status.name())?,
            text("cost_notes", &notes_text(new.notes).unwrap_or_default())?,
            text("catalog", new.catalog.as_deref().unwrap_or_default())?,
        ];
        Ok(Self { cost: after.cost, saved: new.saved, texts })
    }

    fn apply(&self, call: &mut Packed) -> bool {
        (call.cost, call.saved) = (self.cost, self.saved);
        for (column, number) in self.texts {
            call.texts[column] = number;
        }
        true
    }
}

/// The next events after a sequence number, in order of arrival, at most `limit`.
pub(super) fn read_page(
    connection: &Connection,
    filter: &Filter,
    after: i64,
    limit: usize,
) -> Result<Vec<Stored>, LedgerError> {
    let mut values = Vec::new();
    let clause = filter.clause_after(after, &mut values);
    let query = format!(
        "SELECT seq, id, started_at, provider, model, operation, status = 'error', usage, cost_usd, cost_status,
            computed_cost_usd, cost_notes, priced_as, catalog, service_tier, region, batch, agent, feature, team, customer, cache_saved_usd
        FROM events{clause} ORDER BY seq LIMIT ?"
    );
    values.push(Value::Integer(limit as i64));
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(Stored::read(row)?);
    }
    Ok(page)
}

fn amount(text: Option<String>) -> Result<Option<Usd>, LedgerError> {
    Ok(text.map(|text| text.parse()).transpose()?)
}

fn write(
    transaction: &Transaction<'_>,
    stored: &Stored,
    after: &UsageEvent<'_>,
    repacked: &Repacked,
    priced_as: u32,
) -> Result<(), LedgerError> {
    let [_, (_, notes), (_, catalog)] = repacked.texts;
    let text = |cost: Option<Usd>| cost.map(|cost| cost.to_string());
    transaction
        .prepare_cached(
            "INSERT INTO repricings (id, repriced_at, cost_usd, cost_status, computed_cost_usd, cost_notes, priced_as, catalog)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            stored.id,
            unix_ns() as i64,
            text(stored.cost),
            stored.cost_status.name(),
            text(stored.computed_cost),
            stored.cost_notes,
            stored.priced_as,
            stored.catalog,
        ])?;
    transaction
        .prepare_cached(
            "UPDATE calls SET cost_usd = ?2, cost_status = ?3, computed_cost_usd = ?4, cost_notes = ?5, priced_as = ?6,
                catalog = ?7, cache_saved_usd = ?8 WHERE seq = ?1",
        )?
        .execute(params![
            stored.seq,
            text(after.cost),
            after.cost_status.name(),
            text(after.computed_cost),
            notes,
            priced_as,
            catalog,
            text(repacked.saved),
        ])?;
    Ok(())
}

impl Stored {
    fn read(row: &Row<'_>) -> Result<Self, LedgerError> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            started_at: row.get::<_, i64>(2)?.max(0) as u64,
            provider: row.get(3)?,
            model: row.get(4)?,
            operation: row.get(5)?,
            is_error: row.get(6)?,
            usage: Usage::from_json(&row.get::<_, String>(7)?),
            cost: amount(row.get(8)?)?,
            saved: amount(row.get(21)?)?,
            cost_status: CostStatus::from_name(&row.get::<_, String>(9)?).unwrap_or_default(),
            computed_cost: amount(row.get(10)?)?,
            cost_notes: row.get(11)?,
            priced_as: row.get(12)?,
            catalog: row.get(13)?,
            service_tier: row.get(14)?,
            region: row.get(15)?,
            batch: row.get(16)?,
            attribution: [row.get(17)?, row.get(18)?, row.get(19)?, row.get(20)?],
        })
    }

    /// The fields of the event on which prices and sums depend.
    pub(super) fn event(&self) -> UsageEvent<'_> {
        let [agent, feature, team, customer] = self.attribution.each_ref().map(Option::as_deref);
        UsageEvent {
            started_at: self.started_at,
            provider: &self.provider,
            model: &self.model,
            operation: &self.operation,
            status: if self.is_error { Status::Error } else { Status::Success },
            usage: self.usage.clone(),
            cost: self.cost,
            cost_status: self.cost_status,
            computed_cost: self.computed_cost,
            cost_notes: CostNotes::from_names(self.cost_notes.as_deref().unwrap_or_default()),
            service_tier: self.service_tier.as_deref(),
            region: self.region.as_deref(),
            batch: self.batch,
            attribution: Attribution { agent, feature, team, customer, ..Attribution::default() },
            ..UsageEvent::default()
        }
    }

    /// Whether the new price differs from the stored one. An unknown new price never replaces the stored one.
    fn differs_from(&self, new: &NewPrice) -> bool {
        if new.usd.is_none() {
            return false;
        }
        if self.cost_status == CostStatus::Reported {
            return self.computed_cost != new.usd;
        }
        self.cost != new.usd || self.cost_status != new.status
    }

    /// The event at the new price. A reported cost remains the effective cost.
    fn repriced<'a>(&self, event: &UsageEvent<'a>, new: &NewPrice) -> UsageEvent<'a> {
        let mut after = event.clone();
        if self.cost_status == CostStatus::Reported {
            after.computed_cost = new.usd;
        } else {
            (after.cost, after.cost_status) = (new.usd, new.status);
        }
        after
    }
}
