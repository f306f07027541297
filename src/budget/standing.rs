//! The used amount of each budget, for display.

use std::sync::Arc;

use siphasher::sip128::SipHasher24;

use super::budgets::Budgets;
use super::crossing::Crossing;
use super::error::Unavailable;
use super::matching::{Facts, Match, key_of, split_key};
use super::slot::{Counts, Period};
use crate::sys::clock::unix_seconds;

/// The used amount of a budget by one key.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The budget and the key.
    pub budget: Match,
    /// The counts.
    pub counts: Counts,
}

/// A crossed threshold.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// The standing at that moment. What was held is not known.
    pub standing: Standing,
    /// The threshold, as the definition has it.
    pub threshold: String,
    /// The same in every process that tells of this threshold, key and period.
    pub id: u128,
    /// What [`Budgets::reported`] takes once it is reported.
    pub record: Option<usize>,
}

impl Budgets {
    /// The standings of the budgets that a call with these values would count for.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn standings(&self, facts: &Facts<'_>) -> Result<Vec<Standing>, Unavailable> {
        let matches = self.matching(facts, unix_seconds());
        let all = matches.into_iter().map(|budget| {
            let counts = self.gate().counts(&budget.key, budget.period)?;
            Ok(Standing { budget, counts })
        });
        all.collect()
    }

    /// The standings of all keys of all budgets. Keys whose period is over are left out, and so are keys of budgets that were removed.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn all_standings(&self) -> Result<Vec<Standing>, Unavailable> {
        let rules = self.rules();
        let time = unix_seconds();
        let counts_of = |key: &[u8]| {
            let (name, _) = split_key(key)?;
            let rule = rules.all.iter().find(|rule| rule.definition.name == name)?;
            Some(Match::new(rule, key.into(), time))
        };
        let keys: Vec<Match> = self.gate().keys()?.iter().filter_map(|key| counts_of(key)).collect();
        let counters: Vec<(&[u8], Period)> = keys.iter().map(|one| (&*one.key, one.period)).collect();
        let counts = self.gate().counts_of(&counters)?;
        let all = keys.into_iter().zip(counts).map(|(budget, counts)| Standing { budget, counts });
        let is_used = |counts: &Counts| (counts.used, counts.held, counts.calls) != (0, 0, 0);
        let mut all: Vec<Standing> = all.filter(|one| is_used(&one.counts)).collect();
        all.sort_by(|one, other| one.budget.key.cmp(&other.budget.key));
        Ok(all)
    }

    /// Sets the counts of one key of a budget to zero, or those of all its keys. Returns how many keys.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn reset(&self, name: &str, values: Option<&[String]>) -> Result<usize, Unavailable> {
        let keys: Vec<Vec<u8>> = match values {
            Some(values) => vec![key_of(name, values.iter().map(String::as_str)).to_vec()],
            None => (self.gate().keys()?.into_iter())
                .filter(|key| split_key(key).is_some_and(|(budget, _)| budget == name))
                .collect(),
        };
        let mut count = 0;
        for key in keys {
            count += usize::from(self.gate().reset(&key)?);
        }
        // Without it, the counts of the last copy would be restored after a reboot.
        self.checkpoint()?;
        Ok(count)
    }

    /// The thresholds of a crossing.
    #[must_use]
    pub fn crossed(&self, crossing: &Crossing) -> Vec<Crossed> {
        let rules = self.rules();
        let Some((name, _)) = split_key(&crossing.key) else { return Vec::new() };
        let Some(rule) = rules.all.iter().find(|rule| rule.definition.name == name) else { return Vec::new() };
        let mut budget = Match::new(rule, crossing.key[..].into(), unix_seconds());
        budget.period = crossing.period;
        let standing = Standing { budget, counts: Counts { used: crossing.used, ..Counts::default() } };
        (rule.definition.warn_at.iter().enumerate())
            .filter(|(index, _)| crossing.bits >> index & 1 == 1)
            .map(|(_, threshold)| Crossed {
                standing: standing.clone(),
                threshold: threshold.clone(),
                id: id_of(crossing, threshold),
                record: crossing.record,
            })
            .collect()
    }

    /// The first time in seconds since the Unix epoch at which the boundaries of a budget's periods are no longer known.
    #[must_use]
    pub fn boundaries_until(&self) -> Option<i64> {
        self.rules().all.iter().filter_map(|rule| rule.definition.period.known_until()).min()
    }
}

/// A hash of what a threshold is about.
fn id_of(crossing: &Crossing, threshold: &str) -> u128 {
    let period = match crossing.period {
        Period::Fixed { start, .. } => start,
        // A rolling budget crosses a threshold again when its window has passed.
        Period::Rolling { seconds } => crossing.at.div_euclid(seconds),
    };
    let mut text = crossing.key.to_vec();
    text.extend_from_slice(&period.to_le_bytes());
    text.extend_from_slice(threshold.as_bytes());
    SipHasher24::new().hash(&text).as_u128()
}

/// A budget with a key, for messages.
impl Standing {
    /// The name of the budget.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.budget.rule.definition.name
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &Arc<super::definition::Rule> {
        &self.budget.rule
    }
}
