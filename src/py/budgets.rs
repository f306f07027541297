//! The budgets of a meter in Python.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::arguments::{Arguments, NAMES};
use super::meter::PyMeter;
use super::prompt;
use super::receipt::PyReceipt;
use super::scope::PyScope;
use super::ticket::{HAS_RUNS, PyRefusal, PyTicket, amount_text, left, percent, unit_name};
use super::track::Host;
use crate::budget::{Action, Crossed, DefineError, Patience, Period, Standing, Unavailable};
use crate::event::limits::name_head;
use crate::meter::{Ask, Charging, GateCount, Issue};
use crate::money::Usd;
use crate::pricing::canonical_provider;

#[doc = stub_doc!("Budgets")]
#[pyclass(frozen, name = "Budgets", module = "taximeter._core")]
pub(super) struct PyBudgets(Py<PyMeter>);

fn define_error(error: DefineError) -> PyErr {
    match error {
        DefineError::Invalid(error) => PyValueError::new_err(error.to_string()),
        DefineError::Unavailable(error) => unavailable(error),
    }
}

fn unavailable(error: Unavailable) -> PyErr {
    match error {
        // Keeps the number of the system's error.
        Unavailable::State(error) => error.into(),
        other => PyOSError::new_err(other.to_string()),
    }
}

/// A text argument; `None` if it is absent, empty or not a valid text.
fn text<'a>(value: Option<&'a Bound<'_, PyAny>>) -> Option<&'a str> {
    value?.cast::<PyString>().ok()?.to_str().ok().filter(|text| !text.is_empty())
}

/// A count that a client was given; `None` if it is no count.
fn count(value: Option<&Bound<'_, PyAny>>) -> Option<u64> {
    value.and_then(|value| value.extract().ok())
}

#[pymethods]
impl PyBudgets {
    #[new]
    fn new(meter: Py<PyMeter>) -> Self {
        Self(meter)
    }

    #[doc = stub_doc!("Budgets.set")]
    fn set(&self, py: Python<'_>, definitions: &str) -> PyResult<()> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.define(definitions)).map_err(define_error)
    }

    #[doc = stub_doc!("Budgets.remove")]
    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<bool> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.remove(name)).map_err(define_error)
    }

    #[doc = stub_doc!("Budgets.definitions")]
    fn definitions(&self, py: Python<'_>) -> PyResult<String> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.refresh()).map_err(define_error)?;
        Ok(limits.budgets().map_or_else(|| "[]".to_owned(), |budgets| budgets.definitions()))
    }

    #[doc = stub_doc!("Budgets.is_active")]
    #[getter]
    fn is_active(&self) -> bool {
        self.0.get().core.limits().are_active() || HAS_RUNS.load(Ordering::Relaxed)
    }

    #[doc = stub_doc!("Budgets.admit")]
    #[pyo3(signature = (scope, provider, model, request, *, max_output=None, choices=None, service_tier=None, region=None, caching=false, input_tokens=None))]
    #[expect(clippy::too_many_arguments, reason = "what decides an estimate")]
    fn admit<'py>(
        &self,
        py: Python<'py>,
        scope: Option<&Bound<'py, PyScope>>,
        provider: &Bound<'py, PyAny>,
        model: &Bound<'py, PyAny>,
        request: &Bound<'py, PyAny>,
        max_output: Option<&Bound<'py, PyAny>>,
        choices: Option<&Bound<'py, PyAny>>,
        service_tier: Option<&Bound<'py, PyAny>>,
        region: Option<&Bound<'py, PyAny>>,
        caching: bool,
        input_tokens: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let scope = scope.map(Bound::get);
        let meter = self.0.get();
        if !meter.core.limits().are_active() && scope.is_none_or(|scope| scope.run.is_none()) {
            return Ok(None);
        }
        let provider = canonical_provider(name_head(text(Some(provider)).unwrap_or_default()));
        let ask = Ask {
            provider: &provider,
            model: name_head(text(Some(model)).unwrap_or_default()),
            service_tier: text(service_tier),
            region: text(region),
            output: count(max_output),
            choices: count(choices).unwrap_or(1),
            caches: caching,
            ..Ask::default()
        };
        // A panic would reach the caller as an exception that `except Exception` does not catch.
        let answer = catch_unwind(AssertUnwindSafe(|| self.ask(py, scope, ask, request, count(input_tokens))));
        answer.unwrap_or_else(|_| {
            meter.core.count(Issue::InternalError, 1);
            Host::warn(meter, py, Issue::InternalError, "budgets");
            Ok(None)
        })
    }

    #[doc = stub_doc!("Budgets.track")]
    #[pyo3(signature = (ticket, /, **fields))]
    fn track(
        &self,
        py: Python<'_>,
        ticket: Option<&Bound<'_, PyTicket>>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyReceipt> {
        self.pass(py, ticket, fields, false)
    }

    #[doc = stub_doc!("Budgets.charge")]
    #[pyo3(signature = (ticket, /, **fields))]
    fn charge(&self, py: Python<'_>, ticket: &Bound<'_, PyTicket>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.pass(py, Some(ticket), fields, true).map(drop)
    }

    #[doc = stub_doc!("Budgets.standings")]
    #[pyo3(signature = (scope, provider=None, model=None))]
    fn standings<'py>(
        &self,
        py: Python<'py>,
        scope: Option<&Bound<'py, PyScope>>,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let core = &self.0.get().core;
        let Some(budgets) = core.limits().budgets() else { return Ok(Vec::new()) };
        let provider = canonical_provider(name_head(provider.unwrap_or_default()));
        let ask = Ask { provider: &provider, model: name_head(model.unwrap_or_default()), ..Ask::default() };
        let encoded = scope.map_or(&[][..], |scope| &scope.get().encoded);
        let all = py.detach(|| core.with_facts(&ask, encoded, |facts, _| budgets.standings(facts)));
        all.map_err(unavailable)?.iter().map(|one| standing(py, one)).collect()
    }

    #[doc = stub_doc!("Budgets.all_standings")]
    fn all_standings<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.refresh()).map_err(define_error)?;
        let Some(budgets) = limits.budgets() else { return Ok(Vec::new()) };
        let all = py.detach(|| budgets.all_standings()).map_err(unavailable)?;
        all.iter().map(|one| standing(py, one)).collect()
    }

    #[doc = stub_doc!("Budgets.reset")]
    fn reset(&self, py: Python<'_>, name: &str, key: Option<Vec<String>>) -> PyResult<usize> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.refresh()).map_err(define_error)?;
        let Some(budgets) = limits.budgets() else { return Ok(0) };
        py.detach(|| budgets.reset(name, key.as_deref())).map_err(unavailable)
    }

    #[doc = stub_doc!("Budgets.recount")]
    fn recount(&self, py: Python<'_>) -> PyResult<usize> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.refresh()).map_err(define_error)?;
        let Some(budgets) = limits.budgets() else { return Ok(0) };
        py.detach(|| budgets.recount()).map_err(unavailable)
    }

    #[doc = stub_doc!("Budgets.take_crossings")]
    fn take_crossings<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.0.get().core.limits().take_crossings().iter().map(|one| crossed(py, one)).collect()
    }

    #[doc = stub_doc!("Budgets.reported")]
    #[expect(clippy::needless_pass_by_value, reason = "Python hands over a list")]
    fn reported(&self, py: Python<'_>, records: Vec<usize>) -> PyResult<()> {
        let limits = self.0.get().core.limits();
        py.detach(|| limits.reported(&records)).map_err(unavailable)
    }

    #[doc = stub_doc!("Budgets.take_warnings")]
    fn take_warnings(&self) -> Vec<(&'static str, String)> {
        self.0.get().core.limits().take_warnings()
    }

    #[doc = stub_doc!("Budgets.stats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let limits = self.0.get().core.limits();
        let budgets = limits.budgets();
        let all = PyDict::new(py);
        all.set_item("definitions", budgets.as_ref().map_or(0, |budgets| budgets.rules().all.len()))?;
        for (name, what) in [
            ("admitted", GateCount::Admitted),
            ("refused", GateCount::Refused),
            ("unpriced", GateCount::Unpriced),
            ("abandoned", GateCount::Abandoned),
            ("unestimated", GateCount::Unestimated),
        ] {
            all.set_item(name, limits.count_of(what))?;
        }
        let [estimated, actual] = limits.history.sums().map(|sum| Usd::from_units(sum).to_string());
        all.set_item("estimated_usd", estimated)?;
        all.set_item("actual_usd", actual)?;
        all.set_item("unavailable", budgets.as_ref().map_or(0, |budgets| budgets.unavailable()))?;
        let (waiting, dropped) = budgets.as_ref().map_or((0, 0), |budgets| budgets.unsettled());
        all.set_item("waiting", waiting)?;
        all.set_item("dropped", dropped)?;
        all.set_item("state", limits.problem().unwrap_or_else(|| "ok".to_owned()))?;
        all.set_item("boundaries_until", budgets.and_then(|budgets| budgets.boundaries_until()))?;
        Ok(all)
    }
}

impl PyBudgets {
    /// Charges an event to the budgets, and records it unless something else does.
    fn pass(
        &self,
        py: Python<'_>,
        ticket: Option<&Bound<'_, PyTicket>>,
        fields: Option<&Bound<'_, PyDict>>,
        is_unrecorded: bool,
    ) -> PyResult<PyReceipt> {
        let mut values: [Option<Bound<'_, PyAny>>; NAMES.len()] = [const { None }; NAMES.len()];
        for (name, value) in fields.into_iter().flatten() {
            let name = name.cast::<PyString>()?.to_str()?.to_owned();
            let place = NAMES.iter().position(|known| *known == name);
            let place = place.ok_or_else(|| PyTypeError::new_err(format!("{name} is not a field of an event")))?;
            values[place] = Some(value);
        }
        let arguments = Arguments::from_slots(&values.each_ref().map(Option::as_ref));
        let meter = self.0.get();
        let admission = ticket.map(|ticket| &ticket.get().admission);
        Ok(meter.track_arguments(py, &arguments, Charging { admission, is_unrecorded, ..Charging::default() }))
    }

    /// Asks the gate. Waits for its lock without the GIL.
    fn ask<'py>(
        &self,
        py: Python<'py>,
        scope: Option<&PyScope>,
        ask: Ask<'_>,
        request: &Bound<'py, PyAny>,
        input_tokens: Option<u64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let core = &self.0.get().core;
        let (encoded, run) = scope.map_or((&[][..], None), |scope| (&*scope.encoded, scope.run.as_ref()));
        if !core.is_limited(&ask, encoded, run) {
            return Ok(None);
        }
        let ask = if let Some(input) = input_tokens {
            Ask { input, ..ask }
        } else if request.is_none() {
            Ask { is_incomplete: true, ..ask }
        } else {
            let prompt = prompt::count(request, ask.model);
            Ask { input: prompt.tokens, is_counted: true, is_incomplete: prompt.is_incomplete, ..ask }
        };
        let answer = match core.admit(&ask, encoded, run, Patience::None) {
            Err(Unavailable::Busy) => py.detach(|| core.admit(&ask, encoded, run, Patience::Long)),
            answer => answer,
        };
        if core.limits().have_news() {
            Host::report_crossings(self.0.get(), py);
        }
        Ok(match answer {
            // The budgets have decided what happens if the state cannot be used.
            Err(_) | Ok(None) => None,
            Ok(Some(Ok(admission))) => {
                Some(Bound::new(py, PyTicket { admission, limits: core.limits().clone() })?.into_any())
            }
            Ok(Some(Err(refusal))) => Some(Bound::new(py, PyRefusal::from(refusal))?.into_any()),
        })
    }
}

fn standing<'py>(py: Python<'py>, one: &Standing) -> PyResult<Bound<'py, PyDict>> {
    let (definition, counts, amount) = (&one.rule().definition, one.counts, one.budget.amount);
    let text = |value| amount_text(definition.unit, value);
    let all = PyDict::new(py);
    all.set_item("budget", &definition.name)?;
    all.set_item("key", one.budget.values())?;
    all.set_item("unit", unit_name(definition.unit))?;
    all.set_item("amount", text(amount))?;
    all.set_item("used", text(counts.used))?;
    all.set_item("held", text(counts.held))?;
    all.set_item("left", text(left(amount, counts)))?;
    all.set_item("percent", percent(amount, counts.used))?;
    all.set_item("resets_at", one.budget.resets_at().map(|at| at as f64))?;
    let start = match one.budget.period {
        Period::Fixed { start, end } => (end < i64::MAX).then_some(start as f64),
        Period::Rolling { .. } => None,
    };
    all.set_item("period_start", start)?;
    all.set_item("calls", counts.calls)?;
    all.set_item("unpriced", counts.unpriced)?;
    all.set_item("action", if definition.action == Action::Block { "block" } else { "warn" })?;
    all.set_item("is_spent", counts.used >= amount)?;
    Ok(all)
}

fn crossed<'py>(py: Python<'py>, one: &Crossed) -> PyResult<Bound<'py, PyDict>> {
    let all = standing(py, &one.standing)?;
    all.set_item("id", format!("{:032x}", one.id))?;
    all.set_item("threshold", &one.threshold)?;
    all.set_item("record", one.record)?;
    all.set_item("webhook", &one.standing.rule().definition.webhook)?;
    Ok(all)
}
