//! The catalog: providers, their models, and the rates in force at a time, in a context.
//!
//! The embedded catalog is `data/catalog.json`, derived from `genai-prices`; its first line states the provenance. It is parsed
//! once, when first needed.

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::matching::{Clause, with_dashed_date};
use super::providers::{canonical_provider, catalog_id};
use crate::event::Unit;
use crate::event::units::UNIT_COUNT;
use crate::money::parse_scaled;

const EMBEDDED: &str = include_str!("../../data/catalog.json");
const SCHEMA: u32 = 1;
/// Rates have at most 18 decimals (28 of the 7,994 rates of `genai-prices` 0.2.3 have that many).
const RATE_SCALE: u32 = 18;
const DAY: u64 = 86_400;

/// Why a text is no catalog.
#[derive(thiserror::Error, Debug)]
pub enum CatalogError {
    /// Not JSON of the catalog's form.
    #[error("the price catalog is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A schema this version does not read.
    #[error("the price catalog has schema {0}, this version reads {SCHEMA}")]
    Schema(u32),
}

/// How a model reference met its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MatchKind {
    /// The reference is a name of the entry.
    Exact,
    /// A rule of the entry describes the reference.
    Pattern,
}

impl MatchKind {
    /// Its name in Python and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Pattern => "pattern",
        }
    }
}

/// A rate in 10^-18 USD per the unit's denominator; each tier holds for calls whose total input is above its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) base: i128,
    pub(super) tiers: Box<[(u64, i128)]>,
}

impl Rate {
    /// The rate for a call with this total input. Crossing a threshold reprices every token of the call.
    pub(super) fn at(&self, total_input: u64) -> i128 {
        self.tiers.iter().rev().find(|(above, _)| total_input > *above).map_or(self.base, |(_, rate)| *rate)
    }
}

/// Rates by unit, the most specific units first: the order in which tokens are given to their rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates(pub(super) Vec<(Unit, Rate)>);

/// When a row applies. Start inclusive, end exclusive, all in UTC.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// From this second of the epoch on.
    From(u64),
    /// Between these seconds of every day; it may wrap midnight.
    Daily(u64, u64),
}

impl When {
    fn holds(self, unix_seconds: u64) -> bool {
        match self {
            Self::Always => true,
            Self::From(start) => unix_seconds >= start,
            Self::Daily(start, end) => {
                let second = unix_seconds % DAY;
                if end < start { second >= start || second < end } else { (start..end).contains(&second) }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    #[serde(default)]
    from: Option<Box<str>>,
    #[serde(default)]
    window: Option<(Box<str>, Box<str>)>,
    #[serde(default)]
    when: HashMap<Box<str>, Box<str>>,
    rates: Rates,
}

/// One row of rates, its period, and the request context it is for (none: every context).
#[derive(Debug)]
struct Row {
    period: When,
    context: Vec<(Box<str>, Box<str>)>,
    rates: Rates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    id: Box<str>,
    #[serde(rename = "match")]
    rule: Clause,
    #[serde(default)]
    retired: bool,
    prices: Box<[Row]>,
    #[serde(default)]
    variants: Box<[Row]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    id: Box<str>,
    #[serde(rename = "api")]
    _api: Box<str>,
    provider_match: Option<Clause>,
    model_match: Option<Clause>,
    fallback: Box<[Box<str>]>,
    models: Box<[RawModel]>,
}

#[derive(Deserialize)]
struct RawCatalog {
    schema: u32,
    source: Box<str>,
    version: Box<str>,
    providers: Vec<RawProvider>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) id: Box<str>,
    /// Provider and model, as events record them.
    label: Box<str>,
    rule: Clause,
    retired: bool,
    rows: Box<[Row]>,
    variants: Box<[Row]>,
}

#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`provider_match` and `model_match` are told apart by their names")]
struct Provider {
    id: Box<str>,
    provider_match: Option<Clause>,
    model_match: Option<Clause>,
    fallback: Box<[Box<str>]>,
    models: Vec<Model>,
    /// Models by the names they accept as they stand.
    exact: HashMap<Box<str>, u32>,
    /// Models that a rule can match otherwise, in catalog order.
    patterns: Vec<u32>,
}

/// A model found in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    provider: u16,
    model: u32,
    /// How.
    pub kind: MatchKind,
    /// Whether the entry stands under a provider that the called one falls back to.
    pub is_fallback: bool,
}

/// An immutable set of prices.
#[derive(Debug)]
pub struct Catalog {
    name: String,
    /// Unlike any other catalog's in this process.
    serial: u64,
    /// For each unit, the set of units that are counted within it.
    pub(super) parts: [u64; UNIT_COUNT],
    providers: Vec<Provider>,
}

impl Catalog {
    /// The catalog this version was built with.
    ///
    /// A test parses the embedded text; an unreadable one would act as an empty catalog.
    ///
    /// Threads that ask at once may parse it twice; none waits for another, which a fork could leave it without.
    #[must_use]
    pub fn embedded() -> Arc<Self> {
        static PARSED: ArcSwapOption<Catalog> = ArcSwapOption::const_empty();
        if let Some(parsed) = PARSED.load_full() {
            return parsed;
        }
        let parsed = Arc::new(Self::parse(EMBEDDED).unwrap_or_else(|_| Self::over("none".into(), Vec::new())));
        PARSED.compare_and_swap(&None::<Arc<Self>>, Some(Arc::clone(&parsed)));
        PARSED.load_full().unwrap_or(parsed)
    }

    /// Reads a catalog.
    ///
    /// # Errors
    /// When the text is not JSON of the catalog's form, or of another schema.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let raw: RawCatalog = serde_json::from_str(text)?;
        if raw.schema != SCHEMA {
            return Err(CatalogError::Schema(raw.schema));
        }
        let name = format!("{}-{}", raw.source, raw.version);
        Ok(Self::over(name, raw.providers.into_iter().map(Provider::from).collect()))
    }

    fn over(name: String, providers: Vec<Provider>) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let mut parts = [0; UNIT_COUNT];
        for unit in Unit::all() {
            parts[unit.index()] = Unit::all().filter(|part| unit.contains(*part)).fold(0, |set, part| set | part.bit());
        }
        Self { name, serial: MADE.fetch_add(1, Ordering::Relaxed) + 1, parts, providers }
    }

    /// Its name, as events record it: the source and its version.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// How many models it lists.
    #[must_use]
    pub fn model_count(&self) -> usize {
        self.providers.iter().map(|provider| provider.models.len()).sum()
    }

    /// Every entry, as provider id, model id and whether it is retired.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.providers
            .iter()
            .flat_map(|provider| provider.models.iter().map(|model| (&*provider.id, &*model.id, model.retired)))
    }

    /// Finds the entry for a model reference. Without a provider, the reference's own prefix (`openai/gpt-4o`) or shape names it.
    #[must_use]
    pub fn find(&self, provider: Option<&str>, reference: &str) -> Option<Found> {
        let reference = reference.trim().to_lowercase();
        if let Some(name) = provider {
            let index = self.provider_index(&canonical_provider(name))?;
            return self.find_in(index, &reference).or_else(|| {
                // `anthropic/claude-…` under provider anthropic.
                let (prefix, rest) = reference.split_once('/')?;
                let same = self.provider_index(&canonical_provider(prefix)) == Some(index);
                same.then(|| self.find_in(index, rest)).flatten()
            });
        }
        if let Some((prefix, rest)) = reference.split_once('/')
            && let Some(index) = self.provider_index(&canonical_provider(prefix))
        {
            return self.find_in(index, rest).or_else(|| self.find_in(index, &reference));
        }
        let described =
            |provider: &Provider| provider.model_match.as_ref().is_some_and(|rule| rule.is_match(&reference));
        self.find_in(self.providers.iter().position(described)?, &reference)
    }

    /// The provider id and the model id of an entry.
    #[must_use]
    pub fn names(&self, found: Found) -> (&str, &str) {
        let provider = &self.providers[found.provider as usize];
        (&provider.id, &provider.models[found.model as usize].id)
    }

    /// Both, as `provider/model`.
    #[must_use]
    pub fn label(&self, found: Found) -> &str {
        &self.model(found).label
    }

    pub(super) fn model(&self, found: Found) -> &Model {
        &self.providers[found.provider as usize].models[found.model as usize]
    }

    fn provider_index(&self, canonical: &str) -> Option<usize> {
        let id = catalog_id(canonical);
        self.providers.iter().position(|provider| &*provider.id == id).or_else(|| {
            self.providers
                .iter()
                .position(|provider| provider.provider_match.as_ref().is_some_and(|rule| rule.is_match(canonical)))
        })
    }

    fn find_in(&self, index: usize, reference: &str) -> Option<Found> {
        self.find_as_given(index, reference).or_else(|| self.find_as_given(index, &with_dashed_date(reference)?))
    }

    fn find_as_given(&self, index: usize, reference: &str) -> Option<Found> {
        let found =
            |index: usize, (model, kind), is_fallback| Found { provider: index as u16, model, kind, is_fallback };
        let provider = &self.providers[index];
        if let Some(hit) = provider.find(reference) {
            return Some(found(index, hit, false));
        }
        provider.fallback.iter().find_map(|id| {
            let other = self.providers.iter().position(|provider| provider.id == *id)?;
            Some(found(other, self.providers[other].find(reference)?, true))
        })
    }
}

impl Provider {
    fn find(&self, reference: &str) -> Option<(u32, MatchKind)> {
        if let Some(&model) = self.exact.get(reference) {
            return Some((model, MatchKind::Exact));
        }
        self.patterns
            .iter()
            .find(|&&model| self.models[model as usize].rule.is_match(reference))
            .map(|&model| (model, MatchKind::Pattern))
    }
}

impl From<RawProvider> for Provider {
    fn from(raw: RawProvider) -> Self {
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        for (index, model) in raw.models.iter().enumerate() {
            let has_patterns = model.rule.split_exact(&mut |name| {
                exact.entry(name.into()).or_insert(index as u32);
            });
            if has_patterns {
                patterns.push(index as u32);
            }
        }
        Self {
            provider_match: raw.provider_match,
            model_match: raw.model_match,
            fallback: raw.fallback,
            exact,
            patterns,
            models: raw.models.into_iter().map(|model| Model::new(&raw.id, model)).collect(),
            id: raw.id,
        }
    }
}

impl Model {
    fn new(provider: &str, raw: RawModel) -> Self {
        Self {
            label: format!("{provider}/{}", raw.id).into(),
            id: raw.id,
            rule: raw.rule,
            retired: raw.retired,
            rows: raw.prices,
            variants: raw.variants,
        }
    }

    /// The rates in force at a time. A later row takes precedence; where none holds, the first stands.
    pub(super) fn standard_rates(&self, unix_seconds: u64) -> Option<&Rates> {
        self.rows
            .iter()
            .rev()
            .find(|row| row.period.holds(unix_seconds))
            .or_else(|| self.rows.first())
            .map(|row| &row.rates)
    }

    /// The standard rates with those of the request's context in their place, unit by unit. The first fitting variant wins.
    ///
    /// `None` when the context changes nothing.
    pub(super) fn context_rates(&self, standard: &Rates, unix_seconds: u64, context: &[(&str, &str)]) -> Option<Rates> {
        let fits = |row: &&Row| {
            let asked = |key: &str, value: &str| context.contains(&(key, value));
            row.period.holds(unix_seconds) && row.context.iter().all(|(key, value)| asked(key, value))
        };
        let mut own: Vec<(Unit, Rate)> = Vec::new();
        for (unit, rate) in self.variants.iter().filter(fits).flat_map(|row| &row.rates.0) {
            if own.iter().all(|(known, _)| known != unit) {
                own.push((*unit, rate.clone()));
            }
        }
        if own.is_empty() {
            return None;
        }
        let kept = standard.0.iter().filter(|(unit, _)| own.iter().all(|(known, _)| known != unit)).cloned();
        let mut merged: Vec<_> = kept.collect();
        merged.extend(own);
        Some(Rates::ordered(merged))
    }
}

impl Rates {
    fn ordered(mut rates: Vec<(Unit, Rate)>) -> Self {
        rates.sort_by_key(|(unit, _)| (std::cmp::Reverse(unit.dimensions().count()), *unit));
        Self(rates)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawRow::deserialize(deserializer)?;
        let period = match (&raw.from, &raw.window) {
            (None, None) => When::Always,
            (Some(date), None) => When::From(
                humantime::parse_rfc3339(&format!("{date}T00:00:00Z"))
                    .ok()
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                    .ok_or_else(|| D::Error::custom(format!("{date:?} is not a date")))?
                    .as_secs(),
            ),
            (None, Some((start, end))) => {
                let second =
                    |text: &str| second_of_day(text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a time")));
                When::Daily(second(start)?, second(end)?)
            }
            (Some(_), Some(_)) => return Err(D::Error::custom("a row has a start or a window, not both")),
        };
        let mut context: Vec<_> = raw.when.into_iter().collect();
        context.sort();
        Ok(Self { period, context, rates: raw.rates })
    }
}

fn second_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    (hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none())
        .then_some(hours * 3600 + minutes * 60 + seconds)
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RawRate {
            Flat(Box<str>),
            Tiered(Vec<RawTier>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum RawTier {
            Base(Box<str>),
            Above(u64, Box<str>),
        }
        let rate = |text: &str| {
            parse_scaled(text, RATE_SCALE)
                .map_err(D::Error::custom)
                .and_then(|rate| if rate < 0 { Err(D::Error::custom("a rate is negative")) } else { Ok(rate) })
        };
        let raw = HashMap::<Box<str>, RawRate>::deserialize(deserializer)?;
        let mut rates = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let unit = Unit::from_name(&name).ok_or_else(|| D::Error::custom(format!("{name:?} is not a unit")))?;
            let parsed = match value {
                RawRate::Flat(text) => Rate { base: rate(&text)?, tiers: Box::default() },
                RawRate::Tiered(parts) => {
                    let mut base = None;
                    let mut tiers = Vec::new();
                    for part in &parts {
                        match part {
                            RawTier::Base(text) => base = Some(rate(text)?),
                            RawTier::Above(start, text) => tiers.push((*start, rate(text)?)),
                        }
                    }
                    tiers.sort_unstable();
                    Rate {
                        base: base.ok_or_else(|| D::Error::custom("tiers without a base rate"))?,
                        tiers: tiers.into(),
                    }
                }
            };
            rates.push((unit, parsed));
        }
        Ok(Self::ordered(rates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(provider: Option<&str>, reference: &str) -> Option<(String, String, MatchKind)> {
        let catalog = Catalog::embedded();
        let found = catalog.find(provider, reference)?;
        let (provider, model) = catalog.names(found);
        Some((provider.to_owned(), model.to_owned(), found.kind))
    }

    #[test]
    fn the_embedded_catalog_parses_and_is_not_empty() {
        assert!(Catalog::parse(EMBEDDED).unwrap().model_count() > 2_000);
        assert!(Catalog::embedded().name().starts_with("genai-prices-"));
    }

    #[test]
    fn models_are_found_by_name_rule_prefix_and_fallback() {
        let exact = |provider: &str, model: &str| Some((provider.to_owned(), model.to_owned(), MatchKind::Exact));
        assert_eq!(ids(Some("openai"), "gpt-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids(None, "GPT-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids(None, "openai/gpt-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids(Some("openai"), "openai/gpt-4o"), exact("openai", "gpt-4o"));
        assert_eq!(ids(Some("openai"), "gpt-4o-20241120"), exact("openai", "gpt-4o"));
        let dated = ids(Some("anthropic"), "claude-sonnet-4-5-20250929").unwrap();
        assert_eq!((dated.1.as_str(), dated.2), ("claude-sonnet-4-5", MatchKind::Pattern));
        assert_eq!(ids(Some("azure"), "gpt-4o-2024-11-20").unwrap().1, "gpt-4o");
        assert_eq!(ids(Some("openai"), "no-such-model"), None);
        assert_eq!(ids(Some("no-such-provider"), "gpt-4o"), None);
    }

    #[test]
    fn a_daily_window_may_wrap_midnight() {
        let night = When::Daily(16 * 3600 + 1800, 1800);
        assert!(night.holds(0) && night.holds(DAY - 1) && night.holds(16 * 3600 + 1800));
        assert!(!night.holds(1800) && !night.holds(12 * 3600));
    }

    #[test]
    fn malformed_catalogs_are_refused_with_the_reason() {
        let text = |rates: &str| {
            format!(
                r#"{{"schema":1,"source":"s","version":"1","providers":[{{"id":"p","api":"","provider_match":null,
                "model_match":null,"fallback":[],"models":[{{"id":"m","match":{{"equals":"m"}},"prices":[{{"rates":{rates}}}]}}]}}]}}"#
            )
        };
        assert!(Catalog::parse(&text(r#"{"input_tokens":"1"}"#)).is_ok());
        for (rates, reason) in [
            (r#"{"input_tokens":"-1"}"#, "negative"),
            (r#"{"input_tokens":"NaN"}"#, "not a decimal"),
            (r#"{"inputs":"1"}"#, "not a unit"),
            (r#"{"input_tokens":[[5,"1"]]}"#, "without a base"),
        ] {
            let error = Catalog::parse(&text(rates)).unwrap_err().to_string();
            assert!(error.contains(reason), "{rates}: {error}");
        }
        assert!(matches!(
            Catalog::parse(r#"{"schema":9,"source":"","version":"","providers":[]}"#),
            Err(CatalogError::Schema(9))
        ));
        assert!(Catalog::parse("{").is_err());
    }
}
