//! The Python binding of prices.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::convert::{amount, as_dict, decimal, unix_ns, usage, usage_error};
use crate::event::CostStatus;
use crate::money::Usd;
use crate::pricing::{Book, Catalog, Conditions, Cost, Overrides, Request, explain};

/// Checks that a text is a valid catalog; raises if it is not.
#[pyfunction]
pub(super) fn check_catalog(py: Python<'_>, text: &str) -> PyResult<()> {
    py.detach(|| Catalog::parse(text))?;
    Ok(())
}

/// Checks that a text holds valid overrides; raises if it does not.
#[pyfunction]
pub(super) fn check_overrides(text: &str) -> PyResult<()> {
    Overrides::parse(text)?;
    Ok(())
}

/// The catalog that is built into this version, or the built-in long tail, as JSON.
#[pyfunction]
#[pyo3(signature = (*, long_tail=false))]
pub(super) fn embedded_catalog(py: Python<'_>, long_tail: bool) -> String {
    py.detach(|| if long_tail { Catalog::long_tail() } else { Catalog::embedded() }.to_json())
}

/// The cost of a call and its explanation.
#[pyclass(frozen, name = "Cost", module = "taximeter._core")]
pub(super) struct PyCost {
    book: Arc<Book>,
    cost: Cost,
    /// The cost that the provider reported. It overrides the computed one.
    reported: Option<Usd>,
    /// The provider that the caller gave.
    provider: Option<String>,
}

/// The arguments of `price()`.
pub(super) struct PriceArgs<'a, 'py> {
    pub(super) model: &'a Bound<'py, PyAny>,
    pub(super) usage: &'a Bound<'py, PyAny>,
    pub(super) provider: Option<&'a Bound<'py, PyAny>>,
    pub(super) at: Option<&'a Bound<'py, PyAny>>,
    pub(super) service_tier: Option<&'a Bound<'py, PyAny>>,
    pub(super) batch: Option<&'a Bound<'py, PyAny>>,
    pub(super) region: Option<&'a Bound<'py, PyAny>>,
    pub(super) context: Option<&'a Bound<'py, PyAny>>,
    pub(super) reported: Option<&'a Bound<'py, PyAny>>,
}

fn text<'a>(name: &str, value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    match value.cast::<PyString>() {
        Ok(text) => text.to_str(),
        Err(_) => Err(PyValueError::new_err(format!("{name} must be a text, not {}", value.get_type().name()?))),
    }
}

fn optional<'a>(name: &str, value: Option<&'a Bound<'_, PyAny>>) -> PyResult<Option<&'a str>> {
    value.filter(|value| !value.is_none()).map(|value| text(name, value)).transpose()
}

impl PyCost {
    pub(super) fn of(book: Arc<Book>, args: &PriceArgs<'_, '_>) -> PyResult<Option<Self>> {
        let model = text("model", args.model)?;
        if model.trim().is_empty() {
            return Err(PyValueError::new_err("model must not be empty"));
        }
        let provider = optional("provider", args.provider)?;
        let Some(usage) = usage(args.usage)? else { return Ok(None) };
        let started_at = match args.at.filter(|at| !at.is_none()) {
            Some(at) => unix_ns(at).map_err(|rule| PyValueError::new_err(format!("at {rule}")))?,
            None => crate::sys::clock::unix_ns(),
        };
        let mut further: Vec<(String, String)> = Vec::new();
        if let Some(context) = args.context.filter(|context| !context.is_none()) {
            for (key, value) in &as_dict(context, "context")? {
                let key = text("a key of context", &key)?.to_owned();
                if !value.is_none() {
                    let value = text(&format!("context: {key}"), &value)?.to_owned();
                    further.push((key, value));
                }
            }
        }
        let further: Vec<_> = further.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let reported = match args.reported.filter(|cost| !cost.is_none()) {
            Some(cost) => Some(amount(cost).map_err(|rule| usage_error("cost", rule))?),
            None => None,
        };
        let conditions = Conditions {
            service_tier: optional("service_tier", args.service_tier)?,
            batch: args.batch.filter(|batch| !batch.is_none()).map_or(Ok(false), |batch| {
                batch.extract().map_err(|_| PyValueError::new_err("batch must be True or False"))
            })?,
            region: optional("region", args.region)?,
            further: &further,
        };
        let cost = book.price(&Request { provider, model, usage: &usage, started_at, conditions })?;
        let provider = provider.map(|name| crate::pricing::canonical_provider(name).into_owned());
        Ok(Some(Self { book, cost, reported, provider }))
    }

    fn usd_of(&self) -> Option<Usd> {
        self.reported.or(self.cost.usd)
    }

    fn status_of(&self) -> CostStatus {
        if self.reported.is_some() { CostStatus::Reported } else { self.cost.status }
    }
}

#[pymethods]
impl PyCost {
    #[getter]
    fn usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.usd_of().map(|usd| decimal(py, usd)).transpose()
    }

    #[getter]
    fn computed_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.cost.usd.map(|usd| decimal(py, usd)).transpose()
    }

    #[getter]
    fn input_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.cost.input.map(|usd| decimal(py, usd)).transpose()
    }

    #[getter]
    fn output_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.cost.output.map(|usd| decimal(py, usd)).transpose()
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.status_of().name()
    }

    #[getter]
    fn notes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.cost.notes.names().collect::<Vec<_>>())
    }

    #[getter]
    fn provider(&self) -> Option<&str> {
        self.cost.found.and_then(|found| self.book.names(found).0.or(self.provider.as_deref()))
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.cost.found.map(|found| self.book.names(found).1)
    }

    #[getter]
    fn r#match(&self) -> Option<&'static str> {
        self.cost.found.map(|found| found.kind.name())
    }

    #[getter]
    fn catalog(&self) -> &str {
        self.cost.found.map_or_else(|| self.book.catalog().name(), |found| self.book.origin(found))
    }

    /// The first day on which the rates are valid, such as `2026-07-01`; `None` if the catalog does not say.
    #[getter]
    fn valid_from(&self) -> Option<String> {
        let text = crate::event::json::time_text(self.cost.valid_from?.saturating_mul(1_000_000_000));
        Some(text[..10].to_owned())
    }

    /// One line for each charged unit: quantity × rate = amount.
    fn explain(&self) -> String {
        explain(&self.book, &self.cost, self.reported)
    }

    fn __repr__(&self) -> String {
        let usd = self.usd_of().map_or_else(|| "None".to_owned(), |usd| format!("Decimal('{usd}')"));
        let named = |name: Option<&str>| name.map_or_else(|| "None".to_owned(), |name| format!("'{name}'"));
        let (provider, model) = (named(self.provider()), named(self.model()));
        format!("Cost(usd={usd}, status='{}', provider={provider}, model={model})", self.status())
    }
}
