//! From usage to an exact amount.
//!
//! Every count is charged once, at the rate of its most specific priced unit: a total is charged for what its priced parts leave
//! of it. So a cached token costs the cached rate where there is one and the input rate where there is none. Parts that exceed
//! their total are an error, never clamped.

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::BuildHasher;

use super::catalog::{Catalog, Found, MatchKind, Rate, Rates};
use crate::event::limits::MAX_TEXT;
use crate::event::units::UNIT_COUNT;
use crate::event::{CostStatus, Unit, Usage};
use crate::money::Usd;

/// Amounts have 24 decimals and rates 18, so the product of a rate and a count is 10^6 short.
const RATE_TO_AMOUNT: i128 = 1_000_000;

/// What is to be priced.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The provider that was called; without one the model's name has to tell.
    pub provider: Option<&'a str>,
    /// The model reference, as requested or as answered.
    pub model: &'a str,
    /// What was used.
    pub usage: &'a Usage,
    /// When the call began, in nanoseconds of the Unix epoch: it decides which dated rate applies.
    pub started_at: u64,
    /// What else decides the rate: pairs such as `("service_tier", "flex")` or `("processing", "batch")`.
    pub context: &'a [(&'a str, &'a str)],
}

/// One charged unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The unit.
    pub unit: Unit,
    /// How many of it were charged, in stored counts (see [`Unit::scale`]): its own less those of its priced parts.
    pub count: u64,
    /// The rate, in 10^-18 USD per the unit's denominator.
    pub rate: i128,
    /// Their product.
    pub amount: Usd,
}

/// What a call costs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The total; `None` when it is unknown.
    pub usd: Option<Usd>,
    /// What of it is for input.
    pub input: Option<Usd>,
    /// What of it is for output.
    pub output: Option<Usd>,
    /// Where it comes from.
    pub status: CostStatus,
    /// The entry that priced it.
    pub found: Option<Found>,
    /// One line for each charged unit.
    pub lines: Vec<Line>,
}

/// Why usage cannot be priced.
#[derive(thiserror::Error, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceError {
    /// A part was reported larger than its total, or parts together exceed it.
    #[error("{0}: its parts add up to more than the total that includes them")]
    PartsExceedTotal(Unit),
    /// The amount leaves the range of exact amounts.
    #[error("{0}: the amount is out of range")]
    OutOfRange(Unit),
}

/// The cost of an event and the entry it came from: what `track()` needs, without the lines.
pub type Total = (Option<Usd>, CostStatus, Option<Found>);

impl Catalog {
    /// Prices a call and explains the price.
    ///
    /// # Errors
    /// When the usage contradicts itself or the amount leaves the range. An unknown model is no error: its cost is `None`.
    pub fn price(&self, request: &Request<'_>) -> Result<Cost, PriceError> {
        let mut lines = Vec::new();
        let (usd, status, found) = self.charge(request, &mut |line| lines.push(line))?;
        lines.sort_by_key(|line| line.unit);
        let sum = |direction: &str| {
            let part = |line: &&Line| line.unit.dimensions().any(|dimension| dimension == direction);
            usd.map(|_| lines.iter().filter(part).map(|line| line.amount).sum())
        };
        Ok(Cost { usd, input: sum("direction=input"), output: sum("direction=output"), status, found, lines })
    }

    /// Prices a call.
    ///
    /// # Errors
    /// As [`Catalog::price`].
    pub fn total(&self, request: &Request<'_>) -> Result<Total, PriceError> {
        self.charge(request, &mut |_| ())
    }

    fn charge(&self, request: &Request<'_>, line: &mut dyn FnMut(Line)) -> Result<Total, PriceError> {
        let Some(found) = self.find_cached(request.provider, request.model) else {
            return Ok((None, CostStatus::Unpriced, None));
        };
        let model = self.model(found);
        let seconds = request.started_at / 1_000_000_000;
        let Some(standard) = model.standard_rates(seconds) else {
            return Ok((None, CostStatus::Unpriced, Some(found)));
        };
        // A provider's own tiers and batch rates do not hold where another serves its models.
        let special = if request.context.is_empty() || found.is_fallback {
            None
        } else {
            model.context_rates(standard, seconds, request.context)
        };
        let rates = special.map_or(Cow::Borrowed(standard), Cow::Owned);
        if rates.0.is_empty() {
            // The data set leaves rates out both for what is free and for what is not known; only a name that says so is free.
            return Ok(if model.id.ends_with(":free") {
                (Some(Usd::ZERO), CostStatus::Free, Some(found))
            } else {
                (None, CostStatus::Unpriced, Some(found))
            });
        }
        let amount = charge_rates(&rates, &self.parts, request.usage, line)?;
        let covered = rates.0.iter().fold(0, |set, (unit, _)| set | unit.bit() | self.parts[unit.index()]);
        let used = request.usage.iter().filter(|(_, count)| *count > 0).fold(0, |set, (unit, _)| set | unit.bit());
        if used & covered == 0 && used != 0 && amount == Usd::ZERO {
            return Ok((None, CostStatus::Unpriced, Some(found)));
        }
        let is_free = rates.0.iter().all(|(_, rate)| rate.base == 0 && rate.tiers.is_empty());
        let status = if is_free { CostStatus::Free } else { CostStatus::Priced };
        Ok((Some(amount), status, Some(found)))
    }

    /// Looks a model up, remembering the answer in a small table of this thread. The table has a fixed size, so that any number
    /// of names costs no more memory, and holds no lock, so that a fork cannot leave one taken.
    fn find_cached(&self, provider: Option<&str>, model: &str) -> Option<Found> {
        const SLOTS: usize = 64;
        struct Slot {
            catalog: u64,
            provider: Option<Box<str>>,
            model: Box<str>,
            found: Option<Found>,
        }
        thread_local! {
            static TABLE: RefCell<[Option<Slot>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
        }
        static HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x7461_7869);

        let identity = self.serial();
        let index = HASHER.hash_one((provider, model)) as usize % SLOTS;
        let remembered = TABLE.try_with(|table| {
            let table = table.try_borrow().ok()?;
            let slot = table[index].as_ref()?;
            let same = slot.catalog == identity && *slot.model == *model && slot.provider.as_deref() == provider;
            same.then_some(slot.found)
        });
        if let Ok(Some(found)) = remembered {
            return found;
        }
        let found = self.find(provider, model);
        if model.len() > MAX_TEXT || provider.is_some_and(|provider| provider.len() > MAX_TEXT) {
            return found;
        }
        let _ = TABLE.try_with(|table| {
            if let Ok(mut table) = table.try_borrow_mut() {
                table[index] =
                    Some(Slot { catalog: identity, provider: provider.map(Into::into), model: model.into(), found });
            }
        });
        found
    }
}

fn charge_rates(
    rates: &Rates,
    contained: &[u64; UNIT_COUNT],
    usage: &Usage,
    line: &mut dyn FnMut(Line),
) -> Result<Usd, PriceError> {
    let total_input = usage.count(Unit::INPUT_TOKENS);
    let mut charged = [0_u64; UNIT_COUNT];
    let mut done = 0_u64;
    let mut total = Usd::ZERO;
    for (unit, rate) in &rates.0 {
        let reported = if *unit == Unit::REQUESTS { 1 } else { usage.count(*unit) };
        let mut own = reported;
        let mut parts = contained[unit.index()] & done;
        while parts != 0 {
            let part = parts.trailing_zeros() as usize;
            parts &= parts - 1;
            own = own.checked_sub(charged[part]).ok_or(PriceError::PartsExceedTotal(*unit))?;
        }
        charged[unit.index()] = own;
        done |= unit.bit();
        if own == 0 {
            continue;
        }
        let rate = rate_of(rate, total_input);
        let amount = product(own, rate, *unit).ok_or(PriceError::OutOfRange(*unit))?;
        total = total.checked_add(amount).ok_or(PriceError::OutOfRange(*unit))?;
        line(Line { unit: *unit, count: own, rate, amount });
    }
    Ok(total)
}

fn rate_of(rate: &Rate, total_input: u64) -> i128 {
    if rate.tiers.is_empty() { rate.base } else { rate.at(total_input) }
}

/// Count times rate. Exact but for seconds, whose denominator of 3,600 may leave a remainder: that rounds half to even.
fn product(count: u64, rate: i128, unit: Unit) -> Option<Usd> {
    let rated = i128::from(count).checked_mul(rate)?;
    let per = i128::from(unit.per());
    if per == RATE_TO_AMOUNT {
        return Some(Usd::from_units(rated));
    }
    let numerator = rated.checked_mul(RATE_TO_AMOUNT)?;
    let denominator = per.checked_mul(i128::from(unit.scale()))?;
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    let round_up = match (2 * remainder).cmp(&denominator) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    Some(Usd::from_units(quotient + i128::from(round_up)))
}

impl Cost {
    /// How the entry was found, if one was.
    #[must_use]
    pub fn match_kind(&self) -> Option<MatchKind> {
        self.found.map(|found| found.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_795_300_000_000_000_000;

    fn usage(counts: &[(&str, u64)]) -> Usage {
        let mut usage = Usage::default();
        for (name, count) in counts {
            usage.set(Unit::from_name(name).unwrap(), *count);
        }
        usage
    }

    fn price(provider: &str, model: &str, usage: &Usage, context: &[(&str, &str)]) -> Result<Cost, PriceError> {
        Catalog::embedded().price(&Request { provider: Some(provider), model, usage, started_at: NOW, context })
    }

    fn dollars(provider: &str, model: &str, counts: &[(&str, u64)]) -> Option<String> {
        price(provider, model, &usage(counts), &[]).unwrap().usd.map(|usd| usd.to_string())
    }

    #[test]
    fn cached_tokens_are_charged_once_at_their_own_rate() {
        let counts = [("input_tokens", 1200), ("cache_read_tokens", 800), ("output_tokens", 350)];
        // 400 × 2.5 + 800 × 1.25 + 350 × 10, per million.
        assert_eq!(dollars("openai", "gpt-4o", &counts).unwrap(), "0.0055");
    }

    #[test]
    fn one_threshold_reprices_every_token() {
        let counts = |input| [("input_tokens", input), ("output_tokens", 100)];
        assert_eq!(dollars("anthropic", "claude-sonnet-4-5", &counts(200_000)).unwrap(), "0.6015");
        assert_eq!(dollars("anthropic", "claude-sonnet-4-5", &counts(200_001)).unwrap(), "1.202256");
    }

    #[test]
    fn an_unknown_model_has_no_cost() {
        let cost = price("openai", "no-such-model", &usage(&[("input_tokens", 5)]), &[]).unwrap();
        assert_eq!((cost.usd, cost.status, cost.found), (None, CostStatus::Unpriced, None));
    }

    #[test]
    fn usage_in_units_without_a_rate_has_no_cost() {
        assert_eq!(dollars("openai", "gpt-4o", &[("input_pixels", 5)]), None);
    }

    #[test]
    fn contexts_have_rates_of_their_own() {
        let used = usage(&[("input_tokens", 1_000_000)]);
        let batch = price("openai", "gpt-4o", &used, &[("processing", "batch")]).unwrap();
        assert_eq!(batch.usd.unwrap().to_string(), "1.25");
        let fallback = price("azure", "gpt-4o", &used, &[("processing", "batch")]).unwrap();
        assert_eq!(fallback.usd.unwrap().to_string(), "2.5");
    }

    #[test]
    fn parts_above_their_total_are_refused_by_name() {
        let error =
            price("openai", "gpt-4o", &usage(&[("input_tokens", 5), ("cache_read_tokens", 6)]), &[]).unwrap_err();
        assert!(error.to_string().starts_with("input_tokens"), "{error}");
    }

    #[test]
    fn the_table_of_names_stays_small_and_right() {
        for round in 0..3 {
            for n in 0..500 {
                let name = format!("no-such-model-{n}");
                assert_eq!(dollars("openai", &name, &[("input_tokens", 1)]), None, "{round}");
                assert!(dollars("openai", "gpt-4o", &[("input_tokens", 1)]).is_some());
            }
        }
    }

    proptest! {
        #[test]
        fn lines_add_up_to_the_total_and_counts_to_the_usage(
            read in 0_u64..1_000_000, write in 0_u64..1_000_000, fresh in 0_u64..1_000_000, output in 0_u64..1_000_000,
        ) {
            let used = usage(&[
                ("input_tokens", read + write + fresh), ("cache_read_tokens", read),
                ("cache_write_tokens", write), ("output_tokens", output),
            ]);
            let cost = price("anthropic", "claude-sonnet-4-5", &used, &[]).unwrap();
            prop_assert_eq!(cost.lines.iter().map(|line| line.amount).sum::<Usd>(), cost.usd.unwrap());
            prop_assert_eq!(cost.lines.iter().map(|line| line.count).sum::<u64>(), read + write + fresh + output);
            prop_assert_eq!(cost.input.unwrap() + cost.output.unwrap(), cost.usd.unwrap());
        }
    }
}
