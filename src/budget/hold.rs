//! Holds: what the calls in flight may cost, one for each call and budget.

use std::io;

use super::layout::{HOLD, Layout, header};
use super::transaction::Transaction;
use super::words::{Words, damaged};

/// The words of a hold.
mod word {
    /// The token of the process that made it; 0 if it is free.
    pub(super) const OWNER: usize = 0;
    /// The call, or of a free hold the next free one, plus 1.
    pub(super) const CALL: usize = 1;
    /// The slot.
    pub(super) const SLOT: usize = 2;
    /// The start of the period in which the call was admitted.
    pub(super) const PERIOD: usize = 3;
    /// The amount, two words.
    pub(super) const AMOUNT: usize = 4;
    /// When it expires, in seconds since the Unix epoch.
    pub(super) const EXPIRES: usize = 6;
    /// The lower 32 bits: the input's part of the amount in units of 2^-32. Bit 32: whether that part is charged if the owner is
    /// killed. Bits 33 to 62: the length in seconds of a rolling budget. Bit 63: whether this is no hold, but a threshold that was
    /// crossed and is not reported yet. Then CALL has the bits of the thresholds, AMOUNT what was used, and EXPIRES the time.
    pub(super) const TERMS: usize = 7;
}

/// What a hold is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) owner: u64,
    pub(super) call: u64,
    pub(super) slot: u64,
    pub(super) period: i64,
    pub(super) amount: i128,
    pub(super) expires: i64,
    pub(super) terms: Terms,
}

/// The charge for a call that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// The input's part of the amount in units of 2^-32.
    pub(super) input_part: u32,
    /// Whether the input's part is charged if the owner is killed.
    pub(super) is_charged_when_killed: bool,
    /// The length of a rolling budget in seconds; 0 for fixed periods.
    pub(super) rolling: u32,
    /// Whether it stands for a crossed threshold.
    pub(super) is_crossing: bool,
}

impl Terms {
    fn encode(self) -> u64 {
        u64::from(self.input_part)
            | u64::from(self.is_charged_when_killed) << 32
            | u64::from(self.rolling) << 33
            | u64::from(self.is_crossing) << 63
    }

    fn decode(bits: u64) -> Self {
        let rolling = (bits >> 33) as u32 & 0x3FFF_FFFF;
        Self {
            input_part: bits as u32,
            is_charged_when_killed: bits & 1 << 32 != 0,
            rolling,
            is_crossing: bits >> 63 == 1,
        }
    }
}

impl Hold {
    /// The input's part of the amount, rounded up.
    pub(super) fn input(&self) -> i128 {
        input_part(self.amount, self.terms.input_part)
    }
}

/// A part of an amount in units of 2^-32, rounded up.
pub(super) fn input_part(amount: i128, part: u32) -> i128 {
    // Splitting the amount keeps the product within 128 bits.
    let (high, low) = (amount >> 32, amount & 0xFFFF_FFFF);
    (high * i128::from(part)).saturating_add((low * i128::from(part) + 0xFFFF_FFFF) >> 32).min(amount)
}

fn at(index: usize, layout: Layout) -> io::Result<usize> {
    if index < layout.holds { Ok(layout.hold(index)) } else { Err(damaged("its list of free holds is wrong")) }
}

/// Writes a hold to a free place. Returns the index of the place; `None` if all places are taken.
pub(super) fn add(txn: &mut Transaction<'_>, layout: Layout, hold: &Hold) -> io::Result<Option<usize>> {
    let free = txn.load(header::HOLDS_FREE)?;
    let index = if free > 0 {
        let index = free as usize - 1;
        let next = txn.load(at(index, layout)? + word::CALL)?;
        txn.store(header::HOLDS_FREE, next);
        index
    } else {
        let made = txn.load(header::HOLDS_MADE)? as usize;
        if made >= layout.holds {
            return Ok(None);
        }
        txn.store(header::HOLDS_MADE, made as u64 + 1);
        made
    };
    let first = at(index, layout)?;
    // The place is free until the transaction is committed, so most of its words need no log, unless this transaction has freed it.
    let is_free = !txn.has_changed(first + word::OWNER);
    txn.store(first + word::OWNER, hold.owner);
    txn.store(first + word::CALL, hold.call);
    let amount = hold.amount.cast_unsigned();
    for (word, value) in [
        (word::SLOT, hold.slot),
        (word::PERIOD, hold.period.cast_unsigned()),
        (word::AMOUNT, amount as u64),
        (word::AMOUNT + 1, (amount >> 64) as u64),
        (word::EXPIRES, hold.expires.cast_unsigned()),
        (word::TERMS, hold.terms.encode()),
    ] {
        if is_free {
            txn.store_now(first + word, value)?;
        } else {
            txn.store(first + word, value);
        }
    }
    Ok(Some(index))
}

/// Reads a hold; `None` if it is free.
pub(super) fn read(txn: &Transaction<'_>, layout: Layout, index: usize) -> io::Result<Option<Hold>> {
    let first = at(index, layout)?;
    let owner = txn.load(first + word::OWNER)?;
    if owner == 0 {
        return Ok(None);
    }
    Ok(Some(Hold {
        owner,
        call: txn.load(first + word::CALL)?,
        slot: txn.load(first + word::SLOT)?,
        period: txn.load(first + word::PERIOD)?.cast_signed(),
        amount: txn.load_amount(first + word::AMOUNT)?,
        expires: txn.load(first + word::EXPIRES)?.cast_signed(),
        terms: Terms::decode(txn.load(first + word::TERMS)?),
    }))
}

/// Gives a hold to another process.
pub(super) fn give(txn: &mut Transaction<'_>, layout: Layout, index: usize, owner: u64) -> io::Result<()> {
    txn.store(at(index, layout)? + word::OWNER, owner);
    Ok(())
}

/// Frees a hold.
pub(super) fn remove(txn: &mut Transaction<'_>, layout: Layout, index: usize) -> io::Result<()> {
    let first = at(index, layout)?;
    let next = txn.load(header::HOLDS_FREE)?;
    txn.store(first + word::OWNER, 0);
    txn.store(first + word::CALL, next);
    txn.store(header::HOLDS_FREE, index as u64 + 1);
    Ok(())
}

/// Copies all holds to a state that no other process uses yet, at their places. `slots` has the new place of each old slot.
pub(super) fn copy(from: &Words, old: Layout, to: &Words, new: Layout, slots: &[u32]) -> io::Result<()> {
    let made = (from.load(header::HOLDS_MADE)? as usize).min(old.holds);
    for index in 0..made {
        let (first, next) = (at(index, old)?, at(index, new)?);
        for word in 0..HOLD {
            to.store(next + word, from.load(first + word)?)?;
        }
        if from.load(first + word::OWNER)? != 0 {
            let slot = slots.get(from.load(first + word::SLOT)? as usize).copied();
            to.store(next + word::SLOT, slot.map_or(u64::MAX, u64::from))?;
        }
    }
    to.store(header::HOLDS_MADE, made as u64)?;
    to.store(header::HOLDS_FREE, from.load(header::HOLDS_FREE)?)
}

/// The holds in use.
pub(super) fn in_use(words: &Words, layout: Layout) -> io::Result<usize> {
    let made = (words.load(header::HOLDS_MADE)? as usize).min(layout.holds);
    let mut count = 0;
    for index in 0..made {
        count += usize::from(words.load(at(index, layout)? + word::OWNER)? != 0);
    }
    Ok(count)
}

/// Holds that were ever used: all others are free.
pub(super) fn made(txn: &Transaction<'_>, layout: Layout) -> io::Result<usize> {
    Ok((txn.load(header::HOLDS_MADE)? as usize).min(layout.holds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The part is exact up to one unit, and never more than the whole.
        #[test]
        fn the_input_part_is_rounded_up(amount in 0..i128::MAX / 2, part: u32) {
            let rounded = input_part(amount, part);
            prop_assert!(rounded <= amount);
            let small = amount >> 40;
            let exact = (small * i128::from(part) + 0xFFFF_FFFF) >> 32;
            prop_assert_eq!(input_part(small, part), exact.min(small));
        }

        #[test]
        fn terms_survive_a_round_trip(input_part: u32, is_charged_when_killed: bool, rolling in 0..1_u32 << 30, is_crossing: bool) {
            let terms = Terms { input_part, is_charged_when_killed, rolling, is_crossing };
            prop_assert_eq!(Terms::decode(terms.encode()), terms);
        }
    }
}
