//! The result of `track()` in Python.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::convert::decimal;
use crate::event::id::{id_text, parse_id};
use crate::meter::{Issue, Receipt};

/// Why an event was not recorded: metering is off.
pub(super) const DISABLED: &str = "disabled";
/// Why an event is not recorded yet: the measured block has not ended.
const UNFINISHED: &str = "unfinished";

#[doc = stub_doc!("Receipt")]
#[pyclass(frozen, name = "Receipt", module = "taximeter._core")]
pub(super) struct PyReceipt(pub(super) Result<Receipt, &'static str>);

impl PyReceipt {
    /// The values that are compared to decide whether two receipts are equal.
    fn parts(&self) -> (Option<[u8; 16]>, Option<String>, Option<&'static str>) {
        match &self.0 {
            Ok(receipt) => (Some(receipt.id), receipt.cost.map(|cost| cost.to_string()), None),
            Err(reason) => (None, None, Some(reason)),
        }
    }

    fn refused_for(reason: &str) -> PyResult<Self> {
        let known = Issue::ALL.into_iter().map(Issue::name).chain([DISABLED, UNFINISHED]);
        match known.into_iter().find(|name| *name == reason) {
            Some(name) => Ok(Self(Err(name))),
            None => Err(PyValueError::new_err(format!("{reason:?} is not a reason for refusing an event"))),
        }
    }
}

#[pymethods]
impl PyReceipt {
    #[doc = stub_doc!("Receipt.id")]
    #[getter]
    fn id(&self) -> String {
        self.0.as_ref().map_or_else(|_| String::new(), |receipt| id_text(receipt.id))
    }

    #[doc = stub_doc!("Receipt.cost_usd")]
    #[getter]
    fn cost_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.as_ref().ok().and_then(|receipt| receipt.cost).map(|cost| decimal(py, cost)).transpose()
    }

    #[doc = stub_doc!("Receipt.refused")]
    #[getter]
    fn refused(&self) -> Option<&'static str> {
        self.0.as_ref().err().copied()
    }

    #[doc = stub_doc!("Receipt.refusal")]
    #[staticmethod]
    fn refusal(reason: &str) -> PyResult<Self> {
        Self::refused_for(reason)
    }

    fn __bool__(&self) -> bool {
        self.0.is_ok()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.parts().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        match &self.0 {
            Ok(receipt) => {
                let cost = receipt.cost.map_or_else(|| "None".to_owned(), |cost| format!("Decimal('{cost}')"));
                format!("Receipt(id='{}', cost_usd={cost})", id_text(receipt.id))
            }
            Err(reason) => format!("Receipt(refused='{reason}')"),
        }
    }

    /// Copies and pickles contain the id, the cost and the reason.
    #[expect(clippy::type_complexity, reason = "pickle requires this form")]
    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (String, Option<String>, Option<&'static str>))> {
        let (_, cost, refused) = self.parts();
        Ok((py.import("taximeter._core")?.getattr("_restore_receipt")?, (self.id(), cost, refused)))
    }
}

/// Restores a receipt from a pickle.
#[pyfunction]
#[pyo3(name = "_restore_receipt")]
pub(super) fn restore_receipt(event_id: &str, cost: Option<&str>, refused: Option<&str>) -> PyResult<PyReceipt> {
    let invalid = || PyValueError::new_err("this is not a pickle of a Receipt");
    if let Some(reason) = refused {
        return PyReceipt::refused_for(reason).map_err(|_| invalid());
    }
    let cost = cost.map(|cost| cost.parse().map_err(|_| invalid())).transpose()?;
    let id = parse_id(event_id).ok_or_else(invalid)?;
    Ok(PyReceipt(Ok(Receipt { id, cost, remark: None, has_notices: false, is_unsettled: false })))
}
