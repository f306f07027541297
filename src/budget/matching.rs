//! Which budgets a call counts for, and with which key.

use std::sync::Arc;

use smallvec::SmallVec;

use super::definition::{Absent, Dimension, MAX_MATCHES, Rule};
use super::slot::Period;
use crate::event::Attribution;
use crate::event::binary::add_layer;
use crate::event::limits::{MAX_TEXT, cut};

/// The values of a call's dimensions, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// The provider.
    pub provider: &'a str,
    /// The model that was requested, or that answered if no request is known.
    pub model: &'a str,
    /// The id of the model in the price catalog, which its snapshots share.
    pub entry: Option<&'a str>,
    /// Who to bill.
    pub attribution: Attribution<'a>,
}

impl<'a> Facts<'a> {
    /// Adds attributions from [`crate::event::binary::encode_attribution`], the outermost first, and that of the call itself.
    pub fn attribute(&mut self, layers: &[&'a [u8]], own: &Attribution<'a>) {
        for layer in layers {
            // What cannot be read was not written by this library.
            let _ = add_layer(&mut self.attribution, layer);
        }
        let all = &mut self.attribution;
        for (field, own) in [
            (&mut all.agent, own.agent),
            (&mut all.feature, own.feature),
            (&mut all.team, own.team),
            (&mut all.customer, own.customer),
            (&mut all.user, own.user),
            (&mut all.session, own.session),
        ] {
            *field = own.or(*field);
        }
        for (key, value) in &own.tags {
            match all.tags.iter_mut().find(|(known, _)| known == key) {
                Some(tag) => tag.1 = value,
                None => all.tags.push((key, value)),
            }
        }
    }

    fn value(&self, dimension: &Dimension) -> Option<&'a str> {
        let all = &self.attribution;
        let value = match dimension {
            Dimension::Field(index) => {
                [all.agent, all.feature, all.team, all.customer, all.user, all.session].get(*index).copied().flatten()
            }
            Dimension::Provider => Some(self.provider),
            Dimension::Model => Some(self.entry.unwrap_or(self.model)),
            Dimension::Tag(key) => all.tags.iter().find(|(known, _)| *known == &**key).map(|(_, value)| *value),
        };
        value.filter(|value| !value.is_empty())
    }
}

/// The key of a counter: the name of its budget and the values of its dimensions.
pub(super) type Key = SmallVec<[u8; 64]>;

/// Appends a text with its length.
fn put(key: &mut Key, text: &str) {
    key.extend_from_slice(&(text.len() as u16).to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// The key of a budget with these values.
pub(super) fn key_of<'v>(budget: &str, values: impl IntoIterator<Item = &'v str>) -> Key {
    let mut key = Key::new();
    put(&mut key, budget);
    for value in values {
        put(&mut key, &cut(value, MAX_TEXT));
    }
    key
}

/// The name of the budget and the values of a key; `None` if it is not one of [`key_of`].
pub(super) fn split_key(mut key: &[u8]) -> Option<(&str, Vec<&str>)> {
    let mut texts = Vec::with_capacity(2);
    while let [low, high, rest @ ..] = key {
        let (text, after) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        texts.push(std::str::from_utf8(text).ok()?);
        key = after;
    }
    let budget = (!texts.is_empty() && key.is_empty()).then(|| texts.remove(0))?;
    Some((budget, texts))
}

/// A budget that a call counts for.
#[derive(Clone, Debug)]
pub struct Match {
    /// The budget.
    pub rule: Arc<Rule>,
    pub(super) key: Key,
    /// The period of the call.
    pub period: Period,
    /// The most that the key may use in it.
    pub amount: i128,
    pub(super) thresholds: SmallVec<[i128; 4]>,
}

impl Match {
    /// The counter of a budget for a key.
    pub(super) fn new(rule: &Arc<Rule>, key: Key, time: i64) -> Self {
        let amount = if rule.has_limits() {
            let values = split_key(&key).map_or_else(Vec::new, |(_, values)| values);
            rule.amount(&values.join("/"))
        } else {
            rule.amount("")
        };
        let thresholds = rule.thresholds(amount);
        Self { rule: Arc::clone(rule), key, period: rule.definition.period.at(time), amount, thresholds }
    }

    /// The values of the key.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        split_key(&self.key).map_or_else(Vec::new, |(_, values)| values.into_iter().map(str::to_owned).collect())
    }
}

/// The budgets that a call counts for.
pub type Matches = SmallVec<[Match; 2]>;

/// Why a call counts for no budget, although it should.
#[derive(Clone, Debug)]
pub struct Lacking(pub Arc<Rule>);

/// The budgets that a call at this time counts for.
///
/// # Errors
/// The first budget that refuses the call, because the call has no value of one of its dimensions.
pub(super) fn matching(rules: &[Arc<Rule>], facts: &Facts<'_>, time: i64) -> Result<Matches, Lacking> {
    let mut all = Matches::new();
    match lacking(rules, facts, time, &mut all) {
        Some(rule) => Err(Lacking(rule)),
        None => Ok(all),
    }
}

/// The budgets that a call counts for which was made. It counts under the empty value where it has none, even if a budget would have
/// refused it.
pub(super) fn charged(rules: &[Arc<Rule>], facts: &Facts<'_>, time: i64) -> Matches {
    let mut all = Matches::new();
    lacking(rules, facts, time, &mut all);
    all
}

/// Whether a call is one of those that a budget is for.
fn is_for(rule: &Rule, facts: &Facts<'_>) -> bool {
    rule.only.iter().all(|(dimension, patterns)| {
        let is_match = |value: &str| patterns.iter().any(|pattern| pattern.is_match(value));
        facts.value(dimension).is_some_and(is_match) || (*dimension == Dimension::Model && is_match(facts.model))
    })
}

/// Whether a call counts for any budget, or is refused by one for the lack of a value.
pub(super) fn any(rules: &[Arc<Rule>], facts: &Facts<'_>) -> bool {
    rules.iter().any(|rule| {
        let is_skipped = || {
            rule.definition.absent == Absent::Skip && rule.by.iter().any(|dimension| facts.value(dimension).is_none())
        };
        is_for(rule, facts) && !is_skipped()
    })
}

/// Whether a budget looks at tags.
pub(super) fn look_at_tags(rules: &[Arc<Rule>]) -> bool {
    let is_tag = |dimension: &Dimension| matches!(dimension, Dimension::Tag(_));
    rules.iter().any(|rule| rule.by.iter().any(is_tag) || rule.only.iter().any(|(dimension, _)| is_tag(dimension)))
}

/// Adds the budgets that a call counts for. Returns the first one that would refuse it.
fn lacking(rules: &[Arc<Rule>], facts: &Facts<'_>, time: i64, all: &mut Matches) -> Option<Arc<Rule>> {
    let mut refusing = None;
    for rule in rules {
        if !is_for(rule, facts) {
            continue;
        }
        let values: SmallVec<[Option<&str>; 4]> = rule.by.iter().map(|dimension| facts.value(dimension)).collect();
        if values.iter().any(Option::is_none) {
            match rule.definition.absent {
                Absent::Count => {}
                Absent::Skip => continue,
                Absent::Block => {
                    refusing.get_or_insert_with(|| Arc::clone(rule));
                }
            }
        }
        let key = key_of(&rule.definition.name, values.into_iter().map(Option::unwrap_or_default));
        all.push(Match::new(rule, key, time));
        if all.len() == MAX_MATCHES {
            break;
        }
    }
    refusing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::definition::parse;

    fn rules(text: &str) -> Vec<Arc<Rule>> {
        parse(text).unwrap().into_iter().map(|one| Arc::new(Rule::new(one).unwrap())).collect()
    }

    fn facts(model: &'static str, entry: Option<&'static str>, customer: Option<&'static str>) -> Facts<'static> {
        let attribution = Attribution { customer, tags: vec![("env", "prod")], ..Attribution::default() };
        Facts { provider: "openai", model, entry, attribution }
    }

    #[test]
    fn a_call_counts_for_the_budgets_of_its_values() {
        let rules = rules(
            r#"[{"name":"all","unit":"usd","amount":"1","period":{"kind":"total"}},
                {"name":"each","unit":"usd","amount":"1","period":{"kind":"total"},"by":["customer","tag:env"]},
                {"name":"some","unit":"usd","amount":"1","period":{"kind":"total"},"by":["customer"],"absent":"skip",
                 "where":{"model":["gpt-4o","o3*"]}}]"#,
        );
        let found = |model, entry, customer| {
            let facts = facts(model, entry, customer);
            let all = matching(&rules, &facts, 0).unwrap();
            // Each budget alone says the same to a call that is only looked at.
            let alone: Vec<_> = rules.iter().filter(|rule| any(std::slice::from_ref(*rule), &facts)).collect();
            assert_eq!(alone.len(), all.len());
            all.iter().map(|one| (one.rule.definition.name.clone(), one.values().join("/"))).collect::<Vec<_>>()
        };
        let some = |values: &[(&str, &str)]| values.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<_>>();
        assert_eq!(found("gpt-5", None, Some("acme")), some(&[("all", ""), ("each", "acme/prod")]));
        assert_eq!(
            found("gpt-4o-2024-08-06", Some("gpt-4o"), Some("acme")),
            some(&[("all", ""), ("each", "acme/prod"), ("some", "acme")])
        );
        assert_eq!(found("o3-mini", None, None), some(&[("all", ""), ("each", "/prod")]));
    }

    #[test]
    fn a_call_without_a_value_is_refused_where_the_budget_says_so() {
        let text = r#"[{"name":"a","unit":"calls","amount":"1","period":{"kind":"total"},"by":["customer"],"absent":"block"}]"#;
        assert!(matching(&rules(text), &facts("m", None, None), 0).is_err());
        assert_eq!(charged(&rules(text), &facts("m", None, None), 0).len(), 1);
        assert_eq!(matching(&rules(text), &facts("m", None, Some("x")), 0).unwrap().len(), 1);
    }

    #[test]
    fn keys_split_into_what_they_were_made_of() {
        let long = "é".repeat(600);
        let key = key_of("day", ["a/b", "", &long]);
        let (budget, values) = split_key(&key).unwrap();
        assert_eq!((budget, values[0], values[1]), ("day", "a/b", ""));
        assert!(values[2].len() <= MAX_TEXT);
        assert_eq!(split_key(b"\x05\x00ab"), None);
        assert_eq!(split_key(b""), None);
    }
}
