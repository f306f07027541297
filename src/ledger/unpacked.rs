//! What blocks have of the rows of `calls`, so that SQLite reads only the other columns of these rows: each column of a row costs it more
//! than all columns of a call in a block.

use rusqlite::Connection;

use super::block::{self, Block, COUNTS, TEXTS, Values};
use super::error::LedgerError;
use super::packing::Optional;

/// A value that blocks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The number of a text, by its index in [`TEXTS`].
    Text(usize),
    /// By its index in [`COUNTS`].
    Count(usize),
    Time,
    Latency,
    FirstToken,
}

impl Part {
    /// The part with the name of a column of `events`; `None` if blocks do not have it, or as something else than the column.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "started_at" => Some(Self::Time),
            "latency_ms" => Some(Self::Latency),
            "ttft_ms" => Some(Self::FirstToken),
            name => match COUNTS.iter().position(|count| *count == name) {
                Some(count) => Some(Self::Count(count)),
                None => block::text_column(name).map(Self::Text),
            },
        }
    }
}

/// The calls of blocks, one block at a time, in the order of their sequence numbers.
pub(super) struct Unpacked {
    /// Those that were not read yet, the next one last.
    blocks: Vec<Block>,
    parts: Vec<Part>,
    /// The last sequence number of the block that is read.
    last: i64,
    seqs: Vec<u64>,
    texts: [Option<Values>; TEXTS.len()],
    counts: [Option<Vec<u64>>; COUNTS.len()],
    times: Vec<u64>,
    latencies: Option<Optional>,
    first_tokens: Option<Optional>,
    /// The place of the call in the block.
    row: usize,
}

impl Unpacked {
    /// The calls after a sequence number, of which these parts are read.
    pub(super) fn new(connection: &Connection, after: i64, parts: Vec<Part>) -> Result<Self, LedgerError> {
        let mut blocks = block::all(connection)?;
        blocks.retain(|block| block.last_seq > after);
        blocks.reverse();
        Ok(Self {
            blocks,
            parts,
            last: 0,
            seqs: Vec::new(),
            texts: Default::default(),
            counts: Default::default(),
            times: Vec::new(),
            latencies: None,
            first_tokens: None,
            row: 0,
        })
    }

    /// Goes on to the call with a sequence number, which is above that of the call before.
    ///
    /// # Errors
    /// If no block has the call, or blocks cannot be read.
    pub(super) fn seek(&mut self, connection: &Connection, seq: i64) -> Result<(), LedgerError> {
        while self.last < seq {
            let block = self.blocks.pop().ok_or(LedgerError::BadBlock)?;
            self.last = block.last_seq;
            if block.last_seq >= seq {
                self.read(connection, &block)?;
            }
        }
        let seq = seq as u64;
        // Mostly the next one.
        while self.seqs.get(self.row).is_some_and(|own| *own < seq) {
            self.row += 1;
        }
        if self.seqs.get(self.row) == Some(&seq) { Ok(()) } else { Err(LedgerError::BadBlock) }
    }

    fn read(&mut self, connection: &Connection, block: &Block) -> Result<(), LedgerError> {
        self.row = 0;
        self.seqs = block.seqs(connection)?;
        for part in &self.parts {
            match *part {
                Part::Text(column) => self.texts[column] = Some(block.texts(connection, column)?),
                Part::Count(column) => self.counts[column] = block.counts(connection, column)?,
                Part::Time => self.times = block.times(connection)?,
                Part::Latency => self.latencies = block.latencies(connection)?,
                Part::FirstToken => self.first_tokens = block.ttfts(connection)?,
            }
        }
        Ok(())
    }

    /// The number of the call's text in a column that was asked for.
    pub(super) fn text(&self, column: usize) -> u32 {
        self.texts[column].as_ref().map_or(0, |texts| texts.get(self.row))
    }

    /// One of the call's counts that was asked for.
    pub(super) fn count(&self, column: usize) -> u64 {
        self.counts[column].as_ref().map_or(0, |counts| counts[self.row])
    }

    /// When the call began, in nanoseconds since the Unix epoch, if it was asked for.
    pub(super) fn time(&self) -> u64 {
        self.times.get(self.row).copied().unwrap_or_default()
    }

    /// A duration of the call that was asked for, in microseconds.
    pub(super) fn duration(&self, part: Part) -> Option<u64> {
        let found = if part == Part::FirstToken { &self.first_tokens } else { &self.latencies };
        found.as_ref().and_then(|all| all.get(self.row))
    }
}
