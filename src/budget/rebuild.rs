//! Rebuilds the state after a reboot, from what the ledger has of each budget and from the checkpoint.
//!
//! For each key and period the larger figure counts: that of the checkpoint, which lacks the calls of the last minute, or that of the
//! ledger with what the ledger cannot have, which is in the checkpoint too: calls without an event, and resets.

use std::collections::HashMap;

use super::checkpoint::Saved;
use super::definition::{Rule, Unit, Unpriced};
use super::gate::Used;
use super::matching::{key_of, split_key};
use super::reading::Counted;
use super::slot::{Counts, Period};
use super::stored::Rules;
use super::window::{begin, number};

/// The amounts in the ledger for a budget, a key and a period.
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

/// Reads what was spent of these budgets since these times; `None` if there is no ledger, or it cannot be read.
pub type Recover = Box<dyn Fn(&[(String, i64)]) -> Option<Vec<Spent>> + Send + Sync>;

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

/// The amounts in the ledger that still count, by key, with their times.
pub(super) fn counted(rules: &Rules, spent: Vec<Spent>, now: i64) -> HashMap<Vec<u8>, Counted> {
    let mut all: HashMap<Vec<u8>, Counted> = HashMap::new();
    for one in spent {
        let Some(rule) = rule_of(rules, &one.budget) else { continue };
        let charged = match rule.unpriced {
            Unpriced::Charge(amount) => amount.saturating_mul(one.unpriced.into()),
            Unpriced::Allow | Unpriced::Block => 0,
        };
        let used = match rule.definition.unit {
            Unit::Usd => one.usd.saturating_add(charged),
            Unit::Tokens => one.tokens.into(),
            Unit::Calls => one.calls.into(),
        };
        let period = rule.definition.period.at(now);
        if is_current(period, one.period, now) {
            let key = key_of(&one.budget, one.values.iter().map(String::as_str)).to_vec();
            let counts = Counts { used, held: 0, calls: one.calls, unpriced: one.unpriced };
            all.entry(key).or_insert_with(|| (period, Vec::new())).1.push((one.period, counts));
        }
    }
    all
}

fn rule_of<'a>(rules: &'a Rules, name: &str) -> Option<&'a Rule> {
    rules.all.iter().find(|rule| rule.definition.name == name).map(|rule| &**rule)
}

fn is_current(period: Period, start: i64, now: i64) -> bool {
    match period {
        Period::Fixed { start: current, .. } => start == current,
        Period::Rolling { seconds } => start > now - seconds - seconds / 16 && start <= now,
    }
}

/// The counts to restore.
pub(super) fn restored(rules: &Rules, spent: Vec<Spent>, saved: Vec<Saved>, now: i64) -> Vec<Used> {
    let mut all = counted(rules, spent, now);
    let mut restored = Vec::with_capacity(all.len());
    let larger = |one: &mut Counts, other: Counts| {
        one.used = one.used.max(other.used);
        one.calls = one.calls.max(other.calls);
        one.unpriced = one.unpriced.max(other.unpriced);
    };
    for one in saved {
        let Some(rule) = split_key(&one.key).and_then(|(name, _)| rule_of(rules, name)) else { continue };
        let period = rule.definition.period.at(now);
        let of_checkpoint = Counts { used: one.used, held: 0, calls: one.calls, unpriced: one.unpriced };
        match period {
            Period::Fixed { start, .. } if one.buckets.is_empty() && one.period == start => {
                let mut counts = Counts::default();
                for (_, of_ledger) in all.remove(&one.key).map(|(_, parts)| parts).unwrap_or_default() {
                    larger(&mut counts, of_ledger);
                }
                counts.used = counts.used.saturating_add(one.unrecorded).max(0);
                larger(&mut counts, of_checkpoint);
                let unrecorded = one.unrecorded;
                restored.push(Used { key: one.key.into(), period, counts, unrecorded, at: start });
            }
            Period::Fixed { .. } => {}
            Period::Rolling { seconds } => {
                let reset = i64::try_from(one.unrecorded).unwrap_or(0);
                let mut parts: HashMap<i64, Counts> =
                    all.remove(&one.key).into_iter().flat_map(|(_, parts)| parts).collect();
                parts.retain(|at, _| reset == 0 || number(seconds, *at) > number(seconds, reset));
                // The calls are those of all parts. The newest one gets them.
                let newest = one.buckets.iter().map(|(bucket, _)| *bucket).max();
                for (bucket, used) in one.buckets {
                    let is_newest = Some(bucket) == newest;
                    let (calls, unpriced) = if is_newest { (one.calls, one.unpriced) } else { (0, 0) };
                    let at = begin(seconds, bucket);
                    if is_current(period, at, now) {
                        larger(parts.entry(at).or_default(), Counts { used, held: 0, calls, unpriced });
                    }
                }
                restored.extend(parts.into_iter().map(|(at, counts)| Used {
                    key: one.key.clone().into(),
                    period,
                    counts,
                    unrecorded: one.unrecorded,
                    at,
                }));
            }
        }
    }
    let of_ledger = all.into_iter().flat_map(|(key, (period, parts))| {
        parts.into_iter().map(move |(at, counts)| Used { key: key.clone().into(), period, counts, unrecorded: 0, at })
    });
    restored.extend(of_ledger);
    restored
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
        let saved =
            |key, period, used, buckets| Saved { key, period, used, unrecorded: 0, calls: 1, unpriced: 0, buckets };
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

    /// A reset holds: what the ledger had before it does not count again, and calls after it do.
    #[test]
    fn a_reset_is_not_undone() {
        let text = r#"[{"name":"day","unit":"calls","amount":"9","period":{"kind":"total"}},
            {"name":"hour","unit":"calls","amount":"9","period":{"kind":"rolling","seconds":3200}}]"#;
        let all = parse(text).unwrap().into_iter().map(|one| Arc::new(Rule::new(one).unwrap())).collect();
        let rules = Rules { generation: 1, all };
        let spent = |budget: &str, period, calls| Spent {
            budget: budget.into(),
            values: Vec::new(),
            period,
            calls,
            tokens: 0,
            usd: 0,
            unpriced: 0,
        };
        let now = 10_150;
        let of_ledger = vec![spent("day", 0, 8), spent("hour", 9_000, 4), spent("hour", 10_100, 2)];
        let saved = |name, unrecorded, used, buckets| Saved {
            key: key_of(name, []).to_vec(),
            period: 0,
            used,
            unrecorded,
            calls: 0,
            unpriced: 0,
            buckets,
        };
        // Of eight calls, six were made before the reset, and one is not in the checkpoint yet.
        let of_checkpoint = vec![saved("day", -6, 1, vec![]), saved("hour", 9_550, 0, vec![(95, 1)])];
        let mut found: Vec<_> =
            restored(&rules, of_ledger, of_checkpoint, now).into_iter().map(|one| (one.at, one.counts.used)).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 2), (9_500, 1), (10_100, 2)]);
    }
}
