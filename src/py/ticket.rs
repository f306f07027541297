//! The answers of the gate in Python, and budgets of runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::convert::decimal;
use super::scope::{EXISTS, PyScope};
use crate::budget::{Counts, Match, Outcome, Patience, Refused, Run, Unit};
use crate::meter::{Admission, GateCount, Limits, Refusal};
use crate::money::Usd;
use crate::sys::clock::unix_ns;

/// An amount of a unit: a `Decimal` of US dollars, or an `int`.
fn amount(py: Python<'_>, unit: Unit, amount: i128) -> PyResult<Bound<'_, PyAny>> {
    match unit {
        Unit::Usd => decimal(py, Usd::from_units(amount)),
        Unit::Tokens | Unit::Calls => Ok(amount.into_pyobject(py)?.into_any()),
    }
}

/// An amount of a unit as a decimal text.
pub(super) fn amount_text(unit: Unit, amount: i128) -> String {
    match unit {
        Unit::Usd => Usd::from_units(amount).to_string(),
        Unit::Tokens | Unit::Calls => amount.to_string(),
    }
}

/// The name of a unit.
pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Usd => "usd",
        Unit::Tokens => "tokens",
        Unit::Calls => "calls",
    }
}

#[doc = stub_doc!("Ticket")]
#[pyclass(frozen, name = "Ticket", module = "taximeter._core")]
pub(super) struct PyTicket {
    pub(super) admission: Admission,
    pub(super) limits: Arc<Limits>,
}

#[pymethods]
impl PyTicket {
    #[doc = stub_doc!("Ticket.end")]
    fn end(&self, py: Python<'_>, how: &str) -> PyResult<()> {
        let outcome = match how {
            "failed" => Outcome::Failed,
            "cancelled" => Outcome::Cancelled,
            _ => return Err(PyValueError::new_err(format!("how must be failed or cancelled, not {how:?}"))),
        };
        if self.admission.settle(outcome, Patience::None) {
            py.detach(|| self.limits.settle_waiting());
        }
        Ok(())
    }

    #[doc = stub_doc!("Ticket.is_cutting")]
    #[getter]
    fn is_cutting(&self) -> bool {
        self.admission.is_cutting()
    }

    #[doc = stub_doc!("Ticket.is_settled")]
    #[getter]
    fn is_settled(&self) -> bool {
        self.admission.is_settled()
    }

    #[doc = stub_doc!("Ticket.estimated_usd")]
    #[getter]
    fn estimated_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let usd = self.admission.quoted().quote.most.usd;
        usd.map(|usd| decimal(py, Usd::from_units(usd))).transpose()
    }

    #[doc = stub_doc!("Ticket.input_tokens")]
    #[getter]
    fn input_tokens(&self) -> u64 {
        self.admission.quoted().quote.input.tokens
    }

    #[doc = stub_doc!("Ticket.output_tokens")]
    #[getter]
    fn output_tokens(&self) -> u64 {
        self.admission.quoted().quote.tokens[1]
    }
}

impl Drop for PyTicket {
    fn drop(&mut self) {
        if !self.admission.is_settled() {
            self.limits.counted(GateCount::Abandoned);
        }
    }
}

#[doc = stub_doc!("Refusal")]
#[pyclass(frozen, name = "Refusal", module = "taximeter._core")]
pub(super) struct PyRefusal {
    reason: &'static str,
    budget: String,
    key: Vec<String>,
    unit: Unit,
    amount: i128,
    counts: Counts,
    estimate: i128,
    resets_at: Option<i64>,
    /// The longest time after which something leaves a rolling budget, in seconds.
    step: Option<i64>,
    detail: String,
}

impl PyRefusal {
    /// Why a stream is closed.
    pub(super) fn of_stream(refused: Refused) -> Self {
        Self { reason: "cut", ..Self::from(Refusal::Budget(Box::new(refused))) }
    }
}

impl From<Refusal> for PyRefusal {
    fn from(refusal: Refusal) -> Self {
        let of = |reason, budget: &Match, counts: Counts, estimate, detail: String| Self {
            reason,
            budget: budget.rule.definition.name.clone(),
            key: budget.values(),
            unit: budget.rule.definition.unit,
            amount: budget.amount,
            counts,
            estimate,
            resets_at: budget.resets_at(),
            step: budget.rolling_step(),
            detail,
        };
        match refusal {
            Refusal::Run(no_room) => Self {
                reason: "exceeded",
                budget: no_room.run.name.clone(),
                key: Vec::new(),
                unit: no_room.run.unit,
                amount: no_room.run.amount,
                counts: no_room.counts,
                estimate: no_room.estimate,
                resets_at: None,
                step: None,
                detail: String::new(),
            },
            Refusal::Budget(refused) => match *refused {
                Refused::Exceeded { budget, counts, estimate } => {
                    of("exceeded", &budget, counts, estimate, String::new())
                }
                Refused::Unpriced(budget) => {
                    of("unpriced", &budget, Counts::default(), 0, "the price of the model is unknown".to_owned())
                }
                Refused::Unavailable(budget, why) => of("unavailable", &budget, Counts::default(), 0, why.to_string()),
                Refused::Absent(lacking) => Self {
                    reason: "absent",
                    budget: lacking.0.definition.name.clone(),
                    key: Vec::new(),
                    unit: lacking.0.definition.unit,
                    amount: 0,
                    counts: Counts::default(),
                    estimate: 0,
                    resets_at: None,
                    step: None,
                    detail: format!("the call has no {}", lacking.0.definition.by.join(" or no ")),
                },
            },
        }
    }
}

#[pymethods]
impl PyRefusal {
    #[doc = stub_doc!("Refusal.reason")]
    #[getter]
    fn reason(&self) -> &'static str {
        self.reason
    }

    #[doc = stub_doc!("Refusal.budget")]
    #[getter]
    fn budget(&self) -> &str {
        &self.budget
    }

    #[doc = stub_doc!("Refusal.key")]
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.key)
    }

    #[doc = stub_doc!("Refusal.unit")]
    #[getter]
    fn unit(&self) -> &'static str {
        unit_name(self.unit)
    }

    #[doc = stub_doc!("Refusal.amount")]
    #[getter]
    fn amount<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        amount(py, self.unit, self.amount)
    }

    #[doc = stub_doc!("Refusal.used")]
    #[getter]
    fn used<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        amount(py, self.unit, self.counts.used)
    }

    #[doc = stub_doc!("Refusal.held")]
    #[getter]
    fn held<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        amount(py, self.unit, self.counts.held)
    }

    #[doc = stub_doc!("Refusal.estimate")]
    #[getter]
    fn estimate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        amount(py, self.unit, self.estimate)
    }

    #[doc = stub_doc!("Refusal.resets_at")]
    #[getter]
    fn resets_at(&self) -> Option<f64> {
        self.resets_at.map(|at| at as f64)
    }

    #[doc = stub_doc!("Refusal.is_held")]
    #[getter]
    fn is_held(&self) -> bool {
        self.reason == "exceeded" && self.counts.used.saturating_add(self.estimate) <= self.amount
    }

    #[doc = stub_doc!("Refusal.retry_after")]
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        /// Calls in flight end within seconds.
        const SOON: f64 = 1.0;
        if self.is_held() || self.reason == "unavailable" {
            return Some(SOON);
        }
        if !matches!(self.reason, "exceeded" | "cut") {
            return None;
        }
        let until = self.resets_at.map(|at| (at as f64 - unix_ns() as f64 / 1e9).max(SOON));
        until.or(self.step.map(|step| step as f64))
    }

    #[doc = stub_doc!("Refusal.detail")]
    #[getter]
    fn detail(&self) -> &str {
        &self.detail
    }

    fn __repr__(&self) -> String {
        let text = |value| amount_text(self.unit, value);
        format!(
            "Refusal(reason='{}', budget='{}', unit='{}', amount={}, used={}, held={}, estimate={})",
            self.reason,
            self.budget,
            unit_name(self.unit),
            text(self.amount),
            text(self.counts.used),
            text(self.counts.held),
            text(self.estimate),
        )
    }
}

/// Whether this process has had a budget of a run. Until then, calls need not be looked at.
pub(super) static HAS_RUNS: AtomicBool = AtomicBool::new(false);

#[doc = stub_doc!("RunBudget")]
#[pyclass(frozen, name = "RunBudget", module = "taximeter._core")]
pub(super) struct PyRunBudget(Arc<Run>);

#[pymethods]
impl PyRunBudget {
    #[new]
    #[pyo3(signature = (*, usd=None, tokens=None, calls=None, name="run"))]
    fn new(usd: Option<&str>, tokens: Option<u64>, calls: Option<u64>, name: &str) -> PyResult<Self> {
        let (unit, amount) = match (usd, tokens, calls) {
            (Some(usd), None, None) => (Unit::Usd, usd.to_owned()),
            (None, Some(tokens), None) => (Unit::Tokens, tokens.to_string()),
            (None, None, Some(calls)) => (Unit::Calls, calls.to_string()),
            _ => return Err(PyValueError::new_err("exactly one of usd, tokens and calls must be given")),
        };
        let run = Run::new(name, unit, &amount).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(Arc::new(run)))
    }

    #[doc = stub_doc!("RunBudget.scope")]
    fn scope(&self, outer: Option<&Bound<'_, PyScope>>) -> PyScope {
        EXISTS.store(true, Ordering::Relaxed);
        HAS_RUNS.store(true, Ordering::Relaxed);
        let outer = outer.map(Bound::get);
        let run = self.0.inside(outer.and_then(|outer| outer.run.clone()));
        PyScope { encoded: outer.map_or_else(Box::default, |outer| outer.encoded.clone()), run: Some(Arc::new(run)) }
    }

    #[doc = stub_doc!("RunBudget.standing")]
    fn standing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (run, counts) = (&self.0, self.0.counts());
        let text = |value| amount_text(run.unit, value);
        let all = PyDict::new(py);
        all.set_item("budget", &run.name)?;
        all.set_item("key", Vec::<String>::new())?;
        all.set_item("unit", unit_name(run.unit))?;
        all.set_item("amount", text(run.amount))?;
        all.set_item("used", text(counts.used))?;
        all.set_item("held", text(counts.held))?;
        all.set_item("left", text(left(run.amount, counts)))?;
        all.set_item("percent", percent(run.amount, counts.used))?;
        all.set_item("resets_at", None::<f64>)?;
        all.set_item("period_start", None::<f64>)?;
        all.set_item("calls", counts.calls)?;
        all.set_item("unpriced", counts.unpriced)?;
        all.set_item("action", "block")?;
        all.set_item("is_spent", counts.used >= run.amount)?;
        Ok(all)
    }
}

/// The amount that is neither used nor held.
pub(super) fn left(amount: i128, counts: Counts) -> i128 {
    amount.saturating_sub(counts.used).saturating_sub(counts.held).max(0)
}

/// The used part of an amount.
pub(super) fn percent(amount: i128, used: i128) -> f64 {
    used as f64 / amount.max(1) as f64 * 100.0
}
