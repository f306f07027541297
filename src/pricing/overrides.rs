//! The user's overrides: rates, multipliers, aliases of models, and free models.
//!
//! The rules are JSON, with numbers as decimal texts:
//!
//! ```json
//! {"rates": {"openai/my-model": {"input_tokens": {"per_1m": "2.5", "above": {"200000": "5"}}}},
//!  "multipliers": {"openai/*": "0.9"},
//!  "aliases": {"azure/my-deployment": "openai/gpt-4o"}}
//! ```
//!
//! A rate replaces the whole entry of its model. No rates of the catalog are mixed in, and using a unit without a rate makes the cost
//! unknown. If the rates have `"base": "catalog"` beside them, the catalog supplies the rates of the other units. `"free"` lists the
//! keys of models that cost nothing, such as those of the user's own server. Instead of one mapping of rates there can be rows, each
//! with `rates` and any of `from`, `window`, `days` and `when`. One row must be valid always.
//!
//! A key is `provider/model`, or `model` for any provider (`*/vendor/model` if the name of the model has a slash). A `*` at the end
//! matches anything. The longest matching key counts, and keys without `*` come before keys with one. A key is compared with the
//! reference as it is, without the date of its snapshot, and in its other spellings.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::document::{RawRow, rate};
use super::entry::{Amount, ModelEntry, Period, Rate, Rates, Row};
use super::matching::Clause;
use super::providers::{canonical_provider, catalog_id};
use super::reference::{spellings, undated};
use crate::event::Unit;
use crate::money::parse_scaled;

/// The decimals of a multiplier.
pub(super) const MULTIPLIER_SCALE: u32 = 6;
const MAX_MULTIPLIER: i128 = 1_000 * 10_i128.pow(MULTIPLIER_SCALE);
/// A rate above this, in dollars for a million tokens or characters or for one of anything else, must be a mistake, such as a rate
/// per thousand given as per token, which happened in one public price table.
const MAX_RATE: i128 = 10_000 * 10_i128.pow(super::entry::RATE_SCALE);

/// Why a rule is invalid: its name, and the problem.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
#[error("prices: {0}")]
pub struct OverrideError(String);

/// The most rules of one kind. Their positions are stored in 16 bits.
const MAX_RULES: usize = 10_000;

/// The references that a rule matches.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// The catalog id of the provider; any provider if `None`.
    provider: Option<Box<str>>,
    model: Box<str>,
    is_prefix: bool,
}

/// A multiplier in millionths, and its key.
#[derive(Debug)]
pub(super) struct Multiplier {
    pub(super) key: Box<str>,
    pub(super) millionths: i128,
}

/// The user's rules, the most specific first.
#[derive(Debug, Default)]
pub struct Overrides {
    /// `override-` and the checksum of the rules; empty if there are none.
    pub(super) name: Box<str>,
    /// The rates, and whether the catalog supplies the rates that they lack.
    rates: Vec<(Key, (ModelEntry, bool))>,
    multipliers: Vec<(Key, Multiplier)>,
    aliases: Vec<(Key, Box<str>)>,
    /// Whether some model is free by a rule of the user. Such an entry has no rates.
    pub(super) has_free: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    rates: BTreeMap<String, RawEntry>,
    multipliers: BTreeMap<String, serde_json::Value>,
    aliases: BTreeMap<String, serde_json::Value>,
    free: Vec<String>,
}

type RawRates = BTreeMap<String, serde_json::Value>;
/// The key beside the rates of an entry that uses the catalog's rates for the other units.
const BASE: &str = "base";

#[derive(Deserialize)]
#[serde(untagged)]
enum RawEntry {
    Rates(RawRates),
    Rows(Vec<RawRow<RawRates>>),
    Other(serde_json::Value),
}

impl Overrides {
    /// Parses rules. An empty text has none.
    ///
    /// # Errors
    /// If they do not have the form above, or a number is implausible. The message names the rule.
    pub fn parse(text: &str) -> Result<Self, OverrideError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let raw: Raw = serde_json::from_str(text).map_err(|error| OverrideError(error.to_string()))?;
        let mut rules = Self::default();
        for (name, entry) in raw.rates {
            let place = |rule: String| OverrideError(at("rates", &name, &rule));
            let mut has_base = false;
            let mut read = |mut rates: RawRates| {
                has_base |= takes_catalog(&mut rates)?;
                typed_rates(rates)
            };
            let rows = match entry {
                RawEntry::Rates(rates) => {
                    vec![Row { period: Period::default(), context: Box::default(), rates: read(rates).map_err(place)? }]
                }
                RawEntry::Rows(rows) => {
                    let numbered = |(index, row): (usize, RawRow<RawRates>)| {
                        row.entry(&mut read).map_err(|rule| place(at_row(index, &rule)))
                    };
                    rows.into_iter().enumerate().map(numbered).collect::<Result<_, _>>()?
                }
                RawEntry::Other(value) => {
                    return Err(place(if value.is_array() {
                        let form = "[{ rates = { input_tokens = { per_1m = 2.5 } }, from = \"2026-01-01\" }]";
                        format!("not a list of rows: {value}; write {form}")
                    } else {
                        let form = "{ input_tokens = { per_1m = 2.5 }, output_tokens = { per_1m = 10 } }";
                        format!("{value} is not a mapping of rates; write {form}")
                    }));
                }
            };
            let key = Key::new(&name).map_err(place)?;
            rules.rates.push((key, (model_entry(&name, rows).map_err(place)?, has_base)));
        }
        for (name, value) in raw.multipliers {
            let place = |rule: String| OverrideError(at("multipliers", &name, &rule));
            let text = text_of(&value, "a decimal number; write 1.2 for a markup of 20 %").map_err(place)?;
            let (key, millionths) = (Key::new(&name).map_err(place)?, multiplier(text).map_err(place)?);
            rules.multipliers.push((key, Multiplier { key: name.into(), millionths }));
        }
        for (name, value) in raw.aliases {
            let place = |rule: String| OverrideError(at("aliases", &name, &rule));
            let target = text_of(&value, "a model; write \"provider/model\"").map_err(place)?.trim().to_lowercase();
            if target.is_empty() || target == name.trim().to_lowercase() {
                return Err(place("does not name another model".into()));
            }
            rules.aliases.push((Key::new(&name).map_err(place)?, target.into()));
        }
        for name in raw.free {
            let key = Key::new(&name).map_err(|rule| OverrideError(at("free", &name, &rule)))?;
            let row = Row { period: Period::default(), context: Box::default(), rates: Rates::default() };
            rules.rates.push((key, (entry_of(&name, vec![row], Vec::new()), false)));
            rules.has_free = true;
        }
        let most = rules.rates.len().max(rules.multipliers.len()).max(rules.aliases.len());
        if most > MAX_RULES {
            return Err(OverrideError(format!(
                "there are {most} rules of a kind, but at most {MAX_RULES} are allowed"
            )));
        }
        rules.rates.sort_by_key(|(key, _)| key.rank());
        rules.multipliers.sort_by_key(|(key, _)| key.rank());
        rules.aliases.sort_by_key(|(key, _)| key.rank());
        if !rules.is_empty() {
            rules.name = format!("override-{:08x}", crc32fast::hash(text.as_bytes())).into();
        }
        Ok(rules)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.multipliers.is_empty() && self.aliases.is_empty()
    }

    /// The index of the rates for a reference in lower case, for a call to the provider with this catalog id.
    pub(super) fn rates_for(&self, provider: Option<&str>, reference: &str) -> Option<usize> {
        first(&self.rates, provider, reference)
    }

    pub(super) fn multiplier_for(&self, provider: Option<&str>, reference: &str) -> Option<usize> {
        first(&self.multipliers, provider, reference)
    }

    /// The target of an alias, as `provider/model` or `model`.
    pub(super) fn alias_for(&self, provider: Option<&str>, reference: &str) -> Option<&str> {
        first(&self.aliases, provider, reference).map(|index| &*self.aliases[index].1)
    }

    pub(super) fn entry(&self, index: usize) -> &ModelEntry {
        &self.rates[index].1.0
    }

    /// Whether the catalog supplies the rates that the entry lacks.
    pub(super) fn has_base(&self, index: usize) -> bool {
        self.rates[index].1.1
    }

    /// The keys of rates whose base is the catalog.
    pub(super) fn based(&self) -> impl Iterator<Item = (String, Option<&str>, &str, bool)> {
        let based = self.rates.iter().filter(|(_, (_, has_base))| *has_base);
        based.map(|(key, (entry, _))| {
            (at("rates", &entry.id, ".base"), key.provider.as_deref(), &*key.model, key.is_prefix)
        })
    }

    /// The keys of multipliers and the targets of aliases, which may match no model: the name of the rule, its provider, its model,
    /// and whether the model is a prefix.
    pub(super) fn references(&self) -> impl Iterator<Item = (String, Option<&str>, &str, bool)> {
        let multipliers = self.multipliers.iter().map(|(key, multiplier)| {
            (at("multipliers", &multiplier.key, ""), key.provider.as_deref(), &*key.model, key.is_prefix)
        });
        let aliases = self.aliases.iter().map(|(key, target)| {
            let name =
                key.provider.as_deref().map_or_else(|| key.model.to_string(), |own| format!("{own}/{}", key.model));
            (at("aliases", &name, ""), None, &**target, false)
        });
        multipliers.chain(aliases)
    }

    pub(super) fn multiplier(&self, index: usize) -> &Multiplier {
        &self.multipliers[index].1
    }
}

/// The name of a rule, as TOML writes its path, and the problem.
fn at(table: &str, key: &str, rule: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let parted = if rule.is_empty() || rule.starts_with(['.', '[']) { "" } else { ": " };
    let is_plain = !key.is_empty() && key.bytes().all(is_bare);
    if is_plain { format!("{table}.{key}{parted}{rule}") } else { format!("{table}.\"{key}\"{parted}{rule}") }
}

/// The problem of one row of several.
fn at_row(index: usize, rule: &str) -> String {
    let parted = if rule.starts_with('.') { "" } else { ": " };
    format!("[{index}]{parted}{rule}")
}

/// The text of a value.
fn text_of<'a>(value: &'a serde_json::Value, wanted: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{value} is not {wanted}"))
}

/// Whether the rates name the catalog as their base. Removes the key.
fn takes_catalog(rates: &mut RawRates) -> Result<bool, String> {
    match rates.remove(BASE) {
        None => Ok(false),
        Some(serde_json::Value::String(base)) if base == "catalog" => Ok(true),
        Some(other) => Err(format!(".{BASE}: {other} is not \"catalog\", which is the only base")),
    }
}

/// Whether a reference is the model with this name or a version of it. `gpt-4o` and `gpt-4.1` are not versions of `gpt-4`.
pub(super) fn is_version_of(reference: &str, name: &str) -> bool {
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    let ends_open = name.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric());
    reference.strip_prefix(name).is_some_and(|rest| !(ends_open && rest.bytes().next().is_some_and(goes_on)))
}

/// The first rule that matches a form of the reference. The rules are sorted, so it is the most specific one.
fn first<T>(rules: &[(Key, T)], provider: Option<&str>, reference: &str) -> Option<usize> {
    if rules.is_empty() {
        return None;
    }
    // Without a provider, the prefix of the reference may be a provider that no catalog knows.
    let (provider, reference) = match (provider, reference.split_once('/')) {
        (None, Some((prefix, rest))) if rules.iter().any(|(key, _)| key.provider.as_deref() == Some(prefix)) => {
            (Some(prefix), rest)
        }
        _ => (provider, reference),
    };
    let mut forms = vec![reference.to_owned()];
    forms.extend(undated(reference).map(str::to_owned));
    for spelling in spellings(reference) {
        forms.extend(undated(&spelling).map(str::to_owned));
        forms.push(spelling);
    }
    rules.iter().position(|(key, _)| key.is_for(provider) && forms.iter().any(|form| key.fits(form)))
}

impl Key {
    fn new(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_lowercase();
        if lower.is_empty() {
            return Err("a key must name a model, as provider/model or model".into());
        }
        let (provider, model) = match lower.split_once('/') {
            // An Amazon resource name contains slashes.
            _ if lower.starts_with("arn:") => (None, &*lower),
            Some(("*", model)) => (None, model),
            Some((provider, model)) => (Some(catalog_id(&canonical_provider(provider)).into()), model),
            None => (None, &*lower),
        };
        let (model, is_prefix) = model.strip_suffix('*').map_or((model, false), |stem| (stem, true));
        Ok(Self { provider, model: model.into(), is_prefix })
    }

    /// The sort key: exact keys before prefixes, long keys before short ones, keys of a provider before keys of any.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>, bool) {
        (self.is_prefix, std::cmp::Reverse(self.model.len()), self.provider.is_none())
    }

    fn is_for(&self, provider: Option<&str>) -> bool {
        self.provider.is_none() || self.provider.as_deref() == provider
    }

    /// A prefix ends at a version boundary: `gpt-4*` does not match `gpt-4.1` or `gpt-4o`.
    fn fits(&self, form: &str) -> bool {
        if self.is_prefix { is_version_of(form, &self.model) } else { form == &*self.model }
    }
}

fn model_entry(id: &str, rows: Vec<Row>) -> Result<ModelEntry, String> {
    if rows.iter().any(|row| row.rates.is_empty()) {
        return Err("a row has no rates".into());
    }
    let (variants, mut rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| !row.context.is_empty());
    if !rows.iter().any(|row| row.period == Period::default()) {
        return Err("give one row that is always valid, without from, window, days and when".into());
    }
    // Later rows take precedence: sort them by day, and on the same day put rows with a window last.
    rows.sort_by_key(|row| (row.period.from, row.period.window.is_some()));
    Ok(entry_of(id, rows, variants))
}

fn entry_of(id: &str, rows: Vec<Row>, variants: Vec<Row>) -> ModelEntry {
    ModelEntry {
        id: id.trim().into(),
        rule: Clause::Equals(id.into()),
        retired: false,
        least_seconds: 0,
        rows: rows.into(),
        variants: variants.into(),
    }
}

fn multiplier(text: &str) -> Result<i128, String> {
    let millionths =
        parse_scaled(text, MULTIPLIER_SCALE).map_err(|error| format!("{error}; write 1.2 for a markup of 20 %"))?;
    match millionths {
        ..0 => Err(format!("{text} is negative")),
        MAX_MULTIPLIER.. => Err(format!("{text} is not a plausible multiplier: write 1.2 for a markup of 20 %")),
        _ => Ok(millionths),
    }
}

fn typed_rates(raw: RawRates) -> Result<Rates, String> {
    let mut rates = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        let unit = Unit::from_name(&name).ok_or_else(|| unknown_unit(&name))?;
        let usual = usual_denominator(unit);
        let serde_json::Value::Object(mut fields) = value else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Err(match parse_scaled(&text, super::entry::RATE_SCALE) {
                Ok(_) => format!(".{name}: {text} has no denominator; write {{ {usual} = {text} }}"),
                Err(_) => format!(".{name}: {value} is not a rate; write {{ {usual} = 2.5 }}"),
            });
        };
        let above = fields.remove("above").unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::default()));
        let above = above
            .as_object()
            .ok_or_else(|| format!(".{name}.above: give rates by number of tokens, such as {{\"200000\": \"5\"}}"))?;
        let [(denominator, value)]: [_; 1] = fields
            .into_iter()
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| format!(".{name}: give one rate, such as {{ {usual} = 2.5 }}"))?;
        let read = |value: &serde_json::Value| {
            let text = value.as_str().ok_or_else(|| format!(".{name}: {value} is not a decimal number"))?;
            typed_rate(unit, &denominator, text).map_err(|rule| format!(".{name}: {rule}"))
        };
        let base = read(&value)?;
        let mut tiers = Vec::new();
        for (start, value) in above {
            let start = start.parse().map_err(|_| format!(".{name}.above: {start:?} is not a number of tokens"))?;
            tiers.push((start, read(value)?));
        }
        tiers.sort_unstable();
        rates.push((unit, Rate { base, tiers: tiers.into() }));
    }
    Ok(Rates::ordered(rates))
}

/// The error for the name of an unknown unit, with similar names, or with what other price tables call so.
fn unknown_unit(name: &str) -> String {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let per = if has(&["per_token"]) { "per_token" } else { "per_1m" };
    let meant = if has(&["cache_creation", "cache_write"]) {
        Some("cache_write_tokens")
    } else if has(&["cache"]) {
        Some("cache_read_tokens")
    } else if has(&["input_cost", "input_mtok", "prompt"]) {
        Some("input_tokens")
    } else if has(&["output_cost", "output_mtok", "completion"]) {
        Some("output_tokens")
    } else {
        None
    };
    let stem = name.trim_end_matches("_tokens").trim_end_matches('s');
    let near: Vec<_> =
        Unit::all().map(Unit::name).filter(|unit| !stem.is_empty() && unit.contains(stem)).take(3).collect();
    let hint = match meant {
        Some(unit) if near.is_empty() => format!("write {unit} = {{ {per} = … }}"),
        _ if near.is_empty() => "taximeter.UNITS lists them".to_owned(),
        _ => format!("such as {}", near.join(", ")),
    };
    format!("{name:?} is not a unit of usage; {hint}")
}

/// The usual way to state the rate of a unit, such as `per_1m` for tokens.
#[must_use]
pub fn usual_denominator(unit: Unit) -> &'static str {
    denominators(unit)[0].0
}

/// The ways to state the rate of a unit: the name, and for how many of the unit it is.
fn denominators(unit: Unit) -> &'static [(&'static str, u64)] {
    match unit.dimensions().next() {
        Some("tokens") => &[("per_1m", 1_000_000), ("per_1k", 1_000), ("per_token", 1)],
        Some("characters") => &[("per_1m", 1_000_000), ("per_1k", 1_000), ("per_character", 1)],
        Some("durations") => &[("per_second", 1), ("per_minute", 60), ("per_hour", 3_600)],
        Some("pixels") => &[("per_1m", 1_000_000), ("per_pixel", 1)],
        Some("document_pages") => &[("per_page", 1), ("per_1k", 1_000)],
        Some("images") => &[("per_image", 1), ("per_1k", 1_000)],
        Some("messages") => &[("per_message", 1), ("per_1k", 1_000)],
        Some("requests") => &[("per_request", 1), ("per_1k", 1_000)],
        _ if unit.name() == "code_executions" => &[("per_execution", 1), ("per_1k", 1_000)],
        _ => &[("per_search", 1), ("per_1k", 1_000)],
    }
}

fn typed_rate(unit: Unit, denominator: &str, text: &str) -> Result<Amount, String> {
    let known = denominators(unit);
    let (_, per) = known.iter().find(|(name, _)| *name == denominator).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        format!("{denominator:?} is not a valid denominator; use {}", names.join(", "))
    })?;
    let stated = rate(text)?.0;
    let too_large = || format!("${text} {denominator} is more than $10,000 {}: is the unit right?", known[0].0);
    let converted = stated.checked_mul(i128::from(unit.per() / per)).ok_or_else(too_large)?;
    // The limit is per million for units with rates per million, and per one for the others.
    let capped_per = if known[0].0 == "per_1m" { 1_000_000 } else { 1 };
    let largest = MAX_RATE.saturating_mul(i128::from(unit.per())) / capped_per;
    if converted > largest { Err(too_large()) } else { Ok(Amount(converted)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(rules: &str) -> String {
        Overrides::parse(rules).unwrap_err().to_string()
    }

    fn rate_of(rules: &Overrides, unit: &str) -> i128 {
        let unit = Unit::from_name(unit).unwrap();
        rules.entry(0).rows[0].rates.iter().find(|(own, _)| *own == unit).unwrap().1.base.0
    }

    #[test]
    fn r28_rates_in_different_units_are_converted() {
        let one = 10_i128.pow(18);
        for (unit, stated, rate) in [
            ("input_tokens", r#"{"per_1m":"2.5"}"#, one * 5 / 2),
            ("input_tokens", r#"{"per_1k":"0.0025"}"#, one * 5 / 2),
            ("input_tokens", r#"{"per_token":"0.0000025"}"#, one * 5 / 2),
            ("web_searches", r#"{"per_search":"0.01"}"#, one * 10),
            ("output_images", r#"{"per_image":"0.04"}"#, one * 40),
            ("audio_seconds", r#"{"per_second":"0.0001"}"#, one * 36 / 100),
            ("audio_seconds", r#"{"per_minute":"0.006"}"#, one * 36 / 100),
            ("audio_seconds", r#"{"per_hour":"0.36"}"#, one * 36 / 100),
        ] {
            let rules = Overrides::parse(&format!(r#"{{"rates":{{"m":{{"{unit}":{stated}}}}}}}"#)).unwrap();
            assert_eq!(rate_of(&rules, unit), rate, "{unit} {stated}");
        }
    }

    #[test]
    fn r28_invalid_rules_are_rejected_with_their_name_and_the_reason() {
        let rate = |unit: &str, rate: &str| rejection(&format!(r#"{{"rates":{{"openai/m":{{"{unit}":{rate}}}}}}}"#));
        for (text, reason) in [
            (rate("input_tokens", r#"{"per_1m":"-1"}"#), "rates.\"openai/m\".input_tokens: the rate -1 is negative"),
            (rate("input_tokens", r#"{"per_1m":"NaN"}"#), "not a decimal number"),
            (rate("input_tokens", r#"{"per_1m":"10000.01"}"#), "more than $10,000 per_1m"),
            (rate("input_tokens", r#"{"per_token":"3"}"#), "more than $10,000 per_1m"),
            (rate("input_tokens", r#"{"per_second":"3"}"#), "use per_1m, per_1k, per_token"),
            (rate("input_tokens", r#"{"per_1m":"1","per_1k":"1"}"#), "give one rate"),
            (rate("input_tokens", r#"{"per_1m":2}"#), "2 is not a decimal number"),
            (
                rate("input_tokens", "\"2.5\""),
                "rates.\"openai/m\".input_tokens: 2.5 has no denominator; write { per_1m = 2.5 }",
            ),
            (rate("web_searches", "0.01"), "0.01 has no denominator; write { per_search = 0.01 }"),
            (rate("base", "\"openai\""), "rates.\"openai/m\".base: \"openai\" is not \"catalog\""),
            (rate("input", r#"{"per_1m":"1"}"#), "such as input_tokens"),
            (rejection(r#"{"rates":{"gpt-4o":"2"}}"#), "rates.gpt-4o: \"2\" is not a mapping of rates"),
            (rate("bananas", r#"{"per_1m":"1"}"#), "\"bananas\" is not a unit"),
            (rate("web_searches", r#"{"per_search":"10001"}"#), "more than $10,000 per_search"),
            (rejection(r#"{"multipliers":{"*":"-1"}}"#), "multipliers.\"*\": -1 is negative"),
            (rejection(r#"{"multipliers":{"*":"5000"}}"#), "markup of 20 %"),
            (rejection(r#"{"aliases":{"x":" "}}"#), "aliases.x: does not name another model"),
            (rejection(r#"{"aliases":{"x":"X"}}"#), "aliases.x: does not name another model"),
            (rejection(r#"{"multipliers":{"":"1"}}"#), "a key must name a model"),
            (rejection(r#"{"rates":{"m":{}}}"#), "a row has no rates"),
            (rejection(r#"{"rates":{"m":[]}}"#), "one row that is always valid"),
            (
                rejection(r#"{"rates":{"m":[{"from":"2099-01-01","rates":{"requests":{"per_1k":"1"}}}]}}"#),
                "one row that is always valid",
            ),
            (
                rejection(r#"{"rates":{"m":[{"days":[],"rates":{"requests":{"per_1k":"1"}}}]}}"#),
                "days: name at least one",
            ),
            (
                rejection(r#"{"rates":{"m":[{"window":["1:00","1:00"],"rates":{"requests":{"per_1k":"1"}}}]}}"#),
                "1:00 to 1:00 is empty",
            ),
            (rate("input_tokens", r#"{"per_1m":"1","above":"200000"}"#), ".above: give rates by number of tokens"),
            (rate("input_tokens", r#"{"per_1m":"1","above":{"many":"2"}}"#), "\"many\" is not a number of tokens"),
            (rejection(r#"{"rate":{}}"#), "rate"),
        ] {
            assert!(text.contains(reason), "{text}");
        }
        let at_the_cap = r#"{"rates":{"m":{"input_tokens":{"per_1m":"10000"}}}}"#;
        assert!(Overrides::parse(at_the_cap).is_ok());
    }

    #[test]
    fn r21_a_prefix_ends_at_a_version_boundary() {
        let rules =
            Overrides::parse(r#"{"multipliers":{"openai/gpt-4*":"2","openai/*":"3","gpt-4-turbo":"4"}}"#).unwrap();
        let found = |provider, reference| {
            rules.multiplier_for(provider, reference).map(|index| rules.multiplier(index).millionths / 1_000_000)
        };
        assert_eq!(found(Some("openai"), "gpt-4"), Some(2));
        assert_eq!(found(Some("openai"), "gpt-4-32k"), Some(2));
        for other in ["gpt-4o", "gpt-4.1", "gpt-45"] {
            assert_eq!(found(Some("openai"), other), Some(3), "{other}");
        }
        assert_eq!(found(Some("openai"), "gpt-4-turbo"), Some(4));
        assert_eq!(found(Some("azure"), "gpt-4-turbo-2024-04-09"), Some(4));
        assert_eq!(found(Some("azure"), "gpt-4"), None);
        // A gateway's name for the model is not a call to the model's maker.
        assert_eq!(found(Some("openrouter"), "openai/o3"), None);
        assert_eq!(found(None, "openai/o3"), Some(3));
    }
}
