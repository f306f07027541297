//! The ledger's reader, for Python.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::convert::decimal;
use crate::ledger::{Dimension, Filter, LedgerError, Reader};
use crate::sys::fork::fork_generation;
use crate::sys::fs::file_identity;

/// Reads one ledger file.
#[pyclass(frozen, name = "LedgerReader", module = "taximeter._core")]
pub(super) struct PyLedger {
    path: PathBuf,
    /// The fork generation that made it: in another, the mutex may be taken by a thread that is not there.
    generation: u64,
    open: Mutex<Open>,
}

struct Open {
    reader: Reader,
    /// What was opened: `None` when there was no file, which reads as empty until there is one.
    identity: Option<(u64, u64)>,
}

impl Open {
    fn new(path: &Path) -> Result<Self, LedgerError> {
        let identity = file_identity(path);
        Ok(Self { reader: Reader::open(path)?, identity })
    }
}

pub(super) fn filter(
    since: Option<u64>,
    until: Option<u64>,
    equal: Vec<(String, String)>,
) -> Result<Filter, LedgerError> {
    let pair = |(name, value): (String, String)| Dimension::parse(&name).map(|dimension| (dimension, value));
    Ok(Filter { since, until, equal: equal.into_iter().map(pair).collect::<Result<_, _>>()? })
}

impl PyLedger {
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Reader) -> Result<R, LedgerError> + Send,
    ) -> PyResult<R> {
        if self.generation != fork_generation() {
            return Err(LedgerError::Forked.into());
        }
        Ok(py.detach(|| {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if file_identity(&self.path) != open.identity {
                *open = Open::new(&self.path)?;
            }
            work(&mut open.reader)
        })?)
    }
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let open = py.detach(|| Open::new(&path))?;
        Ok(Self { path, generation: fork_generation(), open: Mutex::new(open) })
    }

    /// Rows of (values, sums); times in nanoseconds of the Unix epoch.
    #[pyo3(signature = (by, since, until, equal))]
    fn report<'py>(
        &self,
        py: Python<'py>,
        by: Vec<String>,
        since: Option<u64>,
        until: Option<u64>,
        equal: Vec<(String, String)>,
    ) -> PyResult<Vec<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>> {
        let dimensions = by.iter().map(|name| Dimension::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let filter = filter(since, until, equal)?;
        let rows = self.with(py, |reader| reader.report(&dimensions, &filter))?;
        let mut answer = Vec::with_capacity(rows.len());
        for (values, totals) in rows {
            let values = values.into_iter().map(|value| (!value.is_empty()).then_some(value));
            let sums = PyDict::new(py);
            for (name, count) in [
                ("calls", totals.calls),
                ("errors", totals.errors),
                ("unpriced", totals.unpriced),
                ("input_tokens", totals.input_tokens),
                ("output_tokens", totals.output_tokens),
                ("cache_read_tokens", totals.cache_read_tokens),
                ("cache_write_tokens", totals.cache_write_tokens),
                ("reasoning_tokens", totals.reasoning_tokens),
            ] {
                sums.set_item(name, count)?;
            }
            sums.set_item("cost_usd", decimal(py, totals.cost)?)?;
            answer.push((PyTuple::new(py, values.collect::<Vec<_>>())?, sums));
        }
        Ok(answer)
    }

    /// Events after a sequence number, as JSON texts, and the last one's number.
    #[pyo3(signature = (since, until, equal, after, limit))]
    fn events(
        &self,
        py: Python<'_>,
        since: Option<u64>,
        until: Option<u64>,
        equal: Vec<(String, String)>,
        after: i64,
        limit: usize,
    ) -> PyResult<(Vec<String>, i64)> {
        let filter = filter(since, until, equal)?;
        self.with(py, |reader| reader.events(&filter, after, limit))
    }

    fn last_sequence(&self, py: Python<'_>) -> PyResult<i64> {
        self.with(py, Reader::last_sequence)
    }
}
