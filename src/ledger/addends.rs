//! The calls of a block as a report adds them up: beside the thread that reads blocks, because both take half of the time.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, ScopedJoinHandle};

use super::error::LedgerError;
use super::order::Sums;
use super::packing::Amounts;
use super::scan::Rows;

/// Fewer blocks are added up by the thread that reads them: starting another one takes as long as some blocks.
pub(super) const FEW: usize = if cfg!(test) { 2 } else { 16 };
/// The blocks that wait, of up to a megabyte each.
const WAITING: usize = 2;

/// The calls of a block, and the group of each.
pub(super) struct Addends {
    /// The number of groups, up to those of this block.
    pub(super) count: usize,
    pub(super) groups: Vec<u32>,
    pub(super) rows: Rows,
    /// The index in [`Sums::counts`] and the numbers of each call.
    pub(super) columns: Vec<(usize, Vec<u64>)>,
    pub(super) costs: Option<Amounts>,
    pub(super) saved: Option<Amounts>,
}

impl Addends {
    pub(super) fn add_to(&self, sums: &mut Vec<Sums>) {
        sums.resize(self.count, Sums::default());
        // A loop for each number of columns is faster than one for all.
        match self.columns.len() {
            0 => self.add::<0>(sums, &self.columns),
            1 => self.add::<1>(sums, &self.columns),
            2 => self.add::<2>(sums, &self.columns),
            3 => self.add::<3>(sums, &self.columns),
            4 => self.add::<4>(sums, &self.columns),
            5 => self.add::<5>(sums, &self.columns),
            6 => self.add::<6>(sums, &self.columns),
            _ => self.add::<7>(sums, &self.columns),
        }
    }

    fn add<const COLUMNS: usize>(&self, sums: &mut [Sums], columns: &[(usize, Vec<u64>)]) {
        let columns: [(usize, &[u64]); COLUMNS] = std::array::from_fn(|at| (columns[at].0, &columns[at].1[..]));
        self.rows.for_each(|row| {
            let sums = &mut sums[self.groups[row] as usize];
            sums.counts[0] += 1;
            for (index, numbers) in columns {
                sums.counts[index] += numbers[row];
            }
            if let Some(cost) = self.costs.as_ref().and_then(|costs| costs.get(row)) {
                sums.cost = sums.cost.saturating_add(cost);
            }
            if let Some(saved) = self.saved.as_ref().and_then(|saved| saved.get(row)) {
                sums.saved = sums.saved.saturating_add(saved);
            }
        });
    }
}

/// Adds up what `read` sends, in another thread if one can be started. Returns the sums by group.
pub(super) fn add_up(
    blocks: usize,
    read: impl FnOnce(&mut dyn FnMut(Addends)) -> Result<(), LedgerError>,
) -> Result<Vec<Sums>, LedgerError> {
    if blocks < FEW {
        return alone(read);
    }
    std::thread::scope(|scope| {
        let (send, receive): (SyncSender<Addends>, Receiver<Addends>) = sync_channel(WAITING);
        let add = move || {
            let mut sums = Vec::new();
            for addends in receive {
                addends.add_to(&mut sums);
            }
            sums
        };
        let started: std::io::Result<ScopedJoinHandle<'_, _>> =
            Builder::new().name("taximeter-sums".into()).spawn_scoped(scope, add);
        let Ok(thread) = started else { return alone(read) };
        // Sending fails only after a panic of that thread, which `join` returns.
        let outcome = read(&mut |addends| drop(send.send(addends)));
        drop(send);
        let sums = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.map(|()| sums)
    })
}

fn alone(read: impl FnOnce(&mut dyn FnMut(Addends)) -> Result<(), LedgerError>) -> Result<Vec<Sums>, LedgerError> {
    let mut sums = Vec::new();
    read(&mut |addends| addends.add_to(&mut sums))?;
    Ok(sums)
}
