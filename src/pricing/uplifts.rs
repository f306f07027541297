//! Factors on the price of tokens: what providers charge more or less in conditions for which the catalog has no rates.
//!
//! Each row is a rule that the provider publishes, as of the day in [`AS_OF`], and that `litellm` 1.106.2 has for the same models:
//!
//! | provider | rule | litellm's field |
//! |---|---|---|
//! | Anthropic | inference in the United States, 1.1, for Opus 4.6 and later models | `provider_specific_entry.us` |
//! | OpenAI | regional processing, 1.1, from GPT-5.4 on | `regional_processing_uplift_multiplier_eu`, `_us` |
//! | Vertex AI | non-global endpoints, 1.1, for Claude from 4.5 on and some Gemini models | `regional_endpoint_uplift_multiplier` |
//! | Gemini, both interfaces | flex 0.5, priority 1.8, for all models | `*_flex`, `*_priority` |
//! | Bedrock | flex 0.5, priority 1.75, for Nova | the same |
//!
//! Fees of tools are not token prices, and do not change. A condition that is in no row causes a remark; no factor is guessed.

use super::overrides::{MULTIPLIER_SCALE, is_version_of};
use super::providers::canonical_provider;

/// When the rows were last checked against their sources.
pub(super) const AS_OF: &str = "2026-11-28";
const PERCENT: i128 = 10_i128.pow(MULTIPLIER_SCALE) / 100;

/// Factors in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uplift {
    /// The factor of the region, and the factor of the service tier.
    pub(super) region: Option<i128>,
    pub(super) tier: Option<i128>,
}

struct Rule {
    /// The canonical name.
    provider: &'static str,
    when: When,
    /// The prefixes of the names of the models, up to a version boundary.
    models: &'static [&'static str],
    percent: i128,
}

enum When {
    /// In one of these regions.
    Region(&'static [&'static str]),
    /// At any endpoint but the global one.
    AnyRegion,
    Tier(&'static str),
}

const LATE_CLAUDE: &[&str] = &[
    "claude-opus-4-6",
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-4-6",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-mythos",
    "claude-haiku-5",
];
const VERTEX: &[&str] = &[
    "claude-haiku-4-5",
    "claude-opus-4-5",
    "claude-sonnet-4-5",
    "claude-opus-4-6",
    "claude-opus-4-7",
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-4-6",
    "claude-sonnet-5",
    "claude-fable-5",
    "claude-haiku-5",
    "gemini-3.1-flash-image",
    "gemini-3.1-flash-lite",
    "gemini-3.5-flash",
    "gemini-3.6-flash",
    "gemini-3.7-flash",
    "gemini-3.8-flash",
    "gemini-4-argon",
];
/// Models with the same price in every region of Vertex AI.
const VERTEX_ALIKE: &[&str] = &["gemini-1.0", "gemini-1.5", "gemini-2.0", "gemini-2.5", "gemini-3"];
const OPENAI: &[&str] = &["gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6", "gpt-6.1", "gpt-realtime-2.1"];
const GEMINI: &[&str] = &["gemini-*"];
const NOVA: &[&str] = &["amazon.nova-*"];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { provider: "anthropic", when: When::Region(&["us"]), models: LATE_CLAUDE, percent: 110 },
    Rule { provider: "openai", when: When::Region(&["us", "eu"]), models: OPENAI, percent: 110 },
    Rule { provider: "gcp.vertex_ai", when: When::AnyRegion, models: VERTEX, percent: 110 },
    Rule { provider: "gcp.vertex_ai", when: When::AnyRegion, models: VERTEX_ALIKE, percent: 100 },
    Rule { provider: "gcp.vertex_ai", when: When::Tier("flex"), models: GEMINI, percent: 50 },
    Rule { provider: "gcp.vertex_ai", when: When::Tier("priority"), models: GEMINI, percent: 180 },
    Rule { provider: "gcp.gemini", when: When::Tier("flex"), models: GEMINI, percent: 50 },
    Rule { provider: "gcp.gemini", when: When::Tier("priority"), models: GEMINI, percent: 180 },
    Rule { provider: "gcp.gen_ai", when: When::Tier("flex"), models: GEMINI, percent: 50 },
    Rule { provider: "gcp.gen_ai", when: When::Tier("priority"), models: GEMINI, percent: 180 },
    Rule { provider: "aws.bedrock", when: When::Tier("flex"), models: NOVA, percent: 50 },
    Rule { provider: "aws.bedrock", when: When::Tier("priority"), models: NOVA, percent: 175 },
];

impl Uplift {
    /// The factors for a call of a model. `model` is its name in the catalog.
    pub(super) fn of(provider: Option<&str>, model: &str, region: Option<&str>, tier: Option<&str>) -> Self {
        let region = region.filter(|region| *region != "global");
        if region.is_none() && !matches!(tier, Some("flex" | "priority")) {
            return Self::default();
        }
        let Some(provider) = provider.map(canonical_provider) else { return Self::default() };
        let mut found = Self::default();
        for rule in RULES.iter().filter(|rule| rule.provider == &*provider && rule.is_for(model)) {
            let (slot, fits) = match rule.when {
                When::Region(regions) => (&mut found.region, region.is_some_and(|region| regions.contains(&region))),
                When::AnyRegion => (&mut found.region, region.is_some()),
                When::Tier(name) => (&mut found.tier, tier == Some(name)),
            };
            if fits && slot.is_none() {
                *slot = Some(rule.percent * PERCENT);
            }
        }
        found
    }

    /// The product of the factors in millionths; `None` if it changes nothing.
    pub(super) fn millionths(self) -> Option<i128> {
        // Most calls have no factors, and a division of this width takes a tenth of the time that pricing a call takes.
        if self.region.is_none() && self.tier.is_none() {
            return None;
        }
        let one = 100 * PERCENT;
        let both = self.region.unwrap_or(one) * self.tier.unwrap_or(one) / one;
        (both != one).then_some(both)
    }
}

impl Rule {
    fn is_for(&self, model: &str) -> bool {
        // The catalog's entries of Bedrock have the geography as a prefix.
        let bare = model.strip_prefix("regional.").or_else(|| model.strip_prefix("global.")).unwrap_or(model);
        self.models.iter().any(|name| match name.strip_suffix('*') {
            Some(stem) => bare.starts_with(stem),
            None => is_version_of(bare, name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(provider: &str, model: &str, region: Option<&str>, tier: Option<&str>) -> Uplift {
        Uplift::of(Some(provider), model, region, tier)
    }

    #[test]
    fn factors_apply_to_the_published_models_and_regions_only() {
        for (provider, model, region, percent) in [
            ("anthropic", "claude-sonnet-4-6", "us", Some(110)),
            ("anthropic", "claude-opus-5-5", "us", Some(110)),
            ("anthropic", "claude-sonnet-4-5", "us", None),
            ("anthropic", "claude-sonnet-4-6", "eu", None),
            ("anthropic", "claude-sonnet-4-6", "global", None),
            ("openai", "gpt-5.4-mini", "eu", Some(110)),
            ("openai", "gpt-5", "eu", None),
            ("openai", "gpt-4o", "eu", None),
            ("vertex", "claude-haiku-4-5", "us-east5", Some(110)),
            ("vertex_ai", "gemini-2.5-flash", "us-central1", Some(100)),
            ("gcp.vertex_ai", "gemini-3.5-flash-lite", "europe-west4", Some(110)),
            ("gcp.vertex_ai", "gemini-3-flash-preview", "europe-west4", Some(100)),
        ] {
            let found = of(provider, model, Some(region), None).region;
            assert_eq!(found, percent.map(|percent: i128| percent * PERCENT), "{provider}/{model} in {region}");
        }
        assert_eq!(of("gemini", "gemini-3.5-flash-lite", None, Some("flex")).millionths(), Some(50 * PERCENT));
        assert_eq!(of("bedrock", "amazon.nova-pro-v1:0", None, Some("priority")).millionths(), Some(175 * PERCENT));
        assert_eq!(of("groq", "llama-3.3", None, Some("flex")), Uplift::default());
        let both = of("vertex", "gemini-3.5-flash", Some("us"), Some("flex"));
        assert_eq!(both.millionths(), Some(55 * PERCENT));
    }
}
