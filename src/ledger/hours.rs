//! The sums by hour of a batch, and their merge into the table `hourly`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{Transaction, params};

use super::error::LedgerError;
use crate::event::{Unit, Usage, UsageEvent};
use crate::money::Usd;

const NANOSECONDS_PER_HOUR: u64 = 3_600_000_000_000;

/// The key of a row of `hourly`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Call<'a> {
    hour: u64,
    provider: &'a str,
    model: &'a str,
    operation: &'a str,
    status: &'static str,
    cost_status: &'static str,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    calls: i64,
    tokens: [i64; 5],
    cost: Usd,
    saved: Usd,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.tokens.iter_mut().zip(other.tokens).for_each(|(total, count)| *total += count);
        self.cost = self.cost + other.cost;
        self.saved = self.saved + other.saved;
    }
}

/// The sums of a batch.
#[derive(Default)]
pub(super) struct Hours<'a>(HashMap<Call<'a>, Sums, RandomState>);

/// The names in usage of the counts that have their own columns, in column order.
pub(super) const USAGE_NAMES: [&str; 5] = [
    Unit::INPUT_TOKENS.name(),
    Unit::OUTPUT_TOKENS.name(),
    Unit::CACHE_READ_TOKENS.name(),
    Unit::CACHE_WRITE_TOKENS.name(),
    Unit::REASONING_TOKENS.name(),
];

/// The counts that have their own columns, in column order.
pub(super) fn usage_columns(usage: &Usage) -> [i64; 5] {
    [
        usage.count(Unit::INPUT_TOKENS) as i64,
        usage.count(Unit::OUTPUT_TOKENS) as i64,
        usage.count(Unit::CACHE_READ_TOKENS) as i64,
        usage.count(Unit::CACHE_WRITE_TOKENS) as i64,
        usage.count(Unit::REASONING_TOKENS) as i64,
    ]
}

/// As [`usage_columns`], of an event.
pub(super) fn token_columns(event: &UsageEvent<'_>) -> [i64; 5] {
    usage_columns(&event.usage)
}

impl<'a> Hours<'a> {
    /// Adds an event, and what caching saved in it, to the sums of its hour (`times` 1), or subtracts it (`times` -1).
    pub(super) fn add(&mut self, event: &UsageEvent<'a>, saved: Option<Usd>, times: i64) {
        let call = Call {
            hour: event.started_at / NANOSECONDS_PER_HOUR,
            provider: event.provider,
            model: event.model,
            operation: event.operation,
            status: event.status.name(),
            cost_status: event.cost_status.name(),
        };
        let units = |amount: Option<Usd>| Usd::from_units(i128::from(times) * amount.unwrap_or_default().units());
        self.0.entry(call).or_default().add(&Sums {
            calls: times,
            tokens: token_columns(event).map(|count| times * count),
            cost: units(event.cost),
            saved: units(saved),
        });
    }

    /// Adds the sums to the table.
    pub(super) fn merge(&self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        let mut merge = transaction.prepare_cached(
            "INSERT INTO hourly VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
            ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
                cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
                reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
                cost_usd = usd_sum(cost_usd, excluded.cost_usd),
                cache_saved_usd = usd_sum(cache_saved_usd, excluded.cache_saved_usd)",
        )?;
        for (call, sums) in &self.0 {
            let Call { hour, provider, model, operation, status, cost_status } = call;
            let [input, output, cache_read, cache_write, reasoning] = sums.tokens;
            merge.execute(params![
                *hour as i64,
                provider,
                model,
                operation,
                status,
                cost_status,
                sums.calls,
                input,
                output,
                cache_read,
                cache_write,
                reasoning,
                sums.cost.to_string(),
                sums.saved.to_string(),
            ])?;
        }
        Ok(())
    }
}
