//! Validation of the fields of an event: which values are valid counts, times and costs, and the defaults of fields that were not given.
//!
//! Values come in as Python gave them, numbers as integers or floats. They go out in the units of [`UsageEvent`]. An invalid value
//! breaks a [`Rule`], whose text completes a sentence that begins with the name of the field.

use super::usage::MAX_COUNT;
use super::{Status, Unit, UsageEvent};
use crate::money::{SCALE, Usd};

/// The rule that an invalid value breaks.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// For a count.
    #[error("must be a whole number from 0 to 1,000,000,000,000")]
    Count,
    /// For a count of seconds.
    #[error("must be a number of seconds from 0 to 1,000,000")]
    Seconds,
    /// For a time.
    #[error("must be an aware datetime, a date, an ISO 8601 text, or seconds since 1970")]
    Time,
    /// For a time given as a datetime.
    #[error("must have a time zone")]
    TimeZone,
    /// For the range of a call's start time.
    #[error("must lie between 2015 and a day from now")]
    TimeRange,
    /// For the range of a date whose prices are requested.
    #[error("must lie between 2015 and 2100")]
    DateRange,
    /// For a duration.
    #[error("must be a number of milliseconds from 0 to 1,000,000,000,000")]
    Duration,
    /// For a cost.
    #[error("must be a decimal number that is not negative")]
    Cost,
}

/// A number as the caller gave it. A boolean is not a number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// An integer.
    Whole(u64),
    /// A float, with or without a fraction.
    Real(f64),
}

/// A count of a unit, in stored counts (see [`Unit::scale`]). A float is valid only if it is whole, except for seconds.
///
/// # Errors
/// The broken rule. `None`, a value that is not a number, breaks it too.
#[inline]
pub fn count(number: Option<Number>, unit: Unit) -> Result<u64, Rule> {
    let scale = unit.scale();
    let real = match number {
        Some(Number::Whole(count)) if scale == 1 => {
            return if count <= MAX_COUNT { Ok(count) } else { Err(Rule::Count) };
        }
        Some(Number::Whole(count)) => count as f64,
        Some(Number::Real(real)) if scale != 1 || real.fract() == 0.0 => real,
        _ => return Err(if scale == 1 { Rule::Count } else { Rule::Seconds }),
    };
    let stored = real * scale as f64;
    if (0.0..=MAX_COUNT as f64).contains(&stored) {
        Ok(stored.round() as u64)
    } else {
        Err(if scale == 1 { Rule::Count } else { Rule::Seconds })
    }
}

/// The first second of 2015. No call of a language model was billed before.
const YEAR_2015: f64 = 1_420_070_400.0;
/// The first second of 2101.
const YEAR_2101: f64 = 4_133_980_800.0;

/// Converts a call's start time from seconds to nanoseconds since the Unix epoch. `now` is in nanoseconds.
///
/// # Errors
/// [`Rule::TimeRange`] before 2015 or more than a day after `now`. A wrong clock is usually wrong by
/// decades, and a call that was made did not start in the future.
pub fn time(seconds: f64, now: u64) -> Result<u64, Rule> {
    const DAY: f64 = 86_400.0;
    if (YEAR_2015..=now as f64 / 1e9 + DAY).contains(&seconds) {
        Ok(nanoseconds(seconds))
    } else {
        Err(Rule::TimeRange)
    }
}

/// Converts a time whose prices are requested from seconds to nanoseconds since the Unix epoch.
///
/// # Errors
/// [`Rule::DateRange`] before 2015 or after 2100. Future dates are valid, because catalogs can have rates that start later.
pub fn price_time(seconds: f64) -> Result<u64, Rule> {
    if (YEAR_2015..YEAR_2101).contains(&seconds) { Ok(nanoseconds(seconds)) } else { Err(Rule::DateRange) }
}

/// Rounds to microseconds: the resolution of a Python datetime, and about that of a float of this size.
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64 * 1000
}

/// Converts a duration from milliseconds to microseconds.
///
/// # Errors
/// [`Rule::Duration`].
pub fn duration(milliseconds: f64) -> Result<u64, Rule> {
    const MOST: f64 = 1e12;
    if (0.0..=MOST).contains(&milliseconds) { Ok((milliseconds * 1000.0).round() as u64) } else { Err(Rule::Duration) }
}

/// The longest cost, in bytes of text. Exact amounts take half of it.
pub const LONGEST_COST: usize = 100;

/// Whether a decimal whose first digit has this exponent can be a cost. Check it before writing the decimal out in digits:
/// `1e999999999` has a billion of them.
#[must_use]
pub fn can_be_cost(exponent: i64) -> bool {
    const LARGEST: i64 = 9;
    (-i64::from(SCALE)..=LARGEST).contains(&exponent)
}

/// Reads a cost from digits without an exponent.
///
/// # Errors
/// [`Rule::Cost`] if it is negative, or has more than 24 decimals.
pub fn cost(digits: &str) -> Result<Usd, Rule> {
    digits.parse().ok().filter(|cost| *cost >= Usd::ZERO).ok_or(Rule::Cost)
}

/// Whether the text can be a provider's report of usage: a JSON object.
#[must_use]
pub fn is_report(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

/// An event with defaults only: the operation is `chat`.
#[must_use]
pub fn unknown<'a>() -> UsageEvent<'a> {
    UsageEvent { operation: "chat", ..UsageEvent::default() }
}

/// How a call ended: the given status, else `Error` if an error was named, else `Success`.
#[must_use]
pub fn status(given: Option<Status>, error: Option<&str>) -> Status {
    given.unwrap_or(if error.is_some() { Status::Error } else { Status::Success })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_780_000_000_000_000_000;

    #[test]
    fn whole_numbers_are_counts_as_integer_or_float() {
        let tokens = Unit::INPUT_TOKENS;
        for number in [Number::Whole(1200), Number::Real(1200.0)] {
            assert_eq!(count(Some(number), tokens), Ok(1200));
        }
        for number in [Number::Real(1.5), Number::Real(-1.0), Number::Real(f64::NAN), Number::Whole(MAX_COUNT + 1)] {
            assert_eq!(count(Some(number), tokens), Err(Rule::Count));
        }
        assert_eq!(count(None, tokens), Err(Rule::Count));
        assert_eq!(count(Some(Number::Real(1.5)), Unit::AUDIO_SECONDS), Ok(Unit::AUDIO_SECONDS.scale() * 3 / 2));
        assert_eq!(count(Some(Number::Whole(2)), Unit::AUDIO_SECONDS), Ok(Unit::AUDIO_SECONDS.scale() * 2));
        assert_eq!(count(Some(Number::Real(-0.1)), Unit::AUDIO_SECONDS), Err(Rule::Seconds));
        assert_eq!(count(None, Unit::AUDIO_SECONDS), Err(Rule::Seconds));
    }

    #[test]
    fn times_outside_the_range_are_rejected() {
        assert_eq!(time(1_779_999_999.5, NOW), Ok(1_779_999_999_500_000_000));
        for seconds in [-1.0, 0.0, 1_420_070_399.0, NOW as f64 / 1e9 + 86_401.0, f64::NAN, f64::INFINITY] {
            assert_eq!(time(seconds, NOW), Err(Rule::TimeRange), "{seconds}");
        }
        assert_eq!(price_time(4_102_444_800.0), Ok(4_102_444_800_000_000_000), "2100-01-01");
        for seconds in [-1.0, 1_420_070_399.0, 4_133_980_800.0, f64::NAN, f64::INFINITY] {
            assert_eq!(price_time(seconds), Err(Rule::DateRange), "{seconds}");
        }
        assert_eq!(duration(12.5), Ok(12_500));
        for milliseconds in [-0.1, 1e12 + 1.0, f64::NAN] {
            assert_eq!(duration(milliseconds), Err(Rule::Duration));
        }
    }

    #[test]
    fn costs_are_non_negative_decimals_in_range() {
        assert_eq!(cost("0.0123").map(|cost| cost.to_string()).as_deref(), Ok("0.0123"));
        for digits in ["-1", "NaN", "", "1e5", "0.0000000000000000000000001"] {
            assert_eq!(cost(digits), Err(Rule::Cost), "{digits}");
        }
        assert!(can_be_cost(9) && can_be_cost(-24) && !can_be_cost(10) && !can_be_cost(-25));
    }

    #[test]
    fn fields_not_given_have_defaults() {
        assert_eq!(unknown().operation, "chat");
        assert_eq!(status(None, None), Status::Success);
        assert_eq!(status(None, Some("ValueError")), Status::Error);
        assert_eq!(status(Some(Status::Success), Some("ValueError")), Status::Success);
        assert!(is_report("{\"a\":1}") && !is_report("[]") && !is_report("{"));
    }

    proptest! {
        #[test]
        fn accepted_counts_are_in_range(real in any::<f64>(), whole in any::<u64>(), unit in 0_u8..50) {
            let Some(unit) = Unit::from_index(unit) else { return Ok(()) };
            for number in [Number::Real(real), Number::Whole(whole)] {
                if let Ok(count) = count(Some(number), unit) {
                    prop_assert!(count <= MAX_COUNT);
                }
            }
            // An integer and the equal float are the same count.
            let small = whole % (1 << 50);
            prop_assert_eq!(count(Some(Number::Whole(small)), unit), count(Some(Number::Real(small as f64)), unit));
        }

        #[test]
        fn accepted_times_are_in_range(seconds in any::<f64>()) {
            if let Ok(at) = time(seconds, NOW) {
                prop_assert!(at > 1_420_070_399_000_000_000 && at <= NOW + 86_401_000_000_000);
            }
        }
    }
}
