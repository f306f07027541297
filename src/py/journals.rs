//! The Python functions with which an operator inspects journals, drops their events and requeues damaged segments.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::journal::{self, Waiting};
use crate::sys::clock::unix_ns;

/// An I/O error as an `OSError`, with `errno` if the system gave one.
pub(super) fn os_error(error: io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(_) => error.into(),
        None => PyOSError::new_err(error.to_string()),
    }
}

#[doc = stub_doc!("journals")]
#[pyfunction]
pub(super) fn journals(py: Python<'_>, state_dir: PathBuf) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let found = py.detach(|| journal::inspect(&state_dir.join("journal"))).map_err(os_error)?;
    let mut all = Vec::with_capacity(found.len());
    for report in found {
        let one = PyDict::new(py);
        one.set_item("name", report.name)?;
        one.set_item("owner", report.writer.name())?;
        let destinations = report.destinations.iter().map(|waiting| destination(py, waiting));
        one.set_item("destinations", destinations.collect::<PyResult<Vec<_>>>()?)?;
        one.set_item("disk_bytes", report.disk_bytes)?;
        one.set_item("error", report.error)?;
        all.push(one);
    }
    Ok(all)
}

fn destination<'py>(py: Python<'py>, waiting: &Waiting) -> PyResult<Bound<'py, PyDict>> {
    let age = |at| Duration::from_nanos(unix_ns().saturating_sub(at)).as_secs_f64();
    let one = PyDict::new(py);
    one.set_item("destination", &waiting.destination)?;
    one.set_item("records", waiting.records)?;
    one.set_item("bytes", waiting.bytes)?;
    one.set_item("oldest_seconds", waiting.oldest.map(age))?;
    one.set_item("damaged", waiting.damaged)?;
    one.set_item("incomplete", waiting.is_incomplete)?;
    Ok(one)
}

#[doc = stub_doc!("drop_journal")]
#[pyfunction]
pub(super) fn drop_journal(
    py: Python<'_>,
    state_dir: PathBuf,
    name: &str,
    destination: Option<String>,
) -> PyResult<u64> {
    let root = state_dir.join("journal");
    py.detach(|| journal::drop_journal(&root, name, destination.as_deref())).map_err(os_error)
}

#[doc = stub_doc!("quarantine")]
#[pyfunction]
pub(super) fn quarantine(py: Python<'_>, state_dir: PathBuf) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let found = py.detach(|| journal::quarantine::list(&state_dir)).map_err(os_error)?;
    let mut all = Vec::with_capacity(found.len());
    for segment in found {
        let one = PyDict::new(py);
        one.set_item("name", segment.name)?;
        one.set_item("bytes", segment.bytes)?;
        one.set_item("destinations", segment.destinations)?;
        one.set_item("readable", segment.readable)?;
        one.set_item("damaged", segment.damaged)?;
        one.set_item("requeued", segment.is_requeued)?;
        all.push(one);
    }
    Ok(all)
}

#[doc = stub_doc!("requeue_quarantine")]
#[pyfunction]
pub(super) fn requeue_quarantine(py: Python<'_>, state_dir: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let requeued = py.detach(|| journal::quarantine::requeue(&state_dir)).map_err(os_error)?;
    let all = PyDict::new(py);
    all.set_item("requeued", requeued.requeued)?;
    all.set_item("damaged", requeued.damaged)?;
    all.set_item("left", requeued.left)?;
    Ok(all)
}
