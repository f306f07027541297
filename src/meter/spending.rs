//! Budgets and the ledger: what each stored event adds to which budget, and what the ledger has of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::facts_of;
use crate::budget::{Budgets, Recover, Spent};
use crate::delivery::{Destination, LedgerSink, drain_orphans};
use crate::ledger::{Reader, Spend, Spending, unusable_after_fork};

/// How long the events of ended processes are delivered before the state of budgets is rebuilt. What is not delivered by then is in
/// the checkpoint, except for the last minute.
const DRAIN_FOR: Duration = Duration::from_secs(1);

/// Returns the function with which the ledger computes the budgets that an event counts for.
pub(super) fn spending(budgets: impl Fn() -> Option<Arc<Budgets>> + Send + Sync + 'static) -> Spending {
    Arc::new(move |event| {
        let Some(budgets) = budgets() else { return Vec::new() };
        let time = (event.started_at / 1_000_000_000) as i64;
        let spends = budgets.spends(&facts_of(event, &[]), time).into_iter();
        spends
            .map(|(budget, values, period, kept_from)| Spend {
                budget,
                key: serde_json::to_string(&values).unwrap_or_default(),
                period,
                kept_from,
            })
            .collect()
    })
}

/// Reads what a ledger has of budgets.
pub(super) fn recover(ledger: Option<PathBuf>) -> Recover {
    Box::new(move |budgets| {
        let path = ledger.as_deref().filter(|_| !unusable_after_fork())?;
        let mut reader = Reader::open(path).ok()?;
        let all =
            budgets.iter().map(|(budget, from)| reader.spent(budget, *from)).collect::<Result<Vec<_>, _>>().ok()?;
        let known = all.into_iter().flatten().filter_map(|one| {
            Some(Spent {
                values: serde_json::from_str(&one.key).ok()?,
                budget: one.budget,
                period: one.period,
                calls: one.calls,
                tokens: one.tokens,
                usd: one.cost.units(),
                unpriced: one.unpriced,
            })
        });
        Some(known.collect())
    })
}

/// Delivers the events of ended processes to the ledger, for a short time.
pub(super) fn drain_to_ledger(state_dir: &Path, ledger: &Path, spending: Spending) {
    if unusable_after_fork() {
        return;
    }
    let until = Instant::now() + DRAIN_FOR;
    let sink = LedgerSink::new(ledger, Duration::ZERO, Some(spending), None);
    let _ =
        drain_orphans(&state_dir.join("journal"), vec![Destination::Local(Box::new(sink))], &|| Instant::now() < until);
}
