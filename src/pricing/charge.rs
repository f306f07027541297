//! Exact arithmetic: counts times rates.
//!
//! Every count is charged once, at the rate of its most specific unit with a rate. A total is charged only for what its priced parts
//! leave of it. So a cached token costs the cache rate if there is one, and else the input rate. Parts that exceed their total are an
//! error, and are never clamped.

use std::borrow::Cow;

use super::entry::{ModelEntry, RATE_SCALE, Rates};
use super::overrides::MULTIPLIER_SCALE;
use crate::event::units::UNIT_COUNT;
use crate::event::{CostNotes, Unit, Usage};
use crate::money::{SCALE, Usd};

/// Amounts have 24 decimals and rates have 18, so the product of a rate and a count must be multiplied by 10^6.
const RATE_TO_AMOUNT: i128 = 10_i128.pow(SCALE - RATE_SCALE);
const ONE: i128 = 10_i128.pow(MULTIPLIER_SCALE);

/// One charged unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The unit.
    pub unit: Unit,
    /// How many of it were charged, in stored counts (see [`Unit::scale`]): its count minus those of its priced parts.
    pub count: u64,
    /// The rate, in 10^-18 USD per the unit's denominator.
    pub rate: i128,
    /// The product of both, times the factor of the region or tier and the multiplier, if there are any.
    pub amount: Usd,
}

/// Why usage cannot be priced.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PriceError {
    /// A part is larger than a total to which it belongs.
    #[error("{0} is part of {1} and cannot exceed it")]
    PartExceedsTotal(Unit, Unit),
    /// The parts add up to more than their total, or the total was not reported.
    #[error("{0}: its parts add up to more than the total that includes them")]
    PartsExceedTotal(Unit),
    /// Two parts of a total may overlap, and the overlap was not reported.
    #[error("{0} is needed, because it tells how much of {1} is also counted in {2}")]
    OverlapUnknown(Unit, Unit, Unit),
    /// The amount is out of range.
    #[error("{0}: the amount is out of range")]
    OutOfRange(Unit),
}

/// Which units are parts of others, as bit sets.
#[derive(Debug)]
pub(super) struct Relations {
    /// For each unit, the units that are part of it.
    parts: [u64; UNIT_COUNT],
    /// Triples of units: an overlap, and the two units that overlap in it. One of the two always has a modality.
    overlaps: Vec<(Unit, Unit, Unit)>,
    /// The units with a modality that occur in `overlaps`.
    overlapping: u64,
    /// The units of audio, image and video tokens.
    modal: u64,
    /// The units of all tokens.
    tokens: u64,
}

/// The result of charging usage.
pub(super) struct Charged {
    pub(super) total: Usd,
    pub(super) notes: CostNotes,
    /// Whether no unit that was used has a rate.
    pub(super) is_uncovered: bool,
}

impl Relations {
    pub(super) fn new() -> Self {
        // Each dimension becomes a bit, so that the rest is arithmetic instead of 61³ comparisons of texts.
        let mut known: Vec<&str> = Vec::new();
        let mut sets = [0_u64; UNIT_COUNT];
        for unit in Unit::all() {
            for dimension in unit.dimensions() {
                let bit = known.iter().position(|other| *other == dimension).unwrap_or_else(|| {
                    known.push(dimension);
                    known.len() - 1
                });
                sets[unit.index()] |= 1 << bit;
            }
        }
        let is_within = |part: Unit, total: Unit| {
            let (part, total) = (sets[part.index()], sets[total.index()]);
            part != total && part & total == total
        };
        let mut relations = Self { parts: [0; UNIT_COUNT], overlaps: Vec::new(), overlapping: 0, modal: 0, tokens: 0 };
        for unit in Unit::all() {
            for other in Unit::all().filter(|other| is_within(*other, unit)) {
                relations.parts[unit.index()] |= other.bit();
            }
            let is_modal = ["modality=audio", "modality=image", "modality=video"]
                .iter()
                .any(|modality| unit.dimensions().any(|dimension| dimension == *modality));
            if unit.dimensions().next() == Some("tokens") {
                relations.tokens |= unit.bit();
            }
            if is_modal && unit.dimensions().next() == Some("tokens") {
                relations.modal |= unit.bit();
            }
            for (left, right) in Unit::all().flat_map(|left| Unit::all().map(move |right| (left, right))) {
                let is_join = sets[left.index()] | sets[right.index()] == sets[unit.index()];
                if left < right && is_join && is_within(unit, left) && is_within(unit, right) {
                    relations.overlaps.push((unit, left, right));
                    let of_modality = |side: &Unit| side.dimensions().any(|one| one.starts_with("modality="));
                    relations.overlapping |=
                        [left, right].iter().filter(|side| of_modality(side)).fold(0, |set, side| set | side.bit());
                }
            }
        }
        relations
    }

    /// Charges `usage`, and calls `line` for every charged unit. Both factors are in millionths. The factor of a region or a tier
    /// applies to tokens only.
    pub(super) fn charge(
        &self,
        rates: &Rates,
        usage: &Usage,
        multiplier: Option<i128>,
        uplift: Option<i128>,
        line: &mut impl FnMut(Line),
    ) -> Result<Charged, PriceError> {
        self.check_parts(usage)?;
        let total_input = usage.count(Unit::INPUT_TOKENS);
        let used = usage.iter().filter(|(_, count)| *count > 0).fold(0, |set, (unit, _)| set | unit.bit());
        // What was charged of each reported unit, in the order of the usage, and for which units that is not zero.
        let (mut few, mut many) = ([0_u64; 8], Vec::new());
        let reported = usage.present().count_ones() as usize;
        let charged = if reported <= few.len() {
            &mut few[..]
        } else {
            many.resize(reported, 0_u64);
            &mut many[..]
        };
        let mut filled = 0_u64;
        let (mut priced, mut covered) = (0_u64, 0_u64);
        let mut total = Usd::ZERO;
        for (unit, rate) in rates.iter() {
            priced |= unit.bit();
            covered |= unit.bit() | self.parts[unit.index()];
            let mut own = if unit == Unit::REQUESTS { 1 } else { usage.count(unit) };
            let mut parts = self.parts[unit.index()] & filled;
            while parts != 0 {
                let part = Unit::from_index(parts.trailing_zeros() as u8);
                parts &= parts - 1;
                let count = part.map_or(0, |part| charged[usage.position(part)]);
                own = own.checked_sub(count).ok_or(PriceError::PartsExceedTotal(unit))?;
            }
            if own == 0 {
                continue;
            }
            if used & unit.bit() != 0 {
                charged[usage.position(unit)] = own;
                filled |= unit.bit();
            }
            let rate = if rate.tiers.is_empty() { rate.base.0 } else { rate.at(total_input) };
            let mut amount = product(own, rate, unit);
            if let Some(millionths) = uplift.filter(|_| self.tokens & unit.bit() != 0) {
                amount = amount.and_then(|amount| scaled(amount, millionths));
            }
            if let Some(millionths) = multiplier {
                amount = amount.and_then(|amount| scaled(amount, millionths));
            }
            let amount = amount.ok_or(PriceError::OutOfRange(unit))?;
            total = total.checked_add(amount).ok_or(PriceError::OutOfRange(unit))?;
            line(Line { unit, count: own, rate, amount });
        }
        if used & self.overlapping != 0 {
            self.check_overlaps(usage, used, priced)?;
        }
        let is_uncovered = used & covered == 0 && used != 0 && total == Usd::ZERO;
        Ok(Charged { total, notes: self.notes(used, priced, covered), is_uncovered })
    }

    fn notes(&self, used: u64, priced: u64, covered: u64) -> CostNotes {
        let mut notes = CostNotes::NONE;
        let borrowed = used & !priced & covered;
        if borrowed & self.modal != 0 {
            notes |= CostNotes::MODALITY_AT_TEXT_RATE;
        }
        if borrowed & (Unit::CACHE_READ_TOKENS.bit() | Unit::CACHE_WRITE_TOKENS.bit()) != 0 {
            notes |= CostNotes::CACHE_AT_INPUT_RATE;
        }
        if used & !covered != 0 {
            notes |= CostNotes::UNIT_WITHOUT_RATE;
        }
        notes
    }

    /// Compares every part with every reported total that includes it.
    fn check_parts(&self, usage: &Usage) -> Result<(), PriceError> {
        for (total, count) in usage.iter() {
            let mut parts = self.parts[total.index()] & usage.present();
            while parts != 0 {
                let part = Unit::from_index(parts.trailing_zeros() as u8);
                parts &= parts - 1;
                if let Some(part) = part.filter(|part| usage.count(*part) > count) {
                    return Err(PriceError::PartExceedsTotal(part, total));
                }
            }
        }
        Ok(())
    }

    /// If two charged parts may overlap, the overlap must be charged too, or be known to be zero.
    fn check_overlaps(&self, usage: &Usage, used: u64, priced: u64) -> Result<(), PriceError> {
        let is_unknown = |(join, left, right): &&(Unit, Unit, Unit)| {
            let both = left.bit() | right.bit();
            let is_reported = usage.present() & join.bit() != 0;
            let is_charged = priced & join.bit() != 0;
            used & both == both && priced & both == both && !(is_reported && (is_charged || usage.count(*join) == 0))
        };
        self.overlaps
            .iter()
            .find(is_unknown)
            .map_or(Ok(()), |(join, left, right)| Err(PriceError::OverlapUnknown(*join, *left, *right)))
    }
}

/// The usage as it is billed: audio for at least the entry's minimum.
pub(super) fn billed<'a>(usage: &'a Usage, model: &ModelEntry) -> Cow<'a, Usage> {
    if model.least_seconds == 0 {
        return Cow::Borrowed(usage);
    }
    let [whole, input] = [Unit::AUDIO_SECONDS, Unit::INPUT_AUDIO_SECONDS];
    let reported = usage.count(whole).max(usage.count(input));
    let least = u64::from(model.least_seconds) * whole.scale();
    if reported == 0 {
        return Cow::Borrowed(usage);
    }
    let mut billed = usage.clone();
    billed.set(whole, reported.max(least));
    billed.set(input, reported.max(least));
    Cow::Owned(billed)
}

/// Count times rate. It is exact except for seconds, whose denominator of 3,600 may leave a remainder. That is rounded half to even.
fn product(count: u64, rate: i128, unit: Unit) -> Option<Usd> {
    // Nearly all rates have 64 bits. A product of wider numbers takes several times as long.
    let rated = match u64::try_from(rate) {
        Ok(rate) => i128::try_from(u128::from(count) * u128::from(rate)).ok()?,
        Err(_) => i128::from(count).checked_mul(rate)?,
    };
    let per = i128::from(unit.per());
    if per == RATE_TO_AMOUNT {
        return Some(Usd::from_units(rated));
    }
    let numerator = rated.checked_mul(RATE_TO_AMOUNT)?;
    let denominator = per.checked_mul(i128::from(unit.scale()))?;
    Some(Usd::from_units(divided(numerator, denominator)))
}

/// An amount times a multiplier in millionths, rounded half to even at the last decimal.
fn scaled(amount: Usd, millionths: i128) -> Option<Usd> {
    let (whole, rest) = (amount.units() / ONE, amount.units() % ONE);
    let product = whole.checked_mul(millionths)?.checked_add(divided(rest * millionths, ONE))?;
    Some(Usd::from_units(product))
}

/// The quotient of non-negative numbers, rounded half to even.
fn divided(numerator: i128, denominator: i128) -> i128 {
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    let rounds_up = match (2 * remainder).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    quotient + i128::from(rounds_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_and_totals_follow_from_the_dimensions() {
        let relations = Relations::new();
        for total in Unit::all() {
            for part in Unit::all() {
                let is_part = relations.parts[total.index()] & part.bit() != 0;
                assert_eq!(is_part, total.contains(part), "{part} in {total}");
            }
        }
        let [read, audio] =
            ["cache_audio_read_tokens", "input_audio_tokens"].map(|name| Unit::from_name(name).unwrap());
        assert!(relations.overlaps.contains(&(read, Unit::CACHE_READ_TOKENS, audio)));
    }

    #[test]
    fn r27_halves_round_to_even() {
        assert_eq!([1, 2, 3, 5, 7].map(|number| divided(number, 2)), [0, 1, 2, 2, 4]);
        assert_eq!(scaled(Usd::from_units(5), 500_000).unwrap().units(), 2);
        assert_eq!(scaled(Usd::from_units(7), 500_000).unwrap().units(), 4);
    }

    proptest! {
        #[test]
        fn r27_scaling_is_exact_if_possible(amount in 0_i128..10_i128.pow(30), millionths in 0_i128..10_i128.pow(9)) {
            let amount = Usd::from_units(amount / ONE * ONE);
            let exact = amount.units() / ONE * millionths;
            prop_assert_eq!(scaled(amount, millionths).unwrap().units(), exact);
        }
    }
}
