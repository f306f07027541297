//! `track()`: from keywords to an event, without ever raising.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use smallvec::SmallVec;

use super::convert::{amount, count, decimal, milliseconds, text, unix_ns};
use super::meter::PyMeter;
use crate::event::id::id_text;
use crate::event::{Attribution, CostStatus, Status, Unit, UsageEvent, UsageStatus};
use crate::meter::{Count, Receipt};
use crate::pricing::canonical_provider;

/// What `track()` answers.
#[pyclass(frozen, name = "Receipt", module = "taximeter._core")]
pub(super) struct PyReceipt(Result<Receipt, &'static str>);

#[pymethods]
impl PyReceipt {
    /// The event's id; empty when it was not recorded.
    #[getter]
    fn id(&self) -> String {
        self.0.as_ref().map_or_else(|_| String::new(), |receipt| id_text(receipt.id))
    }

    #[getter]
    fn cost_usd<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.as_ref().ok().and_then(|receipt| receipt.cost).map(|cost| decimal(py, cost)).transpose()
    }

    /// Why the event was not recorded; `None` when it was.
    #[getter]
    fn refused(&self) -> Option<&'static str> {
        self.0.as_ref().err().copied()
    }

    fn __bool__(&self) -> bool {
        self.0.is_ok()
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
}

/// Everything `track()` takes, in the order in which keywords are looked up: the frequent ones first.
#[derive(Default)]
pub(super) struct Arguments<'a, 'py> {
    pub(super) provider: Option<&'a Bound<'py, PyAny>>,
    pub(super) model: Option<&'a Bound<'py, PyAny>>,
    pub(super) input_tokens: Option<&'a Bound<'py, PyAny>>,
    pub(super) output_tokens: Option<&'a Bound<'py, PyAny>>,
    pub(super) cache_read_tokens: Option<&'a Bound<'py, PyAny>>,
    pub(super) cache_write_tokens: Option<&'a Bound<'py, PyAny>>,
    pub(super) reasoning_tokens: Option<&'a Bound<'py, PyAny>>,
    pub(super) usage: Option<&'a Bound<'py, PyAny>>,
    pub(super) attribution: [Option<&'a Bound<'py, PyAny>>; 6],
    pub(super) tags: Option<&'a Bound<'py, PyAny>>,
    pub(super) operation: Option<&'a Bound<'py, PyAny>>,
    pub(super) latency_ms: Option<&'a Bound<'py, PyAny>>,
    pub(super) ttft_ms: Option<&'a Bound<'py, PyAny>>,
    pub(super) status: Option<&'a Bound<'py, PyAny>>,
    pub(super) error: Option<&'a Bound<'py, PyAny>>,
    pub(super) finish_reason: Option<&'a Bound<'py, PyAny>>,
    pub(super) service_tier: Option<&'a Bound<'py, PyAny>>,
    pub(super) region: Option<&'a Bound<'py, PyAny>>,
    pub(super) batch: Option<&'a Bound<'py, PyAny>>,
    pub(super) cost_usd: Option<&'a Bound<'py, PyAny>>,
    pub(super) started_at: Option<&'a Bound<'py, PyAny>>,
    pub(super) trace_id: Option<&'a Bound<'py, PyAny>>,
    pub(super) span_id: Option<&'a Bound<'py, PyAny>>,
    pub(super) parent_span_id: Option<&'a Bound<'py, PyAny>>,
    pub(super) usage_status: Option<&'a Bound<'py, PyAny>>,
    pub(super) surplus: Option<&'a Bound<'py, PyTuple>>,
    pub(super) unknown: Option<&'a Bound<'py, PyDict>>,
}

const ATTRIBUTION: [&str; 6] = ["agent", "feature", "team", "customer", "user", "session"];

/// Reads arguments, counting and warning about what is wrong with them.
struct Intake<'m, 'py> {
    meter: &'m PyMeter,
    py: Python<'py>,
}

impl Intake<'_, '_> {
    fn remark(&self, what: Count, field: &str) {
        self.meter.core.count(what, 1);
        self.meter.warn(self.py, what, field);
    }

    /// An optional text: empty is absent, what is no text is left out, what is not Unicode is mended.
    fn text<'a>(&self, field: &str, value: Option<&'a Bound<'_, PyAny>>) -> Option<Cow<'a, str>> {
        let value = value.filter(|value| !value.is_none())?;
        match text(value) {
            Ok((text, is_mended)) => {
                if is_mended {
                    self.remark(Count::InvalidText, field);
                }
                Some(text).filter(|text| !text.is_empty())
            }
            Err(_) => {
                self.remark(Count::InvalidText, field);
                None
            }
        }
    }
}

/// Records one event, or answers why not.
pub(super) fn track(meter: &PyMeter, py: Python<'_>, arguments: &Arguments<'_, '_>) -> PyReceipt {
    if !meter.is_enabled() {
        return PyReceipt(Err("disabled"));
    }
    // A panic would surface in the host as an exception that `except Exception` does not catch.
    let outcome = catch_unwind(AssertUnwindSafe(|| record(&Intake { meter, py }, arguments)));
    PyReceipt(outcome.unwrap_or(Err("internal_error")))
}

fn record(intake: &Intake<'_, '_>, arguments: &Arguments<'_, '_>) -> Result<Receipt, &'static str> {
    let refuse = |what: Count, field: &str| {
        intake.remark(what, field);
        what.name()
    };
    // Texts are declared before the event that borrows them, so that they outlive it.
    let provider_text = intake.text("provider", arguments.provider).ok_or_else(|| refuse(Count::MissingProvider, "provider"))?;
    let model_text = intake.text("model", arguments.model).ok_or_else(|| refuse(Count::MissingModel, "model"))?;
    let provider = canonical_provider(&provider_text);
    let operation = intake.text("operation", arguments.operation);
    let error = arguments.error.and_then(|error| error_class(intake, error));
    let status = arguments.status.map(|status| intake.text("status", Some(status)));
    let usage_status = intake.text("usage_status", arguments.usage_status);
    let finish_reason = intake.text("finish_reason", arguments.finish_reason);
    let service_tier = intake.text("service_tier", arguments.service_tier);
    let region = intake.text("region", arguments.region);
    let trace_id = intake.text("trace_id", arguments.trace_id);
    let span_id = intake.text("span_id", arguments.span_id);
    let parent_span_id = intake.text("parent_span_id", arguments.parent_span_id);
    let attributed: [Option<Cow<'_, str>>; 6] =
        std::array::from_fn(|index| intake.text(ATTRIBUTION[index], arguments.attribution[index]));
    let items = arguments.tags.filter(|tags| !tags.is_none()).map(|tags| tag_items(intake, tags)).unwrap_or_default();
    let tags = read_tags(intake, &items);

    let mut event = UsageEvent {
        provider: &provider,
        model: model_text.trim(),
        operation: operation.as_deref().unwrap_or("chat"),
        error: error.as_deref(),
        usage_status: usage_status.as_deref().and_then(UsageStatus::from_name).unwrap_or_default(),
        finish_reason: finish_reason.as_deref(),
        service_tier: service_tier.as_deref(),
        region: region.as_deref(),
        trace_id: trace_id.as_deref(),
        span_id: span_id.as_deref(),
        parent_span_id: parent_span_id.as_deref(),
        batch: arguments.batch.is_some_and(|batch| batch.is_truthy().unwrap_or(false)),
        attribution: Attribution {
            agent: attributed[0].as_deref(),
            feature: attributed[1].as_deref(),
            team: attributed[2].as_deref(),
            customer: attributed[3].as_deref(),
            user: attributed[4].as_deref(),
            session: attributed[5].as_deref(),
            tags: tags.iter().map(|(key, value)| (&**key, &**value)).collect(),
        },
        ..UsageEvent::default()
    };
    if event.provider.is_empty() {
        return Err(refuse(Count::MissingProvider, "provider"));
    }
    if event.model.is_empty() {
        return Err(refuse(Count::MissingModel, "model"));
    }
    let by_error = if event.error.is_some() { Status::Error } else { Status::Success };
    event.status = status.map_or(by_error, |given| {
        given.as_deref().and_then(Status::from_name).unwrap_or_else(|| {
            intake.remark(Count::InvalidText, "status");
            by_error
        })
    });
    read_usage(intake, arguments, &mut event).map_err(|field| refuse(Count::InvalidUsage, &field))?;
    read_numbers(intake, arguments, &mut event);
    for name in unexpected(arguments) {
        intake.remark(Count::UnknownArgument, &name);
    }
    let mut context = Vec::new();
    if let Some(tier) = event.service_tier {
        context.push(("service_tier", tier));
    }
    if event.batch {
        context.push(("processing", "batch"));
    }
    let scope = intake.meter.current_scope(intake.py);
    let encoded = scope.as_ref().map_or(&[][..], |scope| &scope.get().encoded);
    let receipt = intake.meter.core.track(event, encoded, &context).map_err(|what| {
        intake.meter.warn(intake.py, what, "event");
        what.name()
    })?;
    if let Some(what) = receipt.remark {
        intake.meter.warn(intake.py, what, "event");
    }
    Ok(receipt)
}

/// Sets the counts; `Err` names the first field that is none.
fn read_usage(intake: &Intake<'_, '_>, arguments: &Arguments<'_, '_>, event: &mut UsageEvent<'_>) -> Result<(), String> {
    const REASONING: &str = "output_reasoning_tokens";
    let named = [
        ("input_tokens", Some(Unit::INPUT_TOKENS), arguments.input_tokens),
        ("output_tokens", Some(Unit::OUTPUT_TOKENS), arguments.output_tokens),
        ("cache_read_tokens", Some(Unit::CACHE_READ_TOKENS), arguments.cache_read_tokens),
        ("cache_write_tokens", Some(Unit::CACHE_WRITE_TOKENS), arguments.cache_write_tokens),
        ("reasoning_tokens", None, arguments.reasoning_tokens),
    ];
    for (name, unit, value) in named {
        if let Some(value) = value.filter(|value| !value.is_none()) {
            let unit = unit.or_else(|| Unit::from_name(REASONING)).ok_or(REASONING)?;
            event.usage.set(unit, count(value, unit).map_err(|_| name)?);
        }
    }
    let Some(usage) = arguments.usage.filter(|usage| !usage.is_none()) else { return Ok(()) };
    for (key, value) in super::convert::as_dict(usage, "usage").map_err(|_| "usage")? {
        let name = key.extract::<String>().unwrap_or_default();
        match Unit::from_name(&name) {
            None => intake.remark(Count::UnknownUnit, &name),
            Some(_) if value.is_none() => {}
            Some(unit) => event.usage.set(unit, count(&value, unit).map_err(|_| name)?),
        }
    }
    Ok(())
}

fn read_numbers(intake: &Intake<'_, '_>, arguments: &Arguments<'_, '_>, event: &mut UsageEvent<'_>) {
    let duration = |field: &str, value: Option<&Bound<'_, PyAny>>| {
        let value = value.filter(|value| !value.is_none())?;
        milliseconds(value).or_else(|| {
            intake.remark(Count::InvalidTime, field);
            None
        })
    };
    event.latency_us = duration("latency_ms", arguments.latency_ms);
    event.ttft_us = duration("ttft_ms", arguments.ttft_ms);
    if let Some(value) = arguments.started_at.filter(|value| !value.is_none()) {
        match unix_ns(value) {
            Ok(started_at) => event.started_at = started_at,
            Err(_) => intake.remark(Count::InvalidTime, "started_at"),
        }
    }
    if let Some(value) = arguments.cost_usd.filter(|value| !value.is_none()) {
        match amount(value) {
            Some(cost) => (event.cost, event.cost_status) = (Some(cost), CostStatus::Reported),
            None => intake.remark(Count::InvalidCost, "cost_usd"),
        }
    }
}

/// The class of an exception; a text is taken for its name. Messages are not recorded: they quote prompts.
fn error_class<'a>(intake: &Intake<'_, '_>, error: &'a Bound<'_, PyAny>) -> Option<Cow<'a, str>> {
    if error.is_none() {
        return None;
    }
    if error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return error.get_type().name().ok().map(|name| name.to_string_lossy().into_owned().into());
    }
    if let Ok(class) = error.cast::<PyType>() {
        return class.name().ok().map(|name| name.to_string_lossy().into_owned().into());
    }
    intake.text("error", Some(error))
}

/// Tags as Python objects, kept while their texts are borrowed.
type TagItems<'py> = SmallVec<[(Bound<'py, PyAny>, Bound<'py, PyAny>); 8]>;

fn tag_items<'py>(intake: &Intake<'_, '_>, tags: &Bound<'py, PyAny>) -> TagItems<'py> {
    if let Ok(dict) = super::convert::as_dict(tags, "tags") {
        return dict.iter().filter(|(_, value)| !value.is_none()).collect();
    }
    intake.remark(Count::InvalidText, "tags");
    TagItems::new()
}

fn read_tags<'a>(intake: &Intake<'_, '_>, items: &'a TagItems<'_>) -> SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]> {
    let pair = |(key, value): &'a (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        let (key, value) = (text(key), text(value));
        if !matches!((&key, &value), (Ok((_, false)), Ok((_, false)))) {
            intake.remark(Count::InvalidText, "tags");
        }
        Some((key.ok()?.0, value.ok()?.0))
    };
    items.iter().filter_map(pair).collect()
}

/// Arguments that `track()` does not have.
fn unexpected(arguments: &Arguments<'_, '_>) -> Vec<String> {
    let mut names = Vec::new();
    if arguments.surplus.is_some_and(|surplus| !surplus.is_empty()) {
        names.push("positional arguments".to_owned());
    }
    for key in arguments.unknown.iter().flat_map(|unknown| unknown.keys()) {
        names.push(key.str().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    }
    names
}
