//! Blocks: the columns that reports need of consecutive calls, packed.
//!
//! Sums by customer do not condense the calls of 100,000 customers, so reports read the columns of the calls themselves. A block has the calls from `first_seq` to `last_seq`; all calls up to the last block's end are in
//! blocks, later ones only in `calls`. A column that is absent has no value in any call.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::error::LedgerError;
use super::packing::{self, Amounts, Optional};
use super::watch::Watch;
use crate::money::Usd;

/// The calls of a block: enough that reading a column costs little beside its numbers. Tests fill more blocks with fewer calls.
pub(super) const CALLS: usize = if cfg!(test) { 64 } else { 16_384 };

/// The fields that are texts, in the order of their columns. New ones are appended.
pub(super) const TEXTS: [&str; 19] = [
    "provider",
    "model",
    "operation",
    "status",
    "cost_status",
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
];
/// Those of them that are texts in `calls` as well. The others are numbers there.
pub(super) const PLAIN: [&str; 2] = ["status", "cost_status"];
/// The fields that are counts, in the order of their columns.
pub(super) const COUNTS: [&str; 5] =
    ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"];
/// The numbers of the columns. Those of [`TEXTS`] begin at 0.
const FIRST_COUNT: i64 = 32;
const SEQ: i64 = 48;
const TIME: i64 = 49;
const COST: i64 = 50;
const SAVED: i64 = 51;
const LATENCY: i64 = 52;
const TTFT: i64 = 53;
/// `block_columns.key` is the number of the block times this, plus the number of the column.
const COLUMNS: i64 = 64;

/// The index in [`TEXTS`] of a field.
pub(super) fn text_column(name: &str) -> Option<usize> {
    TEXTS.iter().position(|field| *field == name)
}

/// One call in a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed {
    pub(super) seq: i64,
    /// Nanoseconds since the Unix epoch.
    pub(super) started_at: u64,
    /// The numbers of the texts of [`TEXTS`].
    pub(super) texts: [u32; TEXTS.len()],
    pub(super) counts: [u64; COUNTS.len()],
    pub(super) cost: Option<Usd>,
    pub(super) saved: Option<Usd>,
    pub(super) latency_us: Option<u64>,
    pub(super) ttft_us: Option<u64>,
}

/// The end of the last block: the calls up to this sequence number are in blocks.
pub(super) fn covered(connection: &Connection) -> Result<i64, LedgerError> {
    Ok(connection.prepare_cached("SELECT ifnull(max(last_seq), 0) FROM blocks")?.query_row((), |row| row.get(0))?)
}

/// Appends a block.
pub(super) fn append(transaction: &Transaction<'_>, calls: &[Packed]) -> Result<(), LedgerError> {
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else { return Ok(()) };
    let mut insert = transaction
        .prepare_cached("INSERT INTO blocks (first_seq, last_seq, calls, since, until) VALUES (?1, ?2, 0, 0, 0)")?;
    let block = insert.insert(params![first.seq, last.seq])?;
    write(transaction, block, calls)
}

/// Writes the columns of a block that has none.
fn write(transaction: &Transaction<'_>, block: i64, calls: &[Packed]) -> Result<(), LedgerError> {
    let times = || calls.iter().map(|call| call.started_at);
    let (since, until) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
    transaction
        .prepare_cached("UPDATE blocks SET calls = ?2, since = ?3, until = ?4 WHERE block = ?1")?
        .execute(params![block, calls.len() as i64, since as i64, until as i64])?;
    let mut insert = transaction.prepare_cached("INSERT INTO block_columns (key, data) VALUES (?1, ?2)")?;
    let mut put = |column: i64, data: Option<Vec<u8>>| {
        data.map_or(Ok(0), |data| insert.execute(params![block * COLUMNS + column, data])).map(|_| ())
    };
    for column in 0..TEXTS.len() {
        put(column as i64, encode_texts(calls.iter().map(|call| call.texts[column])))?;
    }
    let numbers = |number: fn(&Packed) -> u64| calls.iter().map(number).collect::<Vec<_>>();
    for column in 0..COUNTS.len() {
        let counts: Vec<_> = calls.iter().map(|call| call.counts[column]).collect();
        put(FIRST_COUNT + column as i64, packing::encode(&counts))?;
    }
    put(SEQ, packing::encode(&numbers(|call| call.seq.max(0) as u64)))?;
    put(TIME, packing::encode(&numbers(|call| call.started_at)))?;
    put(COST, packing::encode_amounts(&calls.iter().map(|call| call.cost).collect::<Vec<_>>()))?;
    put(SAVED, packing::encode_amounts(&calls.iter().map(|call| call.saved).collect::<Vec<_>>()))?;
    put(LATENCY, packing::encode_optional(&calls.iter().map(|call| call.latency_us).collect::<Vec<_>>()))?;
    put(TTFT, packing::encode_optional(&calls.iter().map(|call| call.ttft_us).collect::<Vec<_>>()))?;
    Ok(())
}

/// The numbers that occur, and for each call the index of its own; `None` if all are absent.
fn encode_texts(numbers: impl Iterator<Item = u32>) -> Option<Vec<u8>> {
    let (mut indexes, mut values, mut rows) =
        (HashMap::<u32, u64, foldhash::fast::RandomState>::default(), Vec::new(), Vec::new());
    let mut last = None;
    for number in numbers {
        // Neighbours often have the same.
        let index = match last {
            Some((same, index)) if same == number => index,
            _ => *indexes.entry(number).or_insert_with(|| {
                values.push(number);
                values.len() as u64 - 1
            }),
        };
        last = Some((number, index));
        rows.push(index);
    }
    if values == [0] {
        return None;
    }
    let mut bytes = (values.len() as u32).to_le_bytes().to_vec();
    for value in &values {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(packing::encode(&rows).unwrap_or_default());
    Some(bytes)
}

/// A block of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) number: i64,
    /// The first and the last sequence number.
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) calls: usize,
    /// The first and the last time at which a call began.
    pub(super) since: u64,
    pub(super) until: u64,
}

/// The values that calls have in a field, such as the numbers of texts, and for each call the index of its own (empty: all have the first).
pub(super) struct Values {
    pub(super) values: Vec<u32>,
    pub(super) rows: Vec<u64>,
}

impl Values {
    /// The number of a call's text.
    pub(super) fn get(&self, row: usize) -> u32 {
        self.values[self.rows.get(row).map_or(0, |index| *index as usize)]
    }
}

/// Which calls have one of some texts.
pub(super) struct Meeting {
    /// For each distinct text, whether it is one of them.
    meets: Vec<bool>,
    /// As in [`Values`].
    rows: Vec<u64>,
}

impl Meeting {
    pub(super) fn is_all(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.meets[self.rows.get(row).map_or(0, |index| *index as usize)]
    }
}

/// The distinct texts of a column, and the bytes after them.
fn distinct_texts(bytes: &[u8]) -> Result<(Vec<u32>, &[u8]), LedgerError> {
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or(LedgerError::BadBlock)?;
    let size = (u32::from_le_bytes(*count) as usize).checked_mul(4).filter(|size| *size > 0);
    let (texts, rest) = size.and_then(|size| rest.split_at_checked(size)).ok_or(LedgerError::BadBlock)?;
    Ok((texts.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect(), rest))
}

/// The blocks of a file, in the order of sequence numbers.
pub(super) fn all(connection: &Connection) -> Result<Vec<Block>, LedgerError> {
    let query = format!("SELECT {BLOCK} FROM blocks WHERE calls > 0 ORDER BY block");
    let mut select = connection.prepare_cached(&query)?;
    let rows = select.query_map((), of_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The columns that [`of_row`] reads.
const BLOCK: &str = "block, first_seq, last_seq, calls, since, until";

fn of_row(row: &Row<'_>) -> rusqlite::Result<Block> {
    let unsigned = |column| row.get::<_, i64>(column).map(|number| number.max(0) as u64);
    Ok(Block {
        number: row.get(0)?,
        first_seq: row.get(1)?,
        last_seq: row.get(2)?,
        calls: unsigned(3)? as usize,
        since: unsigned(4)?,
        until: unsigned(5)?,
    })
}

impl Block {
    fn column<R>(
        &self,
        connection: &Connection,
        column: i64,
        read: impl FnOnce(&[u8]) -> Result<R, LedgerError>,
    ) -> Result<Option<R>, LedgerError> {
        let mut select = connection.prepare_cached("SELECT data FROM block_columns WHERE key = ?1")?;
        let mut rows = select.query([self.number * COLUMNS + column])?;
        match rows.next()? {
            None => Ok(None),
            Some(row) => read(row.get_ref(0)?.as_blob().map_err(|_| LedgerError::BadBlock)?).map(Some),
        }
    }

    /// The column of the field of [`TEXTS`] with this index.
    pub(super) fn texts(&self, connection: &Connection, column: usize) -> Result<Values, LedgerError> {
        let found = self.column(connection, column as i64, |bytes| {
            let (values, rest) = distinct_texts(bytes)?;
            let rows = self.indexes(rest, values.len())?;
            Ok(Values { values, rows })
        })?;
        Ok(found.unwrap_or(Values { values: vec![0], rows: Vec::new() }))
    }

    /// Which calls have a text that `meets` chooses; `None` if no call has one. Only then the calls themselves are not looked at.
    pub(super) fn meeting(
        &self,
        connection: &Connection,
        column: usize,
        mut meets: impl FnMut(u32) -> Result<bool, LedgerError>,
    ) -> Result<Option<Meeting>, LedgerError> {
        let mut is_found = false;
        let found = self.column(connection, column as i64, |bytes| {
            is_found = true;
            let (values, rest) = distinct_texts(bytes)?;
            let meets = values.into_iter().map(&mut meets).collect::<Result<Vec<_>, _>>()?;
            if !meets.contains(&true) {
                return Ok(None);
            }
            let rows = if meets.contains(&false) { self.indexes(rest, meets.len())? } else { Vec::new() };
            Ok(Some(Meeting { meets, rows }))
        })?;
        if is_found {
            return Ok(found.flatten());
        }
        Ok(meets(0)?.then(|| Meeting { meets: vec![true], rows: Vec::new() }))
    }

    /// For each call, the index of its text among the `count` distinct ones; empty if all calls have the first.
    fn indexes(&self, bytes: &[u8], count: usize) -> Result<Vec<u64>, LedgerError> {
        let rows = if bytes.is_empty() { Vec::new() } else { packing::decode(bytes, self.calls)? };
        if rows.iter().any(|index| *index as usize >= count) { Err(LedgerError::BadBlock) } else { Ok(rows) }
    }

    /// The column of the field of [`COUNTS`] with this index; `None` if all are 0.
    pub(super) fn counts(&self, connection: &Connection, column: usize) -> Result<Option<Vec<u64>>, LedgerError> {
        self.column(connection, FIRST_COUNT + column as i64, |bytes| packing::decode(bytes, self.calls))
    }

    fn numbers(&self, connection: &Connection, column: i64) -> Result<Vec<u64>, LedgerError> {
        let found = self.column(connection, column, |bytes| packing::decode(bytes, self.calls))?;
        Ok(found.unwrap_or_else(|| vec![0; self.calls]))
    }

    /// When each call began.
    pub(super) fn times(&self, connection: &Connection) -> Result<Vec<u64>, LedgerError> {
        self.numbers(connection, TIME)
    }

    /// The sequence number of each call.
    pub(super) fn seqs(&self, connection: &Connection) -> Result<Vec<u64>, LedgerError> {
        self.numbers(connection, SEQ)
    }

    /// The cost of each call; `None` if none is known.
    pub(super) fn costs(&self, connection: &Connection) -> Result<Option<Amounts>, LedgerError> {
        self.column(connection, COST, |bytes| Amounts::decode(bytes, self.calls))
    }

    /// What caching saved in each call; `None` if that is known of none.
    pub(super) fn saved(&self, connection: &Connection) -> Result<Option<Amounts>, LedgerError> {
        self.column(connection, SAVED, |bytes| Amounts::decode(bytes, self.calls))
    }

    /// The latency of each call in microseconds; `None` if none is known.
    pub(super) fn latencies(&self, connection: &Connection) -> Result<Option<Optional>, LedgerError> {
        self.column(connection, LATENCY, |bytes| Optional::decode(bytes, self.calls))
    }

    /// The time to the first token of each call in microseconds; `None` if none is known.
    pub(super) fn ttfts(&self, connection: &Connection) -> Result<Option<Optional>, LedgerError> {
        self.column(connection, TTFT, |bytes| Optional::decode(bytes, self.calls))
    }

    /// The calls of the block.
    fn read(&self, connection: &Connection) -> Result<Vec<Packed>, LedgerError> {
        let mut calls = vec![Packed::default(); self.calls];
        for column in 0..TEXTS.len() {
            let texts = self.texts(connection, column)?;
            calls.iter_mut().enumerate().for_each(|(row, call)| call.texts[column] = texts.get(row));
        }
        for column in 0..COUNTS.len() {
            if let Some(counts) = self.counts(connection, column)? {
                calls.iter_mut().zip(counts).for_each(|(call, count)| call.counts[column] = count);
            }
        }
        let (seqs, times) = (self.seqs(connection)?, self.times(connection)?);
        let (costs, saved) = (self.costs(connection)?, self.saved(connection)?);
        let (latencies, ttfts) = (self.latencies(connection)?, self.ttfts(connection)?);
        let amount =
            |amounts: &Option<Amounts>, row| amounts.as_ref().and_then(|all| all.get(row)).map(Usd::from_units);
        let number = |numbers: &Option<Optional>, row| numbers.as_ref().and_then(|all| all.get(row));
        for (row, call) in calls.iter_mut().enumerate() {
            (call.seq, call.started_at) = (seqs[row] as i64, times[row]);
            (call.cost, call.saved) = (amount(&costs, row), amount(&saved, row));
            (call.latency_us, call.ttft_us) = (number(&latencies, row), number(&ttfts, row));
        }
        Ok(calls)
    }
}

/// Neighbours that together have at most as many calls as a block may have: the numbers of the blocks and of their calls.
fn small_neighbours(connection: &Connection) -> Result<Vec<Vec<(i64, i64)>>, LedgerError> {
    let mut select = connection.prepare("SELECT block, calls FROM blocks ORDER BY block")?;
    let blocks = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<(i64, i64)>, _>>()?;
    let mut groups: Vec<Vec<(i64, i64)>> = Vec::new();
    let mut sum = 0;
    for block in blocks {
        sum += block.1;
        match groups.last_mut() {
            Some(group) if sum <= CALLS as i64 => group.push(block),
            _ => {
                sum = block.1;
                groups.push(vec![block]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    Ok(groups)
}

/// Merges neighbours that are small, because they were packed early or because their calls were deleted. Each merged block is a
/// transaction.
pub(super) fn merge(connection: &mut Connection, watch: &Watch) -> Result<(), LedgerError> {
    for group in small_neighbours(connection)? {
        watch.check()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have changed them since.
        if small_neighbours(&transaction)?.contains(&group) {
            merge_group(&transaction, &group)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn merge_group(transaction: &Transaction<'_>, group: &[(i64, i64)]) -> Result<(), LedgerError> {
    let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return Ok(()) };
    let mut all = Vec::new();
    for (number, calls) in group {
        let block =
            Block { number: *number, calls: (*calls).max(0) as usize, first_seq: 0, last_seq: 0, since: 0, until: 0 };
        all.extend(block.read(transaction)?);
    }
    let query = "SELECT last_seq FROM blocks WHERE block = ?1";
    let last_seq: i64 = transaction.query_row(query, [last], |row| row.get(0))?;
    let columns = "DELETE FROM block_columns WHERE key >= ?1 AND key < ?2";
    transaction.execute(columns, [first * COLUMNS, (last + 1) * COLUMNS])?;
    transaction.execute("DELETE FROM blocks WHERE block > ?1 AND block <= ?2", [first, last])?;
    transaction.execute("UPDATE blocks SET last_seq = ?2 WHERE block = ?1", [*first, last_seq])?;
    write(transaction, *first, &all)
}

/// Changes calls of a block, or removes them: `change` returns whether a call stays.
fn rewrite(
    transaction: &Transaction<'_>,
    block: &Block,
    change: impl FnMut(&mut Packed) -> bool,
) -> Result<(), LedgerError> {
    let mut calls = block.read(transaction)?;
    calls.retain_mut(change);
    transaction
        .prepare_cached("DELETE FROM block_columns WHERE key >= ?1 AND key < ?2")?
        .execute([block.number * COLUMNS, (block.number + 1) * COLUMNS])?;
    write(transaction, block.number, &calls)
}

/// Changes the calls with these sequence numbers, ascending, or removes them: `change` gets the index of the number, and returns whether
/// the call stays. Calls that are not in a block are skipped.
pub(super) fn change(
    transaction: &Transaction<'_>,
    seqs: &[i64],
    mut change: impl FnMut(usize, &mut Packed) -> bool,
) -> Result<(), LedgerError> {
    let mut next = 0;
    while next < seqs.len() {
        let query = format!("SELECT {BLOCK} FROM blocks WHERE last_seq >= ?1 ORDER BY last_seq LIMIT 1");
        let found = transaction.prepare_cached(&query)?.query_row([seqs[next]], of_row).optional()?;
        let Some(block) = found else { return Ok(()) };
        let end = next + seqs[next..].partition_point(|seq| *seq <= block.last_seq);
        let of_block = &seqs[next..end];
        rewrite(transaction, &block, |call| match of_block.binary_search(&call.seq) {
            Ok(index) => change(next + index, call),
            Err(_) => true,
        })?;
        next = end;
    }
    Ok(())
}
