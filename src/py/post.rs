//! Recording of requests for services with their own wire format.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::json::json_text;
use super::receipt::PyReceipt;
use crate::event::Outgoing;
use crate::meter::{Issue, Meter, Receipt};

/// Records a request. The receipt says if it was refused. Raises only if the body cannot be converted to JSON.
pub(super) fn post(
    core: &Meter,
    warn: impl Fn(Issue, &str),
    path: &str,
    body: &Bound<'_, PyAny>,
    before: Option<(String, Bound<'_, PyAny>)>,
) -> PyResult<PyReceipt> {
    // Panics are caught here for the same reason as in `track`.
    let outcome = catch_unwind(AssertUnwindSafe(|| record(core, path, body, before)));
    let outcome = outcome.unwrap_or_else(|_| {
        core.count(Issue::InternalError, 1);
        Ok(Err(Issue::InternalError))
    })?;
    if let Some(what) = outcome.as_ref().map_or_else(|what| Some(*what), |receipt| receipt.remark) {
        warn(what, path);
    }
    Ok(PyReceipt(outcome.map_err(Issue::name)))
}

fn record(
    core: &Meter,
    path: &str,
    body: &Bound<'_, PyAny>,
    before: Option<(String, Bound<'_, PyAny>)>,
) -> PyResult<Result<Receipt, Issue>> {
    let before = before.map(|(path, body)| Ok::<_, PyErr>((path, json_text(&body)?))).transpose()?;
    let body = json_text(body)?;
    let mut requests = Vec::with_capacity(2);
    requests.extend(before.as_ref().map(|(path, body)| Outgoing { path, body }));
    requests.push(Outgoing { path, body: &body });
    Ok(core.post(requests))
}
