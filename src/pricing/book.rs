//! The price book: the user's overrides, then the catalog, then, if enabled, the long tail.
//!
//! The rates of a reference are looked up in this order: the user's rates, the user's aliases, names in the catalog, patterns in the
//! catalog, other spellings of the reference, a provider that the called one falls back to, the long tail. A reference that none of
//! them knows has no price. A price is never guessed from a similar name.

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::{Catalog, MatchKind, Place};
use super::charge::{Charged, Line, PriceError, Relations, billed};
use super::conditions::Pairs;
use super::cost::{Cost, Found, Request, Source, Total};
use super::entry::{ModelEntry, Rates, Row};
use super::overrides::Overrides;
use super::providers::{canonical_provider, catalog_id};
use super::reference::{is_free_by_name, open_router};
use super::uplifts::Uplift;
use crate::event::limits::MAX_TEXT;
use crate::event::{CostNotes, CostStatus};

/// An immutable set of prices and rules.
#[derive(Debug)]
pub struct Book {
    /// A number that identifies the book within this process.
    serial: u64,
    pub(super) catalog: Arc<Catalog>,
    pub(super) long_tail: Option<Arc<Catalog>>,
    pub(super) overrides: Overrides,
    relations: Relations,
    /// The names of the two catalogs for rates that a multiplier changed.
    multiplied: [Box<str>; 2],
}

impl Book {
    /// Creates a book.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, long_tail: Option<Arc<Catalog>>, overrides: Overrides) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let multiplied = |catalog: Option<&Arc<Catalog>>| {
            format!("{}+{}", catalog.map_or("", |catalog| catalog.name()), overrides.name).into()
        };
        Self {
            serial: MADE.fetch_add(1, Ordering::Relaxed) + 1,
            multiplied: [multiplied(Some(&catalog)), multiplied(long_tail.as_ref())],
            catalog,
            long_tail,
            overrides,
            relations: Relations::new(),
        }
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The long tail, if it is in use.
    #[must_use]
    pub fn long_tail(&self) -> Option<&Arc<Catalog>> {
        self.long_tail.as_ref()
    }

    /// Prices a call and explains the cost.
    ///
    /// # Errors
    /// If the usage contradicts itself or the amount is out of range. An unknown model is not an error: its cost is `None`.
    pub fn price(&self, request: &Request<'_>) -> Result<Cost, PriceError> {
        let mut lines = Vec::new();
        let total = self.charge(request, &mut |line| lines.push(line))?;
        lines.sort_by_key(|line| line.unit);
        let sum = |direction: &str| {
            let part = |line: &&Line| line.unit.dimensions().any(|dimension| dimension == direction);
            total.usd.map(|_| lines.iter().filter(part).map(|line| line.amount).sum())
        };
        Ok(Cost {
            usd: total.usd,
            input: sum("direction=input"),
            output: sum("direction=output"),
            status: total.status,
            notes: total.notes,
            found: total.found,
            valid_from: total.valid_from,
            uplift: total.uplift,
            lines,
        })
    }

    /// Prices a call.
    ///
    /// # Errors
    /// Those of [`Book::price`].
    pub fn total(&self, request: &Request<'_>) -> Result<Total, PriceError> {
        self.charge(request, &mut |_| ())
    }

    fn charge(&self, request: &Request<'_>, line: &mut impl FnMut(Line)) -> Result<Total, PriceError> {
        let unpriced = |found, notes| Ok(Total { notes, found, ..Total::UNPRICED });
        let is_global = request.conditions.region == Some("global");
        let Some(found) = self.find_cached(request.provider, request.model, is_global) else {
            return if is_free_by_name(request.provider, request.model) {
                Ok(Total::free(None))
            } else {
                unpriced(None, CostNotes::NONE)
            };
        };
        let model = self.model(found);
        if found.is_free(model) {
            return Ok(Total::free(Some(found)));
        }
        let unpriced = |found| unpriced(found, CostNotes::NONE);
        if request.usage.is_empty() {
            return unpriced(Some(found));
        }
        let seconds = request.started_at / 1_000_000_000;
        let Some(Row { period, rates: standard, .. }) = model.row_at(seconds) else { return unpriced(Some(found)) };
        let is_fallback = found.is_fallback;
        let is_own = matches!(found.source, Source::Override(_));
        let pairs = request.conditions.pairs();
        // A provider's own rates for tiers and batches are not valid if another provider serves its models.
        let special =
            if pairs.is_empty() || is_fallback { None } else { model.context_rates(standard, seconds, &pairs) };
        let mut rates = special.map_or(Cow::Borrowed(standard), Cow::Owned);
        if is_own && let Some(base) = self.base_of(found, request, is_global) {
            rates = Cow::Owned(self.over_base(&rates, base, seconds, &pairs));
        }
        if rates.is_empty() {
            // The data set omits rates both for free models and for unknown prices. Only a model whose name says so is free.
            return if model.id.ends_with(":free") { Ok(Total::free(Some(found))) } else { unpriced(Some(found)) };
        }
        let usage = billed(request.usage, model);
        let multiplier = found.multiplier.map(|index| self.overrides.multiplier(index.into()).millionths);
        // The user's own rates are complete, so no factors apply to them.
        let uplift =
            if is_own { Uplift::default() } else { request.conditions.uplift(request.provider, model, is_fallback) };
        let Charged { total, notes, is_uncovered } =
            self.relations.charge(&rates, &usage, multiplier, uplift.millionths(), line)?;
        if is_uncovered {
            return unpriced(Some(found));
        }
        if is_own && notes.intersection(CostNotes::UNIT_WITHOUT_RATE) != CostNotes::NONE {
            return Ok(Total { found: Some(found), notes: CostNotes::UNIT_WITHOUT_RATE, ..Total::UNPRICED });
        }
        let mut notes = notes;
        // A reference to Bedrock may have a geography, which is followed by a dot or begins a resource name.
        if !request.conditions.is_plain() || request.model.contains(['.', ':']) {
            let provider = self.names(found).0;
            notes |= request.conditions.unknown_to(model, provider, request.model, is_fallback, uplift);
        }
        if found.route.is_some() {
            notes |= CostNotes::CONTEXT_WITHOUT_RATES;
        }
        if is_fallback {
            notes |= CostNotes::FALLBACK_PROVIDER;
        }
        let status = if multiplier.is_some() || is_own {
            CostStatus::Manual
        } else if rates.iter().all(|(_, rate)| rate.is_zero()) {
            CostStatus::Free
        } else {
            CostStatus::Priced
        };
        Ok(Total { usd: Some(total), status, notes, found: Some(found), valid_from: period.from, uplift })
    }

    /// The catalog's entry that supplies the rates that the user's entry lacks, if the user's entry asks for it.
    fn base_of(&self, found: Found, request: &Request<'_>, is_global: bool) -> Option<Place> {
        let Source::Override(index) = found.source else { return None };
        if !self.overrides.has_base(index.into()) {
            return None;
        }
        self.listed_as(request.provider, &request.model.trim().to_lowercase(), is_global)
    }

    /// The catalog's entry for a reference in lower case.
    pub(super) fn listed(&self, provider: Option<&str>, reference: &str) -> Option<Place> {
        self.listed_as(provider, reference, false)
    }

    fn listed_as(&self, provider: Option<&str>, reference: &str, is_global: bool) -> Option<Place> {
        let provider = provider.map(|name| catalog_id(&canonical_provider(name)).to_owned());
        let (provider, model) = match &provider {
            Some(id) => (id.as_str(), reference),
            None => self.catalog.infer(reference)?,
        };
        match self.look_up(Some(provider), model, is_global)? {
            (Source::Catalog(place), _) => Some(place),
            _ => None,
        }
    }

    /// The rates of the catalog's entry, with the user's rates replacing those of the same unit.
    fn over_base(&self, own: &Rates, base: Place, seconds: u64, pairs: &Pairs<'_>) -> Rates {
        let model = self.catalog.model(base);
        let Some(row) = model.row_at(seconds) else { return own.clone() };
        let special =
            if pairs.is_empty() || base.is_fallback { None } else { model.context_rates(&row.rates, seconds, pairs) };
        let listed = special.as_ref().unwrap_or(&row.rates);
        let rest = listed.iter().filter(|(unit, _)| own.iter().all(|(known, _)| known != *unit));
        Rates::ordered(own.iter().chain(rest).map(|(unit, rate)| (unit, rate.clone())).collect())
    }

    /// Whether the user's rules make some models free.
    #[must_use]
    pub fn has_free(&self) -> bool {
        self.overrides.has_free
    }

    /// Finds the rates for a reference as a user or a provider writes it. `is_global` if the call is routed worldwide.
    pub(super) fn find(&self, provider: Option<&str>, reference: &str, is_global: bool) -> Option<Found> {
        let reference = reference.trim().to_lowercase();
        let reference = reference.strip_prefix("litellm_proxy/").unwrap_or(&reference).to_owned();
        // litellm is not a provider. The name of the model tells which provider is.
        let canonical = provider.map(canonical_provider);
        let is_litellm = canonical.as_deref().is_some_and(|name| matches!(name, "litellm" | "litellm_proxy"));
        if is_litellm && let Some(index) = self.overrides.rates_for(canonical.as_deref(), &reference) {
            return Some(self.own(index, canonical.as_deref(), &reference));
        }
        let canonical = canonical.filter(|_| !is_litellm);
        let (provider, model) = if let Some(name) = &canonical {
            (Some(catalog_id(name)), &*reference)
        } else {
            let inferred = self.catalog.infer(&reference);
            inferred.map_or((None, &*reference), |(provider, model)| (Some(provider), model))
        };
        let multiplier = self.overrides.multiplier_for(provider, model).map(|index| index as u16);
        let own = |index| self.own(index, provider, model);
        let listed = |(source, place): (Source, Place)| Found {
            source,
            multiplier,
            is_fallback: place.is_fallback,
            route: None,
            kind: place.kind,
        };
        if let Some(index) = self.overrides.rates_for(provider, model) {
            return Some(own(index));
        }
        if let Some(target) = self.overrides.alias_for(provider, model) {
            let (target_provider, target) = self.target(provider, target);
            let target_provider = target_provider.as_deref();
            if let Some(index) = self.overrides.rates_for(target_provider, target) {
                return Some(own(index));
            }
            // If an alias leads to no model, the reference stays unpriced, because the user said that it means another model.
            let found = listed(self.look_up(target_provider, target, is_global)?);
            let is_fallback = found.is_fallback || target_provider != provider;
            return Some(Found { is_fallback, kind: MatchKind::Override, ..found });
        }
        let found = self.look_up(provider, model, is_global).or_else(|| {
            // No provider was given, and the reference is a gateway's own `vendor/model`: the whole reference may be the name of the
            // entry.
            let whole = provider.filter(|_| canonical.is_none() && model.len() < reference.len())?;
            self.look_up(Some(whole), &reference, is_global)
        });
        if found.is_none()
            && provider == Some("openrouter")
            && let Some((model, route)) = open_router(model)
        {
            let (source, place) = self.look_up(provider, model, is_global)?;
            return Some(Found { route: Some(route), kind: MatchKind::Pattern, ..listed((source, place)) });
        }
        found.map(listed)
    }

    /// The user's rates.
    fn own(&self, index: usize, provider: Option<&str>, model: &str) -> Found {
        Found {
            source: Source::Override(index as u16),
            multiplier: self.overrides.multiplier_for(provider, model).map(|index| index as u16),
            is_fallback: false,
            route: None,
            kind: MatchKind::Override,
        }
    }

    /// The provider and the model of an alias's target. The provider is the called one if the target names none.
    fn target<'a>(&self, called: Option<&str>, target: &'a str) -> (Option<String>, &'a str) {
        if let Some((prefix, model)) = target.split_once('/') {
            let provider = catalog_id(&canonical_provider(prefix)).to_owned();
            if self.knows_provider(&provider) || self.overrides.rates_for(Some(&provider), model).is_some() {
                return (Some(provider), model);
            }
        }
        (called.map(str::to_owned), target)
    }

    fn look_up(&self, provider: Option<&str>, reference: &str, is_global: bool) -> Option<(Source, Place)> {
        if let Some(provider) = provider {
            // Bedrock's name for a model that is routed worldwide. If there is no such profile, use the plain reference.
            // Anthropic's own client for Bedrock names the model as Anthropic does.
            let vendor = if reference.starts_with("claude") { "anthropic." } else { "" };
            let global = (is_global && provider == "aws").then(|| format!("global.{vendor}{reference}"));
            let global = global.and_then(|global| self.catalog.find(provider, &global));
            let place = global.or_else(|| self.catalog.find(provider, reference)).or_else(|| {
                // OpenAI's models have no version in the names of Bedrock's own address for them.
                let is_unversioned = provider == "aws" && reference.starts_with("openai.") && !reference.contains(':');
                is_unversioned.then(|| self.catalog.find(provider, &format!("{reference}-1:0"))).flatten()
            });
            if let Some(place) = place {
                return Some((Source::Catalog(place), place));
            }
        }
        let long_tail = self.long_tail.as_ref()?;
        let place = match provider {
            Some(provider) => long_tail.find(provider, reference),
            None => long_tail.infer(reference).and_then(|(provider, model)| long_tail.find(provider, model)),
        };
        place.map(|place| (Source::LongTail(place), place))
    }

    pub(super) fn knows_provider(&self, id: &str) -> bool {
        let knows = |catalog: &Catalog| catalog.has_provider(id);
        knows(&self.catalog) || self.long_tail.as_deref().is_some_and(knows)
    }

    #[inline]
    pub(super) fn model(&self, found: Found) -> &ModelEntry {
        match found.source {
            Source::Override(index) => self.overrides.entry(index.into()),
            Source::Catalog(place) => self.catalog.model(place),
            Source::LongTail(place) => self.tail().model(place),
        }
    }

    /// The long tail. A place in it exists only if this book has one.
    fn tail(&self) -> &Catalog {
        self.long_tail.as_deref().unwrap_or(&self.catalog)
    }

    /// The provider id, if the rates belong to a provider, and the model id of an entry.
    #[must_use]
    pub fn names(&self, found: Found) -> (Option<&str>, &str) {
        let some = |(provider, model)| (Some(provider), model);
        match found.source {
            Source::Override(index) => (None, &self.overrides.entry(index.into()).id),
            Source::Catalog(place) => some(self.catalog.names(place)),
            Source::LongTail(place) => some(self.tail().names(place)),
        }
    }

    /// Both as `provider/model`. For a rate of the user, its key.
    #[must_use]
    pub fn label(&self, found: Found) -> &str {
        match found.source {
            Source::Override(index) => &self.overrides.entry(index.into()).id,
            Source::Catalog(place) => self.catalog.label(place),
            Source::LongTail(place) => self.tail().label(place),
        }
    }

    /// The catalog and the rules of the user from which the price of an entry comes.
    #[must_use]
    pub fn origin(&self, found: Found) -> &str {
        match (found.source, found.multiplier) {
            (Source::Override(_), _) => &self.overrides.name,
            (Source::Catalog(_), None) => self.catalog.name(),
            (Source::LongTail(_), None) => self.tail().name(),
            (Source::Catalog(_), Some(_)) => &self.multiplied[0],
            (Source::LongTail(_), Some(_)) => &self.multiplied[1],
        }
    }

    /// The key of the user's multiplier and its value in millionths.
    #[must_use]
    pub fn multiplier(&self, found: Found) -> Option<(&str, i128)> {
        let multiplier = self.overrides.multiplier(found.multiplier?.into());
        Some((&multiplier.key, multiplier.millionths))
    }

    /// The rates of a reference. `is_global` if it is routed worldwide. A cache per thread needs no lock, which a child could inherit.
    #[must_use]
    #[inline(always)]
    pub fn find_cached(&self, provider: Option<&str>, model: &str, is_global: bool) -> Option<Found> {
        const SLOTS: usize = 64;
        struct Slot {
            book: u64,
            is_global: bool,
            provider: Option<Box<str>>,
            model: Box<str>,
            found: Option<Found>,
        }
        thread_local! {
            static TABLE: RefCell<[Option<Slot>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
        }
        static HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x7461_7869);

        let index = HASHER.hash_one((provider, model)) as usize % SLOTS;
        let cached = TABLE.try_with(|table| {
            let table = table.try_borrow().ok()?;
            let slot = table[index].as_ref()?;
            let same = slot.book == self.serial
                && slot.is_global == is_global
                && *slot.model == *model
                && slot.provider.as_deref() == provider;
            same.then_some(slot.found)
        });
        if let Ok(Some(found)) = cached {
            return found;
        }
        let found = self.find(provider, model, is_global);
        if model.len() > MAX_TEXT || provider.is_some_and(|provider| provider.len() > MAX_TEXT) {
            return found;
        }
        let _ = TABLE.try_with(|table| {
            if let Ok(mut table) = table.try_borrow_mut() {
                table[index] = Some(Slot {
                    book: self.serial,
                    is_global,
                    provider: provider.map(Into::into),
                    model: model.into(),
                    found,
                });
            }
        });
        found
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
