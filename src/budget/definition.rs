//! Definitions of budgets, as Python hands them over and `definitions.json` keeps them.
//!
//! Amounts are decimal texts. The texts are checked once, when a [`Rule`] is made of a definition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::period::Calendar;
use crate::money::{AmountError, SCALE, parse_scaled};

/// The most budgets that one call can count for: the redo log has room for them.
pub(super) const MAX_MATCHES: usize = 16;
/// The most thresholds: each has a bit.
const MAX_THRESHOLDS: usize = 64;
const MAX_NAME: usize = 64;
/// The decimals of thresholds and shares.
const PARTS: u32 = 9;
const ONE: i128 = 1_000_000_000;

/// Why a definition is invalid. The message names budget, field and rule.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct DefinitionError(pub String);

/// A budget, in texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Unique in the state directory.
    pub name: String,
    /// The unit: dollars, tokens or calls.
    pub unit: Unit,
    /// The most that may be used in a period.
    pub amount: String,
    /// Other amounts for some keys: pairs of a key or a prefix with `*`, and an amount.
    #[serde(default)]
    pub limits: Vec<(String, String)>,
    /// The periods.
    pub period: Calendar,
    /// What the boundaries of the periods were computed from.
    #[serde(default)]
    pub period_source: serde_json::Value,
    /// The dimensions that have a counter each.
    #[serde(default)]
    pub by: Vec<String>,
    /// What to do with a call that lacks a value of `by`.
    #[serde(default)]
    pub absent: Absent,
    /// The values that a call has to have.
    #[serde(default, rename = "where")]
    pub only: BTreeMap<String, Vec<String>>,
    /// What to do with a call that does not fit.
    #[serde(default)]
    pub action: Action,
    /// Which calls fit.
    #[serde(default)]
    pub admit: Admit,
    /// How the output is estimated.
    #[serde(default)]
    pub estimate: Estimate,
    /// `allow`, `block`, or an amount that a call without a price is charged.
    #[serde(default = "allow")]
    pub unpriced: String,
    /// What to do if the state cannot be used.
    #[serde(default)]
    pub unavailable: Unavailability,
    /// What a call is charged that ended without a response.
    #[serde(default = "input")]
    pub cancelled: WithoutEnd,
    /// What a call is charged whose process was killed.
    #[serde(default = "release")]
    pub crashed: WithoutEnd,
    /// After how many seconds a call in flight no longer holds its estimate.
    #[serde(default = "hold_timeout")]
    pub hold_timeout: u32,
    /// Shares of the amount at which a threshold is crossed.
    #[serde(default)]
    pub warn_at: Vec<String>,
    /// The part of the amount that this host may use.
    #[serde(default)]
    pub share: Option<String>,
    /// Where crossed thresholds are reported.
    #[serde(default)]
    pub webhook: Option<String>,
    /// Whether a stream is closed once it has used up what was left.
    #[serde(default)]
    pub cut: bool,
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { #[default] $($(#[$variant_doc])* $variant),+ }
    };
}

choices! {
    /// What a budget counts.
    Unit {
        /// Cost in units of 10⁻²⁴ USD.
        Usd,
        /// Input and output tokens.
        Tokens,
        /// Calls.
        Calls,
    }
}
choices! {
    /// What a call without a value of `by` counts for.
    Absent {
        /// The key with an empty value.
        Count,
        /// No key.
        Skip,
        /// It is refused.
        Block,
    }
}
choices! {
    /// What happens to a call that does not fit.
    Action {
        /// It is refused.
        Block,
        /// It is counted.
        Warn,
    }
}
choices! {
    /// Which calls fit.
    Admit {
        /// Those whose estimate fits.
        Fits,
        /// All, while there is any room.
        Room,
    }
}
choices! {
    /// How the output is estimated.
    Estimate {
        /// The request's limit.
        Max,
        /// Twice what 95 of 100 recent calls have used, if that is less.
        Typical,
    }
}
choices! {
    /// What happens to calls while the state cannot be used.
    Unavailability {
        /// They are admitted, and counted once it can.
        Allow,
        /// They are refused.
        Block,
    }
}
choices! {
    /// What a call without an end is charged.
    WithoutEnd {
        /// The input's part of the estimate.
        Input,
        /// Nothing.
        Release,
    }
}

fn allow() -> String {
    "allow".to_owned()
}

fn input() -> WithoutEnd {
    WithoutEnd::Input
}

fn release() -> WithoutEnd {
    WithoutEnd::Release
}

fn hold_timeout() -> u32 {
    900
}

impl Definition {
    /// Whether the other definition counts the same calls in the same periods, so that its counts can be kept.
    #[must_use]
    pub fn has_scope_of(&self, other: &Self) -> bool {
        (self.unit, &self.by, &self.only, self.absent, self.period.kind(), &self.period_source)
            == (other.unit, &other.by, &other.only, other.absent, other.period.kind(), &other.period_source)
    }
}

/// Reads a JSON list of definitions.
///
/// # Errors
/// If the text or a definition is invalid.
pub(super) fn parse(text: &str) -> Result<Vec<Definition>, DefinitionError> {
    serde_json::from_str(text).map_err(|error| DefinitionError(format!("budgets: {error}")))
}

/// A dimension of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dimension {
    /// The index of the attribution's field: agent, feature, team, customer, user, session.
    Field(usize),
    Provider,
    Model,
    Tag(Box<str>),
}

const FIELDS: [&str; 6] = ["agent", "feature", "team", "customer", "user", "session"];

impl Dimension {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "provider" => Some(Self::Provider),
            "model" => Some(Self::Model),
            _ => match name.strip_prefix("tag:") {
                Some("") => None,
                Some(key) => Some(Self::Tag(key.into())),
                None => FIELDS.iter().position(|field| *field == name).map(Self::Field),
            },
        }
    }
}

/// A text or a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Exact(Box<str>),
    Prefix(Box<str>),
}

impl Pattern {
    fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    pub(super) fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == &**text,
            Self::Prefix(prefix) => value.starts_with(&**prefix),
        }
    }
}

/// What a call without a known price is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// Nothing. It is counted.
    Allow,
    /// It is refused.
    Block,
    /// This amount.
    Charge(i128),
}

/// A definition that was checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The definition.
    pub definition: Definition,
    /// What a call without a known price is charged.
    pub unpriced: Unpriced,
    amount: i128,
    limits: Vec<(Pattern, i128)>,
    pub(super) by: SmallVec<[Dimension; 2]>,
    pub(super) only: Vec<(Dimension, Vec<Pattern>)>,
    /// In parts of [`ONE`], with the index in `warn_at`.
    warn_at: SmallVec<[i128; 4]>,
}

impl Rule {
    /// Checks a definition.
    ///
    /// # Errors
    /// If a field is invalid. The message names the budget, the field and the rule.
    pub fn new(definition: Definition) -> Result<Self, DefinitionError> {
        let name = &definition.name;
        let invalid = |field: &str, rule: &str| DefinitionError(format!("budget {name:?}: {field} {rule}"));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
            return Err(invalid("name", "must be 1 to 64 of the characters a-z, 0-9, _ and -"));
        }
        definition.period.check().map_err(|rule| invalid("period", rule))?;
        let share = match &definition.share {
            None => ONE,
            Some(text) => part(text)
                .filter(|part| *part <= ONE)
                .ok_or_else(|| invalid("share", "must be above 0 and at most 1"))?,
        };
        let scale = if definition.unit == Unit::Usd { SCALE } else { 0 };
        let amount = |field: &str, text: &str| match parse_scaled(text, scale) {
            Ok(amount) if amount > 0 => Ok(times(amount, share).max(1)),
            Ok(_) => Err(invalid(field, "must be greater than 0")),
            Err(AmountError::TooPrecise(..)) if scale == 0 => Err(invalid(field, "must be a whole number")),
            Err(error) => Err(invalid(field, &error.to_string())),
        };
        let dimension = |field: &str, name: &str| {
            let rule = "is not one of agent, feature, team, customer, user, session, provider, model and tag:<key>";
            Dimension::parse(name).ok_or_else(|| invalid(field, &format!("{name:?} {rule}")))
        };
        let unpriced = match &*definition.unpriced {
            "allow" => Unpriced::Allow,
            "block" => Unpriced::Block,
            text => parse_scaled(text, SCALE)
                .ok()
                .filter(|amount| *amount > 0)
                .map(Unpriced::Charge)
                .ok_or_else(|| invalid("unpriced", "must be allow, block or an amount"))?,
        };
        let mut limits = (definition.limits.iter())
            .map(|(key, text)| Ok((Pattern::parse(key), amount(&format!("limits: {key:?}"), text)?)))
            .collect::<Result<Vec<_>, _>>()?;
        // Exact keys first, then the longest prefix.
        limits.sort_by_key(|(pattern, _)| match pattern {
            Pattern::Exact(_) => (0, 0),
            Pattern::Prefix(prefix) => (1, usize::MAX - prefix.len()),
        });
        let only = (definition.only.iter())
            .map(|(name, values)| {
                Ok((dimension("where", name)?, values.iter().map(|value| Pattern::parse(value)).collect()))
            })
            .collect::<Result<_, _>>()?;
        if definition.warn_at.len() > MAX_THRESHOLDS {
            return Err(invalid("warn_at", "has more than 64 thresholds"));
        }
        if definition.hold_timeout == 0 {
            return Err(invalid("hold_timeout", "must be at least 1 second"));
        }
        Ok(Self {
            unpriced,
            amount: amount("amount", &definition.amount)?,
            limits,
            by: definition.by.iter().map(|name| dimension("by", name)).collect::<Result<_, _>>()?,
            only,
            warn_at: (definition.warn_at.iter())
                .map(|text| part(text).ok_or_else(|| invalid("warn_at", &format!("{text:?} is not a decimal above 0"))))
                .collect::<Result<_, _>>()?,
            definition,
        })
    }

    /// The most that a key may use. `key` is its values, joined by `/`.
    pub(super) fn amount(&self, key: &str) -> i128 {
        self.limits.iter().find(|(pattern, _)| pattern.is_match(key)).map_or(self.amount, |(_, amount)| *amount)
    }

    /// Whether keys have amounts of their own.
    pub(super) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The amounts at which the thresholds of a key with this amount are crossed.
    pub(super) fn thresholds(&self, amount: i128) -> SmallVec<[i128; 4]> {
        self.warn_at.iter().map(|part| times(amount, *part).max(1)).collect()
    }
}

/// Reads a part in units of 10⁻⁹; `None` if it is not above 0 or has more decimals.
fn part(text: &str) -> Option<i128> {
    parse_scaled(text, PARTS).ok().filter(|part| *part > 0 && *part < 1_000 * ONE)
}

/// An amount times a part, rounded down.
fn times(amount: i128, part: i128) -> i128 {
    // Splitting the amount keeps the product within 128 bits.
    (amount / ONE).saturating_mul(part).saturating_add(amount % ONE * part / ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(change: impl FnOnce(&mut serde_json::Value)) -> Result<Rule, DefinitionError> {
        let mut value = serde_json::json!({"name": "day", "unit": "usd", "amount": "10", "period": {"kind": "total"}});
        change(&mut value);
        let mut all = parse(&format!("[{value}]"))?;
        Rule::new(all.remove(0))
    }

    #[test]
    fn an_invalid_definition_is_rejected_with_its_field() {
        for (field, value, message) in [
            ("name", "Day", "budget \"Day\": name must be"),
            ("amount", "0", "amount must be greater than 0"),
            ("amount", "1e3", "amount \"1e3\" is not a decimal number"),
            ("unpriced", "never", "unpriced must be"),
            ("share", "1.5", "share must be above 0"),
            ("unit", "eur", "unknown variant `eur`"),
            ("colour", "red", "unknown field `colour`"),
        ] {
            let error = definition(|all| all[field] = value.into()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = definition(|all| all["by"] = vec!["colour"].into()).unwrap_err().to_string();
        assert!(error.contains("by \"colour\" is not one of"), "{error}");
        let error = definition(|all| (all["unit"], all["amount"]) = ("calls".into(), "1.5".into())).unwrap_err();
        assert!(error.to_string().contains("amount must be a whole number"), "{error}");
    }

    #[test]
    fn a_key_has_the_amount_of_its_longest_match() {
        let rule = definition(|all| {
            all["limits"] = serde_json::json!([["trial-*", "1"], ["trial-big*", "2"], ["trial-bigger", "3"]]);
            all["share"] = "0.5".into();
        });
        let rule = rule.unwrap();
        let half_usd = 10_i128.pow(SCALE) / 2;
        for (key, halves) in [("trial-1", 1), ("trial-big2", 2), ("trial-bigger", 3), ("acme", 10)] {
            assert_eq!(rule.amount(key), halves * half_usd, "{key}");
        }
        assert_eq!(rule.thresholds(half_usd).len(), 0);
    }
}
