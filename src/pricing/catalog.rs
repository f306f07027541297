//! A catalog in memory: finds the entry for a model reference.
//!
//! `build.rs` embeds two: the catalog, derived from `genai-prices`, and the long tail, with the providers that only `litellm`'s table
//! lists. The matching rules are those of `genai-prices`. Other spellings of a reference are tried after them.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use foldhash::fast::FixedState;

use super::document::{CatalogError, to_json};
use super::entry::{Entries, ModelEntry, ProviderEntry};
use super::matching::{pairs_of, with_dashed_date};
use super::providers::{canonical_provider, catalog_id};
use super::reference::{Arn, arn, spellings};

static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/catalog.bin"));
static LONG_TAIL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/long_tail.bin"));

/// How a model reference matched its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MatchKind {
    /// By a rule of the user.
    Override,
    /// The reference is one of the entry's names.
    Exact,
    /// A rule of the entry matches the reference.
    Pattern,
}

impl MatchKind {
    /// The name in Python and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Exact => "exact",
            Self::Pattern => "pattern",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Override, Self::Exact, Self::Pattern].into_iter().find(|kind| kind.name() == name)
    }
}

type Names = HashMap<Box<str>, u32, FixedState>;

#[derive(Debug)]
struct Provider {
    entry: ProviderEntry,
    /// The `provider/model` label of each entry, as events record it.
    labels: Vec<Box<str>>,
    /// The models by their exact names.
    exact: Names,
    /// The models with other rules, in catalog order, and the pairs of bytes that each rule requires.
    patterns: Vec<(u32, u128)>,
}

/// The position of an entry in its catalog, and how the reference matched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    provider: u16,
    model: u32,
    pub(super) kind: MatchKind,
    /// Whether the entry belongs to a provider that the called one falls back to.
    pub(super) is_fallback: bool,
}

/// An immutable set of prices.
#[derive(Debug)]
pub struct Catalog {
    name: Box<str>,
    as_of: Box<str>,
    providers: Vec<Provider>,
}

impl Catalog {
    /// The catalog that is built into this version.
    ///
    /// A test reads the embedded bytes. If they were invalid, the catalog would be empty.
    #[must_use]
    pub fn embedded() -> Arc<Self> {
        static READ: ArcSwapOption<Catalog> = ArcSwapOption::const_empty();
        Self::load_once(&READ, EMBEDDED)
    }

    /// The providers that only `litellm`'s table lists. The rates are not cross-checked, and are used only if enabled.
    #[must_use]
    pub fn long_tail() -> Arc<Self> {
        static READ: ArcSwapOption<Catalog> = ArcSwapOption::const_empty();
        Self::load_once(&READ, LONG_TAIL)
    }

    /// Loads a catalog once. Concurrent callers may load it twice: if they waited for each other, a forked child could wait forever.
    fn load_once(place: &ArcSwapOption<Self>, bytes: &[u8]) -> Arc<Self> {
        if let Some(read) = place.load_full() {
            return read;
        }
        let none = || Entries { name: "none".into(), as_of: Box::default(), providers: Vec::new() };
        let read = Arc::new(Self::over(postcard::from_bytes(bytes).unwrap_or_else(|_| none())));
        place.compare_and_swap(&None::<Arc<Self>>, Some(Arc::clone(&read)));
        place.load_full().unwrap_or(read)
    }

    /// Reads a catalog from JSON.
    ///
    /// # Errors
    /// If the text is not JSON in the catalog's form, or has another schema.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        Entries::from_json(text).map(Self::over)
    }

    fn over(entries: Entries) -> Self {
        let providers = entries.providers.into_iter().map(Provider::new).collect();
        Self { name: entries.name, as_of: entries.as_of, providers }
    }

    /// The catalog as JSON, for [`Catalog::parse`].
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(&self.name, &self.as_of, self.providers.iter().map(|provider| &provider.entry)).to_string()
    }

    /// The name, as events record it: the source and its version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The day of its rates, such as `2026-11-22`; empty if the source does not say.
    #[must_use]
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// All entries, as provider id, model id and whether the model is retired.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.providers.iter().flat_map(|provider| {
            provider.entry.models.iter().map(|model| (&*provider.entry.id, &*model.id, model.retired))
        })
    }

    /// Whether it has a provider with this id, or one whose rule matches the id.
    pub(super) fn has_provider(&self, id: &str) -> bool {
        self.provider_index(id).is_some()
    }

    /// Finds the entry for a reference in lower case, for a call to the provider with this catalog id.
    pub(super) fn find(&self, provider: &str, reference: &str) -> Option<Place> {
        let index = self.provider_index(provider)?;
        match arn(reference) {
            Some(Arn::Opaque) => return None,
            Some(Arn::Model(id)) => return self.find_dated(index, id),
            None => {}
        }
        if let Some(place) = self.find_dated(index, reference) {
            return Some(place);
        }
        // For example `anthropic/claude-…` for the provider anthropic.
        let own = reference.split_once('/').filter(|(prefix, _)| self.id_of(prefix) == Some(index));
        if let Some(place) = own.and_then(|(_, rest)| self.find_dated(index, rest)) {
            return Some(place);
        }
        let spelled = spellings(reference).iter().find_map(|spelling| self.find_dated(index, spelling))?;
        // The match is not exact.
        Some(Place { kind: MatchKind::Pattern, ..spelled })
    }

    /// The provider to which a reference belongs by its prefix or its form, and the reference without the prefix.
    pub(super) fn infer<'a>(&self, reference: &'a str) -> Option<(&str, &'a str)> {
        if let Some((prefix, rest)) = reference.split_once('/')
            && let Some(index) = self.id_of(prefix)
        {
            return Some((&self.providers[index].entry.id, rest));
        }
        let describes =
            |provider: &&Provider| provider.entry.model_match.as_ref().is_some_and(|rule| rule.is_match(reference));
        self.providers.iter().find(describes).map(|provider| (&*provider.entry.id, reference))
    }

    /// The provider id and the model id of an entry.
    pub(super) fn names(&self, place: Place) -> (&str, &str) {
        let provider = &self.providers[place.provider as usize].entry;
        (&provider.id, &provider.models[place.model as usize].id)
    }

    /// Both, as `provider/model`.
    pub(super) fn label(&self, place: Place) -> &str {
        &self.providers[place.provider as usize].labels[place.model as usize]
    }

    pub(super) fn model(&self, place: Place) -> &ModelEntry {
        &self.providers[place.provider as usize].entry.models[place.model as usize]
    }

    fn id_of(&self, prefix: &str) -> Option<usize> {
        self.provider_index(catalog_id(&canonical_provider(prefix)))
    }

    fn provider_index(&self, id: &str) -> Option<usize> {
        let describes =
            |provider: &Provider| provider.entry.provider_match.as_ref().is_some_and(|rule| rule.is_match(id));
        self.providers
            .iter()
            .position(|provider| &*provider.entry.id == id)
            .or_else(|| self.providers.iter().position(describes))
    }

    fn find_dated(&self, index: usize, reference: &str) -> Option<Place> {
        self.find_as_given(index, reference).or_else(|| self.find_as_given(index, &with_dashed_date(reference)?))
    }

    fn find_as_given(&self, index: usize, reference: &str) -> Option<Place> {
        let place =
            |index: usize, (model, kind), is_fallback| Place { provider: index as u16, model, kind, is_fallback };
        let provider = &self.providers[index];
        if let Some(hit) = provider.find(reference) {
            return Some(place(index, hit, false));
        }
        provider.entry.fallback.iter().find_map(|id| {
            let other = self.providers.iter().position(|provider| provider.entry.id == *id)?;
            Some(place(other, self.providers[other].find(reference)?, true))
        })
    }
}

impl Provider {
    fn new(entry: ProviderEntry) -> Self {
        let (mut exact, mut patterns) = (Names::default(), Vec::new());
        for (index, model) in entry.models.iter().enumerate() {
            let has_patterns = model.rule.split_exact(&mut |name| {
                exact.entry(name.into()).or_insert(index as u32);
            });
            if has_patterns {
                patterns.push((index as u32, model.rule.needed_pairs()));
            }
        }
        let labels = entry.models.iter().map(|model| format!("{}/{}", entry.id, model.id).into()).collect();
        Self { entry, labels, exact, patterns }
    }

    fn find(&self, reference: &str) -> Option<(u32, MatchKind)> {
        if let Some(&model) = self.exact.get(reference) {
            return Some((model, MatchKind::Exact));
        }
        let pairs = pairs_of(reference);
        self.patterns
            .iter()
            .filter(|(_, needed)| needed & !pairs == 0)
            .find(|(model, _)| self.entry.models[*model as usize].rule.is_match(reference))
            .map(|(model, _)| (*model, MatchKind::Pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(provider: &str, reference: &str) -> Option<(String, String, MatchKind)> {
        let catalog = Catalog::embedded();
        let place = catalog.find(provider, reference)?;
        let (provider, model) = catalog.names(place);
        Some((provider.to_owned(), model.to_owned(), place.kind))
    }

    #[test]
    fn the_embedded_catalogs_can_be_read() {
        assert!(Catalog::embedded().entries().count() > 2_000);
        assert!(Catalog::embedded().name().starts_with("genai-prices-"));
        assert!(Catalog::long_tail().entries().count() > 100);
        assert!(Catalog::long_tail().name().starts_with("litellm-"));
    }

    #[test]
    fn models_are_found_by_name_rule_prefix_and_fallback() {
        let exact = |provider: &str, model: &str| Some((provider.to_owned(), model.to_owned(), MatchKind::Exact));
        assert_eq!(ids("openai", "gpt-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids("openai", "openai/gpt-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids("openai", "gpt-4o-20241120"), exact("openai", "gpt-4o"));
        let dated = ids("anthropic", "claude-sonnet-4-5-20250929").unwrap();
        assert_eq!((dated.1.as_str(), dated.2), ("claude-sonnet-4-5", MatchKind::Pattern));
        assert_eq!(ids("azure", "gpt-4o-2024-11-20").unwrap().1, "gpt-4o");
        assert_eq!(ids("openai", "no-such-model"), None);
        assert_eq!(ids("no-such-provider", "gpt-4o"), None);
    }

    #[test]
    fn the_provider_is_inferred_from_the_prefix_or_the_form() {
        let catalog = Catalog::embedded();
        assert_eq!(catalog.infer("openai/gpt-4o"), Some(("openai", "gpt-4o")));
        assert_eq!(catalog.infer("gpt-4o"), Some(("openai", "gpt-4o")));
        assert_eq!(catalog.infer("no-such-model"), None);
    }
}
