//! The counts of a meter in Python.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::journal::{Counts, Tier};
use crate::meter::{Issue, Stats};
use crate::sys::clock::unix_ns;

/// The dictionary that `stats()` returns.
pub(super) fn as_dict(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    let (counts, tier) = stats.journal.unwrap_or((Counts::default(), Tier::Memory));
    all.set_item("tracked", counts.appended)?;
    all.set_item("tier", stats.journal.map(|_| tier.name()))?;
    all.set_item("journal_bytes", counts.disk_bytes)?;
    all.set_item("memory_bytes", counts.memory_bytes)?;
    all.set_item("budget_bytes", stats.budget)?;
    all.set_item("seconds_to_full", stats.time_to_full.map(|time| time.as_secs_f64()))?;
    all.set_item("corrupt_records", counts.corrupt)?;
    all.set_item("lost_records", counts.lost)?;
    let (refused, remarks) = (PyDict::new(py), PyDict::new(py));
    for (what, count) in Issue::ALL.into_iter().zip(stats.counts) {
        let group = if what.is_loss() { &refused } else { &remarks };
        group.set_item(what.name(), count)?;
    }
    all.set_item("refused", refused)?;
    all.set_item("remarks", remarks)?;
    let destinations = PyDict::new(py);
    for one in stats.destinations {
        let item = PyDict::new(py);
        item.set_item("host", &one.host)?;
        item.set_item("delivered", one.delivered)?;
        item.set_item("duplicates", one.duplicates)?;
        item.set_item("pending", one.pending(counts.appended))?;
        item.set_item("orphaned", one.orphaned)?;
        item.set_item("rejected", one.rejected)?;
        item.set_item("fallback", one.fallback)?;
        item.set_item("dead", one.dead)?;
        item.set_item("dropped", one.dropped)?;
        item.set_item("expired", one.expired)?;
        item.set_item("evicted", one.evicted)?;
        let age = |at| Duration::from_nanos(unix_ns().saturating_sub(at)).as_secs_f64();
        item.set_item("oldest_seconds", one.oldest.map(age))?;
        item.set_item("retries", one.retries)?;
        item.set_item("state", one.state)?;
        item.set_item("failures", one.failures)?;
        item.set_item("unreadable", one.unreadable)?;
        item.set_item("panics", one.panics)?;
        item.set_item("upkeep_failures", one.upkeep_failures)?;
        item.set_item("upkeep_error", one.upkeep_error)?;
        item.set_item("last_error", one.last_error)?;
        destinations.set_item(one.name, item)?;
    }
    all.set_item("destinations", destinations)?;
    Ok(all)
}
