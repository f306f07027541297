//! Slots: the counters, one for each budget and combination of key values.

use std::io;

use super::layout::{Layout, SLOT, header, slot};
use super::transaction::Transaction;
use super::window_list::{self, NEXT_FREE};
use super::words::{Words, damaged};

/// The words of a slot.
mod word {
    /// The hash of budget and key, two words. Both are 0 in a slot that was never used.
    pub(super) const HASH: usize = 0;
    /// The start of the period that the counts belong to, in seconds since the Unix epoch.
    pub(super) const PERIOD: usize = 2;
    /// When the counts stop mattering, in seconds since the Unix epoch; `i64::MAX` for never.
    pub(super) const ENDS: usize = 3;
    /// The charged amount, and the amount that calls in flight hold.
    pub(super) const USED: usize = 4;
    pub(super) const HELD: usize = 6;
    /// Calls that were charged, and those of them without a price.
    pub(super) const CALLS: usize = 8;
    pub(super) const UNPRICED: usize = 9;
    /// A bit for each threshold that was crossed.
    pub(super) const FIRED: usize = 10;
    /// Holds of this slot. It is not reused while there are any.
    pub(super) const HOLDS: usize = 11;
    /// The offset of the key's text in the file of keys.
    pub(super) const KEY: usize = 12;
    /// The window of a rolling budget, plus 1.
    pub(super) const WINDOW: usize = 13;
    /// Of fixed periods, the part of what was charged that the ledger does not have: an amount, which is negative after a reset. Of
    /// rolling budgets, the time of the last reset in seconds since the Unix epoch.
    pub(super) const UNRECORDED: usize = 14;
}

/// The hash of a budget's name and key values. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hash(u128);

impl Hash {
    pub(super) fn new(bits: u128) -> Self {
        Self(bits.max(1))
    }
}

/// The time that the counts of a slot are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From one boundary to the next, in seconds since the Unix epoch.
    Fixed {
        /// The start, which identifies the period.
        start: i64,
        /// The first second of the next period; `i64::MAX` if the period never ends.
        end: i64,
    },
    /// The last so many seconds.
    Rolling {
        /// The length in seconds, from 60 to 2,678,400 (31 days).
        seconds: i64,
    },
}

/// The counts of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The charged amount: units of 10⁻²⁴ USD, tokens, or calls.
    pub used: i128,
    /// What calls in flight hold.
    pub held: i128,
    /// Calls that were charged.
    pub calls: u64,
    /// Those of them whose price is unknown.
    pub unpriced: u64,
}

/// A slot, found or taken in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) index: usize,
    layout: Layout,
}

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The key's slot.
    Used(Slot),
    /// The key has no slot; this one can be taken.
    Free(Slot),
    /// The key has no slot, and none can be taken.
    Full,
}

/// Whether no further slot may be used. Beyond 3/4, searches get long: some 10 slots for a known key at 31/32, and 500 for a new one,
/// which take a microsecond and 10.
pub(super) fn is_crowded(used: u64, layout: Layout) -> bool {
    let most = if layout.is_dense { layout.slots - layout.slots / 32 } else { layout.slots / 4 * 3 };
    used as usize >= most
}

/// Searches the slot of a key. A slot whose period is over and that has no holds can be taken.
pub(super) fn find(txn: &Transaction<'_>, layout: Layout, hash: Hash, now: i64) -> io::Result<Found> {
    let mask = layout.slots - 1;
    let first = hash.0 as usize & mask;
    let mut over = None;
    for step in 0..layout.slots {
        let slot = Slot::at((first + step) & mask, layout);
        let bits = slot.hash(txn)?;
        if bits == 0 {
            let free = over.or_else(|| {
                let used = txn.load(header::SLOTS_USED).ok()?;
                (!is_crowded(used, layout)).then_some(slot)
            });
            return Ok(free.map_or(Found::Full, Found::Free));
        }
        if bits == hash.0 {
            return Ok(Found::Used(slot));
        }
        if over.is_none() && slot.is_over(txn, now)? {
            over = Some(slot);
        }
    }
    Ok(over.map_or(Found::Full, Found::Free))
}

impl Slot {
    /// The slot with this index, which is below the capacity.
    pub(super) fn at(index: usize, layout: Layout) -> Self {
        Self { index, layout }
    }

    /// The slot that a hold names.
    ///
    /// # Errors
    /// `InvalidData` if the index is beyond the capacity.
    pub(super) fn checked(index: u64, layout: Layout) -> io::Result<Self> {
        let index = usize::try_from(index).ok().filter(|index| *index < layout.slots);
        index.map(|index| Self { index, layout }).ok_or_else(|| damaged("a hold names a slot that does not exist"))
    }

    fn word(self, word: usize) -> usize {
        slot(self.index) + word
    }

    /// The bits of the hash; 0 if the slot was never used.
    pub(super) fn hash(self, txn: &Transaction<'_>) -> io::Result<u128> {
        txn.load_amount(self.word(word::HASH)).map(i128::cast_unsigned)
    }

    /// Whether the slot's counts no longer matter and no call holds anything of it.
    pub(super) fn is_over(self, txn: &Transaction<'_>, now: i64) -> io::Result<bool> {
        Ok(txn.load(self.word(word::HOLDS))? == 0 && txn.load(self.word(word::ENDS))?.cast_signed() <= now)
    }

    /// Takes a free slot for a key. `key` is the offset of the key's text.
    pub(super) fn take(self, txn: &mut Transaction<'_>, hash: Hash, key: u64) -> io::Result<()> {
        if self.hash(txn)? == 0 {
            let used = txn.load(header::SLOTS_USED)?;
            txn.store(header::SLOTS_USED, used + 1);
        }
        if let Some(window) = self.window_index(txn)? {
            window_list::free(txn, self.layout, window)?;
        }
        for index in 0..SLOT {
            txn.store(self.word(index), 0);
        }
        txn.store_amount(self.word(word::HASH), hash.0.cast_signed());
        txn.store(self.word(word::KEY), key);
        txn.store(self.word(word::PERIOD), i64::MIN.cast_unsigned());
        Ok(())
    }

    /// Brings the counts to the current period. Returns the start of the period that a call admitted now belongs to.
    ///
    /// If the clock was set back, the later period goes on.
    pub(super) fn roll(self, txn: &mut Transaction<'_>, period: Period, now: i64) -> io::Result<i64> {
        match period {
            Period::Fixed { start, end } => {
                let current = txn.load(self.word(word::PERIOD))?.cast_signed();
                if current >= start {
                    return Ok(current);
                }
                txn.store(self.word(word::PERIOD), start.cast_unsigned());
                txn.store(self.word(word::ENDS), end.cast_unsigned());
                txn.store_amount(self.word(word::USED), 0);
                txn.store_amount(self.word(word::UNRECORDED), 0);
                for counter in [word::CALLS, word::UNPRICED, word::FIRED] {
                    txn.store(self.word(counter), 0);
                }
                Ok(start)
            }
            Period::Rolling { seconds } => {
                let ends = txn.load(self.word(word::ENDS))?.cast_signed();
                txn.store(self.word(word::ENDS), ends.max(now.saturating_add(seconds)).cast_unsigned());
                self.sum_window(txn, seconds, now)?;
                Ok(0)
            }
        }
    }

    /// The counts.
    pub(super) fn counts(self, txn: &Transaction<'_>) -> io::Result<Counts> {
        Ok(Counts {
            used: txn.load_amount(self.word(word::USED))?,
            held: txn.load_amount(self.word(word::HELD))?,
            calls: txn.load(self.word(word::CALLS))?,
            unpriced: txn.load(self.word(word::UNPRICED))?,
        })
    }

    /// The start of the period of the counts.
    pub(super) fn period(self, txn: &Transaction<'_>) -> io::Result<i64> {
        Ok(txn.load(self.word(word::PERIOD))?.cast_signed())
    }

    /// The end of the period of the counts.
    pub(super) fn ends(self, txn: &Transaction<'_>) -> io::Result<i64> {
        Ok(txn.load(self.word(word::ENDS))?.cast_signed())
    }

    /// The offset of the key's text.
    pub(super) fn key(self, txn: &Transaction<'_>) -> io::Result<u64> {
        txn.load(self.word(word::KEY))
    }

    /// Adds a hold (`1`) or removes one (`-1`), and changes the held amount.
    pub(super) fn hold(self, txn: &mut Transaction<'_>, amount: i128, holds: i64) -> io::Result<()> {
        let held = txn.load_amount(self.word(word::HELD))?;
        txn.store_amount(self.word(word::HELD), held.saturating_add(amount).max(0));
        let count = txn.load(self.word(word::HOLDS))?;
        txn.store(self.word(word::HOLDS), count.saturating_add_signed(holds));
        Ok(())
    }

    /// Charges an amount. Returns the amount used before and after.
    pub(super) fn charge(
        self,
        txn: &mut Transaction<'_>,
        period: Period,
        charged: Charged,
        now: i64,
    ) -> io::Result<(i128, i128)> {
        if let Period::Rolling { seconds } = period {
            self.charge_window(txn, seconds, charged.amount, now)?;
        } else if charged.unrecorded != 0 {
            let unrecorded = txn.load_amount(self.word(word::UNRECORDED))?;
            txn.store_amount(self.word(word::UNRECORDED), unrecorded.saturating_add(charged.unrecorded));
        }
        let used = txn.load_amount(self.word(word::USED))?;
        let after = used.saturating_add(charged.amount).max(0);
        txn.store_amount(self.word(word::USED), after);
        for (counter, count) in [(word::CALLS, charged.calls), (word::UNPRICED, charged.unpriced)] {
            let before = txn.load(self.word(counter))?;
            txn.store(self.word(counter), before.saturating_add(count));
        }
        Ok((used, after))
    }

    /// Sets the bits of thresholds. Returns those that were not set before.
    pub(super) fn fire(self, txn: &mut Transaction<'_>, bits: u64) -> io::Result<u64> {
        let fired = txn.load(self.word(word::FIRED))?;
        if fired | bits != fired {
            txn.store(self.word(word::FIRED), fired | bits);
        }
        Ok(bits & !fired)
    }

    /// Sets the counts to zero. Holds stay. What the ledger has of the calls before does not count later either.
    pub(super) fn reset(self, txn: &mut Transaction<'_>, now: i64) -> io::Result<()> {
        let (used, unrecorded) = (self.counts(txn)?.used, self.unrecorded(txn)?);
        if let Some(window) = self.window(txn)? {
            (0..NEXT_FREE).for_each(|word| txn.store(window + word, 0));
            txn.store_amount(self.word(word::UNRECORDED), now.into());
        } else {
            txn.store_amount(self.word(word::UNRECORDED), unrecorded.saturating_sub(used));
        }
        txn.store_amount(self.word(word::USED), 0);
        for counter in [word::CALLS, word::UNPRICED, word::FIRED] {
            txn.store(self.word(counter), 0);
        }
        Ok(())
    }

    /// The charged amount that the ledger does not have; for rolling budgets, the time of the last reset.
    pub(super) fn unrecorded(self, txn: &Transaction<'_>) -> io::Result<i128> {
        txn.load_amount(self.word(word::UNRECORDED))
    }

    /// Sets this: see [`Slot::unrecorded`].
    pub(super) fn set_unrecorded(self, txn: &mut Transaction<'_>, amount: i128) {
        txn.store_amount(self.word(word::UNRECORDED), amount);
    }

    /// Sets the numbers of calls.
    pub(super) fn set_calls(self, txn: &mut Transaction<'_>, calls: u64, unpriced: u64) {
        txn.store(self.word(word::CALLS), calls);
        txn.store(self.word(word::UNPRICED), unpriced);
    }

    /// The slot's window, if it has one.
    pub(super) fn window_index(self, txn: &Transaction<'_>) -> io::Result<Option<usize>> {
        match txn.load(self.word(word::WINDOW))? {
            0 => Ok(None),
            number if number as usize <= self.layout.windows => Ok(Some(number as usize - 1)),
            _ => Err(damaged("a slot names a window that does not exist")),
        }
    }

    /// The first word of the slot's window, if it has one.
    pub(super) fn window(self, txn: &Transaction<'_>) -> io::Result<Option<usize>> {
        Ok(self.window_index(txn)?.map(|index| self.layout.window(index)))
    }

    /// Gives the slot a window.
    pub(super) fn set_window(self, txn: &mut Transaction<'_>, index: usize) {
        txn.store(self.word(word::WINDOW), index as u64 + 1);
    }

    /// Sets what was used to the sum of the window's buckets.
    pub(super) fn set_used(self, txn: &mut Transaction<'_>, used: i128) {
        txn.store_amount(self.word(word::USED), used);
    }
}

/// Copies a slot to a state that no other process uses yet. Key and window are elsewhere there.
pub(super) fn copy(from: &Words, old: Slot, to: &Words, new: Slot, key: u64, window: Option<usize>) -> io::Result<()> {
    for word in 0..SLOT {
        to.store(new.word(word), from.load(old.word(word))?)?;
    }
    to.store(new.word(word::KEY), key)?;
    to.store(new.word(word::WINDOW), window.map_or(0, |index| index as u64 + 1))
}

/// What one call adds to a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charged {
    pub(super) amount: i128,
    /// The part of the amount that the ledger will not have.
    pub(super) unrecorded: i128,
    pub(super) calls: u64,
    pub(super) unpriced: u64,
}
