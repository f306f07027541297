//! The conditions of a request that decide its rates, besides the model and the time.

use smallvec::SmallVec;

use super::entry::ModelEntry;
use super::reference::geography;
use super::uplifts::Uplift;
use crate::event::CostNotes;

/// Service tier, batch, region, and all other conditions for which the catalog has separate rates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// The tier that served the call. The requested tier counts only if the response names none.
    pub service_tier: Option<&'a str>,
    /// Whether it ran through a batch endpoint.
    pub batch: bool,
    /// The region that served the call.
    pub region: Option<&'a str>,
    /// Further pairs, such as `("speed", "fast")`.
    pub further: &'a [(&'a str, &'a str)],
}

pub(super) type Pairs<'a> = SmallVec<[(&'a str, &'a str); 4]>;

/// Tiers without special rates: `auto` requests any tier, the others are the default.
const ORDINARY: [&str; 5] = ["auto", "default", "standard", "standard_only", "on_demand"];

impl<'a> Conditions<'a> {
    /// Whether the call has no conditions. Most calls have none.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        !self.batch && self.service_tier.is_none() && self.region.is_none() && self.further.is_empty()
    }

    /// The conditions as key-value pairs of the catalog's vocabulary.
    #[inline]
    pub(super) fn pairs(&self) -> Pairs<'a> {
        if self.is_plain() { Pairs::new() } else { self.listed() }
    }

    fn listed(&self) -> Pairs<'a> {
        let mut pairs = Pairs::new();
        match self.service_tier {
            None | Some("" | "auto") => {}
            // Anthropic reports a batch as a tier.
            Some("batch") => pairs.push(("processing", "batch")),
            Some(tier) => {
                pairs.push(("service_tier", tier));
                if tier == "fast" {
                    // OpenAI's tier with this name is Anthropic's speed.
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

    /// The factors for the region and for the tier, unless the entry has its own rates for the tier.
    #[inline]
    pub(super) fn uplift(&self, provider: Option<&str>, model: &ModelEntry, is_fallback: bool) -> Uplift {
        // Most calls have neither.
        let has_none = self.region.is_none() && self.service_tier.is_none();
        if has_none { Uplift::default() } else { self.found_uplift(provider, model, is_fallback) }
    }

    fn found_uplift(&self, provider: Option<&str>, model: &ModelEntry, is_fallback: bool) -> Uplift {
        let mut uplift = Uplift::of(provider, &model.id, self.region, self.service_tier);
        if self.service_tier.is_some_and(|tier| !is_fallback && model.knows_context("service_tier", tier)) {
            uplift.tier = None;
        }
        uplift
    }

    /// The conditions for which the entry has no rates, as remarks. The entry may have a price nevertheless.
    ///
    /// `provider` is the catalog's provider, if the entry belongs to one. `reference` is that of the call.
    pub(super) fn unknown_to(
        &self,
        model: &ModelEntry,
        provider: Option<&str>,
        reference: &str,
        is_fallback: bool,
        uplift: Uplift,
    ) -> CostNotes {
        let is_bedrock = provider == Some("aws");
        if self.is_plain() && !is_bedrock {
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
            && uplift.tier.is_none()
        {
            notes |= CostNotes::TIER_WITHOUT_RATES;
        }
        let region = self.region.or_else(|| is_bedrock.then(|| geography(reference)).flatten());
        let is_known = |region: &str| {
            uplift.region.is_some() || knows("region", region) || is_covered(&model.id, is_bedrock, region)
        };
        if region.is_some_and(|region| !is_known(region)) {
            notes |= CostNotes::REGION_WITHOUT_RATES;
        }
        if self.further.iter().any(|(key, value)| !knows(key, value)) {
            notes |= CostNotes::CONTEXT_WITHOUT_RATES;
        }
        notes
    }
}

/// Whether an entry's rates are valid in this region. Of Bedrock's entries, `regional.` ones are for every commercial region and the
/// others are for the United States. Entries of other providers do not state regional prices.
fn is_covered(model: &str, is_bedrock: bool, region: &str) -> bool {
    if region == "global" {
        return true;
    }
    let is_commercial = !region.contains("gov") && !region.starts_with("cn");
    is_bedrock
        && is_commercial
        && (model.starts_with("regional.")
            || model.starts_with("global.")
            || region == "us"
            || region.starts_with("us-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_auto_selects_no_tier_and_batch_is_a_kind_of_processing() {
        let pairs = |service_tier, batch| Conditions { service_tier, batch, ..Conditions::default() }.pairs().to_vec();
        assert_eq!(pairs(Some("auto"), false), []);
        assert_eq!(pairs(Some("default"), false), [("service_tier", "default")]);
        assert_eq!(pairs(Some("batch"), true), [("processing", "batch")]);
        assert_eq!(pairs(Some("flex"), true), [("service_tier", "flex"), ("processing", "batch")]);
    }

    #[test]
    fn r17_rates_of_one_region_do_not_cover_all_regions() {
        assert!(is_covered("regional.anthropic.claude-opus-5", true, "eu-west-1"));
        assert!(!is_covered("regional.anthropic.claude-opus-5", true, "us-gov-west-1"));
        assert!(!is_covered("amazon.nova-pro-v1:0", true, "eu"));
        assert!(is_covered("amazon.nova-pro-v1:0", true, "us-east-1"));
        assert!(!is_covered("claude-opus-5", false, "us"));
    }
}
