//! What one call used: a count for each unit, and the largest valid count.

use smallvec::SmallVec;

use super::units::Unit;

/// The largest count of one unit in an event, in stored counts: 10^12.
///
/// A trillion tokens is far above any call, and low enough that a count times any rate fits the exact amounts.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// Counts by unit. A unit that was never set is absent: it reads as zero but is not reported.
///
/// Few calls report more than eight units. A bit set and the counts of its units take a fifth of the space of one count for every
/// unit, and `track()` makes and moves events.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Usage {
    present: u64,
    /// In unit order, one for each bit of `present`.
    counts: SmallVec<[u64; 8]>,
}

impl Usage {
    /// Sets one count, in stored counts (see [`Unit::scale`]).
    pub fn set(&mut self, unit: Unit, count: u64) {
        let position = self.position(unit);
        if self.present & unit.bit() == 0 {
            self.present |= unit.bit();
            self.counts.insert(position, count);
        } else {
            self.counts[position] = count;
        }
    }

    /// The stored count; zero if absent.
    #[must_use]
    pub fn count(&self, unit: Unit) -> u64 {
        if self.present & unit.bit() == 0 { 0 } else { self.counts[self.position(unit)] }
    }

    /// The index of a unit's count in `counts`, or the index to insert it at: the number of lower units that are set.
    pub(crate) fn position(&self, unit: Unit) -> usize {
        (self.present & (unit.bit() - 1)).count_ones() as usize
    }

    /// The units that were set, as a bit set.
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
    fn only_units_that_were_set_are_reported() {
        let mut usage = Usage::default();
        assert!(usage.is_empty());
        usage.set(Unit::OUTPUT_TOKENS, 0);
        usage.set(Unit::INPUT_TOKENS, 7);
        let all: Vec<_> = usage.iter().collect();
        assert_eq!(all, [(Unit::INPUT_TOKENS, 7), (Unit::OUTPUT_TOKENS, 0)]);
    }
}
