//! What one call used: a count for each unit, and the rule for numbers that are no counts.

use super::units::{UNIT_COUNT, Unit};

/// The most of one unit an event may carry, in stored counts: 10^12.
///
/// Far above any call (a trillion tokens), and low enough that a count times any rate fits the exact amounts.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// Counts by unit. A unit that was never set is absent, which reads as zero but is not reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    counts: [u64; UNIT_COUNT],
    present: u64,
}

impl Usage {
    /// No usage at all.
    pub const EMPTY: Self = Self {
        counts: [0; UNIT_COUNT],
        present: 0,
    };

    /// Sets one count, in stored counts (see [`Unit::scale`]).
    pub fn set(&mut self, unit: Unit, count: u64) {
        self.counts[unit.index()] = count;
        self.present |= unit.bit();
    }

    /// The stored count, zero where absent.
    #[must_use]
    pub fn count(&self, unit: Unit) -> u64 {
        self.counts[unit.index()]
    }

    /// The units that were set, as a set of bits.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Whether nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// The reported counts, in unit order.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, u64)> {
        let mut left = self.present;
        std::iter::from_fn(move || {
            let unit = Unit::from_index(left.trailing_zeros() as u8)?;
            left &= left - 1;
            Some((unit, self.counts[unit.index()]))
        })
    }

    /// The first part that is larger than a total it belongs to, with that total.
    ///
    /// Only totals that were reported are held against their parts.
    #[must_use]
    pub fn first_contradiction(&self) -> Option<(Unit, Unit)> {
        self.iter()
            .flat_map(|(part, count)| self.iter().map(move |(total, all)| (part, count, total, all)))
            .find(|&(part, count, total, all)| count > all && total.contains(part))
            .map(|(part, _, total, _)| (part, total))
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(unit, count)| (unit.name(), count)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_is_reported() {
        let mut usage = Usage::EMPTY;
        assert!(usage.is_empty());
        usage.set(Unit::OUTPUT_TOKENS, 0);
        usage.set(Unit::INPUT_TOKENS, 7);
        let all: Vec<_> = usage.iter().collect();
        assert_eq!(all, [(Unit::INPUT_TOKENS, 7), (Unit::OUTPUT_TOKENS, 0)]);
    }

    #[test]
    fn a_part_above_its_total_is_named() {
        let mut usage = Usage::EMPTY;
        usage.set(Unit::INPUT_TOKENS, 5);
        usage.set(Unit::CACHE_READ_TOKENS, 6);
        assert_eq!(
            usage.first_contradiction(),
            Some((Unit::CACHE_READ_TOKENS, Unit::INPUT_TOKENS))
        );
        usage.set(Unit::CACHE_READ_TOKENS, 5);
        assert_eq!(usage.first_contradiction(), None);
    }
}
