//! The Python binding of SQL statements that only read.
//!
//! A thread runs the statement, and waits while nothing takes its rows. So a result of any size needs little memory.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use rusqlite::types::Value;

use super::convert::text;
use super::journals::os_error;
use crate::ledger::{LedgerError, Parameters, Reader, Rows, Watch};
use crate::sys::fork::fork_generation;

/// How often signals are handled while nothing arrives.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Blocks of rows that may wait.
const WAITING: usize = 2;

enum Part {
    Head(Vec<String>),
    Rows(Rows),
    End(Result<(), LedgerError>),
}

#[doc = stub_doc!("LedgerQuery")]
#[pyclass(frozen, name = "LedgerQuery", module = "taximeter._core")]
pub(super) struct PyQuery {
    generation: u64,
    watch: Arc<Watch>,
    /// `None` after the end.
    parts: Mutex<Option<Receiver<Part>>>,
}

impl Drop for PyQuery {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

impl PyQuery {
    /// Waits for the next part; `None` after the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Part>> {
        if self.generation != fork_generation() {
            return Err(LedgerError::Forked.into());
        }
        loop {
            let received = py.detach(|| {
                let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
                parts.as_ref().map(|parts| parts.recv_timeout(LOOK_EVERY))
            });
            match received {
                None => return Ok(None),
                Some(Err(RecvTimeoutError::Timeout)) => py.check_signals().inspect_err(|_| self.watch.stop())?,
                Some(Ok(Part::End(outcome))) => {
                    self.end();
                    return outcome.map(|()| None).map_err(Into::into);
                }
                Some(Ok(part)) => return Ok(Some(part)),
                Some(Err(RecvTimeoutError::Disconnected)) => {
                    self.end();
                    return Err(LedgerError::Stopped.into());
                }
            }
        }
    }

    fn end(&self) {
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[pymethods]
impl PyQuery {
    #[new]
    fn new(path: PathBuf, sql: String, parameters: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Self> {
        let parameters = converted(parameters)?;
        let watch = Arc::new(Watch::within(timeout));
        let (send, parts) = sync_channel(WAITING);
        let shared = Arc::clone(&watch);
        let thread = std::thread::Builder::new().name("taximeter-query".into());
        thread.spawn(move || answer(&path, &sql, &parameters, &shared, &send)).map_err(os_error)?;
        Ok(Self { generation: fork_generation(), watch, parts: Mutex::new(Some(parts)) })
    }

    #[doc = stub_doc!("LedgerQuery.columns")]
    fn columns(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        match self.next(py)? {
            Some(Part::Head(columns)) => Ok(columns),
            _ => Ok(Vec::new()),
        }
    }

    #[doc = stub_doc!("LedgerQuery.rows")]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(Part::Rows(rows)) = self.next(py)? else { return Ok(None) };
        let list = PyList::empty(py);
        for row in rows {
            let values = row.iter().map(|value| object(py, value)).collect::<PyResult<Vec<_>>>()?;
            list.append(PyTuple::new(py, values)?)?;
        }
        Ok(Some(list))
    }

    #[doc = stub_doc!("LedgerQuery.close")]
    fn close(&self) {
        self.watch.stop();
        self.end();
    }
}

/// Runs the statement. A part that nothing takes ends it.
fn answer(path: &Path, sql: &str, parameters: &Parameters, watch: &Arc<Watch>, send: &SyncSender<Part>) {
    let outcome = Reader::open(path).and_then(|mut reader| {
        let head = |columns| send.send(Part::Head(columns)).is_ok();
        reader.query(sql, parameters, watch, head, |rows| send.send(Part::Rows(rows)).is_ok())
    });
    let _ = send.send(Part::End(outcome));
}

fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Integer(number) => number.into_pyobject(py)?.into_any(),
        Value::Real(number) => number.into_pyobject(py)?.into_any(),
        Value::Text(text) => text.into_pyobject(py)?.into_any(),
        Value::Blob(bytes) => PyBytes::new(py, bytes).into_any(),
    })
}

fn converted(parameters: &Bound<'_, PyAny>) -> PyResult<Parameters> {
    if let Ok(named) = parameters.cast::<PyDict>() {
        let pair = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| Ok((name.extract()?, sql_value(&value)?));
        return Ok(Parameters::Named(named.iter().map(pair).collect::<PyResult<_>>()?));
    }
    let values = parameters.try_iter()?.map(|value| sql_value(&value?)).collect::<PyResult<_>>()?;
    Ok(Parameters::Positional(values))
}

/// A value of SQLite. Decimals, dates and other values become texts, as in events.
fn sql_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        return Ok(Value::Null);
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(Value::Integer(value.extract()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Value::Real(value.extract()?));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Value::Blob(bytes.as_bytes().to_vec()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::Text(text.to_str()?.to_owned()));
    }
    let wrong = || format!("parameters: {} is not a value of SQL", value.get_type());
    text(value).map(|(text, _)| Value::Text(text.into_owned())).map_err(|_| PyTypeError::new_err(wrong()))
}
