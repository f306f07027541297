//! A catalog as JSON: the format of `data/catalog.json` and of downloaded catalogs.
//!
//! Rates are decimal texts, so that no reader rounds them. Unknown fields are rejected, not skipped, because they could change what a
//! call costs.

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::entry::{Amount, Entries, ModelEntry, Period, ProviderEntry, RATE_SCALE, Rate, Rates, Row, Window};
use super::matching::Clause;
use crate::event::Unit;
use crate::money::{SCALE, Usd, parse_scaled};

const SCHEMA: u32 = 1;
/// The most providers. Their positions are stored in 16 bits.
const MAX_PROVIDERS: usize = 10_000;
/// The most models: a hundred times as many as in 2026. Limits the memory that a hostile source can take.
const MAX_MODELS: usize = 250_000;
/// The most fallbacks of a provider. They are tried one by one.
const MAX_FALLBACKS: usize = 16;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// The window of a row that only states days, in seconds of the day.
const WHOLE_DAY: (u32, u32) = (0, 86_400);

/// Why a text is not a valid catalog.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum CatalogError {
    /// The text is not JSON in the catalog's form.
    #[error("the price catalog is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// This version cannot read the schema.
    #[error("the price catalog has schema {0}, but this version reads schema {SCHEMA}")]
    Schema(u32),
    /// There are too many providers or models.
    #[error("the price catalog has {0} providers or models; at most {MAX_PROVIDERS} and {MAX_MODELS} are allowed")]
    TooMany(usize),
    /// The currency is not US dollars.
    #[error("the price catalog is in {0:?}, but only USD is supported")]
    Currency(Box<str>),
    /// The day is invalid.
    #[error("the price catalog's as_of is {0:?}, not a day such as 2026-11-22")]
    Day(Box<str>),
}

#[derive(Deserialize)]
struct RawCatalog {
    schema: u32,
    source: Box<str>,
    version: Box<str>,
    #[serde(default)]
    as_of: Box<str>,
    #[serde(default)]
    currency: Option<Box<str>>,
    providers: Vec<RawProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    id: Box<str>,
    api: Box<str>,
    provider_match: Option<Clause>,
    model_match: Option<Clause>,
    fallback: Box<[Box<str>]>,
    models: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    id: Box<str>,
    #[serde(rename = "match")]
    rule: Clause,
    #[serde(default)]
    retired: bool,
    #[serde(default)]
    least_seconds: u32,
    prices: Box<[RawRow]>,
    #[serde(default)]
    variants: Box<[RawRow]>,
}

/// A row of rates, in a catalog and in an override.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRow<R = BTreeMap<Box<str>, RawRate>> {
    #[serde(default)]
    from: Option<Box<str>>,
    #[serde(default)]
    window: Option<(Box<str>, Box<str>)>,
    #[serde(default)]
    days: Option<Box<[Box<str>]>>,
    #[serde(default)]
    when: BTreeMap<Box<str>, Box<str>>,
    pub(super) rates: R,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawRate {
    Flat(Box<str>),
    Tiered(Vec<RawTier>),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawTier {
    Base(Box<str>),
    Above(u64, Box<str>),
}

impl Entries {
    /// Reads a catalog.
    ///
    /// # Errors
    /// If the text is not JSON in the catalog's form, or has another schema.
    pub(super) fn from_json(text: &str) -> Result<Self, CatalogError> {
        let raw: RawCatalog = serde_json::from_str(text)?;
        if raw.schema != SCHEMA {
            return Err(CatalogError::Schema(raw.schema));
        }
        if let Some(currency) = raw.currency.filter(|currency| &**currency != "USD") {
            return Err(CatalogError::Currency(currency));
        }
        if !raw.as_of.is_empty() && start_of_day(&raw.as_of).is_none() {
            return Err(CatalogError::Day(raw.as_of));
        }
        let models = raw.providers.iter().map(|provider| provider.models.len()).sum();
        for (count, most) in [(raw.providers.len(), MAX_PROVIDERS), (models, MAX_MODELS)] {
            if count > most {
                return Err(CatalogError::TooMany(count));
            }
        }
        let providers = raw.providers.into_iter().map(RawProvider::entry).collect::<Result<_, _>>()?;
        Ok(Self { name: format!("{}-{}", raw.source, raw.version).into(), as_of: raw.as_of, providers })
    }
}

/// Writes a catalog in the format that [`Entries::from_json`] reads. In `name`, the version begins after the first hyphen that is
/// followed by a digit or, if there is none, after the last hyphen.
pub(super) fn to_json<'a>(name: &str, as_of: &str, providers: impl Iterator<Item = &'a ProviderEntry>) -> Value {
    let is_start = |(at, _): &(usize, &str)| name[at + 1..].starts_with(|next: char| next.is_ascii_digit());
    let cut =
        name.match_indices('-').find(is_start).map(|(at, _)| at).or_else(|| name.rfind('-')).unwrap_or(name.len());
    let providers: Vec<_> = providers
        .map(|provider| {
            json!({
                "id": provider.id, "api": provider.api, "provider_match": provider.provider_match,
                "model_match": provider.model_match, "fallback": provider.fallback,
                "models": provider.models.iter().map(model_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"schema": SCHEMA, "source": &name[..cut], "version": name.get(cut + 1..).unwrap_or_default(), "as_of": as_of,
        "providers": providers})
}

fn model_json(model: &ModelEntry) -> Value {
    let mut entry = json!({"id": model.id, "match": model.rule, "prices": rows_json(&model.rows)});
    if model.retired {
        entry["retired"] = true.into();
    }
    if model.least_seconds > 0 {
        entry["least_seconds"] = model.least_seconds.into();
    }
    if !model.variants.is_empty() {
        entry["variants"] = rows_json(&model.variants);
    }
    entry
}

fn rows_json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let rates: Map<_, _> = row.rates.iter().map(|(unit, rate)| (unit.name().to_owned(), rate_json(rate))).collect();
        let mut found = json!({"rates": rates});
        if let Some(from) = row.period.from {
            let day = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(from)).to_string();
            found["from"] = day[..10].into();
        }
        if let Some(window) = row.period.window {
            let time = |second: u32| format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            if (window.start, window.end) != WHOLE_DAY {
                found["window"] = json!([time(window.start), time(window.end)]);
            }
            let days: Vec<_> = DAYS.iter().enumerate().filter(|(bit, _)| window.days >> bit & 1 == 1).collect();
            if days.len() < DAYS.len() {
                found["days"] = days.into_iter().map(|(_, day)| *day).collect();
            }
        }
        if !row.context.is_empty() {
            found["when"] = row.context.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect();
        }
        found
    };
    rows.iter().map(row).collect()
}

fn rate_json(rate: &Rate) -> Value {
    let text = |amount: Amount| Usd::from_units(amount.0 * 10_i128.pow(SCALE - RATE_SCALE)).to_string();
    if rate.tiers.is_empty() {
        return text(rate.base).into();
    }
    let tiers = rate.tiers.iter().map(|(start, amount)| json!([start, text(*amount)]));
    std::iter::once(Value::from(text(rate.base))).chain(tiers).collect()
}

impl RawProvider {
    fn entry(self) -> Result<ProviderEntry, serde_json::Error> {
        if self.fallback.len() > MAX_FALLBACKS {
            return Err(serde_json::Error::custom(format!("{}: more than {MAX_FALLBACKS} fallbacks", self.id)));
        }
        let named = |model: RawModel| {
            let id = model.id.clone();
            model.entry().map_err(|rule| serde_json::Error::custom(format!("{}/{id}: {rule}", self.id)))
        };
        let models = self.models.into_iter().map(named).collect::<Result<_, _>>()?;
        Ok(ProviderEntry {
            id: self.id,
            api: self.api,
            provider_match: self.provider_match,
            model_match: self.model_match,
            fallback: self.fallback,
            models,
        })
    }
}

impl RawModel {
    fn entry(self) -> Result<ModelEntry, String> {
        let rows = |rows: Box<[RawRow]>| rows.into_iter().map(|row| row.entry(catalog_rates)).collect::<Result<_, _>>();
        Ok(ModelEntry {
            id: self.id,
            rule: self.rule,
            retired: self.retired,
            least_seconds: self.least_seconds,
            rows: rows(self.prices)?,
            variants: rows(self.variants)?,
        })
    }
}

impl<R> RawRow<R> {
    /// Converts a row. `read` converts its rates. The error is the broken rule.
    pub(super) fn entry(self, read: impl FnOnce(R) -> Result<Rates, String>) -> Result<Row, String> {
        let from = self
            .from
            .map(|date| {
                start_of_day(&date).ok_or_else(|| format!("from: {date:?} is not a date; write \"2026-01-31\""))
            })
            .transpose()?;
        let mut window = match &self.window {
            None => self.days.as_ref().map(|_| Window::new(WHOLE_DAY.0, WHOLE_DAY.1)),
            Some((start, end)) => {
                let second = |text: &str| {
                    second_of_day(text).ok_or_else(|| format!("window: {text:?} is not a time of day; write \"16:30\""))
                };
                let window = Window::new(second(start)?, second(end)?);
                if window.start == window.end {
                    return Err(format!("window: {start} to {end} is empty"));
                }
                Some(window)
            }
        };
        if let (Some(window), Some(days)) = (&mut window, &self.days) {
            if days.is_empty() {
                return Err("days: name at least one".into());
            }
            window.days = 0;
            for day in days {
                window.days |= weekday(day).ok_or_else(|| format!("{day:?} is not one of mon, tue, …, sun"))?;
            }
        }
        let rates = read(self.rates)?;
        Ok(Row { period: Period { from, window }, context: self.when.into_iter().collect(), rates })
    }
}

fn catalog_rates(raw: BTreeMap<Box<str>, RawRate>) -> Result<Rates, String> {
    let mut rates = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        let unit = Unit::from_name(&name).ok_or_else(|| format!("{name:?} is not a unit"))?;
        let rate = |text: &str| rate(text).map_err(|rule| format!("{name}: {rule}"));
        let parsed = match value {
            RawRate::Flat(text) => Rate { base: rate(&text)?, tiers: Box::default() },
            RawRate::Tiered(parts) => {
                let (mut base, mut tiers) = (None, Vec::new());
                for part in &parts {
                    match part {
                        RawTier::Base(_) if base.is_some() => return Err(format!("{name}: two base rates")),
                        RawTier::Base(text) => base = Some(rate(text)?),
                        RawTier::Above(start, text) => tiers.push((*start, rate(text)?)),
                    }
                }
                tiers.sort_unstable();
                Rate { base: base.ok_or_else(|| format!("{name}: tiers without a base rate"))?, tiers: tiers.into() }
            }
        };
        rates.push((unit, parsed));
    }
    Ok(Rates::ordered(rates))
}

/// Reads a rate from a plain decimal.
pub(super) fn rate(text: &str) -> Result<Amount, String> {
    match parse_scaled(text, RATE_SCALE) {
        Ok(rate) if rate < 0 => Err(format!("the rate {text} is negative")),
        Ok(rate) => Ok(Amount(rate)),
        Err(error) => Err(error.to_string()),
    }
}

fn start_of_day(date: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs())
}

fn second_of_day(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    (hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none())
        .then_some(hours * 3600 + minutes * 60 + seconds)
}

/// The bit of a weekday. Monday is the lowest bit.
fn weekday(name: &str) -> Option<u8> {
    DAYS.iter().position(|day| name.eq_ignore_ascii_case(day)).map(|index| 1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(row: &str) -> String {
        format!(
            r#"{{"schema":1,"source":"s","version":"1","providers":[{{"id":"p","api":"","provider_match":null,
            "model_match":null,"fallback":[],"models":[{{"id":"m","match":{{"equals":"m"}},"prices":[{row}]}}]}}]}}"#
        )
    }

    #[test]
    fn malformed_catalogs_are_rejected_with_the_place_and_the_reason() {
        assert!(Entries::from_json(&text(r#"{"rates":{"input_tokens":"1"}}"#)).is_ok());
        for (row, reason) in [
            (r#"{"rates":{"input_tokens":"-1"}}"#, "p/m: input_tokens: the rate -1 is negative"),
            (r#"{"rates":{"input_tokens":"NaN"}}"#, "not a decimal"),
            (r#"{"rates":{"inputs":"1"}}"#, "\"inputs\" is not a unit"),
            (r#"{"rates":{"input_tokens":[[5,"1"]]}}"#, "without a base"),
            (r#"{"from":"2026-02-30","rates":{}}"#, "not a date"),
            (r#"{"window":["25:00:00","1:00:00"],"rates":{}}"#, "not a time of day"),
            (r#"{"days":["someday"],"rates":{}}"#, "\"someday\""),
            (r#"{"until":"2026-01-01","rates":{}}"#, "until"),
        ] {
            let error = Entries::from_json(&text(row)).unwrap_err().to_string();
            assert!(error.contains(reason), "{row}: {error}");
        }
        for (head, reason) in [(r#""currency":"EUR""#, "EUR"), (r#""as_of":"zzzz""#, "zzzz")] {
            let foreign = format!(r#"{{"schema":1,"source":"s","version":"1",{head},"providers":[]}}"#);
            assert!(Entries::from_json(&foreign).unwrap_err().to_string().contains(reason));
        }
        let other = r#"{"schema":9,"source":"","version":"","providers":[]}"#;
        assert!(matches!(Entries::from_json(other), Err(CatalogError::Schema(9))));
        assert!(Entries::from_json("{").is_err());
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Entries::from_json(&deep).is_err());
    }

    #[test]
    fn a_catalog_is_written_as_it_was_read() {
        for text in [include_str!("../../data/catalog.json"), include_str!("../../data/long_tail.json")] {
            let read = Entries::from_json(text).unwrap();
            let written = to_json(&read.name, &read.as_of, read.providers.iter());
            let given: Value = serde_json::from_str(text).unwrap();
            for part in ["providers", "source", "version", "as_of", "schema"] {
                assert_eq!(written[part], given[part], "{part}");
            }
        }
        let row =
            r#"{"from":"2026-01-01","window":["22:00:00","06:00:00"],"days":["mon","sun"],"rates":{"requests":"1"}}"#;
        let read = Entries::from_json(&text(row)).unwrap();
        let written = to_json(&read.name, &read.as_of, read.providers.iter());
        assert_eq!(written["providers"][0]["models"][0]["prices"][0], serde_json::from_str::<Value>(row).unwrap());
    }

    #[test]
    fn the_compiled_catalog_is_the_one_that_was_read() {
        let read = Entries::from_json(include_str!("../../data/catalog.json")).unwrap();
        let compiled = postcard::to_allocvec(&read).unwrap();
        assert_eq!(postcard::from_bytes::<Entries>(&compiled).unwrap(), read);
    }
}
