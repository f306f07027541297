//! The content of a catalog: providers, their models, and rows of rates with the time and the conditions for which they are valid.
//!
//! `build.rs` compiles `data/catalog.json` into these types and writes them with postcard: names as bytes, numbers as varints, a rate
//! as its digits and its scale. [`super::document`] reads the same types from JSON.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::matching::Clause;
use crate::event::Unit;

/// Rates have at most 18 decimals (28 of the 7,994 rates of `genai-prices` 0.2.3 have that many).
pub(super) const RATE_SCALE: u32 = 18;
const DAY: u64 = 86_400;
/// 1970-01-01 was a Thursday, the fourth day of a week that begins on Monday.
const EPOCH_WEEKDAY: u64 = 3;
const EVERY_DAY: u8 = 0b111_1111;

/// A whole catalog.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct Entries {
    /// The source and its version, as events record them.
    pub(super) name: Box<str>,
    /// The day of its rates, such as `2026-11-22`; empty if the source does not say.
    pub(super) as_of: Box<str>,
    pub(super) providers: Vec<ProviderEntry>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ProviderEntry {
    pub(super) id: Box<str>,
    /// A regular expression that matches its addresses.
    pub(super) api: Box<str>,
    pub(super) provider_match: Option<Clause>,
    pub(super) model_match: Option<Clause>,
    /// The providers whose entries are used if this one has no entry.
    pub(super) fallback: Box<[Box<str>]>,
    pub(super) models: Vec<ModelEntry>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct ModelEntry {
    pub(super) id: Box<str>,
    pub(super) rule: Clause,
    pub(super) retired: bool,
    /// Audio is billed for at least this many seconds.
    pub(super) least_seconds: u32,
    /// The rows of standard rates. A later row takes precedence.
    pub(super) rows: Box<[Row]>,
    /// The rows for special conditions. The first one that fits counts.
    pub(super) variants: Box<[Row]>,
}

/// A row of rates, its period, and the conditions for which it is valid (none: always).
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) period: Period,
    pub(super) context: Box<[(Box<str>, Box<str>)]>,
    pub(super) rates: Rates,
}

/// When a row is valid, in UTC. Both parts must hold.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Period {
    /// The first second, since the Unix epoch, in which it is valid.
    pub(super) from: Option<u64>,
    pub(super) window: Option<Window>,
}

/// A time of day on some weekdays. The start is inclusive, the end exclusive. It may cross midnight, and then belongs to the day on
/// which it began.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// Seconds of the day.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Bit 0 is Monday.
    pub(super) days: u8,
}

/// Rates by unit, the most specific units first. Tokens are charged in this order.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub(super) struct Rates(pub(super) Vec<(UnitIndex, Rate)>);

/// A unit, serialized as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnitIndex(pub(super) Unit);

/// A rate in 10^-18 USD per the unit's denominator. Each tier is for calls whose total input is above its start.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) base: Amount,
    pub(super) tiers: Box<[(u64, Amount)]>,
}

/// An integer of 10^-18 USD, serialized without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Amount(pub(super) i128);

impl Rate {
    /// The rate for a call with this total input. Above a threshold, all tokens of the call get the new rate.
    pub(super) fn at(&self, total_input: u64) -> i128 {
        self.tiers.iter().rev().find(|(above, _)| total_input > *above).map_or(self.base.0, |(_, rate)| rate.0)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.base.0 == 0 && self.tiers.iter().all(|(_, rate)| rate.0 == 0)
    }
}

impl Rates {
    /// Sorts rates into charging order.
    pub(super) fn ordered(mut rates: Vec<(Unit, Rate)>) -> Self {
        rates.sort_by_key(|(unit, _)| (std::cmp::Reverse(unit.dimensions().count()), *unit));
        Self(rates.into_iter().map(|(unit, rate)| (UnitIndex(unit), rate)).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Unit, &Rate)> {
        self.0.iter().map(|(unit, rate)| (unit.0, rate))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Period {
    pub(super) fn holds(self, unix_seconds: u64) -> bool {
        self.from.is_none_or(|start| unix_seconds >= start)
            && self.window.is_none_or(|window| window.holds(unix_seconds))
    }
}

impl Window {
    pub(super) fn new(start: u32, end: u32) -> Self {
        Self { start, end, days: EVERY_DAY }
    }

    fn holds(self, unix_seconds: u64) -> bool {
        let (day, second) = (unix_seconds / DAY, (unix_seconds % DAY) as u32);
        let wraps = self.end < self.start;
        let began_yesterday = wraps && second < self.end;
        let is_inside =
            if wraps { second >= self.start || began_yesterday } else { (self.start..self.end).contains(&second) };
        let weekday = (day + EPOCH_WEEKDAY + if began_yesterday { 6 } else { 0 }) % 7;
        is_inside && self.days >> weekday & 1 == 1
    }
}

impl ModelEntry {
    /// The row that is valid at a time. A later row takes precedence. If none is valid, it is the first.
    pub(super) fn row_at(&self, unix_seconds: u64) -> Option<&Row> {
        self.rows.iter().rev().find(|row| row.period.holds(unix_seconds)).or_else(|| self.rows.first())
    }

    /// The standard rates, with those for the conditions replacing the rates of the same unit. The first fitting variant counts.
    ///
    /// `None` if the conditions change nothing.
    pub(super) fn context_rates(&self, standard: &Rates, unix_seconds: u64, context: &[(&str, &str)]) -> Option<Rates> {
        let fits = |row: &&Row| {
            row.period.holds(unix_seconds) && row.context.iter().all(|(key, value)| context.contains(&(key, value)))
        };
        let mut own: Vec<(Unit, Rate)> = Vec::new();
        for (unit, rate) in self.variants.iter().filter(fits).flat_map(|row| row.rates.iter()) {
            if own.iter().all(|(known, _)| *known != unit) {
                own.push((unit, rate.clone()));
            }
        }
        if own.is_empty() {
            return None;
        }
        let kept = standard.iter().filter(|(unit, _)| own.iter().all(|(known, _)| known != unit));
        let mut merged: Vec<_> = kept.map(|(unit, rate)| (unit, rate.clone())).collect();
        merged.extend(own);
        Some(Rates::ordered(merged))
    }

    /// Whether there is a variant, of any period, for this condition.
    pub(super) fn knows_context(&self, key: &str, value: &str) -> bool {
        self.variants.iter().any(|row| row.context.iter().any(|(own, text)| &**own == key && &**text == value))
    }
}

impl Serialize for UnitIndex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0.index() as u8)
    }
}

impl<'de> Deserialize<'de> for UnitIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u8::deserialize(deserializer)?;
        Unit::from_index(index).map(Self).ok_or_else(|| D::Error::custom("unknown unit"))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut digits, mut scale) = (self.0, RATE_SCALE as u8);
        while scale > 0 && digits % 10 == 0 {
            (digits, scale) = (digits / 10, scale - 1);
        }
        (digits, scale).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (digits, scale) = <(i128, u8)>::deserialize(deserializer)?;
        let missing = RATE_SCALE.checked_sub(u32::from(scale));
        let amount = missing.and_then(|missing| digits.checked_mul(10_i128.pow(missing)));
        amount.map(Self).ok_or_else(|| D::Error::custom("a rate is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_across_midnight_belongs_to_the_day_on_which_it_began() {
        let night = Window::new(16 * 3600 + 1800, 1800);
        assert!(night.holds(0) && night.holds(DAY - 1) && night.holds(16 * 3600 + 1800));
        assert!(!night.holds(1800) && !night.holds(12 * 3600));
        let friday_night = Window { days: 1 << 4, ..night };
        let friday = DAY; // 1970-01-02
        assert!(friday_night.holds(friday + DAY - 1) && friday_night.holds(friday + DAY + 60));
        assert!(!friday_night.holds(friday + 60) && !friday_night.holds(friday + 2 * DAY - 1));
    }

    #[test]
    fn a_rate_is_written_without_trailing_zeros_and_read_back() {
        for digits in [0, 1, 2_500_000_000_000_000_000, 10_i128.pow(22), 123_456_789] {
            let bytes = postcard::to_allocvec(&Amount(digits)).unwrap();
            assert!(bytes.len() <= 6, "{digits}: {} bytes", bytes.len());
            assert_eq!(postcard::from_bytes::<Amount>(&bytes).unwrap(), Amount(digits));
        }
        let too_fine = postcard::to_allocvec(&(1_i128, 19_u8)).unwrap();
        assert!(postcard::from_bytes::<Amount>(&too_fine).is_err());
    }
}
