//! Percentiles of latency and of the time to the first token, by any fields.
//!
//! Each group counts its calls in buckets, eight an octave, so a percentile is within 4.5 % of the exact one.

use super::block;
use super::dimension::Dimension;
use super::error::LedgerError;
use super::filter::Filter;
use super::groups::Groups;
use super::reader::Reader;
use super::scan::Scan;
use super::schema;
use super::watch::Watch;

/// Buckets of an octave. Each is 9.05 % wider than the one before, so its middle is within 4.5 % of any of its values.
const OCTAVE: f64 = 8.0;
/// More than the buckets of any duration: 2^(320/8) µs are 12 days.
const BUCKETS: usize = 320;

/// The measured time of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duration {
    /// From the request to the last byte of the response.
    Latency,
    /// From the request to the first token.
    FirstToken,
}

/// The durations of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// The values of the dimensions, with an empty text for an absent value.
    pub key: Vec<String>,
    /// The calls of which the duration is known.
    pub calls: u64,
    /// The percentiles that were asked for, in milliseconds.
    pub percentiles: Vec<f64>,
    /// The calls by bucket: its upper limit in milliseconds, and the calls. Empty buckets are left out.
    pub buckets: Vec<(f64, u64)>,
}

type Counts = Vec<u32>;

impl Reader {
    /// The durations of calls by `dimensions`. `fractions` are the percentiles, such as 0.95. Groups without a known duration are left
    /// out; the one with the most calls comes first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn durations(
        &mut self,
        what: Duration,
        dimensions: &[Dimension],
        filter: &Filter,
        fractions: &[f64],
    ) -> Result<Vec<Durations>, LedgerError> {
        self.refresh()?;
        let watch = self.watched_by();
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let has_blocks = schema::has_blocks(&transaction)?;
        let mut groups = Groups::new(&transaction, dimensions, has_blocks);
        let mut counts: Vec<Counts> = Vec::new();
        let mut after = None;
        if let Some(mut scan) = if has_blocks && groups.is_packed() { Scan::new(filter) } else { None } {
            for block in block::all(&transaction)? {
                watch.as_deref().map_or(Ok(()), Watch::check)?;
                let rows = scan.select(&transaction, &block)?;
                let durations = match what {
                    Duration::Latency => block.latencies(&transaction)?,
                    Duration::FirstToken => block.ttfts(&transaction)?,
                };
                let (Some(durations), false) = (durations, rows.is_empty()) else { continue };
                let found = groups.of_calls(&block, &rows)?;
                counts.resize(groups.len(), Counts::new());
                rows.for_each(|row| {
                    if let Some(us) = durations[row] {
                        count(&mut counts[found[row] as usize], us as f64);
                    }
                });
            }
            after = Some(block::covered(&transaction)?);
        }
        let column = if what == Duration::Latency { "latency_ms" } else { "ttft_ms" };
        let mut values = Vec::new();
        let fields = dimensions.iter().map(|dimension| dimension.over_events(&mut values));
        let fields = fields.fold(String::new(), |list, field| list + ", " + &field);
        let clause = filter.clause_after(after.unwrap_or(0), &mut values);
        let hint = if after.is_some() { " NOT INDEXED" } else { "" };
        let query = format!("SELECT {column}{fields} FROM events{hint}{clause} AND {column} IS NOT NULL");
        let mut statement = transaction.prepare(&query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let group = groups.of_row(row, 1)? as usize;
            counts.resize(groups.len(), Counts::new());
            count(&mut counts[group], row.get::<_, f64>(0)? * 1000.0);
        }
        let all: Vec<u32> = (0..groups.len() as u32).collect();
        let mut answer: Vec<_> =
            groups.values_of(&all)?.into_iter().zip(counts).filter(|(_, counts)| !counts.is_empty()).collect();
        answer.sort_by_cached_key(|(key, counts)| (std::cmp::Reverse(total(counts)), key.clone()));
        Ok(answer.into_iter().map(|(key, counts)| summed(key, &counts, fractions)).collect())
    }
}

/// The bucket of a duration in microseconds.
pub(super) fn bucket(us: f64) -> usize {
    ((us.max(1.0).log2() * OCTAVE) as usize).min(BUCKETS - 1)
}

fn count(counts: &mut Counts, us: f64) {
    let bucket = bucket(us);
    if counts.len() <= bucket {
        counts.resize(bucket + 1, 0);
    }
    counts[bucket] += 1;
}

fn total(counts: &Counts) -> u64 {
    counts.iter().map(|count| u64::from(*count)).sum()
}

/// The duration in milliseconds at a position in the sequence of buckets.
fn milliseconds(position: f64) -> f64 {
    (position / OCTAVE).exp2() / 1000.0
}

fn summed(key: Vec<String>, counts: &Counts, fractions: &[f64]) -> Durations {
    let calls = total(counts);
    let percentile = |fraction: &f64| {
        // The nearest rank: the least value that is at or above this share of all.
        let rank = ((fraction * calls as f64).ceil() as u64).clamp(1, calls);
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        milliseconds(bucket.unwrap_or_default() as f64 + 0.5)
    };
    let buckets = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    Durations {
        key,
        calls,
        percentiles: fractions.iter().map(percentile).collect(),
        buckets: buckets.map(|(bucket, count)| (milliseconds(bucket as f64 + 1.0), u64::from(*count))).collect(),
    }
}
