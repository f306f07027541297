//! Records the event of a scanned response without making Python objects of it: the usual end of a metered call.
//!
//! Anything unusual is left to `taximeter.instrument.recorder`, which makes the same event from a dict. A test compares the two.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::exact_text;
use super::meter::PyMeter;
use super::scope::PyScope;
use super::track::{Host, settled};
use crate::capture::Summary;
use crate::event::limits::name_head;
use crate::event::usage::MAX_COUNT;
use crate::event::{CostNotes, UsageEvent, accept};
use crate::meter::{Admission, Charging, Issue, Receipt};
use crate::pricing::canonical_provider;
use crate::sys::clock::unix_ns;

/// The states of a response whose work goes on: `taximeter.instrument.deferred` decides whether it is an event.
const BEGUN: [&str; 3] = ["queued", "in_progress", "requires_action"];

/// The facts of a call that its response does not have.
pub(super) struct Call<'a, 'py> {
    /// The fields of the event that the request decides.
    pub(super) fields: &'a Bound<'py, PyDict>,
    /// The ids of the event.
    pub(super) ids: &'a Bound<'py, PyDict>,
    /// The attribution.
    pub(super) scope: Option<&'a Bound<'py, PyScope>>,
    /// In seconds since 1970.
    pub(super) started_at: Option<f64>,
    pub(super) latency_ms: Option<f64>,
    pub(super) ttft_ms: Option<f64>,
    /// The admission of the call, if it passed the gate.
    pub(super) admission: Option<&'a Admission>,
}

/// Records the event. Returns `false` if something about it is unusual, and nothing was recorded.
pub(super) fn record(py: Python<'_>, meter: &PyMeter, found: &Summary, call: &Call<'_, '_>) -> bool {
    if is_unusual(found) {
        return false;
    }
    meter.settle(py);
    if !meter.is_enabled() {
        return true;
    }
    // A panic would reach the caller as an exception that `except Exception` does not catch.
    let outcome = catch_unwind(AssertUnwindSafe(|| track(py, meter, found, call)));
    if let Ok(Some(tracked)) = &outcome {
        settled(&meter.core, meter, py, tracked);
    }
    let issue = match outcome {
        Ok(None) => return false,
        Ok(Some(Ok(receipt))) => {
            if receipt.has_notices {
                meter.report_notices(py);
            }
            receipt.remark
        }
        Ok(Some(Err(what))) => Some(what),
        Err(_) => {
            meter.core.count(Issue::InternalError, 1);
            Some(Issue::InternalError)
        }
    };
    if let Some(what) = issue {
        Host::warn(meter, py, what, "event");
    }
    true
}

/// Whether a response needs a remark, further events, or a decision whether it is an event.
fn is_unusual(found: &Summary) -> bool {
    found.gap.is_some()
        || found.unreadable.is_some()
        || found.cost.is_some()
        || found.is_error
        || found.is_background
        || !found.parts.is_empty()
        || found.finish_reason.as_deref().is_some_and(|reason| BEGUN.contains(&reason))
        || found.report.as_deref().is_some_and(|report| !accept::is_report(report))
        || found.usage.iter().any(|(_, count)| count > MAX_COUNT)
}

/// Prices and journals the event; `None` if a field is one that only `Meter.track` converts.
fn track(py: Python<'_>, meter: &PyMeter, found: &Summary, call: &Call<'_, '_>) -> Option<Result<Receipt, Issue>> {
    let (fields, ids) = (call.fields, call.ids);
    let values = [
        fields.get_item(intern!(py, "provider")).ok()?,
        fields.get_item(intern!(py, "model")).ok()?,
        fields.get_item(intern!(py, "operation")).ok()?,
        fields.get_item(intern!(py, "service_tier")).ok()?,
        fields.get_item(intern!(py, "region")).ok()?,
        fields.get_item(intern!(py, "cost_notes")).ok()?,
        ids.get_item(intern!(py, "call_id")).ok()?,
        ids.get_item(intern!(py, "trace_id")).ok()?,
        ids.get_item(intern!(py, "span_id")).ok()?,
    ];
    if values.iter().flatten().count() != fields.len() + ids.len() {
        return None;
    }
    let [provider, asked, operation, tier, region, notes, call_id, trace_id, span_id] = texts(&values)?;
    let provider = canonical_provider(name_head(provider?));
    let model = name_head(own(found.model.as_ref()).or(asked).unwrap_or("unknown"));
    let now = unix_ns();
    let event = UsageEvent {
        provider: &provider,
        model,
        operation: operation.unwrap_or(accept::unknown().operation),
        started_at: call.started_at.map_or(Ok(0), |at| accept::time(at, now)).ok()?,
        latency_us: call.latency_ms.map(accept::duration).transpose().ok()?,
        ttft_us: call.ttft_ms.map(accept::duration).transpose().ok()?,
        usage: found.usage.clone(),
        usage_status: found.usage_status,
        provider_usage: own(found.report.as_ref()),
        cost_notes: (CostNotes::from_names(notes.unwrap_or_default()) | found.notes).intersection(CostNotes::FROM_CALL),
        finish_reason: own(found.finish_reason.as_ref()),
        service_tier: own(found.service_tier.as_ref()).or(tier),
        region: own(found.region.as_ref()).or(region),
        call_id,
        trace_id,
        span_id,
        ..accept::unknown()
    };
    if event.provider.is_empty() || event.model.is_empty() {
        return None;
    }
    let encoded = call.scope.map_or(&[][..], |scope| &scope.get().encoded);
    let run = call.scope.and_then(|scope| scope.get().run.as_deref());
    Some(meter.core.track(event, [encoded, &[]], Charging { admission: call.admission, run, ..Charging::default() }))
}

/// A text of the response. An empty one counts as absent.
fn own(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The texts of values. An empty text counts as absent, as it does for `Meter.track`. `None` if a value is not a valid text.
fn texts<'a, const N: usize>(values: &'a [Option<Bound<'_, PyAny>>; N]) -> Option<[Option<&'a str>; N]> {
    let mut texts = [None; N];
    for (text, value) in texts.iter_mut().zip(values) {
        if let Some(value) = value.as_ref().filter(|value| !value.is_none()) {
            *text = Some(exact_text(value)?).filter(|text| !text.is_empty());
        }
    }
    Some(texts)
}
