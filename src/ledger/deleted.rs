//! What deleted calls add to the counters of metrics.
//!
//! A counter that falls looks like one that began anew: Prometheus would count all calls that are left as new ones. So each deletion adds
//! the sums of its calls to the table `deleted_calls`. Only values that can be labels are kept, never users, sessions, customers or tags.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::LedgerError;
use super::latency::bucket;
use crate::money::Usd;

/// The columns that can be labels, as in `python/taximeter/ledger/deleted.py`.
const LABELS: [&str; 12] = [
    "provider",
    "model",
    "operation",
    "status",
    "agent",
    "feature",
    "team",
    "service_tier",
    "region",
    "error",
    "usage_status",
    "finish_reason",
];
/// The most combinations of labels. The calls of later ones are counted under [`OTHER`], so that a field with a new value for each call
/// cannot fill the file.
const MOST: i64 = 10_000;
const OTHER: &str = "other";
/// Calls, unpriced ones, what repricing has changed of these, and the five kinds of tokens.
const COUNTS: usize = 8;

/// The sums of the calls with the same labels.
struct Sums {
    first_seq: i64,
    counts: [i64; COUNTS],
    cost: Usd,
    correction: Usd,
    saved: Option<Usd>,
    /// Calls by the bucket of their latency, and of their time to the first token.
    durations: [BTreeMap<usize, u64>; 2],
}

impl Sums {
    fn of(first_seq: i64) -> Self {
        Self {
            first_seq,
            counts: [0; COUNTS],
            cost: Usd::default(),
            correction: Usd::default(),
            saved: None,
            durations: Default::default(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.first_seq = self.first_seq.min(other.first_seq);
        self.counts.iter_mut().zip(other.counts).for_each(|(total, count)| *total += count);
        self.cost = self.cost + other.cost;
        self.correction = self.correction + other.correction;
        self.saved = match (self.saved, other.saved) {
            (Some(one), Some(more)) => Some(one + more),
            (one, more) => one.or(more),
        };
        for (own, more) in self.durations.iter_mut().zip(&other.durations) {
            for (bucket, calls) in more {
                *own.entry(*bucket).or_default() += calls;
            }
        }
    }
}

/// Adds the calls with these sequence numbers, before they are deleted in the same transaction. With `keeps_sums`, reports still count
/// them, but no longer know what repricing has changed.
pub(super) fn keep(transaction: &Connection, seqs: &[i64], keeps_sums: bool) -> Result<(), LedgerError> {
    let query = format!(
        "SELECT e.{}, e.seq, e.cost_usd, e.cost_status = 'unpriced', e.cache_saved_usd, e.latency_ms, e.ttft_ms,
            r.seq IS NOT NULL, r.cost_usd, r.cost_status = 'unpriced', e.input_tokens, e.output_tokens, e.cache_read_tokens,
            e.cache_write_tokens, e.reasoning_tokens
        FROM events e LEFT JOIN repricings r ON r.seq = (SELECT min(seq) FROM repricings WHERE id = e.id) WHERE e.seq = ?1",
        LABELS.join(", e.")
    );
    let mut select = transaction.prepare_cached(&query)?;
    let mut found: HashMap<[String; LABELS.len()], Sums> = HashMap::new();
    for seq in seqs {
        let mut rows = select.query([seq])?;
        while let Some(row) = rows.next()? {
            let mut labels: [String; LABELS.len()] = Default::default();
            for (index, label) in labels.iter_mut().enumerate() {
                *label = row.get::<_, Option<String>>(index)?.unwrap_or_default();
            }
            let sums = call(row, *seq, keeps_sums)?;
            found.entry(labels).or_insert_with(|| Sums::of(*seq)).add(&sums);
        }
    }
    drop(select);
    merge(transaction, found)
}

/// What one call adds.
fn call(row: &Row<'_>, seq: i64, keeps_sums: bool) -> Result<Sums, LedgerError> {
    let at = |column: usize| LABELS.len() + column;
    let amount = |column: usize| -> Result<Option<Usd>, LedgerError> {
        Ok(row.get::<_, Option<String>>(at(column))?.map(|text| text.parse()).transpose()?)
    };
    let cost = amount(1)?.unwrap_or_default();
    let is_unpriced: bool = row.get(at(2))?;
    let (first, was_unpriced) = if row.get(at(6))? {
        (amount(7)?.unwrap_or_default(), row.get::<_, bool>(at(8))?)
    } else {
        (cost, is_unpriced)
    };
    let mut sums = Sums::of(seq);
    sums.correction = Usd::from_units(cost.units() - first.units());
    sums.counts[2] = i64::from(is_unpriced) - i64::from(was_unpriced);
    if keeps_sums {
        // Reports have what the call cost last, and metrics subtract the correction from that.
        sums.cost = Usd::from_units(-sums.correction.units());
        sums.counts[1] = -sums.counts[2];
        return Ok(sums);
    }
    sums.cost = first;
    sums.saved = amount(3)?;
    (sums.counts[0], sums.counts[1]) = (1, i64::from(was_unpriced));
    for kind in 0..5 {
        sums.counts[3 + kind] = row.get(at(9 + kind))?;
    }
    for (which, buckets) in sums.durations.iter_mut().enumerate() {
        if let Some(ms) = row.get::<_, Option<f64>>(at(4 + which))? {
            buckets.insert(bucket(ms * 1000.0), 1);
        }
    }
    Ok(sums)
}

/// Adds the sums to the table.
fn merge(transaction: &Connection, found: HashMap<[String; LABELS.len()], Sums>) -> Result<(), LedgerError> {
    const OLD: &str =
        "SELECT first_seq, calls, unpriced, unpriced_correction, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens, cost_usd, correction_usd, cache_saved_usd, latency, ttft
        FROM deleted_calls WHERE labels = ?1";
    let mut known: i64 = transaction.query_row("SELECT count(*) FROM deleted_calls", (), |row| row.get(0))?;
    let mut select = transaction.prepare_cached(OLD)?;
    let mut replace = transaction.prepare_cached(
        "INSERT OR REPLACE INTO deleted_calls (labels, first_seq, calls, unpriced, unpriced_correction, input_tokens,
            output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd, correction_usd, cache_saved_usd, latency, ttft)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    let mut ordered: Vec<_> = found.into_iter().collect();
    ordered.sort_by_key(|(_, sums)| sums.first_seq);
    for (labels, mut sums) in ordered {
        let mut key = json(&labels)?;
        let mut old = select.query_row([&key], |row| Ok(stored(row))).optional()?.transpose()?;
        if old.is_none() && known >= MOST {
            key = json(&[OTHER; LABELS.len()])?;
            old = select.query_row([&key], |row| Ok(stored(row))).optional()?.transpose()?;
        }
        match old {
            Some(old) => sums.add(&old),
            None => known += 1,
        }
        let [calls, unpriced, unpriced_correction, input, output, cache_read, cache_write, reasoning] = sums.counts;
        replace.execute(params![
            key,
            sums.first_seq,
            calls,
            unpriced,
            unpriced_correction,
            input,
            output,
            cache_read,
            cache_write,
            reasoning,
            sums.cost.to_string(),
            sums.correction.to_string(),
            sums.saved.map(|saved| saved.to_string()),
            json(&sums.durations[0])?,
            json(&sums.durations[1])?,
        ])?;
    }
    Ok(())
}

/// The sums of a row of the table.
fn stored(row: &Row<'_>) -> Result<Sums, LedgerError> {
    let mut sums = Sums::of(row.get(0)?);
    for (index, count) in sums.counts.iter_mut().enumerate() {
        *count = row.get(1 + index)?;
    }
    sums.cost = row.get::<_, String>(9)?.parse()?;
    sums.correction = row.get::<_, String>(10)?.parse()?;
    sums.saved = row.get::<_, Option<String>>(11)?.map(|text| text.parse()).transpose()?;
    for (which, buckets) in sums.durations.iter_mut().enumerate() {
        let text: String = row.get(12 + which)?;
        *buckets = serde_json::from_str(&text).map_err(|error| LedgerError::Damaged(error.to_string()))?;
    }
    Ok(sums)
}

fn json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|error| LedgerError::Damaged(error.to_string()))
}
