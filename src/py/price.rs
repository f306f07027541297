//! What a call costs, for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::convert::{decimal, unix_ns, usage as read_usage};
use crate::money::Usd;
use crate::pricing::{Catalog, Cost, Request};

/// Decimals of a catalog rate.
const RATE_SCALE: u32 = 18;

/// The cost of a call and its explanation.
#[pyclass(frozen, name = "Cost", module = "taximeter._core")]
pub(super) struct PyCost {
    cost: Cost,
    provider: Option<String>,
    model: Option<String>,
    catalog: String,
}

impl PyCost {
    pub(super) fn of(
        catalog: &Catalog,
        model: &str,
        usage: &Bound<'_, PyAny>,
        provider: Option<&str>,
        at: Option<&Bound<'_, PyAny>>,
        context: &[(String, String)],
    ) -> PyResult<Self> {
        if model.trim().is_empty() {
            return Err(PyValueError::new_err("model must not be empty"));
        }
        let usage = read_usage(usage)?;
        if let Some((part, total)) = usage.first_contradiction() {
            return Err(super::convert::usage_error(part.name(), &format!("is part of {total}, and cannot exceed it")));
        }
        let started_at = match at {
            Some(at) => unix_ns(at).map_err(|rule| PyValueError::new_err(format!("at {rule}")))?,
            None => crate::journal::unix_ns(),
        };
        let context: Vec<_> = context.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let cost = catalog.price(&Request { provider, model, usage: &usage, started_at, context: &context })?;
        let names = cost.found.map(|found| catalog.names(found));
        Ok(Self {
            provider: names.map(|(provider, _)| provider.to_owned()),
            model: names.map(|(_, model)| model.to_owned()),
            catalog: catalog.name().to_owned(),
            cost,
        })
    }
}

/// An integer of 10^-18 as an amount.
fn rate_amount(rate: i128) -> Usd {
    Usd::from_units(rate.saturating_mul(10_i128.pow(crate::money::SCALE - RATE_SCALE)))
}

#[pymethods]
impl PyCost {
    #[getter]
    fn usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
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
        self.cost.status.name()
    }

    #[getter]
    fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    #[getter]
    fn r#match(&self) -> Option<&'static str> {
        self.cost.match_kind().map(crate::pricing::MatchKind::name)
    }

    #[getter]
    fn catalog(&self) -> &str {
        &self.catalog
    }

    /// One line for each charged unit: quantity × rate = amount.
    fn explain(&self) -> String {
        let Some(usd) = self.cost.usd else {
            return "unpriced: no rate is known".to_owned();
        };
        let mut lines: Vec<_> = self
            .cost
            .lines
            .iter()
            .map(|line| {
                let (unit, count) = (line.unit, line.count as f64 / line.unit.scale() as f64);
                format!("{unit}: {count} × ${} per {} = ${}", rate_amount(line.rate), unit.per(), line.amount)
            })
            .collect();
        lines.push(format!("total: ${usd}"));
        lines.join("\n")
    }

    fn __repr__(&self) -> String {
        let usd = self.cost.usd.map_or_else(|| "None".to_owned(), |usd| format!("Decimal('{usd}')"));
        let named = |name: &Option<String>| name.as_ref().map_or_else(|| "None".to_owned(), |name| format!("'{name}'"));
        let (provider, model) = (named(&self.provider), named(&self.model));
        format!("Cost(usd={usd}, status='{}', provider={provider}, model={model})", self.cost.status.name())
    }
}
