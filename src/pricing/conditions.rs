//! What of a request decides its rates, beside the model and the time.

use smallvec::SmallVec;

use super::entry::ModelEntry;
use crate::event::CostNotes;

/// Service tier, batch, region, and whatever else the catalog tells rates apart by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// The tier that served the call; the one that was asked for only where the answer names none.
    pub service_tier: Option<&'a str>,
    /// Whether it ran through a batch endpoint.
    pub batch: bool,
    /// The region that served it.
    pub region: Option<&'a str>,
    /// Further pairs, such as `("speed", "fast")`.
    pub further: &'a [(&'a str, &'a str)],
}

pub(super) type Pairs<'a> = SmallVec<[(&'a str, &'a str); 4]>;

/// Tiers that are no tier of their own: `auto` asks for whichever there is, the others are what everybody gets.
const ORDINARY: [&str; 5] = ["auto", "default", "standard", "standard_only", "on_demand"];

impl<'a> Conditions<'a> {
    /// As pairs of the catalog's vocabulary.
    pub(super) fn pairs(&self) -> Pairs<'a> {
        let mut pairs = Pairs::new();
        match self.service_tier {
            None | Some("" | "auto") => {}
            // Anthropic reports batches as a tier.
            Some("batch") => pairs.push(("processing", "batch")),
            Some(tier) => {
                pairs.push(("service_tier", tier));
                if tier == "fast" {
                    // OpenAI's tier of this name is Anthropic's speed.
                    pairs.push(("speed", tier));
                }
            }
        }
        if self.batch && pairs.first() != Some(&("processing", "batch")) {
            pairs.push(("processing", "batch"));
        }
        pairs.extend(self.region.map(|region| ("region", region)));
        pairs.extend(self.further.iter().copied());
        pairs
    }

    /// What the entry has no rates for, though it may have a price.
    pub(super) fn unknown_to(&self, model: &ModelEntry, reference: &str, is_fallback: bool) -> CostNotes {
        if !self.batch && self.service_tier.is_none() && self.region.is_none() && !reference.contains('.') {
            return CostNotes::NONE;
        }
        let knows = |key: &str, value: &str| !is_fallback && model.knows_context(key, value);
        let mut notes = CostNotes::NONE;
        let is_batch = self.batch || self.service_tier == Some("batch");
        if is_batch && !knows("processing", "batch") {
            notes |= CostNotes::BATCH_WITHOUT_RATES;
        }
        if let Some(tier) = self.service_tier
            && tier != "batch"
            && !tier.is_empty()
            && !ORDINARY.contains(&tier)
            && !knows("service_tier", tier)
            && !(tier == "fast" && knows("speed", tier))
        {
            notes |= CostNotes::TIER_WITHOUT_RATES;
        }
        let region = self.region.or_else(|| region_prefix(reference));
        if region.is_some_and(|region| !knows("region", region) && !is_covered(&model.id, region)) {
            notes |= CostNotes::REGION_WITHOUT_RATES;
        }
        notes
    }
}

/// The geography that a Bedrock inference profile begins with: `eu.` of `eu.amazon.nova-pro-v1:0`.
fn region_prefix(reference: &str) -> Option<&str> {
    const GEOGRAPHIES: [&str; 11] = ["us", "us-gov", "eu", "apac", "jp", "au", "in", "ca", "sa", "me", "global"];
    let (prefix, rest) = reference.split_once('.')?;
    (GEOGRAPHIES.contains(&prefix) && rest.contains('.')).then_some(prefix)
}

/// Whether an entry's rates are those of the region. The catalog's `regional.` entries are for every commercial region of Bedrock;
/// any other entry states what the provider charges worldwide or in the United States.
fn is_covered(model: &str, region: &str) -> bool {
    if region.contains("gov") {
        return false;
    }
    model.starts_with("regional.") || model.starts_with("global.") || region == "global" || region.starts_with("us")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_auto_selects_nothing_and_batch_is_a_way_of_processing() {
        let pairs = |service_tier, batch| Conditions { service_tier, batch, ..Conditions::default() }.pairs().to_vec();
        assert_eq!(pairs(Some("auto"), false), []);
        assert_eq!(pairs(Some("default"), false), [("service_tier", "default")]);
        assert_eq!(pairs(Some("batch"), true), [("processing", "batch")]);
        assert_eq!(pairs(Some("flex"), true), [("service_tier", "flex"), ("processing", "batch")]);
    }

    #[test]
    fn r17_a_profile_begins_with_its_geography() {
        assert_eq!(region_prefix("eu.amazon.nova-pro-v1:0"), Some("eu"));
        assert_eq!(region_prefix("anthropic.claude-opus-5"), None);
        assert_eq!(region_prefix("gpt-4.1"), None);
        assert!(is_covered("regional.anthropic.claude-opus-5", "eu-west-1"));
        assert!(!is_covered("regional.anthropic.claude-opus-5", "us-gov-west-1"));
        assert!(!is_covered("amazon.nova-pro-v1:0", "eu"));
    }
}
