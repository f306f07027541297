//! The price of calls that report all input and all output tokens and nothing else: nearly every call.
//!
//! For most models it is a sum of two products. `track()` keeps it for a second, and so does without a look-up and the general rules.

use super::book::Book;
use super::conditions::Conditions;
use super::cost::{Found, Request};
use crate::event::usage::MAX_COUNT;
use crate::event::{CostNotes, CostStatus, Unit, Usage};
use crate::money::Usd;

/// A rate, in 10^-24 USD per token, times the largest count, twice, must fit an amount.
const LARGEST_RATE: i128 = i128::MAX / (2 * MAX_COUNT as i128);

/// The price of a call with plain usage: two rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// In 10^-24 USD per token.
    input: i128,
    output: i128,
    /// Where the cost comes from.
    pub status: CostStatus,
    /// Remarks about the cost.
    pub notes: CostNotes,
    /// Where the rates were found.
    pub found: Found,
}

impl Linear {
    /// The cost of this many tokens. Each count is at most [`MAX_COUNT`].
    #[inline]
    #[must_use]
    pub fn cost(&self, input: u64, output: u64) -> Usd {
        Usd::from_units(self.input * i128::from(input) + self.output * i128::from(output))
    }
}

impl Book {
    /// The price of plain usage in one second; `None` if it is unknown, or follows more rules than two rates.
    #[must_use]
    pub fn linear(&self, provider: &str, model: &str, started_at: u64) -> Option<Linear> {
        let found = self.find_cached(Some(provider), model, false)?;
        if self.multiplier(found).is_some() {
            return None;
        }
        let row = self.model(found).row_at(started_at / 1_000_000_000)?;
        let rate = |unit: Unit| {
            let (_, rate) = row.rates.iter().find(|(other, _)| *other == unit)?;
            (rate.tiers.is_empty() && (0..=LARGEST_RATE).contains(&rate.base.0)).then_some(rate.base.0)
        };
        let (input, output) = (rate(Unit::INPUT_TOKENS)?, rate(Unit::OUTPUT_TOKENS)?);
        let priced = |input: u64, output: u64| {
            let mut usage = Usage::default();
            usage.set(Unit::INPUT_TOKENS, input);
            usage.set(Unit::OUTPUT_TOKENS, output);
            let conditions = Conditions::default();
            self.total(&Request { provider: Some(provider), model, usage: &usage, started_at, conditions }).ok()
        };
        let total = priced(1, 1)?;
        let linear = Linear { input, output, status: total.status, notes: total.notes, found };
        // A fee per call, a factor, or rates of another entry would show in these sums.
        let holds = |input, output| {
            priced(input, output).is_some_and(|total| {
                (total.usd, total.status, total.notes, total.found)
                    == (Some(linear.cost(input, output)), linear.status, linear.notes, Some(found))
            })
        };
        (holds(1, 1) && holds(0, 0) && holds(MAX_COUNT, 3)).then_some(linear)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pricing::{Catalog, Overrides};

    const NOW: u64 = 1_795_300_000_000_000_000;
    const RULES: &str = r#"{"rates":{
        "openai/own":{"input_tokens":{"per_1m":"1"},"output_tokens":{"per_1m":"2"}},
        "openai/fee":{"input_tokens":{"per_1m":"1"},"output_tokens":{"per_1m":"2"},"requests":{"per_request":"3"}},
        "openai/tiers":{"input_tokens":{"per_1m":"1","above":{"5":"2"}},"output_tokens":{"per_1m":"2"}}},
        "multipliers":{"anthropic/*":"0.9"}}"#;

    fn book() -> Book {
        Book::new(Catalog::embedded(), None, Overrides::parse(RULES).unwrap())
    }

    #[test]
    fn plain_models_are_linear_and_others_are_not() {
        let book = book();
        for model in ["gpt-4o", "own"] {
            assert!(book.linear("openai", model, NOW).is_some(), "{model}");
        }
        for model in ["no-such-model", "text-embedding-3-small", "fee", "tiers"] {
            assert_eq!(book.linear("openai", model, NOW), None, "{model}");
        }
        assert_eq!(book.linear("anthropic", "claude-haiku-4-5", NOW), None, "a multiplier rounds");
    }

    proptest! {
        /// Over every model of the catalog: the linear price is the general one.
        #[test]
        fn a_linear_price_is_the_general_price(
            pick in any::<prop::sample::Index>(),
            input in prop::option::of(0..=MAX_COUNT), output in prop::option::of(0..=MAX_COUNT),
        ) {
            prop_assume!(input.is_some() || output.is_some());
            let book = book();
            let entries: Vec<_> = book.catalog().entries().collect();
            let (provider, model, _) = entries[pick.index(entries.len())];
            if let Some(linear) = book.linear(provider, model, NOW) {
                let mut usage = Usage::default();
                for (unit, count) in [(Unit::INPUT_TOKENS, input), (Unit::OUTPUT_TOKENS, output)] {
                    if let Some(count) = count {
                        usage.set(unit, count);
                    }
                }
                let conditions = Conditions::default();
                let total = book.total(&Request { provider: Some(provider), model, usage: &usage, started_at: NOW, conditions });
                let total = total.unwrap();
                let cost = linear.cost(input.unwrap_or(0), output.unwrap_or(0));
                prop_assert_eq!((total.usd, total.status, total.notes), (Some(cost), linear.status, linear.notes));
            }
        }
    }
}
