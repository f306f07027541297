//! The Python functions that check, compact, copy and restore a ledger.
//!
//! Each works in a thread of its own. The calling thread reports the progress, and stops the work if a signal, such as Ctrl-C, arrives.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::journals::os_error;
use super::ledger::{Where, filter};
use crate::ledger::{self, Copied, LedgerError, Pruning, Reader, Watch, Writer};
use crate::sys::owner;

/// How often the progress is reported and signals are handled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a stopped operation is waited for. It deletes what it has begun to write.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Runs `work` in a thread. `progress` is called with how much is done and how much there is.
pub(super) fn watched<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    watch: Watch,
    work: impl FnOnce(&Arc<Watch>) -> Result<T, LedgerError> + Send + 'static,
) -> PyResult<T> {
    let watch = Arc::new(watch);
    let (send, receive) = sync_channel(1);
    let receive = Mutex::new(receive);
    let received = |wait| receive.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(wait);
    let shared = Arc::clone(&watch);
    let thread = std::thread::Builder::new().name("taximeter-care".into());
    thread.spawn(move || send.send(work(&shared))).map_err(os_error)?;
    loop {
        match py.detach(|| received(LOOK_EVERY)) {
            Ok(outcome) => return Ok(outcome?),
            // The thread has panicked.
            Err(RecvTimeoutError::Disconnected) => return Err(LedgerError::Stopped.into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let told = py.check_signals().and_then(|()| match progress {
            Some(progress) => progress.call1(watch.progress()).map(drop),
            None => Ok(()),
        });
        if let Err(error) = told {
            watch.stop();
            let _ = py.detach(|| received(STOPS_WITHIN));
            return Err(error);
        }
    }
}

fn copied(py: Python<'_>, copied: Copied) -> PyResult<Bound<'_, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("events", copied.events)?;
    told.set_item("bytes", copied.bytes)?;
    told.set_item("kept", copied.kept)?;
    Ok(told)
}

#[doc = stub_doc!("ledger_backup")]
#[pyfunction]
#[pyo3(signature = (ledger, target, replace, progress))]
pub(super) fn ledger_backup<'py>(
    py: Python<'py>,
    ledger: PathBuf,
    target: PathBuf,
    replace: bool,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let work = move |watch: &Arc<Watch>| ledger::backup(&ledger, &target, replace, watch);
    copied(py, watched(py, progress, Watch::default(), work)?)
}

#[doc = stub_doc!("ledger_restore")]
#[pyfunction]
#[pyo3(signature = (ledger, source, progress))]
pub(super) fn ledger_restore<'py>(
    py: Python<'py>,
    ledger: PathBuf,
    source: PathBuf,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    copied(py, watched(py, progress, Watch::default(), move |watch| ledger::restore(&ledger, &source, watch))?)
}

#[doc = stub_doc!("ledger_check")]
#[pyfunction]
#[pyo3(signature = (ledger, is_thorough, timeout, progress))]
pub(super) fn ledger_check<'py>(
    py: Python<'py>,
    ledger: PathBuf,
    is_thorough: bool,
    timeout: Option<f64>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let work = move |watch: &Arc<Watch>| Reader::open(&ledger)?.check(is_thorough, watch);
    let checked = watched(py, progress, Watch::within(timeout), work)?;
    let told = PyDict::new(py);
    told.set_item("faults", checked.faults)?;
    told.set_item("is_complete", checked.is_complete)?;
    told.set_item("events", checked.events)?;
    told.set_item("bytes", checked.bytes)?;
    told.set_item("free_bytes", checked.free_bytes)?;
    Ok(told)
}

#[doc = stub_doc!("ledger_compact")]
#[pyfunction]
#[pyo3(signature = (ledger, progress))]
pub(super) fn ledger_compact(
    py: Python<'_>,
    ledger: PathBuf,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(u64, u64)> {
    let compacted = watched(py, progress, Watch::default(), move |watch| ledger::compact(&ledger, watch))?;
    Ok((compacted.before, compacted.after))
}

#[doc = stub_doc!("ledger_prune")]
#[pyfunction]
#[pyo3(signature = (ledger, since, until, conditions, keep_rollups, erase, dry_run, progress))]
#[expect(clippy::too_many_arguments, reason = "the parts of a selection are arguments")]
pub(super) fn ledger_prune(
    py: Python<'_>,
    ledger: PathBuf,
    since: Option<u64>,
    until: Option<u64>,
    conditions: Where,
    keep_rollups: bool,
    erase: bool,
    dry_run: bool,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<(u64, u64)> {
    let filter = filter(since, until, conditions)?;
    let pruning = Pruning { keeps_sums: keep_rollups, is_dry_run: dry_run, erases: erase };
    let work = move |watch: &Arc<Watch>| Writer::new(&ledger).prune(&filter, pruning, watch);
    let pruned = watched(py, progress, Watch::default(), work)?;
    Ok((pruned.events, pruned.free_bytes))
}

#[doc = stub_doc!("work_for")]
#[pyfunction]
pub(super) fn work_for(user: u32, group: u32) -> PyResult<()> {
    owner::work_for(user, group).map_err(os_error)
}

#[doc = stub_doc!("ledger_pack")]
#[pyfunction]
#[pyo3(signature = (ledger, progress))]
pub(super) fn ledger_pack(py: Python<'_>, ledger: PathBuf, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    watched(py, progress, Watch::default(), move |watch| Writer::new(&ledger).pack(watch))
}
