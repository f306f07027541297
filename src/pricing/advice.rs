//! Help for mistakes in names: rules that match no model, and the known names to compare an unknown one with.

use super::book::Book;
use super::overrides::is_version_of;
use super::providers::{canonical_provider, catalog_id};

impl Book {
    /// The places in the user's prices of the multipliers, aliases and bases that match no priced model.
    #[must_use]
    pub fn unmatched_rules(&self) -> Vec<String> {
        let catalogs = || std::iter::once(&self.catalog).chain(self.long_tail.as_ref());
        let is_known = |provider: Option<&str>, model: &str, is_prefix: bool| {
            if model.is_empty() {
                return provider.is_none_or(|provider| self.knows_provider(provider));
            }
            if !is_prefix && self.find(provider, model, false).is_some() {
                return true;
            }
            catalogs().flat_map(|catalog| catalog.entries()).any(|(own, id, _)| {
                provider.is_none_or(|provider| provider == own)
                    && (id == model || (is_prefix && is_version_of(id, model)))
            }) || (is_prefix && self.find(provider, model, false).is_some())
        };
        // The user's own entry does not count as the base of its other rates.
        let is_listed =
            |provider: Option<&str>, model: &str, is_prefix: bool| is_prefix || self.listed(provider, model).is_some();
        let rules = self
            .overrides
            .references()
            .filter(|(_, provider, model, is_prefix)| !is_known(*provider, model, *is_prefix));
        let bases =
            self.overrides.based().filter(|(_, provider, model, is_prefix)| !is_listed(*provider, model, *is_prefix));
        rules.chain(bases).map(|(place, ..)| place).collect()
    }

    /// The name of this model at the provider that its form belongs to, as `provider/model`, if that is not the called one.
    #[must_use]
    pub fn elsewhere(&self, provider: Option<&str>, model: &str) -> Option<&str> {
        let found = self.listed(None, &model.trim().to_lowercase())?;
        let called = provider.map(|name| catalog_id(&canonical_provider(name)).to_owned());
        let (own, _) = self.catalog.names(found);
        (called.is_some() && called.as_deref() != Some(own)).then(|| self.catalog.label(found))
    }

    /// The names of all models with a price; of this provider only, if the provider is known.
    pub fn names_of(&self, provider: Option<&str>) -> impl Iterator<Item = &str> {
        let known =
            provider.map(|name| catalog_id(&canonical_provider(name)).to_owned()).filter(|id| self.knows_provider(id));
        let catalogs = std::iter::once(&self.catalog).chain(self.long_tail.as_ref());
        let entries = catalogs.flat_map(|catalog| catalog.entries());
        entries.filter(move |(own, ..)| known.as_deref().is_none_or(|id| id == *own)).map(|(_, name, _)| name)
    }
}
