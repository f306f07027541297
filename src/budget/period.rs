//! The periods of budgets. Python computes the boundaries, because it has the time zones.

use serde::{Deserialize, Serialize};

use super::slot::Period;

/// The periods of a budget.
#[expect(clippy::enum_variant_names, reason = "the names in JSON")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Calendar {
    /// From one boundary to the next, in seconds since the Unix epoch, ascending.
    Calendar {
        /// The boundaries. The first is the start of the period in which they were computed.
        boundaries: Vec<i64>,
    },
    /// The last so many seconds.
    Rolling {
        /// The length.
        seconds: i64,
    },
    /// One period without an end.
    Total,
}

impl Calendar {
    /// The kind of period: calendars are of one kind whatever their boundaries, rolling ones of one kind for each length.
    pub(super) fn kind(&self) -> (u8, i64) {
        match self {
            Self::Calendar { .. } => (0, 0),
            Self::Rolling { seconds } => (1, *seconds),
            Self::Total => (2, 0),
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Calendar { boundaries } if boundaries.len() < 2 => Err("needs two boundaries or more"),
            Self::Calendar { boundaries } if boundaries.windows(2).any(|pair| pair[0] >= pair[1]) => {
                Err("has boundaries that do not ascend")
            }
            Self::Rolling { seconds } if !(60..=2_678_400).contains(seconds) => {
                Err("rolling must be from 60 to 2,678,400 seconds (31 days)")
            }
            _ => Ok(()),
        }
    }

    /// The period of a time in seconds since the Unix epoch. Before the first boundary and after the last one, periods have the length
    /// of the nearest one.
    pub(super) fn at(&self, time: i64) -> Period {
        let boundaries = match self {
            Self::Total => return Period::Fixed { start: 0, end: i64::MAX },
            Self::Rolling { seconds } => return Period::Rolling { seconds: *seconds },
            Self::Calendar { boundaries } => boundaries,
        };
        let after = boundaries.partition_point(|boundary| *boundary <= time);
        match (after.checked_sub(1).map(|index| boundaries[index]), boundaries.get(after)) {
            (Some(start), Some(end)) => Period::Fixed { start, end: *end },
            _ => beyond(boundaries, time),
        }
    }

    /// The first known boundary.
    pub(super) fn known_from(&self) -> i64 {
        match self {
            Self::Calendar { boundaries } => boundaries.first().copied().unwrap_or(i64::MIN),
            Self::Rolling { .. } | Self::Total => i64::MIN,
        }
    }

    /// When the boundaries end; `None` if they never do.
    pub(super) fn known_until(&self) -> Option<i64> {
        match self {
            Self::Calendar { boundaries } => boundaries.last().copied(),
            Self::Rolling { .. } | Self::Total => None,
        }
    }
}

fn beyond(boundaries: &[i64], time: i64) -> Period {
    let (first, last) = match boundaries {
        [first, second, ..] if time < *first => (*first, *second),
        [.., before, last] => (*last, *last + (last - before)),
        _ => return Period::Fixed { start: 0, end: i64::MAX },
    };
    let length = (last - first).max(1);
    let start = first + (time - first).div_euclid(length) * length;
    Period::Fixed { start, end: start + length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_period_between_its_boundaries() {
        let calendar = Calendar::Calendar { boundaries: vec![100, 200, 250] };
        for (time, start, end) in [
            (100, 100, 200),
            (199, 100, 200),
            (200, 200, 250),
            (250, 250, 300),
            (301, 300, 350),
            (99, 0, 100),
            (-1, -100, 0),
        ] {
            assert_eq!(calendar.at(time), Period::Fixed { start, end }, "{time}");
        }
        assert!(Calendar::Calendar { boundaries: vec![2, 1] }.check().is_err());
        assert!(Calendar::Rolling { seconds: 59 }.check().is_err());
        assert_eq!(Calendar::Total.at(7), Period::Fixed { start: 0, end: i64::MAX });
    }
}
