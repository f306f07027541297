//! Blocking work that Python's signal handlers can interrupt.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

/// Runs blocking work without the GIL and lets signal handlers run. If one raises, the work stops and the exception is raised.
pub(super) fn interruptible<T: Send>(py: Python<'_>, work: impl FnOnce(&dyn Fn() -> bool) -> T + Send) -> PyResult<T> {
    let raised = Mutex::new(None);
    let outcome = py.detach(|| {
        work(&|| {
            let error = Python::attach(|py| py.check_signals().err());
            let has_raised = error.is_some();
            if let Some(error) = error {
                *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            !has_raised
        })
    });
    match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(outcome),
    }
}
