//! What a call is expected to use and cost at most.

use crate::budget::{Amounts, Facts, History, Quote};
use crate::event::limits::name_head;
use crate::event::usage::MAX_COUNT;
use crate::event::{Unit, Usage};
use crate::pricing::{Book, Conditions, Request};

/// The output of a call that sets no limit.
const USUAL_OUTPUT: u64 = 4_096;

/// A request, before it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The provider, by its canonical name.
    pub provider: &'a str,
    /// The requested model.
    pub model: &'a str,
    /// The requested tier and the region.
    pub service_tier: Option<&'a str>,
    /// The region.
    pub region: Option<&'a str>,
    /// The tokens of the input, as counted from its texts or as the caller knows them.
    pub input: u64,
    /// Whether they were counted, so that the count has to be corrected.
    pub is_counted: bool,
    /// Whether a part of the input could not be counted.
    pub is_incomplete: bool,
    /// The most output tokens of one answer; `None` if the request sets no limit.
    pub output: Option<u64>,
    /// The number of answers.
    pub choices: u64,
    /// Whether the request asks the provider to keep the input in a cache.
    pub caches: bool,
}

/// An estimate, and the call that it is for.
#[derive(Clone, Debug, Default)]
pub struct Quoted {
    /// The estimate.
    pub quote: Quote,
    pub(super) is_counted: bool,
    pub(super) provider: Box<str>,
    pub(super) model: Box<str>,
    pub(super) feature: Box<str>,
}

impl Quoted {
    /// Estimates a call at a time in nanoseconds since the Unix epoch.
    pub(super) fn new(ask: &Ask<'_>, facts: &Facts<'_>, history: &History, book: &Book, now: u64) -> Self {
        let (provider, model) = (ask.provider, name_head(ask.model));
        let feature = facts.attribution.feature.unwrap_or_default();
        let factor = if ask.is_counted { history.correction(provider, model) } else { 1.0 };
        let input = ((ask.input as f64 * factor).ceil() as u64).min(MAX_COUNT);
        let choices = ask.choices.max(1);
        let most = ask.output.unwrap_or(USUAL_OUTPUT).saturating_mul(choices).min(MAX_COUNT);
        let recent = history.typical_output(model, feature);
        let typical = recent.map_or(most, |output| most.min(output.saturating_mul(2)));
        let amounts =
            |output: u64| Amounts { usd: price(ask, book, input, output, now), tokens: input + output, calls: 1 };
        let most_amounts = amounts(most);
        let quote = Quote {
            input: amounts(0),
            most: most_amounts,
            typical: if typical == most { most_amounts } else { amounts(typical) },
            tokens: [ask.input, most],
            is_incomplete: ask.is_incomplete,
            cut: None,
        };
        Self {
            quote,
            is_counted: ask.is_counted && !ask.is_incomplete,
            provider: provider.into(),
            model: model.into(),
            feature: feature.into(),
        }
    }
}

/// The price of a call whose input has the dearest rate that can apply; `None` if it is unknown.
fn price(ask: &Ask<'_>, book: &Book, input: u64, output: u64, now: u64) -> Option<i128> {
    let priced = |written: Option<Unit>| {
        let mut usage = Usage::default();
        usage.set(Unit::INPUT_TOKENS, input);
        usage.set(Unit::OUTPUT_TOKENS, output);
        if let Some(unit) = written {
            usage.set(Unit::CACHE_WRITE_TOKENS, input);
            usage.set(unit, input);
        }
        let conditions = Conditions { service_tier: ask.service_tier, batch: false, region: ask.region, further: &[] };
        let request =
            Request { provider: Some(ask.provider), model: ask.model, usage: &usage, started_at: now, conditions };
        book.total(&request).ok()?.usd.map(crate::money::Usd::units)
    };
    let plain = priced(None)?;
    if !ask.caches {
        return Some(plain);
    }
    let written =
        [Unit::CACHE_WRITE_TOKENS, Unit::CACHE_WRITE_1H_TOKENS].into_iter().filter_map(|unit| priced(Some(unit)));
    Some(written.fold(plain, i128::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::{Catalog, Overrides};

    const NOW: u64 = 1_795_300_000_000_000_000;

    fn quoted(ask: &Ask<'_>) -> Quote {
        let book = Book::new(Catalog::embedded(), None, Overrides::default());
        Quoted::new(ask, &Facts::default(), &History::default(), &book, NOW).quote
    }

    #[test]
    fn an_estimate_is_the_price_of_the_most_that_a_call_may_use() {
        let ask =
            Ask { provider: "openai", model: "gpt-4o", input: 1_000, output: Some(100), choices: 2, ..Ask::default() };
        let quote = quoted(&ask);
        // 2.5 USD and 10 USD for a million tokens.
        assert_eq!(quote.input.usd, Some(2_500 * 10_i128.pow(18)));
        assert_eq!(quote.most.usd, Some(4_500 * 10_i128.pow(18)));
        assert_eq!((quote.most.tokens, quote.tokens), (1_200, [1_000, 200]));
        assert_eq!(quoted(&Ask { output: None, ..ask }).tokens[1], 8_192);
        assert_eq!(quoted(&Ask { model: "no-such-model", ..ask }).most.usd, None);
    }

    #[test]
    fn counted_input_is_corrected_and_cached_input_costs_more() {
        let ask =
            Ask { provider: "anthropic", model: "claude-haiku-4-5", input: 1_000, output: Some(0), ..Ask::default() };
        let plain = quoted(&ask).most.usd.unwrap();
        assert_eq!(quoted(&Ask { is_counted: true, ..ask }).most.tokens, 1_400);
        assert_eq!(quoted(&Ask { caches: true, ..ask }).most.usd, Some(2 * plain), "an hour in the cache costs double");
    }
}
