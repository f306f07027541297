//! The Python binding of the meter.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::arguments::{Arguments, Rare, reject_unknown};
use super::convert::{decimal, seconds};
use super::destination::RemoteArguments;
use super::ledger::{Where, filter};
use super::post::post;
use super::price::{PriceArgs, PyCost};
use super::receipt::{DISABLED, PyReceipt};
use super::scope::encode_fields;
use super::signals::interruptible;
use super::stats::as_dict;
use super::track::{Host, track};
use crate::delivery::Flushed;
use crate::journal::Backend;
use crate::meter::{Charging, Issue, Meter, PriceSettings, Settings};
use crate::pricing::Catalog;
use crate::sys::fs::check_private_dir;

#[doc = stub_doc!("Meter")]
#[pyclass(frozen, name = "Meter", module = "taximeter._core")]
pub(super) struct PyMeter {
    pub(super) core: Meter,
    is_enabled: AtomicBool,
    is_configured: AtomicBool,
    /// A callable that returns the current `Scope` or `None`.
    pub(super) scope: Py<PyAny>,
    /// A callable that logs a warning. It takes the name of a count and of a field.
    pub(super) warn: Py<PyAny>,
    configure: Py<PyAny>,
}

impl PyMeter {
    pub(super) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Logs the notices about delivery, each one once.
    #[cold]
    pub(super) fn report_notices(&self, py: Python<'_>) {
        for notice in self.core.take_notices() {
            let _ = self.warn.call1(py, (notice.kind.name(), notice.destination, notice.detail));
        }
    }

    /// Whether an event can be recorded without reading the settings first.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.is_configured.load(Ordering::Acquire) && self.is_enabled()
    }

    /// Records one event, unless metering is off.
    pub(super) fn track_arguments(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'_, '_>,
        charging: Charging<'_>,
    ) -> PyReceipt {
        self.settle(py);
        if !self.is_enabled() {
            return PyReceipt(Err(DISABLED));
        }
        track(&self.core, self, py, arguments, charging)
    }

    /// Reads the settings before the first event, if the meter was not configured. Warns if events are kept in memory only.
    #[inline]
    pub(super) fn settle(&self, py: Python<'_>) {
        if !self.is_configured.load(Ordering::Acquire) {
            // If this fails, events are kept in memory, and `configure` has reported the failure.
            let _ = self.configure.call0(py);
            self.is_configured.store(true, Ordering::Release);
        }
    }
}

fn dead_letters(error: std::io::Error) -> PyErr {
    super::errors::DeliveryError::new_err(format!("dead letters: {error}"))
}

fn flushed(py: Python<'_>, flushed: Flushed, dropped: u64) -> PyResult<Bound<'_, PyTuple>> {
    (flushed.delivered, flushed.pending, dropped + flushed.lost).into_pyobject(py)
}

#[pymethods]
impl PyMeter {
    #[new]
    #[pyo3(signature = (*, scope, warn, configure))]
    fn new(scope: Py<PyAny>, warn: Py<PyAny>, configure: Py<PyAny>) -> Self {
        Self {
            core: Meter::new(Settings {
                state_dir: None,
                ledger: None,
                linger: Duration::ZERO,
                retention: None,
                remotes: Vec::new(),
                backend: Backend::Mapped,
                budget: None,
                budget_state: 0,
                max_age: None,
                prices: PriceSettings::default(),
                defaults: Box::default(),
            }),
            is_enabled: AtomicBool::new(true),
            is_configured: AtomicBool::new(false),
            scope,
            warn,
            configure,
        }
    }

    #[doc = stub_doc!("Meter.configure")]
    #[pyo3(signature = (*, enabled, state_dir, ledger, linger_ms, retention, remotes, backend, budget, budget_state, max_age, catalog, long_tail, overrides, defaults, timeout))]
    #[expect(clippy::too_many_arguments, reason = "the settings")]
    fn configure(
        &self,
        py: Python<'_>,
        enabled: bool,
        state_dir: Option<PathBuf>,
        ledger: Option<PathBuf>,
        linger_ms: f64,
        retention: Option<f64>,
        remotes: Vec<RemoteArguments>,
        backend: &str,
        budget: Option<u64>,
        budget_state: u64,
        max_age: Option<f64>,
        catalog: Option<PathBuf>,
        long_tail: bool,
        overrides: String,
        defaults: &Bound<'_, PyDict>,
        timeout: f64,
    ) -> PyResult<()> {
        if let Some(dir) = state_dir.as_deref().filter(|_| enabled && (backend != "memory" || ledger.is_some())) {
            // Errors of the system may be temporary: until they end, events are kept in memory.
            check_private_dir(dir)
                .or_else(|error| if error.raw_os_error().is_some() { Ok(()) } else { Err(error) })
                .map_err(|error| super::errors::ConfigError::new_err(format!("state_dir: {error}")))?;
        }
        let settings = Settings {
            remotes: remotes.into_iter().map(TryInto::try_into).collect::<PyResult<_>>()?,
            max_age: max_age.map(|age| seconds("max_age", age)).transpose()?,
            state_dir: state_dir.filter(|_| backend != "memory"),
            ledger,
            linger: seconds("linger_ms", linger_ms / 1000.0)?,
            retention: retention.map(|age| seconds("retention", age)).transpose()?,
            backend: if backend == "written" { Backend::Written } else { Backend::Mapped },
            budget,
            budget_state,
            prices: PriceSettings { catalog, has_long_tail: long_tail, overrides },
            defaults: encode_fields(None, defaults)?,
        };
        let timeout = seconds("timeout", timeout)?;
        py.detach(|| self.core.configure(settings, timeout))?;
        self.is_enabled.store(enabled, Ordering::Relaxed);
        Ok(())
    }

    #[doc = stub_doc!("Meter.unmatched_price_rules")]
    fn unmatched_price_rules(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| self.core.unmatched_price_rules())
    }

    #[doc = stub_doc!("Meter.probe")]
    fn probe(&self, py: Python<'_>) -> Option<(Option<i32>, String)> {
        py.detach(|| self.core.probe()).err().map(|error| (error.raw_os_error(), error.to_string()))
    }

    #[doc = stub_doc!("Meter.enabled")]
    #[getter]
    fn enabled(&self) -> bool {
        self.is_enabled()
    }

    #[doc = stub_doc!("Meter.track")]
    #[pyo3(
        signature = (
            *, provider=None, model=None, input_tokens=None, output_tokens=None, tags=None, feature=None, team=None, agent=None,
            customer=None, user=None, session=None, cache_read_tokens=None, cache_write_tokens=None, reasoning_tokens=None, usage=None,
            operation=None, latency_ms=None, ttft_ms=None, status=None, error=None, finish_reason=None, service_tier=None, region=None,
            batch=None, cost_usd=None, started_at=None, trace_id=None, span_id=None, parent_span_id=None, call_id=None,
            usage_status=None, provider_usage=None, cost_notes=None, **unknown
        ),
        text_signature = "($self, *, provider=None, model=None, input_tokens=None, output_tokens=None, tags=None, \
            feature=None, team=None, agent=None, customer=None, user=None, session=None, cache_read_tokens=None, \
            cache_write_tokens=None, reasoning_tokens=None, usage=None, operation=None, latency_ms=None, \
            ttft_ms=None, status=None, error=None, finish_reason=None, service_tier=None, region=None, \
            batch=None, cost_usd=None, started_at=None, trace_id=None, span_id=None, parent_span_id=None, \
            call_id=None, usage_status=None, provider_usage=None, cost_notes=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "the fields of an event")]
    fn track(
        &self,
        py: Python<'_>,
        provider: Option<&Bound<'_, PyAny>>,
        model: Option<&Bound<'_, PyAny>>,
        input_tokens: Option<&Bound<'_, PyAny>>,
        output_tokens: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        feature: Option<&Bound<'_, PyAny>>,
        team: Option<&Bound<'_, PyAny>>,
        agent: Option<&Bound<'_, PyAny>>,
        customer: Option<&Bound<'_, PyAny>>,
        user: Option<&Bound<'_, PyAny>>,
        session: Option<&Bound<'_, PyAny>>,
        cache_read_tokens: Option<&Bound<'_, PyAny>>,
        cache_write_tokens: Option<&Bound<'_, PyAny>>,
        reasoning_tokens: Option<&Bound<'_, PyAny>>,
        usage: Option<&Bound<'_, PyAny>>,
        operation: Option<&Bound<'_, PyAny>>,
        latency_ms: Option<&Bound<'_, PyAny>>,
        ttft_ms: Option<&Bound<'_, PyAny>>,
        status: Option<&Bound<'_, PyAny>>,
        error: Option<&Bound<'_, PyAny>>,
        finish_reason: Option<&Bound<'_, PyAny>>,
        service_tier: Option<&Bound<'_, PyAny>>,
        region: Option<&Bound<'_, PyAny>>,
        batch: Option<&Bound<'_, PyAny>>,
        cost_usd: Option<&Bound<'_, PyAny>>,
        started_at: Option<&Bound<'_, PyAny>>,
        trace_id: Option<&Bound<'_, PyAny>>,
        span_id: Option<&Bound<'_, PyAny>>,
        parent_span_id: Option<&Bound<'_, PyAny>>,
        call_id: Option<&Bound<'_, PyAny>>,
        usage_status: Option<&Bound<'_, PyAny>>,
        provider_usage: Option<&Bound<'_, PyAny>>,
        cost_notes: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyReceipt> {
        unknown.map_or(Ok(()), reject_unknown)?;
        let rare = Rare {
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
            usage,
            operation,
            latency_ms,
            ttft_ms,
            status,
            error,
            finish_reason,
            service_tier,
            region,
            batch,
            cost_usd,
            started_at,
            trace_id,
            span_id,
            parent_span_id,
            call_id,
            usage_status,
            provider_usage,
            cost_notes,
        };
        let arguments = Arguments {
            provider,
            model,
            input_tokens,
            output_tokens,
            tags,
            attribution: [agent, feature, team, customer, user, session],
            rare: rare.is_any_given().then_some(rare),
        };
        Ok(self.track_arguments(py, &arguments, Charging::default()))
    }

    #[doc = stub_doc!("Meter.post")]
    #[pyo3(signature = (path, body, *, before=None))]
    fn post(
        &self,
        py: Python<'_>,
        path: &str,
        body: &Bound<'_, PyAny>,
        before: Option<(String, Bound<'_, PyAny>)>,
    ) -> PyResult<PyReceipt> {
        self.settle(py);
        if !self.is_enabled() {
            return Ok(PyReceipt(Err(DISABLED)));
        }
        let receipt = post(&self.core, |what, field| self.warn(py, what, field), path, body, before)?;
        if receipt.0.as_ref().is_ok_and(|receipt| receipt.has_notices) {
            self.report_notices(py);
        }
        Ok(receipt)
    }

    #[doc = stub_doc!("Meter.take_answers")]
    fn take_answers<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Option<u16>, Bound<'py, PyBytes>)> {
        let shown = |bytes: &[u8]| PyBytes::new(py, bytes);
        self.core.take_answers().iter().map(|one| (shown(&one.request), one.status, shown(&one.answer))).collect()
    }

    #[doc = stub_doc!("Meter.flush")]
    fn flush<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyTuple>> {
        let timeout = seconds("timeout", timeout)?;
        let report = interruptible(py, |should_continue| self.core.flush(timeout, should_continue))?;
        self.report_notices(py);
        flushed(py, report, self.dropped(py))
    }

    #[doc = stub_doc!("Meter.flush_ledger")]
    fn flush_ledger(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = seconds("timeout", timeout)?;
        let Some((counts, _)) = py.detach(|| self.core.stats()).journal else { return Ok(true) };
        let is_done = || {
            let stats = self.core.stats();
            stats.destinations.iter().filter(|one| one.name == "ledger").all(|one| one.own >= counts.appended)
        };
        if !py.detach(is_done) {
            interruptible(py, |should_continue| self.core.flush(timeout, &|| should_continue() && !is_done()))?;
        }
        Ok(py.detach(is_done))
    }

    #[doc = stub_doc!("Meter.close")]
    fn close<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyTuple>> {
        let timeout = seconds("timeout", timeout)?;
        let report = interruptible(py, |should_continue| self.core.close(timeout, should_continue))?;
        self.report_notices(py);
        flushed(py, report, self.dropped(py))
    }

    #[doc = stub_doc!("Meter.stats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.report_notices(py);
        let stats = py.detach(|| self.core.stats());
        as_dict(py, stats)
    }

    #[doc = stub_doc!("Meter.drain")]
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let drained = interruptible(py, |should_continue| self.core.drain(should_continue))?;
        let all = PyDict::new(py);
        all.set_item("delivered", drained.delivered)?;
        all.set_item("left", drained.left)?;
        all.set_item("expired", drained.expired)?;
        all.set_item("damaged", drained.damaged)?;
        all.set_item("reasons", (drained.reasons, drained.elsewhere))?;
        Ok(all)
    }

    #[doc = stub_doc!("Meter.retry_dead_letters")]
    fn retry_dead_letters(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.core.retry_dead_letters()).map_err(dead_letters)
    }

    #[doc = stub_doc!("Meter.destinations")]
    fn destinations(&self) -> Vec<String> {
        self.core.destinations()
    }

    #[doc = stub_doc!("Meter.drop_dead_letters")]
    fn drop_dead_letters(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.core.drop_dead_letters()).map_err(dead_letters)
    }

    #[doc = stub_doc!("Meter.price")]
    #[expect(clippy::too_many_arguments, reason = "what decides a price")]
    fn price(
        &self,
        model: &Bound<'_, PyAny>,
        usage: &Bound<'_, PyAny>,
        provider: Option<&Bound<'_, PyAny>>,
        at: Option<&Bound<'_, PyAny>>,
        service_tier: Option<&Bound<'_, PyAny>>,
        batch: Option<&Bound<'_, PyAny>>,
        region: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        reported: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<PyCost>> {
        PyCost::of(
            self.core.prices().book(),
            &PriceArgs { model, usage, provider, at, service_tier, batch, region, context, reported },
        )
    }

    #[doc = stub_doc!("Meter.set_catalog")]
    fn set_catalog(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        Ok(py.detach(|| self.core.prices().replace(text))?)
    }

    #[doc = stub_doc!("Meter.reprice")]
    #[pyo3(signature = (ledger, since, until, conditions, dry_run))]
    fn reprice<'py>(
        &self,
        py: Python<'py>,
        ledger: PathBuf,
        since: Option<u64>,
        until: Option<u64>,
        conditions: Where,
        dry_run: bool,
    ) -> PyResult<(u64, Vec<Bound<'py, PyTuple>>)> {
        let filter = filter(since, until, conditions)?;
        let repriced = py.detach(|| self.core.reprice(&ledger, &filter, dry_run))?;
        let mut rows = Vec::with_capacity(repriced.models.len());
        for ((provider, model), sums) in repriced.models {
            let (before, after) = (decimal(py, sums.before)?, decimal(py, sums.after)?);
            rows.push((provider, model, sums.changed, sums.newly_priced, before, after).into_pyobject(py)?);
        }
        Ok((repriced.examined, rows))
    }

    #[doc = stub_doc!("Meter.repriced")]
    #[getter]
    fn repriced(&self) -> u64 {
        self.core.repriced()
    }

    #[doc = stub_doc!("Meter.count_remark")]
    fn count_remark(&self, py: Python<'_>, what: &str, field: &Bound<'_, PyString>) {
        if let Some(what) = Issue::ALL.into_iter().find(|issue| issue.name() == what) {
            self.core.count(what, 1);
            // Names of fields and models come from users and servers, and may have lone surrogates.
            self.warn(py, what, &field.to_string_lossy());
        }
    }

    #[doc = stub_doc!("Meter.models")]
    fn models(&self) -> Vec<(String, String, bool, String)> {
        let book = self.core.prices().book();
        let catalogs = [Some(book.catalog()), book.long_tail()];
        let own = |catalog: &Catalog| {
            let name = catalog.name().to_owned();
            let row = |(provider, model, retired): (&str, &str, bool)| {
                (provider.to_owned(), model.to_owned(), retired, name.clone())
            };
            catalog.entries().map(row).collect::<Vec<_>>()
        };
        catalogs.into_iter().flatten().flat_map(|catalog| own(catalog)).collect()
    }

    #[doc = stub_doc!("Meter.catalog")]
    #[getter]
    fn catalog(&self) -> String {
        self.core.prices().book().catalog().name().to_owned()
    }

    #[doc = stub_doc!("Meter.catalog_as_of")]
    #[getter]
    fn catalog_as_of(&self) -> String {
        self.core.prices().book().catalog().as_of().to_owned()
    }
}

impl PyMeter {
    fn dropped(&self, py: Python<'_>) -> u64 {
        let stats = py.detach(|| self.core.stats());
        Issue::ALL.into_iter().zip(stats.counts).filter(|(what, _)| what.is_loss()).map(|(_, count)| count).sum()
    }
}
