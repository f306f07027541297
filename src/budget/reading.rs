//! Reads the counts of a state directory, and sets them.

use std::collections::HashMap;
use std::io;

use super::checkpoint::Saved;
use super::error::Unavailable;
use super::gate::{Gate, Used};
use super::operations::{self, Counter};
use super::process::Patience;
use super::settlement::{Waiting, WaitingShare, settle, with_room};
use super::slot::{Charged, Counts, Period};
use super::state::State;
use super::transaction::Transaction;
use crate::sys::clock::unix_seconds;

/// The amounts in the ledger for a key: the period, and how much was used at which times.
pub(super) type Counted = (Period, Vec<(i64, Counts)>);

/// Slots that are copied in one operation, which takes some milliseconds.
const SAVED_AT_ONCE: usize = 4_096;

impl Gate {
    /// A copy of all counts. The lock is released in between, so that no operation waits for all of it.
    pub(super) fn save(&self) -> Result<Vec<Saved>, Unavailable> {
        let process = self.process()?;
        let (mut all, mut next, mut layout) = (Vec::new(), 0, None);
        loop {
            let access = self.access(&process, Patience::Long)?;
            if layout != Some(access.state.layout) {
                // The state has grown, and every slot has another place.
                (all, next, layout) = (Vec::new(), 0, Some(access.state.layout));
            }
            let end = (next + SAVED_AT_ONCE).min(access.state.layout.slots);
            access.state.save(next..end, &mut all)?;
            if end == access.state.layout.slots {
                return Ok(all);
            }
            next = end;
        }
    }

    /// The counts of a budget's key.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn counts(&self, key: &[u8], period: Period) -> Result<Counts, Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let state = &access.state;
        Ok(operations::counts(&state.words, state.layout, state.hash(key), period, unix_seconds())?)
    }

    /// The counts of several keys.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn counts_of(&self, keys: &[(&[u8], Period)]) -> Result<Vec<Counts>, Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let state = &access.state;
        let counts = |(key, period): &(&[u8], Period)| {
            operations::counts(&state.words, state.layout, state.hash(key), *period, unix_seconds())
        };
        Ok(keys.iter().map(counts).collect::<io::Result<_>>()?)
    }

    /// Every key.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        Ok(access.state.slots()?.into_iter().map(|(_, key)| key).collect())
    }

    /// Sets the counts of a budget's key to zero. Returns whether it has any.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn reset(&self, key: &[u8]) -> Result<bool, Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let state = &access.state;
        Ok(operations::reset(&state.words, state.layout, state.hash(key), unix_seconds())?)
    }

    /// Every key with the counts of its last period, and the end of that period in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn all(&self) -> Result<Vec<(Vec<u8>, Counts, i64)>, Unavailable> {
        let process = self.process()?;
        let access = self.access(&process, Patience::Long)?;
        let txn = Transaction::new(&access.state.words);
        let slots = access.state.slots()?;
        let all = slots.into_iter().map(|(slot, key)| Ok((key, slot.counts(&txn)?, slot.ends(&txn)?)));
        Ok(all.collect::<io::Result<_>>()?)
    }

    /// Sets the counts of these keys to what the ledger has of them, and what it cannot have, one key after the other. Holds stay.
    ///
    /// # Errors
    /// [`Unavailable`]; some keys may have been set.
    pub(super) fn recount(&self, all: &HashMap<Vec<u8>, Counted>) -> Result<(), Unavailable> {
        for (key, (period, spent)) in all {
            let process = self.process()?;
            let mut access = self.access(&process, Patience::Long)?;
            with_room(&mut access.state, self.limit, |state| {
                let counter =
                    Counter { hash: state.hash(key), text: key, period: *period, amount: i128::MAX, thresholds: &[] };
                operations::recount(&state.words, state.layout, &counter, spent, unix_seconds(), state.keys())
            })?;
        }
        Ok(())
    }

    /// Counts what was used before into a new state.
    pub(super) fn restore(&self, state: &mut State) -> Result<(), Unavailable> {
        self.count_used(state, (self.restore)())
    }

    fn count_used(&self, state: &mut State, all: Vec<Used>) -> Result<(), Unavailable> {
        for used in all {
            let Counts { used: amount, calls, unpriced, .. } = used.counts;
            let is_rolling = matches!(used.period, Period::Rolling { .. });
            let unrecorded = if is_rolling { 0 } else { used.unrecorded };
            let charged = Charged { amount, unrecorded, calls, unpriced };
            let hash = state.hash(&used.key);
            let waiting = WaitingShare {
                key: used.key,
                period: used.period,
                amount: i128::MAX,
                thresholds: Box::default(),
                held: None,
                charged,
            };
            let at = if is_rolling { used.at } else { unix_seconds() };
            settle(state, self.limit, &Waiting { owner: (0, 0), shares: vec![waiting] }, 0, at)?;
            if is_rolling && used.unrecorded != 0 {
                operations::set_unrecorded(&state.words, state.layout, hash, used.unrecorded, at)?;
            }
        }
        Ok(())
    }
}
