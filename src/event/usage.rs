//! What one call used: a count for each unit, and the rule for numbers that are no counts.

use smallvec::SmallVec;

use super::units::Unit;

/// The most of one unit an event may carry, in stored counts: 10^12.
///
/// Far above any call (a trillion tokens), and low enough that a count times any rate fits the exact amounts.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// Counts by unit. A unit that was never set is absent, which reads as zero but is not reported.
///
/// Few calls report more than eight units, so a set of bits and the counts of those that are in it take a fifth of the space of
/// one count for each unit there is; events are made and moved in `track()`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Usage {
    present: u64,
    /// In unit order, one for each bit.
    counts: SmallVec<[u64; 8]>,
}

impl Usage {
    /// Sets one count, in stored counts (see [`Unit::scale`]).
    pub fn set(&mut self, unit: Unit, count: u64) {
        let place = self.place(unit);
        if self.present & unit.bit() == 0 {
            self.present |= unit.bit();
            self.counts.insert(place, count);
        } else {
            self.counts[place] = count;
        }
    }

    /// The stored count, zero where absent.
    #[must_use]
    pub fn count(&self, unit: Unit) -> u64 {
        if self.present & unit.bit() == 0 { 0 } else { self.counts[self.place(unit)] }
    }

    /// Where a unit's count is, or would be: after those of all lower units.
    fn place(&self, unit: Unit) -> usize {
        (self.present & (unit.bit() - 1)).count_ones() as usize
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
        self.counts.iter().map_while(move |count| {
            let unit = Unit::from_index(left.trailing_zeros() as u8)?;
            left &= left - 1;
            Some((unit, *count))
        })
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(unit, count)| (unit.name(), count))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_is_reported() {
        let mut usage = Usage::default();
        assert!(usage.is_empty());
        usage.set(Unit::OUTPUT_TOKENS, 0);
        usage.set(Unit::INPUT_TOKENS, 7);
        let all: Vec<_> = usage.iter().collect();
        assert_eq!(all, [(Unit::INPUT_TOKENS, 7), (Unit::OUTPUT_TOKENS, 0)]);
    }
}
