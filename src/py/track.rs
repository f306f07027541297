//! `track()`: converts keyword arguments to an event and never raises.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::arguments::{Arg, Arguments, Rare};
use super::convert::{amount, call_start, count, exact_text, milliseconds, text};
use super::receipt::PyReceipt;
use super::scope::PyScope;
use crate::event::accept;
use crate::event::binary::TagEncoder;
use crate::event::limits::name_head;
use crate::event::{Attribution, CostNotes, CostStatus, Status, Unit, UsageEvent, UsageStatus};
use crate::meter::{Charging, Issue, Meter, Receipt};
use crate::pricing::canonical_provider;

/// The rare arguments that are texts, after conversion.
#[derive(Default)]
struct RareTexts<'a> {
    operation: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    status: Option<Status>,
    usage_status: UsageStatus,
    provider_usage: Option<Cow<'a, str>>,
    cost_notes: CostNotes,
    finish_reason: Option<Cow<'a, str>>,
    service_tier: Option<Cow<'a, str>>,
    region: Option<Cow<'a, str>>,
    trace_id: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
    parent_span_id: Option<Cow<'a, str>>,
    call_id: Option<Cow<'a, str>>,
}

/// What `track()` needs from the Python meter.
pub(super) trait Host {
    /// Warns about an issue.
    fn warn(&self, py: Python<'_>, what: Issue, field: &str);

    /// Logs the notices about delivery.
    fn report_notices(&self, py: Python<'_>);

    /// Says that thresholds of budgets were crossed.
    fn report_crossings(&self, py: Python<'_>);

    /// The current scope, if there is one.
    fn current_scope<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyScope>>;
}

/// Reads arguments. Counts invalid ones and warns about them.
struct ArgReader<'m, 'py, H> {
    meter: &'m Meter,
    host: &'m H,
    py: Python<'py>,
}

impl<H: Host> ArgReader<'_, '_, H> {
    fn remark(&self, what: Issue, field: &str) {
        self.meter.count(what, 1);
        self.host.warn(self.py, what, field);
    }

    /// An optional text. An empty text counts as absent, another type is left out, and lone surrogates are replaced.
    #[inline]
    fn text<'a>(&self, field: &str, value: Arg<'a, '_>) -> Option<Cow<'a, str>> {
        let value = value?;
        match exact_text(value) {
            Some(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
            _ => self.unusual_text(field, value),
        }
    }

    #[cold]
    fn unusual_text<'a>(&self, field: &str, value: &'a Bound<'_, PyAny>) -> Option<Cow<'a, str>> {
        if value.is_none() {
            return None;
        }
        if let Ok((text, is_repaired)) = text(value) {
            if is_repaired {
                self.remark(Issue::InvalidText, field);
            }
            Some(text).filter(|text| !text.is_empty())
        } else {
            self.remark(Issue::InvalidText, field);
            None
        }
    }
}

/// Records one event. The receipt says why if it was not recorded.
pub(super) fn track(
    meter: &Meter,
    host: &impl Host,
    py: Python<'_>,
    arguments: &Arguments<'_, '_>,
    charging: Charging<'_>,
) -> PyReceipt {
    let reader = ArgReader { meter, host, py };
    // A panic would reach the caller as an exception that `except Exception` does not catch.
    let outcome = catch_unwind(AssertUnwindSafe(|| record(&reader, arguments, charging)));
    outcome.map_or_else(|_| refuse_after_panic(meter, host, py), PyReceipt)
}

/// Counts a panic, which would be a bug.
#[cold]
pub(super) fn refuse_after_panic(meter: &Meter, host: &impl Host, py: Python<'_>) -> PyReceipt {
    ArgReader { meter, host, py }.remark(Issue::InternalError, "event");
    PyReceipt(Err(Issue::InternalError.name()))
}

/// Finishes what the settlement of budgets has left: it waits for their lock without the GIL, and reports thresholds.
#[inline]
pub(super) fn settled(meter: &Meter, host: &impl Host, py: Python<'_>, tracked: &Result<Receipt, Issue>) {
    let limits = meter.limits();
    if tracked.as_ref().is_ok_and(|receipt| receipt.is_unsettled) {
        py.detach(|| limits.settle_waiting());
    }
    if limits.have_news() {
        host.report_crossings(py);
    }
}

/// Warns about the issues of a recorded event.
#[inline]
pub(super) fn told(
    host: &impl Host,
    py: Python<'_>,
    recorded: Result<Receipt, Issue>,
) -> Result<Receipt, &'static str> {
    let receipt = recorded.map_err(|what| {
        host.warn(py, what, "event");
        what.name()
    })?;
    if let Some(what) = receipt.remark {
        host.warn(py, what, "event");
    }
    if receipt.has_notices {
        host.report_notices(py);
    }
    Ok(receipt)
}

fn record(
    reader: &ArgReader<'_, '_, impl Host>,
    arguments: &Arguments<'_, '_>,
    charging: Charging<'_>,
) -> Result<Receipt, &'static str> {
    let refuse = |what: Issue, field: &str| {
        reader.remark(what, field);
        what.name()
    };
    // The texts are declared before the event that borrows them, so that they live longer.
    let provider_text =
        reader.text("provider", arguments.provider).ok_or_else(|| refuse(Issue::MissingProvider, "provider"))?;
    let model_text = reader.text("model", arguments.model).ok_or_else(|| refuse(Issue::MissingModel, "model"))?;
    let provider = canonical_provider(name_head(&provider_text));
    // Written out for speed: the loop of `array::from_fn` stalls on its own stores and takes 20 ns more per call.
    let [agent, feature, team, customer, user, session] = arguments.attribution;
    let agent = reader.text("agent", agent);
    let feature = reader.text("feature", feature);
    let team = reader.text("team", team);
    let customer = reader.text("customer", customer);
    let user = reader.text("user", user);
    let session = reader.text("session", session);
    let mut tags = Vec::new();
    if let Some(given) = arguments.tags.filter(|tags| !tags.is_none()) {
        encode_tags(reader, given, &mut tags);
    }
    let rare = arguments.rare.as_ref().map(|rare| Box::new(rare_texts(reader, rare)));

    let mut event = UsageEvent {
        provider: &provider,
        model: name_head(&model_text),
        attribution: Attribution {
            agent: agent.as_deref(),
            feature: feature.as_deref(),
            team: team.as_deref(),
            customer: customer.as_deref(),
            user: user.as_deref(),
            session: session.as_deref(),
            // Already encoded as their own layer.
            tags: Vec::new(),
        },
        ..accept::unknown()
    };
    if event.provider.is_empty() {
        return Err(refuse(Issue::MissingProvider, "provider"));
    }
    if event.model.is_empty() {
        return Err(refuse(Issue::MissingModel, "model"));
    }
    set_count(&mut event, "input_tokens", Unit::INPUT_TOKENS, arguments.input_tokens)
        .and_then(|()| set_count(&mut event, "output_tokens", Unit::OUTPUT_TOKENS, arguments.output_tokens))
        .map_err(|field| refuse(Issue::InvalidUsage, field))?;
    if let (Some(given), Some(texts)) = (&arguments.rare, &rare) {
        read_usage(reader, given, &mut event).map_err(|field| refuse(Issue::InvalidUsage, &field))?;
        read_numbers(reader, given, &mut event);
        event.operation = texts.operation.as_deref().unwrap_or(event.operation);
        event.error = texts.error.as_deref();
        event.status = accept::status(texts.status, event.error);
        event.usage_status = texts.usage_status;
        event.provider_usage = texts.provider_usage.as_deref();
        event.cost_notes = texts.cost_notes;
        event.finish_reason = texts.finish_reason.as_deref();
        event.service_tier = texts.service_tier.as_deref();
        event.region = texts.region.as_deref();
        event.trace_id = texts.trace_id.as_deref();
        event.span_id = texts.span_id.as_deref();
        event.parent_span_id = texts.parent_span_id.as_deref();
        event.call_id = texts.call_id.as_deref();
        event.batch = given.batch.is_some_and(|batch| batch.is_truthy().unwrap_or(false));
    }
    let scope = reader.host.current_scope(reader.py);
    let encoded = scope.as_ref().map_or(&[][..], |scope| &scope.get().encoded);
    let run = scope.as_ref().and_then(|scope| scope.get().run.as_deref());
    let tracked = reader.meter.track(event, [encoded, &tags], Charging { run, ..charging });
    settled(reader.meter, reader.host, reader.py, &tracked);
    told(reader.host, reader.py, tracked)
}

fn rare_texts<'a>(reader: &ArgReader<'_, '_, impl Host>, rare: &Rare<'a, '_>) -> RareTexts<'a> {
    let status = reader.text("status", rare.status);
    let known = status.as_deref().and_then(Status::from_name);
    if status.is_some() && known.is_none() {
        reader.remark(Issue::InvalidText, "status");
    }
    let usage_status = reader.text("usage_status", rare.usage_status);
    let provider_usage = reader.text("provider_usage", rare.provider_usage);
    let is_report = provider_usage.as_deref().is_none_or(accept::is_report);
    if !is_report {
        reader.remark(Issue::InvalidText, "provider_usage");
    }
    let cost_notes = reader.text("cost_notes", rare.cost_notes);
    RareTexts {
        cost_notes: CostNotes::from_names(cost_notes.as_deref().unwrap_or_default()).intersection(CostNotes::FROM_CALL),
        operation: reader.text("operation", rare.operation),
        error: rare.error.and_then(|error| error_class(reader, error)),
        status: known,
        usage_status: usage_status.as_deref().and_then(UsageStatus::from_name).unwrap_or_default(),
        provider_usage: provider_usage.filter(|_| is_report),
        finish_reason: reader.text("finish_reason", rare.finish_reason),
        service_tier: reader.text("service_tier", rare.service_tier),
        region: reader.text("region", rare.region),
        trace_id: reader.text("trace_id", rare.trace_id),
        span_id: reader.text("span_id", rare.span_id),
        parent_span_id: reader.text("parent_span_id", rare.parent_span_id),
        call_id: reader.text("call_id", rare.call_id),
    }
}

/// Sets one count. The error is the name of the invalid field.
fn set_count<'f>(event: &mut UsageEvent<'_>, field: &'f str, unit: Unit, value: Arg<'_, '_>) -> Result<(), &'f str> {
    if let Some(value) = value.filter(|value| !value.is_none()) {
        event.usage.set(unit, count(value, unit).map_err(|_| field)?);
    }
    Ok(())
}

/// Sets the other counts. The error is the name of the first invalid field.
fn read_usage(
    reader: &ArgReader<'_, '_, impl Host>,
    rare: &Rare<'_, '_>,
    event: &mut UsageEvent<'_>,
) -> Result<(), String> {
    set_count(event, "cache_read_tokens", Unit::CACHE_READ_TOKENS, rare.cache_read_tokens)?;
    set_count(event, "cache_write_tokens", Unit::CACHE_WRITE_TOKENS, rare.cache_write_tokens)?;
    set_count(event, "reasoning_tokens", Unit::REASONING_TOKENS, rare.reasoning_tokens)?;
    let Some(usage) = rare.usage.filter(|usage| !usage.is_none()) else { return Ok(()) };
    for (key, value) in super::convert::as_dict(usage, "usage").map_err(|_| "usage")? {
        let name = key.extract::<String>().unwrap_or_default();
        match Unit::from_name(&name) {
            None => reader.remark(Issue::UnknownUnit, &name),
            Some(_) if value.is_none() => {}
            Some(unit) => event.usage.set(unit, count(&value, unit).map_err(|_| name)?),
        }
    }
    Ok(())
}

fn read_numbers(reader: &ArgReader<'_, '_, impl Host>, rare: &Rare<'_, '_>, event: &mut UsageEvent<'_>) {
    let duration = |field: &str, value: Arg<'_, '_>| {
        let value = value.filter(|value| !value.is_none())?;
        milliseconds(value).inspect_err(|_| reader.remark(Issue::InvalidTime, field)).ok()
    };
    event.latency_us = duration("latency_ms", rare.latency_ms);
    event.ttft_us = duration("ttft_ms", rare.ttft_ms);
    if let Some(value) = rare.started_at.filter(|value| !value.is_none()) {
        match call_start(value) {
            Ok(started_at) => event.started_at = started_at,
            Err(_) => reader.remark(Issue::InvalidTime, "started_at"),
        }
    }
    if let Some(value) = rare.cost_usd.filter(|value| !value.is_none()) {
        match amount(value) {
            Ok(cost) => (event.cost, event.cost_status) = (Some(cost), CostStatus::Reported),
            Err(_) => reader.remark(Issue::InvalidCost, "cost_usd"),
        }
    }
}

/// The class name of an exception. A text counts as a class name. Messages are not recorded, because they may quote prompts.
fn error_class<'a>(reader: &ArgReader<'_, '_, impl Host>, error: &'a Bound<'_, PyAny>) -> Option<Cow<'a, str>> {
    if error.is_none() {
        return None;
    }
    if error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return error.get_type().name().ok().map(|name| name.to_string_lossy().into_owned().into());
    }
    if let Ok(class) = error.cast::<PyType>() {
        return class.name().ok().map(|name| name.to_string_lossy().into_owned().into());
    }
    reader.text("error", Some(error))
}

/// Encodes the tags of a mapping as a layer of attribution.
fn encode_tags(reader: &ArgReader<'_, '_, impl Host>, tags: &Bound<'_, PyAny>, layer: &mut Vec<u8>) {
    let Ok(dict) = super::convert::as_dict(tags, "tags") else {
        return reader.remark(Issue::InvalidText, "tags");
    };
    layer.reserve(128);
    let cuts = plain_tags(&dict, layer).unwrap_or_else(|| {
        layer.clear();
        repaired_tags(reader, &dict, layer)
    });
    if cuts > 0 {
        reader.meter.count(Issue::Truncated, u64::from(cuts));
        reader.host.warn(reader.py, Issue::Truncated, "tags");
    }
}

/// Encodes tags that are all texts of valid Unicode; `None` if one is not. No Python code runs here, so the dict cannot change meanwhile.
fn plain_tags(tags: &Bound<'_, PyDict>, layer: &mut Vec<u8>) -> Option<u32> {
    let mut encoder = TagEncoder::default();
    for (key, value) in tags {
        if !value.is_none() {
            encoder.put(layer, exact_text(&key)?, exact_text(&value)?);
        }
    }
    Some(encoder.cuts())
}

/// Encodes tags some of which are not valid texts.
#[cold]
fn repaired_tags(reader: &ArgReader<'_, '_, impl Host>, tags: &Bound<'_, PyDict>, layer: &mut Vec<u8>) -> u32 {
    let mut encoder = TagEncoder::default();
    // Collect first: converting a value to a text can run Python code that changes the dict.
    let items: Vec<_> = tags.iter().filter(|(_, value)| !value.is_none()).collect();
    for (key, value) in &items {
        let (key, value) = (text(key), text(value));
        if !matches!((&key, &value), (Ok((_, false)), Ok((_, false)))) {
            reader.remark(Issue::InvalidText, "tags");
        }
        if let (Ok((key, _)), Ok((value, _))) = (key, value) {
            encoder.put(layer, &key, &value);
        }
    }
    encoder.cuts()
}
