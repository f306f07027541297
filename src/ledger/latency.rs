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

/// The bits of the fraction of a `f64`, and what its exponent has for numbers from 1 to 2.
const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const EXPONENT_OF_ONE: usize = f64::MAX_EXP as usize - 1;
/// The fractions, as bits, of the least numbers from 1 to 2 that are at or above 2^(1/8), 2^(2/8) … 2^(7/8).
const EIGHTHS: [u64; OCTAVE as usize - 1] = [
    0x1_72b8_3c7d_517b,
    0x3_06fe_0a31_b716,
    0x4_bfda_d536_2a28,
    0x6_a09e_667f_3bcd,
    0x8_ace5_422a_a0dc,
    0xa_e89f_995a_d3ae,
    0xd_5818_dcfb_a488,
];

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
                    if let Some(us) = durations.get(row) {
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

/// The bucket of a duration in microseconds: `log2(us) * OCTAVE` without its fraction. A logarithm takes longer than to read the duration.
pub(super) fn bucket(us: f64) -> usize {
    let bits = us.max(1.0).to_bits();
    let (octave, mantissa) = ((bits >> MANTISSA_BITS) as usize - EXPONENT_OF_ONE, bits & ((1 << MANTISSA_BITS) - 1));
    let eighth: usize = EIGHTHS.iter().map(|limit| usize::from(mantissa >= *limit)).sum();
    (octave * OCTAVE as usize + eighth).min(BUCKETS - 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_logarithm() {
        let logarithm = |us: f64| ((us.max(1.0).log2() * OCTAVE) as usize).min(BUCKETS - 1);
        let mut random = fastrand::Rng::with_seed(5);
        let random = (0..200_000).map(|_| (random.f64() * 42.0).exp2());
        let whole = (0..200_000).map(f64::from).chain((0..60).map(|octave| f64::from(octave).exp2()));
        for us in whole.chain(random).chain([-1.0, 0.5, 1e300, f64::INFINITY, f64::NAN]) {
            assert_eq!(bucket(us), logarithm(us), "{us}");
        }
    }
}
