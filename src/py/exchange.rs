//! The Python binding of the blocking HTTP client. Requests run without the GIL.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::convert::seconds;
use super::errors::TransferError;
use crate::http::{RequestError, SyncClient, host_of};

#[doc = stub_doc!("Exchange")]
#[pyclass(frozen, name = "Exchange", module = "taximeter._core")]
pub(super) struct PyExchange(SyncClient);

#[pymethods]
impl PyExchange {
    #[new]
    #[pyo3(signature = (timeout, *, connect=None, ca=None, max_bytes=None))]
    fn new(timeout: f64, connect: Option<f64>, ca: Option<Vec<u8>>, max_bytes: Option<usize>) -> PyResult<Self> {
        let wait = seconds("timeout", timeout)?;
        let connect = connect.map_or(Ok(wait), |connect| seconds("connect", connect))?;
        let client = SyncClient::new(connect, wait, ca)?;
        Ok(Self(match max_bytes {
            Some(max_bytes) => client.with_max_bytes(max_bytes),
            None => client,
        }))
    }

    #[doc = stub_doc!("Exchange.request")]
    fn request<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // The exception that a signal handler raised, such as KeyboardInterrupt.
        let raised = Mutex::new(None);
        let should_continue = || {
            let raise = Python::attach(|py| {
                let checked = py.check_signals();
                checked.err()
            });
            let has_raised = raise.is_some();
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = raise;
            !has_raised
        };
        let result = py.detach(|| self.0.request(method, url, &headers, body, should_continue));
        if let Some(raised) = raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(raised);
        }
        let response = result.map_err(|error| {
            let kind = match error {
                RequestError::Url | RequestError::Method => "url",
                RequestError::Header(_) => "header",
                RequestError::ConnectTimeout => "connect_timeout",
                RequestError::ReadTimeout => "read_timeout",
                RequestError::Connect(_) => "connect",
                RequestError::Tls(_) => "tls",
                RequestError::Interrupted | RequestError::Broken(_) => "broken",
                RequestError::TooLarge(_) => "too_large",
            };
            let host = host_of(url);
            let reason = match host {
                Some(host) if !matches!(kind, "header" | "too_large") => format!("{host}: {error}"),
                _ => error.to_string(),
            };
            TransferError::new_err((kind, reason))
        })?;
        (response.status, response.url, response.headers, PyBytes::new(py, &response.body)).into_pyobject(py)
    }
}
