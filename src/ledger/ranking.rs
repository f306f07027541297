//! Pages of calls in an order: those that began last, cost most or took longest.
//!
//! Blocks have what filters and orders calls, so they tell which calls a page has, and only the rows of those are read from `events`. The
//! latest calls, which are in no block yet, are found in `events`; so are all calls if blocks lack a field of the filter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::block::{self, Block};
use super::error::LedgerError;
use super::filter::Filter;
use super::reader::{Reader, rows_of, select};
use super::scan::{Rows, Scan};
use super::schema;
use super::watch::Watch;
use crate::money::Usd;

/// What calls are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cost, exact.
    Cost,
    /// The time to the last byte.
    Latency,
}

impl Measure {
    /// The measure with this name of a column.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cost_usd" => Some(Self::Cost),
            "latency_ms" => Some(Self::Latency),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Time,
    By(Measure),
}

/// A call's place in an order: its value (nanoseconds, microseconds or units of [`Usd`]; absent ones are last), and its sequence number.
type Place = (Option<i128>, i64);

/// The calls with the highest places so far.
struct Best {
    most: usize,
    places: BinaryHeap<Reverse<Place>>,
}

impl Best {
    fn admits(&self, place: Place) -> bool {
        self.places.len() < self.most || self.places.peek().is_some_and(|Reverse(least)| place > *least)
    }

    fn add(&mut self, place: Place) {
        self.places.push(Reverse(place));
        if self.places.len() > self.most {
            self.places.pop();
        }
    }

    /// The sequence numbers, the highest place first.
    fn into_seqs(self) -> Vec<i64> {
        self.places.into_sorted_vec().into_iter().map(|Reverse((_, seq))| seq).collect()
    }
}

impl Reader {
    /// The last `limit` events by the time at which they began, the newest first, each as a JSON object. Of those that began at the same
    /// time, the last to arrive comes first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn newest(&mut self, filter: &Filter, limit: usize) -> Result<Vec<String>, LedgerError> {
        self.refresh()?;
        let watch = self.watched_by();
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        if !filter.is_indexed()
            && schema::has_blocks(&transaction)?
            && let Some(scan) = Scan::new(filter)
        {
            return rows_of(
                &transaction,
                &in_blocks(&transaction, scan, filter, Order::Time, limit, watch.as_deref())?,
            );
        }
        let mut values = Vec::new();
        let clause = filter.clause_by_time(&mut values);
        values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let query = format!("SELECT * FROM events{clause} ORDER BY started_at DESC, seq DESC LIMIT ?");
        Ok(select(&transaction, &query, values)?.0)
    }

    /// At most `limit` events after the first `offset` ones, those with the highest values first, each as a JSON object. Events without
    /// the value are last. Looks at every event of the filter.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn highest(
        &mut self,
        filter: &Filter,
        measure: Measure,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<String>, LedgerError> {
        self.refresh()?;
        let watch = self.watched_by();
        let mut connection = self.connection()?;
        let transaction = connection.transaction()?;
        let (order, most) = (Order::By(measure), limit.saturating_add(offset));
        let scan = if schema::has_blocks(&transaction)? { Scan::new(filter) } else { None };
        let seqs = if let Some(scan) = scan {
            in_blocks(&transaction, scan, filter, order, most, watch.as_deref())?
        } else {
            let mut best = Best { most, places: BinaryHeap::new() };
            add_events(&transaction, filter, order, 0, &mut best)?;
            best.into_seqs()
        };
        rows_of(&transaction, seqs.get(offset..).unwrap_or_default())
    }
}

/// The sequence numbers of the `most` first calls of an order, found in blocks and, after the last block, in `events`.
fn in_blocks(
    connection: &Connection,
    mut scan: Scan<'_>,
    filter: &Filter,
    order: Order,
    most: usize,
    watch: Option<&Watch>,
) -> Result<Vec<i64>, LedgerError> {
    let mut best = Best { most, places: BinaryHeap::new() };
    add_events(connection, filter, order, block::covered(connection)?, &mut best)?;
    let mut blocks = block::all(connection)?;
    blocks.sort_by_key(|block| Reverse((block.until, block.number)));
    for block in &blocks {
        watch.map_or(Ok(()), Watch::check)?;
        // The calls of this block and of all that follow began earlier.
        if order == Order::Time && !best.admits((Some(block.until.into()), i64::MAX)) {
            break;
        }
        let rows = scan.select(connection, block)?;
        // A pruning that keeps the sums deletes the rows only.
        if !rows.is_empty() && has_rows(connection, block.first_seq, block.last_seq)? {
            add_block(connection, block, &rows, order, &mut best)?;
        }
    }
    Ok(best.into_seqs())
}

fn add_block(
    connection: &Connection,
    block: &Block,
    rows: &Rows,
    order: Order,
    best: &mut Best,
) -> Result<(), LedgerError> {
    let seqs = block.seqs(connection)?;
    let mut places: Vec<Place> = Vec::new();
    let mut add = |row: usize, value: Option<i128>| {
        let place = (value, seqs[row] as i64);
        if best.admits(place) {
            places.push(place);
        }
    };
    match order {
        Order::Time => {
            let times = block.times(connection)?;
            rows.for_each(|row| add(row, Some(times[row].into())));
        }
        Order::By(Measure::Cost) => {
            let costs = block.costs(connection)?;
            rows.for_each(|row| add(row, costs.as_ref().and_then(|costs| costs.get(row))));
        }
        Order::By(Measure::Latency) => {
            let latencies = block.latencies(connection)?;
            rows.for_each(|row| add(row, latencies.as_ref().and_then(|all| all.get(row)).map(i128::from)));
        }
    }
    places.sort_unstable_by_key(|place| Reverse(*place));
    for place in places {
        if !best.admits(place) {
            break;
        }
        if has_rows(connection, place.1, place.1)? {
            best.add(place);
        }
    }
    Ok(())
}

/// Whether `events` still has a row of these sequence numbers.
fn has_rows(connection: &Connection, first: i64, last: i64) -> Result<bool, LedgerError> {
    let query = "SELECT EXISTS (SELECT 1 FROM events WHERE seq >= ?1 AND seq <= ?2)";
    Ok(connection.prepare_cached(query)?.query_row([first, last], |row| row.get(0))?)
}

/// Adds the calls of `events` after a sequence number.
fn add_events(
    connection: &Connection,
    filter: &Filter,
    order: Order,
    after: i64,
    best: &mut Best,
) -> Result<(), LedgerError> {
    let column = match order {
        Order::Time => "started_at",
        Order::By(Measure::Cost) => "cost_usd",
        Order::By(Measure::Latency) => "latency_ms",
    };
    let mut values = Vec::new();
    // The index of times would be slower for the calls after a sequence number.
    let hint = if after > 0 { " NOT INDEXED" } else { "" };
    let query = format!("SELECT seq, {column} FROM events{hint}{}", filter.clause_after(after, &mut values));
    let mut statement = connection.prepare(&query)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let value = match order {
            Order::Time => Some(row.get::<_, i64>(1)?.into()),
            Order::By(Measure::Cost) => {
                let text = row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)?;
                text.map(str::parse).transpose()?.map(Usd::units)
            }
            // As blocks have it.
            Order::By(Measure::Latency) => row.get::<_, Option<f64>>(1)?.map(|ms| (ms * 1000.0).round() as i128),
        };
        let place = (value, row.get(0)?);
        if best.admits(place) {
            best.add(place);
        }
    }
    Ok(())
}
