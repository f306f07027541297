//! How the core tells Python something: warnings, notices, crossed thresholds.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use super::meter::PyMeter;
use super::scope::{EXISTS, PyScope};
use super::track::Host;
use crate::meter::Issue;

impl Host for PyMeter {
    /// Ignores exceptions of the callback: they cannot be reported anywhere.
    #[cold]
    fn warn(&self, py: Python<'_>, what: Issue, field: &str) {
        let _ = self.warn.call1(py, (what.name(), field));
    }

    fn report_notices(&self, py: Python<'_>) {
        self.report_notices(py);
    }

    #[cold]
    fn report_crossings(&self, py: Python<'_>) {
        let _ = self.warn.call1(py, ("budget_crossed", "", ""));
    }

    fn current_scope<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyScope>> {
        if !EXISTS.load(Ordering::Relaxed) {
            return None;
        }
        self.scope.bind(py).call0().ok()?.cast_into::<PyScope>().ok()
    }
}
