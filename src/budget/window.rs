//! Windows: the buckets of a rolling budget.
//!
//! A window of *n* seconds has buckets of *n* / 32 seconds. A bucket counts until all of it has left the window, so the sum is never
//! too small, and too large by one bucket at most. Each bucket has its number, so that one that has left needs no store.

use std::io;

use super::slot::Slot;
use super::transaction::Transaction;
use super::window_list::NEXT_FREE;

/// The buckets of a window's length.
const PARTS: i64 = 32;
/// The buckets that can count at the same time: one more, because the oldest is partly outside.
const BUCKETS: i64 = PARTS + 1;
/// The words of a bucket: its number and its amount.
const BUCKET: usize = 3;
const _: () = assert!(BUCKETS as usize * BUCKET <= NEXT_FREE, "the buckets do not fit");

/// The number of the bucket of a time.
pub(super) fn number(seconds: i64, time: i64) -> i64 {
    // Multiplying first keeps buckets equal when the length is not a multiple of 32. Both factors are far below 2^31.
    (time * PARTS).div_euclid(seconds)
}

/// The first second of the bucket with a number.
pub(super) fn begin(seconds: i64, number: i64) -> i64 {
    (number * seconds + PARTS - 1).div_euclid(PARTS)
}

impl Slot {
    /// The numbers and amounts of the window's buckets, also of those that have left it.
    pub(super) fn buckets(self, txn: &Transaction<'_>) -> io::Result<Vec<(i64, i128)>> {
        let Some(window) = self.window(txn)? else { return Ok(Vec::new()) };
        let all = (0..BUCKETS as usize).map(|bucket| {
            let at = window + bucket * BUCKET;
            Ok((txn.load(at)?.cast_signed(), txn.load_amount(at + 1)?))
        });
        Ok(all.collect::<io::Result<Vec<_>>>()?.into_iter().filter(|(number, _)| *number != 0).collect())
    }

    /// Sets what was used to what the window holds now.
    pub(super) fn sum_window(self, txn: &mut Transaction<'_>, seconds: i64, now: i64) -> io::Result<()> {
        let Some(window) = self.window(txn)? else { return Ok(()) };
        // The oldest bucket of which a part is still inside.
        let oldest = number(seconds, now - seconds);
        let mut used: i128 = 0;
        for bucket in 0..BUCKETS as usize {
            let at = window + bucket * BUCKET;
            let stamp = txn.load(at)?.cast_signed();
            // Buckets after the current one are there if the clock was set back. They count.
            if stamp >= oldest && stamp != 0 {
                used = used.saturating_add(txn.load_amount(at + 1)?);
            }
        }
        self.set_used(txn, used.max(0));
        Ok(())
    }

    /// Sets the amounts of the window: those of parts that begin at these times. Parts before a reset stay empty, and that of the reset
    /// itself keeps its amount.
    pub(super) fn set_window_parts(
        self,
        txn: &mut Transaction<'_>,
        seconds: i64,
        parts: &[(i64, i128)],
        reset: i64,
    ) -> io::Result<()> {
        let Some(window) = self.window(txn)? else { return Ok(()) };
        let kept = number(seconds, reset);
        for bucket in 0..BUCKETS as usize {
            let at = window + bucket * BUCKET;
            if reset == 0 || txn.load(at)?.cast_signed() != kept {
                (0..BUCKET).for_each(|word| txn.store(at + word, 0));
            }
        }
        for (at, amount) in parts.iter().filter(|(at, _)| reset == 0 || number(seconds, *at) > kept) {
            self.charge_window(txn, seconds, *amount, *at)?;
        }
        Ok(())
    }

    /// Adds an amount to the bucket of the current time.
    pub(super) fn charge_window(
        self,
        txn: &mut Transaction<'_>,
        seconds: i64,
        amount: i128,
        now: i64,
    ) -> io::Result<()> {
        let Some(window) = self.window(txn)? else { return Ok(()) };
        let current = number(seconds, now);
        let at = window + current.rem_euclid(BUCKETS) as usize * BUCKET;
        let stamp = txn.load(at)?.cast_signed();
        if stamp < current {
            txn.store(at, current.cast_unsigned());
            txn.store_amount(at + 1, amount);
        } else {
            // If the clock was set back, the bucket may be a later one. The amount then counts for longer, never for less.
            let before = txn.load_amount(at + 1)?;
            txn.store_amount(at + 1, before.saturating_add(amount));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers grow by one every 32nd of the window, also where that is not a whole second.
    #[test]
    fn buckets_cover_the_time_without_gaps() {
        for seconds in [60, 61, 3_600, 86_400, 2_678_400] {
            let begin = 1_700_000_000;
            let numbers: Vec<i64> = (0..seconds).map(|second| number(seconds, begin + second)).collect();
            assert!(numbers.windows(2).all(|pair| (0..=1).contains(&(pair[1] - pair[0]))), "{seconds}");
            assert!((begin..begin + seconds).all(|time| super::begin(seconds, number(seconds, time)) <= time));
            assert!((PARTS - 1..=PARTS).contains(&(numbers[numbers.len() - 1] - numbers[0])), "{seconds}");
        }
    }
}
