//! Factors on the price of tokens: what providers charge more or less in conditions for which the catalog has no rates.
//!
//! Each rule has its source and the day on which it was last compared with it. A source is the provider's own page if the page states
//! the factor. Otherwise it is the table of `litellm` 1.106.2, which has the factor for the same models.
//!
//! Fees of tools are not token prices, and do not change. A condition that is in no row causes a remark; no factor is guessed.

use super::overrides::{MULTIPLIER_SCALE, is_version_of};
use super::providers::canonical_provider;

/// Factors are in millionths, and two of them are multiplied.
const PERCENT_OF_PERCENT: u32 = 10_u32.pow(MULTIPLIER_SCALE) / 10_000;

/// The rules that apply to a call: one for its region and one for its service tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uplift {
    pub(super) region: Option<&'static Rule>,
    pub(super) tier: Option<&'static Rule>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The canonical name.
    provider: &'static str,
    when: When,
    /// The prefixes of the names of the models, up to a version boundary.
    models: &'static [&'static str],
    /// 100 changes nothing.
    percent: u32,
    source: &'static Source,
}

/// Where a factor is published, and when it was last compared with that.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    name: &'static str,
    checked: &'static str,
}

/// "Inference geo": 1.1 for `us`, from Opus 4.6 on.
const ANTHROPIC_GEO: Source =
    Source { name: "platform.claude.com/docs/en/build-with-claude/data-residency", checked: "2026-11-29" };
/// "Global vs regional endpoints": 10 % more from Sonnet 4.5 on.
const ANTHROPIC_VERTEX: Source =
    Source { name: "platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai", checked: "2026-11-29" };
/// "Pricing": 1.25 for both geographies, input, cached input and output.
const TOGETHER_GEO: Source =
    Source { name: "docs.together.ai/docs/serverless/geo-specific-inference", checked: "2026-11-29" };
/// Flex is half of the standard price; priority is "75-100 %" more, so litellm's 80 % is within it.
const GEMINI_TIERS: Source =
    Source { name: "ai.google.dev/gemini-api/docs/flex-inference; litellm 1.106.2", checked: "2026-11-29" };
/// The fields `regional_processing_uplift_multiplier_eu`, `regional_endpoint_uplift_multiplier`, `*_flex` and `*_priority`.
const LITELLM: Source = Source { name: "litellm 1.106.2", checked: "2026-11-28" };

#[derive(Debug, PartialEq, Eq)]
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
const VERTEX_CLAUDE: &[&str] = &[
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
];
const VERTEX_GEMINI: &[&str] = &[
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

const ANY: &[&str] = &["*"];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { provider: "anthropic", when: When::Region(&["us"]), models: LATE_CLAUDE, percent: 110, source: &ANTHROPIC_GEO },
    Rule { provider: "openai", when: When::Region(&["us", "eu"]), models: OPENAI, percent: 110, source: &LITELLM },
    Rule { provider: "together", when: When::Region(&["us", "ca"]), models: ANY, percent: 125, source: &TOGETHER_GEO },
    Rule { provider: "gcp.vertex_ai", when: When::AnyRegion, models: VERTEX_CLAUDE, percent: 110, source: &ANTHROPIC_VERTEX },
    Rule { provider: "gcp.vertex_ai", when: When::AnyRegion, models: VERTEX_GEMINI, percent: 110, source: &LITELLM },
    Rule { provider: "gcp.vertex_ai", when: When::AnyRegion, models: VERTEX_ALIKE, percent: 100, source: &LITELLM },
    Rule { provider: "gcp.vertex_ai", when: When::Tier("flex"), models: GEMINI, percent: 50, source: &LITELLM },
    Rule { provider: "gcp.vertex_ai", when: When::Tier("priority"), models: GEMINI, percent: 180, source: &LITELLM },
    Rule { provider: "gcp.gemini", when: When::Tier("flex"), models: GEMINI, percent: 50, source: &GEMINI_TIERS },
    Rule { provider: "gcp.gemini", when: When::Tier("priority"), models: GEMINI, percent: 180, source: &GEMINI_TIERS },
    Rule { provider: "gcp.gen_ai", when: When::Tier("flex"), models: GEMINI, percent: 50, source: &GEMINI_TIERS },
    Rule { provider: "gcp.gen_ai", when: When::Tier("priority"), models: GEMINI, percent: 180, source: &GEMINI_TIERS },
    Rule { provider: "aws.bedrock", when: When::Tier("flex"), models: NOVA, percent: 50, source: &LITELLM },
    Rule { provider: "aws.bedrock", when: When::Tier("priority"), models: NOVA, percent: 175, source: &LITELLM },
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
                *slot = Some(rule);
            }
        }
        found
    }

    /// The product of the factors in millionths; `None` if it changes nothing.
    pub(super) fn millionths(self) -> Option<i128> {
        let percent = |rule: Option<&Rule>| rule.map_or(100, |rule| rule.percent);
        let both = percent(self.region) * percent(self.tier);
        (both != 10_000).then(|| i128::from(both * PERCENT_OF_PERCENT))
    }

    /// Where the factors are published, and when each was last compared with that.
    pub(super) fn sources(self) -> String {
        let all: Vec<String> = [self.region, self.tier]
            .into_iter()
            .flatten()
            .map(|Rule { source: Source { name, checked }, .. }| format!("{name}, {checked}"))
            .collect();
        all.join("; ")
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
            ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "ca", Some(125)),
        ] {
            let found = of(provider, model, Some(region), None).region;
            assert_eq!(found.map(|rule| rule.percent), percent, "{provider}/{model} in {region}");
        }
        assert_eq!(of("gemini", "gemini-3.5-flash-lite", None, Some("flex")).millionths(), Some(500_000));
        assert_eq!(of("bedrock", "amazon.nova-pro-v1:0", None, Some("priority")).millionths(), Some(1_750_000));
        assert_eq!(of("groq", "llama-3.3", None, Some("flex")), Uplift::default());
        let both = of("vertex", "gemini-3.5-flash", Some("us"), Some("flex"));
        assert_eq!(both.millionths(), Some(550_000));
        assert_eq!(both.sources(), "litellm 1.106.2, 2026-11-28; litellm 1.106.2, 2026-11-28");
    }
}
