//! Rebuilds the state after a reboot, from what the ledger has of each budget and from the checkpoint.
//!
//! For each key and period the larger figure counts: the ledger lacks calls without an event, the checkpoint those of the last minute.

use std::collections::HashMap;

use super::checkpoint::Saved;
use super::definition::{Rule, Unit, Unpriced};
use super::gate::Used;
use super::matching::{key_of, split_key};
use super::slot::{Counts, Period};
use super::stored::Rules;
use super::window::{begin, number};

/// What the ledger has of a budget, a key and a period.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The name of the budget.
    pub budget: String,
    /// The values of its key.
    pub values: Vec<String>,
    /// The start of the period, or of a part of a rolling one.
    pub period: i64,
    /// Calls that were charged.
    pub calls: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// The known cost in units of 10⁻²⁴ USD.
    pub usd: i128,
    /// Calls whose price is unknown.
    pub unpriced: u64,
}

/// Reads what was spent of these budgets since these times.
pub type Recover = Box<dyn Fn(&[(String, i64)]) -> Vec<Spent> + Send + Sync>;

/// The period to which the ledger adds a call, and the first period that is worth keeping; `None` for a call before the first
/// boundary, whose period is not known.
pub(super) fn ledger_period(rule: &Rule, time: i64) -> Option<(i64, i64)> {
    match rule.definition.period.at(time) {
        Period::Fixed { start, .. } => (start >= rule.definition.period.known_from()).then_some((start, i64::MIN)),
        Period::Rolling { seconds } => {
            // Twice the length, because events can come late.
            Some((begin(seconds, number(seconds, time)), begin(seconds, number(seconds, time - 2 * seconds))))
        }
    }
}

/// The first period of each budget that still counts.
pub(super) fn needed(rules: &Rules, now: i64) -> Vec<(String, i64)> {
    let from = |rule: &Rule| match rule.definition.period.at(now) {
        Period::Fixed { start, .. } => start,
        Period::Rolling { seconds } => begin(seconds, number(seconds, now - seconds)),
    };
    rules.all.iter().map(|rule| (rule.definition.name.clone(), from(rule))).collect()
}

/// The counts to restore.
pub(super) fn restored(rules: &Rules, spent: Vec<Spent>, saved: Vec<Saved>, now: i64) -> Vec<Used> {
    // By key and start of the period, or of its part.
    let mut all: HashMap<(Vec<u8>, i64), (Period, Counts)> = HashMap::new();
    let mut add = |key: Vec<u8>, start: i64, period: Period, counts: Counts| {
        let known = &mut all.entry((key, start)).or_insert((period, Counts::default())).1;
        known.used = known.used.max(counts.used);
        known.calls = known.calls.max(counts.calls);
        known.unpriced = known.unpriced.max(counts.unpriced);
    };
    let rule_of = |name: &str| rules.all.iter().find(|rule| rule.definition.name == name);
    for one in spent {
        let Some(rule) = rule_of(&one.budget) else { continue };
        let charged = match rule.unpriced {
            Unpriced::Charge(amount) => amount.saturating_mul(one.unpriced.into()),
            Unpriced::Allow | Unpriced::Block => 0,
        };
        let used = match rule.definition.unit {
            Unit::Usd => one.usd.saturating_add(charged),
            Unit::Tokens => one.tokens.into(),
            Unit::Calls => one.calls.into(),
        };
        let key = key_of(&one.budget, one.values.iter().map(String::as_str)).to_vec();
        let counts = Counts { used, held: 0, calls: one.calls, unpriced: one.unpriced };
        add(key, one.period, rule.definition.period.at(now), counts);
    }
    for one in saved {
        let Some(rule) = split_key(&one.key).and_then(|(name, _)| rule_of(name)) else { continue };
        match rule.definition.period.at(now) {
            Period::Fixed { start, .. } if one.buckets.is_empty() && one.period == start => {
                let counts = Counts { used: one.used, held: 0, calls: one.calls, unpriced: one.unpriced };
                add(one.key, start, rule.definition.period.at(now), counts);
            }
            Period::Fixed { .. } => {}
            Period::Rolling { seconds } => {
                // The calls are those of all parts. The newest one gets them.
                let newest = one.buckets.iter().map(|(bucket, _)| *bucket).max();
                for (bucket, used) in one.buckets {
                    let is_newest = Some(bucket) == newest;
                    let (calls, unpriced) = if is_newest { (one.calls, one.unpriced) } else { (0, 0) };
                    let counts = Counts { used, held: 0, calls, unpriced };
                    add(one.key.clone(), begin(seconds, bucket), Period::Rolling { seconds }, counts);
                }
            }
        }
    }
    let is_current = |period: Period, start: i64| match period {
        Period::Fixed { start: current, .. } => start == current,
        Period::Rolling { seconds } => start > now - seconds - seconds / 16 && start <= now,
    };
    (all.into_iter())
        .filter(|((_, start), (period, _))| is_current(*period, *start))
        .map(|((key, at), (period, counts))| Used { key: key.into(), period, counts, at })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::budget::definition::parse;

    #[test]
    fn the_larger_figure_of_the_current_period_counts() {
        let text = r#"[{"name":"day","unit":"calls","amount":"9","period":{"kind":"calendar","boundaries":[0,100,200]},"by":["team"]},
            {"name":"hour","unit":"tokens","amount":"9","period":{"kind":"rolling","seconds":3200}}]"#;
        let all = parse(text).unwrap().into_iter().map(|one| Arc::new(Rule::new(one).unwrap())).collect();
        let rules = Rules { generation: 1, all };
        let spent = |budget: &str, values: &[&str], period, calls| Spent {
            budget: budget.into(),
            values: values.iter().map(|value| (*value).into()).collect(),
            period,
            calls,
            tokens: calls * 10,
            usd: 0,
            unpriced: 0,
        };
        let now = 10_150;
        assert_eq!(needed(&rules, now), [("day".into(), 10_100), ("hour".into(), 6_900)]);
        let of_ledger = vec![
            spent("day", &["a"], 10_100, 3),
            spent("day", &["a"], 10_000, 8),
            spent("hour", &[], 10_000, 1),
            spent("hour", &[], 5_000, 1),
        ];
        let key = |values: &[&str]| key_of("day", values.iter().copied()).to_vec();
        let saved = |key, period, used, buckets| Saved { key, period, used, calls: 1, unpriced: 0, buckets };
        let of_checkpoint = vec![
            saved(key(&["a"]), 10_100, 2, vec![]),
            saved(key(&["b"]), 10_100, 2, vec![]),
            saved(key(&["c"]), 10_000, 2, vec![]),
            saved(key_of("hour", []).to_vec(), 0, 99, vec![(100, 12), (101, 5), (7, 4)]),
        ];
        let mut found: Vec<_> = restored(&rules, of_ledger, of_checkpoint, now)
            .into_iter()
            .map(|one| (split_key(&one.key).unwrap().1.join("/"), one.at, one.counts.used))
            .collect();
        found.sort();
        assert_eq!(
            found,
            [(String::new(), 10_000, 12), (String::new(), 10_100, 5), ("a".into(), 10_100, 3), ("b".into(), 10_100, 2)]
        );
    }
}
