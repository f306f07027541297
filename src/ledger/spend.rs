//! Spent amounts of budgets, by key and period. After a reboot, the state of the budgets is rebuilt from them.
//!
//! The sums change in the transaction that stores the events, so they agree with the events whatever happens.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use super::error::LedgerError;
use super::reader::Reader;
use crate::event::{CostStatus, Unit, UsageEvent};
use crate::money::Usd;

/// A budget that an event counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spend {
    /// The name of the budget.
    pub budget: String,
    /// The values of its key, as a JSON list.
    pub key: String,
    /// The start of the period, or of the part of a rolling one, in seconds since the Unix epoch.
    pub period: i64,
    /// Periods before this one are deleted; `i64::MIN` keeps all.
    pub kept_from: i64,
}

/// Computes the budgets that an event counts for.
pub type Spending = Arc<dyn Fn(&UsageEvent<'_>) -> Vec<Spend> + Send + Sync>;

/// The sums of a budget, a key and a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The name of the budget.
    pub budget: String,
    /// The values of its key, as a JSON list.
    pub key: String,
    /// As in [`Spend`].
    pub period: i64,
    /// Calls that were charged.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// The cost of the calls whose price is known.
    pub cost: Usd,
    /// Calls whose price is unknown.
    pub unpriced: u64,
}

#[derive(Default)]
struct Sums {
    calls: i64,
    tokens: i64,
    cost: Usd,
    unpriced: i64,
}

/// The sums of a batch.
#[derive(Default)]
pub(super) struct Spends(HashMap<Spend, Sums>);

impl Spends {
    /// Adds an event. A failed call that used nothing is not charged.
    pub(super) fn add(&mut self, event: &UsageEvent<'_>, spending: &Spending) {
        if event.cost_status == CostStatus::NotCharged {
            return;
        }
        for spend in spending(event) {
            let sums = self.0.entry(spend).or_default();
            sums.calls += 1;
            sums.tokens += (event.usage.count(Unit::INPUT_TOKENS) + event.usage.count(Unit::OUTPUT_TOKENS)) as i64;
            sums.cost = sums.cost + event.cost.unwrap_or_default();
            sums.unpriced += i64::from(event.cost.is_none());
        }
    }

    /// Adds the sums to the table.
    pub(super) fn merge(&self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        let mut merge = transaction.prepare_cached(
            "INSERT INTO budget_spend VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, tokens = tokens + excluded.tokens,
                cost_usd = usd_sum(cost_usd, excluded.cost_usd), unpriced = unpriced + excluded.unpriced",
        )?;
        let mut delete = transaction.prepare_cached("DELETE FROM budget_spend WHERE budget = ?1 AND period < ?2")?;
        for (spend, sums) in &self.0 {
            let Spend { budget, key, period, kept_from } = spend;
            let cost = sums.cost.to_string();
            merge.execute(params![budget, period, key, sums.calls, sums.tokens, cost, sums.unpriced])?;
            if *kept_from > i64::MIN {
                delete.execute(params![budget, kept_from])?;
            }
        }
        Ok(())
    }
}

impl Reader {
    /// The spent amounts of a budget in the periods that begin at this time or later.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn spent(&mut self, budget: &str, from: i64) -> Result<Vec<Spent>, LedgerError> {
        let connection = self.connection()?;
        let has_table: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'budget_spend')",
            (),
            |row| row.get(0),
        )?;
        if !has_table {
            return Ok(Vec::new());
        }
        let mut select = connection.prepare(
            "SELECT key, period, calls, tokens, cost_usd, unpriced FROM budget_spend WHERE budget = ?1 AND period >= ?2",
        )?;
        let rows = select.query_map(params![budget, from], |row| {
            Ok(Spent {
                budget: budget.to_owned(),
                key: row.get(0)?,
                period: row.get(1)?,
                calls: row.get::<_, i64>(2)? as u64,
                tokens: row.get::<_, i64>(3)? as u64,
                cost: row.get::<_, String>(4)?.parse().unwrap_or_default(),
                unpriced: row.get::<_, i64>(5)? as u64,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
