//! The Python binding of prices.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::convert::{amount, as_dict, decimal, price_time, usage, usage_error};
use crate::event::accept::Rule;
use crate::event::{CostNotes, CostStatus, Unit};
use crate::money::Usd;
use crate::pricing::{Book, Catalog, Conditions, Cost, MatchKind, Overrides, Request, explain};
use crate::tokens::{MAX_SUGGESTIONS, nearest};

#[doc = stub_doc!("check_catalog")]
#[pyfunction]
pub(super) fn check_catalog(py: Python<'_>, text: &str) -> PyResult<()> {
    py.detach(|| Catalog::parse(text))?;
    Ok(())
}

#[doc = stub_doc!("check_overrides")]
#[pyfunction]
pub(super) fn check_overrides(text: &str) -> PyResult<()> {
    Overrides::parse(text)?;
    Ok(())
}

#[doc = stub_doc!("usual_denominator")]
#[pyfunction]
pub(super) fn usual_denominator(unit: &str) -> Option<&'static str> {
    Unit::from_name(unit).map(crate::pricing::usual_denominator)
}

#[doc = stub_doc!("catalog_denominator")]
#[pyfunction]
pub(super) fn catalog_denominator(unit: &str) -> Option<u64> {
    Unit::from_name(unit).map(Unit::per)
}

#[doc = stub_doc!("embedded_catalog")]
#[pyfunction]
#[pyo3(signature = (*, long_tail=false))]
pub(super) fn embedded_catalog(py: Python<'_>, long_tail: bool) -> String {
    py.detach(|| if long_tail { Catalog::long_tail() } else { Catalog::embedded() }.to_json())
}

#[doc = stub_doc!("Cost")]
#[pyclass(frozen, name = "Cost", module = "taximeter._core")]
pub(super) struct PyCost(Source);

/// The origin of a cost. Explaining a cost takes longer than computing it, so its explanation is built only when it is requested.
enum Source {
    Priced {
        book: Arc<Book>,
        cost: Cost,
        /// The cost that the provider reported. It takes precedence over the computed cost.
        reported: Option<Usd>,
        /// The provider that the caller asked about.
        provider: Option<String>,
        /// The model that the caller asked about.
        model: String,
    },
    /// A cost restored from a pickle. Its price book is in another process.
    Restored(Details),
}

/// Everything that Python can read from a cost.
#[derive(Clone, PartialEq, Eq)]
struct Details {
    usd: Option<Usd>,
    computed: Option<Usd>,
    input: Option<Usd>,
    output: Option<Usd>,
    status: CostStatus,
    notes: CostNotes,
    provider: Option<String>,
    model: Option<String>,
    kind: Option<MatchKind>,
    catalog: String,
    valid_from: Option<String>,
    explanation: String,
    suggestions: Vec<String>,
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

/// The error for a time whose prices are requested.
fn invalid_time(at: &Bound<'_, PyAny>, rule: Rule) -> PyErr {
    let given = at.repr().map_or_else(|_| "the given time".to_owned(), |text| text.to_string());
    PyValueError::new_err(format!("at: {given} {rule}"))
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
            Some(at) => price_time(at).map_err(|rule| invalid_time(at, rule))?,
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
        Ok(Some(Self(Source::Priced { book, cost, reported, provider, model: model.to_owned() })))
    }

    /// All details except the explanation and the suggestions.
    fn facts(&self) -> Cow<'_, Details> {
        match &self.0 {
            Source::Restored(details) => Cow::Borrowed(details),
            Source::Priced { book, cost, reported, provider, .. } => {
                let named = cost.found.map(|found| book.names(found));
                let catalog = cost.found.map_or_else(|| book.catalog().name(), |found| book.origin(found));
                let day =
                    |second: u64| crate::event::json::time_text(second.saturating_mul(1_000_000_000))[..10].to_owned();
                Cow::Owned(Details {
                    usd: reported.or(cost.usd),
                    computed: cost.usd,
                    input: cost.input,
                    output: cost.output,
                    status: if reported.is_some() { CostStatus::Reported } else { cost.status },
                    notes: cost.notes,
                    provider: named.and_then(|(found, _)| found.or(provider.as_deref())).map(str::to_owned),
                    model: named.map(|(_, model)| model.to_owned()),
                    kind: cost.found.map(|found| found.kind),
                    catalog: catalog.to_owned(),
                    valid_from: cost.valid_from.map(day),
                    explanation: String::new(),
                    suggestions: Vec::new(),
                })
            }
        }
    }

    /// Only the total cost.
    fn total(&self) -> Option<Usd> {
        match &self.0 {
            Source::Restored(details) => details.usd,
            Source::Priced { cost, reported, .. } => reported.or(cost.usd),
        }
    }

    fn details(&self) -> Details {
        Details { explanation: self.explain(), suggestions: self.similar_models(), ..self.facts().into_owned() }
    }

    /// The names of priced models most similar to a model without a price.
    fn similar_models(&self) -> Vec<String> {
        match &self.0 {
            Source::Restored(details) => details.suggestions.clone(),
            Source::Priced { cost: Cost { found: Some(_), .. }, .. } => Vec::new(),
            Source::Priced { book, provider, model, .. } => {
                let elsewhere = book.elsewhere(provider.as_deref(), model);
                let near = nearest(model, book.names_of(provider.as_deref()));
                // The same name would not help.
                let others = near.into_iter().filter(|name| *name != model && Some(*name) != elsewhere);
                elsewhere.into_iter().chain(others).take(MAX_SUGGESTIONS).map(str::to_owned).collect()
            }
        }
    }
}

fn optional_decimal(py: Python<'_>, amount: Option<Usd>) -> PyResult<Option<Bound<'_, PyAny>>> {
    amount.map(|amount| decimal(py, amount)).transpose()
}

#[pymethods]
impl PyCost {
    #[doc = stub_doc!("Cost.usd")]
    #[getter]
    fn usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_decimal(py, self.total())
    }

    #[doc = stub_doc!("Cost.computed_usd")]
    #[getter]
    fn computed_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_decimal(py, self.facts().computed)
    }

    #[doc = stub_doc!("Cost.input_usd")]
    #[getter]
    fn input_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_decimal(py, self.facts().input)
    }

    #[doc = stub_doc!("Cost.output_usd")]
    #[getter]
    fn output_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        optional_decimal(py, self.facts().output)
    }

    #[doc = stub_doc!("Cost.status")]
    #[getter]
    fn status(&self) -> &'static str {
        self.facts().status.name()
    }

    #[doc = stub_doc!("Cost.notes")]
    #[getter]
    fn notes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.facts().notes.names().collect::<Vec<_>>())
    }

    #[doc = stub_doc!("Cost.provider")]
    #[getter]
    fn provider(&self) -> Option<String> {
        self.facts().into_owned().provider
    }

    #[doc = stub_doc!("Cost.model")]
    #[getter]
    fn model(&self) -> Option<String> {
        self.facts().into_owned().model
    }

    #[doc = stub_doc!("Cost.match")]
    #[getter]
    fn r#match(&self) -> Option<&'static str> {
        self.facts().kind.map(MatchKind::name)
    }

    #[doc = stub_doc!("Cost.catalog")]
    #[getter]
    fn catalog(&self) -> String {
        self.facts().into_owned().catalog
    }

    #[doc = stub_doc!("Cost.valid_from")]
    #[getter]
    fn valid_from(&self) -> Option<String> {
        self.facts().into_owned().valid_from
    }

    #[doc = stub_doc!("Cost.suggestions")]
    #[getter]
    fn suggestions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.similar_models())
    }

    #[doc = stub_doc!("Cost.explain")]
    fn explain(&self) -> String {
        match &self.0 {
            Source::Restored(details) => details.explanation.clone(),
            Source::Priced { book, cost, reported, .. } => {
                let mut text = explain(book, cost, *reported);
                let similar = self.similar_models();
                if !similar.is_empty() {
                    text.push_str("; the nearest names are ");
                    text.push_str(&similar.join(", "));
                }
                text
            }
        }
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.details() == other.details()
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.explain().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let facts = self.facts();
        let usd = facts.usd.map_or_else(|| "None".to_owned(), |usd| format!("Decimal('{usd}')"));
        let named = |name: Option<&str>| name.map_or_else(|| "None".to_owned(), |name| format!("'{name}'"));
        let (provider, model) = (named(facts.provider.as_deref()), named(facts.model.as_deref()));
        format!("Cost(usd={usd}, status='{}', provider={provider}, model={model})", facts.status.name())
    }

    /// Copies and pickles contain the details by name.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let details = self.details();
        let text = |amount: Option<Usd>| amount.map(|amount| amount.to_string());
        let all = PyDict::new(py);
        all.set_item("usd", text(details.usd))?;
        all.set_item("computed", text(details.computed))?;
        all.set_item("input", text(details.input))?;
        all.set_item("output", text(details.output))?;
        all.set_item("status", details.status.name())?;
        all.set_item("notes", details.notes.names().collect::<Vec<_>>())?;
        all.set_item("provider", details.provider)?;
        all.set_item("model", details.model)?;
        all.set_item("match", details.kind.map(MatchKind::name))?;
        all.set_item("catalog", details.catalog)?;
        all.set_item("valid_from", details.valid_from)?;
        all.set_item("explanation", details.explanation)?;
        all.set_item("suggestions", details.suggestions)?;
        Ok((py.import("taximeter._core")?.getattr("_restore_cost")?, (all,)))
    }
}

/// Restores a cost from a pickle.
#[pyfunction]
#[pyo3(name = "_restore_cost")]
pub(super) fn restore_cost(details: &Bound<'_, PyDict>) -> PyResult<PyCost> {
    let invalid = || PyValueError::new_err("this is not a pickle of a Cost");
    let text = |name: &str| -> PyResult<Option<String>> { details.get_item(name)?.ok_or_else(invalid)?.extract() };
    let usd = |name: &str| text(name)?.map(|amount| amount.parse().map_err(|_| invalid())).transpose();
    let notes: Vec<String> = details.get_item("notes")?.ok_or_else(invalid)?.extract()?;
    let kind = text("match")?.map(|name| MatchKind::from_name(&name).ok_or_else(invalid)).transpose()?;
    Ok(PyCost(Source::Restored(Details {
        usd: usd("usd")?,
        computed: usd("computed")?,
        input: usd("input")?,
        output: usd("output")?,
        status: text("status")?.and_then(|name| CostStatus::from_name(&name)).ok_or_else(invalid)?,
        notes: CostNotes::from_names(&notes.join(",")),
        provider: text("provider")?,
        model: text("model")?,
        kind,
        catalog: text("catalog")?.ok_or_else(invalid)?,
        valid_from: text("valid_from")?,
        explanation: text("explanation")?.ok_or_else(invalid)?,
        // Pickles of earlier versions have no suggestions.
        suggestions: details.get_item("suggestions")?.map_or_else(|| Ok(Vec::new()), |names| names.extract())?,
    })))
}
